"""The rows where the best-known C reloader falls short, each as a test that Keel passes.

Rows that other files hold: slow writers, cp, install and builds in a row (watch), truncated files
and constructors (badinput), faults of each kind and in threads (faults)."""
import os
import re
import shutil
import signal
import subprocess
import time

import keeltest
from keeltest import build, content, counter, CRASH

BIG = """
__attribute__((used)) static const unsigned char ballast[%d] = {%d, 1, 2, 3};
"""


def big(number, megabytes=10):
    return build(counter(number, globals=BIG % (megabytes << 20, number),
                         frame="s->extra[1] += ballast[s->count % sizeof ballast];"))


class Files(keeltest.KeelTest):
    def test_cp_and_install_of_10_megabytes_at_1_khz(self):
        host = self.running(big(1), "--fps=1000")
        for number, how in ((2, "cp"), (3, "install"), (4, "cp"), (5, "install")):
            subprocess.run([how, big(number), self.path("m.so")], check=True)
            host.wait("build %d runs" % number)
        host.frames_pass(5)
        self.assertEqual(host.slot()["swaps"], 5, host.story())
        self.assertEqual(host.slot()["refused"], 0, host.story())
        host.end()

    def test_bad_files_leave_no_copies(self):
        host = self.running(build(counter(1)), "--fps=1000")
        held = self.held()
        bad = (b"garbage" * 500, b"text\n", content(build(counter(2)))[:-200])
        for number, data in enumerate(bad, 1):
            with open(self.path("m.so"), "wb") as f:
                f.write(data)
            host.wait("refused", count=number)
        host.frames_pass(100)
        self.assertEqual(self.held(), held)
        self.assertEqual(len(host.texts("refused")), 3)
        host.end()

    def held(self):
        return sorted(os.path.join(folder, name) for folder, folders, files in
                      os.walk(self.run_dir) for name in folders + files)

    def many(self, count):
        sos = [build(counter(n)) for n in (1, 2)]
        host = self.running(sos[0], "--probation=1", "--fps=1000", "--trial=off")
        before = None
        for i in range(count):
            mark = host.mark()
            self.place(sos[(i + 1) % 2])
            host.wait("build %d runs" % ((i + 1) % 2 + 1), after=mark)
            if i == 50:
                host.frames_pass(50)
                before = len(self.held())
        host.until(lambda: len(self.held()) <= before + 3, "staged names to go")
        self.assertEqual(host.slot()["swaps"], count + 1)
        host.end()
        self.assertEqual(self.held(), [])

    def test_300_reloads_leave_nothing(self):
        self.many(300)

    @keeltest.long
    def test_5000_reloads_leave_nothing(self):
        self.many(5000)


class Linkers(keeltest.KeelTest):
    def test_each_compiler_and_linker(self):
        """Also a swap from each to the next: state stays, and so do statics."""
        host = None
        number = 0
        for compiler in ("gcc", "clang"):
            for linker in ("bfd", "gold", "lld", "mold"):
                if not shutil.which(compiler) or not shutil.which("ld." + linker) and \
                        not shutil.which(linker):
                    continue
                with self.subTest(compiler=compiler, linker=linker):
                    number += 1
                    so = build(counter(number, globals="static int hits = 3; static int zero; "
                                       "static const char *volatile words = \"said\";",
                                       frame="hits++; zero++; if (told == 1) keel_info(k, "
                                       "\"kept %d %s\", hits - zero, words); told = 2;"), compiler=compiler, linker=linker)
                    if host is None:
                        host = self.running(so)
                    else:
                        self.place(so)
                    host.wait("build %d runs" % number)
                    host.wait("kept 3 said", count=number)
                    if number > 1:
                        self.assertEqual(host.texts("statics? .*anew|is gone"), [])
        self.assertGreater(number, 1)
        self.assertEqual(host.slot()["refused"], 0)
        host.end()

    def test_bare_cc(self):
        """Not built by keel_add_module: taken all the same."""
        host = self.running(build(counter(1), plain=True, use_shim=False))
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        self.place(build(counter(3), plain=True, use_shim=False))
        host.wait("build 3 runs")
        host.end()


KEPT = r"""
#include <keel/keel.h>
struct st { uint64_t count; %s uint64_t magic; };
static int told KEEL_CACHE = 0;
static int start(keel *k) { keel_state(k, struct st)->magic = 0xfeedface; return 0; }
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    (void)f;
    if (s->magic != 0xfeedface)
        keel_error(k, "STATE LOST: the magic is %%llx", (unsigned long long)s->magic);
    s->count++;
    if (!told)
        keel_info(k, "build %d runs from count %%llu", (unsigned long long)s->count);
    told = 1;
}
KEEL_MODULE("counter", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
"""


