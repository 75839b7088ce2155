"""keel state: what is in a state by the names of its types, what two differ in, and setting values in
files and in running hosts."""
import json
import os

import keeltest
from keeltest import build

ZOO = r"""
#include <keel/keel.h>
#include <stdlib.h>
#include <string.h>
enum colour { RED, GREEN = 5, BLUE = -2 };
struct animal { struct animal *next; double weight; char name[12]; enum colour colour; };
struct zoo {
    int8_t small; uint8_t byte; int16_t odd; uint32_t count; int64_t big; uint64_t huge;
    float ratio; _Bool open; unsigned bits : 3, more : 7; int sign : 5;
    char title[16]; enum colour flag; int32_t grid[2][3];
    struct { int inner; }; struct { int x, y; } at;
    struct animal *first; const char *literal; void (*call)(void); int *numbers;
    uint64_t frames;
};
static void call(void) {}
static int32_t start(keel *k)
{
    struct zoo *z = keel_state(k, struct zoo);
    z->small = -7; z->byte = 200; z->odd = -300; z->count = 4000000000u; z->big = -5000000000;
    z->huge = 18446744073709551615u; z->ratio = 0.1f; z->open = 1; z->bits = 5; z->more = 100;
    z->sign = -3; strcpy(z->title, "the \"zoo\""); z->flag = GREEN; z->inner = 42; z->at.y = 9;
    for (int i = 0; i < 6; i++)
        z->grid[i / 3][i % 3] = i;
    for (int i = 0; i < 3; i++) {
        struct animal *a = keel_new(k, struct animal);
        a->weight = i * 1.5; a->colour = i == 2 ? BLUE : RED; a->next = z->first;
        a->name[0] = (char)('a' + i);
        z->first = a;
    }
    z->numbers = keel_new_array(k, int, 4);
    z->numbers[3] = 33;
    z->literal = "text";
    z->call = call;
    return 0;
}
static void frame(keel *k, const struct keel_frame *f)
{
    keel_state(k, struct zoo)->frames = f->index + 1;
    if (keel_state(k, struct zoo)->count == 7)
        keel_info(k, "the count is seven");
}
KEEL_MODULE("zoo", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
"""


