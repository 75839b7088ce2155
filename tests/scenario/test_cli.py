"""The commands as people and machines use them: help, wrong use, exit codes, reports."""
import json
import os
import subprocess
import re
import shutil
import signal
import xml.etree.ElementTree as ElementTree

import elfpatch
import keeltest
from keeltest import build, content, counter, CRASH

COMMANDS = ("run", "inspect", "ctl", "smoke")


class Words(keeltest.KeelTest):
    def test_help_has_an_example(self):
        for command in COMMANDS:
            done = self.keel(command, "--help")
            self.assertEqual(done.returncode, 0, command)
            self.assertEqual(done.stderr, "")
            self.assertRegex(done.stdout, r"(?m)^example: keel %s " % command)
            self.assertRegex(done.stdout, "[Ee]xit status: ")
            self.assertLessEqual(max(map(len, done.stdout.split("\n"))), 100)
        done = self.keel("--help")
        self.assertEqual(done.returncode, 0)
        for command in COMMANDS:
            self.assertRegex(done.stdout, r"(?m)^  %s +\S" % command)
        self.assertRegex(self.keel("--version").stdout, r"^keel \d+\.\d+.*, ABI 1\.1\n")

    def test_an_answer_that_cant_be_written(self):
        path = self.place(build(counter(1)))
        with open("/dev/full", "w") as full:
            done = subprocess.run([keeltest.KEEL, "inspect", path], stdout=full, stderr=subprocess.PIPE, text=True,
                                  env=self.env)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot write the answer: No space left", done.stderr)

    def test_wrong_use_is_one_sentence_and_2(self):
        self.place(build(counter(1)))
        cases = ["run", "run --fps x m.so", "run --fps 0 m.so", "run --fps nan m.so",
                 "run --fps", "run --bogus", "run --trial perhaps m.so", "run --memory x m.so",
                 "run --frames -1 m.so", "run --frames 1e99 m.so", "run --probation 0 m.so",
                 "run --deadline soon m.so",
                 "run " + "m.so " * 65,
                 "ctl", "ctl bogus", "ctl status extra", "ctl rollback a b", "ctl pause maybe",
                 "ctl log -n x", "ctl --timeout x status", "ctl swap --state now",
                 "ctl rollback --state then", "ctl --bogus", "ctl --name a/../b status",
                 "inspect", "inspect m.so m.so", "inspect --bogus m.so", "inspect /nonexistent",
                 "smoke", "smoke m.so", "smoke m.so m.so m.so", "smoke --swaps x m.so m.so",
                 "smoke --frames 0 m.so m.so", "smoke --max-pause -1 m.so m.so",
                 "smoke --trial x m.so m.so", "smoke --junit", "smoke /nonexistent m.so",
                 "diff", "diff m.so", "diff --bogus m.so m.so", "types", "types --bogus m.so", "key",
                 "log --bogus", "state"]
        for case in cases:
            with self.subTest(case=case):
                done = self.keel(*case.split())
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                lines = [x for x in done.stderr.strip().split("\n")]
                self.assertEqual(len(lines), 1, done.stderr)
                self.sentence(re.sub(r"^[\d:.]+ . ", "", lines[0]))
                if "see keel" in lines[0]:  # everywhere in the same words
                    self.assertRegex(lines[0], r"\w[^:;]*; see keel %s --help$" % case.split()[0])
        for case in ("", "bogus", "-x"):
            done = self.keel(*case.split())
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("usage: keel COMMAND", done.stderr)


class Inspect(keeltest.KeelTest):
    def test_exit_codes_and_json(self):
        good = build(counter(1, globals='KEEL_NEEDS("keel.log/1")'))
        done = self.keel("inspect", good)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("accepted", done.stdout)
        done = self.keel("inspect", good, "--json")
        self.assertEqual(done.returncode, 0)
        told = json.loads(done.stdout)
        self.assertTrue(told["accepted"])
        self.assertEqual(told["module"]["name"], "counter")
        self.assertRegex(told["module"]["abi"], r"^1\.\d+$")
        self.assertEqual(told["module"]["needs"], ["keel.log/1"])
        self.assertEqual(told["bytes"], os.path.getsize(good))
        self.assertRegex(told["hash"], "^[0-9a-f]{32}$")
        self.assertTrue(told["inspection"]["bind_now"])
        with open(self.path("bad.so"), "wb") as f:
            f.write(elfpatch.abi(content(good), 3, 1))
        done = self.keel("inspect", self.path("bad.so"), "--json")
        self.assertEqual(done.returncode, 1)
        told = json.loads(done.stdout)
        self.assertFalse(told["accepted"])
        self.assertEqual(told["code"], "EABI")
        self.sentence(told["reason"])
        done = self.keel("inspect", self.path("none.so"), "--json")
        self.assertEqual(done.returncode, 2)
        self.assertFalse(json.loads(done.stdout)["accepted"])

    def test_says_what_a_bare_build_lacks(self):
        done = self.keel("inspect", build(counter(1), plain=True, use_shim=False))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, "lacks [^¶]*malloc shim: its memory is libc's")
        self.assertRegex(done.stdout, "-z now")

    def test_odd_names(self):
        for name in ("with space.so", "line\nbreak.so", "quote\"'.so", "\u00fcml.so", "-dash.so"):
            self.place(build(counter(1)), name)
            done = self.keel("inspect", "--json", "--", name)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["file"], name)


