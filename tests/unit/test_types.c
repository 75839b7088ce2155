/* Types from debug information: C and C++, each compiler that is here, -O0 to -O2. The sources are
 * compiled by the test; what must come out is written beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "image/anatomy_read.h"
#include "image/compare.h"
#include "image_files.h"

enum { ROOM = 16 << 20 };

static const char SOURCE_C[] =
    "#include <stdint.h>\n"
    "struct plain { char a; int b; double c; };\n"
    "struct bits { unsigned low : 3, high : 5; int wide : 20; uint64_t far : 40; };\n"
    "struct holds { int tag; union { int i; float f; struct { int16_t x, y; }; }; };\n"
    "struct tail { uint32_t count; struct plain items[]; };\n"
    "struct node { struct node *next; struct tree *tree; };\n"
    "struct tree { struct node *first; struct hidden *secret; };\n"
    "struct grid { int cells[3][5]; const char *names[4]; };\n"
    "enum colour { RED, GREEN = 5, BLUE = -7 };\n"
    "typedef struct { int x, y; } point;\n"
    "union either { int64_t whole; float part[2]; };\n"
    "struct calls { int (*hook)(struct plain *, int); volatile int flag; _Bool yes;\n"
    "               enum colour c; point p; union either e; };\n"
    "struct plain v1; struct bits v2; struct holds v3; struct tail *v4; struct node v5;\n"
    "struct grid v6; struct calls v7; struct tree v8;\n";

static const char SOURCE_CC[] =
    "#include <cstdint>\n"
    "namespace shop { struct Order { int32_t price; int32_t amount; static int made; }; }\n"
    "int shop::Order::made = 3;\n"
    "namespace { struct Hidden { int inside; }; }\n"
    "enum class Side : uint8_t { Buy, Sell = 9 };\n"
    "struct Base { virtual ~Base() {} int kind = 1; };\n"
    "struct Derived : Base { Side side; int &where; explicit Derived(int &w) : side(Side::Buy), "
    "where(w) {} };\n"
    "template <class T, int N> struct Ring { T items[N]; unsigned at; };\n"
    "class Outer { public: struct Inner { int16_t deep; }; Inner in; private: long out; };\n"
    "int place; shop::Order v1; Hidden v2; Derived v3(place); Ring<double, 4> v4; Outer v5;\n"
    "void *hidden() { return &v2; }\n";

static char folder[] = "/tmp/keel-types-XXXXXX";
static void *room;
static Anatomy seen;

static int can(const char *compiler)
{
    char command[200];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", compiler);
    return system(command) == 0;
}

/* Compiles and reads; 0 when this compiler isn't here. */
static int read_types(const char *compiler, const char *flags, const char *source,
                      const char *ending)
{
    char command[600], path[100], so[100];
    size_t bytes = 0;
    Error err = {0};
    if (!can(compiler))
        return 0;
    snprintf(path, sizeof path, "%s/m.%s", folder, ending);
    snprintf(so, sizeof so, "%s/m.so", folder);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(source, f);
    fclose(f);
    snprintf(command, sizeof command, "%s -g %s -shared -fPIC -o %s %s", compiler, flags, so, path);
    if (system(command))
        fail_msg("%s", command);
    Blob b = blob_read(so);
    if (anatomy_read(b.data, b.bytes, room, ROOM, &bytes, &err) ||
        anatomy_check(room, bytes, &seen, &err))
        fail_msg("%s: %s", command, err.text);
    free(b.data);
    unlink(path);
    unlink(so);
    return 1;
}

static const AnatomyType *type_named(const char *name)
{
    for (uint32_t i = 0; i < seen.type_count; i++)
        if (!strcmp(anatomy_string(&seen, seen.types[i].name), name))
            return &seen.types[i];
    return NULL;
}