class State(keeltest.KeelTest):
    def written(self, frames="3"):
        self.place(build(ZOO), "zoo.so")
        host = self.host("zoo.so", "--state", "st", "--frames", frames)
        host.exited()
        return "st/zoo.state"

    def state(self, *args, expect=0):
        done = self.keel("state", *args)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout if expect < 2 else done.stderr

    def test_dump_by_names(self):
        path = self.written()
        all_of_it = json.loads(self.state("dump", path))
        self.assertEqual((all_of_it["slot"], all_of_it["module"], all_of_it["frames"]),
                         ("zoo", "zoo", 3))
        objects = {o["address"]: o for o in all_of_it["objects"]}
        self.assertEqual(len(objects), 5)
        zoo = objects[all_of_it["root"]]["value"]
        expected = {"small": -7, "byte": 200, "odd": -300, "count": 4000000000,
                    "big": -5000000000, "huge": 18446744073709551615, "ratio": 0.1, "open": True,
                    "bits": 5, "more": 100, "sign": -3, "title": 'the "zoo"', "flag": "GREEN",
                    "grid": [[0, 1, 2], [3, 4, 5]], "inner": 42, "at": {"x": 0, "y": 9},
                    "call": "zoo: call", "frames": 3}
        for name, value in expected.items():
            self.assertEqual(zoo[name], value, name)
        animal = objects[zoo["first"]]["value"]
        self.assertEqual((animal["name"], animal["weight"], animal["colour"]), ("c", 3.0, "BLUE"))
        self.assertEqual(objects[zoo["numbers"]]["value"], [0, 0, 0, 33])
        self.assertEqual(objects[zoo["numbers"]]["count"], 4)

    def test_paths(self):
        path = self.written()
        for where, value in (("count", "4000000000"), ("grid[1][2]", "5"), ("at.y", "9"),
                             ("first.next.name", '"b"'), ("first.next.next.next", "null"),
                             ("numbers[3]", "33"), ("at", '{"x": 0, "y": 9}'), ("inner", "42")):
            self.assertEqual(self.state("dump", path, where), value + "\n")
        for where in ("nothing", "grid[2]", "first.next.next.next.name", "numbers[4]", "count.x",
                      "grid[x]", "at."):
            self.sentence(self.state("dump", path, where, expect=2))
        self.assertIn("it has x, y", self.state("dump", path, "at.z", expect=2))

    def test_cbor(self):
        path = self.written()
        done = keeltest.subprocess.run([keeltest.KEEL, "state", "dump", path, "at", "--cbor"],
                                       stdout=-1, env=self.env, cwd=self.dir)
        self.assertEqual(done.stdout, b"\xbfax\x00ay\x09\xff")

    def test_set_in_a_file(self):
        path = self.written()
        self.state("set", path, "count=7", "ratio=2.5", "title=new", "flag=BLUE", "sign=-16",
                   "first.next.weight=-0.25", "open=false", "grid[0][1]=-9", "more=127",
                   "first.next.next.next=null")
        for where, value in (("count", "7"), ("ratio", "2.5"), ("title", '"new"'),
                             ("flag", '"BLUE"'), ("sign", "-16"), ("bits", "5"), ("more", "127"),
                             ("first.next.weight", "-0.25"), ("open", "false"),
                             ("grid[0][1]", "-9")):
            self.assertEqual(self.state("dump", path, where), value + "\n")
        host = self.host("zoo.so", "--state", "st", "--frames", "3")
        host.wait("the count is seven")
        host.exited()

    def test_what_does_not_fit_is_refused(self):
        path = self.written()
        before = keeltest.content(self.path(path))
        for wrong in ("small=128", "small=-129", "byte=256", "byte=-1", "bits=8", "sign=16",
                      "sign=-17", "count=4294967296", "ratio=1e39", "ratio=x", "open=maybe",
                      "flag=PINK", "flag=6", "title=0123456789abcdef", "first=1", "grid=1",
                      "at=1", "nothing=1", "count", "=1", "count=", "call=null=", "big=1.5"):
            with self.subTest(wrong=wrong):
                self.sentence(self.state("set", path, wrong, expect=2))
        self.assertEqual(keeltest.content(self.path(path)), before)
        self.assertIn("from -128 to 127", self.state("set", path, "small=128", expect=2))

    def test_diff_by_field(self):
        path = self.written()
        keeltest.shutil.copy(self.path(path), self.path("old"))
        self.assertEqual(self.state("diff", "old", path), "no difference\n")
        self.state("set", path, "first.next.weight=9")
        text = self.state("diff", "old", path, expect=1)
        self.assertRegex(text, r"struct animal at 0x55\w+\.weight: 1.5 → 9\n")
        told = json.loads(self.state("diff", "old", path, "--json", expect=1))
        self.assertEqual(told["objects"], 1)

    def test_a_running_host(self):
        self.place(build(ZOO), "zoo.so")
        host = self.host("zoo.so", "--fps", "200")
        host.wait("generation 1")
        host.frames_pass(3)
        live = ("--socket", host.socket_path)
        first = int(self.state("dump", *live, "frames"))
        self.assertGreater(first, 0)
        self.state("set", *live, "count=7", "first.name=ape")
        host.wait("the count is seven")
        self.assertEqual(self.state("dump", *live, "first.name"), '"ape"\n')
        self.sentence(self.state("set", *live, "count=-1", expect=2))
        self.assertGreater(int(self.state("dump", *live, "frames")), first)
        host.call("quit")
        host.exited()

    def test_wrong_use(self):
        path = self.written()
        for args in ([], ["dump"], ["diff", path], ["set", path], ["bogus", path],
                     ["dump", "zoo.so"], ["dump", "nothing"], ["dump", path, "--bogus"],
                     ["diff", path, "zoo.so"], ["set", path, "count=1", "--module", "nothing"],
                     ["dump", path, "--slot", "zoo"], ["dump", "."], []):
            done = self.keel("state", *args)
            self.assertEqual(done.returncode, 2, args)
            self.sentence(done.stderr)

    def test_the_state_knows_its_types(self):
        """Nothing but the file is at hand; not even its tables of types are needed, as it has the
        build that ran."""
        path = self.written()
        before = self.state("dump", path)
        keeltest.shutil.copy(self.path(path), self.path("alone"))
        keeltest.shutil.rmtree(self.path("st"))
        os.unlink(self.path("zoo.so"))
        self.assertEqual(self.state("dump", "alone"), before)
        self.assertEqual(self.state("dump", "alone", "first.name"), '"c"\n')
        self.state("set", "alone", "first.name=ape")
        self.assertEqual(self.state("dump", "alone", "first.name"), '"ape"\n')

    def test_pointers_that_lead_out_of_it_are_refused_by_name(self):
        leaky = ZOO.replace("uint64_t frames;", "uint64_t frames; void *outside; struct { int *also[2]; } in;")
        leaky = leaky.replace("z->literal =", "z->outside = stdout; z->in.also[1] = (int *)&environ; z->literal =")
        leaky = leaky.replace("#include <stdlib.h>", "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>")
        self.place(build(leaky.replace("static void call", "static FILE *volatile log_file; static void call")
                         .replace("z->call = call", "log_file = stderr; z->call = call")), "zoo.so")
        host = self.host("zoo.so", "--fps", "200")
        host.wait("generation 1")
        host.frames_pass(3)
        ctl = ("ctl", "--socket", host.socket_path, "snapshot", "out.state")
        done = self.keel(*ctl)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.sentence(done.stderr)
        for name in (r"struct zoo\.outside \(0x7", r"struct zoo\.in\.also\[\] \(0x", r"log_file \(0x7",
                     "3 pointers lead out of the state"):
            self.assertRegex(done.stderr, name)
        self.assertEqual([x for x in os.listdir(self.dir) if "out.state" in x], [])
        self.assertEqual(self.keel(*ctl, "--foreign").returncode, 0)
        self.assertEqual(self.state("dump", "out.state", "first.name"), '"c"\n')
        told = host.texts("out of the state")
        self.assertEqual(len(told), 1, told)
        host.end()
        # what is written while it runs is warned of, each field once, and written all the same
        host = self.host("zoo.so", "--fps", "200", "--state", "st", "--state-every", "0.1")
        host.wait("out of the state")
        for _ in range(3):
            before = os.stat(self.path("st/zoo.state")).st_ino
            host.until(lambda: os.stat(self.path("st/zoo.state")).st_ino != before, "another snapshot")
        host.call("quit")
        host.exited()
        told = host.texts("out of the state")
        self.assertEqual(len(told), 1, told)
        for name in (r"zoo: 3 pointers lead", r"struct zoo\.outside \(0x7", r"struct zoo\.in\.also\[\] \(0x", r"log_file \(0x7"):
            self.assertRegex(told[0], name)

    def test_a_state_of_its_own_pointers_is_not_warned_of(self):
        self.place(build(ZOO), "zoo.so")
        host = self.host("zoo.so", "--fps", "200", "--state", "st", "--state-every", "0.1")
        # known are types from when the file has them twice: in the build, and as they were read
        path = self.path("st/zoo.state")
        host.until(lambda: os.path.exists(path) and keeltest.content(path).count(b"\0frames\0") > 1, "the types")
        host.call("quit")
        host.exited()
        self.assertTrue(host.texts("is in "))
        self.assertEqual(host.texts("out of the state"), [])

    def test_without_debug_information_there_are_no_names(self):
        self.place(build(ZOO, flags=("-g0",)), "zoo.so")
        self.host("zoo.so", "--state", "st", "--frames", "3").exited()
        path = "st/zoo.state"
        os.unlink(self.path("zoo.so"))
        done = self.keel("state", "dump", path)
        self.assertEqual(done.returncode, 0)
        self.assertIn("without names", done.stderr)
        self.assertTrue(all(o["value"].startswith("hex:") for o in json.loads(done.stdout)["objects"]))
        self.sentence(self.state("dump", path, "count", expect=2))
        self.place(build(ZOO + "/* the same types */"), "other.so")
        self.assertEqual(self.state("dump", path, "small", "--module", "other.so"), "-7\n")


if __name__ == "__main__":
    keeltest.main()
