"""Sessions that were recorded and given again: the same build agrees, another is told apart at the
frame and the object where it parts, and what is damaged is never replayed as if it were whole."""
import json
import os

import keeltest
import test_convert
from keeltest import build, content, CRASH

# Everything that a replay must give again: time, random numbers, timers, tasks, messages, malloc,
# pointers into the image.
WORLD = r"""
#include <keel/keel.h>
#include <stdlib.h>
#include <string.h>

struct thing { struct thing *next; double x; char *text; };
struct world {
    double time, dt, wall;
    uint64_t random, frames, fired, done, told, counted;
    keel_handle task, timer;
    const char *literal;
    double (*step)(double);
    struct thing *things;
    char said[32];
};

static uint64_t count;
static double step(double x) { return x * 0.5 + STEP; }

static int32_t start(keel *k)
{
    struct world *w = keel_state(k, struct world);
    w->literal = "in the image";
    w->step = step;
    w->random = keel_random(k);
    w->timer = keel_timer_start(k, 20000000, 30000000, 1);
    return 0;
}

static void event(keel *k, const struct keel_event *e)
{
    struct world *w = keel_state(k, struct world);
    if (e->kind == KEEL_EVENT_TIMER)
        w->fired += (uint64_t)e->result;
    if (e->kind == KEEL_EVENT_TASK) {
        w->done++;
        w->x_from_task
    }
    if (e->kind == KEEL_EVENT_MESSAGE && e->data_bytes < sizeof w->said) {
        memcpy(w->said, e->data, e->data_bytes);
        w->told += e->tag;
    }
}

static int32_t work(struct keel_work *work)
{
    uint64_t n = *(const uint64_t *)work->input * 3;
    work->give(work, &n, sizeof n);
    return 7;
}

static void frame(keel *k, const struct keel_frame *f)
{
    struct world *w = keel_state(k, struct world);
    w->time = (double)f->time_ns * 1e-9;
    w->wall = (double)keel_wall_ns(k) * 1e-9;
    w->dt += f->dt;
    w->frames = f->index + 1;
    w->counted = ++count;
    w->random ^= keel_random(k);
    if (f->index % 5 == 0)
        w->task = keel_task_start(k, 1, f->index, KEEL_TASK_INPUT, &w->frames, sizeof w->frames);
    struct thing *t = keel_new(k, struct thing);
    t->x = w->step(w->time);
    t->text = malloc(40 + f->index % 100);
    strcpy(t->text, "text");
    t->next = w->things;
    w->things = t;
    if (f->index % 3 == 2) {
        w->things = t->next;
        free(t->text);
        keel_free(k, t);
    }
    FRAME
}

KEEL_MODULE("world", "1.0",
    KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(work, work))
""".replace("w->x_from_task", "w->told ^= *(const uint64_t *)e->data << 20;")


# Statics that nothing in the state depends on: numbers, parts, pointers of all kinds.
STATICS = r"""
#include <stdio.h>
struct told { uint32_t kind; double x[3]; void (*call)(void); };
static uint64_t frames_seen;
static struct told table[4];
static double gravity = GRAVITY;
static const char *word = "a word";
static void *from_libc;
__attribute__((used)) static char *owned;
static uint64_t looked_up KEEL_CACHE = 0;
__attribute__((constructor)) static void early(void) { from_libc = EARLY > 1000 ? (void *)stdout : (void *)stderr; }
static void nothing(void) {}
MORE
"""
USE_STATICS = r"""
    static uint32_t calls = 3;
    calls++;
    frames_seen += gravity > 0;
    looked_up = (uint64_t)(uintptr_t)&calls + EARLY;
    table[f->index % 4].kind++;
    table[f->index % 4].x[1] = w->time;
    table[f->index % 4].call = nothing;
    if (f->index == 10) owned = malloc(20);
    if (word && from_libc) word = f->index % 2 ? "odd" : "even";
"""


def with_statics(edit="", more="", gravity="9.8", early="100", **how):
    text = WORLD.replace("static uint64_t count;", "static uint64_t count;" + STATICS)
    text = text.replace("FRAME", USE_STATICS + edit).replace("STEP", "1.0").replace("MORE", more)
    text = text.replace("GRAVITY", gravity).replace("EARLY", early)
    return build(text, unit="world.c", **how)


