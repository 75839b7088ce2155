"""Modules that crash, hang or leave: the frame never happened, the state before it is exact, the
right generation is blamed, and good builds are taken afterwards."""
import os
import re
import unittest

import keeltest
from keeltest import build, counter, CRASH

SYSTEM = """#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
"""

# name: (code, what the sentence says)
KINDS = {
    "segv": (CRASH, "null pointer"),
    "segv_wild": ("do { volatile char *volatile p = (char *)0x12345678; *p = 1; } while (0);",
                  "0x12345678"),
    "bus": ("do { int fd = memfd_create(\"x\", 0); volatile char *p = mmap(0, 4096, PROT_READ | "
            "PROT_WRITE, MAP_SHARED, fd, 0); close(fd); *p = 1; } while (0);", "."),
    "fpe": ("do { volatile int zero = 0; volatile int x = 7 / zero; (void)x; } while (0);",
            "division|arithmetic"),
    "ill": ("__builtin_trap();", "illegal|trap"),
    "abort": ("abort();", "abort"),
    "trap": ("__asm__ volatile(\"int3\");", "trap|breakpoint"),
    "sys": ("syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSYS);", "system call|signal 31"),
    "stack": ("(void)fall(1);", "stack"),
    "exit": ("exit(3);", r"exit"),
    "_exit": ("_exit(4);", r"exit"),
    "quick_exit": ("quick_exit(5);", r"exit"),
    "pthread_exit": ("pthread_exit(NULL);", r"pthread_exit|thread"),
    "loop": ("for (volatile int x = 1; x;) x = 2;", "ms|deadline|took"),
    "double_free": ("do { char *volatile p = malloc(40); free(p); free(p); } while (0);", "."),
    "free_of_nothing": ("do { char *volatile p = malloc(400); free(p + 16); } while (0);", "."),
}

# ThreadSanitizer keeps a signal back until the next call that it knows: a pure loop never ends.
SPINS = "thread" not in keeltest.SANITIZED
if not SPINS:
    del KINDS["loop"]

FALL = "static int fall(volatile int n) { volatile char pad[4000]; pad[0] = (char)n; " \
       "return fall(n + 1) + pad[n % 7]; }\n"


def bad(number, code, when="1", **more):
    """Build `number` with a fault in its frame, after the frame changed the state."""
    return build(counter(number, includes=SYSTEM + "#pragma GCC diagnostic ignored "
                         '"-Winfinite-recursion"', globals=FALL + "static int here;",
                         frame="if (++here && (%s)) { s->count += 1000; memset(s->extra, 0x55, "
                         "sizeof s->extra); %s }" % (when, code), **more))


class Kinds(keeltest.KeelTest):
    """Every kind of fault in the first frame, one after the other in one host."""

    def all_kinds(self, host, refused):
        for number, (name, (code, says)) in enumerate(KINDS.items(), 100):
            with self.subTest(kind=name):
                mark = host.mark()
                self.place(bad(number, code))
                host.wait(refused, after=mark)
                said = host.texts(refused, after=mark)[0]
                self.assertRegex(said, says)
                self.sentence(said)
                host.frames_pass(3)
                self.assertEqual(host.slot()["version"], "1.0")
        self.assertEqual(host.texts("build 1.. runs.*count 10.."), [])
        mark = host.mark()
        self.place(build(counter(2)))
        host.wait("build 2 runs", after=mark)
        host.frames_pass(3)
        self.assertEqual(host.end(), 0)

    def test_in_the_trial(self):
        host = self.running(build(counter(1)))
        self.all_kinds(host, "^m: refused: .*(trial|first frame faulted)")
        # Only what the trial couldn't judge came so far.
        self.assertLessEqual(len(host.texts("build 1.. runs")), len(host.texts("inconclusive")))

    def test_live(self):
        """Untried, so that the host itself gets over each of them."""
        host = self.running(build(counter(1)), "--trial=off")
        self.all_kinds(host, "^m: refused: .*first frame faulted")


