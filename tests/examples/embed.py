#!/usr/bin/env python3
"""The examples as their reader builds them: Keel installed into a folder of its own, the example
copied outside the tree, built by find_package and by pkg-config, run; and its plugin rebuilt while it
runs: the new code comes, the program's heap and the module's state stay.

usage: embed.py SOURCE-TREE BUILD-TREE CMAKE"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE_S = 60


def fail(text, output=()):
    print("".join(output), end="")
    sys.exit(f"embed.py: {text}")


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)
    if done.returncode:
        fail(f"{' '.join(command)} ended with {done.returncode}", [done.stdout])
    return done.stdout


class Program:
    """The example's program and all that it prints."""

    def __init__(self, program, plugin, environment):
        self.output = []
        self.process = subprocess.Popen([program, plugin, "100000"], env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.news = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            with self.news:
                self.output.append(line)
                self.news.notify_all()

    def wait(self, pattern, after=0):
        """The first later line with the pattern, as its match and its number."""
        until = time.monotonic() + PATIENCE_S
        with self.news:
            while True:
                for number, line in enumerate(self.output[after:], after):
                    found = re.search(pattern, line)
                    if found:
                        return found, number
                if time.monotonic() > until or self.process.poll() is not None:
                    fail(f"{pattern!r} never came", self.output)
                self.news.wait(0.2)

    def end(self):
        if self.process.poll() is not None:
            fail(f"the program ended with {self.process.returncode}", self.output)
        self.process.kill()
        self.process.wait()


def reloads(folder, program, plugin, rebuild, environment, story):
    """Runs it, edits the source, rebuilds, and watches both counters go on under the new code."""
    source, old, new, tells, counts = story
    path = os.path.join(folder, source)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    one = Program(program, plugin, environment)
    try:
        first, at = one.wait(tells(old))
        if text.count(old) != 1:
            fail(f"{source} has {text.count(old)} places that read {old}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))
        rebuild()
        second, at = one.wait(tells(new), at)
        if int(second.group(1)) <= int(first.group(1)):
            fail(f"{counts} went from {first.group(1)} to {second.group(1)}", one.output)
        # Every number that was printed is above the one before: nothing began again.
        seen = [int(number) for number in re.findall(tells(r"[^;]*"), "".join(one.output))]
        if seen != sorted(set(seen)):
            fail(f"{counts} did not only rise: {seen}", one.output)
        print(f"{os.path.basename(folder)}: {counts} {seen[0]} … {seen[-1]} through the reload")
    finally:
        one.end()


STORIES = {
    "embed": ("plugin.c", "GRAVITY = -9.8", "GRAVITY = -30.0",
              lambda what: r"tick (\d+), gravity " + what.replace("GRAVITY = ", "").replace(".0", ""),
              "ticks on the program's heap"),
    "embed-cpp": ("plugin.cpp", 'WORD = "holds"', 'WORD = "has"',
                  lambda what: r": (\d+) orders; the book " + re.sub(r'WORD = "(\w+)"', r"\1 ",
                                                                     what),
                  "orders in the module's state"),
}


def main():
    tree, build, cmake = sys.argv[1:4]
    work = tempfile.mkdtemp(prefix="keel-embed-")
    try:
        prefix = os.path.join(work, "keel")
        run([cmake, "--install", build, "--prefix", prefix])
        libraries = {os.path.dirname(os.path.join(place, name)) for place, _, names in
                     os.walk(prefix) for name in names if name.startswith("libkeel-core.so")}
        pc = [place for place, _, names in os.walk(prefix) if "keel-core.pc" in names]
        environment = dict(os.environ, PKG_CONFIG_PATH=":".join(pc), MAKEFLAGS="",
                           LD_LIBRARY_PATH=":".join(libraries))
        for example, story in STORIES.items():
            for way in ("cmake", "make"):
                folder = os.path.join(work, way, example)
                shutil.copytree(os.path.join(tree, "examples", example), folder)
                out = folder
                if way == "cmake":
                    out = os.path.join(folder, "build")
                    run([cmake, "-S", folder, "-B", out, f"-DCMAKE_PREFIX_PATH={prefix}"],
                        env=environment)

                def rebuild(way=way, out=out, folder=folder):
                    run([cmake, "--build", out] if way == "cmake" else ["make", "-C", folder],
                        env=environment)
                rebuild()
                reloads(folder, os.path.join(out, "embed"), os.path.join(out, "plugin.so"), rebuild,
                        environment, story)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
