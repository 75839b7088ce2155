/* Mach-O: real images of both processors (linked by LLVM's linker), universal ones, chained fixups,
 * instructions of arm64, and damage of every kind. */
#include "image_files.h"

#include "image/anatomy_read.h"
#include "image/arm64.h"
#include "image/compare.h"
#include "image/image.h"
#include "image/inspect.h"
#include "image/macho.h"
#include "image/macho_fixups.h"
#include "image/macho_symbols.h"

enum { ROOM = 8 << 20 };
static const char *const FILES[] = {KEEL_TEST_SEEDS "/macho/mac.x86-64",
                                    KEEL_TEST_SEEDS "/macho/mac.arm64"};

static Image *look_at(Blob b, Error *err)
{
    Image *image = NULL;
    int rc = image_look(sealed_memfd(b.data, b.bytes), b.bytes, hash_bytes(b.data, b.bytes),
                        "m.dylib", &image, err);
    return rc ? NULL : image;
}

static void an_image_says_what_it_is(void **unused)
{
    (void)unused;
    static const char *const ARCHS[] = {"x86-64", "arm64"};
    for (int i = 0; i < 2; i++) {
        Blob b = blob_read(FILES[i]);
        Error err;
        Image *image = look_at(b, &err);
        assert_non_null(image);
        assert_string_equal(image->name, "mac");
        assert_string_equal(image->version, "2.1");
        assert_int_equal(image->needs_count, 1);
        assert_string_equal(image->needs[0], "keel.log/1");
        assert_int_equal(strlen(image->build_id), 32);
        assert_non_null(strstr(image->foreign, ARCHS[i]));
        assert_int_equal(image->load_count, 3);
        image_unref(image);
        /* And never what could be loaded. */
        assert_int_equal(
            image_open(sealed_memfd(b.data, b.bytes), b.bytes, (Hash){0}, "m", &image, &err),
            KEEL_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "this host runs Linux"));
        Inspection seen;
        assert_int_equal(inspect_bytes(b.data, b.bytes, &seen, &err), 0);
        assert_int_equal(seen.needed.count, 1);
        assert_string_equal(seen.needed.item[0], "/usr/lib/libSystem.B.dylib");
        assert_int_equal(seen.exported.count, 1);
        assert_int_equal(seen.exports_module, 1);
        assert_int_equal(seen.constructors, 1);
        assert_int_equal(seen.tls_bytes, 4);
        assert_string_equal(seen.runpath, "@loader_path/lib");
        free(b.data);
    }
}

static int anatomy_of(Blob b, void *room, Anatomy *ret)
{
    size_t bytes;
    Error err;
    int rc = anatomy_read(b.data, b.bytes, room, ROOM, &bytes, &err);
    return rc ? rc : anatomy_check(room, bytes, ret, &err);
}

static const AnatomyFunction *function(const Anatomy *a, const char *name)
{
    for (uint32_t i = 0; i < a->function_count; i++)
        if (!strcmp(anatomy_string(a, a->functions[i].name), name))
            return &a->functions[i];
    fail_msg("no function %s", name);
    return NULL;
}

/* Where the image's function lies in the file, as the test finds it without the code under test:
 * these images have one segment of text, at 0 in the file. */
static uint64_t place_of(Blob b, const char *name)
{
    Macho *m = malloc(sizeof *m);
    MachoNames names;
    uint64_t at = 0;
    assert_int_equal(macho_open(b.data, b.bytes, m, NULL), 0);
    assert_int_equal(macho_names(m, &names, NULL), 0);
    for (size_t i = 0; i < names.count; i++)
        if (!strncmp(names.list[i].name, name, names.list[i].name_bytes))
            at = names.list[i].address;
    assert_true(at > 0);
    macho_names_done(&names);
    free(m);
    return at;
}

static void one_changed_function_is_one(void **unused)
{
    (void)unused;
    static char before[ROOM], after[ROOM];
    for (int i = 0; i < 2; i++) {
        Blob b = blob_read(FILES[i]);
        Anatomy a, c;
        Difference d;
        assert_int_equal(anatomy_of(b, before, &a), 0);
        assert_int_equal(a.flags & (ANATOMY_SYMBOLS | ANATOMY_RELOCS | ANATOMY_UNITS),
                         ANATOMY_SYMBOLS | ANATOMY_RELOCS | ANATOMY_UNITS);
        assert_string_equal(anatomy_string(&a, function(&a, "choose")->unit), "mac.c");
        b.data[place_of(b, "choose") + 1] ^= 1;
        assert_int_equal(anatomy_of(b, after, &c), 0);
        assert_int_equal(compare_anatomies(&a, &c, &d, NULL), 0);
        assert_int_equal(d.functions.count, 1);
        assert_string_equal(anatomy_string(&c, c.functions[d.functions.list[0].after].name),
                            "choose");
        difference_done(&d);
        free(b.data);
    }
}