class Times(keeltest.KeelTest):
    """When it faults: in probation, after it, in the first version, in threads and tasks."""

    def setUp(self):
        super().setUp()
        self.one, self.two, self.three = (build(counter(n)) for n in (1, 2, 3))

    def test_in_probation(self):
        host = self.running(self.one, "--trial=off")
        for number, kind in ((11, "segv"), (12, "loop"), (13, "exit"), (14, "stack")):
            if kind not in KINDS:
                continue
            mark = host.mark()
            before = host.slot()["rolled_back"]
            self.place(bad(number, KINDS[kind][0], when="here == 6"))
            host.wait("build %d runs" % number, after=mark)
            host.wait("rolled back", after=mark)
            host.frames_pass(4)
            slot = host.slot()
            self.assertEqual(slot["rolled_back"], before + 1)
            self.assertEqual(slot["generation"], 1)
            self.assertRegex(slot["last"], "rolled back")
        mark = host.mark()
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.end()

    def test_the_same_bad_bytes_again(self):
        host = self.running(self.one, "--trial=off")
        self.place(bad(11, CRASH, when="here == 6"))
        host.wait("rolled back")
        mark = host.mark()
        error = host.refused("swap")
        self.assertRegex(error["text"], "faulted before")
        self.assertEqual(host.slot()["generation"], 1)
        host.call("swap", retry=True)
        host.wait("rolled back", after=mark)
        host.frames_pass(2)
        host.end()

    def test_breaker_after_probation(self):
        host = self.running(self.one, "--trial=off", "--probation=2")
        mark = host.mark()
        self.place(bad(11, CRASH, when="here > 10"))
        host.wait("build 11 runs", after=mark)
        host.wait("breaker is open, going back", after=mark)
        host.wait(r"generation .*→ \d+ in", after=mark, count=2)
        host.frames_pass(5)
        slot = host.slot()
        self.assertEqual(slot["phase"] in ("running", "probation"), True)
        self.assertEqual(slot["faults"], 3, host.story())
        self.assertEqual(slot["undone"], 3)
        host.wait("build 1 runs", after=mark)  # the code before, loaded again
        mark = host.mark()
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.end()

    def test_now_and_then_after_probation(self):
        """A fault now and then undoes its frames and nothing more."""
        host = self.running(bad(11, CRASH, when="f->index % 50 == 40 && f->index < 300 && !(f->flags & 1)"), "--trial=off",
                            "--probation=2", "--fps=200")
        host.wait("the frame is undone", count=6)
        host.frames_pass(5)
        slot = host.slot()
        self.assertEqual(slot["generation"], 1)
        self.assertGreaterEqual(slot["undone"], 5)
        host.end()

    def test_first_version_crashes_at_once(self):
        host = self.host(self.place(bad(11, CRASH)), "--trial=off")
        host.wait("first frame faulted|waiting for a build")
        self.place(self.two)
        host.wait("build 2 runs from count 1")
        host.end()

    def test_first_version_crashes_in_start(self):
        so = build(counter(11, start="s->count = 77; " + CRASH))
        host = self.host(self.place(so), "--trial=off")
        host.wait("waiting for a build")
        self.place(self.two)
        host.wait("build 2 runs from count 1")
        host.end()

    def test_first_version_crashes_for_ever_later(self):
        host = self.host(self.place(bad(11, CRASH, when="here > 20")), "--trial=off",
                         "--probation=2")
        host.wait("stands still until a new build")
        self.assertEqual(host.slot()["phase"], "stopped")
        self.place(self.two)
        host.wait("build 2 runs from count 21")
        self.assertEqual(host.slot()["phase"], "probation")
        host.end()

    def test_in_a_thread_that_it_started(self):
        code = ("pthread_t t; pthread_create(&t, NULL, crash, NULL); pthread_detach(t);")
        thread = "static void *crash(void *u) { usleep(30000); %s return u; }\n" % CRASH
        so = build(counter(11, includes=SYSTEM, globals=thread + "static int here;",
                           frame="if (++here == 3) { %s }" % code))
        host = self.running(self.one, "--trial=off", "--fps=200")
        mark = host.mark()
        self.place(so)
        host.wait("build 11 runs", after=mark)
        host.wait("rolled back", after=mark)
        host.frames_pass(3)
        slot = host.slot()
        self.assertEqual(slot["generation"], 1)
        for so, number in ((self.two, 2), (self.three, 3)):  # good ones are still taken
            mark = host.mark()
            self.place(so)
            host.wait("build %d runs" % number, after=mark)
        host.frames_pass(3)
        self.assertEqual(host.slot()["rolled_back"], 1)
        host.end()

    def test_in_a_thread_of_the_generation_before(self):
        """The old code's thread crashes while new code runs: the new one isn't blamed."""
        thread = ("static void *crash(void *u) { while (access(\"%s\", F_OK)) usleep(2000); %s "
                  "return u; }\n" % (self.path("now"), CRASH))
        so = build(counter(11, includes=SYSTEM, globals=thread, start="pthread_t t; "
                           "pthread_create(&t, NULL, crash, NULL); pthread_detach(t);"))
        host = self.running(so, "--trial=off", "--probation=3")
        mark = host.mark()
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.frames_pass(10)
        open(self.path("now"), "w").close()
        host.wait("thread is parked|in a thread", after=mark)
        host.frames_pass(5)
        slot = host.slot()
        self.assertEqual(slot["generation"], 2, host.story())
        self.assertEqual(slot["rolled_back"], 0)
        mark = host.mark()
        self.place(self.three)
        host.wait("build 3 runs", after=mark)
        host.end()

    def test_in_work_on_a_worker(self):
        work = "static int32_t work(struct keel_work *w) { (void)w; %s return 0; }" % CRASH
        so = build(counter(11, functions=work, globals="static int here;",
                           entries="KEEL_ON(work, work)",
                           frame="if (++here == 3) keel_task_start(k, 1, 2, 0, NULL, 0);"))
        host = self.running(self.one, "--trial=off")
        mark = host.mark()
        self.place(so)
        host.wait("build 11 runs", after=mark)
        host.wait("rolled back", after=mark)
        host.frames_pass(3)
        self.assertEqual(host.slot()["generation"], 1)
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.end()

    def test_exit_from_a_worker(self):
        work = "static int32_t work(struct keel_work *w) { (void)w; exit(9); return 0; }"
        so = build(counter(11, includes=SYSTEM, functions=work, globals="static int here;",
                           entries="KEEL_ON(work, work)",
                           frame="if (++here == 3) keel_task_start(k, 1, 2, 0, NULL, 0);"))
        host = self.running(self.one, "--trial=off")
        mark = host.mark()
        self.place(so)
        host.wait("rolled back.*exit", after=mark)
        host.frames_pass(3)
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.end()

    def test_exit_from_a_thread_that_it_started(self):
        thread = "static void *leave(void *u) { usleep(20000); exit(5); return u; }\n"
        so = build(counter(11, includes=SYSTEM, globals=thread + "static int here;",
                           frame="if (++here == 3) { pthread_t t; pthread_create(&t, NULL, leave, "
                           "NULL); pthread_detach(t); }"))
        host = self.running(self.one, "--trial=off")
        mark = host.mark()
        self.place(so)
        host.wait("rolled back", after=mark)
        host.frames_pass(3)
        self.place(self.two)
        host.wait("build 2 runs", after=mark)
        host.end()

    def test_a_child_that_it_forked_ends(self):
        """fork in a module: the child's _exit ends the child, not a frame of a second host."""
        code = ("pid_t child = fork(); if (!child) _exit(7); int status = 0; waitpid(child, "
                "&status, 0); keel_info(k, \"child ended with %d\", WEXITSTATUS(status));")
        so = build(counter(11, includes=SYSTEM + "#include <sys/wait.h>\n",
                           globals="static int here;", frame="if (++here == 3) { %s }" % code))
        host = self.running(so, "--trial=off")
        host.wait("child ended with 7")
        host.frames_pass(3)
        self.assertEqual(host.slot()["faults"], 0)
        host.end()

    def test_in_stop(self):
        so = build(counter(11, functions="static void stop(keel *k) { (void)k; %s }" % CRASH,
                           entries="KEEL_ON(stop, stop)"))
        host = self.running(so)
        host.end(0)
        self.assertTrue(host.texts("stop failed"), host.story())

    @unittest.skipUnless(SPINS, "the thread sanitizer keeps the deadline's signal back")
    def test_stop_that_spins(self):
        so = build(counter(11, functions="static void stop(keel *k) { (void)k; for (volatile int "
                           "x = 1; x;) x = 2; }", entries="KEEL_ON(stop, stop)"))
        host = self.running(so, "--deadline=10")
        host.end(0)

    def test_destructor_that_spins(self):
        so = build(counter(11, globals="__attribute__((destructor)) static void end(void) { for "
                           "(volatile int x = 1; x;) x = 2; }"))
        host = self.running(so, "--probation=2")
        self.place(self.two)
        host.wait("build 2 runs")
        host.frames_pass(10)
        host.end(0)

    def test_destructor_that_crashes(self):
        so = build(counter(11, globals="__attribute__((destructor)) static void end(void) { %s }"
                           % CRASH))
        host = self.running(so, "--probation=2")
        self.place(self.two)
        host.wait("build 2 runs")
        host.frames_pass(10)
        host.end(0)