static const AnatomyType *type(const char *name, uint32_t kind, uint64_t bytes)
{
    const AnatomyType *t = type_named(name);
    if (!t)
        fail_msg("no type %s", name);
    if (t->kind != kind || t->bytes != bytes)
        fail_msg("%s: kind %u of %lu bytes", name, t->kind, (unsigned long)t->bytes);
    return t;
}

static const AnatomyField *field(const AnatomyType *t, const char *name)
{
    for (uint32_t i = 0; i < t->field_count; i++)
        if (!strcmp(anatomy_string(&seen, seen.fields[t->first_field + i].name), name))
            return &seen.fields[t->first_field + i];
    fail_msg("%s has no %s", anatomy_string(&seen, t->name), name);
    return NULL;
}

static void has(const AnatomyType *t, const char *name, const char *type_text, uint64_t offset)
{
    const AnatomyField *f = field(t, name);
    const char *text = anatomy_string(&seen, f->type);
    if (strcmp(text, type_text) || f->offset != offset || f->bits)
        fail_msg("%s.%s: %s at %lu, %u bits", anatomy_string(&seen, t->name), name, text,
                 (unsigned long)f->offset, f->bits);
}

static void has_bits(const AnatomyType *t, const char *name, uint64_t at_bit, uint32_t bits)
{
    const AnatomyField *f = field(t, name);
    if (f->offset * 8 + f->bit != at_bit || f->bits != bits)
        fail_msg("%s: bit %lu, %u bits", name, (unsigned long)(f->offset * 8 + f->bit), f->bits);
}

static void check_c(void)
{
    assert_true(seen.flags & ANATOMY_DEBUG);
    const AnatomyType *t = type("plain", TYPE_STRUCT, 16);
    has(t, "a", "char", 0);
    has(t, "b", "int", 4);
    has(t, "c", "double", 8);
    t = type("bits", TYPE_STRUCT, 16);
    has_bits(t, "low", 0, 3);
    has_bits(t, "high", 3, 5);
    has_bits(t, "wide", 8, 20);
    has_bits(t, "far", 64, 40);
    t = type("holds", TYPE_STRUCT, 8); /* what has no name lies open */
    has(t, "i", "int", 4);
    has(t, "f", "float", 4);
    has(t, "x", "int16_t", 4);
    has(t, "y", "int16_t", 6);
    t = type("tail", TYPE_STRUCT, 8);
    assert_int_equal(field(t, "items")->offset, 8);
    t = type("node", TYPE_STRUCT, 16); /* a circle by pointers */
    has(t, "next", "struct node *", 0);
    has(t, "tree", "struct tree *", 8);
    type("tree", TYPE_STRUCT, 16);
    t = type("grid", TYPE_STRUCT, 96);
    has(t, "cells", "int[3][5]", 0);
    has(t, "names", "const char *[4]", 64);
    t = type("either", TYPE_UNION, 8);
    has(t, "part", "float[2]", 0);
    t = type("point", TYPE_STRUCT, 8); /* the name that a typedef gives */
    has(t, "y", "int", 4);
    t = type("calls", TYPE_STRUCT, 40);
    has(t, "flag", "volatile int", 8);
    has(t, "c", "enum colour", 16);
    has(t, "p", "point", 20);
    t = type("colour", TYPE_ENUM, 4);
    assert_int_equal((int64_t)field(t, "GREEN")->offset, 5);
    assert_int_equal((int64_t)field(t, "BLUE")->offset, -7);
}