static void put32(uint8_t *at, uint32_t value, int big)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (big ? 24 - 8 * i : 8 * i));
}

static void put64(uint8_t *at, uint64_t value)
{
    put32(at, (uint32_t)value, 0);
    put32(at + 4, (uint32_t)(value >> 32), 0);
}

static void a_universal_file_has_parts(void **unused)
{
    (void)unused;
    Blob x = blob_read(FILES[0]), a = blob_read(FILES[1]);
    Blob fat = {.bytes = 0x8000 + a.bytes};
    fat.data = calloc(1, fat.bytes);
    assert_non_null(fat.data);
    put32(fat.data, 0xcafebabe, 1);
    put32(fat.data + 4, 2, 1);
    const uint32_t rows[2][5] = {{MACHO_X86_64, 3, 0x1000, (uint32_t)x.bytes, 12},
                                 {MACHO_ARM64, 0, 0x8000, (uint32_t)a.bytes, 14}};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 5; k++)
            put32(fat.data + 8 + 20 * i + 4 * k, rows[i][k], 1);
    memcpy(fat.data + 0x1000, x.data, x.bytes);
    memcpy(fat.data + 0x8000, a.data, a.bytes);
    const uint8_t *part;
    size_t bytes;
    Error err;
    assert_int_equal(macho_slice(fat.data, fat.bytes, MACHO_ARM64, &part, &bytes, &err), 0);
    assert_ptr_equal(part, fat.data + 0x8000);
    assert_int_equal(bytes, a.bytes);
    assert_int_equal(macho_slice(fat.data, fat.bytes, MACHO_X86_64, &part, &bytes, &err), 0);
    assert_ptr_equal(part, fat.data + 0x1000);
    assert_int_equal(macho_slice(fat.data, fat.bytes, 7, &part, &bytes, &err), KEEL_EUNSUPPORTED);
    Image *image = look_at(fat, &err);
    assert_non_null(image);
    assert_string_equal(image->name, "mac");
    image_unref(image);
    /* Parts outside of the file, and more of them than there are. */
    put32(fat.data + 8 + 8, 0xfffff000, 1);
    assert_int_equal(macho_slice(fat.data, fat.bytes, 0, &part, &bytes, &err), KEEL_EIMAGE);
    put32(fat.data + 4, 19, 1);
    assert_int_equal(macho_slice(fat.data, 100, 0, &part, &bytes, &err), KEEL_EIMAGE);
    free(fat.data);
    free(x.data);
    free(a.data);
}

/* ---- chained fixups, which LLVM 14's linker doesn't make ---- */

enum { CHAINS_AT = 0x3000, DATA_AT = 0x2000, IMAGE_BYTES = 0x4000 };

static uint8_t *add_segment(uint8_t *c, const char *name, uint64_t address, uint64_t bytes,
                            const char *section, uint32_t protection)
{
    uint32_t sections = section ? 1 : 0;
    put32(c, 0x19, 0);
    put32(c + 4, 72 + 80 * sections, 0);
    strncpy((char *)c + 8, name, 16);
    put64(c + 24, address);
    put64(c + 32, bytes);
    put64(c + 40, address);
    put64(c + 48, bytes);
    put32(c + 60, protection, 0);
    put32(c + 64, sections, 0);
    if (section) {
        uint8_t *s = c + 72;
        uint64_t from = address ? address : 0x1000;
        strncpy((char *)s, section, 16);
        strncpy((char *)s + 16, name, 16);
        put64(s + 32, from);
        put64(s + 40, address + bytes - from);
        put32(s + 48, (uint32_t)from, 0);
    }
    return c + 72 + 80 * sections;
}

