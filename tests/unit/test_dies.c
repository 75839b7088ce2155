/* The list of DIEs: the same from every version of DWARF and every compiler; whatever is damaged in
 * it, all that the list refers to lies inside. */
#include <dwarf.h>

#include "image/dwarf_dies.h"
#include "image_files.h"

static const char SOURCE[] =
    "struct place { char pad[300]; unsigned low : 3, high : 20; double deep; };\n"
    "typedef struct place *spot;\n"
    "enum tone { FLAT = -2, SHARP = 200 };\n"
    "int visible = 7;\n"
    "spot (*table[3][5])(struct place *, enum tone);\n"
    "__attribute__((noinline)) int step(struct place *p, enum tone t)\n"
    "{\n"
    "    static int calls = 4;\n"
    "    return p->low + (int)t + calls++;\n"
    "}\n";

static char folder[] = "/tmp/keel-dies-XXXXXX";

static int can(const char *compiler)
{
    char command[200];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", compiler);
    return system(command) == 0;
}

static Blob build(const char *compiler, const char *flags)
{
    char command[600], path[100];
    snprintf(path, sizeof path, "%s/m.c", folder);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(SOURCE, f);
    fclose(f);
    snprintf(command, sizeof command, "cd %s && %s %s -shared -fPIC -o m.so m.c", folder, compiler,
             flags);
    if (system(command))
        fail_msg("%s", command);
    snprintf(path, sizeof path, "%s/m.so", folder);
    return blob_read(path);
}

static const Die *find(const Dies *dies, int tag, const char *name)
{
    for (uint32_t i = 1; i < dies->count; i++)
        if (dies->list[i].tag == tag && dies->list[i].name && !strcmp(dies->list[i].name, name))
            return &dies->list[i];
    fail_msg("nothing is called %s", name);
    return NULL;
}

/* Every index lies inside, children inside of their parents, texts have an end. */
static void check_list(Dies *dies)
{
    char path[1000];
    size_t texts = 0;
    for (uint32_t i = 0; i < dies_unit_count(dies); i++) {
        const DieUnit *u = dies_unit(dies, i);
        assert_true(u->first < u->end && u->end <= dies->count);
        assert_true(dies->list[u->first].next <= u->end);
        for (uint32_t k = 0; k < 5; k++)
            dies_file(dies, u, k, path, sizeof path);
        for (uint32_t k = u->first; k < u->end; k++) {
            const Die *d = &dies->list[k];
            assert_true(d->next > k && d->next <= u->end);
            assert_true(dies_type(dies, d) < dies->count && dies_at(dies, d->refers) < dies->count);
            for (uint32_t c = dies_child(dies, k); c; c = dies_after(dies, k, c))
                assert_true(c > k && dies->list[c].next <= d->next);
            texts += d->name ? strlen(d->name) : 0;
            texts += d->linkage ? strlen(d->linkage) : 0;
        }
    }
    assert_true(texts < SIZE_MAX);
}

static void check_source(const char *compiler, const char *flags)
{
    Blob b = build(compiler, flags);
    Dies dies;
    uint32_t bit;
    char path[1000];
    assert_int_equal(dies_open(b.data, b.bytes, &dies), 0);
    assert_true(dies.has_debug);
    assert_false(dies.is_broken);
    check_list(&dies);
    const Die *record = find(&dies, DW_TAG_structure_type, "place");
    assert_int_equal(record->bytes, 312);
    assert_int_equal(die_member_place(find(&dies, DW_TAG_member, "deep"), 8, &bit), 304);
    assert_int_equal(die_member_place(find(&dies, DW_TAG_member, "high"), 4, &bit) * 8 + bit,
                     300 * 8 + 3);
    assert_int_equal(find(&dies, DW_TAG_member, "high")->bits, 20);
    assert_int_equal(find(&dies, DW_TAG_enumerator, "SHARP")->value, 200);
    assert_int_equal((int64_t)find(&dies, DW_TAG_enumerator, "FLAT")->value, -2);
    const Die *step = find(&dies, DW_TAG_subprogram, "step"),
              *calls = find(&dies, DW_TAG_variable, "calls");
    assert_true(step->have & DIE_ADDRESS && step->extent > 4 && step->extent < 200);
    assert_true(calls->have & DIE_ADDRESS && calls > step && calls < &dies.list[step->next]);
    assert_int_equal(step->line, 6);
    assert_true(dies_file(&dies, dies_unit(&dies, 0), step->file, path, sizeof path));
    assert_non_null(strstr(path, "/m.c"));
    assert_int_equal(*path, '/');
    const Die *table = find(&dies, DW_TAG_variable, "table");
    uint32_t array = dies_type(&dies, table), range = dies_child(&dies, array);
    assert_int_equal(dies.list[array].tag, DW_TAG_array_type);
    assert_int_equal(dies.list[range].value, 3);
    assert_int_equal(dies.list[dies_after(&dies, array, range)].value, 5);
    const Die *pointer = &dies.list[dies_type(&dies, &dies.list[array])];
    uint32_t function = dies_type(&dies, pointer), parameters = 0;
    for (uint32_t c = dies_child(&dies, function); c; c = dies_after(&dies, function, c))
        parameters += dies.list[c].tag == DW_TAG_formal_parameter;
    assert_int_equal(parameters, 2);
    const Die *alias = find(&dies, DW_TAG_typedef, "spot");
    const Die *behind = &dies.list[dies_type(&dies, &dies.list[dies_type(&dies, alias)])];
    if (behind->have & DIE_SIGNATURE)
        behind = &dies.list[dies_at(&dies, behind->refers)];
    assert_ptr_equal(behind, record);
    dies_done(&dies);
    free(b.data);
}

