"""A candidate takes over only after it has run beside the running generation and done the same, and
in a share of the slots first."""
import os
import subprocess
import unittest

import keeltest
from keeltest import build

# Everything that a frame may depend on: time, random numbers, timers, tasks, messages, handles,
# memory that comes and goes. EACH is what a frame adds, MORE stands in the table.
SOURCE = r"""
#include <keel/keel.h>
#include <stdlib.h>
#include <string.h>
struct st {
    uint64_t count, sum, fired, worked;
    double seconds;
    keel_handle timer, picture;
    char *text;
    void *block;
    void (*way)(struct st *s);
};
static int told KEEL_CACHE; /* each generation says it once */
static void one_way(struct st *s) { s->sum += 1; }
static int start(keel *k)
{
    struct st *s = keel_state(k, struct st);
    s->timer = keel_timer_start(k, 5000000, 5000000, 7);
    s->picture = keel_image_new(k, 4, 4, NULL);
    s->way = one_way;
    return 0;
}
static void event(keel *k, const struct keel_event *e)
{
    struct st *s = keel_state(k, struct st);
    if (e->kind == KEEL_EVENT_TIMER)
        s->fired += (uint64_t)e->result * e->tag;
    if (e->kind == KEEL_EVENT_TASK)
        s->worked += (uint64_t)e->result;
    if (e->kind == KEEL_EVENT_MESSAGE)
        s->sum += e->tag * 1000 + e->data_bytes;
}
static int32_t work(struct keel_work *w) { return (int32_t)w->tag; }
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    s->count++;
    static uint64_t kept; /* carried over, as the pointer to one_way is */
    s->seconds += f->dt;
    s->way(s);
    s->sum += ++kept;
    s->sum ^= keel_random(k);
    free(s->block);
    s->block = malloc(100 + (size_t)(s->sum %% 1000));
    free(s->text);
    s->text = strdup("so it goes");
    if (s->count %% 7 == 0)
        keel_task_start(k, 1, s->count, KEEL_TASK_BACKGROUND, NULL, 0);
    if (s->count %% 11 == 0) {
        keel_image_free(k, s->picture);
        s->picture = keel_image_new(k, 4, 4, NULL);
    }
    if (s->count %% 13 == 0) {
        keel_timer_stop(k, s->timer);
        s->timer = keel_timer_start(k, 5000000, 5000000, 7);
    }
    if (!told && keel_run_mode(k) == KEEL_MODE_LIVE)
        keel_info(k, "build %(build)d runs");
    told = 1;
    %(each)s
}
%(more)s
KEEL_MODULE("counter", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event)
            KEEL_ON(work, work) %(table)s)
"""


def module(number, each="", more="", table=""):
    return build(SOURCE % {"build": number, "each": each, "more": more, "table": table})


