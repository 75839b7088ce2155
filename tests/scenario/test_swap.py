"""What a swap is: all or none, nothing shared, hooks, rollback, probation, effects that go on."""
import os
import re
import time

import keeltest
from keeltest import build, content, counter, CRASH, DENY

TICK = 'if (f->index % 10 == 0) keel_info(k, "tick build %d count %llu", BUILD_NUMBER, ' \
       '(unsigned long long)s->count);'

# A state with hooks: FIELDS is the struct, SAVE and RESTORE the code between.
HOOKED = r"""
#include <keel/keel.h>
struct st { uint64_t count; %(fields)s };
static int told;
static int start(keel *k) { (void)keel_state(k, struct st); return 0; }
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    if (s->count != f->index)
        keel_error(k, "STATE LOST: count %%llu, frame %%llu", (unsigned long long)s->count,
                   (unsigned long long)f->index);
    s->count++;
    if (!told)
        keel_info(k, "build %(build)d runs from count %%llu", (unsigned long long)s->count);
    told = 1;
    %(frame)s
}
static int32_t save(keel *k, struct keel_writer *w)
{
    struct st *s = keel_state(k, struct st);
    w->version = %(build)d;
    %(save)s
    return w->write(w, &s->count, sizeof s->count);
}
static int32_t restore(keel *k, struct keel_reader *r)
{
    struct st *s = keel_state(k, struct st);
    %(restore)s
    return r->read(r, &s->count, sizeof s->count);
}
KEEL_MODULE("counter", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) %(hooks)s)
"""


def hooked(number, fields="", save="", restore="", frame="",
           hooks="KEEL_ON(save, save) KEEL_ON(restore, restore)", flags=()):
    return build(HOOKED % {"build": number, "fields": fields, "save": save, "restore": restore,
                           "frame": frame, "hooks": hooks}, flags=flags)


class Groups(keeltest.KeelTest):
    """Several slots in one boundary. The files are not watched here: only what is asked counts."""

    def setUp(self):
        super().setUp()
        for name in ("a", "b"):
            self.place(self.module(name, 1), name + ".so")
        self.live = self.host(self.path("a.so"), self.path("b.so"), wrap=[DENY, "inotify", "--"])
        self.live.wait("build 1 runs", count=2)

    def module(self, name, number, **more):
        return build(counter(number, name=name, **more))

    def generations(self):
        return [slot["generation"] for slot in self.live.status()["slots"]]

    def test_both(self):
        before = self.generations()
        for name in ("a", "b"):
            self.place(self.module(name, 2), name + ".so")
        answer = self.live.call("swap", slots=["a", "b"])
        self.assertEqual([slot["name"] for slot in answer["slots"]], ["a", "b"])
        self.live.wait("^a: build 2 runs")
        self.live.wait("^b: build 2 runs")
        self.assertTrue(all(x > y for x, y in zip(self.generations(), before)))
        self.live.end()

    def test_none_when_one_is_bad(self):
        before = self.generations()
        self.place(self.module("a", 2), "a.so")
        bads = {"crash in the trial": content(self.module("b", 2, frame=CRASH)),
                "garbage": b"\x7fELF" + bytes(4000), "text": b"hello\n" * 100,
                "start of nothing": content(self.module("b", 2))[:3000]}
        for what, data in bads.items():
            with self.subTest(what=what):
                with open(self.path("b.so"), "wb") as f:
                    f.write(data)
                self.live.refused("swap", slots=["a", "b"])
                self.live.frames_pass(3)
                self.assertEqual(self.generations(), before)
        mark = self.live.mark()
        self.place(self.module("b", 2), "b.so")
        self.live.call("swap", slots=["a", "b"])
        self.live.wait("build 2 runs", count=2, after=mark)
        self.live.end()

    def test_both_go_back_in_probation(self):
        before = self.generations()
        self.place(self.module("a", 2), "a.so")
        self.place(self.module("b", 2, globals="static int here;",
                               frame="if (++here == 20) { s->count = 5; %s }" % CRASH), "b.so")
        self.live.call("swap", slots=["a", "b"])
        self.live.wait("build 2 runs", count=2)
        self.live.wait("rolled back", count=2)
        self.live.frames_pass(3)
        self.assertEqual(self.generations(), before)
        self.live.end()

    def test_wrong_names(self):
        self.assertIn("a, b", self.live.refused("swap", slots=["a", "x"])["text"])
        self.assertIn("a, b", self.live.refused("swap")["text"])
        self.live.refused("swap", slots=["a", "a"])
        self.live.refused("swap", slots="a")
        self.live.refused("swap", slots=["a"] * 100)
        self.live.refused("swap", slots=[1, None])
        self.live.refused("swap", slots=["a", "b"], file="x.so")
        self.live.refused("rollback", slot="nobody")
        self.live.refused("rollback", slot="a")  # there is none before
        self.live.end()