def world(step="1.0", frame="", pointers=True):
    text = WORLD.replace("STEP", step).replace("FRAME", frame)
    if not pointers:
        text = text.replace("w->step = step;", "").replace("w->step(", "step(")
        text = text.replace('w->literal = "in the image";', "")
    return build(text)


class Replay(keeltest.KeelTest):
    def record(self, so, frames=200):
        self.place(so, "world.so")
        done = self.keel("record", "world.so", "-o", "j", "--frames", str(frames), "--fps", "300")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return self.path("j")

    def replay(self, *args, expect=0):
        done = self.keel("replay", *args)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout

    def test_the_same_build_agrees_after_every_frame(self):
        so = world()
        self.record(so)
        self.assertIn("the same state after every frame: 200 frames", self.replay("j"))
        self.assertIn("the same state after every frame", self.replay("j", "world.so"))
        told = json.loads(self.replay("j", "world.so", "--json"))
        self.assertEqual((told["verdict"], told["frames"], told["unmatched"], told["unrecorded"]),
                         ("same", 200, 0, 0))
        self.assertIn(": 50 frames", self.replay("j", "--frames", "50"))

    def test_another_build_that_does_the_same_agrees(self):
        self.record(world())
        self.place(build("/* moved\n\n*/\nint unused(void);int unused(void){return 1;}\n" +
                         WORLD.replace("STEP", "1.0").replace("FRAME", "")), "new.so")
        self.assertIn("the same", self.replay("j", "new.so"))

    def test_what_differs_is_told_by_frame_and_object(self):
        self.record(world())
        self.place(world(frame="if (f->index == 123) w->told++;"), "new.so")
        text = self.replay("j", "new.so", expect=1)
        self.assertRegex(text, r"differs after frame 123 \(\d+\.\d+ s into it, record \d+\)")
        self.assertRegex(text, r"struct world at 0x55\w+\.told: \d+ → \d+\n")
        told = json.loads(self.replay("j", "new.so", "--json", expect=1))
        self.assertEqual((told["verdict"], told["frame"]), ("differs", 123))
        self.assertEqual(told["differences"]["objects"], 1)
        # against a build that has the same change there is no difference
        self.assertIn("the same", self.replay("j", "new.so", "--against", "new.so"))
        self.replay("j", "world.so", "--against", "new.so", expect=1)

    def test_a_static_that_differs_is_told_by_name(self):
        self.record(with_statics())
        for edit, frame, told in (
                ("if (f->index == 123) frames_seen += 5;", 123, r"frames_seen: 124 → 129"),
                ("if (f->index == 60) calls++;", 60, r"calls of frame: 64 → 65"),
                ("if (f->index == 71) table[2].x[2] = 0.5;", 71, r"table\[2\]\.x\[2\]: 0 → 0\.5"),
                ("if (f->index == 80) table[0].call = 0;", 80, r'table\[0\]\.call: "world: nothing" → null'),
                ("if (f->index == 90) owned += 3;", 90, r'owned: "0x55\w+" → "0x55\w+"'),
                ("if (f->index == 95) word = 0;", 95, r'word: "world\+0x\w+" → null')):
            self.place(with_statics(edit=edit), "new.so")
            text = self.replay("j", "new.so", expect=1)
            self.assertIn("differs after frame %d " % frame, text)
            self.assertRegex(text, r"\n  world\.c: static %s\n" % told)
            self.assertNotIn(" at 0x", text)  # no object does
        told = json.loads(self.replay("j", "new.so", "--json", expect=1))
        self.assertEqual((told["differences"]["objects"], told["statics"]["differ"]), (0, 1))
        self.assertIn("world.c: static word", told["statics"]["list"][0])
        self.assertIn("static word", self.replay("j", "new.so", "--against", "world.so", expect=1))
        self.assertIn("static word", self.replay("j", "world.so", "--against", "new.so", expect=1))
        self.assertIn("static word", self.replay("j", "--against", "new.so", expect=1))
        self.assertIn("the same", self.replay("j", "new.so", "--against", "new.so"))
        done = self.keel("smoke", "world.so", "new.so", "--swaps", "2", "--frames", "5", "--replay", "j")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"NEW on j: differs after frame 95 .*: world\.c: static word: ")

    def test_statics_that_no_swap_carries_as_they_are_may_differ(self):
        """And pointers out of the state, which are elsewhere in every build."""
        self.record(with_statics(), 60)
        more = "static struct { int big[999]; } padding = {{1}}; static uint64_t added = 7;"
        self.place(with_statics(edit="added++; padding.big[3]++;", more=more, gravity="1.6", early="70000"),
                   "new.so")
        told = json.loads(self.replay("j", "new.so", "--json"))
        self.assertEqual((told["verdict"], told["frames"], told["statics"]["why"]), ("same", 60, ""))
        # count, frames_seen, table, word, from_libc, owned, calls
        self.assertEqual((told["statics"]["compared"], told["statics"]["differ"]), (7, 0))
        bare = with_statics(edit="if (f->index == 20) frames_seen += 5;", flags=["-g0"])
        self.place(bare, "bare.so")
        self.assertIn("  statics were not compared: debug information is missing in the new build: build with -g\n",
                      self.replay("j", "bare.so"))
        self.assertIn("missing in the old build", self.replay("j", "world.so", "--against", "bare.so"))

    def test_statics_of_a_session_with_a_swap(self):
        first = with_statics(more="static uint64_t late;", edit="late++;")
        added = "static uint64_t late, later;"
        second = with_statics(more=added, edit="late++; later++;")
        self.place(first, "world.so")
        host = self.host("world.so", "--journal", "j", "--fps", "300", "--probation", "10")
        host.wait("generation 1")
        host.frames_pass(40)
        self.place(second, "world.so")
        host.wait("generation 1 → 2")
        host.frames_pass(40)
        host.call("quit")
        host.exited()
        # what the second build added began with the swap, so it can't be compared; the rest is
        told = json.loads(self.replay("j", second, "--json", "--no-compare"))
        last = told["frame"]
        ran = self.keel("replay", "j", second, "--json")
        told = json.loads(ran.stdout)
        self.assertEqual([line for line in told["statics"]["list"] if "later" in line], [])
        self.assertGreater(told["statics"]["compared"], 7)
        third = with_statics(more=added, edit="late++; later++; if (f->index == %d) late++;" % (last - 5))
        told = json.loads(self.keel("replay", "j", third, "--against", second, "--json").stdout)
        self.assertEqual((told["verdict"], told["frame"]), ("differs", last - 5))
        self.assertRegex(told["statics"]["list"][0], r"world\.c: static late: \d+ → \d+")

    def test_a_build_that_crashes_is_told_with_its_frame(self):
        self.record(world())
        self.place(world(frame="if (f->index == 77) " + CRASH), "new.so")
        text = self.replay("j", "new.so", expect=1)
        self.assertRegex(text, r"faults in frame 77 .*:")
        self.assertIn("faults in frame 77", self.replay("j", "new.so", "--no-compare", expect=1))

    def test_a_replay_reaches_nothing_outside(self):
        self.record(world())
        self.place(build(WORLD.replace("STEP", "1.0").replace(
            "FRAME", "if (f->index == 9) socket(2, 1, 0);").replace(
            "#include <stdlib.h>", "#include <stdlib.h>\n#include <sys/socket.h>")), "new.so")
        text = self.replay("j", "new.so", expect=2)
        self.assertIn("socket", text)

    def test_a_session_with_messages_a_swap_and_undone_frames(self):
        # that pointers follow a swap is another test's matter
        so = world(pointers=False, frame="if (f->index == 40 && !(f->flags & KEEL_FRAME_REDELIVERED)) " + CRASH)
        other = world(step="2.0", pointers=False)
        self.place(so, "world.so")
        host = self.host("world.so", "--journal", "j", "--fps", "300", "--probation", "10")
        host.wait("generation 1")
        host.frames_pass(60)
        host.call("send", text="hello", tag=5)
        host.frames_pass(20)
        self.place(other, "world.so")
        host.wait("generation 1 → 2")
        host.call("send", text="again", tag=6)
        host.frames_pass(40)
        host.call("quit")
        host.exited()
        told = json.loads(self.replay("j", "--json"))
        self.assertEqual((told["verdict"], told["unmatched"], told["unrecorded"]), ("same", 0, 0))

    def test_from_a_snapshot_in_the_middle(self):
        self.place(world(), "world.so")
        host = self.host("world.so", "--journal", "j", "--fps", "300")
        host.wait("generation 1")
        host.frames_pass(40)
        done = self.keel("ctl", "--socket", host.socket_path, "snapshot", "middle")
        self.assertEqual(done.returncode, 0, done.stderr)
        host.frames_pass(40)
        host.call("quit")
        host.exited()
        whole = json.loads(self.replay("j", "--json"))
        rest = json.loads(self.replay("j", "--from", "middle", "--json"))
        self.assertEqual((rest["verdict"], rest["unmatched"], rest["unrecorded"]), ("same", 0, 0))
        self.assertEqual(rest["frame"], whole["frame"])
        self.assertLess(rest["frames"], whole["frames"] - 30)
        # another build takes the state over as in a swap; from there memory may lie elsewhere
        self.place(world(frame="if (w->frames != f->index + 1) " + CRASH), "new.so")
        self.assertIn("it ran: ", self.replay("j", "new.so", "--from", "middle", "--no-compare"))

    def test_a_session_that_went_on_from_a_state(self):
        self.place(world(), "world.so")
        host = self.host("world.so", "--state", "st", "--frames", "50", "--fps", "300")
        host.exited()
        keeltest.shutil.copy(self.path("st/world.state"), self.path("begin"))
        host = self.host("world.so", "--state", "st", "--frames", "60", "--fps", "300",
                         "--journal", "j")
        host.exited()
        done = self.keel("replay", "j")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--from", done.stderr)
        told = json.loads(self.replay("j", "--from", "begin", "--json"))
        self.assertEqual((told["verdict"], told["frames"], told["frame"]), ("same", 60, 109))
        self.assertEqual(self.keel("replay", "j", "--from", "j").returncode, 2)

    def test_a_swap_that_carried_state_and_statics_is_replayed(self):
        with open(self.path("world.c"), "w") as f:  # one file's name for both builds
            f.write("")
        text = WORLD.replace("FRAME", "")
        first = build("#line 1 \"world.c\"\n" + text.replace("STEP", "1.0"))
        second = build("#line 1 \"world.c\"\n" + text.replace("STEP", "2.0").replace(
            "struct thing { struct thing *next;", "struct thing { uint32_t added; struct thing *next;"))
        self.place(first, "world.so")
        host = self.host("world.so", "--journal", "j", "--fps", "300", "--probation", "10")
        host.wait("generation 1")
        host.frames_pass(40)
        self.place(second, "world.so")
        host.wait("generation 1 → 2")
        host.frames_pass(40)
        host.call("quit")
        host.exited()
        told = json.loads(self.replay("j", "--json"))
        self.assertEqual((told["verdict"], told["unmatched"], told["unrecorded"]), ("same", 0, 0))
        self.assertGreater(told["frames"], 80)

    def test_a_build_that_converts_takes_a_recorded_session(self):
        # an old build's session and snapshot; then the swap itself, recorded
        before, after = test_convert.old(), test_convert.new(
            frame=test_convert.KEEP + test_convert.LOOK.replace("keel_info(", "if (wrong || n != 300) " + CRASH + "(void)("))
        host = self.running(before, "--journal", "j", "--fps", "300", "--probation", "3")
        host.frames_pass(20)
        done = self.keel("ctl", "--socket", host.socket_path, "snapshot", "middle")
        self.assertEqual(done.returncode, 0, done.stderr)
        host.frames_pass(20)
        self.place(after)
        host.wait("303 by KEEL_CONVERT")
        host.frames_pass(20)
        host.call("quit")
        host.exited()
        told = json.loads(self.replay("j", "--json"))
        self.assertEqual((told["verdict"], told["unmatched"], told["unrecorded"]), ("same", 0, 0))
        self.assertGreater(told["frames"], 60)
        said = self.replay("j", after, "--from", "middle", "--no-compare")
        self.assertRegex(said, "it ran: [1-9]")
        odd = test_convert.new(convert=test_convert.CONVERT.replace(
            "(void)k;", "if (now->id == 7) return keel_fail(k, KEEL_EDATA, \"order %d is odd\", now->id);"))
        self.assertIn("order 7 is odd", self.replay("j", odd, "--from", "middle", "--no-compare", expect=2))

    def test_a_killed_host_leaves_its_session(self):
        self.place(world(), "world.so")
        host = self.host("world.so", "--journal", "j", "--fps", "300")
        host.wait("generation 1")
        host.frames_pass(50)
        host.kill()
        os.unlink(host.socket_path)
        text = self.replay("j")
        self.assertIn("the same state after every frame", text)
        self.assertIn("was killed or runs", text)

    def test_a_damaged_journal_is_replayed_up_to_there(self):
        path = self.record(world())
        data = bytearray(content(path))
        middle = len(data) * 9 // 10
        data[middle] ^= 4
        with open(path, "wb") as f:
            f.write(data)
        text = self.replay("j", "world.so")
        self.assertIn("the same state after every frame", text)
        self.assertIn("damaged", text)
        told = json.loads(self.replay("j", "world.so", "--json"))
        self.assertLess(told["frames"], 200)
        self.assertGreater(told["frames"], 20)

    def test_smoke_on_a_recorded_session(self):
        self.record(world(), 60)
        self.place(world(step="1.0", frame="if (0) w->told++;"), "new.so")
        common = ("--swaps", "2", "--frames", "5", "--replay")
        done = self.keel("smoke", "world.so", "new.so", *common, "j")
        self.assertIn("NEW on j: the same", done.stdout)
        self.place(world(frame="if (f->index == 31) w->told++;"), "new.so")
        done = self.keel("smoke", "world.so", "new.so", *common, "j")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"NEW on j: differs after frame 31 .*told: \d+ → \d+")
        done = self.keel("smoke", "world.so", "new.so", *common, "nothing")
        self.assertEqual(done.returncode, 2)
        self.sentence(done.stderr)

    def test_what_no_replay_can_have_is_told_by_name(self):
        """Also in the first frame, and where two states of gibibytes of addresses are open."""
        self.place(keeltest.build(keeltest.counter(1, includes="#include <unistd.h>",
                                                   frame="s->extra[2] = (uint64_t)getpid();")), "c.so")
        done = self.keel("record", "c.so", "-o", "j", "--frames", "5", "--headless", "--fps", "max")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.keel("replay", "j")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"differs after frame 0 (.|\n)*struct st at 0x\w+\.extra\[2\]: \d+ → \d+\n")

    def test_another_module_is_named(self):
        self.record(world(), 5)
        other = WORLD.replace("STEP", "1.0").replace("FRAME", "").replace('"world"', '"other"')
        self.place(build(other), "other.so")
        for args in (["j", "other.so"], ["j", "world.so", "--against", "other.so"]):
            done = self.keel("replay", *args)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.sentence(done.stderr)
            self.assertRegex(done.stderr, 'other.so is the module "other", and j was recorded with another module, "world"')

    def test_wrong_use(self):
        self.record(world(), 5)
        with open(self.path("text"), "w") as f:
            f.write("x" * 500)
        for args in (["nothing"], ["text"], ["j", "text"], ["j", "--frames", "0"], [],
                     ["j", "--against", "nothing"], ["j", "--bogus"]):
            done = self.keel("replay", *args)
            self.assertEqual(done.returncode, 2, args)
            self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)
        done = self.keel("smoke", "world.so", "world.so", "--state", "text")
        self.assertEqual(done.returncode, 2)
        self.sentence(done.stderr)
        done = self.keel("record", "world.so")
        self.assertEqual(done.returncode, 2)
        self.assertIn("where to", done.stderr)
        done = self.keel("record", "world.so", "-o", "text", "--frames", "3")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no journal", done.stdout + done.stderr)
        self.assertEqual(content(self.path("text")), b"x" * 500)


if __name__ == "__main__":
    keeltest.main()