static void check_cc(void)
{
    const AnatomyType *t = type("shop::Order", TYPE_STRUCT, 8);
    has(t, "price", "int32_t", 0);
    has(t, "amount", "int32_t", 4);
    assert_int_equal(t->field_count, 2); /* a static member is no part of an object */
    type("Outer", TYPE_CLASS, 16);
    t = type("Outer::Inner", TYPE_STRUCT, 2);
    has(t, "deep", "int16_t", 0);
    t = type("Side", TYPE_ENUM, 1);
    assert_int_equal(field(t, "Sell")->offset, 9);
    type("Base", TYPE_STRUCT, 16);
    t = type("Derived", TYPE_STRUCT, 24);
    assert_int_equal(field(t, "side")->offset, 12);
    assert_int_equal(field(t, "where")->offset, 16);
    t = type("Ring<double, 4>", TYPE_STRUCT, 40);
    has(t, "items", "double[4]", 0);
    t = type_named("Hidden") ? type_named("Hidden") : type_named("(anonymous namespace)::Hidden");
    assert_non_null(t);
    has(t, "inside", "int", 0);
    int statics = 0;
    for (uint32_t i = 0; i < seen.object_count; i++)
        statics += !strcmp(anatomy_string(&seen, seen.objects[i].name), "shop::Order::made");
    assert_int_equal(statics, 1);
}

static const char *const LEVELS[] = {"-O0", "-O1", "-O2", "-O2 -gdwarf-4"};

static void types_of_c(void **unused)
{
    (void)unused;
    static const char *const COMPILERS[] = {"cc", "gcc", "clang"};
    int done = 0;
    for (size_t i = 0; i < sizeof COMPILERS / sizeof *COMPILERS; i++)
        for (size_t n = 0; n < sizeof LEVELS / sizeof *LEVELS; n++)
            if (read_types(COMPILERS[i], LEVELS[n], SOURCE_C, "c")) {
                check_c();
                done++;
            }
    assert_true(done > 0);
}

static void types_of_cpp(void **unused)
{
    (void)unused;
    static const char *const COMPILERS[] = {"c++", "g++", "clang++"};
    int done = 0;
    for (size_t i = 0; i < sizeof COMPILERS / sizeof *COMPILERS; i++)
        for (size_t n = 0; n < sizeof LEVELS / sizeof *LEVELS; n++)
            if (read_types(COMPILERS[i], LEVELS[n], SOURCE_CC, "cc")) {
                check_cc();
                done++;
            }
    assert_true(done > 0);
}

/* One layout has one hash, whoever compiled it; a changed one another. */
static void hashes_are_those_of_the_layout(void **unused)
{
    (void)unused;
    static const char *const NAMES[] = {"plain", "bits",  "holds", "node",
                                        "grid",  "point", "either"};
    enum { COUNT = sizeof NAMES / sizeof *NAMES };
    Hash first[COUNT];
    char changed[sizeof SOURCE_C + 100];
    assert_true(read_types("cc", "-O0", SOURCE_C, "c"));
    for (int i = 0; i < COUNT; i++)
        first[i] = type_named(NAMES[i])->hash;
    for (int n = 0; n < 3; n++) {
        if (!read_types(n == 2 ? "clang" : "cc", n == 1 ? "-O2 -gdwarf-4" : "-O2", SOURCE_C, "c"))
            continue;
        for (int i = 0; i < COUNT; i++)
            if (!hash_equal(first[i], type_named(NAMES[i])->hash))
                fail_msg("%s: another hash by another build (%d)", NAMES[i], n);
    }
    static const char *const EDITS[][2] = {{"char a; int b;", "char a; unsigned b;"},
                                           {"high : 5", "high : 4, more : 1"},
                                           {"int16_t x, y;", "int16_t y, x;"},
                                           {"struct tree *tree;", "struct plain *tree;"},
                                           {"cells[3][5]", "cells[5][3]"},
                                           {"{ int x, y; }", "{ int x, z; }"},
                                           {"float part[2]", "int part[2]"}};
    for (int i = 0; i < COUNT; i++) {
        const char *at = strstr(SOURCE_C, EDITS[i][0]);
        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - SOURCE_C), SOURCE_C, EDITS[i][1],
                 at + strlen(EDITS[i][0]));
        assert_true(read_types("cc", "-O0", changed, "c"));
        if (hash_equal(first[i], type_named(NAMES[i])->hash))
            fail_msg("%s: the same hash for another layout", NAMES[i]);
    }
}