static void every_version_says_the_same(void **unused)
{
    (void)unused;
    static const char *const FLAGS[] = {"-gdwarf-2 -gstrict-dwarf",
                                        "-gdwarf-3",
                                        "-gdwarf-4",
                                        "-gdwarf-5",
                                        "-gdwarf-4 -O2",
                                        "-O2",
                                        "-gz",
                                        "-gdwarf-4 -fdebug-types-section",
                                        "-gdwarf-5 -fdebug-types-section"};
    static const char *const COMPILERS[] = {"gcc", "clang"};
    for (size_t c = 0; c < 2; c++)
        for (size_t i = 0; can(COMPILERS[c]) && i < sizeof FLAGS / sizeof *FLAGS; i++) {
            char flags[100];
            snprintf(flags, sizeof flags, "-g %s", FLAGS[i]);
            check_source(COMPILERS[c], flags);
        }
    if (can("gcc"))
        check_source("gcc", "-g -gdwarf64");
}

static void an_image_without_it_has_none(void **unused)
{
    (void)unused;
    Blob b = build("cc", "-g0");
    Dies dies;
    assert_int_equal(dies_open(b.data, b.bytes, &dies), 0);
    assert_false(dies.has_debug);
    assert_int_equal(dies_unit_count(&dies), 0);
    dies_done(&dies);
    assert_int_equal(dies_open("no file", 7, &dies), 0);
    assert_null(dies.elf);
    dies_done(&dies);
    dies_done(NULL);
    free(b.data);
}

/* Numbers that damage is made of: ends of all widths, and every form of DWARF's. */
static uint8_t worse(uint32_t *random)
{
    static const uint8_t BYTES[] = {0,    1,    0x7f, 0x80, 0xff, 0x17,
                                    0x18, 0x20, 0x21, 0x16, 0x10, 0x1b};
    *random = *random * 1664525 + 1013904223;
    return *random >> 28 ? BYTES[(*random >> 8) % sizeof BYTES] : (uint8_t)(*random >> 16);
}

static void damage_stays_inside(void **unused)
{
    (void)unused;
    static const char *const FLAGS[] = {"-g", "-g -gdwarf-4 -fdebug-types-section", "-g -gdwarf-2"};
    uint32_t random = 7;
    size_t broken = 0, tried = 0;
    for (size_t f = 0; f < 3; f++) {
        Blob b = build("cc", FLAGS[f]);
        Dies good, bad;
        assert_int_equal(dies_open(b.data, b.bytes, &good), 0);
        for (int s = 0; s < DIES_SECTIONS; s++) {
            if (!good.sections[s].bytes)
                continue;
            uint8_t *at = b.data + (good.sections[s].data - b.data);
            for (size_t i = 0; i < good.sections[s].bytes; i += 1 + i / 400) {
                uint8_t was = at[i];
                at[i] = worse(&random);
                assert_int_equal(dies_open(b.data, b.bytes, &bad), 0);
                check_list(&bad);
                broken += bad.is_broken != 0;
                dies_done(&bad);
                at[i] = was;
                tried++;
            }
        }
        dies_done(&good);
        free(b.data);
    }
    assert_true(broken > 20 && broken < tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_says_the_same),
        cmocka_unit_test(an_image_without_it_has_none),
        cmocka_unit_test(damage_stays_inside),
    };
    char command[100];
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) || failed;
}
