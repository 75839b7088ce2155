"""State that outlives its host: a clean end, kill -9 at any instant, another build, damaged files."""
import os
import random
import shutil
import struct
import subprocess
import time
import unittest

import keeltest
from keeltest import build, content, counter

# Says in a file which frame it is in, before it does anything: what a kill may take is that frame.
WITNESS = r"""
#include <keel/keel.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
struct item { struct item *next; uint64_t value; char *text; };
struct st {
    uint64_t count, sum, fired;
    struct item *items;
    uint64_t (*step)(uint64_t);
    keel_handle timer;
    uint64_t wide[4000];
};
static uint64_t counted;
static struct st *cached;
static uint64_t step(uint64_t x) { return x * 3 + STEP; }
static int32_t start(keel *k)
{
    struct st *s = keel_state(k, struct st);
    s->step = step;
    s->timer = keel_timer_start(k, 10000000, 10000000, 5);
    return 0;
}
static void event(keel *k, const struct keel_event *e)
{
    keel_state(k, struct st)->fired += e->kind == KEEL_EVENT_TIMER && e->handle == keel_state(k, struct st)->timer;
}
static void frame(keel *k, const struct keel_frame *f)
{
    static int fd = -1;
    static int fd_of;
    struct st *s = keel_state(k, struct st);
    if (fd_of != getpid()) {
        fd_of = getpid();
        fd = open("witness", O_RDWR | O_CREAT, 0600);
        keel_info(k, "build BUILD runs from count %llu, timer fired %llu", (unsigned long long)s->count,
                  (unsigned long long)s->fired);
    }
    if (keel_run_mode(k) == KEEL_MODE_LIVE)
        pwrite(fd, &f->index, sizeof f->index, 0);
    if (s->count != f->index || (STATICS && (counted != s->count || (cached && cached != s))))
        keel_error(k, "STATE LOST: count %llu, frame %llu, static %llu", (unsigned long long)s->count,
                   (unsigned long long)f->index, (unsigned long long)counted);
    cached = s;
    uint64_t sum = 0, n = 0;
    for (struct item *i = s->items; i; i = i->next, n++) {
        sum += i->value;
        if (strcmp(i->text, "an item"))
            keel_error(k, "STATE LOST: an item's text");
    }
    if (sum != s->sum || n > 40)
        keel_error(k, "STATE LOST: sum %llu of %llu items, expected %llu", (unsigned long long)sum,
                   (unsigned long long)n, (unsigned long long)s->sum);
    s->count++;
    counted++;
    struct item *i = keel_new(k, struct item);
    i->value = STATICS ? s->step(f->index) : f->index;
    i->text = strdup("an item");
    i->next = s->items;
    s->items = i;
    s->sum += i->value;
    s->wide[f->index % 4000] = f->index;
    if (f->index % 40 == 39)
        while (s->items) {
            struct item *next = s->items->next;
            s->sum -= s->items->value;
            free(s->items->text);
            keel_free(k, s->items);
            s->items = next;
        }
}
KEEL_MODULE("witness", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event))
"""


def witness(number=1, statics=True):
    """With statics and a pointer to code, where only the same build may come back."""
    return build(WITNESS.replace("BUILD", str(number)).replace("STEP", "1").replace(
        "STATICS", str(int(statics))))


def grown(number, bigger):
    """Two builds whose structs differ: objects move when one takes over from the other."""
    source = WITNESS.replace("STATICS", "1").replace("STEP", "1").replace("BUILD", str(number))
    if bigger:
        source = source.replace("struct item { struct", "struct item { int added; struct").replace(
            "uint64_t count, sum, fired;", "uint64_t count; double ratio; uint64_t sum, fired;")
    return build(source)


