/* The plan of a migration between two images of thousands of types: what it finds, and that the
 * work grows as the types do, not as their pairs. */
#include "image_files.h"

#include "image/schema.h"
#include "state/migrate.h"

#define FIXTURE KEEL_TEST_FIXTURES "/fx_schema.so"

enum { FEW = 2000, MANY = 16000, ROOM = 128 << 20, STEPS_A_TYPE = 40 };

typedef struct Made {
    SchemaMaker maker;
    void *packed;
    Schema schema;
} Made;

static uint32_t text(Made *made, const char *format, uint32_t number)
{
    char line[64];
    uint32_t at = (uint32_t)made->maker.strings.bytes;
    int bytes = snprintf(line, sizeof line, format, number);
    assert_int_equal(buf_add(&made->maker.strings, line, (size_t)bytes + 1), 0);
    return at;
}

#define ADD(list, ...) \
    assert_int_equal(buf_add(&made->maker.list, &(__VA_ARGS__), sizeof(__VA_ARGS__)), 0)

/* A chain of `count` structs, each with a pointer to the next, in a file of its own, with a static
 * of one name in all of them; the last struct has one field more where `longer`. */
static void make(Made *made, uint32_t count, uint32_t gone, int longer)
{
    *made = (Made){.maker = {.flags = SCHEMA_HAS_DEBUG}};
    size_t bytes = 0;
    Error err = {0};
    assert_int_equal(buf_add(&made->maker.strings, "", 1), 0);
    uint32_t value = text(made, "value", 0), next = text(made, "next", 0);
    uint32_t added = text(made, "added", 0), counter = text(made, "counter", 0);
    ADD(types, (SchemaType){.kind = SCHEMA_VOID});
    ADD(types,
        (SchemaType){.kind = SCHEMA_INT, .bytes = 4, .flags = SCHEMA_SIGNED, .hash = {1, 1}});
    for (uint32_t i = 0; i < count; i++) {
        uint32_t changed = longer && i + 1 == count, first = (uint32_t)(i * 2);
        uint32_t name = text(made, i % 2 ? "ns::t%06u" : "struct t%06u", i >= gone ? i + count : i);
        uint32_t record = 2 + i * 2, behind = i + 1 < count ? record + 2 : 2;
        ADD(types, (SchemaType){.kind = SCHEMA_RECORD,
                                .bytes = changed ? 24 : 16,
                                .hash = {2, i * 2 + changed},
                                .name = name,
                                .first = first,
                                .fields = changed ? 3 : 2,
                                .unit = i});
        ADD(types, (SchemaType){.kind = SCHEMA_POINTER,
                                .bytes = 8,
                                .hash = {3, i},
                                .name = text(made, "struct t%06u *", i),
                                .target = record,
                                .unit = i});
        ADD(fields, (SchemaField){.name = value, .type = 1});
        ADD(fields, (SchemaField){.offset = 8, .name = next, .type = behind + 1});
        if (changed)
            ADD(fields, (SchemaField){.offset = 16, .name = added, .type = 1});
        ADD(statics, (SchemaStatic){.address = 4096 + i * 32,
                                    .bytes = 16,
                                    .name = counter,
                                    .unit = i,
                                    .type = gone == count && i + 1 < count ? record : 1,
                                    .place = SCHEMA_ZERO});
        uint32_t unit = text(made, "source/part%06u.c", i);
        ADD(units, unit);
    }
    for (uint32_t odd = 2; odd-- > 0;) /* "ns::…" is before "struct …" */
        for (uint32_t i = odd; i < count; i += 2) {
            const SchemaType *t = (const SchemaType *)(void *)made->maker.types.data + 2 + i * 2;
            ADD(names, (SchemaName){.text = t->name, .type = 2 + i * 2, .unit = SCHEMA_ANY_UNIT});
        }
    made->packed = aligned_alloc(16, ROOM);
    if (schema_pack(&made->maker, made->packed, ROOM, &bytes, &err) ||
        schema_check(made->packed, bytes, &made->schema, &err))
        fail_msg("%s", err.text);
}

