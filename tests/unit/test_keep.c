/* image/keep: a fingerprint is taken over from the reading before only while all that it was made
 * from is the same. One byte of each kind of thing that it is made from is changed in turn: it is
 * made anew then, with those of all that look there and of nothing else, and the reading is byte
 * for byte the one that is made from nothing. */
#include "image_files.h"
#include "image/handlers.h"
#include "image/keep.h"
#include "image/reading.h"

enum { ROOM = 8 << 20 };

static const char SOURCE[] =
    "#include <cstdio>\n#include <stdexcept>\n"
    "#define FAR extern \"C\" __attribute__((noinline))\n"
    "__attribute__((section(\"own\"))) int speed = 7;\n" /* the table below is in .data, too */
    "FAR int plain(int a) { return a * 1234567 + speed; }\n"
    "FAR int other(int a) { return plain(a) ^ 7654321; }\n"
    "FAR int literal(int a) { puts(\"a text of ours\"); return a; }\n"
    "FAR int numbered(int a) { static int n; n += a; return n; }\n"
    "FAR int caught(int a)\n{\n"
    "    try { puts(\"a text of ours\"); return literal(a); }\n"
    "    catch (const std::exception &) { return 4711; }\n}\n"
    /* one nameless table of texts, which both copy */
    "#define SIX \"one\", \"two\", \"three\", \"four\", \"five\", \"six\"\n"
    "#define TABLE {\"the third\", SIX, SIX, SIX, SIX, SIX, SIX}\n"
    "FAR void use(const char **t) { puts(t[0]); }\n"
    "FAR int table(int a) { const char *t[] = TABLE; t[a] = 0; use(t); return 3; }\n"
    "FAR int table2(int a) { const char *t[] = TABLE; t[a] = 0; use(t); return 5; }\n"
    "FAR int choose(int a)\n{\n    switch (a) {\n"
    "    case 0: return plain(1); case 1: return other(77); case 2: return plain(a + 5);\n"
    "    case 3: return other(4); case 4: return other(a) + 5; case 5: return plain(91);\n"
    "    default: return a;\n    }\n}\n";

/* Constants that stand for what they hold, and hold each other. */
static const char CIRCLE[] =
    "struct node { const struct node *next; int value; };\n"
    "const struct node *circle(void) { static const struct node it = {&it, 7}; return &it; }\n"
    "int plain(int a) { return a * 1234567; }\n";

typedef struct Made {
    void *data;
    size_t bytes;
    Reading reading;
} Made;

static char folder[] = "/tmp/keel-test-keep-XXXXXX";

static Blob compile(const char *source, const char *compiler)
{
    char path[200], command[600];
    snprintf(path, sizeof path, "%s/it.c", folder);
    write_file(path, source, strlen(source));
    snprintf(command, sizeof command,
             "cd %s && %s -g -O1 -w -fPIC -shared -Wl,--emit-relocs it.c -o it.so", folder,
             compiler);
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

/* All but what the last part says of what it had from before. */
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
}

static const Sources *sources(const Made *made)
{
    const Sources *s = reading_sources(&made->reading);
    assert_non_null(s);
    return s;
}

static const Elf64_Shdr *section(Blob image, const char *name)
{
    const Elf64_Ehdr *file = (const Elf64_Ehdr *)(const void *)image.data;
    const Elf64_Shdr *list = (const Elf64_Shdr *)(const void *)(image.data + file->e_shoff);
    const char *names = (const char *)image.data + list[file->e_shstrndx].sh_offset;
    for (int i = 0; i < file->e_shnum; i++)
        if (!strcmp(names + list[i].sh_name, name))
            return &list[i];
    fail_msg("no section %s", name);
    return NULL;
}

/* Where these bytes lie in a section, `at` bytes into it or later. */
static uint8_t *find(Blob image, const char *name, const void *bytes, size_t count)
{
    const Elf64_Shdr *in = section(image, name);
    uint8_t *found = memmem(image.data + in->sh_offset, in->sh_size, bytes, count);
    if (!found)
        fail_msg("not in %s", name);
    return found;
}

static uint32_t count_anew(const Made *after)
{
    const Sources *s = sources(after);
    assert_true(s->taken <= s->parts);
    return s->parts - s->taken;
}

typedef struct Change {
    const char *what, *section;
    const void *bytes; /* NULL: the first of the section */
    size_t count, into;
    uint32_t least, most; /* made anew; UINT32_MAX: all */
} Change;

static const uint32_t NUMBER = 1234567;

