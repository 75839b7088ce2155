/* image/dwarf_reuse: a reading that begins from that of another image is, byte for byte, the one
 * that was made from nothing, whatever changed; and it did begin from there where that is what it's
 * for. */
#include "image_files.h"
#include "image/reading.h"

enum {
    ROOM = 8 << 20,
    ALL = SOURCES_DEBUG | SOURCES_SCHEMA,
    OF_DEBUG =
        ANATOMY_DEBUG | ANATOMY_LTO | ANATOMY_SPLIT | ANATOMY_TYPES_CUT | ANATOMY_DEBUG_BROKEN
};

#define FIRST "__attribute__((noinline)) int first(int a) { return a * 3 + book[a & 7].price; }\n"
#define OTHER "__attribute__((noinline)) int other(int a) { return a - book[a & 7].amount; }\n"

static const char SOURCE[] =
    "#include <stdio.h>\n"
    "struct item { int price, amount; struct item *next; };\n"
    "static struct item book[8];\n"
    "int speed = 7;\n"
    "const char *names[] = {\"alpha\", \"beta\"};\n" FIRST OTHER
    "int second(int a) { static int n; n += first(a); puts(\"seconds\"); return n; }\n"
    "int choose(int k)\n{\n    switch (k) {\n"
    "    case 0: puts(\"zero\"); return 11;\n    case 1: puts(\"one\"); return 22;\n"
    "    case 2: return first(k);\n    case 3: puts(\"three\"); return 44;\n"
    "    case 4: return second(k);\n    case 5: puts(\"five\"); return 66;\n"
    "    default: return speed;\n    }\n}\n";

typedef struct Edit {
    const char *what, *from, *to;
    uint32_t reused;
} Edit;

/* What holds still where nothing moves; where it does, it is only right, not spared. */
static const Edit EDITS[] = {
    {"nothing", "int choose", "int choose", ALL},
    {"a comment", "int speed", "/**/ int speed", 0},
    {"a line", "int speed", "\nint speed", 0},
    {"a constant", "a * 3", "a * 9", ALL},
    {"a case of the switch", "return 44", "return 45", ALL},
    {"a callee", "n += first(a)", "n += other(a)", 0},
    {"a literal", "seconds", "minutes", SOURCES_DEBUG},
    {"a text in a table", "beta", "zeta", SOURCES_DEBUG},
    {"an initial value", "speed = 7", "speed = 8", SOURCES_DEBUG},
    {"a longer function", "a - book", "a * a * 77 / (a + 3) - book", 0},
    {"a type", "int price, amount", "int amount, price", 0},
    {"a type's size", "int price, amount", "long price, amount", 0},
    {"another order", FIRST OTHER, OTHER FIRST, 0},
};

typedef struct Made {
    void *data;
    size_t bytes;
    Reading reading;
} Made;

static char folder[] = "/tmp/keel-test-reuse-XXXXXX";

static Blob compile(const char *from, const char *to, const char *options)
{
    char path[200], command[600], *text = strdup(SOURCE), *at = strstr(text, from);
    assert_non_null(at);
    snprintf(path, sizeof path, "%s/it.c", folder);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    free(text);
    snprintf(command, sizeof command,
             "cd %s && cc -g -O1 -w -fPIC -ffunction-sections -fdata-sections -shared "
             "-Wl,--emit-relocs %s it.c -o it.so",
             folder, options);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/it.so", folder);
    return blob_read(path);
}

static Made make(Blob image, const Made *before)
{
    Made made = {.data = aligned_alloc(16, ROOM)};
    Error err = {0};
    memset(made.data, 0, ROOM);
    if (reading_make_after(image.data, image.bytes, before ? before->data : NULL,
                           before ? before->bytes : 0, made.data, ROOM, &made.bytes, &err) ||
        reading_check(made.data, made.bytes, &made.reading, &err))
        fail_msg("%s", err.text);
    return made;
}

