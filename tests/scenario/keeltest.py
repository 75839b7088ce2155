"""What the scenario tests stand on: modules compiled from text, real hosts, their logs and sockets.

Every test has a folder of its own, which is also its XDG_RUNTIME_DIR and TMPDIR, so that tests run
beside each other and what a host leaves behind can be seen. Nothing here asserts on time: waiting
ends when the awaited thing happens, or after PATIENCE, which is a failure.
"""
import concurrent.futures
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.realpath(os.environ.get("KEEL_BUILD") or os.path.join(ROOT, "build", "dev"))
KEEL = os.path.join(BUILD, "keel")
CACHE = os.path.join(BUILD, "tests", "scenario-cache")
PATIENCE = float(os.environ.get("KEEL_PATIENCE", "40"))
SANITIZED = os.environ.get("KEEL_SANITIZED", "")
LONG = os.environ.get("KEEL_LONG", "") not in ("", "0")
CC = os.environ.get("KEEL_CC") or "cc"
CXX = os.environ.get("KEEL_CXX") or "c++"
MODULE_LINK = os.environ.get("KEEL_MODULE_LINK", "").split()
DENY = os.path.join(BUILD, "tests", "scenario", "deny")

# As keel_add_module sets them (cmake/KeelModule.cmake).
COMPILE = ["-g", "-O1", "-fPIC", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections",
           "-fno-semantic-interposition", "-I" + os.path.join(ROOT, "abi"),
           "-D_GNU_SOURCE", "-Wall", "-Werror=implicit-function-declaration",
           "-Wno-unused-function", "-Wno-unused-variable"]
LINK = ["-shared", "-Wl,-z,now", "-Wl,-z,defs", "-Wl,--build-id=sha1", "-Wl,--emit-relocs",
        "-Wl,--exclude-libs,ALL"]


def long(what):
    """Marks a test class or function that runs only as the test labelled long; the others don't
    run there."""
    what.keel_long = True
    return what


# In a module: a fault that no compiler sees through.
CRASH = "do { volatile int *volatile nowhere = 0; *nowhere = 1; } while (0);"


def content(path):
    with open(path, "rb") as f:
        return f.read()


class BuildFailed(Exception):
    pass


def _run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **more)
    if done.returncode:
        raise BuildFailed("%s\n%s" % (" ".join(command), done.stdout))


def _tree_stamp():
    """Changes with the headers and the shim, so that the cache never serves an old contract."""
    h = hashlib.sha1()
    for folder in ("abi/keel", "abi/shim"):
        full = os.path.join(ROOT, folder)
        for name in sorted(os.listdir(full)) if os.path.isdir(full) else []:
            with open(os.path.join(full, name), "rb") as f:
                h.update(name.encode() + f.read())
    return h.hexdigest()


def _once(target, make):
    """Makes `target` by make(temporary path), once for all test programs that run at a time."""
    if os.path.exists(target):
        return target
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, ".lock-" + os.path.basename(target)[:8]), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(target):
            part = "%s.%d" % (target, os.getpid())
            make(part)
            os.rename(part, target)
    return target


def shim():
    """The malloc shim without sanitizers: modules are ordinary, whatever the host is built with."""
    stamp = _tree_stamp()

    def make(part):
        folder = tempfile.mkdtemp(dir=CACHE)
        try:
            objects = []
            source_folder = os.path.join(ROOT, "abi", "shim")
            for name in sorted(os.listdir(source_folder)):
                if not name.endswith((".c", ".cc")):
                    continue
                obj = os.path.join(folder, name + ".o")
                cxx = name.endswith(".cc")
                _run(["c++" if cxx else "cc", "-O2", "-fPIC", "-fvisibility=hidden",
                      "-D_GNU_SOURCE", "-I" + os.path.join(ROOT, "abi"),
                      "-std=c++17" if cxx else "-std=c11", "-c",
                      os.path.join(source_folder, name), "-o", obj])
                objects.append(obj)
            _run(["ar", "rcs", part] + objects)
        finally:
            shutil.rmtree(folder)
    return _once(os.path.join(CACHE, "shim-%s.a" % stamp), make)