static const Change CHANGES[] = {
    {"a number in code", ".text", &NUMBER, 4, 0, 1, 1},
    {"an initial value", "own", "\7\0\0\0", 4, 0, 0, 0},
    {"a text, which literal and caught name", ".rodata", "a text of ours", 14, 3, 2, 5},
    {"a text in a table", ".rodata", "the third", 9, 3, 4, 5},
    {"what is caught", ".gcc_except_table", NULL, 0, 1, 1, 1},
    {"a name", ".strtab", "other", 5, 1, UINT32_MAX, UINT32_MAX},
    {"a symbol", ".symtab", NULL, 0, 24 * 5 + 8, UINT32_MAX, UINT32_MAX},
    {"a relocation", ".rela.text", NULL, 0, 16, UINT32_MAX, UINT32_MAX},
    {"the owner of a static", ".debug_str", "numbered", 8, 1, UINT32_MAX, UINT32_MAX},
};

static void each_kind_of_change_is_seen(void **unused)
{
    (void)unused;
    Blob image = compile(SOURCE, "c++ -x c++");
    Made before = make(image, NULL), again = make(image, &before);
    uint32_t parts = sources(&before)->parts;
    assert_true(parts >= 6);
    assert_int_equal(sources(&before)->taken, 0);
    assert_int_equal(sources(&again)->taken, parts);
    assert_same(&again, &before, "nothing");
    free(again.data);
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++) {
        const Change *c = &CHANGES[i];
        Blob edited = blob_copy(image);
        uint8_t *at = c->bytes ? find(edited, c->section, c->bytes, c->count)
                               : edited.data + section(edited, c->section)->sh_offset;
        at[c->into] ^= 1;
        Made alone = make(edited, NULL), after = make(edited, &before);
        Made back = make(image, &after);
        assert_same(&after, &alone, c->what);
        assert_same(&back, &before, c->what);
        uint32_t anew = count_anew(&after);
        uint32_t least = c->least < parts ? c->least : parts;
        if (anew < least || anew > c->most)
            fail_msg("%s: %u of %u made anew", c->what, anew, parts);
        free(back.data);
        free(after.data);
        free(alone.data);
        free(edited.data);
    }
    free(before.data);
    free(image.data);
}

/* What comes out of those depends on where one began: then all is made anew, always. */
static void of_circles_nothing_is_taken_over(void **unused)
{
    (void)unused;
    Blob image = compile(CIRCLE, "cc");
    Made before = make(image, NULL), after = make(image, &before);
    assert_int_equal(sources(&before)->kept_bytes, 0);
    assert_int_equal(sources(&after)->taken, 0);
    assert_true(reading_anatomy(&after.reading, NULL)->flags & ANATOMY_RELOCS);
    assert_same(&after, &before, "a circle");
    free(after.data);
    free(before.data);
    free(image.data);
}

/* Of a reading whose keys are others, or whose counts contradict it. */
static void a_damaged_one_gives_nothing(void **unused)
{
    (void)unused;
    Blob image = compile(SOURCE, "c++ -x c++");
    Made alone = make(image, NULL);
    Made damaged = {.data = aligned_alloc(16, ROOM), .bytes = alone.bytes};
    const Sources *s = sources(&alone);
    size_t head = (size_t)((const char *)(const void *)(sources_lines(s) + s->line_count) -
                           (const char *)alone.data);
    const size_t PLACES[] = {
        offsetof(KeptHead, layout),
        offsetof(KeptHead, constants),
        offsetof(KeptHead, function_count),
        offsetof(KeptHead, target_count),
        sizeof(KeptHead) + offsetof(KeptFunction, target_count),
    };
    for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) {
        memcpy(damaged.data, alone.data, alone.bytes);
        ((uint8_t *)damaged.data)[head + PLACES[i]] ^= 1;
        Made after = make(image, &damaged);
        assert_int_equal(sources(&after)->taken, 0);
        assert_same(&after, &alone, "a damaged one");
        free(after.data);
    }
    /* Places of constants that are none, and more bytes than the function has. */
    const KeptHead *kept = (const KeptHead *)(const void *)((const char *)alone.data + head);
    size_t targets = sizeof *kept + kept->function_count * sizeof(KeptFunction);
    assert_true(kept->target_count > 0);
    memcpy(damaged.data, alone.data, alone.bytes);
    memset((char *)damaged.data + head + targets, 0xff, kept->target_count * sizeof(uint64_t));
    Made after = make(image, &damaged);
    assert_int_equal(sources(&after)->taken, 0);
    assert_same(&after, &alone, "wrong places");
    free(after.data);
    memcpy(damaged.data, alone.data, alone.bytes);
    for (uint32_t i = 0; i < kept->function_count; i++)
        memset((char *)damaged.data + head + sizeof *kept + i * sizeof(KeptFunction) +
                   offsetof(KeptFunction, bytes),
               0xff, sizeof(uint32_t));
    after = make(image, &damaged);
    assert_int_equal(sources(&after)->taken, 0);
    assert_same(&after, &alone, "too long");
    free(after.data);
    free(damaged.data);
    free(alone.data);
    free(image.data);
}