class GroupsUntried(Groups):
    def setUp(self):
        keeltest.KeelTest.setUp(self)
        for name in ("a", "b"):
            self.place(self.module(name, 1), name + ".so")
        self.live = self.host(self.path("a.so"), self.path("b.so"), "--trial=off",
                              wrap=[DENY, "inotify", "--"])
        self.live.wait("build 1 runs", count=2)


class Slots(keeltest.KeelTest):
    def test_two_of_one_module_share_nothing(self):
        say = 'static int hits KEEL_CACHE = 0; static struct st *mine;'
        frame = 'hits++; mine = s; if (hits % 20 == 0) keel_info(k, "hits %d state %p", hits, ' \
                '(void *)mine);'
        so = build(counter(1, globals=say, frame=frame))
        path = self.place(so)
        host = self.host(path, path)
        host.wait("^m: hits 40")
        host.wait("^m-2: hits 40")
        states = {name: host.wait("^%s: hits 20 state (.*)" % name).group(1)
                  for name in ("m", "m-2")}
        self.assertNotEqual(states["m"], states["m-2"])
        first, second = host.status()["slots"]
        self.assertNotEqual(first["load_address"], second["load_address"])
        self.place(build(counter(2, globals=say, frame=frame)))  # one file, both slots
        host.wait("^m: build 2 runs")
        host.wait("^m-2: build 2 runs")
        for name in ("m", "m-2"):
            host.wait("^%s: hits 20 state %s" % (name, states[name]), count=2)
        host.end()

    def test_many(self):
        paths = [self.place(build(counter(1)), "n%d.so" % i) for i in range(20)]
        host = self.host(*paths)
        host.wait("build 1 runs", count=20)
        for path in paths:
            self.place(build(counter(2)), os.path.basename(path))
        host.wait("build 2 runs", count=20)
        host.end()


