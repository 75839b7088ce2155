"""`keel dev`: from a save to the code that runs, whatever builds it; what compilers say is told and
what runs goes on."""
import os
import re
import shutil
import signal
import subprocess
import unittest

import keeltest
from keeltest import BUILD, Host, KeelTest, ROOT, content, counter

MANUAL = os.path.join(ROOT, "docs", "manual.md")
FLAGS = "-shared -fPIC -g -I" + os.path.join(ROOT, "abi")


class DevHost(Host):
    COMMAND = "dev"


class Dev(KeelTest):
    def dev(self, *args, env=None, json_lines=True):
        host = DevHost(self, args, env=env, json_lines=json_lines)
        self.hosts.append(host)
        return host

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        return path

    def edit(self, name, before, after):
        """As sed -i and many editors: a new file takes the old one's name."""
        path = self.path(name)
        text = content(path).decode()
        self.assertIn(before, text)
        self.write(name + ".new~", text.replace(before, after))
        os.rename(path + ".new~", path)

    def asleep(self):
        return [p for p in self.processes() if p.split(" ", 1)[1].startswith("sleep 1000")]

    def single(self, **more):
        self.write("m/m.c", counter(1, name="m", **more))
        host = self.dev(self.path("m"))
        host.wait("build 1 runs")
        return host

    # ---- one file

    def test_the_manual_word_for_word(self):
        with open(MANUAL) as f:
            text = f.read()
        section = text[text.index("### keel new"):text.index("### keel inspect")]
        commands = re.findall(r"^    \$ keel (.+)$", section, re.M)
        self.assertEqual(commands, ["new fish", "dev fish"])
        name, before, after = re.search(r"Open `(\S+)`, change `(.+?)` to `(.+?)`, and save",
                                        section.replace("\n", " ")).groups()
        self.assertEqual(self.keel(*commands[0].split()).returncode, 0)
        host = self.dev(*commands[1].split()[1:])
        self.assertEqual(commands[1].split()[0], host.COMMAND)
        at = int(host.wait(r"the fish is at (\d+)").group(1))
        mark = host.mark()
        self.edit(name, before, after)
        host.wait(r"fish\.so runs anew [\d.]+ ms after the save: compile [\d.]+, link [\d.]+, swap",
                  after=mark)
        mark = host.mark()
        now = int(host.wait(r"the fish is at (\d+)", after=mark).group(1))
        self.assertGreater(now, at)  # it swims on, not from where it began
        self.assertEqual(host.slot()["generation"], 2)
        # The untouched CMakeLists.txt was not needed: the compiler was called directly.
        self.assertFalse(os.path.exists(self.path("fish/.keel/cmake")))
        host.end()

    def test_state_stays_and_the_host_answers(self):
        host = self.single()
        self.edit("m/m.c", "#define BUILD_NUMBER 1", "#define BUILD_NUMBER 2")
        count = int(host.wait(r"build 2 runs from count (\d+)").group(1))
        self.assertGreater(count, 1)
        self.assertEqual(host.slot()["name"], "m")
        host.end()

    def errors(self, compiler):
        if not shutil.which(compiler):
            raise unittest.SkipTest("no " + compiler)
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m/m.c"), env=dict(self.env, CC=compiler))
        host.wait("build 1 runs")
        self.assertEqual(host.texts("warning|error"), [])
        mark = host.mark()
        self.edit("m/m.c", "s->count++;", "s->count++ + ;")
        found = host.wait(r"m\.c:(\d+):(\d+): error: expected expression", after=mark)
        line = content(self.path("m/m.c")).decode().split("\n")[int(found.group(1)) - 1]
        self.assertIn("s->count++ + ;", line)
        host.wait(r"s->count\+\+ \+ ;", after=mark)
        host.wait(r"^[ |]*\^", after=mark)
        host.wait("build failed, 1 error: the code before runs on", after=mark)
        self.assertEqual(host.slot()["generation"], 1)
        host.frames_pass()
        mark = host.mark()
        self.edit("m/m.c", "s->count++ + ;", "s->count++; s->extra[0]++;")
        host.wait("fixed: it compiles again", after=mark)
        host.wait("runs anew", after=mark)
        self.assertEqual(host.slot()["generation"], 2)
        host.end()

    def test_a_comment_swaps_nothing(self):
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m/m.c"))
        host.wait("build 1 runs")
        mark = host.mark()
        self.edit("m/m.c", "s->count++;", "/* one more */\n    s->count++;")
        host.wait("the same code, so nothing is swapped", after=mark)
        self.assertEqual(host.slot()["generation"], 1)
        mark = host.mark()
        self.edit("m/m.c", "s->count++;", "s->count++; s->extra[0]++;")
        host.wait("runs anew", after=mark)
        self.assertRegex(host.slot()["changes"], "^changed: frame$")
        host.end()

    def test_errors_of_gcc(self):
        self.errors("gcc")

    def test_errors_of_clang(self):
        self.errors("clang")

    def test_a_first_build_that_fails(self):
        self.write("m/m.c", counter(1, name="m").replace("s->count++;", "s->count+;"))
        host = self.dev(self.path("m"))
        host.wait("nothing runs yet")
        self.assertEqual(host.status()["slots"], [])
        self.edit("m/m.c", "s->count+;", "s->count++;")
        host.wait("fixed")
        host.wait("build 1 runs from count 1")
        host.end()

    def test_an_error_at_the_end_is_status_1(self):
        self.write("m/m.c", "nonsense\n")
        host = self.dev(self.path("m"))
        host.wait("nothing runs yet")
        host.end(expect=1)

    def test_hostile_source_text_is_tamed(self):
        self.write("m/m.c", "int a = \x1b]0;owned\x07\x1b[2J \x9b nonsense;\n")
        host = self.dev(self.path("m"), json_lines=False)
        host.until(lambda: "build failed" in host.stderr(), "the failure")
        said = host.stderr()
        self.assertIn("owned", said)
        self.assertNotRegex(said, "[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
        host.end(expect=1)

    def test_linking_fails_and_is_mended(self):
        host = self.single()
        mark = host.mark()
        self.edit("m/m.c", "s->count++;", "extern void no_such(void); no_such(); s->count++;")
        host.wait("undefined reference to `no_such'", after=mark)
        host.wait("build failed", after=mark)
        mark = host.mark()
        self.edit("m/m.c", "no_such(); s->count++;", "s->count++; s->extra[0]++;")
        host.wait("runs anew", after=mark)
        host.end()

    def test_a_crash_is_refused_and_the_code_before_runs_on(self):
        host = self.single()
        self.edit("m/m.c", "s->count++;", keeltest.CRASH + " s->count++;")
        host.wait("not swapped: .*; the code before runs on")
        self.crashed_here(host)
        host.frames_pass()
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def crashed_here(self, host):
        """The place in the source is told, and it is the right one."""
        found = host.wait(r"^m\.c:(\d+): crashed here: wrote to \S+ .*: (.*)")
        line = content(self.path("m/m.c")).decode().split("\n")[int(found.group(1)) - 1]
        self.assertIn(keeltest.CRASH, line)
        self.assertEqual(found.group(2), line.strip())

    def test_the_line_of_a_later_crash_is_told(self):
        host = self.single()
        self.edit("m/m.c", "s->count++;", "static int n;\n    if (++n == 40)\n        %s\n    s->count++;"
                  % keeltest.CRASH)
        host.wait("rolled back to 1")
        self.crashed_here(host)
        host.end()

    def test_headers_and_what_is_no_source(self):
        self.write("m/parts/deep/number.h", "#define BUILD_NUMBER 1\n")
        self.write("m/m.c", '#include "parts/deep/number.h"\n' + counter(1, name="m"))
        host = self.dev(self.path("m"))
        host.wait("build 1 runs")
        mark = host.mark()
        for name in ("m/m.c~", "m/.m.c.swp", "m/#m.c#", "m/4913", "m/notes.txt",
                     "m/build/x.c", "m/.keel/y.h", "m/.git/z.c"):
            self.write(name, "nonsense")
        host.quiet()
        self.assertEqual(host.texts("built|failed|anew", after=mark), [])
        self.write("m/parts/deep/number.h", "#define BUILD_NUMBER 2\n")
        host.wait("build 2 runs", after=mark)
        # A folder that comes later, and what is saved in it.
        self.write("m/late/number.h", "#define BUILD_NUMBER 3\n")
        host.quiet()
        self.edit("m/m.c", "parts/deep/number.h", "late/number.h")
        host.wait("build 3 runs", after=mark)
        self.write("m/late/number.h", "#define BUILD_NUMBER 4\n")
        host.wait("build 4 runs", after=mark)
        host.end()

    def test_the_ways_of_editors(self):
        host = self.single()
        path = self.path("m/m.c")
        text = content(path).decode()

        def number(n):
            return text.replace("#define BUILD_NUMBER 1", "#define BUILD_NUMBER %d" % n)
        self.write("m/m.c", number(2))  # in place
        host.wait("build 2 runs")
        os.rename(path, path + "~")  # the old one becomes the backup
        self.write("m/m.c", number(3))
        host.wait("build 3 runs")
        os.unlink(path)
        self.write("m/m.c", number(4))
        host.wait("build 4 runs")
        self.write("m/m.c.tmp", number(5))  # atomic
        os.rename(path + ".tmp", path)
        host.wait("build 5 runs")
        os.unlink(path)  # a link to it, as stow and nix do
        os.symlink(self.write("elsewhere.c", number(6)), path)
        host.wait("build 6 runs")
        self.assertEqual(host.texts("error|failed"), [])
        self.assertEqual(host.slot()["generation"], 6)
        host.end()

    def test_the_driver_links_where_the_linker_is_not_understood(self):
        """A compiler whose -### tells nothing."""
        driver = self.write("driver", "#!/bin/sh\ncase \"$*\" in *-###*) echo no; exit 0;; esac\n"
                                      "echo \"$*\" >> %s\nexec cc \"$@\"\n" % self.path("calls"))
        os.chmod(driver, 0o755)
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m"), env=dict(self.env, CC=driver))
        host.wait("build 1 runs")
        self.assertIn("-shared", content(self.path("calls")).decode())
        host.end()

    def test_the_driver_links_where_the_linker_fails(self):
        """A linker that only the driver knows how to call."""
        tools = self.path("tools")
        os.mkdir(tools)
        with open(os.path.join(tools, "mold"), "w") as f:
            f.write("#!/bin/sh\necho called >> %s\nexit 1\n" % self.path("calls"))
        os.chmod(os.path.join(tools, "mold"), 0o755)
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m"), env=dict(self.env, CC="gcc", PATH=tools + ":" +
                                                 os.environ["PATH"]))
        host.wait("build 1 runs")
        self.assertEqual(content(self.path("calls")), b"called\n")
        self.edit("m/m.c", "#define BUILD_NUMBER 1", "#define BUILD_NUMBER 2")
        host.wait("build 2 runs")
        self.assertEqual(content(self.path("calls")), b"called\n")  # not tried again
        host.end()

    def test_cxx(self):
        self.assertEqual(self.keel("new", "birds", "--lang", "c++").returncode, 0)
        host = self.dev(self.path("birds"))
        at = int(host.wait(r"the fish is at (\d+)").group(1))
        self.edit("birds/birds.cpp", "speed = 140", "speed = 300")
        host.wait("runs anew")
        mark = host.mark()
        self.assertGreater(int(host.wait(r"the fish is at (\d+)", after=mark).group(1)), at)
        host.end()

    # ---- folders that others build

    def test_a_second_save_ends_the_first_build(self):
        self.write("m/m.c", counter(1, name="m"))
        command = "echo begun >> %s; test ! -e %s || sleep 1000; cc %s m.c -o m.so" % (
            self.path("calls"), self.path("slow"), FLAGS)
        host = self.dev(self.path("m"), "--build", command)
        host.wait("build 1 runs")
        self.write("slow", "")
        mark = host.mark()
        self.edit("m/m.c", "#define BUILD_NUMBER 1", "#define BUILD_NUMBER 2")
        host.until(lambda: self.asleep(), "the slow build")
        os.unlink(self.path("slow"))
        self.edit("m/m.c", "#define BUILD_NUMBER 2", "#define BUILD_NUMBER 3")
        host.wait("saved again", after=mark)
        host.wait("build 3 runs", after=mark)
        self.assertEqual(self.asleep(), [])
        self.assertEqual(content(self.path("calls")).count(b"begun"), 3)
        self.assertEqual(host.texts("build 2 runs|failed", after=mark), [])
        host.end()

    def test_the_end_ends_a_build(self):
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m"), "--build", "sleep 1000")
        host.until(lambda: self.asleep(), "the build")
        host.process.send_signal(signal.SIGINT)
        host.exited(expect=1)
        self.assertEqual(self.asleep(), [])

    def test_a_build_that_writes_its_own_sources_comes_to_rest(self):
        self.write("m/m.c", '#include "made.h"\n' + counter(1, name="m"))
        host = self.dev(self.path("m"), "--build", "echo begun >> %s; echo '/* made */' > made.h; "
                        "cc %s m.c -o m.so" % (self.path("calls"), FLAGS))
        host.wait("build 1 runs")
        host.quiet()
        begun = content(self.path("calls")).count(b"begun")
        self.assertLessEqual(begun, 3)
        host.quiet()
        self.assertEqual(content(self.path("calls")).count(b"begun"), begun)
        host.end()

    def test_cmake_swaps_a_group_at_once(self):
        for name in ("one", "two"):
            self.write("p/%s.c" % name, '#include "number.h"\n' + counter(1, name=name))
        self.write("p/number.h", "#define BUILD_NUMBER 1\n")
        self.write("p/CMakeLists.txt", "cmake_minimum_required(VERSION 3.22)\nproject(p C)\n"
                   "find_package(Keel REQUIRED)\nkeel_add_module(one one.c)\n"
                   "keel_add_module(two two.c)\n")
        host = self.dev(self.path("p"))
        host.wait("built by CMake")
        host.wait("build 1 runs", count=2)
        mark = host.mark()
        self.write("p/number.h", "#define BUILD_NUMBER 2\n")
        host.wait("2 modules run anew", after=mark)
        host.wait("build 2 runs", after=mark, count=2)
        mark = host.mark()
        before = [s["generation"] for s in host.status()["slots"]]
        self.edit("p/one.c", "s->count++;", "s->count++ + ;")
        host.wait(r"one\.c:\d+:\d+: error:", after=mark)
        host.wait("build failed, 1 error", after=mark)
        self.assertEqual(host.texts("FAILED|ninja:", after=mark), [])
        self.edit("p/one.c", "s->count++ + ;", "s->count++; s->extra[0]++;")
        host.wait(r"one\.so runs anew", after=mark)  # only it
        after = [s["generation"] for s in host.status()["slots"]]
        self.assertGreater(after[0], before[0])
        self.assertEqual(after[1], before[1])
        host.end()

    def test_make(self):
        self.write("m/m.c", counter(1, name="m"))
        self.write("m/Makefile", "m.so: m.c\n\tcc %s m.c -o m.so\n" % FLAGS)
        host = self.dev(self.path("m"))
        host.wait("built by make")
        host.wait("build 1 runs")
        self.edit("m/m.c", "#define BUILD_NUMBER 1", "#define BUILD_NUMBER 2")
        host.wait("build 2 runs")
        self.assertFalse(os.path.exists(self.path("m/.keel")))
        host.end()

    def test_a_build_without_a_module(self):
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m"), "--build", "true")
        self.sentence(host.wait("there is no Keel module.*").group(0))
        host.end(expect=1)

    def test_a_command_that_fails_without_a_compiler(self):
        self.write("m/m.c", counter(1, name="m"))
        host = self.dev(self.path("m"), "--build", "echo out of cheese; false")
        host.wait("out of cheese")
        host.wait(r"build failed \(build\)")
        host.end(expect=1)

    @unittest.skipIf(keeltest.SANITIZED, "what is installed needs no sanitizer")
    def test_as_installed(self):
        prefix = self.path("prefix")
        done = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.write("m/m.c", counter(1, name="m"))
        shutil.move(prefix, self.path("moved"))
        program = self.path("moved/bin/keel")
        done = subprocess.run([program, "dev", "m", "--frames", "5", "--name", self.path("sock")],
                              cwd=self.dir, env=self.env, stderr=subprocess.PIPE, text=True,
                              timeout=keeltest.PATIENCE * 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("build 1 runs", done.stderr)
        os.unlink(self.path("moved/include/keel/keel.h"))
        done = subprocess.run([program, "dev", "m"], cwd=self.dir, env=self.env,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 2)
        self.sentence(done.stderr)

    # ---- wrong use

    def test_wrong_use(self):
        os.mkdir(self.path("empty"))
        self.write("many/a.c", "")
        self.write("many/b.c", "")
        self.write("text.txt", "")
        for args in ([], ["a", "b"], ["nowhere"], ["empty"], ["many"], ["text.txt"],
                     ["many", "--build", ""], ["many", "--build"], ["many", "--colour"],
                     ["many", "--fps", "x"], ["no\x1b[31m"]):
            done = self.keel("dev", *args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.sentence(done.stderr)
            self.assertTrue(done.stderr[:-1].isprintable(), done.stderr)
        self.assertEqual(self.keel("dev", "--help").returncode, 0)
        self.assertEqual(os.listdir(self.path("empty")), [])


if __name__ == "__main__":
    keeltest.main()
