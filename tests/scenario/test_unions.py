"""Unions of which KEEL_UNION tells the member that counts: carried over, shown and set by name, in
real hosts; what isn't told is refused."""
import itertools
import os
import unittest

import keeltest
from keeltest import build
from test_migrate import module

KIND = "enum kind { NONE, CIRCLE, BOX, LINK, CALL };"
ITEM = "struct item { int value; %s };"
CASES = "KEEL_WHEN(CIRCLE, circle) KEEL_WHEN(BOX, box) KEEL_WHEN(LINK, link) KEEL_WHEN(CALL, call)"
SAID = "KEEL_UNION(struct shape, as, kind, %s)" % CASES
UNION = "union { struct { %s } circle; struct { int w, h; } box; struct item *link;" \
        " int (*call)(int); }"
SHAPE = "struct shape { int id; enum kind kind; %s as; }; struct st { int n; struct shape s[40];" \
        " struct item *items; };"
CALLS = "static int one(int x) { return x + 1; } static int two(int x) { return x + 2; }"
FILL = r"""
struct st *s = keel_state(k, struct st);
s->items = malloc(40 * sizeof *s->items);
for (int i = 0; i < 40; i++) {
    struct shape *p = &s->s[i];
    s->items[i].value = 1000 + i;
    p->id = i;
    p->kind = i % 5 == 0 ? NONE : i % 5 == 1 ? CIRCLE : i % 5 == 2 ? BOX : i % 5 == 3 ? LINK : CALL;
    if (p->kind == CIRCLE) p->as.circle.r = (float)i;
    if (p->kind == BOX) { p->as.box.w = i; p->as.box.h = -i; }
    if (p->kind == LINK) p->as.link = &s->items[i];
    if (p->kind == CALL) p->as.call = i % 2 ? one : two;
}
s->n = 40;
"""
LOOK = r"""
struct st *s = keel_state(k, struct st);
int wrong = 0;
for (int i = 0; i < s->n; i++) {
    struct shape *p = &s->s[i];
    enum kind want = i % 5 == 0 ? NONE : i % 5 == 1 ? CIRCLE : i % 5 == 2 ? BOX : i % 5 == 3 ? LINK : CALL;
    wrong += p->id != i || p->kind != want;
    if (p->kind == CIRCLE) wrong += p->as.circle.r != i;
    if (p->kind == BOX) wrong += p->as.box.w != i || p->as.box.h != -i;
    if (p->kind == LINK) wrong += p->as.link != &s->items[i] || p->as.link->value != 1000 + i;
    if (p->kind == CALL) wrong += p->as.call(5) != (i % 2 ? 6 : 7);
}
keel_info(k, "of %d wrong %d", s->n, wrong);
"""


def shapes(number, *, kind=KIND, item="", union=UNION % "float r;", said=SAID, look=LOOK, calls=CALLS, **more):
    return module(number, kind + ITEM % item + SHAPE % union + said, statics=calls + "int (*fx_kept[])(int) = {one, two};",
                  start=FILL if number == 1 else "", look=look,
                  frame="if (f->index == 99999999) keel_info(k, \"%d\", fx_kept[f->dt > 5](1));", **more)