static void what_cannot_be_read_says_so(void **unused)
{
    (void)unused;
    assert_true(read_types("cc", "-g0", SOURCE_C, "c"));
    assert_int_equal(seen.type_count, 0);
    assert_false(seen.flags & ANATOMY_DEBUG);
    assert_true(read_types("cc", "-O2 -flto", SOURCE_C, "c"));
    assert_true(seen.flags & ANATOMY_LTO || seen.type_count == 0);
    assert_true(read_types("cc", "-gsplit-dwarf", SOURCE_C, "c"));
    assert_true(seen.flags & ANATOMY_SPLIT);
    assert_int_equal(seen.type_count, 0);
    if (read_types("clang", "-fdebug-types-section", SOURCE_C, "c"))
        check_c();
    if (read_types("gcc", "-fdebug-types-section", SOURCE_C, "c"))
        check_c();
    if (read_types("gcc", "-gz", SOURCE_C, "c"))
        check_c();
}

/* Initial values of statics that are one number. */
static void values_are_shown(void **unused)
{
    (void)unused;
    static const char BEFORE[] =
        "double gravity = 9.8; int lives = -3; unsigned char mode = 200;\n"
        "float half = 0.5f; _Bool on = 1; int zero; int list[2] = {1, 2};\n";
    static const char AFTER[] = "double gravity = 1.62; int lives = 4; unsigned char mode = 7;\n"
                                "float half = 0.25f; _Bool on = 0; int zero = 8; int list[2] = "
                                "{1, 3};\n";
    static const char *const WANTED[][2] = {
        {"gravity", "9.8 → 1.62"}, {"lives", "-3 → 4"}, {"mode", "200 → 7"}, {"half", "0.5 → 0.25"},
        {"on", "true → false"},    {"zero", "0 → 8"},   {"list", ""}};
    const char *flags = "-fvisibility=default -Wl,--emit-relocs -fdata-sections";
    void *first = malloc(ROOM);
    assert_true(read_types("cc", flags, BEFORE, "c"));
    memcpy(first, room, ROOM);
    Anatomy old, new_;
    Error err;
    size_t bytes = sizeof(uint32_t) * 8 + seen.function_count * sizeof *seen.functions;
    bytes += seen.object_count * sizeof *seen.objects + seen.section_count * sizeof *seen.sections;
    bytes += seen.type_count * sizeof *seen.types + seen.field_count * sizeof *seen.fields;
    assert_int_equal(anatomy_check(first, bytes + seen.string_bytes, &old, &err), 0);
    assert_true(read_types("cc", flags, AFTER, "c"));
    new_ = seen;
    int found = 0;
    for (uint32_t i = 0; i < old.object_count; i++)
        for (uint32_t j = 0; j < new_.object_count; j++)
            for (size_t n = 0; n < sizeof WANTED / sizeof *WANTED; n++) {
                const AnatomyObject *x = &old.objects[i], *y = &new_.objects[j];
                char text[48];
                if (strcmp(anatomy_string(&old, x->name), WANTED[n][0]) ||
                    strcmp(anatomy_string(&new_, y->name), WANTED[n][0]))
                    continue;
                compare_values(x, y, text, sizeof text);
                assert_string_equal(text, WANTED[n][1]);
                found++;
            }
    assert_int_equal(found, 7);
    free(first);
}

static int set_up(void **unused)
{
    (void)unused;
    room = malloc(ROOM);
    return mkdtemp(folder) && room ? 0 : -1;
}

static int clean_up(void **unused)
{
    char command[100];
    (void)unused;
    free(room);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_c),
        cmocka_unit_test(types_of_cpp),
        cmocka_unit_test(hashes_are_those_of_the_layout),
        cmocka_unit_test(what_cannot_be_read_says_so),
        cmocka_unit_test(values_are_shown),
    };
    return cmocka_run_group_tests_name("types", tests, set_up, clean_up);
}
