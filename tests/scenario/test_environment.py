"""Hosts in surroundings that deny them things: sockets taken, hostile clients, strict containers,
full disks."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import keeltest
from keeltest import build, Client, content, counter, CRASH, DENY


class Sockets(keeltest.KeelTest):
    def test_taken_by_a_live_host(self):
        first = self.running(build(counter(1)))
        second = self.host(self.path("m.so"), name=first.socket_path)
        self.assertEqual(second.exited(None), 2)
        self.assertTrue(second.texts("pid %d" % first.pid), second.story())
        first.frames_pass(3)
        self.assertEqual(first.status()["host"]["pid"], first.pid)
        first.end()

    def test_taken_by_a_live_host_without_a_name(self):
        """The default name is not asked for: the second runs without a socket, and says so."""
        self.place(build(counter(1)))
        hosts = []
        for _ in range(2):
            hosts.append(subprocess.Popen(
                [keeltest.KEEL, "run", self.path("m.so"), "--headless", "--json"], env=self.env,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            lines = ""
            while "build 1 runs" not in lines:
                line = hosts[-1].stdout.readline()
                self.assertTrue(line, lines)
                lines += line
        self.assertRegex(lines, "pid %d already listens" % hosts[0].pid)
        for host in hosts:
            host.send_signal(signal.SIGTERM)
            host.stdout.read()
            host.stdout.close()
            self.assertEqual(host.wait(keeltest.PATIENCE), 0)
        shutil.rmtree(os.path.join(self.run_dir, "keel"), ignore_errors=True)

    def test_left_by_a_dead_host(self):
        path = self.path("s0")
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        dead.bind(path)
        dead.listen(1)
        dead.close()
        host = self.host(self.place(build(counter(1))), name=path)
        host.wait("build 1 runs")
        host.end()

    def test_something_else_at_its_place(self):
        path = self.path("s0")
        with open(path, "w") as f:
            f.write("my diary")
        host = self.host(self.place(build(counter(1))), name=path)
        self.assertEqual(host.exited(None), 2)
        self.assertEqual(content(path), b"my diary")
        os.unlink(path)
        self.assertTrue(host.texts("not a socket"))

    def test_mode_and_folder(self):
        host = self.running(build(counter(1)))
        self.assertEqual(os.stat(host.socket_path).st_mode & 0o777, 0o600)
        host.end()

    def test_other_users_are_kept_out(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        host = self.running(build(counter(1)))
        os.chmod(self.dir, 0o777)
        os.chmod(host.socket_path, 0o777)
        code = ("import os, socket; os.setgid(65534); os.setuid(65534); "
                "s = socket.socket(socket.AF_UNIX); s.connect(%r); "
                "s.sendall(b'{\"cmd\":\"quit\"}\\n'); print(s.recv(1000))" % host.socket_path)
        done = subprocess.run(["python3", "-c", code], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertNotIn('"ok":true', done.stdout.replace(" ", ""))
        host.frames_pass(3)
        host.end()


class Clients(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.live = self.running(build(counter(1)))

    def client(self):
        return Client(self, self.live.socket_path)

    def well(self):
        self.live.frames_pass(3)
        self.live.end()

    def test_lines_that_are_no_requests(self):
        with self.client() as client:
            for line in (b"", b"hello", b"{", b"[]", b"42", b"null", b'"status"', b"{}",
                         b'{"cmd": 7}', b'{"cmd": "bogus"}', b'{"cmd": "status", "cmd": "quit"}',
                         b'{"cmd": "status"} trailing', b"\xff\xfe\x00", b"{\"cmd\": \"\\u0000\"}",
                         b"[" * 5000, b'{"a":' * 1000, b'{"cmd": "swap", "slots": {}}',
                         b'{"cmd": "log", "count": "many"}', b'{"cmd": "log", "count": -5}',
                         b'{"cmd": "log", "after": 99999999999999999999}',
                         b'{"cmd": "pause", "on": "yes", "x": 1e999}'):
                client.send(line + b"\n")
                if not line:
                    continue
                answer = client.line()
                if answer is None:  # dropped is fine, too
                    client.close()
                    client.__init__(self, self.live.socket_path)
                    continue
                answer = json.loads(answer)
                if not answer["ok"]:
                    self.sentence(answer["error"]["text"])
        self.live.ask("pause", on=False)
        self.well()

    def test_id_comes_back_as_it_was(self):
        with self.client() as client:
            for ident in (0, -1, 1.5, "text", "", None, True, [1, {"a": 2}], {"x": []}):
                client.send(json.dumps({"cmd": "help", "id": ident}).encode() + b"\n")
                self.assertEqual(json.loads(client.line())["id"], ident)
        self.well()

    def test_a_line_of_a_megabyte(self):
        for line in (b"x" * (1 << 20), b'{"cmd": "' + b"y" * (1 << 20) + b'"}'):
            with self.client() as client:
                try:
                    client.send(line + b"\n")
                except OSError:
                    pass
                answer = client.line()
                if answer:
                    self.assertFalse(json.loads(answer)["ok"])
        self.live.status()
        self.well()

    def test_silent_and_half_clients(self):
        silent = [self.client() for _ in range(10)]
        for client in silent[:5]:
            client.send(b'{"cmd": "sta')
        self.live.status()
        silent[0].send(b'tus", "id": 1}\n')
        self.assertTrue(json.loads(silent[0].line())["ok"])
        for client in silent:
            client.close()
        self.well()

    def test_200_clients(self):
        clients = [Client(self, self.live.socket_path) for _ in range(200)]
        answered = 0
        for client in clients:
            try:
                client.send(b'{"cmd": "status", "id": 1}\n')
            except OSError:
                pass
        for client in clients:
            line = client.line()
            answered += line is not None and json.loads(line)["ok"]
        self.assertGreaterEqual(answered, 32)
        for client in clients:
            client.close()

        def served():
            """Whoever comes before the host has seen all of them go is still one too many."""
            client = Client(self, self.live.socket_path)
            try:
                client.send(b'{"cmd": "status", "id": 1}\n')
                line = client.line()
            except OSError:
                line = None
            finally:
                client.close()
            return line is not None and json.loads(line)["ok"]
        self.live.until(served, "an answer after the crowd")
        self.well()

    def test_a_client_that_never_reads(self):
        with self.client() as client:
            client.socket.settimeout(1)
            try:
                for _ in range(3000):
                    client.send(b'{"cmd": "log", "count": 1000}\n')
            except OSError:
                pass
            self.live.status()
            self.live.frames_pass(3)
        self.well()

    def test_gone_before_the_answer(self):
        for _ in range(50):
            with self.client() as client:
                client.send(b'{"cmd": "status"}\n{"cmd": "swap"}\n{"cmd": "rollback"}\n')
        self.place(build(counter(2)))
        self.live.wait("build 2 runs")
        self.well()

    def test_many_requests_in_one_write(self):
        with self.client() as client:
            client.send(b"".join(b'{"cmd": "status", "id": %d}\n' % i for i in range(60)))
            seen = {json.loads(client.line())["id"] for _ in range(60)}
        self.assertEqual(seen, set(range(60)))
        self.well()


class Denied(keeltest.KeelTest):
    """What strict containers deny: it works all the same, more slowly, and status says why."""

    def runs_well(self, host, trial=True):
        host.wait("build 1 runs")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        host.frames_pass(3)
        mark = host.mark()
        self.place(build(counter(3, globals="static int here;", frame="if (++here == 9) { s->count "
                                 "= 7; %s }" % CRASH)))
        host.wait("refused|rolled back", after=mark)
        host.frames_pass(5)

    def denied(self, *what, args=()):
        return self.host(self.place(build(counter(1))), *args, wrap=[DENY, *what, "--"])

    def test_nothing_denied(self):
        host = self.denied()
        self.runs_well(host)
        host.end()

    def test_userfaultfd(self):
        host = self.denied("userfaultfd")
        self.runs_well(host)
        state = host.slot()["state"]
        self.assertEqual(state["tier"], "copy")
        self.sentence(state["tier_reason"])
        self.assertIn("userfaultfd", state["tier_reason"])
        host.end()

    def test_pagemap_scan(self):
        host = self.denied("pagemap_scan")
        self.runs_well(host)
        state = host.slot()["state"]
        self.assertEqual(state["tier"], "copy")
        self.sentence(state["tier_reason"])
        self.assertRegex(state["tier_reason"], "PAGEMAP_SCAN|pagemap")
        host.end()

    def test_both_with_much_state(self):
        """Above the copy limit frames can't be undone any more; that is said, and swaps go on."""
        grow = "if (!s->extra[0]) s->extra[0] = (uint64_t)keel_new_array(k, uint64_t, 4 << 20);" \
               "((uint64_t *)s->extra[0])[s->count % 1000] = s->count;"
        host = self.host(self.place(build(counter(1, frame=grow))),
                         wrap=[DENY, "userfaultfd", "pagemap_scan", "--"])
        host.wait("build 1 runs")
        host.frames_pass(5)
        self.place(build(counter(2, frame=grow)))
        host.wait("build 2 runs")
        host.frames_pass(5)
        state = host.slot()["state"]
        self.assertEqual(state["tier"], "off")
        self.sentence(state["tier_reason"])
        host.end()

    def test_no_proc(self):
        """A container without it: nothing can be loaded, and the reason is said."""
        if keeltest.SANITIZED:
            self.skipTest("sanitizers need it themselves")
        wrap = ["unshare", "--mount"] + (["--map-root-user"] if os.geteuid() else [])
        hide = ["sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]
        if subprocess.run(wrap + hide + ["true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("nothing can be mounted here")
        host = self.host(self.place(build(counter(1))), wrap=wrap + hide)
        host.wait(r"refused: .*is /proc mounted\?")
        self.assertFalse(host.texts("no memory"), host.story())
        host.end(1)

    def test_leases(self):
        host = self.denied("leases")
        self.runs_well(host)
        data = content(build(counter(4)))
        with open(self.path("m.so"), "wb", buffering=0) as f:  # slowly, and still one swap
            for at in range(0, len(data), len(data) // 8 + 1):
                f.write(data[at:at + len(data) // 8 + 1])
                time.sleep(0.05)
        host.wait("build 4 runs")
        host.end()

    def test_inotify(self):
        host = self.denied("inotify")
        host.wait("build 1 runs")
        host.wait("not watched")
        self.place(build(counter(2)))
        host.call("swap")
        host.wait("build 2 runs")
        host.end()

    def test_forced_copy(self):
        host = self.host(self.place(build(counter(1))), "--memory=copy")
        self.runs_well(host)
        self.assertEqual(host.slot()["state"]["tier"], "copy")
        host.end()

    def test_memory_off(self):
        host = self.host(self.place(build(counter(1))), "--memory=off")
        host.wait("build 1 runs")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        self.assertEqual(host.slot()["state"]["tier"], "off")
        host.end()

    def test_seccomp(self):
        """The helper can't shut itself in: nothing unsafe runs untold."""
        host = self.denied("seccomp")
        host.wait("build 1 runs")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        told = host.texts("inconclusive|not tried|unavailable|seccomp|sandbox")
        self.assertTrue(told, host.story())
        host.end()

    def test_no_helper(self):
        env = dict(self.env, KEEL_TRIAL="/nonexistent/keel-trial")
        host = self.host(self.place(build(counter(1))), env=env)
        host.wait("build 1 runs")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        host.end()


class Helper(keeltest.KeelTest):
    def helper(self, host):
        for pid in os.listdir("/proc"):
            try:
                with open("/proc/%s/stat" % pid) as f:
                    text = f.read()
            except OSError:
                continue
            name, rest = text[text.index("(") + 1:text.rindex(")")], text.rsplit(")", 1)[1].split()
            if name.startswith("keel-trial") and rest[1] == str(host.pid):
                return int(pid)
        return None

    def test_killed_it_is_started_again(self):
        host = self.running(build(counter(1)))
        for number in (2, 3, 4):
            pid = self.helper(host)
            self.assertTrue(pid)
            os.kill(pid, signal.SIGKILL)
            self.place(build(counter(number)))
            host.wait("build %d runs" % number)
        self.place(build(counter(5, frame=CRASH)))
        host.wait("refused: .*trial")  # and it still tries
        host.end()

    def test_stopped_it_does_not_stop_the_host(self):
        host = self.running(build(counter(1)))
        os.kill(self.helper(host), signal.SIGSTOP)
        self.place(build(counter(2)))
        host.frames_pass(10)
        host.wait("build 2 runs|not tried|unavailable|refused")
        host.frames_pass(3)
        host.end()


class Space(keeltest.KeelTest):
    """No room: in the runtime folder, and for files of any size."""

    def test_runtime_folder_full(self):
        probe = subprocess.run(["unshare", "-Urm", "true"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        if probe.returncode:
            self.skipTest("no user and mount namespaces here")
        script = ("mount -t tmpfs -o size=4k,nr_inodes=%d keel-test " + self.run_dir +
                  " && exec \"$@\"")
        so = self.place(build(counter(1)))
        # Room for nothing at all: it says so and ends.
        host = self.host(so, wrap=["unshare", "-Urm", "sh", "-c", script % 1, "sh"])
        self.assertEqual(host.exited(None), 2)
        said = host.texts("space|folder")
        self.assertTrue(said, host.story())
        self.sentence(said[-1])
        # Room for its folders and one generation: the next swap is refused, the old one runs.
        host = self.host(so, wrap=["unshare", "-Urm", "sh", "-c", script % 8, "sh"])
        host.wait("build 1 runs|waiting for a build")
        if host.texts("build 1 runs"):
            for number in (2, 3, 4, 5):
                self.place(build(counter(number)))
                host.wait("build %d runs|refused" % number)
            host.frames_pass(5)
            for text in host.texts("refused"):
                self.sentence(text)
        host.end(None)

    def test_file_size_limit(self):
        """RLIMIT_FSIZE: neither the memfd nor the state can grow; no SIGXFSZ death."""
        host = self.host(self.place(build(counter(1))), "--trial=off",
                         wrap=["prlimit", "--fsize=65536", "--"])
        deadline = time.monotonic() + keeltest.PATIENCE
        while host.process.poll() is None and time.monotonic() < deadline and \
                not host.texts("build 1 runs|waiting|cannot"):
            time.sleep(0.02)
        self.assertNotEqual(host.process.poll(), -signal.SIGXFSZ, host.story())
        if host.process.poll() is None:
            host.end(None)
        else:
            self.assertEqual(host.process.returncode, 2, host.story())


class Two(keeltest.KeelTest):
    def test_two_hosts_on_one_module(self):
        path = self.place(build(counter(1)))
        hosts = [self.host(path) for _ in range(2)]
        for host in hosts:
            host.wait("build 1 runs")
        for number in (2, 3, 4):
            with open(path, "wb") as f:  # in place: their leases must not hinder each other
                f.write(content(build(counter(number))))
            for host in hosts:
                host.wait("build %d runs" % number)
        hosts[0].end()
        self.place(build(counter(5)))
        hosts[1].wait("build 5 runs")
        self.assertEqual(hosts[1].slot()["refused"], 0)
        hosts[1].end()

    def test_no_runtime_folder(self):
        """As in containers: it falls back to a private folder under /tmp."""
        env = {k: v for k, v in self.env.items() if k != "XDG_RUNTIME_DIR"}
        host = self.host(self.place(build(counter(1))), env=env)
        host.wait("build 1 runs")
        self.place(build(counter(2)))
        host.wait("build 2 runs")
        mine = [x for x in os.listdir("/tmp") if x.startswith("keel-%d-" % host.pid)]
        self.assertTrue(mine)
        host.end()
        self.assertEqual([x for x in os.listdir("/tmp") if x.startswith("keel-%d-" % host.pid)],
                         [])


if __name__ == "__main__":
    keeltest.main()