def build(source, *, compiler=None, linker=None, flags=(), link=(), use_shim=True, plain=False,
          undefined=False, unit=None):
    """Compiles the text of a module. Returns the path of the cached .so: copy it, don't touch it.

    `plain`: as `cc -shared -fPIC` would, none of keel_add_module's flags. `undefined`: symbols may
    be left for the loader to miss (by no -z undefs, which gold doesn't know). `unit`: the source's
    name; statics of sources that are called differently are different ones.
    """
    cxx = "#include <vector>" in source or "/* C++ */" in source
    compiler = compiler or (CXX if cxx else CC)
    key = hashlib.sha1(json.dumps([source, compiler, linker, list(flags), list(link), use_shim,
                                   plain, undefined, unit, MODULE_LINK, COMPILE, LINK,
                                   _tree_stamp()]).encode()).hexdigest()
    archive = shim() if use_shim and os.path.isdir(os.path.join(ROOT, "abi", "shim")) else None

    def make(part):
        text = part + (".cc" if cxx else ".c")
        mapped = []
        if unit:
            os.makedirs(part + ".d", exist_ok=True)
            text = os.path.join(part + ".d", unit)
            mapped = ["-ffile-prefix-map=%s.d/=" % part]
        with open(text, "w") as f:
            f.write(source)
        try:
            basic = ["-shared", "-fPIC", "-I" + os.path.join(ROOT, "abi")]
            kept = [o for o in LINK if "-s" not in flags or o != "-Wl,--emit-relocs"]  # ld takes not both
            command = [compiler] + (basic if plain else COMPILE + kept)
            if undefined:
                command = [word for word in command if word != "-Wl,-z,defs"]
            if cxx and not plain:
                command += ["-std=c++17", "-static-libstdc++"]
                if "clang" not in compiler:
                    command += ["-fno-gnu-unique"]
            if linker:
                command += ["-fuse-ld=" + linker]
            elif not plain:
                command += MODULE_LINK
            command += mapped + list(flags) + [text, "-o", part]
            if archive:
                command += [archive]
            command += list(link) + ["-lm", "-pthread"]
            _run(command)
        finally:
            os.unlink(text)
            if unit:
                os.rmdir(part + ".d")
    return _once(os.path.join(CACHE, key + ".so"), make)


def fixture(name):
    """A module of tests/fixtures, as the build made it."""
    for folder in ("tests/fixtures", "fixtures", "tests/modules"):
        path = os.path.join(BUILD, folder, name + ".so")
        if os.path.exists(path):
            return path
    raise unittest.SkipTest("no fixture %s in this build" % name)


# ---- modules -----------------------------------------------------------------------------------

COUNTER = r"""
#include <keel/keel.h>
%(includes)s
#ifndef BUILD_NUMBER
#define BUILD_NUMBER %(build)d
#endif
struct st { uint64_t count; uint64_t extra[4]; };
static int told KEEL_CACHE = 0; /* each generation says it once */
%(globals)s
static int start(keel *k)
{
    struct st *s = keel_state(k, struct st);
    (void)s;
    %(start)s
    return 0;
}
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    if (s->count != f->index)
        keel_error(k, "STATE LOST: count %%llu, frame %%llu", (unsigned long long)s->count,
                   (unsigned long long)f->index);
    %(before)s
    s->count++;
    if (!told) {
        told = 1;
        keel_info(k, "build %%d runs from count %%llu", BUILD_NUMBER, (unsigned long long)s->count);
    }
    %(frame)s
}
%(functions)s
KEEL_MODULE("%(name)s", "%(version)s", KEEL_ON(start, start) KEEL_ON(frame, frame) %(entries)s)
"""


