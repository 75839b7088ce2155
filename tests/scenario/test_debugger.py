"""gdb and lldb on a running host: a breakpoint by file and line holds over a swap, and what it shows is the
new generation's source."""
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import keeltest
from keeltest import KeelTest, build
from test_dev import DevHost

SOURCE = r"""
#include <keel/keel.h>
struct fish { uint64_t frames; };
static uint64_t swim(struct fish *f)
{
    int step = STEP;
    f->frames += 1;
    return f->frames + 0 * step; /* MARK */
}
static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    if (swim(keel_state(k, struct fish)) % 10 == 0)
        keel_info(k, "swims %d", STEP);
}
KEEL_MODULE("fish", "1.0", KEEL_ON(frame, frame))
"""


class Debugged(KeelTest):
    def dev(self):
        os.makedirs(self.path("fish"))
        self.save(1)
        host = DevHost(self, [self.path("fish"), "--deadline", "0"],
                       env=dict(self.env, CFLAGS="-O0"))  # so that gdb knows all variables
        self.hosts.append(host)
        host.wait("swims 1")
        return host

    def save(self, step, more=""):
        with open(self.path("fish/fish.c"), "w") as f:
            f.write(more + "#define STEP %d\n" % step + SOURCE)

    def line(self, more=""):
        text = more + "#define STEP 1\n" + SOURCE
        return 1 + text[:text.index("/* MARK */")].count("\n")



@unittest.skipUnless(shutil.which("gdb"), "no gdb")
@unittest.skipIf(keeltest.SANITIZED, "sanitizers and gdb are in each other's way")
class Gdb(Debugged):
    def gdb(self, host, *commands, meanwhile=None):
        """What gdb prints for these commands, attached to the host."""
        words = ["gdb", "-q", "-nx", "-batch", "-p", str(host.pid), "-iex", "set debuginfod enabled off",
                 "-iex", "set auto-load safe-path /", "-ex", "set breakpoint pending on",
                 "-ex", "handle SIGUSR1 SIGUSR2 nostop noprint pass"]
        for command in commands:
            words += ["-ex", command]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   stdin=subprocess.DEVNULL)
        try:
            if meanwhile:
                meanwhile()
            return process.communicate(timeout=keeltest.PATIENCE * 3)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            self.fail("gdb waits in vain: %s\n%s" % (process.communicate()[0], host.story()))
        finally:
            process.kill()
            process.wait()

    def attachable(self, host):
        said = self.gdb(host, "print 40 + 2", "detach")
        if "$1 = 42" not in said or re.search("ptrace: Operation not permitted", said):
            host.end()
            self.skipTest("this container lets nobody attach: " + said.strip().split("\n")[-1])

    def test_a_break_in_the_second_generation_shows_its_source(self):
        host = self.dev()
        self.attachable(host)
        # The new source is three lines longer: an old line table would show another line.
        more = "/* one\n * two\n * three */\n"
        self.save(2, more)
        host.wait("→ 2")
        host.wait("swims 2")
        said = self.gdb(host, "break fish.c:%d" % self.line(more), "continue", "backtrace 3", "list",
                        "print *f", "info sharedlibrary fish", "delete", "detach")
        self.assertRegex(said, r"swim \(f=0x55[0-9a-f]+\) at .*fish\.c:%d" % self.line(more))
        self.assertRegex(said, r"%d\s+return f->frames \+ 0 \* step; /\* MARK \*/" % self.line(more))
        self.assertRegex(said, r"\$\d+ = {frames = \d+}")
        self.assertRegex(said, r"g2/fish\.so")
        host.frames_pass()
        host.end()

    def test_a_breakpoint_set_before_the_swap_hits_after_it(self):
        host = self.dev()
        self.attachable(host)
        marked = host.mark()

        def swap():
            time.sleep(2)  # gdb has to be there first; else this is the other test once more
            self.save(2)

        # Its condition holds in the second generation only.
        said = self.gdb(host, "break fish.c:%d if step == 2" % self.line(), "continue", "backtrace 2",
                        "print step", "info symbol $pc", "delete", "detach", meanwhile=swap)
        self.assertRegex(said, r"swim \(f=0x55[0-9a-f]+\) at .*fish\.c:%d" % self.line())
        self.assertRegex(said, r"\$\d+ = 2")
        self.assertRegex(said, r"swim \+ \d+ in section \S+ of \S+/g2/fish\.so")
        host.wait("→ 2", after=marked)
        host.frames_pass()
        host.end()


@unittest.skipUnless(shutil.which("lldb"), "no lldb")
@unittest.skipIf(keeltest.SANITIZED, "sanitizers and lldb are in each other's way")
class Lldb(Debugged):
    def lldb(self, host, *commands, meanwhile=None):
        """What lldb prints for these commands, attached to the host."""
        words = ["lldb", "--no-lldbinit", "--batch", "-p", str(host.pid),
                 "-o", "process handle -s false -n false -p true SIGUSR1 SIGUSR2"]
        for command in commands:
            words += ["-o", command]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   stdin=subprocess.DEVNULL)
        try:
            if meanwhile:
                meanwhile()
            said = process.communicate(timeout=keeltest.PATIENCE * 3)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            self.fail("lldb waits in vain: %s\n%s" % (process.communicate()[0], host.story()))
        finally:
            process.kill()
            process.wait()
            os.kill(host.pid, signal.SIGCONT)  # on a busy machine lldb lets go of it stopped
        if "attach failed" in said:
            host.end()
            self.skipTest("this container lets nobody attach: " + said.strip().split("\n")[-1])
        if "lost connection" in said:
            host.end()
            self.skipTest("lldb lost its own server, as it does on a busy machine")
        return said

    def test_a_break_in_the_second_generation_shows_its_source(self):
        host = self.dev()
        more = "/* one\n * two\n * three */\n"
        self.save(2, more)
        host.wait("→ 2")
        host.wait("swims 2")
        said = self.lldb(host, "breakpoint set -f fish.c -l %d" % self.line(more), "continue", "bt 2",
                         "print *f", "image list fish.so", "breakpoint delete -f", "detach")
        self.assertRegex(said, r"fish\.so`swim\(f=0x0*55[0-9a-f]+\) at fish\.c:%d" % self.line(more))
        self.assertRegex(said, r"-> %d\s+return f->frames \+ 0 \* step; /\* MARK \*/" % self.line(more))
        self.assertRegex(said, r"\$0 = \(frames = \d+\)")
        self.assertRegex(said, r"g2/fish\.so")
        host.frames_pass()
        host.end()

    def test_a_breakpoint_set_before_the_swap_hits_after_it(self):
        host = self.dev()

        def swap():
            time.sleep(2)  # lldb has to be there first; else this is the other test once more
            self.save(2)

        said = self.lldb(host, "breakpoint set -f fish.c -l %d -c 'step == 2'" % self.line(), "continue",
                         "bt 2", "print step", "image lookup -v -a $pc", "breakpoint delete -f", "detach",
                         meanwhile=swap)
        self.assertRegex(said, r"fish\.so`swim\(f=0x0*55[0-9a-f]+\) at fish\.c:%d" % self.line())
        self.assertRegex(said, r"\$0 = 2")
        self.assertRegex(said, r"g2/fish\.so")
        host.wait("→ 2")
        host.frames_pass()
        host.end()


if __name__ == "__main__":
    keeltest.main()