EVENTS = r"""
static void event(keel *k, const struct keel_event *e)
{
    keel_info(k, "event %%llu tag %%llu flags %%u", (unsigned long long)e->seq,
              (unsigned long long)e->tag, e->flags);
    %s
}
"""


class Inputs(keeltest.KeelTest):
    def build(self, number, event="", frame=""):
        return build(counter(number, functions=EVENTS % event, frame=frame,
                             globals="static int here;", entries="KEEL_ON(event, event)"))

    def test_given_once_more_then_set_aside(self):
        so = self.build(1, event=CRASH, frame="if (++here == 8) keel_timer_start(k, 1000000, 0, 7);")
        host = self.running(so, "--trial=off", "--probation=2")
        host.wait("event . tag 7 flags 0")
        host.wait("event . tag 7 flags 1")
        host.frames_pass(5)
        slot = host.slot()
        self.assertEqual(slot["set_aside"], 1)
        self.assertEqual(slot["undone"], 2)
        self.assertEqual(len(host.texts("tag 7")), 2)
        self.assertEqual(slot["generation"], 1)
        host.end()

    def test_given_to_the_generation_that_runs_next(self):
        host = self.running(self.build(1), "--trial=off")
        mark = host.mark()
        self.place(self.build(2, event=CRASH,
                              frame="if (++here == 4) keel_timer_start(k, 1000000, 0, 7);"))
        host.wait("rolled back", after=mark)
        host.wait("event . tag 7 flags 1", after=mark)  # build 1 gets what build 2 fell over
        host.frames_pass(5)
        self.assertEqual(len(host.texts("tag 7")), 2)
        self.assertEqual(host.slot()["set_aside"], 0)
        host.end()

    def test_effects_of_an_undone_frame_never_were(self):
        """Timers that a faulting frame starts don't fire."""
        so = self.build(1, frame="if (f->index == 30 && !(f->flags & 1)) { keel_timer_start(k, 1000000, 0, 9); "
                        + CRASH + "} if (f->index == 40) keel_timer_start(k, 1000000, 0, 8);")
        host = self.running(so, "--trial=off", "--probation=2")
        host.wait("event . tag 8 flags 0")
        host.frames_pass(3)
        self.assertEqual(host.texts("tag 9"), [])
        self.assertEqual(host.slot()["undone"] >= 1, True)
        host.end()