class Kept(keeltest.KeelTest):
    state_must_stay = True

    def setUp(self):
        super().setUp()
        Kept.number += 1
        self.slot = "w%dx%d" % (os.getpid(), Kept.number)
        self.kept = []

    def tearDown(self):
        left = self.memory()
        for folder in self.kept:
            shutil.rmtree(folder, ignore_errors=True)
        super().tearDown()
        self.assertEqual(left, [], "memory left behind")

    def memory(self):
        """What hosts of this test left in memory."""
        top = "/dev/shm/keel-%d" % os.geteuid()
        found = [os.path.join(top, x) for x in (os.listdir(top) if os.path.isdir(top) else [])
                 if x.endswith("-" + self.slot)]
        self.kept += found
        return found

    number = 0

    def start(self, *args):
        host = self.host("%s.so" % self.slot, "--state", "st", "--fps", "1000", *args)
        return host

    def kill(self, host):
        host.kill()
        if os.path.lexists(host.socket_path):
            os.unlink(host.socket_path)

    def entered(self):
        return struct.unpack("Q", content(self.path("witness")))[0]

    def test_a_clean_end_and_a_new_start(self):
        self.place(witness(), self.slot + ".so")
        host = self.start()
        host.wait("runs from count 0,")
        host.frames_pass(60)
        host.call("quit")
        host.exited()
        self.assertEqual(self.memory(), [])
        count = self.entered() + 1
        host = self.start()
        host.wait("goes on after frame %d, from " % count)
        fired = int(host.wait(r"runs from count %d, timer fired (\d+)" % count).group(1))
        self.assertGreater(fired, 0)
        host.frames_pass(60)
        host.call("quit")
        host.exited()
        host = self.start("--frames", "1")
        self.assertGreater(int(host.wait(r"timer fired (\d+)").group(1)), fired)
        host.exited()

    def kills(self, times, swaps, make=lambda n: witness(1 + n % 2, False)):
        self.place(make(0) if swaps else witness(), self.slot + ".so")
        chance = random.Random(7)
        known, builds = 0, 1
        for i in range(times):
            host = self.start("--state-every", "0.02", "--probation", "10")
            found = host.wait(r"runs from count (\d+)|generation 1 in|refused|STATE LOST")
            self.assertIsNotNone(found.group(0))
            if i:
                after = int(host.wait(r"goes on after frame (\d+)").group(1))
                self.assertIn(after, (known, known + 1))
            until = time.monotonic() + chance.random() * 0.25
            while time.monotonic() < until:
                if swaps and chance.random() < 0.15:
                    builds += 1
                    self.place(make(builds), self.slot + ".so")
                time.sleep(0.01)
            self.kill(host)
            self.assertEqual(host.texts("STATE LOST|snapshot.*damaged"), [], host.story())
            known = self.entered() if os.path.exists(self.path("witness")) else 0
        host = self.start("--frames", "3")  # also removes what the killed ones left
        host.exited()
        self.assertEqual(self.memory(), [])

    def test_kill_at_random_instants(self):
        self.kills(20, False)

    def test_kill_at_random_instants_of_swaps(self):
        self.kills(20, True)

    def test_kill_at_random_instants_of_migrations(self):
        self.kills(12, True, lambda n: grown(1 + n % 2, n % 2))

    @keeltest.long
    def test_kill_at_many_random_instants_of_migrations(self):
        self.kills(60, True, lambda n: grown(1 + n % 2, n % 2))

    @keeltest.long
    def test_kill_at_many_random_instants(self):
        self.kills(100, False)

    @keeltest.long
    def test_kill_at_many_random_instants_of_swaps(self):
        self.kills(100, True)

    def test_without_memory_the_last_snapshot_counts(self):
        self.place(witness(), self.slot + ".so")
        host = self.start("--state-every", "0.05")
        host.wait("runs from count 0,")
        host.frames_pass(300)
        self.kill(host)
        self.assertEqual(len(self.memory()), 1)
        for folder in self.kept:
            shutil.rmtree(folder)
        host = self.start()
        after = int(host.wait(r"goes on after frame (\d+), from .*\.state").group(1))
        self.assertGreater(after, 0)
        host.wait("runs from count %d," % after)
        host.call("quit")
        host.exited()

    def test_other_types_are_refused_and_the_state_is_kept(self):
        self.state_must_stay = False
        self.place(build(counter(1)), self.slot + ".so")
        host = self.start()
        host.wait("build 1 runs")
        host.frames_pass(20)
        host.call("quit")
        host.exited()
        before = content(self.path("st/%s.state" % self.slot))
        self.place(build(counter(2).replace("struct st { uint64_t count;",
                                            "struct part { int a; }; struct st { struct part count;")
                         .replace("s->count", "s->count.a")), self.slot + ".so")
        host = self.start()
        text = host.wait(r"refused: .*struct st").string
        self.sentence(text)
        host.call("quit")
        host.exited(1)
        self.assertEqual(content(self.path("st/%s.state" % self.slot)), before)
        self.place(build(counter(3)), self.slot + ".so")
        host = self.start()
        host.wait(r"build 3 runs from count \d\d")
        host.call("quit")
        host.exited()

    def test_another_build_goes_on_by_the_rules(self):
        """A field in the middle, a static's value, a pointer to code, pointers: after a clean end,
        after a kill, and back."""
        source = WITNESS.replace("STATICS", "1").replace("STEP", "1")
        first = build(source.replace("BUILD", "1"))
        second = build(source.replace("BUILD", "2").replace("struct item { struct", "struct item { int added; struct")
                       .replace("uint64_t count, sum, fired;", "uint64_t count; double ratio; uint64_t sum, fired;"))
        self.place(first, self.slot + ".so")
        host = self.start()
        host.wait("build 1 runs from count 0,")
        host.frames_pass(50)
        host.call("quit")
        host.exited()
        for i, so in enumerate((second, first, second)):
            after = self.entered() + 1
            self.place(so, self.slot + ".so")
            host = self.start("--state-every", "0.05")
            goes_on = int(host.wait(r"goes on after frame (\d+)").group(1))
            self.assertIn(goes_on, (after - 1, after))
            host.wait("build %d runs from count %d," % (1 + (i + 1) % 2, goes_on))
            host.frames_pass(60)
            if i == 1:
                self.kill(host)
            else:
                host.call("quit")
                host.exited()
            self.assertEqual(host.texts("STATE LOST"), [], host.story())
        self.assertEqual(len([x for x in os.listdir(self.path("st")) if x.endswith(".module")]), 1)

    def preloaded(self, text):
        """An environment with such a library before all others."""
        source, library = self.path("first.c"), self.path("first.so")
        with open(source, "w") as f:
            f.write("#define _GNU_SOURCE\n" + text)
        subprocess.run([keeltest.CC, "-shared", "-fPIC", "-o", library, source], check=True)
        return dict(self.env, LD_PRELOAD=library)

    @unittest.skipIf(keeltest.SANITIZED, "a sanitizer's runtime must be the first library")
    def test_a_clock_that_is_put_back_costs_nothing(self):
        env = self.preloaded("""
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, which, ret);
    if (which == CLOCK_REALTIME && access("put-back", F_OK) == 0)
        ret->tv_sec -= 3600;
    return code;
}
""")
        self.place(witness(), self.slot + ".so")
        snapshot = self.path("st/%s.state" % self.slot)
        arguments = "%s.so" % self.slot, "--state", "st", "--fps", "1000", "--state-every", "0.05"
        host = self.host(*arguments, env=env)
        host.wait("build 1 runs from count 0,")
        host.until(lambda: os.path.exists(snapshot), "a snapshot")
        shutil.copy(snapshot, self.path("last"))
        open(self.path("put-back"), "w").close()
        host.frames_pass(50)
        self.kill(host)
        shutil.copy(self.path("last"), snapshot)  # as if none had been due since
        after = self.entered()
        host = self.host(*arguments, env=env)
        self.assertIn(int(host.wait(r"goes on after frame (\d+), from memory").group(1)), (after, after + 1))
        host.wait("build 1 runs from count")
        host.frames_pass(50)
        host.call("quit")
        host.exited()
        self.assertEqual(host.texts("STATE LOST"), [], host.story())

    @unittest.skipIf(keeltest.SANITIZED, "a sanitizer's runtime must be the first library")
    def test_another_build_goes_on_though_something_else_is_where_the_old_one_was(self):
        env = self.preloaded("""
#include <stdlib.h>
#include <sys/mman.h>
__attribute__((constructor)) static void squat(void)
{
    const char *at = getenv("SQUAT_AT");
    if (at && mmap((void *)strtoul(at, 0, 16), 4096, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
              MAP_FAILED)
        abort();
}
""")
        self.place(grown(1, False), self.slot + ".so")
        host = self.start()
        for number in (2, 3):
            host.wait("build %d runs from count" % (number - 1))
            host.frames_pass(100)
            at = host.slot()["load_address"]
            self.kill(host)
            self.assertEqual(host.texts("STATE LOST|WARN"), [], host.story())
            self.place(grown(number, number % 2 == 0), self.slot + ".so")
            host = self.host("%s.so" % self.slot, "--state", "st", "--fps", "1000",
                             env=dict(env, SQUAT_AT=at))
            after = self.entered()
            goes_on = int(host.wait(r"goes on after frame (\d+), from memory").group(1))
            self.assertIn(goes_on, (after, after + 1))
            host.wait("build %d runs from count %d," % (number, goes_on))
        host.frames_pass(100)
        host.call("quit")
        host.exited()
        self.assertEqual(host.texts("STATE LOST|only the build"), [], host.story())

    def reboots(self, lose_module):
        """The machine was stopped while the host ran: the memory is gone. The build that comes then
        has other structs, and perhaps nothing is left of the one that ran."""
        self.place(grown(1, False), self.slot + ".so")
        host = self.start("--state-every", "0.05")
        host.wait("build 1 runs from count 0,")
        host.frames_pass(200)
        self.kill(host)
        for folder in self.memory():
            shutil.rmtree(folder)
        self.place(grown(2, True), self.slot + ".so")
        if lose_module:
            for name in os.listdir(self.path("st")):
                if name.endswith(".module"):
                    os.unlink(self.path("st/" + name))
        host = self.start()
        after = int(host.wait(r"goes on after frame (\d+), from .*\.state").group(1))
        self.assertLessEqual(after, self.entered() + 1)
        self.assertGreater(after, 0)
        host.wait("build 2 runs from count %d," % after)
        host.frames_pass(60)
        host.call("quit")
        host.exited()
        self.assertEqual(self.memory(), [])
        # Ended in peace and then switched off: nothing is lost.
        last = self.entered() + 1
        self.place(grown(3, False), self.slot + ".so")
        host = self.start("--frames", "50")
        host.wait("goes on after frame %d, from .*\\.state" % last)
        host.wait("build 3 runs from count %d," % last)
        host.exited()
        self.assertEqual(host.texts("STATE LOST"), [], host.story())

    def test_a_newer_build_after_the_machine_was_stopped(self):
        self.reboots(False)

    def test_a_newer_build_when_the_one_that_ran_is_lost(self):
        self.reboots(True)

    def test_another_module_is_refused(self):
        self.state_must_stay = False
        self.place(build(counter(1)), self.slot + ".so")
        host = self.start("--frames", "5")
        host.exited()
        self.place(build(counter(1, name="other")), self.slot + ".so")
        host = self.start()
        self.sentence(host.wait(r'refused: .*is one of the module "counter"').string)
        host.call("quit")
        host.exited(1)

    def test_a_damaged_snapshot_is_refused_and_left(self):
        self.place(build(counter(1)), self.slot + ".so")
        host = self.start("--frames", "5")
        host.exited()
        path = self.path("st/%s.state" % self.slot)
        data = bytearray(content(path))
        data[len(data) // 2] ^= 1
        with open(path, "wb") as f:
            f.write(data)
        host = self.start()
        self.sentence(host.wait("damaged or cut short").string)
        host.exited(2)
        self.assertEqual(content(path), bytes(data))

    def test_a_folder_that_others_write_is_refused(self):
        self.place(witness(), self.slot + ".so")
        os.mkdir(self.path("st"))
        for mode, status in ((0o777, 2), (0o1777, 2), (0o770, 2), (0o755, 0)):
            os.chmod(self.path("st"), mode)
            done = self.keel("run", self.slot + ".so", "--headless", "--state", "st", "--frames", "3")
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual("chmod 700 it" in done.stderr, status == 2, done.stderr)

    def test_a_snapshot_while_it_runs(self):
        self.place(witness(), self.slot + ".so")
        host = self.start()
        host.wait("runs from count 0,")
        host.frames_pass(30)
        done = self.keel("ctl", "--socket", host.socket_path, "snapshot", "now.state")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^frame [\d,]+, [1-9][\d.]* [KM]iB\n$")
        for wrong in (["snapshot"], ["snapshot", "now.state", "nobody"],
                      ["snapshot", "no/such/folder/x"]):
            done = self.keel("ctl", "--socket", host.socket_path, *wrong)
            self.assertIn(done.returncode, (1, 2))
            self.sentence(done.stderr)
        host.call("quit")
        host.exited()
        os.rename(self.path("now.state"), self.path("st/%s.state" % self.slot))
        host = self.start("--frames", "5")
        after = int(host.wait(r"goes on after frame (\d+)").group(1))
        host.wait("runs from count %d," % after)
        host.exited()

    def test_two_hosts_never_run_on_one_state(self):
        self.place(build(counter(1)), self.slot + ".so")
        host = self.start()
        host.wait("build 1 runs")
        second = self.start()
        self.sentence(second.wait("another host runs on").string)
        second.exited(2)
        host.frames_pass(5)
        host.call("quit")
        host.exited()

    def test_the_order_of_modules_may_change(self):
        other = "x" + self.slot
        for name in (self.slot, other):
            self.place(build(counter(1)), name + ".so")
        host = self.host(self.slot + ".so", "--state", "st", "--frames", "7")
        host.exited()
        host = self.host(other + ".so", self.slot + ".so", "--state", "st", "--frames", "7")
        host.wait("goes on after frame 7")
        host.exited()
        host = self.host(self.slot + ".so", other + ".so", "--state", "st", "--frames", "7")
        host.wait("goes on after frame 14")
        host.exited()


if __name__ == "__main__":
    keeltest.main()
