"""Files that are no good, given to a host that runs: the old code runs on, its state stays, one
sentence says why, and the next good build is taken."""
import os
import random
import shutil
import signal
import subprocess
import time

import elfpatch
import keeltest
from keeltest import build, content, counter, CRASH

REFUSED = r"^m: refused: "

unittest_skip_sanitized = keeltest.unittest.skipIf(
    keeltest.SANITIZED, "a sanitized host has the runtime")

CTOR = "__attribute__((constructor)) static void begin(void) { %s }"


def ctor(code, includes=""):
    return counter(66, includes=includes, globals=CTOR % code)


def small():
    so = build(counter(9), flags=["-g0", "-Os"], use_shim=False)
    stripped = so[:-len(".so")] + "-stripped.so"
    if not os.path.exists(stripped):
        part = "%s.%d" % (stripped, os.getpid())
        subprocess.run(["strip", "-o", part, so], check=True)  # by -s gold fails here
        os.rename(part, stripped)
    return stripped


class Live(keeltest.KeelTest):
    """A host that runs build 1; bad files come; build 2 must be taken at the end."""

    args = ()

    def setUp(self):
        super().setUp()
        self.one, self.two = build(counter(1)), build(counter(2))
        self.good = content(self.two)
        self.live = self.running(self.one, *self.args)

    def put(self, data, name="m.so"):
        part = self.path("part")
        with open(part, "wb") as f:
            f.write(data)
        os.rename(part, self.path(name))

    def refuses(self, data, pattern):
        """The content is refused once, by one sentence that has the pattern; build 1 runs on."""
        host = self.live
        mark = host.mark()
        before = host.slot()
        if data is not None:
            self.put(data)
        host.wait(REFUSED, after=mark)
        said = host.texts(REFUSED, after=mark)[0]
        self.sentence(said)
        self.assertRegex(said, pattern)
        host.frames_pass(3)
        after = host.slot()
        self.assertEqual(after["generation"], before["generation"], said)
        self.assertEqual(after["hash"], before["hash"])
        self.assertEqual(after["refused"], before["refused"] + 1, host.story())
        self.assertEqual(after["faults"], before["faults"], host.story())
        self.assertEqual(len(host.texts(REFUSED, after=mark)), 1, host.story())
        self.sentence(after["last"])
        return said

    def then_good(self):
        mark = self.live.mark()
        self.place(self.two)
        self.live.wait("build 2 runs", after=mark)
        self.live.frames_pass(2)
        self.assertEqual(self.live.end(), 0)


