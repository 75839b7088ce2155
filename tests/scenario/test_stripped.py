"""Modules without debug information whose types were kept by keel types --embed."""
import os
import shutil
import subprocess
import unittest

import keeltest
from keeltest import KEEL, build, content, counter


def widened(text):
    return text.replace("uint64_t count; uint64_t extra[4];",
                        "uint64_t fresh; uint64_t count; uint64_t extra[6];")


@unittest.skipIf(keeltest.SANITIZED, "the reader's sandbox ends what sanitizers do at exit")
class Stripped(keeltest.KeelTest):
    def packed(self, number, change=lambda text: text, embed=True):
        path = self.path("packed%d.so" % number)
        shutil.copyfile(build(change(counter(number)), unit="counter.c"), path)
        if embed:
            done = self.keel("types", "--embed", path)
            self.assertEqual(done.returncode, 0, done.stderr)
        subprocess.run(["strip", path], check=True)
        return path

    def keel(self, *args):
        return subprocess.run([KEEL, *args], capture_output=True, text=True)

    def test_fields_are_carried_without_debug_information(self):
        self.place(self.packed(1), "m.so")
        live = self.host(self.path("m.so"))
        live.wait("build 1 runs from count 1")
        live.frames_pass(5)
        self.place(self.packed(2, widened), "m.so")
        live.wait("build 2 runs from count")
        self.assertEqual(live.slot()["generation"], 2)
        live.end()

    def test_without_them_it_is_refused(self):
        self.place(self.packed(1, embed=False), "m.so")
        live = self.host(self.path("m.so"))
        live.wait("build 1 runs from count 1")
        self.place(self.packed(2, widened, embed=False), "m.so")
        live.wait("refused")
        self.assertEqual(live.slot()["generation"], 1)
        live.end()

    def test_again_is_the_same_and_nothing_else_changes(self):
        path = self.path("one.so")
        shutil.copyfile(build(counter(1), unit="counter.c"), path)
        os.chmod(path, 0o754)
        self.assertEqual(self.keel("types", "--embed", path).returncode, 0)
        once = content(path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o754)
        self.assertEqual(self.keel("types", "--embed", path).returncode, 0)
        done = self.keel("diff", path, build(counter(1), unit="counter.c"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(b".keel.types", once)
        self.assertEqual(os.listdir(self.dir).count("one.so"), 1)

    def test_refusals(self):
        bare = self.path("bare.so")
        shutil.copyfile(build(counter(1), plain=True), bare)
        done = self.keel("types", "--embed", bare)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("compile it with -g", done.stderr)
        with open(self.path("junk.so"), "wb") as f:
            f.write(b"\x7fELF" + bytes(3000))
        self.assertEqual(self.keel("types", "--embed", self.path("junk.so")).returncode, 1)
        self.assertEqual(self.keel("types", "--embed", self.path("none.so")).returncode, 2)
        self.assertEqual(self.keel("types", bare).returncode, 2)
        self.assertEqual(self.keel("types", "--embed", bare, bare).returncode, 2)


if __name__ == "__main__":
    unittest.main()