class Smoke(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.old = self.place(build(counter(1)), "old.so")
        self.new = self.place(build(counter(2)), "new.so")
        self.bad = self.place(build(counter(3, globals="static int here;",
                                            frame="if (++here == 9) { %s }" % CRASH)), "bad.so")
        self.quick = ("--frames", "20", "--swaps", "6")

    def test_good(self):
        done = self.keel("smoke", self.old, self.new, *self.quick)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("NEW may replace OLD", done.stdout)
        self.assertNotIn("FAIL", done.stdout)

    def test_bad(self):
        for trial in ("on", "off"):
            done = self.keel("smoke", self.old, self.bad, "--trial", trial, *self.quick)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("NEW may not replace OLD", done.stdout)
            fails = [x for x in done.stdout.split("\n") if x.startswith("FAIL")]
            self.assertTrue(fails)
            for line in fails:
                self.sentence(line)

    def test_bad_files(self):
        with open(self.path("text.so"), "w") as f:
            f.write("hello, I am a text\n")
        done = self.keel("smoke", self.old, self.path("text.so"), *self.quick)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        done = self.keel("smoke", self.path("text.so"), self.old, *self.quick)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        done = self.keel("smoke", self.old, self.path("none.so"), *self.quick)
        self.assertIn(done.returncode, (1, 2), done.stdout + done.stderr)
        self.sentence(done.stderr.strip() or done.stdout.strip().split("\n")[-1])

    def test_pause_limit(self):
        done = self.keel("smoke", self.old, self.new, "--max-pause", "0.001", *self.quick)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, "FAIL  longest pause")
        done = self.keel("smoke", self.old, self.new, "--max-pause", "5000000", *self.quick)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_tap(self):
        done = self.keel("smoke", self.old, self.new, "--tap", *self.quick)
        lines = done.stdout.strip().split("\n")
        self.assertEqual(lines[0], "TAP version 13")
        count = int(re.match(r"1\.\.(\d+)$", lines[1]).group(1))
        self.assertEqual(len(lines), count + 2)
        for number, line in enumerate(lines[2:], 1):
            self.assertRegex(line, r"^ok %d - " % number)
        done = self.keel("smoke", self.old, self.bad, "--tap", *self.quick)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^not ok \d+ - ")

    def test_junit(self):
        for new, failures in ((self.new, 0), (self.bad, 1)):
            report = self.path("report.xml")
            done = self.keel("smoke", self.old, new, "--junit", report, *self.quick)
            self.assertEqual(done.returncode, 1 if failures else 0, done.stdout)
            suite = ElementTree.parse(report).getroot()
            suite = suite if suite.tag == "testsuite" else suite.find("testsuite")
            cases = suite.findall("testcase")
            self.assertEqual(int(suite.get("tests")), len(cases))
            failed = [c for c in cases if c.find("failure") is not None]
            self.assertEqual(int(suite.get("failures")), len(failed))
            self.assertGreaterEqual(len(failed), failures)
            if not failures:
                self.assertEqual(failed, [])
        done = self.keel("smoke", self.old, self.new, "--junit", "/nonexistent/x.xml", *self.quick)
        self.assertEqual(done.returncode, 2)

    def test_json(self):
        done = self.keel("smoke", self.old, self.new, "--json", *self.quick)
        told = json.loads(done.stdout)
        self.assertTrue(told["ok"])
        self.assertTrue(all(c["ok"] for c in told["checks"]))
        done = self.keel("smoke", self.old, self.bad, "--json", *self.quick)
        self.assertFalse(json.loads(done.stdout)["ok"])

    def test_nothing_commands_a_terminal_or_breaks_a_report(self):
        """A file's name that holds an escape, a line, C1's CSI and what is no UTF-8."""
        name = os.path.join(os.fsencode(self.dir), b"a\x1b]0;b\x07\nok 9 - \x7f\xc2\x9b\xff<&\">.so")
        with open(name, "w") as f:
            f.write("hello, I am a text\n")
        name = os.fsdecode(name)
        report = self.path("report.xml")
        texts = []
        for args in (("smoke", self.old, name), ("smoke", self.old, name, "--tap"),
                     ("smoke", self.old, name, "--json"), ("smoke", name, self.old),
                     ("smoke", self.old, name, "--junit", report),
                     ("inspect", name), ("diff", self.old, name), ("replay", name), ("log", name),
                     ("smoke", self.old, self.new, "--junit", name + "/x"), (name,), ("log", name[1:])):
            done = self.keel(*args, *(self.quick if args[0] == "smoke" else ()))
            self.assertNotEqual(done.returncode, 0, args)
            if args[-1] != "--json":  # which is for programs
                texts.append(done.stdout + done.stderr)
            if args[-1] == "--tap":
                self.assertNotRegex(done.stdout, "(?m)^ok 9")
            if args[-1] == "--json":
                told = json.loads(done.stdout)
                self.assertFalse(told["ok"])
                self.assertTrue(told["new"].endswith('<&">.so'))
        ElementTree.parse(report)
        with open(report, encoding="utf-8") as f:
            texts.append(f.read())
        for text in texts:
            self.assertNotRegex(text, r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")

    def test_leak_of_a_descriptor_is_found(self):
        so = self.place(build(counter(4, includes="#include <fcntl.h>\n",
                                      start="", frame="static int once; if (!once++) "
                                      "(void)!open(\"/dev/null\", 0);")), "leak.so")
        done = self.keel("smoke", self.old, so, "--trial", "off", *self.quick)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, "FAIL  descriptors")

    def test_what_cannot_be_unloaded_is_found(self):
        so = self.place(build(counter(5, includes="#include <pthread.h>\n#include <unistd.h>\n",
                                      globals="static void *stay(void *u) { pause(); return u; }\n"
                                      "static int once;", frame="if (!once++) { pthread_t t; "
                                      "pthread_create(&t, 0, stay, 0); pthread_detach(t); }")),
                        "stay.so")
        done = self.keel("smoke", self.old, so, "--trial", "off", *self.quick)
        self.assertEqual(done.returncode, 1, done.stdout)