class Forms(Live):
    """What no code has to run for."""

    def test_not_an_elf_file(self):
        random.seed(7)
        self.refuses(random.randbytes(5000), "not")
        self.refuses(b"int main(void) { return 0; }\n" * 20, "text|source")
        self.refuses(b"#!/bin/sh\nexit 0\n", "text|script")
        self.refuses(bytes(8192), "not|zero")
        self.refuses(b"!<arch>\nfoo.o/          0           0     0     644     10        `\n", "static library")
        self.then_good()

    def test_halves_zeroed(self):
        half = len(self.good) // 2
        self.refuses(elfpatch.zeroed(self.good, 0, half), "not|zero")
        self.refuses(elfpatch.zeroed(self.good, half, len(self.good)), ".")
        self.then_good()

    def test_of_another_kind(self):
        good = self.good
        self.refuses(elfpatch.machine(good, 183), "aarch64|AArch64|arm64|ARM")
        self.refuses(elfpatch.elf_class(good, 1), "32")
        self.refuses(elfpatch.big_endian(good), "endian|byte order")
        self.refuses(elfpatch.elf_type(good, 2), "executable|program")
        self.refuses(elfpatch.elf_type(good, 1), "object")
        self.refuses(elfpatch.elf_type(good, 4), "core|not")
        self.then_good()

    def test_executable(self):
        self.refuses(content("/bin/true"), "not a Keel module|executable|program")
        self.then_good()

    def test_library_without_a_note(self):
        so = build("int nothing(void) { return 1; }", plain=True, use_shim=False)
        self.refuses(content(so), "not a Keel module")
        self.then_good()

    def test_abi(self):
        self.refuses(elfpatch.abi(self.good, 2, 0), r"2\.0.*1\.\d")
        self.refuses(elfpatch.abi(self.good, 1, 7), r"1\.7.*1\.\d")
        self.refuses(elfpatch.abi(self.good, 0, 9), r"0\.9.*1\.\d")
        self.refuses(elfpatch.abi(self.good, 0xffff, 0xffff), r"65535")
        self.then_good()

    def test_table_sizes_in_the_note(self):
        self.refuses(elfpatch.table_size(self.good, 8), "table|bytes")
        self.refuses(elfpatch.table_size(self.good, 0), "table|bytes")
        self.refuses(elfpatch.table_size(self.good, 0x7fffffff), "table|bytes")
        self.refuses(elfpatch.table_size(self.good, 4096), "table|bytes")
        self.then_good()

    def test_missing_service(self):
        so = build(counter(3, globals='KEEL_NEEDS("keel.teleport/3")'))
        self.refuses(content(so), r"keel\.teleport/3")
        self.then_good()

    def test_directory_in_its_place(self):
        os.unlink(self.path("m.so"))
        mark = self.live.mark()
        os.mkdir(self.path("m.so"))
        self.live.quiet()
        for text in self.live.texts(REFUSED, after=mark):
            self.assertIn("folder", text)
        error = self.live.refused("swap")
        self.assertIn("folder", error["text"])
        self.live.frames_pass(2)
        os.rmdir(self.path("m.so"))
        self.then_good()

    def test_pipe_and_socket_in_its_place(self):
        os.unlink(self.path("m.so"))
        os.mkfifo(self.path("m.so"))
        self.assertIn("pipe", self.live.refused("swap")["text"])
        os.unlink(self.path("m.so"))
        os.symlink("/dev/zero", self.path("m.so"))
        self.assertIn("device", self.live.refused("swap")["text"])
        os.unlink(self.path("m.so"))
        os.symlink("m.so", self.path("m.so"))  # to itself
        self.sentence(self.live.refused("swap")["text"])
        os.unlink(self.path("m.so"))
        self.sentence(self.live.refused("swap")["text"])
        self.then_good()

    def test_file_comes_and_goes(self):
        for _ in range(50):
            self.put(self.good)
            os.unlink(self.path("m.so"))
        self.live.quiet()
        self.assertEqual(self.live.slot()["faults"], 0)
        self.then_good_or_there()

    def then_good_or_there(self):
        """Build 2 may have been caught in flight: then its bytes run already."""
        if not self.live.texts("build 2 runs"):
            self.then_good()
        else:
            self.place(self.one)
            self.live.wait("build 1 runs", count=2)
            self.live.end()


