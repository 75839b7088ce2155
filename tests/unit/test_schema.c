/* What debug information says of an image's memory, and the check of what crosses the process. */
#include "image_files.h"

#include "image/schema.h"

#define FIXTURE KEEL_TEST_FIXTURES "/fx_schema.so"

enum { ROOM = 32 << 20 };

static Schema schema;
static uint8_t *packed;
static size_t packed_bytes;

static int set_up(void **unused)
{
    (void)unused;
    Error err = {0};
    Blob file = blob_read(FIXTURE);
    packed = aligned_alloc(16, ROOM);
    if (schema_read(file.data, file.bytes, packed, ROOM, &packed_bytes, &err) ||
        schema_check(packed, packed_bytes, &schema, &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    free(file.data);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(packed);
    return 0;
}

static const SchemaType *type_called(const char *spelled)
{
    uint32_t type = 0;
    assert_int_equal(schema_find(&schema, spelled, "fx_schema.c", &type), 0);
    return &schema.types[type];
}

static const SchemaField *field_called(const SchemaType *record, const char *name)
{
    for (uint32_t i = 0; i < record->fields; i++)
        if (!strcmp(schema_text(&schema, schema.fields[record->first + i].name), name))
            return &schema.fields[record->first + i];
    fail_msg("no field %s", name);
    return NULL;
}

static const SchemaStatic *static_called(const char *name, const char *function)
{
    for (uint32_t i = 0; i < schema.static_count; i++)
        if (!strcmp(schema_text(&schema, schema.statics[i].name), name) &&
            !strcmp(schema_text(&schema, schema.statics[i].function), function))
            return &schema.statics[i];
    fail_msg("no static %s in %s", name, function);
    return NULL;
}

static void a_union_has_its_tag(void **unused)
{
    (void)unused;
    const SchemaType *order = type_called("struct order");
    uint32_t record = (uint32_t)(order - schema.types);
    const SchemaField *field = field_called(order, ""), *side = field_called(order, "side");
    const SchemaUnion *tagged = schema_union(&schema, record, field->offset);
    assert_non_null(tagged);
    assert_null(schema_union(&schema, record, field->offset + 8));
    assert_int_equal(tagged->type, field->type);
    assert_int_equal(tagged->tag_offset, side->offset);
    const SchemaField *fields = schema.fields + schema.types[tagged->type].first;
    uint8_t bytes[256] = {0};
    assert_int_equal(schema_union_field(&schema, tagged, bytes), -1);
    memcpy(bytes + side->offset, &(int32_t){1}, 4);
    int64_t at = schema_union_field(&schema, tagged, bytes);
    assert_string_equal(schema_text(&schema, fields[at].name), "ratio");
    memcpy(bytes + side->offset, &(int32_t){-1}, 4);
    at = schema_union_field(&schema, tagged, bytes);
    assert_string_equal(schema_text(&schema, fields[at].name), "bits");
    int mistakes = 0;
    for (uint32_t i = 0; i < schema.union_count; i++)
        mistakes += !schema.unions[i].record && strstr(schema_text(&schema, schema.unions[i].why),
                                                       "no union called at") != NULL;
    assert_int_equal(mistakes, 1);
}

static void a_type_has_its_version(void **unused)
{
    (void)unused;
    const SchemaType *level = type_called("struct level");
    const SchemaHook *hook = schema_hook(&schema, (uint32_t)(level - schema.types));
    assert_non_null(hook);
    assert_int_equal(hook->version, 7);
    assert_string_equal(schema_text(&schema, hook->type), "struct level");
    assert_null(schema_hook(&schema, (uint32_t)(type_called("struct order") - schema.types)));
    for (uint32_t i = 0; i < schema.static_count; i++) /* what the macro makes is never carried */
        if (strstr(schema_text(&schema, schema.statics[i].name), "keel_record_"))
            assert_int_equal(schema.statics[i].place, SCHEMA_CACHE);
    Error err = {0};
    Schema other;
    uint8_t *copy = aligned_alloc(16, ROOM);
    memcpy(copy, packed, packed_bytes);
    assert_int_equal(schema_check(copy, packed_bytes, &other, &err), 0);
    ((SchemaHook *)(uintptr_t)other.hooks)->record = other.type_count;
    assert_int_equal(schema_check(copy, packed_bytes, &other, &err), KEEL_EFAULT);
    assert_non_null(strstr(err.text, "the version of a type"));
    free(copy);
}

static void a_tag_that_leads_out_of_its_record_is_refused(void **unused)
{
    (void)unused;
    Error err = {0};
    Schema other;
    uint8_t *copy = aligned_alloc(16, ROOM);
    for (int i = 0; i < 4; i++) {
        memcpy(copy, packed, packed_bytes);
        assert_int_equal(schema_check(copy, packed_bytes, &other, &err), 0);
        SchemaUnion *u = (SchemaUnion *)(uintptr_t)other.unions;
        while (!u->record)
            u++;
        if (i == 0)
            u->tag_offset = other.types[u->record].bytes;
        else if (i == 1)
            u->offset = other.types[u->record].bytes;
        else if (i == 2)
            ((SchemaCase *)(uintptr_t)other.cases)[u->first].field = 2;
        else
            u->cases = other.case_count + 1;
        assert_int_equal(schema_check(copy, packed_bytes, &other, &err), KEEL_EFAULT);
        assert_non_null(strstr(err.text, "the tag of a union"));
    }
    free(copy);
}

static void a_record_has_its_fields(void **unused)
{
    (void)unused;
    struct level {
        int32_t price;
        uint16_t count;
        unsigned hot : 3, cold : 5;
    };
    const SchemaType *level = type_called("struct level");
    assert_int_equal(level->kind, SCHEMA_RECORD);
    assert_int_equal(level->bytes, sizeof(struct level));
    assert_int_equal(level->fields, 4);
    const SchemaField *price = field_called(level, "price");
    assert_string_equal(schema_text(&schema, price->spelled), "price_t");
    assert_int_equal(schema.types[price->type].kind, SCHEMA_INT);
    assert_true(schema.types[price->type].flags & SCHEMA_SIGNED);
    const SchemaField *hot = field_called(level, "hot"), *cold = field_called(level, "cold");
    assert_int_equal(hot->bits, 3);
    assert_int_equal(cold->bits, 5);
    assert_int_equal(cold->offset * 8 + cold->bit, hot->offset * 8 + hot->bit + 3);
}

static void every_kind_of_field_is_told(void **unused)
{
    (void)unused;
    const SchemaType *order = type_called("const struct order");
    const SchemaType *t = &schema.types[field_called(order, "next")->type];
    assert_int_equal(t->kind, SCHEMA_POINTER);
    assert_ptr_equal(&schema.types[t->target], order);
    t = &schema.types[field_called(order, "note")->type];
    assert_true(schema.types[t->target].flags & SCHEMA_TEXT);
    t = &schema.types[field_called(order, "fill")->type];
    assert_int_equal(schema.types[t->target].kind, SCHEMA_FUNCTION);
    t = &schema.types[field_called(order, "levels")->type];
    assert_int_equal(t->kind, SCHEMA_ARRAY);
    assert_int_equal(t->count, 2);
    assert_int_equal(schema.types[t->target].count, 3);
    t = &schema.types[field_called(order, "side")->type];
    assert_int_equal(t->kind, SCHEMA_ENUM);
    assert_int_equal(t->fields, 2);
    assert_int_equal(schema.values[t->first + 1].value, -1);
    t = &schema.types[field_called(order, "at")->type];
    assert_string_equal(schema_text(&schema, t->name), "point");
    assert_int_equal(schema.types[field_called(order, "")->type].kind, SCHEMA_UNION);
    assert_int_equal(schema.types[field_called(order, "open")->type].kind, SCHEMA_BOOL);
    assert_int_equal(schema.types[field_called(order, "big")->type].kind, SCHEMA_FLOAT);
    assert_true(schema.types[field_called(order, "tail")->type].flags & SCHEMA_FLEXIBLE);
}

static void a_type_is_found_however_it_is_written(void **unused)
{
    (void)unused;
    assert_ptr_equal(type_called("struct  order"), type_called("struct order"));
    assert_ptr_equal(type_called("unsigned"), type_called("unsigned int"));
    assert_ptr_equal(type_called("long unsigned"), type_called("unsigned long int"));
    assert_ptr_equal(type_called("price_t"), type_called("int"));
    assert_int_equal(type_called("struct order*")->kind, SCHEMA_POINTER);
    uint32_t type;
    assert_int_equal(schema_find(&schema, "struct nobody", "", &type), KEEL_ENOTFOUND);
    assert_int_equal(schema_find(&schema, "struct later", "", &type), KEEL_ENOTFOUND);
    assert_int_equal(schema_find(&schema, "int (*)(void)", "", &type), KEEL_ENOTFOUND);
}

static void statics_are_known_by_their_function(void **unused)
{
    (void)unused;
    const SchemaStatic *a = static_called("calls", "filled"), *b = static_called("calls", "again");
    assert_true(a->address != b->address);
    assert_int_equal(a->place, SCHEMA_DATA);
    assert_int_equal(b->place, SCHEMA_ZERO);
    assert_false(hash_equal(a->init, b->init));
    assert_int_equal(schema.initials[a->init_at - 1], 3);
    const SchemaStatic *cache = static_called("table", "keel_state_service_");
    assert_int_equal(cache->place, SCHEMA_CACHE);
    assert_true(static_called("fx_schema_first", "")->flags & SCHEMA_EXTERNAL);
    assert_false(static_called("title", "")->flags & SCHEMA_EXTERNAL);
}

static void an_address_in_an_initialiser_is_known_by_its_meaning(void **unused)
{
    (void)unused;
    const SchemaStatic *handlers = static_called("handlers", "");
    int found = 0;
    for (uint32_t i = 0; i < schema.link_count; i++)
        found += schema.links[i].place - handlers->address < handlers->bytes;
    assert_int_equal(found, 2);
    assert_int_equal(schema.initials[handlers->init_at - 1], 0);
    int64_t at = schema_function_at(&schema, 0);
    assert_int_equal(at, -1);
    const SchemaStatic *levels = static_called("levels", "");
    at = schema_static_at(&schema, levels->address + 3);
    assert_ptr_equal(&schema.statics[at], levels);
    assert_int_equal(schema_range_at(&schema, levels->address)->kind, SCHEMA_WRITABLE);
}

/* Whatever is changed, the check refuses it or everything still lies inside. */
static void damage_is_refused(void **unused)
{
    (void)unused;
    uint8_t *copy = aligned_alloc(16, (packed_bytes + 15) & ~(size_t)15);
    int refused = 0;
    unsigned seed = 1;
    for (int i = 0; i < 4000; i++) {
        memcpy(copy, packed, packed_bytes);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245u + 12345u;
            copy[(seed >> 8) % packed_bytes] ^= (uint8_t)(1u << (seed >> 4) % 8);
        }
        Schema s;
        Error err;
        int rc = schema_check(copy, packed_bytes, &s, &err);
        refused += rc != 0;
        for (uint32_t t = 0; !rc && t < s.type_count; t++)
            for (uint32_t f = 0; f < s.types[t].fields && s.types[t].kind == SCHEMA_RECORD; f++)
                assert_true(s.fields[s.types[t].first + f].offset <= s.types[t].bytes);
    }
    assert_true(refused > 400);
    for (size_t cut = 0; cut < packed_bytes; cut += packed_bytes / 97 + 1) {
        Schema s;
        Error err;
        assert_int_equal(schema_check(packed, cut, &s, &err), KEEL_EFAULT);
    }
    free(copy);
}

/* Type 1 holds type 2 twice, that one type 3 …: the last holds `last` twice. */
static int check_tower(uint32_t levels, uint32_t last)
{
    SchemaMaker maker = {0};
    SchemaType type = {.kind = SCHEMA_VOID};
    Schema s;
    Error err;
    size_t bytes = 0;
    buf_add(&maker.strings, "", 1);
    buf_add(&maker.types, &type, sizeof type);
    for (uint32_t i = 1; i <= levels; i++) {
        SchemaField field = {.type = i < levels ? i + 1 : last};
        type = (SchemaType){.kind = SCHEMA_UNION, .bytes = 8, .first = 2 * (i - 1), .fields = 2};
        buf_add(&maker.types, &type, sizeof type);
        buf_add(&maker.fields, &field, sizeof field);
        buf_add(&maker.fields, &field, sizeof field);
    }
    assert_int_equal(schema_pack(&maker, packed, ROOM, &bytes, &err), 0);
    schema_maker_done(&maker);
    return schema_check(packed, bytes, &s, &err);
}

/* Whoever follows all that is held by value ends, and soon. */
static void towers_and_circles_end(void **unused)
{
    (void)unused;
    assert_int_equal(check_tower(12, 0), 0);
    assert_int_equal(check_tower(40, 0), KEEL_EFAULT);
    assert_int_equal(check_tower(63, 0), KEEL_EFAULT);
    assert_int_equal(check_tower(1, 1), KEEL_EFAULT);
    assert_int_equal(check_tower(30, 7), KEEL_EFAULT);
    assert_int_equal(check_tower(200, 0), KEEL_EFAULT);
}

static void a_file_without_debug_information_has_no_types(void **unused)
{
    (void)unused;
    static uint8_t nothing[4096];
    Schema s;
    Error err;
    size_t bytes;
    assert_int_equal(schema_read(nothing, sizeof nothing, packed, ROOM, &bytes, &err), 0);
    assert_int_equal(schema_check(packed, bytes, &s, &err), 0);
    assert_int_equal(s.flags, 0);
    assert_int_equal(s.type_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_its_fields),
        cmocka_unit_test(a_union_has_its_tag),
        cmocka_unit_test(a_type_has_its_version),
        cmocka_unit_test(a_tag_that_leads_out_of_its_record_is_refused),
        cmocka_unit_test(every_kind_of_field_is_told),
        cmocka_unit_test(a_type_is_found_however_it_is_written),
        cmocka_unit_test(statics_are_known_by_their_function),
        cmocka_unit_test(an_address_in_an_initialiser_is_known_by_its_meaning),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(towers_and_circles_end),
        cmocka_unit_test(a_file_without_debug_information_has_no_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