static void unmake(Made *made)
{
    schema_maker_done(&made->maker);
    free(made->packed);
}

/* Steps for `count` types, of which those from `gone` on have another name now. */
static uint64_t steps(uint32_t count, uint32_t gone, Buf *lines)
{
    Made from, to;
    Migration *migration;
    Error err = {0};
    make(&from, count, count, 0);
    make(&to, count, gone, 1);
    if (migration_new(&from.schema, &to.schema, &migration, &err))
        fail_msg("%s", err.text);
    assert_int_equal(migration_foretell(migration, lines), 0);
    uint64_t work = migration_work(migration);
    migration_free(migration);
    unmake(&from);
    unmake(&to);
    return work;
}

static void one_change_at_a_long_chains_end(void **unused)
{
    (void)unused;
    Buf few = {0}, many = {0};
    uint64_t of_few = steps(FEW, FEW, &few), of_many = steps(MANY, MANY, &many);
    assert_int_equal(buf_add(&many, "", 1), 0);
    assert_non_null(strstr(many.data, "t015999: new added; 16 → 24 bytes\n"));
    assert_null(strstr(many.data, "t015998"));
    print_message("%u types: %llu steps, %u: %llu\n", FEW, (unsigned long long)of_few, MANY,
                  (unsigned long long)of_many);
    assert_in_range(of_few, FEW, (uint64_t)FEW * STEPS_A_TYPE);
    assert_in_range(of_many, MANY, (uint64_t)MANY * STEPS_A_TYPE);
    assert_in_range(of_many, 0, of_few * (MANY / FEW) * 3 / 2);
    buf_done(&few);
    buf_done(&many);
}

static void half_of_the_names_are_gone(void **unused)
{
    (void)unused;
    Buf lines = {0};
    assert_in_range(steps(MANY, MANY / 2, &lines), MANY, (uint64_t)MANY * STEPS_A_TYPE);
    assert_int_equal(lines.bytes, 0); /* the one that changed has another name */
    buf_done(&lines);
}

static void an_index_answers_as_the_schema_does(void **unused)
{
    (void)unused;
    static const char *const MORE[] = {"void",      "void *",        "int **",   "struct nowhere",
                                       "Order",     "struct order*", "t000003",  "unsigned",
                                       "const int", "struct level",  "t000003 *"};
    Error err = {0};
    Blob file = blob_read(FIXTURE);
    Made made = {0};
    Schema real;
    size_t bytes;
    void *packed = aligned_alloc(16, ROOM);
    if (schema_read(file.data, file.bytes, packed, ROOM, &bytes, &err) ||
        schema_check(packed, bytes, &real, &err))
        fail_msg("%s", err.text);
    make(&made, 100, 100, 0);
    const Schema *const schemas[] = {&real, &made.schema};
    for (size_t n = 0; n < 2; n++) {
        SchemaIndex index;
        const Schema *s = schemas[n];
        assert_int_equal(schema_index_init(&index, s), 0);
        for (size_t i = 0; i < s->name_count + sizeof MORE / sizeof *MORE; i++) {
            const char *name =
                i < s->name_count ? schema_text(s, s->names[i].text) : MORE[i - s->name_count];
            uint32_t a = UINT32_MAX, b = UINT32_MAX;
            assert_int_equal(schema_find(s, name, "fx_schema.c", &a),
                             schema_index_find(&index, name, "fx_schema.c", &b));
            assert_int_equal(a, b);
        }
        schema_index_done(&index);
    }
    uint32_t inside = 0;
    assert_int_equal(schema_find(&made.schema, "t000003", "", &inside), 0);
    assert_int_equal(inside, 2 + 3 * 2);
    unmake(&made);
    free(packed);
    free(file.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_change_at_a_long_chains_end),
                                       cmocka_unit_test(half_of_the_names_are_gone),
                                       cmocka_unit_test(an_index_answers_as_the_schema_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
