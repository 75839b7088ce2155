#!/usr/bin/env python3
"""The modules of this tree, swapped together again and again while they work, with both ways of
finding changed memory: each checks its own state, and every frame has counted exactly once.

usage: modules.py SOURCE-TREE BUILD-TREE"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

NAMES = ("life", "ordinary", "orchestra")
SWAPS, TRIES = 20, 20


def check(good, text, log):
    if not good:
        for line in log[-30:]:
            print(line.get("level"), line.get("room"), line.get("text"))
        sys.exit(f"modules.py: {text}")


def ctl(keel, socket, log, *words):
    done = subprocess.run([keel, "ctl", "--socket", socket, "--json", *words], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(done.returncode == 0, f"keel ctl {' '.join(words)}: {done.stdout}", log)
    return json.loads(done.stdout or "{}")


def swap(keel, socket, log):
    """A module with threads may run out of the trial's time where the machine is busy: once more."""
    for _ in range(TRIES):
        done = subprocess.run([keel, "ctl", "--socket", socket, "--json", "swap", *NAMES, "--same",
                               "--retry"], text=True, stdout=subprocess.PIPE, check=False)
        answer = json.loads(done.stdout)
        if done.returncode == 0:
            check(len(answer["slots"]) == len(NAMES), f"swapped: {answer}", log)
            return
        check("did not finish in" in answer["error"]["text"], f"refused: {answer}", log)
    check(False, f"refused {TRIES} times: {answer}", log)


def find(log, pattern):
    return [match for match in (re.search(pattern, line["text"]) for line in log
                                if line["room"] == "module") if match]


def run(tree, build, work, tier):
    keel, socket = os.path.join(build, "keel"), os.path.join(work, tier)
    modules = [os.path.join(build, "modules", name + ".so") for name in NAMES]
    host = subprocess.Popen([keel, "run", *modules, "--name", socket, "--memory", tier, "--json",
                             "--fps", "200", "--deadline", "0"], stdout=subprocess.PIPE, text=True,
                            env=dict(os.environ, ORDINARY_TEXT=os.path.join(tree, "README.md")))
    log = []
    try:
        for line in host.stdout:
            log.append(json.loads(line))
            if find(log, "pass 1:"):
                break
        for _ in range(SWAPS):
            swap(keel, socket, log)
        ctl(keel, socket, log, "send", "life", "glider")
        ctl(keel, socket, log, "send", "life", "nonsense")
        ctl(keel, socket, log, "send", "orchestra", "horn: C3 H9")
        for line in host.stdout: # the answers come with the next frame
            log.append(json.loads(line))
            if find(log, "line 1: there is no note H9"):
                break
        ctl(keel, socket, log, "pause", "on")
        status = {slot["name"]: slot for slot in ctl(keel, socket, log, "status")["slots"]}
        ctl(keel, socket, log, "quit")
        log += [json.loads(line) for line in host.stdout]
        check(host.wait() == 0, f"keel run ended with {host.returncode}", log)
    finally:
        if host.poll() is None:
            host.kill()
    for name, slot in status.items():
        check(slot["swaps"] == SWAPS + 1 and not slot["faults"] and not slot["undone"],
              f"{name}: {slot['swaps']} swaps, {slot['faults']} faults", log)
        check(slot["state"]["tier"] == tier, f"{name}: {slot['state']}", log)
    check(not [line for line in log if line["level"] == "error"], "an error was logged", log)
    check(len(find(log, "I know the messages")) == 1, "life took nonsense", log)
    steps = int(find(log, r"the world ends at step (\d+)")[0].group(1))
    check(steps == status["life"]["frames"],
          f"life made {steps} steps in {status['life']['frames']} frames", log)
    passes = find(log, r"(\d+) passes, 0 disagreed")
    check(passes and int(passes[0].group(1)) >= len(find(log, r"pass \d+:")) > 0,
          "ordinary lost passes, or its words", log)
    notes = [int(match.group(1)) for match in find(log, r"beat \d+, (\d+) notes")]
    check(notes == sorted(set(notes)), f"orchestra's notes went {notes}", log)
    print(f"{tier}: {SWAPS} swaps of {len(NAMES)} modules in {steps} frames")


def can_track():
    """Tracking needs Linux 6.7, and no filter of a container that forbids it."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return tuple(map(int, release.groups())) >= (6, 7)


def main():
    tree, build = sys.argv[1:3]
    work = tempfile.mkdtemp(prefix="keel-modules-")
    try:
        for tier in ("track", "copy") if can_track() else ("copy",):
            run(tree, build, work, tier)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