/* All parts but what the last one says of what it reused. */
static void assert_same(const Made *one, const Made *other, const char *what)
{
    assert_int_equal(one->reading.count, other->reading.count);
    for (uint32_t i = 0; i < one->reading.count; i++) {
        const ReadingPart *a = &one->reading.parts[i], *b = &other->reading.parts[i];
        size_t skip = a->tag == READING_SOURCES ? sizeof(Sources) : 0;
        if (a->tag != b->tag || a->code != b->code || a->bytes != b->bytes ||
            memcmp((const char *)a->data + skip, (const char *)b->data + skip, a->bytes - skip))
            fail_msg("%s: part %u is another one", what, a->tag);
    }
    const Sources *s = reading_sources(&one->reading), *t = reading_sources(&other->reading);
    assert_true(hash_equal(s->debug, t->debug) && hash_equal(s->rest, t->rest));
    assert_int_equal(s->string_bytes, t->string_bytes);
}

static void all_edits(const char *options)
{
    Blob image = compile("int choose", "int choose", options);
    Made before = make(image, NULL);
    assert_int_equal(reading_sources(&before.reading)->reused, 0);
    for (size_t i = 0; i < sizeof EDITS / sizeof *EDITS; i++) {
        const Edit *e = &EDITS[i];
        Blob edited = compile(e->from, e->to, options);
        Made alone = make(edited, NULL), after = make(edited, &before);
        Made again = make(edited, &after), back = make(image, &after);
        assert_same(&after, &alone, e->what);
        assert_same(&again, &alone, e->what);
        assert_same(&back, &before, e->what);
        uint32_t reused = reading_sources(&after.reading)->reused;
        if ((reused & e->reused) != e->reused)
            fail_msg("%s: %u reused, not %u", e->what, reused, e->reused);
        assert_int_equal(reading_sources(&again.reading)->reused, ALL);
        free(again.data);
        free(back.data);
        free(after.data);
        free(alone.data);
        free(edited.data);
    }
    free(before.data);
    free(image.data);
}

static void a_reading_after_another_is_the_same(void **unused)
{
    (void)unused;
    all_edits("");
    all_edits("-gz=zlib -gdwarf-4");
}

/* Each byte of a few in turn, wherever it lies: what is reused is what would have been read. */
static void no_byte_is_overlooked(void **unused)
{
    (void)unused;
    Blob image = compile("int choose", "int choose", "");
    Made before = make(image, NULL);
    static char room[ROOM] __attribute__((aligned(16)));
    uint32_t spared = 0;
    for (size_t at = 0; at < image.bytes; at += 13) {
        Made after = {.data = room}, alone;
        Error err = {0};
        image.data[at] ^= 0x21;
        alone.data = aligned_alloc(16, ROOM);
        int rc = reading_make(image.data, image.bytes, alone.data, ROOM, &alone.bytes, &err);
        assert_int_equal(reading_make_after(image.data, image.bytes, before.data, before.bytes,
                                            after.data, ROOM, &after.bytes, &err),
                         rc);
        if (!rc) {
            assert_int_equal(reading_check(alone.data, alone.bytes, &alone.reading, &err), 0);
            assert_int_equal(reading_check(after.data, after.bytes, &after.reading, &err), 0);
            const Sources *s = reading_sources(&after.reading);
            spared += s && s->reused == ALL;
            if (s)
                assert_same(&after, &alone, "a byte");
        }
        free(alone.data);
        image.data[at] ^= 0x21;
    }
    assert_true(spared > 10);
    free(before.data);
    free(image.data);
}