/* A function that says it names more constants than its code has room for is made anew. */
static void too_many_places_are_not_believed(void **unused)
{
    (void)unused;
    enum { MANY = 300000 };
    Blob image = compile(SOURCE, "c++ -x c++");
    Made alone = make(image, NULL);
    const Sources *s = sources(&alone);
    Kept kept;
    assert_int_equal(sources_kept(s, &kept), 0);
    size_t count = kept.head.function_count, bytes = kept_bytes(&kept.head);
    KeptHead head = kept.head;
    head.target_count += MANY;
    char *more = malloc(kept_bytes(&head));
    KeptFunction *functions = (KeptFunction *)(void *)(more + sizeof head);
    memcpy(more, &head, sizeof head);
    memcpy(functions, kept.functions, count * sizeof *functions);
    functions[count - 1].target_count += MANY;
    uint64_t *targets = (uint64_t *)(void *)(functions + count);
    memcpy(targets, kept.targets, kept.head.target_count * sizeof *targets);
    uint64_t place = kept.head.target_count ? kept.targets[0] : 0;
    for (size_t i = 0; i < MANY; i++)
        targets[kept.head.target_count + i] = place;
    assert_int_equal(kept_check(more, kept_bytes(&head), &kept), 0);
    AnatomyMaker maker = {0};
    FingerprintReuse reuse = {.before = &kept};
    Owners owners = {sources_owners(s), s->owner_count};
    Error err = {0};
    assert_int_equal(
        fingerprint_bytes(image.data, image.bytes, &owners, NULL, &reuse, &maker, &err), 0);
    assert_int_equal(reuse.taken, count - 1); /* that one is made anew; the constants are equal */
    assert_int_equal(reuse.kept.bytes, bytes);
    buf_done(&reuse.kept);
    anatomy_maker_done(&maker);
    free(more);
    free(alone.data);
    free(image.data);
}

/* An image of one function with these bytes, whose handlers lie in this table. */
static Keep keep_of(const void *code, size_t bytes, uint64_t table)
{
    static const uint32_t functions[] = {0};
    Section sections[2] = {{0},
                           {.name = ".text", .flags = SHF_ALLOC, .data = code, .bytes = bytes}};
    Symbol symbol = {.section = 1, .bytes = bytes};
    Symbols s = {.sections = sections,
                 .section_count = 2,
                 .symbols = &symbol,
                 .count = 1,
                 .functions = (uint32_t *)(uintptr_t)functions,
                 .function_count = 1};
    Handler handler = {.table = table};
    Handlers handlers = {.symbols = &s};
    Keep keep;
    if (table)
        assert_int_equal(buf_add(&handlers.list, &handler, sizeof handler), 0);
    assert_int_equal(keep_open(&s, &handlers, NULL, NULL, 1 << 20, &keep), 0);
    assert_non_null(keep.list);
    handlers_done(&handlers);
    return keep;
}

/* Code that looks like the key of other code and its table. */
static void no_code_passes_for_another(void **unused)
{
    (void)unused;
    const uint64_t code[3] = {1, 2, 3}, table = 4096;
    Keep one = keep_of(code, sizeof code, table);
    const Hash hash = hash_bytes(code, sizeof code);
    const uint64_t forged[3] = {hash.low, hash.high, table};
    Keep other = keep_of(forged, sizeof forged, 0);
    assert_true(hash_equal(one.kept.head.layout, other.kept.head.layout));
    assert_false(hash_equal(one.list[0].code, other.list[0].code));
    keep_done(&one);
    keep_done(&other);
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
        cmocka_unit_test(each_kind_of_change_is_seen),
        cmocka_unit_test(of_circles_nothing_is_taken_over),
        cmocka_unit_test(a_damaged_one_gives_nothing),
        cmocka_unit_test(too_many_places_are_not_believed),
        cmocka_unit_test(no_code_passes_for_another),
    };
    return cmocka_run_group_tests_name("keep", tests, set_up, tear_down);
}