class Handover(keeltest.KeelTest):
    def begin(self, each="", how="shadow,lag=1000,wait=20000", **more):
        self.place(module(1, each))
        live = self.host(self.path("m.so"), "--headless", "--handover", how, "-v", **more)
        live.wait("build 1 runs")
        return live

    def refused_and_goes_on(self, live, words):
        live.wait("refused: .*not handed over: .*" + words)
        live.frames_pass(5)
        self.assertEqual(live.slot()["generation"], 1)
        self.assertEqual(live.slot()["faults"], 0)

    def test_the_same_takes_over(self):
        live = self.begin()
        self.place(module(2))
        live.wait("shadow: the same as generation 1 over")
        live.wait("build 2 runs")
        live.wait("generation 1 → 2")
        mark = live.mark()
        self.place(module(3))  # and again, with two generations' handles behind it
        live.wait("shadow: the same as generation 2 over", after=mark)
        live.wait("build 3 runs")
        live.end()

    def test_while_messages_come(self):
        live = self.begin()
        self.place(module(2))
        for i in range(30):
            live.call("send", slot="m", tag=i, text="x" * (i + 1))
        live.wait("build 2 runs")
        live.end()

    def test_another_state_is_refused(self):
        live = self.begin()
        self.place(module(2, "s->sum += s->count > 1000000 ? 0 : 1;"))
        self.refused_and_goes_on(live, "differs from generation 1's from frame")
        self.place(module(3))
        live.wait("build 3 runs")
        live.end()

    def test_one_byte_in_one_frame_is_seen(self):
        live = self.begin(how="shadow,frames=40,lag=1000,wait=20000")
        self.place(module(2, "static int n; if (++n == 20) ((char *)s->text)[0] = 'S';"))
        self.refused_and_goes_on(live, "differs from generation 1's from frame")
        live.end()

    @unittest.skipIf("thread" in keeltest.SANITIZED, "ThreadSanitizer holds the fault's signal back")
    def test_a_crash_beside_is_seen_by_nobody(self):
        live = self.begin(how="shadow,frames=40,lag=1000,wait=20000")
        self.place(module(2, "static int n; if (keel_run_mode(k) == KEEL_MODE_SHADOW && ++n == 20) "
                             "*(volatile int *)8 = 1;"))
        self.refused_and_goes_on(live, "crashed")
        live.end()

    def test_check_decides_where_there_is_one(self):
        live = self.begin()
        check = "static int32_t check(keel *k) { return keel_state(k, struct st)->sum == 0 ? %s; }"
        each = "s->sum = 0;"
        self.place(module(2, each, check % "-9 : 0", "KEEL_ON(check, check)"))
        self.refused_and_goes_on(live, "its check answered -9")
        self.place(module(3, each, check % "0 : -9", "KEEL_ON(check, check)"))
        live.wait("build 3 runs")
        live.end()

    def test_too_slow(self):
        live = self.begin(how="shadow,lag=5,wait=100")
        slow = "if (keel_run_mode(k) == KEEL_MODE_SHADOW) { uint64_t x = 1; " \
               "for (int i = 0; i < 60000000; i++) { x = x * 31 + 1; __asm__ volatile(\"\" : \"+r\"(x)); } }"
        self.place(module(2, slow))
        self.refused_and_goes_on(live, "(agreed|keep up|didn't finish|did not finish).*")
        live.end()

    def test_state_by_hooks_has_no_shadow_and_says_so(self):
        hooks = "static int32_t save(keel *k, struct keel_writer *w) " \
                "{ return w->write(w, &keel_state(k, struct st)->count, 8); }"
        live = self.begin()
        other = SOURCE.replace("uint64_t count, sum", "uint64_t extra[4], count, sum")
        self.place(build(other % {"build": 2, "each": "", "more": hooks, "table": "KEEL_ON(save, save)"}))
        live.wait("refused|no shadow, since")
        live.end()

    def test_the_host_ends_meanwhile(self):
        live = self.begin(how="shadow,frames=100000,lag=1000,wait=600000")
        self.place(module(2))
        live.wait("ball: shadow|m: shadow|: shadow")
        live.end()

    def test_a_rollback_meanwhile(self):
        live = self.begin(how="shadow,frames=60,lag=1000,wait=600000")
        self.place(module(2))
        live.wait("generation 1 → 2")
        mark = live.mark()
        self.place(module(3))
        live.wait(": shadow$", after=mark)
        live.call("rollback", slot="m")
        live.wait("rolled back to 1", after=mark)
        live.wait("build 3 runs", after=mark)  # beside generation 1 then
        live.end()

    def large(self, number, more=""):
        """320 MiB, of which few pages are ever written."""
        each = "if (!s->big) s->big = malloc(320 << 20); " \
               "s->big[(s->count * 37 % 80000) << 12] = (char)s->count; " + more
        source = SOURCE.replace("void *block;", "void *block; char *big;")
        return build(source % {"build": number, "each": each, "more": "", "table": ""})

    @unittest.skipIf("thread" in keeltest.SANITIZED, "ThreadSanitizer's shadow of it is above a trial's memory")
    def test_a_large_state_is_hashed_beside_frames(self):
        """The pages of 320 MiB that frames don't write are no boundary's work."""
        self.place(self.large(1))
        live = self.host(self.path("m.so"), "--headless", "--handover", "shadow,lag=1000,wait=20000", "-v")
        live.wait("build 1 runs")
        live.frames_pass(3)
        self.place(self.large(2, "if (s->count > 1000000000) s->sum++;"))
        live.wait("shadow: its state was hashed beside frames")
        live.wait("shadow: the same as generation 1 over")
        live.wait("build 2 runs")
        mark = live.mark()
        self.place(self.large(3, "s->big[300 << 20] = 1;"))
        live.wait("refused: .*differs from generation 2's from frame", after=mark)
        live.frames_pass(3)
        self.assertEqual(live.slot()["generation"], 2)
        live.end()

    def test_the_host_ends_while_it_is_hashed(self):
        self.place(self.large(1))
        live = self.host(self.path("m.so"), "--headless", "--handover", "shadow,wait=600000", "-v")
        live.wait("build 1 runs")
        live.frames_pass(3)
        self.place(self.large(2, "if (s->count > 1000000000) s->sum++;"))
        live.wait("build 2|trial|: shadow")
        live.end()

    @unittest.skipIf("thread" in keeltest.SANITIZED, "it wants the same addresses everywhere")
    def test_where_addresses_are_not_random(self):
        """As in a debugger: the helper's libraries would lie where the host has the image before."""
        if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode:
            self.skipTest("this container keeps addresses random")
        live = self.begin(wrap=["setarch", "-R"])
        self.place(module(2))
        live.wait("build 2 runs")
        self.assertEqual(live.texts("not tried|can't be mapped"), [])
        live.end()

    def test_wrong_use(self):
        for given in ("", "shade", "shadow,frames", "frames=3", "shadow,frames=x", "shadow,lag=0"):
            done = self.keel("run", "x.so", "--handover", given)
            self.assertEqual(done.returncode, 2, given)
            self.sentence(done.stderr)



