"""Structs, statics and pointers that outlive an edit, in real hosts: what the rules carry over, what
they refuse and how they say it."""
import unittest

import keeltest
from keeltest import CRASH, build

MODULE = r"""
#include <keel/keel.h>
#include <stdlib.h>
#include <string.h>
#define N %(number)d
static int told KEEL_CACHE = 0;
%(types)s
%(statics)s
static int start(keel *k)
{
    (void)k;
    %(start)s
    return 0;
}
static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    %(frame)s
    if (!told) {
        told = 1;
        %(look)s
        keel_info(k, "build %%d runs", N);
    }
}
%(more)s
KEEL_MODULE("m", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) %(entries)s)
"""


def module(number, types, *, statics="", start="", frame="", look="", more="", entries="",
           flags=(), compiler=None):
    return build(MODULE % {"number": number, "types": types, "statics": statics, "start": start,
                           "frame": frame, "look": look, "more": more, "entries": entries},
                 flags=flags, compiler=compiler)


class Migrate(keeltest.KeelTest):
    def swapped(self, first, second, *args):
        host = self.running(first, "--probation", "1000000", *args)
        self.place(second)
        return host

    def test_a_field_in_the_middle(self):
        first = module(
            1, "struct order { int id; double price; struct order *next; };"
               "struct book { struct order *first; int count; };",
            start="struct book *b = keel_state(k, struct book);"
                  "for (int i = 0; i < 500; i++) { struct order *o = keel_new(k, struct order);"
                  "o->id = i; o->price = i * 0.5; o->next = b->first; b->first = o; b->count++; }")
        second = module(
            2, "struct order { int id; char venue[40]; double price; struct order *next; };"
               "struct book { int depth; struct order *first; long count; };",
            look="struct book *b = keel_state(k, struct book); int n = 0; double sum = 0;"
                 "for (struct order *o = b->first; o; o = o->next) {"
                 " if (o->id != 499 - n || o->venue[0] || o->price != o->id * 0.5)"
                 "  keel_error(k, \"WRONG %d\", o->id);"
                 " n++; sum += o->price; }"
                 "keel_info(k, \"found %d of %ld, sum %.1f, depth %d\", n, b->count, sum, b->depth);")
        host = self.swapped(first, second)
        host.wait(r"found 500 of 500, sum 62375\.0, depth 0")
        said = host.wait(r"migrated .*500 × struct order: new venue").string
        self.assertIn("1 × struct book: new depth", said)
        self.assertEqual(host.texts("WRONG"), [])
        host.end()

    def test_statics_survive_unless_their_initialiser_was_edited(self):
        statics = ("static int frames; static double gravity = %s; static int levels[3] = {1, 2, 3};"
                   "static const char *title = \"%s\"; static void fill(int *to) { static int calls;"
                   " *to = ++calls; } static void drain(int *to) { static int calls = 100;"
                   " *to = --calls; }")
        work = "frames++; levels[1] += 10; gravity += 0;"
        first = module(1, "", statics=statics % ("9.8", "one"),
                       frame=work + "int a, b; fill(&a); drain(&b); gravity = 7;")
        second = module(2, "", statics=statics % ("9.8", "one") + "static int more = 5;",
                        frame="frames++; more += f->index == 9; levels[0]++; gravity += 0;",
                        look="int a, b; fill(&a); drain(&b); "
                             "keel_info(k, \"frames %s, levels %s, gravity %g, calls %s %s, more %d,"
                             " %s\", frames > 3 ? \"kept\" : \"lost\", levels[1] > 30 ? \"kept\" :"
                             " \"lost\", gravity, a > 3 ? \"kept\" : \"lost\", b < 97 ? \"kept\" :"
                             " \"lost\", more, title);")
        third = module(3, "", statics=statics % ("3.7", "three"),
                       look="keel_info(k, \"gravity %g, %s, frames %s\", gravity, title,"
                            " frames > 3 ? \"kept\" : \"lost\");", frame="frames++; gravity += 0; levels[0]++;")
        host = self.running(first, "--probation", "5")
        host.frames_pass(10)
        self.place(second)
        host.wait("frames kept, levels kept, gravity 7, calls kept kept, more 5, one")
        host.frames_pass(12)
        self.place(third)
        host.wait("gravity 3.7, three, frames kept")
        host.wait("new initialiser: .*gravity")
        host.end()

    def test_what_would_be_lost_is_refused_by_name(self):
        first = module(1, "struct tick { int price; char name[16]; };",
                       start="struct tick *t = keel_state(k, struct tick); t->price = 70000;"
                             "strcpy(t->name, \"a long name\");")
        host = self.running(first)
        for types, reason in (
                ("struct tick { short price; char name[16]; };",
                 r"struct tick\.price: 70000 doesn't fit short"),
                ("struct tick { int price; char name[8]; };",
                 r"struct tick\.name: char\[16\] becomes char\[8\], and what has no place"),
                ("struct tick { struct tick *price; char name[16]; };",
                 r"struct tick\.price: there is no rule from int to struct tick \*")):
            mark = host.mark()
            self.place(module(2, types, frame="(void)keel_state(k, struct tick);"))
            said = host.wait("refused: .*" + reason, after=mark).string
            self.sentence(said)
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def test_pointers_follow(self):
        types = "struct item { %s int value; struct item *friend; };" \
                "struct st { struct item *all; struct item *third; int *value; int count;" \
                " void (*act)(int *); const char *name; int *lives; };"
        functions = "static int lives%s; static void twice(int *v) { *v *= 2; }" \
                    "static void thrice(int *v) { *v *= 3; }"
        first = module(
            1, types % "", statics=functions % " = 3" + "static struct st *root;",
            start="struct st *s = keel_state(k, struct st); s->count = 8;"
                  "s->all = malloc(8 * sizeof *s->all);"
                  "for (int i = 0; i < 8; i++) s->all[i] = (struct item){.value = i,"
                  " .friend = &s->all[7 - i]};"
                  "s->third = &s->all[3]; s->value = &s->all[5].value; s->act = thrice;"
                  "s->name = \"a literal\"; s->lives = &lives; lives = 9; root = s;",
            frame="(void)twice; root->count++;")
        second = module(
            2, types % "double weight; char tag[200];",
            statics="static int pad = 1;" + functions % " = 3" + "static struct st *root;",
            frame="if (f->index == 9999999) root = (struct st *)k, pad++, lives++; (void)twice;",
            look="struct st *s = keel_state(k, struct st); int bad = s != root;"
                 "for (int i = 0; i < 8; i++) bad += s->all[i].value != i ||"
                 " s->all[i].friend != &s->all[7 - i] || s->all[i].weight != 0;"
                 "bad += 10 * (s->third != &s->all[3]) + 20 * (s->value != &s->all[5].value);"
                 "bad += 100 * (s->act != thrice) + 200 * !!strcmp(s->name, \"a literal\") +"
                 " 400 * (s->lives != &lives);"
                 "s->act(s->value); bad += 1000 * (s->all[5].value != 15);"
                 "keel_info(k, \"bad %d, lives %d\", bad, lives);")
        host = self.swapped(first, second)
        host.wait("bad 0, lives 9")
        host.end()

    def test_rollback_keeps_what_happened_since(self):
        types = "struct pair { int a; %s };struct st { struct pair p[4]; unsigned n; %s };"
        first = module(1, types % ("int b;", "char note[16];"),
                       start="struct st *s = keel_state(k, struct st); for (int i = 0; i < 4; i++)"
                             " s->p[i] = (struct pair){i, 10 + i}; strcpy(s->note, \"keep me\");",
                       frame="struct st *s = keel_state(k, struct st); if (s->n > 1000)"
                             " { keel_info(k, \"back: %s, %d %d %d\", s->note, s->p[3].a,"
                             " s->p[3].b, (int)(s->n > 1000)); s->n = 0; }")
        second = module(2, types % ("long c; long b;", "long more[20];"),
                        frame="struct st *s = keel_state(k, struct st); s->p[3].a = 77;"
                              "s->n += 2000;"
                              "if (s->more[0]++ > 20) { %s }" % CRASH)
        host = self.swapped(first, second)
        host.wait(r"dropped: note \(char\[16\], 1 not empty\)")
        host.wait("back: keep me, 77 13 1")
        host.wait("rolled back.*what happened since went back by the rules")
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def test_numbers_enums_bits_and_renames(self):
        first = module(
            1, "enum mode { IDLE, RUN = 5, HALT };"
               "struct st { signed char small; unsigned bits : 5, more : 3; enum mode mode;"
               " float ratio; int old_name; unsigned char flag; int grid[2][3]; struct { int x, y; }"
               " at; };",
            start="struct st *s = keel_state(k, struct st); *s = (struct st){.small = -3, .bits = 17,"
                  " .more = 6, .mode = HALT, .ratio = 0.25f, .old_name = 41, .flag = 1,"
                  " .grid = {{1, 2, 3}, {4, 5, 6}}, .at = {8, 9}};")
        second = module(
            2, "enum mode { HALT = 1, WAIT, RUN, IDLE };"
               "struct st { long grid[3][4]; double ratio; _Bool flag; long small; enum mode mode;"
               " int more; unsigned bits : 9; int new_name; struct { long y, z, x; } at; };",
            more="KEEL_RENAMED(struct st, old_name, new_name)",
            look="struct st *s = keel_state(k, struct st);"
                 "keel_info(k, \"%ld %u %d mode %d, %g %d %d, %ld %ld %ld %ld, %ld %ld %ld\","
                 " s->small, s->bits, s->more, s->mode == HALT, s->ratio, s->new_name, s->flag,"
                 " s->grid[0][2], s->grid[1][0], s->grid[1][3], s->grid[2][0], s->at.x, s->at.y,"
                 " s->at.z);")
        host = self.swapped(first, second)
        host.wait("-3 17 6 mode 1, 0.25 41 1, 3 4 0 0, 8 9 0")
        host.end()


if __name__ == "__main__":
    keeltest.main()