/* One page of data with a chain of three: a rebase, a bind and a bind with an addend. */
static Blob chained_image(unsigned format, unsigned import_format)
{
    static const char NAMES[] = "\0_first\0_second\0";
    Blob b = {calloc(1, IMAGE_BYTES), IMAGE_BYTES};
    assert_non_null(b.data);
    put32(b.data, 0xfeedfacf, 0);
    put32(b.data + 4, format == 1 || format > 6 ? MACHO_ARM64 : MACHO_X86_64, 0);
    put32(b.data + 12, 6, 0);
    uint8_t *c = b.data + 32;
    c = add_segment(c, "__TEXT", 0, 0x2000, "__text", 5);
    c = add_segment(c, "__DATA", DATA_AT, 0x1000, "__data", 3);
    c = add_segment(c, "__LINKEDIT", CHAINS_AT, 0x1000, NULL, 1);
    put32(c, 0x80000034, 0);
    put32(c + 4, 16, 0);
    put32(c + 8, CHAINS_AT, 0);
    put32(c + 12, 0x200, 0);
    put32(b.data + 16, 4, 0);
    put32(b.data + 20, (uint32_t)(c + 16 - (b.data + 32)), 0);
    uint8_t *h = b.data + CHAINS_AT;
    put32(h + 4, 32, 0);    /* starts */
    put32(h + 8, 0x80, 0);  /* imports */
    put32(h + 12, 0xc0, 0); /* names */
    put32(h + 16, 2, 0);
    put32(h + 20, import_format, 0);
    put32(h + 32, 3, 0);      /* segments */
    put32(h + 36 + 4, 16, 0); /* only the second has any */
    uint8_t *s = h + 32 + 16;
    put32(s, 24, 0);
    put32(s + 4, 0x1000 | format << 16, 0);
    put64(s + 8, DATA_AT);
    put32(s + 20, 1 | 0x10u << 16, 0); /* one page; its chain begins at 0x10 */
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t name = i ? 8 : 1;
        uint8_t *row = h + 0x80;
        if (import_format == 1)
            put32(row + 4 * i, name << 9, 0);
        if (import_format == 2)
            put32(row + 8 * i, name << 9, 0), put32(row + 8 * i + 4, i ? 0xfffffff8u : 0, 0);
        if (import_format == 3)
            put64(row + 16 * i, (uint64_t)name << 32),
                put64(row + 16 * i + 8, i ? ~UINT64_C(7) : 0);
    }
    memcpy(h + 0xc0, NAMES, sizeof NAMES);
    uint8_t *d = b.data + DATA_AT;
    int arm64e = format == 1 || format > 6;
    unsigned shift = 51, step = arm64e ? 1 : 2; /* in 8 or 4 bytes */
    uint64_t bind = arm64e ? UINT64_C(1) << 62 : UINT64_C(1) << 63;
    put64(d + 0x10, UINT64_C(0x1234) | (uint64_t)step << shift);
    put64(d + 0x18, bind | (uint64_t)step << shift);
    put64(d + 0x20, bind | 1 | (arm64e ? UINT64_C(0x7fff8) << 32 : UINT64_C(0x10) << 24));
    return b;
}

static void chains_are_followed(void **unused)
{
    (void)unused;
    static const unsigned FORMATS[] = {2, 6, 1, 9, 12};
    Macho *m = malloc(sizeof *m);
    for (size_t i = 0; i < 5; i++)
        for (unsigned imports = 1; imports <= 3; imports++) {
            Blob b = chained_image(FORMATS[i], imports);
            MachoFixups f;
            Error err = {0};
            if (macho_open(b.data, b.bytes, m, &err) || macho_fixups(m, &f, &err))
                fail_msg("format %u: %s", FORMATS[i], err.text);
            assert_int_equal(f.count, 3);
            assert_int_equal(f.list[0].address, DATA_AT + 0x10);
            assert_null(f.list[0].symbol);
            assert_int_equal(f.list[0].target, 0x1234);
            assert_string_equal(f.list[1].symbol, "_first");
            assert_string_equal(f.list[2].symbol, "_second");
            int64_t addend =
                (FORMATS[i] == 2 || FORMATS[i] == 6 ? 0x10 : -8) + (imports > 1 ? -8 : 0);
            assert_int_equal((int64_t)f.list[2].target, addend);
            assert_ptr_equal(macho_fixup_from(&f, DATA_AT + 0x11), &f.list[1]);
            assert_null(macho_fixup_from(&f, DATA_AT + 0x21));
            macho_fixups_done(&f);
            free(b.data);
        }
    free(m);
}

/* Every word of the chains' tables, one after the other, as large as can be. */
static void damaged_chains_are_refused(void **unused)
{
    (void)unused;
    static const uint32_t WORDS[] = {0xffffffff, 0x7fffffff, 0x80000000, 0xffff, 0x1ff, 0};
    Macho *m = malloc(sizeof *m);
    int refused = 0;
    for (size_t at = 0; at < 0xd8; at += 2)
        for (size_t w = 0; w < sizeof WORDS / sizeof *WORDS; w++) {
            Blob b = chained_image(6, 1);
            MachoFixups f = {0};
            Error err = {0};
            put32(b.data + CHAINS_AT + at, WORDS[w], 0);
            if (!macho_open(b.data, b.bytes, m, &err) && macho_fixups(m, &f, &err)) {
                assert_true(*err.text && err.code < 0);
                refused++;
            }
            macho_fixups_done(&f);
            free(b.data);
        }
    assert_true(refused > 50);
    free(m);
}

/* ---- damage ---- */

static void whatever(Blob b, void *room)
{
    static Inspection seen;
    Error err = {0};
    Anatomy a;
    if (inspect_bytes(b.data, b.bytes, &seen, &err))
        assert_true(*err.text);
    Image *image = look_at(b, &err);
    image_unref(image);
    anatomy_of(b, room, &a);
}

