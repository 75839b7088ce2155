"""Large arrays of edited structs, converted while frames write to them: every element afterwards, the
way back, and a kill in the middle."""
import os
import time

import keeltest
from keeltest import build

# Each frame changes 40 elements, whose places its number tells; so any element's value is known.
MODULE = r"""
#include <keel/keel.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#define N %(number)d
struct cell { %(fields)s };
struct st { struct cell *all, *middle; uint64_t count, ready, frames; %(more)s };
static uint64_t told KEEL_CACHE = UINT64_MAX;
static uint64_t place(uint64_t frame, uint64_t i, uint64_t count)
{
    uint64_t x = (frame * 40 + i + 1) * 0x9E3779B97F4A7C15u;
    return (x ^ x >> 31) %% count;
}
static int start(keel *k)
{
    struct st *s = keel_state(k, struct st);
    s->count = %(count)d;
    s->all = keel_new_array(k, struct cell, s->count);
    s->middle = &s->all[s->count / 2];
    return 0;
}
static void check(keel *k, const struct st *s)
{
    uint64_t bytes = s->count * 4, bad = 0;
    uint32_t *writes = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint64_t f = 0; f < s->frames; f++)
        for (uint64_t i = 0; i < 40; i++)
            writes[place(f, i, s->count)]++;
    for (uint64_t i = 0; i < s->count; i++) {
        const struct cell *c = &s->all[i];
        int wrong = c->id != (int32_t)i || c->value != (float)i || c->writes != writes[i]%(wrong)s;
        if (wrong && !bad++)
            keel_error(k, "WRONG at %%llu: id %%lld value %%f writes %%u of %%u", (unsigned long long)i,
                       (long long)c->id, (double)c->value, (unsigned)c->writes, writes[i]);
    }
    munmap(writes, bytes);
    keel_info(k, "build %%d runs: bad %%llu middle %%lld", N, (unsigned long long)bad,
              (long long)s->middle->id);
}
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    uint64_t some = s->count - s->ready < 1000000 ? s->count - s->ready : 1000000;
    for (uint64_t i = s->ready; some; s->ready = ++i, some--) {
        struct cell *c = &s->all[i];
        c->id = (int32_t)i; c->value = (float)i;
        %(fill)s
    }
    if (s->ready < s->count)
        return;
    if (told != f->index) /* others ran before: see what they left */
        check(k, s);
    told = f->index + 1;
    for (uint64_t i = 0; i < 40; i++)
        s->all[place(s->frames, i, s->count)].writes++;
    s->frames++;
    %(frame)s
}
KEEL_MODULE("m", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
"""

FIRST = "int32_t id; float value; char note[8]; uint32_t writes;"
SECOND = "int64_t id; double more; float value; uint32_t writes;"
NOTED = "if (i % 7 == 0) snprintf(c->note, sizeof c->note, \"n%u\", (unsigned)(i % 1000));"
NOTES = " || (i %% 7 ? c->note[0] : atoi(c->note + 1) != (int)(i %% 1000) || c->note[0] != 'n')"


def module(number, mib, fields, fill="", wrong="", more="", frame=""):
    text = MODULE.replace("#include <stdio.h>", "#include <stdio.h>\n#include <stdlib.h>")
    return build(text % {"number": number, "fields": fields, "fill": fill, "more": more,
                         "wrong": wrong.replace("%%", "%"), "frame": frame,
                         "count": (mib << 20) // 20})


def first(mib, number=1, **more):
    return module(number, mib, FIRST, NOTED, NOTES, **more)


def second(mib, number=2, **more):
    return module(number, mib, SECOND, "", " || c->more != 0", **more)


class Precopy(keeltest.KeelTest):
    MIB = 64

    def started(self, *args, **more):
        host = self.running(first(self.MIB, **more), "--probation", "1000000", "--deadline", "0", *args)
        host.frames_pass(5)
        return host

    def good(self, host, number, after=0):
        said = host.wait("build %d runs: .*|m: refused.*|taken back out" % number, after=after).string
        self.assertRegex(said, r"bad 0 middle %d$" % ((self.MIB << 20) // 20 // 2), host.story())

    def test_every_element_there_and_back(self):
        host = self.started()
        mark = host.mark()
        self.place(second(self.MIB))
        self.good(host, 2, mark)
        said = host.wait(r"MiB of that converted ahead, in .* pages had changed since").string
        self.assertRegex(said, r"%d\.\d MiB" % self.MIB)
        told = host.wait("migrated .*struct cell").string
        self.assertRegex(told, r"dropped: note \(char\[8\], %s not empty" % self.noted())
        host.frames_pass(30)
        mark = host.mark()
        host.call("rollback", slot=0, state="now")
        self.good(host, 1, mark)
        self.assertEqual(host.slot()["generation"], 1)
        self.assertEqual(host.texts("WRONG"), [])
        host.end()

    def noted(self):
        return "{:,}".format(((self.MIB << 20) // 20 + 6) // 7)

    def test_back_to_the_state_at_the_swap(self):
        host = self.started()
        self.place(second(self.MIB))
        self.good(host, 2)
        host.wait("converted ahead")
        host.frames_pass(30)
        mark = host.mark()
        host.call("rollback", slot=0, state="before")
        self.good(host, 1, mark)
        host.end()

    def test_a_first_frame_that_faults_leaves_all_as_it_was(self):
        host = self.started("--trial", "off")
        mark = host.mark()
        self.place(second(self.MIB, frame="if (N == 2) *(volatile int *)0 = 1;"))
        host.wait("taken back out", after=mark)
        self.assertEqual(host.slot()["generation"], 1)
        mark = host.mark()
        self.place(second(self.MIB, number=3))
        self.good(host, 3, mark)
        host.wait("converted ahead", after=mark)
        host.end()

    def test_again_and_again(self):
        host = self.started("--probation", "1")
        for number in range(2, 7):
            mark = host.mark()
            fields = FIRST if number % 2 else SECOND
            wrong = " || c->note[0]" if number % 2 else " || c->more != 0"
            self.place(module(number, self.MIB, fields, "", wrong))
            self.good(host, number, mark)
            host.wait("converted ahead", after=mark)
            host.frames_pass(10)
        self.assertEqual(host.texts("WRONG"), [])
        host.end()

    def test_a_value_that_does_not_fit_is_named(self):
        host = self.started()
        mark = host.mark()
        self.place(module(2, self.MIB, "int16_t id; float value; char note[8]; uint32_t writes;"))
        said = host.wait("m: refused: .*", after=mark).string
        self.assertRegex(said, r"struct cell\.id: 32768 doesn't fit")
        self.assertEqual(host.slot()["generation"], 1)
        host.frames_pass(5)
        host.end()

    def test_a_kill_in_the_middle(self):
        for wait in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4) if keeltest.LONG else (0.1, 0.2):
            host = self.started("--state", "kept", "--state-every", "1", "--trial", "off")
            kept = os.path.join(self.dir, "kept")
            host.until(lambda: any(n.endswith(".module") for n in os.listdir(kept)), "its image")
            self.place(second(self.MIB))
            time.sleep(wait)
            host.kill()
            os.unlink(host.socket_path)
            host = self.host("m.so", "--state", "kept", "--deadline", "0")
            self.good(host, 2)
            self.assertEqual(host.texts("WRONG"), [])
            host.end()
            keeltest.shutil.rmtree(os.path.join(self.dir, "kept"))


@keeltest.long
class Large(Precopy):
    MIB = 850


if __name__ == "__main__":
    keeltest.main()