class Hopeless(keeltest.KeelTest):
    """What a process can't get over ends it: a report, status 70, never a hang."""

    def leftovers(self):
        return [left for left in super().leftovers() if left.startswith("process")]

    @unittest.skipIf(keeltest.SANITIZED, "malloc is the sanitizer's, which aborts in its own way")
    def test_abort_inside_malloc(self):
        """glibc aborts with its arena's lock held; without the shim that is this process's."""
        code = "do { char *volatile p = malloc(3000), *volatile q = malloc(3000); free(p); " \
               "free(p); (void)q; } while (0);"
        so = build(counter(11, includes=SYSTEM, globals="static int here;",
                           frame="if (++here == 5) { %s }" % code), use_shim=False)
        host = self.host(self.place(so), "--trial=off")
        status = host.exited(None)
        self.assertEqual(status, 70, host.story())
        self.assertRegex(host.stderr(), "malloc")
        self.sentence([line for line in host.stderr().split("\n") if "can't go on" in line][0])
        report = re.search(r"report: (/\S+)", host.stderr())
        self.assertTrue(report, host.stderr())
        self.assertRegex(keeltest.content(report.group(1)).decode(), "abort")
        # and nothing it left stops the next one
        again = self.host(self.place(build(counter(1)), "n.so"), name=host.socket_path)
        again.wait("build 1 runs")
        again.end()

    def test_lock_of_the_loader_held(self):
        code = "dl_iterate_phdr(fall_over, NULL);"
        so = build(counter(11, includes=SYSTEM + "#include <link.h>\n",
                           globals="static int here; static int fall_over(struct dl_phdr_info *i, "
                           "size_t n, void *u) { (void)i; (void)n; (void)u; %s return 0; }" % CRASH,
                           frame="if (++here == 5) { %s }" % code))
        host = self.host(self.place(so), "--trial=off")
        self.assertEqual(host.exited(None), 70, host.story())

    def test_lock_of_stdio_held(self):
        code = "flockfile(stderr); " + CRASH
        so = build(counter(11, includes=SYSTEM, globals="static int here;",
                           frame="if (++here == 5) { %s }" % code))
        host = self.host(self.place(so), "--trial=off")
        self.assertEqual(host.exited(None), 70, host.story())


if __name__ == "__main__":
    keeltest.main()