class Truncated(keeltest.KeelTest):
    def test_every_64th_byte_by_inspect(self):
        """None is accepted, none crashes; each is one sentence."""
        data = content(small())
        path = self.path("cut.so")
        for at in range(0, len(data) - 1, 64):
            with open(path, "wb") as f:
                f.write(data[:at])
            done = self.keel("inspect", path)
            said = done.stdout.split("\n")[0] if done.stdout else done.stderr
            self.assertIn(done.returncode, (1, 2), "cut at %d: %s" % (at, said))
            self.sentence(said)
            self.assertNotIn("accepted", said)

    def test_a_sample_through_a_live_host(self):
        one, two = build(counter(1)), build(counter(2))
        data = content(two)
        host = self.running(one)
        cuts = list(range(64, len(data) - 1, max(64, len(data) // 60)))
        for at in cuts + [1, 3, 4, 16, 63, len(data) - 1]:
            with open(self.path("m.so"), "wb") as f:  # as a build that was interrupted
                f.write(data[:at])
        host.frames_pass(3)
        self.assertEqual(host.slot()["generation"], 1)
        # It gives up on a file that stays cut, and says so.
        host.wait(REFUSED + ".*(cut short|empty|not)")
        self.assertEqual(host.slot()["generation"], 1)
        self.place(two)
        host.wait("build 2 runs")
        host.end()

    def test_slots_of_cut_files(self):
        """Each cut file as a first build: nothing runs, and a good one starts afresh."""
        data = content(small())
        paths = []
        for i, at in enumerate((0, 64, len(data) // 2)):
            paths.append(self.path("t%d.so" % i))
            with open(paths[-1], "wb") as f:
                f.write(data[:at])
        host = self.host(*paths)
        host.wait("waiting for a build", count=len(paths))
        for path in paths:
            shutil.copy(small(), path + ".part")
            os.rename(path + ".part", path)
        host.wait("build 9 runs from count 1", count=len(paths))
        host.end()


class Loading:
    """What loading shows: in the helper while the trial is on, in the host when it is off."""

    def refuses_source(self, source, pattern, **how):
        return self.refuses(content(build(source, **how)), pattern)

    def test_no_table(self):
        table = 'KEEL_NOTE_("counter", "1")\n'
        self.refuses_source("#include <keel/keel.h>\n" + table, "keel_module")
        self.refuses_source("#include <keel/keel.h>\n" + table +
                            "const struct keel_module keel_module = {sizeof keel_module, KEEL_ABI,"
                            ' "counter", "1"};', "keel_module")  # not exported
        self.then_good()

    def test_tables_that_lie(self):
        form = ('#include <keel/keel.h>\nKEEL_NOTE_("counter", "1")\n'
                "static void frame(keel *k, const struct keel_frame *f) { (void)k; (void)f; }\n"
                "extern const struct keel_module keel_module KEEL_EXPORT;\n"
                "const struct keel_module keel_module KEEL_KEPT = {%s};\n")
        self.refuses_source(form % ".size = 8, .abi = KEEL_ABI, .name = \"counter\", .version = \"1\", "
                            ".frame = frame", "table|bytes|size")
        self.refuses_source(form % ".size = 100000, .abi = KEEL_ABI, .name = \"counter\", .version = "
                            "\"1\", .frame = frame", "table|bytes|size")
        self.refuses_source(form % ".size = sizeof keel_module, .abi = 7, .name = \"counter\", "
                            ".version = \"1\", .frame = frame", "ABI|abi")
        self.refuses_source(form % ".size = sizeof keel_module, .abi = KEEL_ABI, .name = 0, "
                            ".version = 0, .frame = frame", "name")
        self.refuses_source(form % ".size = sizeof keel_module, .abi = KEEL_ABI, .name = \"counter\", "
                            ".version = \"1\"", "frame")
        self.refuses_source(form % ".size = sizeof keel_module, .abi = KEEL_ABI, .name = \"counter\", "
                            ".version = \"1\", .frame = "
                            "(void (*)(keel *, const struct keel_frame *))0x1234", "frame|entry|point")
        self.then_good()

    def test_missing_library(self):
        lib = build("int far(void) { return 1; }", plain=True, use_shim=False,
                    flags=["-Wl,-soname,libfaraway.so.1"])
        self.refuses_source(counter(3, globals="int far(void);", frame="(void)far();"),
                            r"libfaraway\.so\.1", link=[lib])
        self.then_good()

    def test_undefined_symbol(self):
        self.refuses_source(counter(3, globals="int nowhere_to_be_found(void);",
                                    frame="(void)nowhere_to_be_found();"),
                            "nowhere_to_be_found", undefined=True)
        self.then_good()

    @unittest_skip_sanitized
    def test_sanitizer_runtime(self):
        self.refuses_source(counter(3), "[Ss]anitizer",
                            flags=["-fsanitize=address"], undefined=True, use_shim=False)
        self.then_good()

    def test_can_never_unload(self):
        self.refuses_source(counter(3), "nodelete", flags=["-Wl,-z,nodelete"])
        unique = """__asm__(".pushsection .data\\n.globl only_one\\n"
                            ".type only_one, @gnu_unique_object\\n.size only_one, 4\\n"
                            "only_one: .long 0\\n.popsection\\n");
                    extern __attribute__((visibility("default"))) int only_one;"""
        self.refuses_source(counter(3, globals=unique, frame="only_one++;"), "unique")
        self.then_good()

    def test_constructor_crashes(self):
        self.refuses_source(ctor(CRASH), "constructor")
        self.then_good()

    def test_constructor_aborts(self):
        self.refuses_source(ctor("abort();", "#include <stdlib.h>"), "constructor|abort")
        self.then_good()

    def test_constructor_exits(self):
        self.refuses_source(ctor("exit(3);", "#include <stdlib.h>"), "constructor|exit")
        self.refuses_source(ctor("_exit(0);", "#include <unistd.h>"), "constructor|exit")
        self.refuses_source(ctor("quick_exit(1);", "#include <stdlib.h>"), "constructor|exit")
        self.then_good()

    def test_start_fails(self):
        """A first build that refuses to start: the slot waits for a better one."""
        bad = build(counter(5, start='return keel_fail(k, KEEL_EDATA, "no chart at %s", "x.map");'))
        path = self.place(bad, "other.so")
        host = self.host(path, *self.args)
        host.wait("refused.*no chart at x.map")
        host.wait("waiting for a build")
        self.place(self.one, "other.so")
        host.wait("build 1 runs from count 1")
        host.end()
        self.then_good()


class LoadingInTrial(Loading, Live):
    def test_constructor_spins(self):
        self.refuses_source(ctor("for (volatile int x = 0;;) x++;"), "constructor")
        self.then_good()

    def test_constructor_opens_a_socket(self):
        self.refuses_source(ctor("socket(AF_INET, SOCK_STREAM, 0);",
                                 "#include <sys/socket.h>"), "socket")
        self.then_good()

    def test_bytes_that_crashed_are_remembered(self):
        bad = content(build(ctor(CRASH)))
        self.refuses(bad, "constructor")
        os.unlink(self.path("m.so"))
        self.refuses(bad, "faulted before")
        with_retry = self.live.refused("swap", retry=True)
        self.assertNotIn("faulted before", with_retry["text"])
        self.then_good()


class ShutOut(keeltest.KeelTest):
    def test_a_build_waits_for_anothers_constructor(self):
        """Nobody saves the file again when the loader is free: the host remembers."""
        slow = build(ctor("sleep(5);", "#include <unistd.h>"))
        one = build(counter(1))
        host = self.host(self.place(one, "a.so"), self.place(one, "b.so"), "--trial=off")
        host.wait("build 1 runs", count=2)
        self.place(slow, "b.so")
        time.sleep(2)  # the constructor counts as one that hangs after a second
        self.place(build(counter(2)), "a.so")
        host.wait("a: .*constructor of counter has been running")
        host.wait("build 2 runs")
        host.end()


    def test_a_first_builds_constructor_that_never_ends(self):
        """Neither the other modules wait for it, nor the end."""
        spin = build(ctor("for (volatile int x = 0;;) x++;"))
        host = self.host(self.place(spin, "a.so"), "--trial=off")
        host.wait("a: .*constructor of counter has been running")
        host.process.send_signal(signal.SIGINT)
        host.exited(1)


class LoadingUntried(Loading, Live):
    """Without a trial a constructor's crash costs the host its loader, but not what runs."""

    args = ("--trial=off",)

    def no_more(self):
        self.live.frames_pass(3)
        self.place(self.two)
        self.live.wait(REFUSED + ".*until the host is restarted")
        self.live.frames_pass(3)
        self.assertEqual(self.live.slot()["generation"], 1)
        self.assertEqual(self.live.end(), 0)

    def test_constructor_crashes(self):
        self.refuses_source(ctor(CRASH), "constructor")
        self.no_more()

    def test_constructor_aborts(self):
        self.refuses_source(ctor("abort();", "#include <stdlib.h>"), "constructor|abort")
        self.no_more()

    def test_constructor_exits(self):
        self.refuses_source(ctor("exit(3);", "#include <stdlib.h>"), "constructor|exit")
        self.no_more()


class Permission(Live):
    def test_no_permission(self):
        """The host runs as nobody; the file becomes another's and closed."""
        self.live.end()
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        for folder in (self.dir, self.run_dir):
            os.chmod(folder, 0o755 if folder == self.dir else 0o700)
            os.chown(folder, 65534, 65534)
        wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        probe = subprocess.run(wrap + [keeltest.KEEL, "--version"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        if probe.returncode:
            self.skipTest("nobody may not run %s" % keeltest.KEEL)
        self.place(self.one, "p.so")
        host = self.host(self.path("p.so"), wrap=wrap)
        host.wait("build 1 runs")
        mark = host.mark()
        self.put(self.good, "closed")
        os.chmod(self.path("closed"), 0)
        os.rename(self.path("closed"), self.path("p.so"))
        host.wait(r"refused: .*[Pp]ermission", after=mark)
        host.frames_pass(3)
        os.chmod(self.path("p.so"), 0o755)
        host.wait("build 2 runs")
        host.end()


if __name__ == "__main__":
    keeltest.main()