def counter(build_number=1, *, name="counter", version="1.0", includes="", globals="", start="",
            before="", frame="", functions="", entries=""):
    """The text of a module that counts its frames in its state and says when it notices a loss.

    It says "build N runs from count C" in its first frame.
    """
    return COUNTER % {"build": build_number, "name": name, "version": version,
                      "includes": includes, "globals": globals, "start": start, "before": before,
                      "frame": frame, "functions": functions, "entries": entries}


# ---- the host ----------------------------------------------------------------------------------

class Host:
    """A `keel run` in a process of its own."""
    COMMAND = "run"
    SCREEN = ["--headless"]

    def __init__(self, test, args, env=None, wrap=(), name=None, json_lines=True):
        self.test = test
        self.socket_path = name or os.path.join(test.dir, "s%d" % len(test.hosts))
        command = list(wrap) + [KEEL, self.COMMAND] + [str(a) for a in args] + (
            self.SCREEN) + ["--name", self.socket_path]
        if json_lines:
            command += ["--json"]
        self.records = []
        self.noise = []  # lines that are not JSON
        self.seen = threading.Condition()
        self.stderr_file = open(os.path.join(test.dir, "stderr%d" % len(test.hosts)), "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.stderr_file, env=env or test.env,
                                        cwd=test.dir)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        for line in self.process.stdout:
            line = line.decode("utf-8", "replace").rstrip("\n")
            try:
                record = json.loads(line)
                record["text"]
            except (ValueError, KeyError, TypeError):
                record = None
            with self.seen:
                if record is None:
                    self.noise.append(line)
                else:
                    self.records.append(record)
                self.seen.notify_all()
        with self.seen:
            self.seen.notify_all()

    def stderr(self):
        with open(self.stderr_file.name, errors="replace") as f:
            return f.read()

    def story(self, last=40):
        with self.seen:
            lines = ["%-5s %-8s %s" % (r.get("level"), r.get("room"), r["text"])
                     for r in self.records[-last:]]
            lines += ["(not JSON) " + n for n in self.noise[-10:]]
        return "\n".join(lines) + "\nstderr: " + self.stderr()[-4000:]

    def mark(self):
        """Where the log is now: what comes later is after it."""
        with self.seen:
            return len(self.records)

    def texts(self, pattern="", after=0):
        with self.seen:
            return [r["text"] for r in self.records[after:] if re.search(pattern, r["text"])]

    def wait(self, pattern, after=0, count=1, may_end=False):
        """The first `count` records whose text has the pattern; the last one's match."""
        until = time.monotonic() + PATIENCE
        with self.seen:
            while True:
                found = [m for m in (re.search(pattern, r["text"]) for r in self.records[after:])
                         if m]
                if len(found) >= count:
                    return found[count - 1]
                ended = not self.reader.is_alive()
                left = until - time.monotonic()
                if left <= 0 or ended:
                    break
                self.seen.wait(min(left, 0.2))
        self.test.fail("the host %s before %r came (%d of %d)\n%s" % (
            "ended (%s)" % self.process.poll() if ended else "was silent", pattern, len(found),
            count, self.story()))

    def ask(self, cmd, **args):
        """One request over a socket of its own: the whole answer."""
        with Client(self.test, self.socket_path) as client:
            return client.ask(cmd, **args)

    def call(self, cmd, **args):
        """The result of a request that must be granted."""
        answer = self.ask(cmd, **args)
        if not answer.get("ok"):
            self.test.fail("%s %s: %s\n%s" % (cmd, args, answer, self.story()))
        return answer["result"]

    def refused(self, cmd, **args):
        """The error of a request that must be refused."""
        answer = self.ask(cmd, **args)
        if answer.get("ok"):
            self.test.fail("%s %s was granted: %s\n%s" % (cmd, args, answer, self.story()))
        self.test.sentence(answer["error"]["text"])
        return answer["error"]

    def status(self):
        return self.call("status")

    def slot(self, number=0):
        return self.status()["slots"][number]

    def frames_pass(self, n=3, number=0):
        """Until n more frames of the slot were committed."""
        begun = self.slot(number)["frames"]
        self.until(lambda: self.slot(number)["frames"] >= begun + n, "%d frames" % n)

    def until(self, good, what):
        until = time.monotonic() + PATIENCE
        while not good():
            if time.monotonic() > until:
                self.test.fail("waited in vain for %s\n%s" % (what, self.story()))
            time.sleep(0.01)

    def quiet(self, seconds=0.4):
        """Lets what might still come come: for tests that nothing happens."""
        time.sleep(seconds)
        self.frames_pass(2)

    def end(self, expect=0):
        """Ends the host as people do and checks its exit status."""
        if self.process.poll() is None:
            try:
                if not os.path.exists(self.socket_path):
                    raise OSError("no socket")
                self.ask("quit")
            except (AssertionError, OSError):
                self.process.send_signal(signal.SIGTERM)
        return self.exited(expect)

    def exited(self, expect=0):
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            story = self.where()
            self.process.kill()
            self.process.wait()
            self.test.fail("the host does not end\n%s\n%s" % (self.story(), story))
        self.reader.join(5)
        if expect is not None and status != expect:
            self.test.fail("the host ended with %s, not %s\n%s" % (status, expect, self.story()))
        return status

    def where(self):
        """Where its threads stand, for a failure's message."""
        if not shutil.which("gdb"):
            return ""
        done = subprocess.run(["timeout", "20", "gdb", "-p", str(self.pid), "-batch", "-ex",
                               "thread apply all bt 12"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        return done.stdout[-6000:]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)


class Client:
    """The raw control socket."""

    def __init__(self, test, path):
        self.test = test
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                if time.monotonic() > until:
                    self.socket.close()
                    test.fail("nobody listens at %s" % path)
                time.sleep(0.02)
        self.rest = b""
        self.number = 0

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """The next line, or None when the other end closed."""
        while b"\n" not in self.rest:
            try:
                part = self.socket.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not part:
                return None
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def ask(self, cmd, **args):
        self.number += 1
        self.send(json.dumps(dict(args, cmd=cmd, id=self.number)).encode() + b"\n")
        line = self.line()
        if line is None:
            raise AssertionError("the host closed the connection instead of answering " + cmd)
        answer = json.loads(line)
        self.test.assertEqual(answer["id"], self.number)
        return answer

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- the tests ---------------------------------------------------------------------------------

class KeelTest(unittest.TestCase):
    maxDiff = None
    state_must_stay = True  # no "STATE LOST" in any log

    sanitizer_counts = True  # what a sanitizer says on a host's stderr fails the test

    def setUp(self):
        if not os.path.exists(KEEL):
            self.fail("no program at %s: build it, or set KEEL_BUILD" % KEEL)
        self.begun = time.monotonic()
        self.dir = tempfile.mkdtemp(prefix="kt", dir="/tmp")
        self.run_dir = os.path.join(self.dir, "run")
        os.mkdir(self.run_dir, 0o700)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.run_dir, TMPDIR=self.dir, CCACHE_DISABLE="1",
                        XDG_STATE_HOME=os.path.join(self.dir, "state"))
        self.hosts = []

    def tearDown(self):
        result = getattr(self._outcome, "result", None)
        failed = any(test is self for test, _ in
                     getattr(result, "failures", []) + getattr(result, "errors", []))
        try:
            left = []
            for host in self.hosts:
                if host.process.poll() is None:
                    left.append("host %d still ran at the end of the test" % host.pid)
                    host.kill()
            for host in self.hosts:
                host.process.stdout.close()
                host.stderr_file.close()
                if self.state_must_stay:
                    lost = host.texts("STATE LOST")
                    if lost:
                        left.append(lost[0])
                if SANITIZED and self.sanitizer_counts and "Sanitizer" in host.stderr():
                    left.append(host.stderr()[-6000:])
            left += self.leftovers()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)
        if os.environ.get("KEEL_TIMES"):
            print("%6.2f s" % (time.monotonic() - self.begun), end=" ", file=sys.stderr)
        if left and not failed:  # after a failure it says nothing new
            self.fail("\n".join(left))

    def leftovers(self):
        """What hosts of this test left behind: helpers that live, stage folders, sockets."""
        left = []
        until = time.monotonic() + 5
        while True:
            alive = self.processes()
            if not alive or time.monotonic() > until:
                break
            time.sleep(0.02)
        left += ["process left behind: %s" % p for p in alive]
        for folder, folders, files in os.walk(self.run_dir):
            for name in folders + files:
                path = os.path.join(folder, name)
                if name == "keel" and os.path.isdir(path):
                    continue
                left.append("left behind: %s" % path)
        for host in self.hosts:
            if os.path.lexists(host.socket_path):
                left.append("socket left behind: %s" % host.socket_path)
        return left

    def processes(self):
        """Processes whose environment names this test's folder."""
        found = []
        needle = ("XDG_RUNTIME_DIR=%s" % self.run_dir).encode()
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or int(pid) == os.getpid():
                continue
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if needle not in f.read().split(b"\0"):
                        continue
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    command = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
                with open("/proc/%s/stat" % pid) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        continue
                found.append("%s %s" % (pid, command))
            except OSError:
                pass
        return found

    # ---- help for tests

    def path(self, name):
        return os.path.join(self.dir, name)

    def place(self, so, name="m.so"):
        """The module under `name`, by rename: a complete file from the first moment on."""
        path = self.path(name)
        part = path + ".part"
        shutil.copyfile(so, part)
        os.chmod(part, 0o755)
        os.rename(part, path)
        return path

    def host(self, *args, env=None, wrap=(), name=None):
        host = Host(self, args, env=env, wrap=wrap, name=name)
        self.hosts.append(host)
        return host

    def running(self, so, *args, name="m.so", **more):
        """A host that runs `so` (placed as `name`) and has run its first frame."""
        path = self.place(so, name)
        host = self.host(path, *args, **more)
        host.wait(r"build \d+ runs")
        return host

    def keel(self, *args, env=None, input=None, wrap=()):
        """The program, to its end."""
        return subprocess.run(list(wrap) + [KEEL] + [str(a) for a in args], stdin=subprocess.DEVNULL
                              if input is None else None, stdout=subprocess.PIPE, input=input,
                              stderr=subprocess.PIPE, text=True, errors="replace",
                              env=env or self.env, cwd=self.dir, timeout=PATIENCE * 3)

    def sentence(self, text):
        """One sentence that a tired operator can read."""
        self.assertTrue(text.strip(), "an empty sentence")
        self.assertNotIn("\n", text.strip(), "more than one line")
        self.assertGreater(len(text.split()), 3, "no sentence: %r" % text)
        self.assertNotRegex(text, r"\(null\)|%[sdlu]\b", "a broken sentence: %r" % text)


class Selected(unittest.TestLoader):
    """Either the long tests or all the others."""

    def getTestCaseNames(self, case):
        marked = getattr(case, "keel_long", False)
        return [name for name in super().getTestCaseNames(case)
                if LONG == (marked or getattr(getattr(case, name), "keel_long", False))]


def names_of(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from names_of(test)
        else:
            yield ".".join(test.id().split(".")[-2:])


def main(at_once=1):
    """`at_once`: for tests that mostly wait, each in a process of its own, so many side by side."""
    if at_once == 1 or len(sys.argv) > 1:
        unittest.main(verbosity=2, testLoader=Selected())
    module = sys.modules["__main__"]

    def run(name):
        done = subprocess.run([sys.executable, "-B", module.__file__, name], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        print(done.stdout if done.returncode else name + " ... ok", flush=True)
        return done.returncode

    tests = list(names_of(Selected().loadTestsFromModule(module)))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        failed = [name for name, code in zip(tests, pool.map(run, tests)) if code]
    print("%d tests, %d failed%s" % (len(tests), len(failed), ": " + ", ".join(failed) if failed else ""))
    sys.exit(1 if failed or not tests else 0)
