"""`keel new`: what it makes builds, runs and is clean; what it must refuse it leaves untouched."""
import json
import os
import subprocess

import keeltest
from keeltest import BUILD, CC, CXX, KeelTest, ROOT, content

FILES = [".gitignore", ".vscode/launch.json", ".vscode/tasks.json", "CMakeLists.txt", "README.md"]


class New(KeelTest):
    def files(self, folder):
        found = []
        for at, _, names in os.walk(self.path(folder)):
            found += [os.path.relpath(os.path.join(at, n), self.path(folder)) for n in names]
        return sorted(found)

    def refused(self, *args, status=2):
        before = sorted(os.listdir(self.dir))
        done = self.keel("new", *args)
        self.assertEqual(done.returncode, status, done)
        self.assertEqual(done.stdout, "")
        self.sentence(done.stderr)
        self.assertTrue(done.stderr.isprintable() or done.stderr[:-1].isprintable(), done.stderr)
        self.assertEqual(sorted(os.listdir(self.dir)), before)
        return done.stderr

    def makes(self, ending, *args):
        done = self.keel("new", "fish", *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("keel dev fish", done.stdout)
        self.assertEqual(self.files("fish"), sorted(FILES + ["fish" + ending]))
        self.assertEqual([n for n in os.listdir(self.dir) if n.startswith(".")], [])
        for name in (".vscode/launch.json", ".vscode/tasks.json"):
            settings = json.loads(content(self.path("fish/" + name)))
            self.assertIn(keeltest.KEEL, json.dumps(settings))
        for name in self.files("fish"):
            text = content(self.path("fish/" + name)).decode("ascii")
            self.assertNotRegex(text, "@[A-Z]+@", name)
            self.assertLessEqual(max(map(len, text.split("\n"))), 100, name)

    def compiles(self, compilers, source, *flags):
        for compiler in compilers:
            done = subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
                                   "-I" + os.path.join(ROOT, "abi"), *flags, self.path(source),
                                   "-o", self.path(compiler.split("/")[-1] + ".so")],
                                  stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def by_cmake(self):
        """As its README says, against this build; the module swims."""
        for command in (["cmake", "-B", "build", "-DKeel_DIR=" + BUILD],
                        ["cmake", "--build", "build"]):
            done = subprocess.run(command, cwd=self.path("fish"), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, env=self.env)
            self.assertEqual(done.returncode, 0, done.stdout)
        host = self.host(self.path("fish/build/fish.so"))
        host.wait("the fish is at [0-9]+, turns: 0")
        host.end()

    def test_c(self):
        self.makes(".c")
        self.compiles([CC, "gcc", "clang"], "fish/fish.c")
        self.by_cmake()

    def test_cxx(self):
        self.makes(".cpp", "--lang", "c++")
        self.compiles([CXX, "g++", "clang++"], "fish/fish.cpp", "-std=c++17")
        self.by_cmake()

    def test_what_is_there_stays(self):
        os.mkdir(self.path("fish"))
        with open(self.path("fish/mine"), "w") as f:
            f.write("mine")
        self.assertIn("is there already", self.refused("fish", status=1))
        self.assertEqual(self.files("fish"), ["mine"])
        os.mkdir(self.path("empty"))
        self.assertIn("is there already", self.refused("empty", status=1))
        self.assertEqual(self.files("empty"), [])
        with open(self.path("file"), "w") as f:
            f.write("mine")
        self.refused("file", status=1)
        self.assertEqual(content(self.path("file")), b"mine")
        os.symlink("nowhere", self.path("link"))
        self.refused("link", status=1)

    def test_bad_names(self):
        for name in ("", "1st", "a/b", "..", ".hidden", "-", "a b", "a.b", "a" * 41, "fïsch",
                     "a\x1b[31m", "a\n", "x'y"):
            self.refused("--", name)
        for name in ("all", "test", "clean", "install"):
            self.assertIn("CMake", self.refused(name))
        self.assertEqual(self.keel("new", "a" * 40).returncode, 0)

    def test_wrong_use(self):
        self.assertIn("which name", self.refused())
        self.refused("one", "two")
        self.refused("one", "--lang", "rust")
        self.refused("one", "--lang")
        self.refused("one", "--colour")
        done = self.keel("new", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("example:", done.stdout)

    def test_a_folder_that_cannot_be_made(self):
        done = subprocess.run([keeltest.KEEL, "new", "fish"], cwd="/proc/self", env=self.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.sentence(done.stderr)


if __name__ == "__main__":
    keeltest.main()
