"""Files as people and tools write them: one swap for each complete content, never a part of one."""
import os
import shutil
import subprocess
import time

import keeltest
from keeltest import build, content, counter


class Watch(keeltest.KeelTest):
    def setUp(self):
        super().setUp()
        self.one, self.two, self.three = (build(counter(n)) for n in (1, 2, 3))

    def swaps(self, host):
        return [int(t.split()[2]) for t in host.texts(r"build \d+ runs")]

    def exactly(self, host, *builds):
        """These builds have run, in this order, each once, and nothing was tried besides."""
        host.wait(r"build %d runs" % builds[-1])
        host.quiet()
        self.assertEqual([t for t in self.builds(host)], list(builds), host.story())
        slot = host.slot()
        self.assertEqual(slot["generation"] > 0 and slot["refused"], 0, host.story())
        self.assertEqual(host.end(), 0)

    def builds(self, host):
        return [int(keeltest.re.search(r"build (\d+) runs", t).group(1))
                for t in host.texts(r"^m: build \d+ runs")]

    def test_in_place(self):
        host = self.running(self.one)
        with open(self.path("m.so"), "r+b") as f:
            f.write(content(self.two))
            f.truncate()
        self.exactly(host, 1, 2)

    def test_slow_writer(self):
        host = self.running(self.one)
        data = content(self.two)
        step = len(data) // 10 + 1
        with open(self.path("m.so"), "wb", buffering=0) as f:
            for at in range(0, len(data), step):
                f.write(data[at:at + step])
                time.sleep(0.05)
        self.exactly(host, 1, 2)

    def test_chunks_each_opened_and_closed(self):
        host = self.running(self.one)
        data = content(self.two)
        step = len(data) // 10 + 1
        open(self.path("m.so"), "wb").close()
        for at in range(0, len(data), step):
            with open(self.path("m.so"), "ab", buffering=0) as f:
                f.write(data[at:at + step])
            time.sleep(0.03)
        self.exactly(host, 1, 2)

    def test_written_over_in_parts_each_opened_and_closed(self):
        """Of one size: after each part it is a whole file, of mixed content."""
        one, two = content(self.one), content(self.two)
        self.assertEqual(len(one), len(two))
        host = self.running(self.one)
        step = len(two) // 10 + 1
        for at in range(0, len(two), step):
            with open(self.path("m.so"), "r+b", buffering=0) as f:
                f.seek(at)
                f.write(two[at:at + step])
            time.sleep(0.03)
        self.exactly(host, 1, 2)

    def test_unlink_and_create(self):
        host = self.running(self.one)
        os.unlink(self.path("m.so"))
        with open(self.path("m.so"), "wb") as f:
            f.write(content(self.two))
        self.exactly(host, 1, 2)

    def test_unlink_wait_create(self):
        host = self.running(self.one)
        os.unlink(self.path("m.so"))
        host.quiet(0.2)
        with open(self.path("m.so"), "wb") as f:
            f.write(content(self.two))
        self.exactly(host, 1, 2)

    def test_rename(self):
        host = self.running(self.one)
        self.place(self.two)
        self.exactly(host, 1, 2)

    def test_cp(self):
        host = self.running(self.one)
        subprocess.run(["cp", self.two, self.path("m.so")], check=True)
        self.exactly(host, 1, 2)

    def test_install(self):
        host = self.running(self.one)
        subprocess.run(["install", self.two, self.path("m.so")], check=True)
        self.exactly(host, 1, 2)

    def test_mv_from_another_folder(self):
        host = self.running(self.one)
        other = os.path.join(self.dir, "obj")
        os.mkdir(other)
        shutil.copy(self.two, other)
        subprocess.run(["mv", os.path.join(other, os.path.basename(self.two)), self.path("m.so")],
                       check=True)
        self.exactly(host, 1, 2)

    def test_a_refused_file_is_refused_once(self):
        host = self.running(self.one)
        mark = host.mark()
        with open(self.path("bad"), "wb") as f:
            f.write(b"no module")
        os.rename(self.path("bad"), self.path("m.so"))
        host.wait("refused: ", after=mark)
        for _ in range(3):
            open(self.path("m.so"), "ab").close()  # a writer that writes nothing
            host.quiet(0.2)
        self.assertEqual(len(host.texts("refused: ", mark)), 1, host.story())
        mark = host.mark()
        os.utime(self.path("m.so"))
        host.wait("refused: ", after=mark)
        self.place(self.two)
        host.wait("build 2 runs")
        self.assertEqual(host.slot()["refused"], 2, host.story())
        self.assertEqual(host.end(), 0)

    def test_symlink_flip(self):
        for name, so in (("a", self.one), ("b", self.two)):
            os.mkdir(self.path(name))
            shutil.copy(so, self.path(name + "/m.so"))
        os.symlink("a", self.path("current"))
        host = self.host(self.path("current/m.so"))
        host.wait("build 1 runs")
        os.symlink("b", self.path("next"))
        os.rename(self.path("next"), self.path("current"))
        self.exactly(host, 1, 2)

    def test_file_symlink_flip(self):
        shutil.copy(self.one, self.path("x1.so"))
        shutil.copy(self.two, self.path("x2.so"))
        os.symlink("x1.so", self.path("m.so"))
        host = self.host(self.path("m.so"))
        host.wait("build 1 runs")
        os.symlink("x2.so", self.path("next"))
        os.rename(self.path("next"), self.path("m.so"))
        self.exactly(host, 1, 2)

    def test_target_of_symlink_rewritten(self):
        os.mkdir(self.path("deep"))
        shutil.copy(self.one, self.path("deep/real.so"))
        os.symlink("deep/real.so", self.path("m.so"))
        host = self.host(self.path("m.so"))
        host.wait("build 1 runs")
        with open(self.path("deep/real.so"), "wb") as f:
            f.write(content(self.two))
        self.exactly(host, 1, 2)

    def test_folder_deleted_and_made_again(self):
        os.makedirs(self.path("out/lib"))
        shutil.copy(self.one, self.path("out/lib/m.so"))
        host = self.host(self.path("out/lib/m.so"))
        host.wait("build 1 runs")
        shutil.rmtree(self.path("out"))
        host.quiet(0.2)
        os.makedirs(self.path("out/lib"))
        shutil.copy(self.two, self.path("out/lib/m.so"))
        self.exactly(host, 1, 2)

    def test_folder_moved_away_and_another_in_its_place(self):
        os.makedirs(self.path("out"))
        shutil.copy(self.one, self.path("out/m.so"))
        host = self.host(self.path("out/m.so"))
        host.wait("build 1 runs")
        os.makedirs(self.path("new"))
        shutil.copy(self.two, self.path("new/m.so"))
        os.rename(self.path("out"), self.path("old"))
        os.rename(self.path("new"), self.path("out"))
        self.exactly(host, 1, 2)

    def test_a_mount_over_the_folder(self):
        """Of which inotify says nothing: neither of what is there now, nor of what was below."""
        wrap = ["unshare", "--mount"] + (["--map-root-user"] if os.geteuid() else [])
        os.makedirs(self.path("out"))
        os.makedirs(self.path("other"))
        shutil.copy(self.one, self.path("out/m.so"))
        shutil.copy(self.two, self.path("other/m.so"))
        try:
            subprocess.run(wrap + ["mount", "--bind", self.path("other"), self.path("out")], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("nothing can be mounted here")
        # The host with a shell beside it in their own name space: it mounts when the files appear.
        script = ("(while [ ! -e go ]; do sleep 0.02; done; mount --bind other out; "
                  "while [ ! -e back ]; do sleep 0.02; done; umount out) & exec \"$@\"")
        host = self.host(self.path("out/m.so"), wrap=wrap + ["sh", "-c", script, "sh"])
        host.wait("build 1 runs")
        open(self.path("go"), "w").close()
        host.wait("build 2 runs")
        open(self.path("back"), "w").close()
        host.wait("build 1 runs", count=2)
        self.assertEqual(host.end(), 0)

    def test_two_builds_in_a_millisecond(self):
        """The last content runs; the one before it may or may not have been seen."""
        host = self.running(self.one)
        for so in (self.two, self.three):
            shutil.copy(so, self.path("ready-%s" % os.path.basename(so)))
        for so in (self.two, self.three):
            os.rename(self.path("ready-%s" % os.path.basename(so)), self.path("m.so"))
        host.wait("build 3 runs")
        host.quiet()
        ran = self.builds(host)
        self.assertIn(ran, ([1, 3], [1, 2, 3]), host.story())
        host.end()

    def test_second_build_after_a_while(self):
        """Pauses at which a reloader that looks at whole seconds would miss the second build."""
        for wait in (0.05, 0.2, 0.5, 0.9):
            with self.subTest(wait=wait):
                host = self.running(self.one, name="n%d.so" % (wait * 1000))
                name = "n%d.so" % (wait * 1000)
                self.place(self.two, name)
                host.wait("build 2 runs")
                time.sleep(wait)
                self.place(self.three, name)
                host.wait("build 3 runs")
                host.end()

    def test_there_and_back_again(self):
        host = self.running(self.one)
        for so, number in ((self.two, 2), (self.one, 1), (self.two, 2), (self.three, 3)):
            mark = host.mark()
            self.place(so)
            host.wait("build %d runs" % number, after=mark)
        self.assertEqual(self.builds(host), [1, 2, 1, 2, 3])
        host.end()

    def test_asked_for_while_the_file_is_swapped(self):
        """`make && keel ctl swap`: the wish waits for what the file began, and is then moot."""
        host = self.running(self.one)
        for so, number in ((self.two, 2), (self.three, 3)) * 3:
            mark = host.mark()
            self.place(so)
            answer = host.ask("swap")
            if not answer["ok"]:
                self.assertEqual(answer["error"]["code"], "ESAME", answer)
            host.wait("build %d runs" % number, after=mark)
            self.assertEqual(len(host.texts("build . runs", after=mark)), 1)
        host.end()

    def test_strip_in_place_after_link(self):
        host = self.running(self.one)
        shutil.copy(self.two, self.path("m.so"))
        subprocess.run(["strip", "--strip-debug", self.path("m.so")], check=True)
        host.wait("build 2 runs")
        host.quiet()
        self.assertEqual(set(self.builds(host)), {1, 2})
        final = content(self.path("m.so"))
        # What runs is the file as it is now, stripped: a swap to it would be to the same bytes.
        error = host.refused("swap")
        self.assertEqual(error["code"], "ESAME", error)
        self.assertEqual(final, content(self.path("m.so")))
        self.assertLessEqual(len(self.builds(host)), 3)
        host.end()

    def test_touch_swaps_nothing(self):
        host = self.running(self.one)
        for _ in range(5):
            subprocess.run(["touch", self.path("m.so")], check=True)
        os.utime(self.path("m.so"), (0, 0))
        with open(self.path("m.so"), "r+b") as f:  # opened for writing, nothing written
            f.read(1)
        host.quiet()
        self.assertEqual(self.builds(host), [1], host.story())
        self.assertEqual(host.slot()["swaps"], 1)
        self.assertEqual(host.slot()["refused"], 0)
        self.place(self.two)  # and it still listens
        host.wait("build 2 runs")
        host.end()

    def test_same_bytes_written_again(self):
        host = self.running(self.one)
        self.place(self.one)
        host.wait("same bytes")
        self.assertEqual(self.builds(host), [1])
        self.assertEqual(host.slot()["refused"], 0)
        host.end()

    def test_other_files_beside_it(self):
        """A folder full of a build's traffic is not this module's business."""
        host = self.running(self.one)
        for i in range(200):
            with open(self.path("junk%d.o" % i), "wb") as f:
                f.write(b"x" * 1000)
            os.unlink(self.path("junk%d.o" % i))
        host.quiet()
        self.assertEqual(self.builds(host), [1])
        self.place(self.two)
        self.exactly(host, 1, 2)

    def test_file_deleted_while_running(self):
        host = self.running(self.one)
        os.unlink(self.path("m.so"))
        host.quiet()
        self.assertEqual(self.builds(host), [1])
        self.place(self.two)
        host.wait("build 2 runs")
        host.end()

    def test_first_build_comes_later(self):
        host = self.host(self.path("m.so"))
        host.wait("waiting for a build")
        self.place(self.one)
        host.wait("build 1 runs from count 1")
        host.end()

    def test_writer_that_never_closes(self):
        """A complete content under a writer's open descriptor is not taken before it closes."""
        host = self.running(self.one)
        f = open(self.path("m.so"), "wb", buffering=0)
        f.write(content(self.two))
        host.quiet(1.0)
        self.assertEqual(self.builds(host), [1], host.story())
        f.close()
        self.exactly(host, 1, 2)


if __name__ == "__main__":
    keeltest.main()