class Hooks(keeltest.KeelTest):
    def test_other_type_goes_through_save_and_restore(self):
        for trial in ("on", "off"):
            with self.subTest(trial=trial):
                name = "h%s.so" % trial
                host = self.running(hooked(1), "--trial=" + trial, name=name)
                host.frames_pass(5)
                self.place(hooked(2, fields="uint64_t extra[50];"), name)
                host.wait("build 2 runs")
                host.frames_pass(3)
                self.place(hooked(3), name)  # and back to the smaller one
                host.wait("build 3 runs")
                host.frames_pass(3)
                self.assertEqual(host.slot()["faults"], 0)
                self.assertEqual(host.slot()["swaps"], 3)
                host.end()

    def test_without_hooks_and_without_debug_information_it_is_refused(self):
        for trial in ("on", "off"):
            with self.subTest(trial=trial):
                name = "h%s.so" % trial
                host = self.running(hooked(1, hooks="", flags=["-g0"]), "--trial=" + trial, name=name)
                self.place(hooked(2, fields="uint64_t extra[50];", hooks="", flags=["-g0"]), name)
                said = host.wait("(refused: .*)").group(1)
                self.assertRegex(said, r"struct st.*no rules carry it over, since .*no debug information.*-g")
                host.frames_pass(3)
                self.assertEqual(host.slot()["generation"], 1)
                self.place(hooked(3), name)
                host.wait("build 3 runs")
                host.end()

    def test_refused_restore_and_save(self):
        no = 'return keel_fail(k, KEEL_EDATA, "version %u is too old", r->version);'
        cases = {
            "restore": (hooked(2, fields="int x;", restore=no), "version 1 is too old"),
            "restore crashes": (hooked(2, fields="int x;", restore=CRASH), "null pointer"),
            "restore wants more": (hooked(2, fields="int x;", restore="char big[100]; int32_t rc "
                                          "= r->read(r, big, 100); if (rc) return rc;"),
                                   "EDATA|restore"),
        }
        for trial in ("on", "off"):
            for what, (so, says) in cases.items():
                with self.subTest(trial=trial, what=what):
                    name = "h%s%d.so" % (trial, len(self.hosts))
                    host = self.running(hooked(1), "--trial=" + trial, name=name)
                    self.place(so, name)
                    self.assertRegex(host.wait("(refused: .*)").group(1), says)
                    host.frames_pass(3)
                    self.assertEqual(host.slot()["generation"], 1)
                    self.assertEqual(host.texts("build 2 runs"), [])
                    host.end()
        with self.subTest(what="save"):
            host = self.running(hooked(1, save='s->count += 99; return keel_fail(k, KEEL_EBUSY, '
                                               '"in the middle of a trade");'))
            self.place(hooked(2, fields="int x;"))
            self.assertRegex(host.wait("(refused: .*)").group(1), "in the middle of a trade")
            host.frames_pass(3)
            host.end()

    def test_rollback_through_hooks_keeps_what_happened(self):
        host = self.running(hooked(1), "--trial=off")
        self.place(hooked(2, fields="uint64_t extra[50];",
                          frame="static int here; if (++here == 30) { s->count = 1; %s }" % CRASH))
        host.wait("build 2 runs")
        said = host.wait("(rolled back.*)").group(1)
        self.assertRegex(said, "save and restore")
        host.frames_pass(5)  # STATE LOST would be said
        host.end()