class Meaning(keeltest.KeelTest):
    def test_field_in_the_middle_is_never_misread(self):
        host = self.running(build(KEPT % ("", 1)))
        self.place(build(KEPT % ("uint64_t inserted;", 2)))
        host.wait("migrated 1 × struct st in .*; inserted = 0 for all")
        host.frames_pass(3)
        self.place(build(KEPT % ("", 3)))
        host.wait("build 3 runs")
        self.assertEqual(host.texts("STATE LOST"), [])
        host.end()
        host = self.running(build(KEPT % ("", 1), flags=["-g0"]))
        self.place(build(KEPT % ("uint64_t inserted;", 2), flags=["-g0"]))
        said = host.wait("refused: (.*)").group(1)
        self.assertIn("struct st", said)
        self.sentence(said)
        host.end()

    def test_statics_keep_their_values_unless_the_initialiser_changes(self):
        """One rule, whatever the linker did, also for those that were zero or moved."""
        frame = "if (!once) keel_info(k, \"static %d %d\", speed - zero, zero > 5); once = 1;" \
                " speed++; zero++;"
        more = "static int once KEEL_CACHE = 0; "
        host = self.running(build(counter(1, globals=more + "static int speed = 9; static int zero;",
                                          frame=frame)))
        host.wait("static 9 0")
        host.frames_pass(9)
        mark = host.mark()
        self.place(build(counter(2, globals=more + "static int zero; static int more[100]; static "
                                 "int speed = 9;", frame="more[1]++;" + frame)))
        host.wait("static 9 1", after=mark)
        mark = host.mark()
        host.frames_pass(3)
        self.place(build(counter(3, globals=more + "static int zero; static int speed = 20;",
                                 frame=frame.replace("speed - zero", "speed"))))
        host.wait("static 20 1", after=mark)
        host.wait("new initialiser: speed", after=mark)
        host.end()

    def test_function_of_the_old_code_kept_in_state(self):
        """A stale call is a named fault, never another function."""
        store = "s->extra[0] = (uint64_t)(uintptr_t)&helper;"
        helper = "static int helper(int x) { return x + %d; }\n" \
                 "static int other(int x) { return x - %d; }\n"
        host = self.running(build(counter(1, globals=helper % (1, 1), frame=store)),
                            "--trial=off", "--probation=2")
        call = "if (f->index > at + 60) { int (*volatile f2)(int) = (int (*)(int))(uintptr_t)" \
               "s->extra[0]; keel_error(k, \"CALLED %d\", f2(1)); }"
        mark = host.mark()
        self.place(build(counter(2, globals="static uint64_t at = 1ull << 40;" + helper % (2, 2),
                                 before="if (at >> 40) at = f->index;", frame=call)))
        host.wait("build 2 runs", after=mark)
        said = host.wait("(.*retired generation.*)", after=mark).group(1)
        self.sentence(said)
        self.assertEqual(host.texts("CALLED"), [])
        host.wait("breaker is open", after=mark)
        mark = host.mark()
        self.place(build(counter(3)))
        host.wait("build 3 runs", after=mark)
        host.end()

    def test_thread_of_the_old_code_still_running(self):
        """Its code stays mapped while it runs, and goes when it has ended."""
        thread = ("static void *stay(void *u) { while (access(\"%s\", F_OK)) usleep(2000); "
                  "return u; }\n" % self.path("now"))
        host = self.running(build(counter(1, includes="#include <pthread.h>\n#include <unistd.h>\n",
                                          globals=thread, start="pthread_t t; pthread_create(&t, "
                                          "NULL, stay, NULL); pthread_detach(t);")),
                            "--trial=off", "--probation=2")
        first = host.slot()["load_address"]
        for number in (2, 3, 4):
            self.place(build(counter(number)))
            host.wait("build %d runs" % number)
            host.frames_pass(5)
        self.assertTrue(self.mapped(host, first))
        open(self.path("now"), "w").close()
        host.until(lambda: not self.mapped(host, first), "the old code to go")
        host.frames_pass(5)
        self.assertEqual(host.slot()["faults"], 0)
        host.end()

    def mapped(self, host, address):
        """Readable code at this address?"""
        address = int(address, 16)
        with open("/proc/%d/maps" % host.pid) as f:
            for line in f:
                span, rights = line.split()[:2]
                first, last = (int(x, 16) for x in span.split("-"))
                if first <= address < last and rights != "---p":
                    return True
        return False

    def test_64_megabytes_of_state(self):
        code = """
        if (!s->extra[0]) s->extra[0] = (uint64_t)keel_new_array(k, uint64_t, 8 << 20);
        uint64_t *big = (uint64_t *)s->extra[0];
        for (uint64_t i = 0; i < 50; i++) big[(s->count * 7919 + i * 4096) % (8 << 20)] += i + 1;
        if (keel_count(k, big) != 8 << 20) keel_error(k, "STATE LOST: 64 MB");
        """
        host = self.running(build(counter(1, frame=code)))
        address = None
        for number in (2, 3):
            host.frames_pass(5)
            self.place(build(counter(number, frame=code)))
            host.wait("build %d runs" % number)
        self.assertGreaterEqual(host.slot()["state"]["used_bytes"], 64 << 20)
        host.end()


class Ends(keeltest.KeelTest):
    def leftovers(self):
        return [left for left in super().leftovers() if left.startswith("process")]

    def test_fault_of_the_host_itself(self):
        """Not papered over and not a spinning handler: it ends."""
        self.sanitizer_counts = False  # its handler is the earlier one, and speaks
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL):
            with self.subTest(signal=number):
                host = self.running(build(counter(1)))
                host.process.send_signal(number)
                self.assertNotEqual(host.exited(None), 0)

    def test_kill_9_leaves_nothing_that_stops_the_next(self):
        first = self.running(build(counter(1)))
        first.process.kill()
        first.exited(-9)
        until = time.monotonic() + 5
        while self.processes() and time.monotonic() < until:
            time.sleep(0.02)
        self.assertEqual(self.processes(), [], "the helper outlived its host")
        second = self.host(self.path("m.so"), name=first.socket_path)
        second.wait("build 1 runs")
        second.end()
        # The next host swept what the dead one left.
        self.assertEqual(os.listdir(self.run_dir), [])


if __name__ == "__main__":
    keeltest.main()
