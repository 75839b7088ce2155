"""Random struct graphs, random edits, real hosts: each edit is compiled (gcc and clang, -O0 and -O2),
swapped in, and what the new code finds is compared with what the oracle says it must find.

    migrate.py [--pairs N] [--seed S] [--ahead]    S alone repeats one chain of swaps

Every other chain (`--ahead`: all of them) has flat objects of any size converted before the boundary.
"""
import argparse
import concurrent.futures
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
OPTIONS = argparse.Namespace(pairs=40, seed=None, ahead=False)


def compiled(text, r):
    compiler, flags = r
    return build(text, compiler=compiler, flags=[flags, "-Wno-unused", "-Wno-unused-parameter"])


def with_what(r):
    return r.choice(COMPILERS), r.choice(("-O0", "-O2"))


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


class Step:
    """One edit: the module, what it must find; `lossy`: the module that must be refused before."""

    def __init__(self, story, number, made, expected, lossy=None):
        self.story, self.number, self.made, self.expected, self.lossy = story, number, made, expected, lossy


def prepared(pool, seed, swaps):
    """A chain of swaps, whose compilers are set to work at once: hosts have no say in what is edited."""
    ahead = OPTIONS.ahead or seed % 2
    r = random.Random(seed)
    p = Program(seed, flat=bool(ahead))
    story = ["seed %s" % seed]
    text = source(p, 1, True)
    steps = [Step("\n".join(story), 1, pool.submit(compiled, text, with_what(r)), p.expected())]
    probation = r.choice(("1", "3", "1000000"))
    for swap in range(swaps):
        small = p.too_small() if r.random() < 0.15 else None
        lossy = small and (pool.submit(compiled, source(small[0], 1000 + swap, False), with_what(r)), small[1])
        p, done = p.edit()
        story.append("; ".join(done))
        made = pool.submit(compiled, source(p, swap + 2, False), with_what(r))
        steps.append(Step("\n".join(story), swap + 2, made, p.expected(), lossy))
    return ahead, probation, steps


class Migrate(keeltest.KeelTest):
    def chain(self, ahead, probation, steps):
        self.env["KEEL_PRECOPY_BYTES"] = "1" if ahead else str(1 << 20)
        host = self.running(steps[0].made.result(), "--probation", probation)
        self.assertEqual(found(host, 0), steps[0].expected, steps[0].story)
        generation = 1
        for step in steps[1:]:
            mark = host.mark()
            if step.lossy:
                self.place(step.lossy[0].result())
                said = host.wait("m: refused: .*", after=mark).string
                self.assertRegex(said, r"struct %s: .* doesn't fit" % step.lossy[1].replace(".", r"\."),
                                 step.story)
                self.assertEqual(host.slot()["generation"], generation)
                mark = host.mark()
            self.place(step.made.result())
            host.wait("build %d runs|m: refused|taken back out" % step.number, after=mark)
            self.assertEqual(host.texts("refused|taken back out|rolled back|LOST", mark), [], step.story)
            is_ = found(host, mark)
            for name in step.expected:
                self.assertEqual(is_.get(name), step.expected[name],
                                 "%s after\n%s" % (name, step.story))
            generation = host.slot()["generation"]
        converted = len(host.texts("converted ahead"))
        self.assertFalse(converted and not ahead, steps[-1].story)
        host.end()
        return converted

    def test_random_edits(self):
        seeds = [OPTIONS.seed] if OPTIONS.seed is not None else list(range(OPTIONS.pairs // CHAIN))
        converted = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            coming = [prepared(pool, seed, CHAIN) for seed in seeds[:1]]
            for seed in seeds[1:] + [None]:
                if seed is not None:
                    coming.append(prepared(pool, seed, CHAIN))
                converted += self.chain(*coming.pop(0))
        if OPTIONS.seed is None:
            print("converted ahead in %d swaps" % converted)
            self.assertGreater(converted, 0, "nothing was converted ahead in %d swaps" % OPTIONS.pairs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--ahead", action="store_true")
    parser.parse_args(namespace=OPTIONS)
    unittest.main(argv=sys.argv[:1], verbosity=2)
