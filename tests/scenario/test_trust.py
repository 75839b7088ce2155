"""Trust: a host that was given keys runs nothing that they didn't sign, and says who tried."""
import os
import re
import shutil
import subprocess
import threading
import time
import unittest

import keeltest
from keeltest import build, content, counter

HELPED = r"""
#include <keel/keel.h>
int helped(void);
struct st { uint64_t count; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    if (!s->count++)
        keel_info(k, "build %d runs from count 0", helped());
}
KEEL_MODULE("helped", "1.0", KEEL_ON(frame, frame))
"""


def has_trust():
    said = subprocess.run([keeltest.KEEL, "--version"], stdout=subprocess.PIPE, text=True).stdout
    return "trust: OpenSSL" in said


@unittest.skipUnless(has_trust(), "built without OpenSSL")
class Trust(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.key = self.new_key("release")

    def new_key(self, name):
        path = self.path(name + ".key")
        done = self.keel("key", "new", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return path

    def sign(self, name="m.so", counter=1, key=None, more=()):
        done = self.keel("manifest", self.path(name), "--sign", key or self.key, "--counter",
                         counter, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path(name) + ".manifest"

    def module(self, number, **more):
        return build(counter(number, **more))

    def put(self, number, counter=None, name="m.so", **more):
        """A signed build, its manifest first, as a supplier's script would."""
        part = self.place(self.module(number, **more), "coming.so")
        self.sign("coming.so", counter or number)
        os.rename(part + ".manifest", self.path(name) + ".manifest")
        os.rename(part, self.path(name))

    def trusting(self, *args, **more):
        return self.host(self.path("m.so"), "--trust", self.key + ".pub", *args, **more)

    def running_one(self, *args):
        self.put(1)
        host = self.trusting(*args)
        host.wait("build 1 runs")
        return host

    def alarm(self, host, pattern, after=0):
        text = host.wait("^ALARM: .*" + pattern, after=after).string
        self.sentence(text)
        return text

    def still_one(self, host):
        host.quiet()
        slot = host.slot()
        self.assertEqual(slot["generation"], 1)
        self.assertGreaterEqual(slot["alarms"], 1)
        self.assertEqual(host.texts("build [^1] runs"), [])

    # ---- what is accepted

    def test_signed_builds_run(self):
        host = self.running_one()
        self.assertEqual(len(host.texts("only builds signed by ed25519:[0-9a-f]{64} run here")), 1)
        self.assertEqual(host.texts("whoever can write"), [])
        self.put(2)
        host.wait("build 2 runs")
        slot = host.slot()
        self.assertEqual((slot["counter"], slot["alarms"]), (2, 0))
        self.assertIn(slot["signer"], host.status()["host"]["trust"])
        host.until(lambda: content(self.path("state/keel/trust")) == b"keel-trust 1\n2 counter\n",
                   "the counter on the disk")
        self.assertEqual(os.stat(self.path("state/keel/trust")).st_mode & 0o777, 0o600)
        host.end()

    def test_either_of_two_keys(self):
        other = self.new_key("other")
        line = self.keel("key", "show", other).stdout.split("\n")[0]
        host = self.running_one("--trust", line)
        self.place(self.module(2), "m.so")
        self.sign(counter=2, key=other)
        host.wait("build 2 runs")
        self.assertEqual(host.slot()["signer"], line)
        host.end()

    def test_a_manifest_that_comes_later(self):
        host = self.running_one()
        mark = host.mark()
        self.place(self.module(2), "m.so")
        host.wait("waiting for its manifest", after=mark)
        self.sign(counter=2)
        host.wait("build 2 runs")
        self.assertEqual(host.texts("ALARM"), [])
        # And one that comes when nobody waits any more.
        mark = host.mark()
        self.place(self.module(3), "m.so")
        self.alarm(host, "these are not the bytes", after=mark)
        self.sign(counter=3)
        host.wait("build 3 runs")
        host.end()

    def test_first_load_waits_too(self):
        self.place(self.module(1), "m.so")
        host = self.trusting()
        host.wait("waiting for its manifest")
        self.sign()
        host.wait("build 1 runs")
        host.end()

    def test_links(self):
        """A name that is flipped: the manifest lies beside what it means."""
        for number in (1, 2):
            os.mkdir(self.path("v%d" % number))
            self.put(number, name="v%d/real.so" % number)
        os.symlink("v1/real.so", self.path("m.so"))
        host = self.trusting()
        host.wait("build 1 runs")
        os.symlink("v2/real.so", self.path("new"))
        os.rename(self.path("new"), self.path("m.so"))
        host.wait("build 2 runs")
        host.end()

    def test_rollback_needs_no_newer_counter(self):
        host = self.running_one("--probation", "5")
        self.put(2)
        host.wait("build 2 runs")
        host.until(lambda: host.slot()["phase"] == "running", "the end of probation")
        host.call("rollback", slot="m")
        host.until(lambda: host.slot()["counter"] == 1, "the first build")
        # The file is still the second build's, touched: what ran once with this counter may again.
        mark = host.mark()
        os.utime(self.path("m.so"))
        host.wait("build 2 runs", after=mark)
        self.assertEqual(host.texts("ALARM"), [])
        host.end()

    def test_what_runs_stays(self):
        """Its own file, touched after its manifest expired: it is what runs already."""
        self.place(self.module(1), "m.so")
        soon = time.time() + 3
        self.sign("m.so", 1, more=["--expires",
                                   time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon))])
        host = self.trusting()
        host.wait("build 1 runs")
        time.sleep(max(0, soon + 1 - time.time()))
        answer = host.ask("swap", slots=["m"])
        self.assertEqual(answer["error"]["code"], "ESAME")
        self.assertEqual(host.texts("ALARM"), [])
        for _ in range(2):  # what runs may be loaded again, and again
            host.call("swap", slots=["m"], same=True)
            self.assertEqual(host.slot()["counter"], 1)
        # Without a manifest nobody looks at the file.
        os.unlink(self.path("m.so.manifest"))
        self.assertEqual(host.refused("swap", slots=["m"])["code"], "EUNTRUSTED")
        host.frames_pass(3)
        host.end()

    def test_unsigned_files_are_not_read(self):
        """Nothing of a file is opened before a trusted key names it, and little more than it names."""
        host = self.running_one()
        huge = self.path("huge.so")
        with open(huge, "wb") as f:
            f.truncate(600 << 20)
        before = int(re.search(r"VmHWM:\s+(\d+)", content("/proc/%d/status" % host.pid).decode())[1])
        os.unlink(self.path("m.so.manifest"))
        self.assertEqual(host.refused("swap", slots=["m"], file=huge)["code"], "EUNTRUSTED")
        shutil.copyfile(huge, self.path("m.so"))
        self.put(2, name="n.so")
        os.rename(self.path("n.so.manifest"), self.path("m.so.manifest"))
        self.alarm(host, "it has far more")
        after = int(re.search(r"VmHWM:\s+(\d+)", content("/proc/%d/status" % host.pid).decode())[1])
        self.assertLess(after - before, 100 << 10)
        self.still_one(host)
        host.end()

    # ---- what is refused

    def test_unsigned(self):
        host = self.running_one("--verbose")
        mark = host.mark()
        self.place(self.module(2), "m.so")
        os.unlink(self.path("m.so.manifest"))
        self.alarm(host, "it has no manifest", after=mark)
        status = self.keel("ctl", "--socket", host.socket_path, "status").stdout
        self.assertIn("m: 1 ALARM: builds that no trusted key vouches for", status)
        mark = host.mark()
        done = self.keel("manifest", self.path("m.so"))
        self.assertIn("not signed", done.stdout)
        self.alarm(host, "it is not signed", after=mark)
        self.still_one(host)
        # Nothing of it ran anywhere: not in the trial either.
        self.assertEqual([t for t in host.texts("^m: (trial|load)", after=mark)], [])
        host.end()

    def test_a_flood_is_one_line(self):
        """Somebody who can write the folder can't wash the log away."""
        host = self.running_one("--verbose")
        self.put(3)
        host.wait("build 3 runs")
        self.put(2)  # older: needs no waiting
        self.alarm(host, "older build")
        mark, alarms = host.mark(), host.slot()["alarms"]
        for _ in range(20):
            os.utime(self.path("m.so"))
            time.sleep(0.02)
        host.ask("swap", slots=["m"])
        self.assertGreater(host.slot()["alarms"], alarms)
        loud = [r for r in host.records[mark:] if r["level"] in ("warn", "error")]
        self.assertEqual(loud, [])
        host.end()

    def test_wrong_key(self):
        host = self.running_one()
        self.place(self.module(2), "m.so")
        self.sign(counter=2, key=self.new_key("stranger"))
        self.alarm(host, "signed by ed25519:[0-9a-f]{12}, which is not trusted here")
        self.still_one(host)
        host.end()

    def test_changed_image_is_named(self):
        """One bit of one function: the alarm says which."""
        host = self.running_one()
        path = self.place(build(counter(2), link=["-Wl,--emit-relocs"]), "coming.so")
        self.sign("coming.so", 2)
        lines = subprocess.run(["nm", path], stdout=subprocess.PIPE, text=True).stdout
        address = int(re.search(r"^([0-9a-f]+) t frame$", lines, re.M)[1], 16)
        data = bytearray(content(path))
        data[address] ^= 1  # in these builds text lies where it is loaded
        with open(path, "wb") as f:
            f.write(data)
        os.rename(path + ".manifest", self.path("m.so.manifest"))
        os.rename(path, self.path("m.so"))
        text = self.alarm(host, "these are not the bytes that were signed")
        if not keeltest.SANITIZED:  # whose calls the reader's sandbox forbids
            self.assertRegex(text, r"; changed: frame\b")
        self.still_one(host)
        check = self.keel("manifest", "--check", self.path("m.so"), "--trust", self.key + ".pub")
        self.assertEqual(check.returncode, 1)
        if not keeltest.SANITIZED:
            self.assertRegex(check.stdout, r"(?m)^  ~ function frame$")
        host.end()

    def test_check_without_a_manifest(self):
        path = self.place(self.module(1), "bare.so")
        done = self.keel("manifest", "--check", path)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual(done.stdout, "there is no manifest of it (%s.manifest): write one with "
                         "keel manifest MODULE.so --sign KEY\n" % path)

    def test_changed_manifest(self):
        host = self.running_one()
        self.put(2, name="n.so")
        with open(self.path("n.so.manifest"), "rb") as f:
            good = f.read()
        for bad, why in ((good.replace(b'"counter":2', b'"counter":9'), "does not fit"),
                         (good[:-1], "cut short"), (good[:40], "cut short"), (b"", "empty"),
                         (b"\x7fELF" + good, "no manifest")):
            with open(self.path("m.so.manifest"), "wb") as f:
                f.write(bad)
            mark = host.mark()
            shutil.copyfile(self.path("n.so"), self.path("part"))
            os.rename(self.path("part"), self.path("m.so"))
            self.alarm(host, why, after=mark)
        self.still_one(host)
        host.end()

    def test_replay(self):
        self.put(5)
        shutil.copyfile(self.path("m.so"), self.path("old.so"))
        shutil.copyfile(self.path("m.so.manifest"), self.path("old.so.manifest"))
        host = self.trusting()
        host.wait("build 5 runs")
        self.put(6)
        host.wait("build 6 runs")
        mark = host.mark()
        refused = host.refused("swap", slots=["m"], file=self.path("old.so"))
        self.assertEqual(refused["code"], "EUNTRUSTED")
        self.alarm(host, r"older build .*counter 5, 6 ran", after=mark)
        host.end()
        # Nor in the next life of the host, as the first thing.
        os.rename(self.path("old.so.manifest"), self.path("m.so.manifest"))
        os.rename(self.path("old.so"), self.path("m.so"))
        host = self.trusting()
        self.alarm(host, "older build")
        self.put(7)
        host.wait("build 7 runs")
        host.end()

    def test_a_build_that_never_ran_raises_no_counter(self):
        host = self.running_one()
        self.put(9, frame="*(volatile int *)0 = 1;")
        host.wait("failed in the trial")
        self.put(2)
        host.wait("build 2 runs")
        host.end()

    def test_expired(self):
        host = self.running_one()
        self.place(self.module(2), "coming.so")
        soon = time.time() + 2
        self.sign("coming.so", 2, more=["--expires",
                                        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon))])
        time.sleep(2.5)
        os.rename(self.path("coming.so.manifest"), self.path("m.so.manifest"))
        os.rename(self.path("coming.so"), self.path("m.so"))
        self.alarm(host, "its manifest expired 0 minutes ago")
        self.still_one(host)
        host.end()

    def test_manifest_of_another_module(self):
        host = self.running_one()
        self.put(2, name="n.so", counter=2)
        self.place(build(counter(3, name="other")), "o.so")
        self.sign("o.so", 3)
        shutil.copyfile(self.path("o.so.manifest"), self.path("m.so.manifest"))
        os.rename(self.path("n.so"), self.path("m.so"))
        self.alarm(host, "of another module \\(.other. 1.0\\)")
        self.still_one(host)
        host.end()

    def test_what_is_no_file(self):
        host = self.running_one()
        self.put(2, name="n.so")
        manifest = self.path("m.so.manifest")
        os.unlink(manifest)
        os.symlink(self.path("n.so.manifest"), manifest)
        shutil.copyfile(self.path("n.so"), self.path("part"))
        os.rename(self.path("part"), self.path("m.so"))
        self.alarm(host, "symbolic link")
        mark = host.mark()
        os.unlink(manifest)
        with open(manifest, "wb") as f:
            f.truncate(1 << 40)
        self.alarm(host, "a manifest has at most", after=mark)
        mark = host.mark()
        os.unlink(manifest)
        os.mkfifo(manifest)
        host.ask("swap", slots=["m"])
        self.alarm(host, "it is not a file|can't be opened", after=mark)
        self.still_one(host)
        host.end()

    def test_group_is_all_or_none(self):
        self.put(1, name="m.so")
        self.put(1, name="n.so")
        host = self.host(self.path("m.so"), self.path("n.so"), "--no-watch", "--trust",
                         self.key + ".pub")
        host.wait("build 1 runs", count=2)
        self.put(2, name="m.so")
        self.place(self.module(2), "n.so")
        refused = host.refused("swap", slots=["m", "n"])
        self.assertEqual(refused["code"], "EUNTRUSTED")
        self.assertEqual(host.texts("build 2 runs"), [])
        self.sign("n.so", 2)
        host.call("swap", slots=["m", "n"])
        host.wait("build 2 runs", count=2)
        host.end()

    def test_nothing_comes_from_beside(self):
        """A library next to the module is not signed: it isn't found where keys decide."""
        for number in (1, 2):
            with open(self.path("helper.c"), "w") as f:
                f.write("int helped(void) { return %d; }\n" % number)
            subprocess.run([keeltest.CC, "-shared", "-fPIC", "-o", self.path("libhelp%d.so" % number),
                            "-Wl,-soname,libhelp.so", self.path("helper.c")], check=True)
        shutil.copyfile(self.path("libhelp1.so"), self.path("libhelp.so"))
        module = build(HELPED, link=["-Wl,-rpath,$ORIGIN", self.path("libhelp.so")])
        self.place(module, "m.so")
        signed = self.keel("manifest", self.path("m.so"), "--sign", self.key, "--counter", 1)
        if "thread" not in keeltest.SANITIZED:  # whose calls the reader's sandbox forbids
            self.assertIn("looks for libraries in $ORIGIN: whoever can write there", signed.stderr)
        host = self.host(self.path("m.so"))
        host.wait("build 1 runs")
        host.end()
        host = self.trusting()
        host.wait("libhelp.so")
        self.assertEqual(host.texts("build . runs"), [])
        host.end(expect=1)

    def test_flipping_files(self):
        """Somebody changes both files as fast as can be, between check and load as well."""
        self.put(1)
        host = self.trusting("--probation", "1")
        host.wait("build 1 runs")
        evil = self.module(666)
        stop = threading.Event()
        good = {}
        for number in range(2, 6):
            self.put(number, counter=1, name="g%d.so" % number)
            good[number] = (content(self.path("g%d.so" % number)),
                            content(self.path("g%d.so.manifest" % number)))

        def write(name, data):
            with open(self.path("flip." + name), "wb") as f:
                f.write(data)
            os.rename(self.path("flip." + name), self.path(name))

        def flip():
            bad, turn = content(evil), 0
            while not stop.is_set():
                turn += 1
                so, manifest = good[2 + turn % 4]
                write("m.so.manifest", manifest)
                write("m.so", so)
                time.sleep(0.001 * (turn % 37))
                write("m.so", bad)
                time.sleep(0.001 * (turn % 5))

        thread = threading.Thread(target=flip)
        thread.start()
        try:
            host.wait("build [2-5] runs", count=8)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(host.texts("build 666 runs"), [])
        host.end()

    # ---- the command line

    def test_without_keys_it_says_so_once(self):
        host = self.running(self.module(1))
        self.place(self.module(2))
        host.wait("build 2 runs")
        said = host.texts("whoever can write %s runs code with your rights here" % self.dir)
        self.assertEqual(len(said), 1)
        self.sentence(said[0])
        host.end()

    def test_wrong_use(self):
        self.put(1)
        path = self.path("m.so")
        for args, why in ((["--trust", self.path("none.pub")], "none.pub"),
                          (["--trust", self.key], "is a private key"),
                          (["--trust", path], "no public Ed25519 key|too large"),
                          (["--trust", "ed25519:12"], "64 digits"),
                          (["--trust-state", "x"], "says nothing without --trust")):
            done = self.keel("run", path, "--frames", 1, "--name", self.path("s"), *args)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertRegex(done.stderr, why)

    def test_counters_that_cannot_be_read(self):
        """Fail closed: where nobody can tell what ran, nothing runs."""
        self.put(1)
        state = self.path("counters")
        for text, mode in (("keel-trust 2\n", 0o600), ("keel-trust 1\nx counter\n", 0o600),
                           ("keel-trust 1\n1 counter", 0o600), ("keel-trust 1\n1 counter\n", 0o666),
                           ("keel-trust 1\n99999999999999999999 counter\n", 0o600)):
            with open(state, "w") as f:
                f.write(text)
            os.chmod(state, mode)
            done = self.keel("run", self.path("m.so"), "--frames", 1, "--trust",
                             self.key + ".pub", "--trust-state", state, "--name", self.path("s"))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(state, done.stderr)
            self.assertNotIn("build 1 runs", done.stderr)
        os.unlink(state)
        os.symlink("/dev/null", state)
        done = self.keel("run", self.path("m.so"), "--frames", 1, "--trust", self.key + ".pub",
                         "--trust-state", state, "--name", self.path("s"))
        self.assertEqual(done.returncode, 2, done.stderr)

    def test_no_configuration_of_openssl(self):
        """It could name libraries to load. A pipe would keep whoever reads it waiting."""
        os.mkfifo(self.path("openssl.cnf"))
        env = dict(self.env, OPENSSL_CONF=self.path("openssl.cnf"))
        self.place(self.module(1), "m.so")
        for command in (["key", "new", self.path("more.key")], ["key", "show", self.key],
                        ["manifest", self.path("m.so"), "--sign", self.key, "--counter", 1],
                        ["manifest", "--check", self.path("m.so")],
                        ["run", self.path("m.so"), "--frames", 1, "--trust", self.key + ".pub",
                         "--name", self.path("s")]):
            done = self.keel(*command, env=env)
            self.assertEqual(done.returncode, 0, (command, done.stderr))

    def test_smoke(self):
        self.put(2, name="old.so")
        self.put(3, name="new.so")
        args = ["smoke", self.path("old.so"), self.path("new.so"), "--frames", "5", "--swaps", "4",
                "--trust", self.key + ".pub"]
        done = self.keel(*args)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("NEW's counter is 3, OLD's 2", done.stdout)
        self.assertFalse(os.path.exists(self.path("state/keel/trust")))
        self.sign("new.so", 1)
        done = self.keel(*args)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("FAIL  both are signed; NEW's counter is 1, OLD's 2", done.stdout)
        os.unlink(self.path("new.so.manifest"))
        done = self.keel(*args)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, "FAIL .*not trusted: it has no manifest")

    def test_manifest_command(self):
        self.place(self.module(1), "m.so")
        path = self.path("m.so")
        for args in (["--counter", "-1"], ["--counter", "1x"], ["--expires", "yesterday"],
                     ["--expires", "2020-01-01"], ["--expires", "0d"], ["--sign", "/nowhere"],
                     ["--check", "--sign", self.key], ["--trust", self.key + ".pub"]):
            done = self.keel("manifest", path, *args)
            self.assertEqual(done.returncode, 2, (args, done.stdout, done.stderr))
            self.assertTrue(done.stderr.startswith("keel manifest: "), done.stderr)
            self.assertFalse(os.path.exists(path + ".manifest"))
        os.chmod(self.key, 0o644)
        done = self.keel("manifest", path, "--sign", self.key, "--expires", "never")
        self.assertEqual(done.returncode, 0)
        self.assertIn("others can read", done.stderr)
        self.assertIn("never expires", done.stdout)
        check = self.keel("manifest", "--check", path, "--trust", self.key + ".pub")
        self.assertEqual(check.returncode, 0, check.stdout)
        self.assertIn("(trusted)", check.stdout)
        check = self.keel("manifest", "--check", path)
        self.assertEqual(check.returncode, 0, check.stdout)
        check = self.keel("manifest", "--check", path, "--trust", self.new_key("x") + ".pub")
        self.assertEqual(check.returncode, 1, check.stdout)


if __name__ == "__main__":
    keeltest.main(at_once=8)