class Unions(keeltest.KeelTest):
    def after(self, first, second):
        """What the log says of going from one build to the other."""
        host = self.running(first, "--probation", "3")
        mark = host.mark()
        self.place(second)
        said = host.wait("build 2 runs|m: refused.*|taken back out.*", after=mark).string
        texts = host.texts("of 40 wrong", mark)
        host.end()
        return said, texts

    def right(self, first, second):
        said, texts = self.after(first, second)
        self.assertEqual(texts, ["m: of 40 wrong 0"], said)

    def test_the_member_that_counts_is_converted(self):
        other = "enum kind { NONE, BOX = 7, CALL, CIRCLE, LINK = -3 };"
        grown = "union { struct item *link; struct { char more[30]; double r; } circle;" \
                " struct { int64_t h, w; } box; int (*call)(int); }"
        swapped = "static int two(int x) { return x + 2; } static int pad(int x) { return x * 3; }" \
                  "static int one(int x) { return x + 1; }"
        for compiler, level in itertools.product(("gcc", "clang"), ("-O0", "-O2")):
            with self.subTest(compiler=compiler, level=level):
                self.right(shapes(1, compiler=compiler, flags=[level]),
                           shapes(2, kind=other, item="double weight;", union=grown, calls=swapped,
                                  compiler=compiler, flags=[level, "-Wno-unused-function"]))

    def test_pointers_in_an_unchanged_union_follow(self):
        self.right(shapes(1), shapes(2, item="char more[50];"))

    def test_it_may_be_said_when_it_is_needed_first(self):
        grown = UNION % "char more[30]; double r;"
        self.right(shapes(1, said=""), shapes(2, kind="enum kind { BOX = 4, LINK, NONE = 0, CALL, CIRCLE };",
                                              union=grown, item="long more;"))

    def test_unsaid_it_is_refused(self):
        said, _ = self.after(shapes(1, said=""),
                             shapes(2, said="", union=UNION % "char more[30]; double r;"))
        self.assertRegex(said, r"struct st\.s\[\]\.as: the union changes, which of its members counts")
        self.assertIn("KEEL_UNION", said)
        said, _ = self.after(shapes(1, said=""), shapes(2, said="", item="char more[50];"))
        self.assertRegex(said, r"struct st\.s\[\]\.as: a union that may point to a struct item")

    def test_what_a_tag_means_that_was_not_said(self):
        some = "KEEL_UNION(struct shape, as, kind, KEEL_WHEN(CIRCLE, circle) KEEL_WHEN(LINK, link))"
        said, _ = self.after(shapes(1, said=some),
                             shapes(2, said=some, union=UNION % "char more[30]; double r;"))
        self.assertRegex(said, r"struct st\.s\[\]\.as: the union changes, its tag is 2, for which "
                               r"KEEL_UNION names no member")
        # Unchanged, and nothing in it that moves: as it is.
        host = self.running(shapes(1, said=some.replace(" KEEL_WHEN(LINK, link)", "")), "--probation", "3")
        self.place(shapes(2, said="", calls=CALLS + "int pad;", look=""))
        host.wait("build 2 runs")
        host.end()

    def test_a_member_that_is_gone_must_not_be_in_use(self):
        gone = "union { struct { double r; } circle; struct item *link; int (*call)(int); }"
        said, _ = self.after(shapes(1), shapes(2, union=gone, look="(void)keel_state(k, struct st);", said=SAID.replace(
            "KEEL_WHEN(BOX, box)", "")))
        self.assertRegex(said, r"struct st\.s\[\]\.as\.box: the union has it no longer")

    def test_what_is_said_wrongly_is_refused(self):
        for said, why in (
                ("KEEL_UNION(struct shape, body, kind, KEEL_WHEN(1, box))",
                 "KEEL_UNION.struct shape, body, kind, ….: there is no union called body"),
                ("KEEL_UNION(struct shape, as, sort, KEEL_WHEN(1, box))",
                 "there is no integer or enum called sort"),
                ("KEEL_UNION(struct shape, as, kind, KEEL_WHEN(1, sphere))",
                 "the union has no sphere")):
            text, _ = self.after(shapes(1), shapes(2, said=said, item="int more;"))
            self.assertRegex(text, why)

    def test_members_renamed(self):
        named = (UNION % "double r;").replace("box;", "rect;")
        said = SAID.replace("box)", "rect)") + "KEEL_RENAMED(struct shape, box, rect)"
        self.right(shapes(1), shapes(2, union=named, said=said, look=LOOK.replace("as.box", "as.rect")))

    def test_without_a_name_nested_and_with_bits(self):
        types = "struct item { int value; %(item)s };" \
                "struct inner { unsigned deep : 1, sort : 3; union { struct item *to; %(real)s real; }; };" \
                "struct st { %(more)s struct { union { struct inner in; int plain; }; short what; };" \
                " struct inner list[2][3]; struct item items[6]; };" \
                "KEEL_UNION(struct inner, , sort, KEEL_WHEN(1, to) KEEL_WHEN(2, real))" \
                "KEEL_UNION(struct st, , what, KEEL_WHEN('i', in) KEEL_WHEN('p', plain))"
        first = module(
            1, types % {"item": "", "real": "float", "more": ""},
            start="struct st *s = keel_state(k, struct st); s->what = 'i'; s->in.sort = 1;"
                  "s->in.to = &s->items[4]; for (int i = 0; i < 6; i++) { s->items[i].value = i;"
                  "struct inner *n = &s->list[i / 3][i % 3]; n->sort = 1 + i % 2;"
                  "if (i % 2) n->real = (float)i / 2; else n->to = &s->items[i]; }")
        second = module(
            2, types % {"item": "char more[9];", "real": "double", "more": "char grown[100];"},
            look="struct st *s = keel_state(k, struct st); int wrong = s->what != 'i' ||"
                 " s->in.sort != 1 || s->in.to != &s->items[4]; for (int i = 0; i < 6; i++) {"
                 "struct inner *n = &s->list[i / 3][i % 3]; wrong += s->items[i].value != i ||"
                 " n->sort != 1u + (unsigned)i % 2 || (i % 2 ? n->real != i / 2. : n->to != &s->items[i]); }"
                 "keel_info(k, \"of 40 wrong %d\", wrong);")
        self.right(first, second)

    def test_a_union_that_begins_with_its_tag(self):
        types = "struct key { unsigned type; int code; }; struct text { unsigned type; %s bytes[%d]; };" \
                "union event { unsigned type; struct key key; struct text text; };" \
                "struct st { union event all[8]; union event *one; };" \
                "KEEL_UNION(union event, , type, KEEL_WHEN(0, type) KEEL_WHEN(1, key) KEEL_WHEN(2, text))"
        first = module(1, types % ("char", 8),
                       start="struct st *s = keel_state(k, struct st); s->one = keel_new(k, union event);"
                             "s->one->key = (struct key){1, 77}; for (unsigned i = 0; i < 8; i++) {"
                             "s->all[i].type = i % 3; if (i % 3 == 1) s->all[i].key.code = (int)i;"
                             "if (i % 3 == 2) strcpy(s->all[i].text.bytes, \"some\"); }")
        second = module(
            2, types % ("int pad; char", 20),
            look="struct st *s = keel_state(k, struct st); int wrong = s->one->key.type != 1 ||"
                 " s->one->key.code != 77; for (unsigned i = 0; i < 8; i++) wrong += s->all[i].type != i % 3"
                 " || (i % 3 == 1 && s->all[i].key.code != (int)i)"
                 " || (i % 3 == 2 && strcmp(s->all[i].text.bytes, \"some\"));"
                 "keel_info(k, \"of 40 wrong %d\", wrong);")
        self.right(first, second)

    def test_what_lies_behind_it_is_of_no_member(self):
        types = "struct item { int value; %s }; struct st { int kind; union { struct item *to; double real; } as;" \
                " int behind; struct item item; };" \
                "KEEL_UNION(struct st, as, kind, KEEL_WHEN(1, to) KEEL_WHEN(2, real))"
        look = "struct st *s = keel_state(k, struct st); keel_info(k, \"of 40 wrong %d\", s->behind != 77 ||" \
               " s->as.to != &s->item);"
        self.right(module(1, types % "", start="struct st *s = keel_state(k, struct st); s->kind = 1;"
                                               "s->as.to = &s->item; s->behind = 77;"),
                   module(2, types % "char more[20];", look=look))

    def test_in_cxx(self):
        text = r"""/* C++ */ #include <keel/keel.h>
        static int told KEEL_CACHE = 0;
        namespace ns { enum class Kind : uint8_t { None, Num = 3, Ref };
        struct Item { int value; %(item)s };
        struct Cell { Kind kind; union { %(num)s num; Item *ref; }; };
        struct World { Cell cells[10]; Item *items; }; }
        KEEL_UNION(ns::Cell, , kind, KEEL_WHEN(ns::Kind::Num, num) KEEL_WHEN(ns::Kind::Ref, ref))
        static int32_t start(keel *k) {
            auto *w = keel_state(k, ns::World);
            w->items = new ns::Item[10]();
            for (int i = 0; i < 10; i++) {
                w->items[i].value = i;
                w->cells[i].kind = i %% 2 ? ns::Kind::Num : ns::Kind::Ref;
                if (i %% 2) w->cells[i].num = static_cast<%(num)s>(i); else w->cells[i].ref = &w->items[i];
            }
            return 0;
        }
        static void frame(keel *k, const struct keel_frame *) {
            auto *w = keel_state(k, ns::World);
            if (told) return;
            told = 1;
            int wrong = 0;
            for (int i = 0; i < 10; i++)
                wrong += i %% 2 ? w->cells[i].num != static_cast<%(num)s>(i) : w->cells[i].ref->value != i;
            if (%(number)d == 2) keel_info(k, "of 40 wrong %%d", wrong);
            keel_info(k, "build %(number)d runs");
        }
        KEEL_MODULE("m", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
        """
        for compiler in ("g++", "clang++"):
            self.right(build(text % {"item": "", "num": "float", "number": 1}, compiler=compiler,
                             flags=["-Wpedantic"]),
                       build(text % {"item": "double pad;", "num": "double", "number": 2},
                             compiler=compiler, flags=["-Wpedantic", "-O2"]))

    def test_unused_sections_are_thrown_away(self):
        flags = ["-O2", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
        for linker in ("bfd", "lld"):
            if not keeltest.shutil.which("ld." + linker):
                continue
            with self.subTest(linker=linker):
                self.right(shapes(1, flags=flags + ["-fuse-ld=" + linker]),
                           shapes(2, item="char more[50];", union=UNION % "double r;",
                                  flags=flags + ["-fuse-ld=" + linker]))

    def test_the_plan_is_foretold(self):
        done = self.keel("diff", shapes(1), shapes(2, union=UNION % "double r;"))
        self.assertIn("as: by its tag", done.stdout)
        done = self.keel("diff", shapes(1, said=""), shapes(2, said="", union=UNION % "double r;"))
        self.assertIn("as: a union that changes and has no KEEL_UNION: must be zero", done.stdout)

    def state(self, *args, ok=True):
        done = self.keel("state", *args)
        self.assertEqual(done.returncode == 0, ok, done.stdout + done.stderr)
        return done.stdout if ok else done.stderr

    def test_shown_and_set_by_name(self):
        kept, before = os.path.join(self.dir, "kept"), os.path.join(self.dir, "before")
        host = self.running(shapes(1), "--state", kept)
        host.end()
        name = [n for n in os.listdir(kept) if n.endswith(".state")][0]
        path = os.path.join(kept, name)
        shown = keeltest.json.loads(self.state("dump", path, "s"))
        self.assertEqual(shown[1]["as"], {"circle": {"r": 1}})
        self.assertEqual(shown[2]["as"], {"box": {"w": 2, "h": -2}})
        self.assertRegex(shown[4]["as"]["call"], "m: two")
        self.assertTrue(shown[0]["as"].startswith("hex:"))
        self.assertEqual(self.state("dump", path, "s[3].as.link.value"), "1003\n")
        keeltest.shutil.copy(path, before)
        self.state("set", path, "s[2].as.box.w=55")
        self.assertEqual(self.state("dump", path, "s[2].as.box"), '{"w": 55, "h": -2}\n')
        text = self.keel("state", "diff", before, path).stdout
        self.assertIn(".s[2].as.box.w: 2 → 55", text)
        self.state("set", path, "s[1].as.circle.r=0.5")
        text = self.keel("state", "diff", before, path).stdout
        self.assertIn(".s[1].as.circle.r: 1 → 0.5", text)
        self.assertIn('has no "circle", by its tag it holds box',
                      self.state("set", path, "s[2].as.circle.r=1", ok=False))
        self.state("set", path, "s[2].kind=CIRCLE")
        self.state("set", path, "s[2].as.circle.r=7.5")
        self.assertEqual(self.state("dump", path, "s[2].as"), '{"circle": {"r": 7.5}}\n')


if __name__ == "__main__":
    unittest.main(verbosity=2)
