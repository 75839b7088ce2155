"""Types whose meaning changed, by KEEL_CONVERT in the new build alone: mixed with the rules, first in the
trial, refused with its own words, and taken back."""
import unittest

import keeltest
from keeltest import build
from test_migrate import module

OLD = "struct order { int id; double price; char side[8]; struct order *next; };"
NEW = "struct order { int id; int64_t price; int side; struct order *next; struct order *best; };"
BOOK = "struct book { %s struct order *first; struct order fixed[2]; int count; };"
MORE = BOOK % "double weight;"
FILL = r"""
struct book *b = keel_state(k, struct book);
for (int i = 0; i < 300; i++) {
    struct order *o = keel_new(k, struct order);
    o->id = i; o->price = i * 0.25; strcpy(o->side, i % 3 ? "buy" : "sell"); o->next = b->first;
    b->first = o; b->count++;
}
b->fixed[1].price = 12.5; spare.price = 7.75;
"""
CONVERT = r"""
static int32_t order_2(keel *k, struct order *now, const struct keel_old *old)
{
    char side[8];
    (void)k;
    keel_old_text(old, "side", side, sizeof side);
    now->side = side[0] == 's' ? -1 : side[0] == 'b';
    now->price = (int64_t)(keel_old_f64(old, "price") * 100);
    now->best = keel_old_i64(old, "id") % 2 ? now->next : now;
    calls++;
    return 0;
}
KEEL_CONVERT(struct order, 2, order_2)
"""
SPARE = "static struct order spare; static int calls;"
LOOK = r"""
struct book *b = keel_state(k, struct book); int wrong = 0, n = 0;
for (struct order *o = b->first; o; o = o->next, n++)
    wrong += o->id != 299 - n || o->price != o->id * 25 || o->side != (o->id % 3 ? 1 : -1) ||
             o->best != (o->id % 2 ? o->next : o);
wrong += b->fixed[1].price != 1250 || spare.price != 775 || b->fixed[0].price || b->weight;
keel_info(k, "of %d wrong %d, %d calls", n, wrong, calls);
"""
KEEP = "__asm__ volatile(\"\" ::\"r\"(&spare) : \"memory\"); calls += f->index == 99999999;"


def old(**more):
    return module(1, OLD + BOOK % "", statics=SPARE, start=FILL, frame=KEEP, **more)


def new(number=2, convert=CONVERT, look=LOOK, types=NEW + MORE, frame=KEEP, **more):
    return module(number, types, statics=SPARE + convert, look=look, frame=frame, **more)