class Rollback(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.one, self.two = (build(counter(n, frame=TICK)) for n in (1, 2))

    def swapped(self, *args):
        host = self.running(self.one, "--fps=200", *args)
        host.frames_pass(20)
        self.place(self.two)
        host.wait("build 2 runs")
        host.frames_pass(30)
        return host

    def test_now_in_probation(self):
        host = self.swapped("--probation=100000")
        mark = host.mark()
        host.call("rollback")
        host.wait("tick build 1", after=mark)
        slot = host.slot()
        self.assertEqual((slot["generation"], slot["phase"], slot["rolled_back"]),
                         (1, "running", 1))
        host.frames_pass(10)
        mark = host.mark()
        host.call("swap")  # the file still holds build 2
        host.wait("tick build 2", after=mark)
        host.end()

    def test_before_in_probation(self):
        self.state_must_stay = False  # it goes back in time
        host = self.swapped("--probation=100000")
        at = int(host.wait(r"build 2 runs from count (\d+)").group(1))
        ticks = [int(t.split()[-1]) for t in host.texts("tick build 2")]
        self.assertGreater(ticks[-1], at)
        mark = host.mark()
        host.call("rollback", state="before")
        host.wait("tick build 1", after=mark)
        back = int(host.texts("tick build 1 count", after=mark)[0].split()[-1])
        self.assertLess(back, at + 11)
        host.end()

    def test_after_probation(self):
        host = self.swapped("--probation=5")
        host.until(lambda: host.slot()["phase"] == "running", "the end of probation")
        error = host.refused("rollback", state="before")
        self.assertIn("probation", error["text"])
        mark = host.mark()
        host.call("rollback")
        host.wait("tick build 1", after=mark)
        host.frames_pass(10)
        self.assertEqual(host.slot()["faults"], 0)
        host.end()

    def test_wrong_state(self):
        host = self.swapped()
        self.assertIn("now", host.refused("rollback", state="then")["text"])
        host.end()

    def test_to_and_fro(self):
        host = self.swapped("--probation=3")
        for _ in range(6):
            host.frames_pass(8)
            host.call("rollback")
        host.frames_pass(5)
        self.assertEqual(host.slot()["swaps"], 8)
        host.end()


class Life(keeltest.KeelTest):
    def test_probation_counts_frames(self):
        host = self.running(build(counter(1)), "--fps=500")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        left = host.slot()["probation_left"]
        self.assertTrue(0 < left <= 120, left)
        self.assertEqual(host.slot()["phase"], "probation")
        host.until(lambda: host.slot()["phase"] == "running", "the end of probation")
        self.assertEqual(host.slot()["probation_left"], 0)
        host.end()

    def test_pause(self):
        host = self.running(build(counter(1)))
        self.assertTrue(host.call("pause")["paused"])
        frames = host.slot()["frames"]
        time.sleep(0.2)
        slot = host.status()
        self.assertEqual(slot["slots"][0]["frames"], frames)
        self.assertTrue(slot["host"]["paused"])
        self.assertIn("pause", host.refused("swap")["text"])
        self.place(build(counter(2)))
        time.sleep(0.3)
        self.assertEqual(host.texts("build 2 runs"), [])
        self.assertFalse(host.call("pause", on=False)["paused"])
        host.wait("build 2 runs")
        host.frames_pass(3)
        host.end()

    def test_timers_and_tasks_go_on_across_a_swap(self):
        event = """
static void event(keel *k, const struct keel_event *e)
{
    keel_info(k, "build %d got kind %u tag %llu result %d data %.*s", BUILD_NUMBER, e->kind,
              (unsigned long long)e->tag, e->result, (int)e->data_bytes,
              e->data ? (const char *)e->data : "");
}
static int32_t work(struct keel_work *w)
{
    while (access("over", F_OK) && !w->cancelled(w)) /* its end is the test's to say */
        usleep(10000);
    w->give(w, "from one", 8);
    return 42 + (int32_t)w->op;
}"""
        common = {"includes": "#include <unistd.h>\n", "functions": event,
                  "entries": "KEEL_ON(event, event) KEEL_ON(work, work)"}
        begin = ("if (f->index == 2) { keel_timer_start(k, 0, 50000000, 5); "
                 "keel_task_start(k, 1, 6, 0, \"in\", 2); }")
        host = self.running(build(counter(1, frame=begin, **common)), "--trial=off")
        host.wait("build 1 got kind 1 tag 5")
        self.place(build(counter(2, **common)))
        host.wait("build 2 got kind 1 tag 5", count=3)
        open(self.path("over"), "w").close()
        host.wait("build 2 got kind 2 tag 6 result 43 data from one")
        self.assertEqual(len(host.texts("tag 6")), 1)
        host.end()

    def test_strict(self):
        socket = ("static int here; if (++here == 2 && keel_run_mode(k) == KEEL_MODE_TRIAL) "
                  "socket(2, 1, 0);")
        includes = "#include <sys/socket.h>\n"
        host = self.running(build(counter(1)), "--trial=strict")
        self.place(build(counter(2, includes=includes, frame=socket)))
        said = host.wait("(refused: .*)").group(1)
        self.assertRegex(said, "not proven.*socket")
        host.frames_pass(2)
        self.assertEqual(host.slot()["generation"], 1)
        self.place(build(counter(3)))
        host.wait("build 3 runs")
        host.end()

    def test_inconclusive_goes_on_under_probation(self):
        host = self.running(build(counter(1)))
        self.place(build(counter(2, includes="#include <sys/socket.h>\n#include <unistd.h>\n",
                                 frame="close(socket(1, 1, 0));")))
        host.wait("inconclusive: .*socket")
        host.wait("build 2 runs")
        host.wait("generation 1 → 2.*not proven")
        self.assertRegex(host.slot()["last"], "not proven")
        host.end()

    def test_heap_of_ordinary_c_and_cpp(self):
        c = """
        if (!s->extra[0]) {
            char *p = malloc(100);
            strcpy(p, "kept");
            s->extra[0] = (uint64_t)p;
            s->extra[1] = (uint64_t)strdup("a copy");
        }
        char *p = realloc((char *)s->extra[0], 100 + s->count % 50 * 100);
        if (strcmp(p, "kept") || strcmp((char *)s->extra[1], "a copy"))
            keel_error(k, "STATE LOST: %s %s", p, (char *)s->extra[1]);
        s->extra[0] = (uint64_t)p;
        if (s->count == 60) keel_info(k, "sixty with %s", p);"""
        includes = "#include <stdlib.h>\n#include <string.h>\n"
        host = self.running(build(counter(1, includes=includes, frame=c)))
        for n in (2, 3, 4):
            host.frames_pass(4)
            self.place(build(counter(n, includes=includes, frame=c)))
            host.wait("build %d runs" % n)
        host.wait("sixty with kept")
        host.end()

    def test_faulting_frame_gives_its_memory_back(self):
        """free, malloc and writes of an undone frame never happened."""
        code = """
        if (!s->extra[0]) { char *p = malloc(64); strcpy(p, "alive"); s->extra[0] = (uint64_t)p; }
        if (strcmp((char *)s->extra[0], "alive")) keel_error(k, "STATE LOST: heap");
        if (f->index %% 20 == 10 && !(f->flags & 1)) {
            strcpy((char *)s->extra[0], "dead");
            free((char *)s->extra[0]);
            for (int i = 0; i < 100; i++) memset(malloc(64), 0x44, 64);
            %s
        }""" % CRASH
        host = self.running(build(counter(1, includes="#include <stdlib.h>\n#include <string.h>\n",
                                          frame=code)), "--trial=off", "--probation=1")
        host.wait("frame is undone", count=4)
        host.frames_pass(5)
        used = host.slot()["state"]["used_bytes"]
        host.wait("frame is undone", count=7)
        self.assertEqual(host.slot()["state"]["used_bytes"], used)
        host.end()

    def test_static_data_is_undone_too(self):
        code = "static int here; if (here != (int)f->index - begun) keel_error(k, \"STATE LOST: " \
               "static %d\", here); here++; if (f->index % 20 == 10 && !(f->flags & 1)) { here = " \
               "1000; " + CRASH + " }"
        host = self.running(build(counter(1, globals="static int begun = -1;", before="if (begun "
                                          "< 0) begun = (int)f->index;", frame=code)),
                            "--trial=off", "--probation=1")
        host.wait("frame is undone", count=4)
        host.frames_pass(5)
        host.end()

    def many(self, count, *args):
        sos = [build(counter(n)) for n in (1, 2)]
        host = self.running(sos[0], "--probation=3", *args)
        base = len(os.listdir("/proc/%d/fd" % host.pid))
        for i in range(count):
            mark = host.mark()
            self.place(sos[(i + 1) % 2])
            host.wait("build %d runs" % ((i + 1) % 2 + 1), after=mark)
        host.frames_pass(10)
        slot = host.slot()
        self.assertEqual(slot["swaps"], count + 1)
        self.assertEqual((slot["faults"], slot["rolled_back"], slot["refused"]), (0, 0, 0))
        host.until(lambda: len(os.listdir("/proc/%d/fd" % host.pid)) <= base + 6,
                   "descriptors to be given back")
        host.end()

    def test_100_swaps(self):
        self.many(100)

    @keeltest.long
    def test_1000_swaps(self):
        self.many(1000)


if __name__ == "__main__":
    keeltest.main()