class Log(keeltest.KeelTest):
    def test_what_a_killed_host_said_last(self):
        host = self.running(build(counter(1, frame='if (s->count == 7) keel_info(k, "seven");')))
        host.wait("seven")
        running = self.keel("log", str(host.pid))
        self.assertEqual(running.returncode, 0, running.stderr)
        self.assertIn("seven", running.stdout)
        host.kill()
        for args in ((), (str(host.pid),)):
            left = self.keel("log", *args)
            self.assertEqual(left.returncode, 0, left.stderr)
            self.assertIn("build 1 runs from count", left.stdout)
            self.assertIn("seven", left.stdout)
        texts = [json.loads(line)["text"] for line in self.keel("log", "--json").stdout.splitlines()]
        self.assertTrue([text for text in texts if "seven" in text])
        # What else a killed host leaves, the next one removes.
        self.host(self.path("m.so"), name=host.socket_path, wrap=()).wait("seven")
        self.hosts[-1].end()

    def test_who_ends_leaves_none(self):
        host = self.host(self.place(build(counter(1))), "--frames", "3", "--fps", "max")
        self.assertEqual(host.exited(), 0)
        done = self.keel("log", str(host.pid))
        self.assertEqual(done.returncode, 1)
        self.sentence(done.stderr.strip())

    def test_bytes_of_others(self):
        path = self.path("log")
        head = b"keel log 1 512 1024\n".ljust(4096, b"\0")
        forged = b"\1" + bytes(7) + b"\xff" * 504
        for data in (b"", b"garbage", head, head + b"\xff" * 1024 * 512,
                     head + forged + bytes(1023 * 512)):
            with open(path, "wb") as f:
                f.write(data)
            done = self.keel("log", path)
            self.assertIn(done.returncode, (0, 2))
            self.assertNotIn("\x1b", done.stdout)