class Canary(keeltest.KeelTest):
    """Four slots of one file; a new build goes to one of them first."""

    def begin(self, share="1/4"):
        self.place(module(1))
        live = self.host(*[self.path("m.so")] * 4, "--headless", "--canary", share,
                         "--probation", "30", "-v")
        live.wait("build 1 runs", count=4)
        return live

    def generations(self, live):
        return [slot["generation"] for slot in live.status()["slots"]]

    def test_the_others_follow(self):
        live = self.begin()
        before = self.generations(live)
        self.place(module(2))
        live.wait("build 2 runs", count=1)
        live.wait("waits until others have proven", count=3)
        live.wait("build 2 runs", count=4)
        story = [text for text in live.texts("build 2 runs|waits until")]
        self.assertEqual(len(story), 7)
        self.assertTrue(all(b > a for a, b in zip(before, self.generations(live))))
        live.end()

    def test_a_bad_one_stays_alone(self):
        live = self.begin()
        before = self.generations(live)
        self.place(module(2, "static int n; if (keel_run_mode(k) == KEEL_MODE_LIVE && ++n == 10) "
                             "*(volatile int *)8 = 1;"))
        live.wait("rolled back to")
        live.wait("stays as it is: .* which went first, didn't keep the new build", count=3)
        live.frames_pass(5)
        self.assertEqual(self.generations(live), before)
        self.assertEqual([slot["faults"] > 0 for slot in live.status()["slots"]],
                         [True, False, False, False])
        live.end()

    def test_a_refused_one_is_refused_once(self):
        live = self.begin("50%")
        with open(self.path("m.so.part"), "w") as file:
            file.write("no module at all\n")
        os.rename(self.path("m.so.part"), self.path("m.so"))
        live.wait("refused", count=2)
        live.wait("stays as it is", count=2)
        self.assertEqual(len(live.texts(": refused")), 2)
        self.place(module(3))
        live.wait("build 3 runs", count=4)
        live.end()

    def test_wrong_use(self):
        for given in ("", "1", "1/1", "0/4", "5/4", "100%", "x", "1/4x"):
            done = self.keel("run", "x.so", "--canary", given)
            self.assertEqual(done.returncode, 2, given)
            self.sentence(done.stderr)


if __name__ == "__main__":
    keeltest.main()
