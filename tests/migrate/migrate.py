"""Random struct graphs, random edits, real hosts: each edit is compiled (gcc and clang, -O0 and -O2),
swapped in, and what the new code finds is compared with what the oracle says it must find.

    migrate.py [--pairs N] [--seed S]    S alone repeats one chain of swaps
"""
import argparse
import json
import os
import random
import shutil
import sys
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenario")]
import keeltest
from keeltest import build
from model import Program
from source import source

CHAIN = 8
COMPILERS = [c for c in ("gcc", "clang") if shutil.which(c)]
OPTIONS = argparse.Namespace(pairs=40, seed=None)


def compiled(p, number, first, r):
    return build(source(p, number, first), compiler=r.choice(COMPILERS),
                 flags=[r.choice(("-O0", "-O2")), "-Wno-unused", "-Wno-unused-parameter"])


def found(host, after):
    """What the generation said it found, by object."""
    said, part = {}, ""
    for text in host.texts(after=after):
        if text.startswith("m: J "):
            part += text[5:]
        elif text == "m: K":
            try:
                value = json.loads(part)
            except ValueError as e:
                raise AssertionError("%s in %r" % (e, part))
            said[value.get("o", "statics")] = value.get("v", value)
            part = ""
    return said


class Migrate(keeltest.KeelTest):
    def chain(self, seed, swaps):
        r = random.Random(seed)
        p = Program(seed)
        story = ["seed %s" % seed]
        host = self.running(compiled(p, 1, True, r), "--probation",
                            r.choice(("1", "3", "1000000")))
        self.assertEqual(found(host, 0), p.expected(), story)
        generation = 1
        for swap in range(swaps):
            mark = host.mark()
            lossy = p.too_small() if r.random() < 0.15 else None
            if lossy:
                self.place(compiled(lossy[0], 1000 + swap, False, r))
                said = host.wait("m: refused: .*", after=mark).string
                self.assertRegex(said, r"struct %s: .* doesn't fit" % lossy[1].replace(".", r"\."),
                                 story)
                self.assertEqual(host.slot()["generation"], generation)
                mark = host.mark()
            p, done = p.edit()
            story.append("; ".join(done))
            number = swap + 2
            self.place(compiled(p, number, False, r))
            host.wait("build %d runs|m: refused|taken back out" % number, after=mark)
            self.assertEqual(host.texts("refused|taken back out|rolled back|LOST", mark), [],
                             "\n".join(story))
            is_, must = found(host, mark), p.expected()
            for name in must:
                self.assertEqual(is_.get(name), must[name],
                                 "%s after\n%s" % (name, "\n".join(story)))
            generation = host.slot()["generation"]
        host.end()

    def test_random_edits(self):
        if OPTIONS.seed is not None:
            self.chain(OPTIONS.seed, CHAIN)
            return
        for seed in range(OPTIONS.pairs // CHAIN):
            self.chain(seed, CHAIN)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seed", type=int)
    parser.parse_args(namespace=OPTIONS)
    unittest.main(argv=sys.argv[:1], verbosity=2)