class Run(keeltest.KeelTest):
    def test_frames(self):
        so = self.place(build(counter(1, frame='if (s->count == 7) keel_info(k, "seven");')))
        host = self.host(so, "--frames", "7", "--fps", "max")
        self.assertEqual(host.exited(), 0)
        self.assertTrue(host.texts("seven"))

    def test_every_line_is_json(self):
        so = self.place(build(counter(1, frame='if (s->count < 4) keel_info(k, "odd \\x01 \\xff '
                                      '\\" \\n \\\\ %s", "{]");')))
        host = self.host(so, "--frames", "5")
        host.exited()
        self.assertEqual(host.noise, [])
        self.assertTrue(host.texts("odd"))
        for record in host.records:
            self.assertEqual(set(record), {"time", "level", "room", "text"})

    def test_nothing_ran(self):
        with open(self.path("text.so"), "w") as f:
            f.write("no module")
        host = self.host(self.path("text.so"), "--frames", "3")
        self.assertEqual(host.exited(None), 1)

    def test_signals_end_it_cleanly(self):
        stop = "static void stop(keel *k) { keel_info(k, \"stopped well\"); }"
        so = build(counter(1, functions=stop, entries="KEEL_ON(stop, stop)"))
        for number in (signal.SIGTERM, signal.SIGINT):
            host = self.running(so)
            host.process.send_signal(number)
            self.assertEqual(host.exited(), 0)
            self.assertTrue(host.texts("stopped well"))

    def test_quit_and_signal_while_waiting_or_paused(self):
        host = self.host(self.path("none.so"))
        host.wait("waiting for a build")
        host.process.send_signal(signal.SIGTERM)
        self.assertEqual(host.exited(None), 1)
        host = self.running(build(counter(1)))
        host.call("pause")
        host.call("quit")
        self.assertEqual(host.exited(), 0)

    def test_reader_of_its_output_goes_away(self):
        host = self.running(build(counter(1)))
        # Not close(): that waits for the thread that reads, and so for the host's next line.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, host.process.stdout.fileno())
        os.close(nothing)
        self.place(build(counter(2)))
        host.until(lambda: host.slot()["swaps"] == 2, "the second swap")
        host.call("quit")
        self.assertEqual(host.process.wait(keeltest.PATIENCE), 0)


class Ctl(keeltest.KeelTest):
    def test_no_host(self):
        for args in (("status",), ("--json", "status"), ("quit",), ("swap",)):
            done = self.keel("ctl", *args)
            self.assertEqual(done.returncode, 2)
            if "--json" in args:
                self.sentence(json.loads(done.stdout)["error"]["text"])
            else:
                self.sentence(done.stderr)
                self.assertIn("no host", done.stderr)

    def test_a_session(self):
        host = self.running(build(counter(1)))
        ctl = ("ctl", "--socket", host.socket_path)
        done = self.keel(*ctl, "status")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"\bm\b.*running|m .*probation")
        told = json.loads(self.keel(*ctl, "--json", "status").stdout)
        slot = (told.get("result") or told)["slots"][0]
        for key in ("generation", "build_id", "hash", "load_address", "state", "phase", "frames"):
            self.assertIn(key, slot)
        self.assertRegex(slot["build_id"], "^[0-9a-f]{40}$")
        shutil.copy(build(counter(2)), self.path("other"))
        done = self.keel(*ctl, "swap", "m", "--file", self.path("other"))
        self.assertEqual(done.returncode, 0, done.stderr)
        host.wait("build 2 runs")
        done = self.keel(*ctl, "swap", "nobody")
        self.assertEqual(done.returncode, 1)
        self.sentence(done.stderr)
        done = self.keel(*ctl, "rollback")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.keel(*ctl, "pause", "on").returncode, 0)
        self.assertEqual(self.keel(*ctl, "pause", "off").returncode, 0)
        done = self.keel(*ctl, "log", "-n", "50")
        self.assertIn("build 2 runs", done.stdout)
        done = self.keel(*ctl, "quit")
        self.assertEqual(done.returncode, 0)
        host.exited()

    def test_relative_file_is_the_callers(self):
        """--file is meant from where ctl was called, not from where the host was."""
        host = self.running(build(counter(1)))
        os.mkdir(self.path("else"))
        shutil.copy(build(counter(2)), self.path("else/new.so"))
        done = keeltest.subprocess.run(
            [keeltest.KEEL, "ctl", "--socket", host.socket_path, "swap", "--file", "new.so"],
            cwd=self.path("else"), env=self.env, stdout=keeltest.subprocess.PIPE,
            stderr=keeltest.subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        host.wait("build 2 runs")
        host.end()


if __name__ == "__main__":
    keeltest.main()