/* What isn't a reading, or one of something else, is as good as none. */
static void a_wrong_one_changes_nothing(void **unused)
{
    (void)unused;
    Blob image = compile("int choose", "int choose", ""),
         ball = blob_read(KEEL_TEST_MODULES "/ball.so");
    Made alone = make(image, NULL), foreign = make(ball, NULL), after = make(image, &foreign);
    assert_same(&after, &alone, "a foreign one");
    assert_int_equal(reading_sources(&after.reading)->reused, 0);
    free(after.data);
    int refused = 0;
    for (size_t cut = 0; cut < alone.bytes; cut += alone.bytes / 40) {
        Made before = {.data = alone.data, .bytes = cut};
        after = make(image, &before);
        refused += !reading_sources(&after.reading)->reused;
        assert_same(&after, &alone, "one cut off");
        free(after.data);
    }
    assert_true(refused >= 40);
    /* Its counts and keys. */
    Made damaged = {.data = aligned_alloc(16, ROOM), .bytes = alone.bytes};
    size_t head = (size_t)((const char *)(const void *)reading_sources(&alone.reading) -
                           (const char *)alone.data);
    for (size_t bit = 0; bit < 8 * offsetof(Sources, reused); bit++) {
        size_t flag = bit - 8 * offsetof(Sources, flags);
        if (flag < 32 && (1u << flag & OF_DEBUG))
            continue; /* true or not, that is only what it says */
        memcpy(damaged.data, alone.data, alone.bytes);
        ((uint8_t *)damaged.data)[head + bit / 8] ^= (uint8_t)(1u << bit % 8);
        after = make(image, &damaged);
        if (flag < 32 || bit / 8 < sizeof(Hash))
            assert_int_equal(reading_sources(&after.reading)->reused, 0);
        else if (bit / 8 < 2 * sizeof(Hash))
            assert_int_equal(reading_sources(&after.reading)->reused, SOURCES_DEBUG);
        free(after.data);
    }
    free(damaged.data);
    free(alone.data);
    free(foreign.data);
    free(image.data);
    free(ball.data);
}

static Elf64_Shdr *section(Blob image, const char *name)
{
    const Elf64_Ehdr *file = (const Elf64_Ehdr *)(const void *)image.data;
    Elf64_Shdr *list = (Elf64_Shdr *)(void *)(image.data + file->e_shoff);
    const char *names = (const char *)image.data + list[file->e_shstrndx].sh_offset;
    for (int i = 0; i < file->e_shnum; i++)
        if (!strcmp(names + list[i].sh_name, name))
            return &list[i];
    fail_msg("no section %s", name);
    return NULL;
}

/* Of two sections of one name the first is read, even when nothing is in it. */
static void an_empty_section_counts(void **unused)
{
    (void)unused;
    Blob image = compile("int choose", "int choose", ""), other = blob_copy(image);
    Elf64_Shdr *first = section(other, ".comment"), *info = section(other, ".debug_info");
    assert_true(first < info);
    first->sh_name = info->sh_name;
    first->sh_size = 0;
    Made before = make(image, NULL), alone = make(other, NULL), after = make(other, &before);
    assert_true(before.reading.anatomy.type_count > 0);
    assert_int_equal(alone.reading.anatomy.type_count, 0);
    assert_same(&after, &alone, "an empty section");
    assert_int_equal(reading_sources(&after.reading)->reused, 0);
    free(after.data);
    free(alone.data);
    free(before.data);
    free(other.data);
    free(image.data);
}

/* Names of types that lie behind the strings that are taken over with them. */
static void names_beyond_its_strings_are_refused(void **unused)
{
    (void)unused;
    Blob image = compile("int choose", "int choose", "");
    Made alone = make(image, NULL);
    const Anatomy *a = &alone.reading.anatomy;
    uint32_t most = reading_sources(&alone.reading)->string_bytes;
    assert_true(most < a->string_bytes && a->type_count && a->field_count);
    uint32_t *const names[] = {
        (uint32_t *)(uintptr_t)&a->types[0].name, (uint32_t *)(uintptr_t)&a->types[0].target,
        (uint32_t *)(uintptr_t)&a->fields[0].name, (uint32_t *)(uintptr_t)&a->fields[0].type};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint32_t was = *names[i];
        Reading checked;
        *names[i] = most;
        assert_int_equal(reading_check(alone.data, alone.bytes, &checked, NULL), KEEL_EFAULT);
        *names[i] = was;
        assert_int_equal(reading_check(alone.data, alone.bytes, &checked, NULL), KEEL_OK);
    }
    free(alone.data);
    free(image.data);
}

static int set_up(void **unused)
{
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **unused)
{
    char path[200];
    (void)unused;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/it.%s", folder, i ? "so" : "c");
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_after_another_is_the_same),
        cmocka_unit_test(no_byte_is_overlooked),
        cmocka_unit_test(a_wrong_one_changes_nothing),
        cmocka_unit_test(an_empty_section_counts),
        cmocka_unit_test(names_beyond_its_strings_are_refused),
    };
    return cmocka_run_group_tests_name("reuse", tests, set_up, tear_down);
}
