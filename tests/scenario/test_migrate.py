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
        said = host.wait(r"migrated .*500 × struct order.* in \d+\.\d ms; ").string
        self.assertIn("1 × struct book", said)
        self.assertIn("struct order: venue = 0 for all", said)
        self.assertIn("struct book: depth = 0 for all", said)
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

    def test_what_is_libcs_stays_and_is_told(self):
        types = "struct st { %s const char *path; int n; };"
        first = module(1, types % "", start="keel_state(k, struct st)->path = getenv(\"PATH\");")
        host = self.swapped(first, module(
            2, types % "long more;", look="if (keel_state(k, struct st)->path == getenv(\"PATH\"))"
                                          " keel_info(k, \"the same path\");"))
        host.wait("the same path")
        host.wait(r"more = 0 for all; struct st.path points outside of the state .* stays as it is")
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
        host.wait(r"dropped: note \(char\[16\], 1 not empty; kept until probation ends\)")
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

    def test_names_tell_statics_apart(self):
        """One name in two functions that change places, in a header's inline function, twice in one."""
        start = "a(1, 11); b(1, 22); inl(33);"
        look = "keel_info(k, \"a %d b %d inl %d\", a(0, 0), b(0, 0), inl(0));"
        keep = "__attribute__((noinline)) static void touch(int *p) { __asm__ volatile(\"\" :: \"r\"(p)" \
               " : \"memory\"); }"
        a = "__attribute__((noinline)) static int a(int set, int v) { static int n; touch(&n);" \
            " if (set) n = v; return n; }"
        b = a.replace("int a(", "int b(")
        inl = "static inline int inl(int v) { static int n; touch(&n); if (v) n = v; return n; }"
        for flags in (["-O0"], ["-O2"]):
            first = module(1, "", statics=keep + a + b + inl, start=start, look=look, flags=flags)
            second = module(2, "", statics=keep + "static int n = 4;" + inl + b + a, look=look,
                            frame="touch(&n);", flags=flags)
            host = self.swapped(first, second)
            host.wait("build 2 runs")
            self.assertEqual(host.texts("^m: a "), ["m: a 11 b 22 inl 33"] * 2)
            host.end()
        twice = "static int c(int v) { { static int n; touch(&n); n += v; } { static int n; touch(&n);" \
                " n -= v; return n; } }"
        host = self.running(module(1, "", statics=keep + twice, frame="c(1);"))
        self.place(module(2, "", statics=keep + twice + "static int more = 1;",
                          frame="touch(&more); c(1);"))
        said = host.wait(r"refused: .*c\.n: there is more than one static of this name").string
        self.sentence(said)
        host.end()

    def test_folded_functions_are_not_guessed(self):
        """Identical functions that the linker made one: which was meant can't be told once they differ."""
        if not keeltest.shutil.which("ld.lld"):
            self.skipTest("no lld, which folds")
        types = "struct st { int (*act)(int); };"
        two = "__attribute__((noinline)) static int one(int x) { return x * 3; }" \
              "__attribute__((noinline)) static int two(int x) { return x * %d; }"
        use = "struct st *s = keel_state(k, struct st); if (f->index == 1 << 30) s->act = " \
              "f->dt > 0 ? one : two; s->act(1);"
        start = "struct st *s = keel_state(k, struct st); s->act = one; if (!k) s->act = two;"
        host = self.running(build(MODULE % {
            "number": 1, "types": types, "statics": two % 3, "start": start, "frame": use,
            "look": "", "more": "", "entries": ""}, linker="lld", link=["-Wl,--icf=all"]))
        self.place(module(2, types, statics=two % 4, frame=use))
        said = host.wait(r"refused: .*struct st\.act: it points to the function (one|two), of which")
        self.sentence(said.string)
        self.place(build(MODULE % {
            "number": 3, "types": types, "statics": "int pad;" + two % 3, "start": start,
            "frame": use, "look": "", "more": "", "entries": ""}, linker="lld",
            link=["-Wl,--icf=all"]))
        host.wait("build 3 runs")
        host.end()

    def test_what_malloc_holds_is_not_guessed(self):
        item = "struct item { %s int a; struct item *next; };"
        types = item + "struct st { void *user; struct item *list; };"
        start = "struct st *s = keel_state(k, struct st); s->user = calloc(1, sizeof(struct item));"
        look = "struct st *s = keel_state(k, struct st); struct item *i = s->user; (void)i;"
        host = self.running(module(1, types % "", start=start, frame=look))
        self.place(module(2, types % "double more;", frame=look))
        said = host.wait("refused: .*a block of 16 bytes is reached only by pointers that don't tell"
                         " its type: it may hold a struct item").string
        self.sentence(said)
        host.end()

    def test_there_and_back_a_thousand_times(self):
        self.there_and_back(60)

    @keeltest.long
    def test_there_and_back_a_thousand_times_long(self):
        self.there_and_back(1000)

    def there_and_back(self, count):
        """Types change both ways; what is there doesn't, and nothing piles up."""
        types = "struct item { %s int v; struct item *next; const char *name; int (*f)(int); };" \
                "struct st { int n; struct item *all; %s };"
        code = "__attribute__((noinline)) static int f(int x) { return x + 1; }"
        sum_ = "struct st *s = keel_state(k, struct st); uint64_t h = 14695981039346656037u;" \
               "for (int i = 0; i < s->n; i++) { struct item *t = &s->all[i];" \
               " h = (h ^ (unsigned)t->v) * 1099511628211u; h ^= (uint64_t)(t->next - s->all);" \
               " h = (h ^ (unsigned char)t->name[0]) * 1099511628211u; h += (unsigned)t->f(i); }" \
               "keel_info(k, \"hash %llx\", (unsigned long long)h);"
        start = ("struct st *s = keel_state(k, struct st); s->n = 50;"
                         "s->all = malloc(50 * sizeof *s->all); for (int i = 0; i < 50; i++)"
                         " s->all[i] = (struct item){.v = i * i, .next = &s->all[(i * 7) % 50],"
                         " .name = i & 1 ? \"odd\" : \"even\", .f = f};")
        a = module(1, types % ("", ""), statics=code, start=start, look=sum_)
        b = module(2, types % ("double weight; char tag[100];", "long more;"),
                   statics="int pad = 1;" + code, start=start, look=sum_)
        host = self.running(a, "--probation", "1")
        live = None
        for i in range(count):
            mark = host.mark()
            self.place(b if i % 2 == 0 else a)
            host.wait("build %d runs" % (2 - i % 2), after=mark)
            if i % 2 and i > 10:
                now = host.slot()["state"]
                now = (now["live_objects"], now["used_bytes"])
                live = live or now
                self.assertEqual(now, live)
        self.assertEqual(len(set(host.texts("^m: hash "))), 1)
        self.assertEqual(len(host.texts("^m: hash ")), count + 1)
        host.end()

    def test_classes(self):
        head = "/* C++ */ #include <keel/keel.h>\n static int told KEEL_CACHE = 0;"
        text = head + r"""
        namespace shapes {
        struct Shape { virtual ~Shape() {} virtual int area() const = 0; %(more)s int tag; };
        struct Square : Shape { int side; int area() const override { return side * side; } };
        struct Strip : Shape { int a; int b; int area() const override { return a * b; } };
        }
        struct World { int n; shapes::Shape *shape[4]; };
        static int32_t start(keel *k) {
            World *w = keel_state(k, World);
            for (w->n = 0; w->n < 4; w->n++) {
                if (w->n %% 2) { auto *s = new shapes::Square; s->side = w->n; w->shape[w->n] = s; }
                else { auto *s = new shapes::Strip; s->a = 10; s->b = w->n; w->shape[w->n] = s; }
                w->shape[w->n]->tag = 100 + w->n;
            }
            return 0;
        }
        static void frame(keel *k, const struct keel_frame *) {
            World *w = keel_state(k, World);
            if (told) return;
            told = 1;
            int sum = 0, tags = 0;
            for (int i = 0; i < w->n; i++) { sum += w->shape[i]->area(); tags += w->shape[i]->tag; }
            keel_info(k, "area %%d tags %%d", sum, tags);
            keel_info(k, "build %(number)d runs");
        }
        KEEL_MODULE("m", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
        """
        host = self.running(build(text % {"more": "", "number": 1}))
        self.place(build(text % {"more": "double weight = 1; char name[20];", "number": 2}))
        host.wait("build 2 runs")
        self.assertEqual(host.texts("^m: area"), ["m: area 30 tags 406"] * 2)
        host.end()

    def test_keel_diff_foretells_it(self):
        types = "struct tick { %s char name[%d]; enum { A, B } side; };"
        use = "struct tick *t = keel_state(k, struct tick); t->side = A; speed++;"
        old = module(1, types % ("int price; int gone;", 16), statics="static int speed = 3;",
                     frame=use)
        new = module(2, types % ("short price; long more;", 8), statics="static int speed = 4;",
                     frame=use)
        done = self.keel("diff", old, new, "--json")
        told = keeltest.json.loads(done.stdout)["state"]
        self.assertIn("struct tick: new more; dropped: gone (int); price: int → short int; "
                      "name: must end within char[8]; 28 → 32 bytes", "\n".join(told))
        self.assertIn("static speed: starts from its new initialiser", told)
        self.assertIn("carried over so:", self.keel("diff", old, new).stdout)
        self.assertEqual(keeltest.json.loads(self.keel("diff", old, old, "--json").stdout)["state"],
                         [])

    def test_keel_diff_foretells_that_no_rule_helps(self):
        use = ("struct tick *t = keel_state(k, struct tick);"
               "{ static int n; t->price += n++; } { static int n; t->price -= n++; }")
        old, new = (module(number, "struct tick { int price; %s };" % more, frame=use)
                    for number, more in ((1, ""), (2, "long more;")))
        said = self.keel("diff", old, new).stdout
        self.assertIn("refused: frame.n: there is more than one static of this name", said)
        self.assertIn("types changed, and no rule carries the state over", said.split("\n")[-2])
        host = self.running(old)
        self.place(new)
        host.wait("more than one static of this name")
        host.end()

    def test_rollback_to_the_state_at_the_swap(self):
        types = "struct st { int n; %s };"
        first = module(1, types % "char note[16];",
                       statics="static int calls = 1;",
                       start="struct st *s = keel_state(k, struct st); strcpy(s->note, \"kept\");",
                       frame="struct st *s = keel_state(k, struct st); calls++;"
                             "if (s->n == 0 && calls > 5) s->n = 5;"
                             "if (s->n == 6) { keel_info(k, \"at the swap: %s %d\", s->note, calls);"
                             " s->n = 7; }")
        second = module(2, types % "long more;", statics="static int calls = 1;",
                        frame="struct st *s = keel_state(k, struct st); s->n = 900; s->more = 3;"
                              "calls += 100000;")
        host = self.running(first, "--probation", "1000000")
        host.until(lambda: host.slot()["frames"] > 20, "some frames")
        self.place(second)
        host.wait("build 2 runs")
        host.frames_pass(3)
        host.call("rollback", slot=0, state="before")
        host.frames_pass(3)
        self.assertEqual(host.slot()["generation"], 1)
        self.assertEqual(host.slot()["faults"], 0)
        host.wait("rolled back to 1: .*with the state at the swap")
        host.end()

    def test_a_field_of_a_reached_object_that_is_gone(self):
        types = "struct item { int a; %s int b; }; struct st { struct item *all; int *into; };"
        use = "struct st *s = keel_state(k, struct st); s->all[0].b += s->into != 0;"
        start = "struct st *s = keel_state(k, struct st); s->all = keel_new_array(k, struct item, 3);"
        host = self.running(module(1, types % "int gone;", start=start +
                                   "s->into = &s->all[1].gone;", frame=use))
        self.place(module(2, types % "", frame=use))
        said = host.wait(r"refused: .*struct st\.into: it points into a struct item, at what is no "
                         r"longer there").string
        self.sentence(said)
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def test_a_struct_without_fields_gets_its_first(self):
        work = "keel_state(k, struct st);"
        host = self.swapped(module(1, "struct st { };", start=work, frame=work),
                            module(2, "struct st { int n; };", start=work, frame=work,
                                   look="keel_info(k, \"n %d\", keel_state(k, struct st)->n);"))
        host.wait("build 2 runs")
        self.assertEqual(host.texts("^m: n "), ["m: n 0"])
        self.place(module(3, "struct st { };", start=work, frame=work))
        host.wait("build 3 runs")
        host.end()

    def test_any_number_of_nothing_is_soon_looked_at(self):
        types = "struct none { %s }; struct st { struct none *all; };"
        start = "keel_state(k, struct st)->all = keel_new_array(k, struct none, 1ull << %d);"
        for many, says in ((50, "no room in the state for"), (10, "build 2 runs")):
            host = self.swapped(module(1, types % "", start=start % many),
                                module(2, types % "int n;", start=start % many))
            host.wait(says)
            host.end()

    def test_types_of_endless_parts_are_not_followed(self):
        tower = "union u0 { int n; void *at; };" + "".join(
            f"union u{i} {{ union u{i - 1} a, b; }};" for i in range(1, 50))
        work = "keel_state(k, struct st)->n++;"
        first = module(1, tower + "struct st { union u49 u; int n; };", start=work, frame=work)
        host = self.swapped(first, module(2, tower + "struct st { int more; union u49 u; int n; };",
                                          start=work, frame=work))
        host.wait("the state's root is a `struct st` of 16 bytes")
        self.place(module(4, tower + "struct st { union u49 u; int n; };", start=work, frame=work))
        host.wait("build 4 runs")
        host.end()

    def test_damaged_records_are_not_followed(self):
        """In a page's record stands where its object begins: here behind the end of everything."""
        types = "struct order { int id; %s int left; }; struct st { struct order *all; int frames; };"
        start = "struct st *s = keel_state(k, struct st); s->all = keel_new_array(k, struct order," \
                " 4000);"
        spoil = "struct st *s = keel_state(k, struct st); if (++s->frames == 5)" \
                " for (char *info = (char *)0x550000001000, *end = info + 32 * 100; info < end;" \
                "  info += 32) if (*info == 4) { info[24 + 4] = 1; keel_info(k, \"spoilt\"); }"
        host = self.running(module(1, types % "", start=start, frame=spoil), "--trial", "off")
        host.wait("spoilt")
        self.place(module(2, types % "double price;", start=start, frame=spoil))
        host.wait("the records of the state at .* are damaged")
        self.assertEqual(host.texts("build 2 runs"), [])
        host.end()

    def test_open_arrays_and_blocks_in_blocks(self):
        types = "struct row { int n; %s struct cell { int v; struct row *home; } cells[]; };" \
                "struct st { struct row **rows; float *values; int count; };"
        start = "struct st *s = keel_state(k, struct st); s->count = 4;" \
                "s->rows = calloc(4, sizeof *s->rows); s->values = malloc(4 * sizeof *s->values);" \
                "for (int i = 0; i < 4; i++) { struct row *r = malloc(sizeof *r + 5 * sizeof" \
                " *r->cells); s->rows[i] = r; r->n = 5; s->values[i] = i * 0.5f;" \
                " for (int c = 0; c < 5; c++) r->cells[c] = (struct cell){i * 10 + c, r}; }"
        look = "struct st *s = keel_state(k, struct st); int bad = 0; for (int i = 0; i < 4; i++)" \
               " { struct row *r = s->rows[i]; bad += r->n != 5 || s->values[i] != i * 0.5;" \
               " for (int c = 0; c < 5; c++) bad += r->cells[c].v != i * 10 + c ||" \
               " r->cells[c].home != r; } keel_info(k, \"bad %d\", bad);"
        second = (types % "double wide[40];").replace("int v;", "long pad; short v;") \
            .replace("float *", "double *")
        host = self.swapped(module(1, types % "", start=start, look=look),
                            module(2, second, start=start, look=look))
        host.wait("build 2 runs")
        self.assertEqual(host.texts("^m: bad"), ["m: bad 0"] * 2)
        host.end()

    def test_what_a_pointer_meant_and_is_gone_is_named(self):
        types = "struct st { int (*act)(int); int *lives; };"
        code = "__attribute__((noinline)) static int jump(int x) { return x + 1; }"
        lives = "static int lives = 3;"
        both = "struct st *s = keel_state(k, struct st); s->act = jump; s->lives = &lives;"
        one = "struct st *s = keel_state(k, struct st); if (s->lives) *s->lives = 1;"
        host = self.running(module(1, types, statics=code + lives, start=both, frame=one))
        for statics, use, reason in (
                (lives, "static int n; n += lives++;",
                 r"struct st\.act: it points to the function jump, which the new code hasn't"),
                (code, "if (f->index == 1u << 30) s->act = jump;",
                 r"struct st\.lives: it points to the static lives, which the new code hasn't")):
            mark = host.mark()
            self.place(module(2, types, statics=statics, frame=one + use))
            self.sentence(host.wait("refused: .*" + reason, after=mark).string)
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def test_a_function_of_assembly_is_known_by_its_symbol(self):
        types = "struct st { int (*act)(int); };"
        code = "__asm__(\".pushsection .text\\nbare: lea 7(%%rdi), %%eax\\nret\\n.popsection\");" \
               "extern int bare(int) __attribute__((visibility(\"hidden\")));".replace("%%", "%")
        if keeltest.os.uname().machine != "x86_64":
            self.skipTest("assembly of x86-64")
        start = "struct st *s = keel_state(k, struct st); s->act = bare;"
        look = "struct st *s = keel_state(k, struct st); keel_info(k, \"answer %d %d\", s->act(5)," \
               " s->act == bare);"
        host = self.swapped(module(1, types, statics=code, start=start, look=look),
                            module(2, types, statics="int pad(int x) { return x * 3; }" + code,
                                   start=start, look=look))
        host.wait("build 2 runs")
        self.assertEqual(host.texts("^m: answer"), ["m: answer 12 1"] * 2)
        host.end()


if __name__ == "__main__":
    keeltest.main()
