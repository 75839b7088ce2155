#!/usr/bin/env python3
"""Every sentence that the manual promises a cure for is one that the code can say, and every option of
a command that its help names is in the manual.

usage: manual.py SOURCE-TREE BUILD-TREE"""
import os
import re
import subprocess
import sys


def literals(tree):
    """All string literals of the host, adjacent ones joined, blanks made one."""
    said = []
    for folder, _, names in os.walk(os.path.join(tree, "host")):
        for name in names:
            if name.endswith((".c", ".h")):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = re.sub(r'"\s*\n\s*"', "", file.read())
                said += re.findall(r'"((?:[^"\\\n]|\\.)*)"', text)
    return "\n".join(said).replace('\\"', '"')


def can_say(said, words):
    """As they stand, or with one of them put in for a %s or a number."""
    exact = [re.escape(word) for word in words]
    return any(re.search(r"\s+".join(exact[:i] + [r"%\S+"] + exact[i + 1:]), said)
               for i in range(len(words))) or re.search(r"\s+".join(exact), said)


def main():
    tree, build = sys.argv[1:3]
    with open(os.path.join(tree, "docs", "manual.md"), encoding="utf-8") as file:
        manual = file.read()
    said = literals(tree)
    part = manual[manual.index("## Refusals"):manual.index("## Embedding")]
    checked, wrong = 0, []
    for row in re.findall(r"^\| (?!it says|---)(.*?) \| ", part, re.M):
        for sentence in row.split(" · "):
            for piece in re.split(r"…|\(.*?\)|, (?=not a|an? )", sentence):
                words = piece.strip(" :,`\"'").replace("`", "").split()
                if len(words) < 2:
                    continue
                checked += 1
                if not can_say(said, words):
                    wrong.append(" ".join(words))
    for command in ("run", "inspect", "ctl", "smoke"):
        text = subprocess.run([os.path.join(build, "keel"), command, "--help"], text=True,
                              stdout=subprocess.PIPE, check=True).stdout
        for option in sorted(set(re.findall(r"^ .*?(--[a-z]+)", text, re.M))):
            checked += 1
            if option not in manual and option != "--headless":
                wrong.append(f"keel {command} {option}")
    if wrong or checked < 80:
        sys.exit(f"manual.py: of {checked} these are not so: " + "; ".join(wrong))
    print(f"{checked} promises of the manual hold")


if __name__ == "__main__":
    main()