class Convert(keeltest.KeelTest):
    def test_every_object_of_it_wherever_it_lies(self):
        for compiler, flags in (("gcc", ["-O0"]), ("gcc", ["-O2", "-Wl,--gc-sections"]), ("clang", ["-O0"]),
                                ("clang", ["-O2", "-fuse-ld=lld", "-Wl,--gc-sections"])):
            with self.subTest(compiler=compiler, flags=flags):
                host = self.running(old(compiler=compiler), "--probation", "3")
                self.place(new(compiler=compiler, flags=flags))
                host.wait("of 300 wrong 0, 303 calls")
                host.wait("migrated .*300 × struct order.* 303 by KEEL_CONVERT")
                self.assertEqual(host.texts("refused|taken back|rolled back"), [])
                # The same version: nothing of it runs again.
                mark = host.mark()
                host.frames_pass(5)
                self.place(new(3, types=NEW.replace("int side;", "int side; char note[30];") + MORE,
                               compiler=compiler, flags=flags))
                host.wait("of 300 wrong 0, 303 calls", after=mark)
                host.end()

    def test_what_means_something_else_at_the_same_place(self):
        types = "struct wheel { float angle; int turns; }; struct car { struct wheel w[4]; };"
        host = self.running(module(1, types, start="for (int i = 0; i < 4; i++) keel_state(k, struct car)->w[i]."
                                                   "angle = 90.f * (float)i;"), "--probation", "3")
        self.place(module(
            2, types, statics="static int32_t radians(keel *k, struct wheel *now, const struct keel_old *old) {"
                              "(void)k; (void)old; now->angle *= 3.14159f / 180; return 0; }"
                              "KEEL_CONVERT(struct wheel, 1, radians)",
            look="keel_info(k, \"angle %.2f\", (double)keel_state(k, struct car)->w[2].angle);"))
        host.wait("angle 3.14")
        host.end()

    def refused(self, body, reason):
        convert = CONVERT.replace("(void)k;", body + " (void)k;")
        host = self.running(old(), "--probation", "3")
        mark = host.mark()
        self.place(new(convert=convert))
        said = host.wait("m: refused: .*|build 2 runs", after=mark).string
        self.assertRegex(said, r"struct (order|book.fixed..).*" + reason)
        self.assertEqual(host.slot()["generation"], 1)
        host.end()

    def test_it_refuses_in_its_own_words(self):
        self.refused("if (now->id == 7) return keel_fail(k, KEEL_EDATA, \"order %d is odd\", now->id);",
                     "its KEEL_CONVERT answered EDATA: order 7 is odd")

    def test_a_fault_in_it_is_found_in_the_trial(self):
        self.refused("if (now->id == 7) *(volatile int *)8 = 1;", "crashed|read|wrote")

    def test_a_question_without_an_answer(self):
        self.refused("(void)keel_old_f64(old, \"prise\");",
                     "it asks for prise, which the old one hasn't")
        self.refused("(void)keel_old_f64(old, \"side\");",
                     "it asks for side, which the old one has as something else")

    def test_asking_is_free_and_the_version_is_told(self):
        host = self.running(old(), "--probation", "3")
        self.place(new(convert=CONVERT.replace(
            "(void)k;", "(void)k; if (keel_old_bytes(old, \"venue\", NULL, 0) != KEEL_ENOTFOUND ||"
                        " keel_old_bytes(old, \"side\", NULL, 0) != 8 || old->version) return -1;"
                        "char c; if (keel_old_bytes(old, \"side[1]\", &c, 1) != 1) return -2;")))
        host.wait("of 300 wrong 0, 303 calls")
        host.end()

    def test_the_way_back_is_what_they_were(self):
        first = module(1, OLD + BOOK % "", statics=SPARE, start=FILL, frame=KEEP,
                       look="struct book *b = keel_state(k, struct book); int wrong = 0, n = 0;"
                            "for (struct order *o = b->first; o; o = o->next, n++) wrong += o->id != 299 - n ||"
                            " o->price != o->id * 0.25 || strcmp(o->side, o->id % 3 ? \"buy\" : \"sell\");"
                            "keel_info(k, \"back %d wrong %d, %.2f %.2f count %d\", n, wrong, b->fixed[1].price,"
                            " spare.price, b->count);",
                       more="")
        host = self.running(first, "--probation", "1000000")
        # Swapped, changed, and taken back: orders as they were, all else as it is.
        self.place(new(frame=KEEP + "if (f->index > 0) keel_state(k, struct book)->count = 77;"))
        host.wait("of 300 wrong 0, 303 calls")
        host.frames_pass(5)
        mark = host.mark()
        host.ask("rollback")
        said = host.wait("rolled back to 1.*", after=mark).string
        self.assertIn("what happened since went back by the rules", said)
        # A third build sees what the first one has now.
        self.place(module(4, OLD + BOOK % "char more;", statics=SPARE, frame=KEEP,
                          look="struct book *b = keel_state(k, struct book); int wrong = 0, n = 0;"
                               "for (struct order *o = b->first; o; o = o->next, n++) wrong += o->id != 299 - n ||"
                               " o->price != o->id * 0.25 || strcmp(o->side, o->id % 3 ? \"buy\" : \"sell\");"
                               "keel_info(k, \"back %d wrong %d, %.2f %.2f count %d\", n, wrong,"
                               " b->fixed[1].price, spare.price, b->count);"))
        host.wait(r"back 300 wrong 0, 12.50 7.75 count 77")
        host.end()

    def test_one_made_since_takes_the_state_of_the_swap(self):
        host = self.running(old(), "--probation", "1000000")
        self.place(new(frame=KEEP + "static int made; if (!made) { struct order *o = keel_new(k, struct order);"
                                    "made = 1; o->next = keel_state(k, struct book)->first;"
                                    "keel_state(k, struct book)->first = o; o->id = 300; o->price = 7500; o->side = -1;"
                                    "o->best = o; }", look=LOOK.replace("299 - n", "300 - n")))
        host.wait("of 301 wrong 0")
        host.frames_pass(5)
        mark = host.mark()
        host.ask("rollback")
        said = host.wait("rolled back to 1.*", after=mark).string
        self.assertIn("with the state at the swap, since what happened since can't go back", said)
        host.wait("struct order: one was made since the swap, in another version")
        host.end()

    def test_the_build_before_may_have_its_own(self):
        back = r"""
        static int32_t order_1(keel *k, struct order *now, const struct keel_old *old)
        {
            (void)k;
            if (old->version == 2)
                now->price = (double)keel_old_i64(old, "price") / 100 + 1000;
            strcpy(now->side, keel_old_i64(old, "side") < 0 ? "sell" : "buy");
            return 0;
        }
        KEEL_CONVERT(struct order, 1, order_1)
        """
        say = "struct book *b = keel_state(k, struct book); if (f->index % 20 == 0 && b->fixed[1].price ==" \
              " 1012.5 && !strcmp(b->first->side, \"buy\")) keel_info(k, \"after right\");"
        host = self.running(module(1, OLD + BOOK % "", statics=SPARE + back, start=FILL,
                                   frame=KEEP + say), "--probation", "1000000")
        self.place(new())
        host.wait("of 300 wrong 0, 303 calls")
        mark = host.mark()
        host.ask("rollback")
        host.wait("rolled back to 1.*by the rules", after=mark)
        host.wait("after right", after=mark)
        host.end()

    def test_in_cxx(self):
        text = r"""/* C++ */ #include <keel/keel.h>
        static int told KEEL_CACHE = 0;
        namespace ns { struct Order { int id; %s price; virtual ~Order() {} }; struct Book { Order *o[5]; }; }
        %s
        static int32_t start(keel *k) { auto *b = keel_state(k, ns::Book);
            for (int i = 0; i < 5; i++) { b->o[i] = new ns::Order(); b->o[i]->price = 2 * i; } return 0; }
        static void frame(keel *k, const struct keel_frame *) {
            auto *b = keel_state(k, ns::Book);
            if (!told) keel_info(k, "price %%d", static_cast<int>(b->o[4]->price));
            if (!told) keel_info(k, "build 1 runs");
            told = 1;
        }
        KEEL_MODULE("m", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
        """
        convert = "static int32_t cents(keel *, ns::Order *now, const keel_old *old) {" \
                  " now->price = static_cast<long>(keel_old_f64(old, \"price\") * 100); return 0; }" \
                  "KEEL_CONVERT(ns::Order, 1, cents)"
        for compiler in ("g++", "clang++"):
            host = self.running(build(text % ("double", ""), compiler=compiler))
            self.place(build(text % ("long", convert), compiler=compiler, flags=["-Wpedantic", "-Werror"]))
            host.wait("price 800")
            host.end()

    def test_it_is_foretold(self):
        self.assertIn("then KEEL_CONVERT", self.keel("diff", old(), new()).stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