static void damage_is_survived(void **unused)
{
    (void)unused;
    static char room[ROOM];
    static const uint32_t WORDS[] = {0xffffffff, 0x7fffffff, 0x80000000, 1, 0};
    for (int i = 0; i < 2; i++) {
        Blob b = blob_read(FILES[i]);
        for (size_t n = 0; n < b.bytes; n += 64) {
            Blob cut = {malloc(n + 1), n}; /* its own memory: a sanitizer sees a step too far */
            memcpy(cut.data, b.data, n);
            Blob exact = {realloc(cut.data, n ? n : 1), n};
            whatever(exact, room);
            free(exact.data);
        }
        for (size_t at = 4; at < 2400; at += 4)
            for (size_t w = 0; w < sizeof WORDS / sizeof *WORDS; w++) {
                Blob bad = blob_copy(b);
                put32(bad.data + at, WORDS[w], 0);
                whatever(bad, room);
                free(bad.data);
            }
        free(b.data);
    }
}

static void only_shared_libraries_are_read(void **unused)
{
    (void)unused;
    Blob b = blob_read(FILES[0]);
    Macho *m = malloc(sizeof *m);
    Error err;
    put32(b.data + 12, 2, 0);
    assert_int_equal(macho_open(b.data, b.bytes, m, &err), KEEL_EIMAGE);
    assert_non_null(strstr(err.text, "a program, not a shared library"));
    put32(b.data + 12, 6, 0);
    put32(b.data + 4, 0x0100000b, 0);
    assert_int_equal(macho_open(b.data, b.bytes, m, &err), KEEL_EUNSUPPORTED);
    free(m);
    free(b.data);
}

static void arm64_names_places(void **unused)
{
    (void)unused;
    Arm64Insn i;
    arm64_decode(0x90000028, 0x3c0, &i); /* adrp x8, 4 pages on */
    assert_true(i.is_page);
    assert_int_equal(i.target, 0x4000);
    assert_int_equal(i.to, 8);
    arm64_decode(0x91003d08, 0, &i); /* add x8, x8, #15 */
    assert_int_equal(i.from, 8);
    assert_int_equal(i.offset, 15);
    assert_int_equal(i.kept, 0x91000108);
    arm64_decode(0xf9400509, 0, &i); /* ldr x9, [x8, #8] */
    assert_int_equal(i.from, 8);
    assert_int_equal(i.offset, 8);
    assert_int_equal(i.to, 9);
    arm64_decode(0xb9000501, 0, &i); /* str w1, [x8, #4] */
    assert_int_equal(i.from, 8);
    assert_int_equal(i.offset, 4);
    assert_int_equal(i.to, 32);
    arm64_decode(0x3dc00100, 0, &i); /* ldr q0, [x8] */
    assert_int_equal(i.from, 8);
    assert_int_equal(i.to, 32);
    arm64_decode(0x97fffffe, 0x100, &i); /* bl, two back */
    assert_int_equal(i.target, 0xf8);
    assert_true(i.clobbers);
    assert_int_equal(i.kept, 0x94000000);
    arm64_decode(0x540000a8, 0x3bc, &i); /* b.hi */
    assert_int_equal(i.target, 0x3d0);
    arm64_decode(0x5800004a, 0x200, &i); /* ldr x10, two on */
    assert_int_equal(i.target, 0x208);
    assert_int_equal(i.to, 10);
    arm64_decode(0x528000a2, 0, &i); /* mov w2, #5 */
    assert_int_equal(i.line, 6);
    arm64_decode(0xd65f03c0, 0, &i); /* ret */
    assert_int_equal(i.to, 32);
    assert_false(i.has_target);
}

static void numbers_end(void **unused)
{
    (void)unused;
    const uint8_t good[] = {0xe5, 0x8e, 0x26}, endless[] = {0x80, 0x80, 0x80}, minus[] = {0x7f};
    const uint8_t *at = good;
    uint64_t u;
    int64_t s;
    assert_int_equal(macho_uleb(&at, good + 3, &u), 0);
    assert_int_equal(u, 624485);
    at = endless;
    assert_int_equal(macho_uleb(&at, endless + 3, &u), -1);
    at = minus;
    assert_int_equal(macho_sleb(&at, minus + 1, &s), 0);
    assert_int_equal(s, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_says_what_it_is),
        cmocka_unit_test(one_changed_function_is_one),
        cmocka_unit_test(a_universal_file_has_parts),
        cmocka_unit_test(chains_are_followed),
        cmocka_unit_test(damaged_chains_are_refused),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(only_shared_libraries_are_read),
        cmocka_unit_test(arm64_names_places),
        cmocka_unit_test(numbers_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
