"""A live session over the control socket: tweaks, single frames, going back in time."""
import os
import time

import unittest

import keeltest
from keeltest import KeelTest, build, content
from test_dev import DevHost

SOURCE = r"""
#include <keel/keel.h>
struct live { uint64_t frames; int64_t last_ns; double dt_most; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct live *l = keel_state(k, struct live);
    double gravity = KEEL_TWEAK(k, gravity, 9.8, 0, 20);
    int fish = KEEL_TWEAK(k, fish, 12, 1, 99);
    int trails = KEEL_TWEAK_SWITCH(k, trails, 1);
    uint32_t sky = KEEL_TWEAK_COLOR(k, sky, 0x102030ff);
    l->frames++;
    if (f->dt > l->dt_most)
        l->dt_most = f->dt;
    keel_info(k, "%llu: g %g fish %d trails %d sky %08x after %.3f",
              (unsigned long long)l->frames, gravity, fish, trails, sky, f->dt);
}
KEEL_MODULE("live", "1.0", KEEL_ON(frame, frame))
"""


class Live(KeelTest):
    def live(self):
        return self.host(self.place(build(SOURCE), "live.so"))

    def tweaks(self, host):
        slots = host.call("tweak")["slots"]
        return {tweak["name"]: tweak for slot in slots for tweak in slot["tweaks"]}

    def test_tweaks_are_listed_and_set(self):
        host = self.live()
        host.wait("g 9.8 fish 12 trails 1 sky 102030ff")
        listed = self.tweaks(host)
        self.assertEqual(list(listed), ["gravity", "fish", "trails", "sky"])
        self.assertEqual([listed[name]["kind"] for name in listed],
                         ["real", "int", "switch", "color"])
        self.assertEqual((listed["gravity"]["least"], listed["gravity"]["most"]), (0, 20))
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "gravity=3.5", "fish=20",
                        "trails=off", "sky=#ff8800")
        self.assertEqual(ctl.returncode, 0, ctl.stderr)
        self.assertIn("(9.8 in the source)", ctl.stdout)
        host.wait("g 3.5 fish 20 trails 0 sky ff8800ff")
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "gravity=default")
        self.assertEqual(ctl.returncode, 0)
        host.wait("g 9.8 fish 20")
        host.end()

    def test_what_cant_be_set(self):
        host = self.live()
        host.wait("g 9.8")
        for argument, words in (
                ("gravitx=1", "no tweak is called gravitx: there are gravity,"),
                ("gravitx", "no tweak is called gravitx"),
                ("gravity=21", "gravity goes from 0 to 20, not to 21"),
                ("gravity=", "gravity is a number"),
                ("fish=1.5", "fish is a whole number, not 1.5"),
                ("trails=perhaps", "trails is on or off, not \"perhaps\""),
                ("sky=#12345g", "sky is a color"), ("sky=#12345", "sky is a color")):
            with self.subTest(argument):
                ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", argument)
                if argument == "gravity=":  # no value: nothing is set
                    self.assertEqual(ctl.returncode, 0)
                    continue
                self.assertEqual(ctl.returncode, 1, ctl.stdout)
                self.assertIn(words, ctl.stderr)
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "gravity", "2")
        self.assertEqual(ctl.returncode, 2, ctl.stdout)
        self.assertIn("to set it, write gravity=2", ctl.stderr)
        for wrong in ({"set": 1, "value": "1"}, {"set": "gravity", "value": 1},
                      {"set": "", "value": "1"}):
            host.refused("tweak", **wrong)
        self.assertEqual(self.tweaks(host)["gravity"]["value"], 9.8)
        host.end()

    def test_a_set_value_survives_a_swap_and_a_new_default_wins(self):
        host = self.live()
        host.wait("g 9.8")
        host.call("tweak", set="gravity", value="3")
        host.call("tweak", set="fish", value="50")
        host.wait("g 3 fish 50")
        mark = host.mark()
        self.place(build(SOURCE.replace("gravity, 9.8", "gravity, 4.5")), "live.so")
        found = host.wait(r"(\d+): g 4.5 fish 50", after=mark)
        self.assertGreater(int(found.group(1)), 1)
        host.end()

    def test_a_step_is_one_frame(self):
        host = self.live()
        host.wait("g 9.8")
        host.frames_pass()
        host.call("pause", on=True)
        before = host.status()["slots"][0]["frames"]
        self.assertEqual(host.call("frame-step")["paused"], True)
        self.assertEqual(host.status()["slots"][0]["frames"], before + 1)
        ctl = self.keel("ctl", "--socket", host.socket_path, "frame-step", "7")
        self.assertIn("stands still after frame", ctl.stdout)
        self.assertEqual(host.status()["slots"][0]["frames"], before + 8)
        self.quiet_frames(host, before + 8)
        # Its clock stood still, too: no frame saw the pause.
        mark = host.mark()
        host.call("pause", on=False)
        host.frames_pass(5)
        for text in host.texts(r"after \d", after=mark):
            self.assertLess(float(text.rsplit(" ", 1)[1]), 0.2, text)
        host.refused("frame-step", frames=0)
        self.assertEqual(self.keel("ctl", "--socket", host.socket_path, "frame-step", "x").returncode,
                         2)
        host.end()

    def quiet_frames(self, host, frames):
        time.sleep(0.3)
        self.assertEqual(host.status()["slots"][0]["frames"], frames)

    # ---- stored in the source

    def dev(self):
        os.makedirs(self.path("live"))
        with open(self.path("live/live.c"), "w") as f:
            f.write(SOURCE)
        host = DevHost(self, [self.path("live")])
        self.hosts.append(host)
        host.wait("g 9.8")
        return host

    def test_write_back(self):
        host = self.dev()
        host.call("tweak", set="gravity", value="3.5")
        host.wait("g 3.5")
        mark = host.mark()
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "--write-back")
        self.assertEqual(ctl.returncode, 0, ctl.stderr)
        self.assertRegex(ctl.stdout, r"live/live\.c:7: gravity is 3\.5 now")
        self.assertEqual(content(self.path("live/live.c")).decode(),
                         SOURCE.replace("gravity, 9.8", "gravity, 3.5"))
        host.wait("runs anew", after=mark)
        host.wait("g 3.5", after=mark)
        self.assertEqual(self.tweaks(host)["gravity"]["initial"], 3.5)
        host.end()

    def test_write_back_refuses_what_it_doesnt_know(self):
        host = self.dev()
        host.call("tweak", set="gravity", value="3.5")
        # Not built yet: another number stands there. The build is held up by a mistake.
        path = self.path("live/live.c")
        text = SOURCE.replace("gravity, 9.8", "gravity, 12.0").replace("l->frames++;", "l->frames+;")
        with open(path, "w") as f:
            f.write(text)
        host.wait("build failed")
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "--write-back")
        self.assertEqual(ctl.returncode, 1)
        self.assertIn("is 12.0 there, and 9.8 in the code that runs: build it first", ctl.stderr)
        self.assertEqual(content(path).decode(), text)
        host.end()

    # ---- on screen

    @unittest.skipIf("thread" in keeltest.SANITIZED, "the graphics driver's threads are all that it sees")
    def test_a_slider_is_dragged(self):
        os.makedirs(self.path("live"))
        with open(self.path("live/live.c"), "w") as f:
            f.write(SOURCE)
        host = DevHost(self, [self.path("live"), "--screenshot-at", "100000", self.path("no.png"),
                              "--size", "640x480", "--write-back"],
                       env=dict(self.env, ASAN_OPTIONS="detect_leaks=0"))  # the driver has its own
        self.hosts.append(host)
        host.wait("g 9.8")
        if host.texts("no window"):
            host.end(expect=None)
            self.skipTest("no OpenGL here")

        def by_hand(*steps):
            ctl = self.keel("ctl", "--socket", host.socket_path, "input", *steps)
            self.assertEqual(ctl.returncode, 0, ctl.stderr)
        # The panel is 308 wide, 16 from the right; the first slider 74 below its top.
        left, right = 640 - 16 - 308 + 14, 640 - 16 - 14
        by_hand("key f1", "frame", "move %d %d" % (left + 5, 16 + 74), "down", "frame",
                "move %d %d" % (left + (right - left) // 4, 300), "frame", "up", "frame")
        host.wait("g 5 ")  # a quarter of 0 to 20
        # It was let go: now the source has it, and the new default is what the new code finds.
        host.wait("gravity is stored in live.c, line 7")
        host.wait("runs anew")
        self.assertIn("KEEL_TWEAK(k, gravity, 5.0, 0, 20)", content(self.path("live/live.c")).decode())
        self.assertEqual(self.tweaks(host)["gravity"]["initial"], 5)
        host.end(expect=None)

    # ---- back in time

    PAST = r"""
#include <keel/keel.h>
struct past { uint64_t frames, sum, random, told, ticks, results; keel_handle timer; };
static int32_t work(struct keel_work *w)
{
    w->give(w, w->input, w->input_bytes);
    return 0;
}
static void event(keel *k, const struct keel_event *e)
{
    struct past *p = keel_state(k, struct past);
    if (e->kind == KEEL_EVENT_MESSAGE)
        p->sum += *(const unsigned char *)e->data * STEP;
    if (e->kind == KEEL_EVENT_TIMER)
        p->ticks++;
    if (e->kind == KEEL_EVENT_TASK && e->result == 0) {
        p->results += *(const uint64_t *)e->data;
        p->random ^= keel_random(k);
    }
}
static void frame(keel *k, const struct keel_frame *f)
{
    struct past *p = keel_state(k, struct past);
    if (!p->timer)
        p->timer = keel_timer_start(k, 0, 50000000, 1);
    p->frames++;
    p->random = p->random * 31 + keel_random(k);
    if (p->frames % 20 == 0)
        keel_task_start(k, 1, 0, 0, &p->frames, sizeof p->frames);
    keel_info(k, "@%llu: sum %llu random %016llx ticks %llu results %llu at %lld",
              (unsigned long long)p->frames, (unsigned long long)p->sum,
              (unsigned long long)p->random, (unsigned long long)p->ticks,
              (unsigned long long)p->results, (long long)f->time_ns);
}
KEEL_MODULE("past", "1.0", KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(work, work))
"""

    def past(self, *args):
        host = self.host(self.place(build("#define STEP 1\n" + self.PAST), "past.so"),
                         "--rewind", "20", *args)
        host.wait("@30:")
        for letter in "abc":
            host.call("send", slot="past", text=letter)
            host.frames_pass(7)
        return host

    def by_frame(self, host, after, before=None):
        found = {}
        for text in host.texts("@", after=after)[:before]:
            number, rest = text.split("@")[1].split(": ", 1)
            found.setdefault(int(number), rest)
        return found

    def test_the_same_input_gives_the_same_frames(self):
        host = self.past()
        mark = host.mark()
        at = host.slot()["frames"]
        answer = host.call("rewind", frames=at - 10, replay=True)
        self.assertGreater(answer["seconds"], 0)
        host.wait("@%d:" % (at + 20), after=mark)
        first, again = self.by_frame(host, 0, mark), self.by_frame(host, mark)
        both = [n for n in again if n in first and n > 12]
        self.assertGreater(len(both), 30)
        for number in both:
            self.assertEqual(again[number], first[number], "frame %d" % number)
        # Afterwards it goes on: with tasks and timers of its own, its clock without a jump.
        host.call("send", slot="past", text="a")
        host.frames_pass(40)
        last = self.by_frame(host, mark)
        numbers = sorted(last)
        times = [int(last[n].rsplit(" ", 1)[1]) for n in numbers]
        self.assertTrue(all(0 < b - a < 200e6 for a, b in zip(times, times[1:])))
        host.end()

    def test_new_code_gets_the_old_input(self):
        host = self.past()
        host.wait("sum 294 ")
        at = host.slot()["frames"]
        mark = host.mark()
        self.place(build("#define STEP 2\n" + self.PAST), "past.so")
        host.wait("→ 2", after=mark)
        mark = host.mark()
        ctl = self.keel("ctl", "--socket", host.socket_path, "rewind", "--replay", "--frames",
                        str(host.slot()["frames"] - 20))
        self.assertEqual(ctl.returncode, 0, ctl.stderr)
        self.assertRegex(ctl.stdout, r"^\d+\.\d\d s back, and the same input again$")
        host.wait("@%d: sum 588 " % at, after=mark)
        self.assertEqual(host.slot()["generation"], 2)
        host.end()

    def test_standing_in_the_past_and_going_on_from_there(self):
        host = self.past()
        host.call("pause", on=True)
        now = host.slot()["frames"]
        answer = host.call("rewind", frames=15)
        self.assertTrue(answer["paused"])
        self.assertEqual(host.slot()["frames"], now - 15)
        host.call("rewind", frames=5)
        self.assertEqual(host.slot()["frames"], now - 20)
        mark = host.mark()
        host.call("pause", on=False)
        host.frames_pass(3)
        self.assertEqual(min(self.by_frame(host, mark)), now - 19)
        host.end()

    def test_what_cant_be_gone_back_to(self):
        host = self.past()
        self.assertIn("above 0", host.refused("rewind")["text"])
        host.refused("rewind", seconds=-1)
        host.refused("rewind", seconds=1, frames=1)
        self.assertGreater(host.status()["host"]["rewind"]["seconds"], 0)
        # Too far: to the oldest that there is.
        host.call("rewind", seconds=1000)
        self.assertLess(host.slot()["frames"], 25)
        # Other types: the state went through hooks, or began anew; what was before is of no use.
        mark = host.mark()
        other = self.PAST.replace("struct past {", "struct past { uint64_t more;")
        other = other.replace("KEEL_ON(frame, frame)", "KEEL_ON(frame, frame) KEEL_ON(restore, restore)"
                              " KEEL_ON(save, save)")
        hooks = """
static int save(keel *k, struct keel_writer *w) { (void)k; (void)w; return 0; }
static int restore(keel *k, struct keel_reader *r) { (void)r; keel_state(k, struct past); return 0; }
"""
        for name, text in (("1", self.PAST.replace("KEEL_ON(frame, frame)", "KEEL_ON(frame, frame) "
                            "KEEL_ON(restore, restore) KEEL_ON(save, save)")), ("2", other)):
            text = text.replace("static void frame", hooks + "static void frame")
            self.place(build("#define STEP 3\n" + text), "past.so")
            host.wait("→ %d" % (int(name) + 1), after=mark)
        host.frames_pass(3)
        answer = host.call("rewind", seconds=1000)
        self.assertLess(answer["seconds"], 5)
        host.end()

    def test_a_struct_that_grew_forgets_what_was_before(self):
        host = self.past()
        mark = host.mark()
        self.place(build("#define STEP 1\n" + self.PAST.replace(
            "struct past {", "struct past { uint64_t more;")), "past.so")
        host.wait("→ 2", after=mark)
        host.frames_pass(3)
        answer = host.call("rewind", seconds=1000)
        self.assertLess(answer["seconds"], 5)
        host.wait("@4[0-9]:|@[5-9][0-9]:", after=mark)  # it didn't begin anew
        host.end()

    def test_a_fault_in_the_past_ends_the_replay(self):
        host = self.past()
        host.frames_pass(45)  # the trial is given the last frames, which have no message
        mark = host.mark()
        self.place(build("#define STEP 1\n" + self.PAST.replace(
            "p->sum += *(const unsigned char *)e->data * STEP;",
            "{ if (*(const char *)e->data == 'b') " + keeltest.CRASH + " p->sum += 1; }")), "past.so")
        host.wait("→ 2", after=mark)
        mark = host.mark()
        host.call("rewind", frames=host.slot()["frames"] - 20, replay=True)
        host.wait("rolled back to 1", after=mark)  # in its probation: the code before goes on
        host.frames_pass(10)
        slot = host.slot()
        self.assertEqual((slot["generation"], slot["undone"]), (1, 1))
        host.wait("@[0-9]+: sum [0-9]+", after=host.mark())
        host.end()

    def test_off_says_so(self):
        host = self.live()
        host.wait("g 9.8")
        self.assertIn("keel run --rewind", host.refused("rewind", seconds=1)["text"])
        host.end()

    @unittest.skipIf("thread" in keeltest.SANITIZED, "its frames are too slow to fill the past")
    def test_memory_is_bounded(self):
        host = self.host(self.place(build(r"""
#include <keel/keel.h>
enum { BYTES = 24 << 20 };
struct big { uint64_t frames; char bytes[BYTES]; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct big *b = keel_state(k, struct big);
    for (int i = 0; i < BYTES; i += 4096)
        b->bytes[i] = (char)b->frames;
    b->frames++;
    (void)f;
}
KEEL_MODULE("big", "1.0", KEEL_ON(frame, frame))
"""), "big.so"), "--rewind", "2", "--deadline", "0")
        host.wait("generation 1")
        try:
            host.frames_pass(200)
            if host.slot()["state"]["tier"] != "off":
                rewind = host.status()["host"]["rewind"]
                self.assertGreater(rewind["seconds"], 0)
                self.assertLess(rewind["bytes"], (256 + 64) << 20)
                host.call("rewind", seconds=rewind["seconds"] / 2)
        finally:
            host.end()


if __name__ == "__main__":
    keeltest.main()
