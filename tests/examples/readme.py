#!/usr/bin/env python3
"""The README's first module, word for word: its C block saved under the name that the text says, its
commands run as they stand there, but with this build and for thirty frames.

usage: readme.py SOURCE-TREE BUILD-TREE"""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def main():
    tree, build = sys.argv[1:3]
    with open(os.path.join(tree, "README.md"), encoding="utf-8") as file:
        text = file.read()
    source = re.search(r"```c\n(.*?)```", text, re.S).group(1)
    name = re.search(r"Save it as `(\S+)`", text).group(1)
    lines = re.search(r"```sh\n(.*?)```", text, re.S).group(1).splitlines()
    if len(source.splitlines()) > 20 or len(lines) < 2:
        sys.exit("readme.py: the README's module is longer than it says, or its commands are gone")
    work = tempfile.mkdtemp(prefix="keel-readme-")
    try:
        os.symlink(os.path.join(tree, "abi"), os.path.join(work, "abi"))
        with open(os.path.join(work, name), "w", encoding="utf-8") as file:
            file.write(source)
        said = ""
        for line in lines:
            if "keel run" in line:
                line += " --frames 30 --name " + os.path.join(work, "readme.sock")
            done = subprocess.run(line.replace("build/release", build), shell=True, cwd=work,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            said += done.stdout
            if done.returncode:
                sys.exit(f"readme.py: {line} ended with {done.returncode}:\n{said}")
        if "hello, frame 1" not in said:
            sys.exit(f"readme.py: the module said nothing:\n{said}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
