"""A rebuild of the same code is recognized and not swapped; what a swap changed is named."""
import glob
import os
import unittest

import keeltest
from keeltest import CRASH, build, counter

GLOW = "void glow(void); static int gravity = 10; void glow(void) { gravity++; }"


def module(number=1, *, comment="", name="counter", flags=(), **more):
    return build(comment + counter(number, name=name, **more), unit=name + ".c", flags=flags)


@unittest.skipIf(keeltest.SANITIZED, "the reader's sandbox ends what sanitizers do at exit")
class Identical(keeltest.KeelTest):
    def start(self, *options):
        self.place(module(), "m.so")
        live = self.host(self.path("m.so"), *options)
        live.wait("build 1 runs")
        live.frames_pass()
        return live

    def test_a_comment_swaps_nothing(self):
        live = self.start()
        running = live.slot()["hash"]
        mark = live.mark()
        self.place(module(comment="/* another */\n\n"), "m.so")
        live.wait("rebuilt, same code: still generation 1$", after=mark)
        slot = live.slot()
        self.assertEqual(slot["generation"], 1)
        self.assertEqual(slot["hash"], running)
        self.assertNotIn(slot["equal"], ("", running))
        self.assertRegex(slot["last"], "same code")
        # Asked for, it is answered in the same words; insisted upon, it is done.
        error = live.refused("swap")
        self.assertEqual(error["code"], "ESAME")
        self.assertIn("same code: still generation 1", error["text"])
        live.call("swap", same=True)
        slot = live.slot()
        self.assertEqual(slot["generation"], 2)
        self.assertEqual((slot["equal"], slot["changes"]), ("", ""))
        live.end()

    def test_lines_of_asserts_swap_nothing(self):
        more = {"includes": "#include <assert.h>", "before": "assert(s->count < 1u << 30);"}
        self.place(module(**more), "m.so")
        live = self.host(self.path("m.so"))
        live.wait("build 1 runs")
        self.place(module(comment="\n\n", **more), "m.so")
        live.wait("same code but for the lines that asserts tell: still generation 1")
        live.end()

    def test_other_levels_and_no_debug_information(self):
        live = self.start()
        mark = live.mark()
        self.place(module(flags=["-g0"]), "m.so")
        live.wait("same code", after=mark)
        mark = live.mark()
        self.place(module(flags=["-O0"]), "m.so")
        live.wait("generation 1 → 2 .*changed: ", after=mark)
        live.end()

    def test_another_version_is_no_same_build(self):
        live = self.start()
        self.place(module(version="1.1"), "m.so")
        live.wait("generation 1 → 2")
        self.assertEqual(live.slot()["version"], "1.1")
        live.end()

    def test_the_option_swaps_it(self):
        live = self.start("--swap-identical")
        self.place(module(comment="/* another */\n"), "m.so")
        live.wait("generation 1 → 2")
        live.end()

    def test_without_a_trial(self):
        live = self.start("--trial", "off")
        self.place(module(comment="/* another */\n"), "m.so")
        live.wait("same code: still generation 1")
        self.place(module(2), "m.so")
        live.wait("generation 1 → 2 .*changed: frame$")
        live.end()

    def test_of_a_group_only_what_changed(self):
        for name in ("a", "b", "c"):
            self.place(module(name=name), name + ".so")
        live = self.host(*[self.path(n + ".so") for n in ("a", "b", "c")], "--no-watch")
        live.wait("build 1 runs", count=3)
        live.frames_pass()
        before = [s["generation"] for s in live.status()["slots"]]
        self.place(module(name="a", comment="/* */"), "a.so")
        self.place(module(2, name="b"), "b.so")
        self.place(module(name="c", comment="/* */"), "c.so")
        answer = live.call("swap", slots=["a", "b", "c"])
        self.assertEqual([s["name"] for s in answer["slots"]], ["b"])
        self.assertEqual(answer["slots"][0]["changes"], "changed: frame")
        after = [s["generation"] for s in live.status()["slots"]]
        self.assertEqual((after[0], after[2]), (before[0], before[2]))
        self.assertGreater(after[1], before[1])
        self.place(module(2, name="b", comment="/* */"), "b.so")
        self.assertEqual(live.refused("swap", slots=["a", "b", "c"])["code"], "ESAME")
        live.end()

    def test_what_changed_is_named(self):
        live = self.start()
        mark = live.mark()
        self.place(module(2, globals=GLOW), "m.so")
        live.wait("generation 1 → 2 .*changed: frame; added: glow; new data: gravity$", after=mark)
        self.place(module(2, globals=GLOW.replace("10", "11")), "m.so")
        live.wait("generation 2 → 3 .*; data: gravity 10 → 11$", after=mark)
        many = "".join("void f%d(void); void f%d(void) { }" % (i, i) for i in range(20))
        self.place(module(3, globals=GLOW + many), "m.so")
        live.wait(r"added: f0, f1, .* and 14 more", after=mark)
        self.assertRegex(live.slot()["changes"], "and 14 more")
        live.end()

    def test_bytes_that_were_read_are_not_read_again(self):
        live = self.start("--verbose")
        self.place(module(2), "m.so")
        live.wait("generation 1 → 2 .*changed: frame$")
        mark = live.mark()
        self.place(module(1), "m.so")
        live.wait("these bytes were read before", after=mark)
        live.wait("generation 2 → 3 .*changed: frame$", after=mark)
        live.end()

    def test_a_reading_begins_from_the_one_before(self):
        same = ["-gdwarf-4"]  # from 5 on it names the folder, which is each build's own here
        live = self.start("--verbose")
        self.place(module(2, frame="s->extra[0] += 1000;", flags=same), "m.so")
        live.wait("generation 1 → 2 .*changed: frame$")
        mark = live.mark()
        self.place(module(2, frame="s->extra[0] += 2000;", flags=same), "m.so")
        live.wait(r"was read; of what was read before it, types, lines of the source, the schema "
                  r"and [1-9]\d* of \d+ fingerprints still held$",
                  after=mark)
        live.wait("generation 2 → 3 .*changed: frame$", after=mark)
        live.end()

    def test_nothing_begins_from_what_never_ran(self):
        """A refused build may have taken its reader over, and would answer for the next one."""
        def build_of(crash_at):
            return module(2, globals="static int n = 1000;",
                          frame="if (++n == %d) { %s }" % (crash_at, CRASH), flags=["-gdwarf-4"])
        held = "of what was read before it"
        live = self.start("--verbose")
        self.place(build_of(1003), "m.so")
        live.wait("refused")
        mark = live.mark()
        self.place(build_of(1000003), "m.so")
        live.wait("generation 1 → 2", after=mark)
        self.assertEqual(live.texts(held, after=mark), [])
        self.place(build_of(1000005), "m.so")
        live.wait("generation 2 → 3", after=mark)
        self.assertEqual(len(live.texts(held, after=mark)), 1)
        live.end()

    def test_a_report_names_what_changed(self):
        reports = self.path("reports")
        self.place(module(), "m.so")
        live = self.host(self.path("m.so"), env=dict(self.env, KEEL_REPORTS=reports))
        live.wait("build 1 runs")
        self.place(module(2, globals="static int n;", frame="if (++n == 20) { %s }" % CRASH), "m.so")
        live.wait("rolled back")
        live.wait("report: ")
        texts = [open(p, errors="replace").read() for p in glob.glob(os.path.join(reports, "*"))]
        self.assertTrue(any("against the one before: changed: frame; new data: n" in t
                            for t in texts), texts)
        live.end()

    def test_code_that_cannot_be_compared_is_swapped(self):
        def plain(comment):
            return build(comment + counter(1), unit="counter.c", plain=True, flags=["-s"])
        self.place(plain(""), "m.so")
        live = self.host(self.path("m.so"))
        live.wait("build 1 runs")
        self.place(build(counter(1, frame="s->extra[0]++;"), unit="counter.c", plain=True,
                         flags=["-s"]), "m.so")
        live.wait("generation 1 → 2 .*too little is in them to tell what changed")
        live.end()


if __name__ == "__main__":
    unittest.main()
