/* What an image is made of, as a manifest tells it: each list is one of rows, a row is a function
 * [name, source file, id, hash, hash without lines, bytes], a static [name, owner, source file, id,
 * hash, bytes, kind], a type [name, kind, id, hash, bytes] or a section [name, hash, bytes, code].
 * Owns nothing; any thread. */
#include <stdlib.h>
#include <string.h>

#include "image/manifest_parts.h"

enum { ROOM = MANIFEST_BYTES_MAX - (1 << 20) };

static json_t *hash_json(Hash hash)
{
    char text[HASH_TEXT_BYTES];
    return json_string(hash_text(hash, text));
}

static json_t *function_row(const Anatomy *a, const AnatomyFunction *f)
{
    return json_pack("[o, o, o, o, o, I]",
                     manifest_text(anatomy_string(a, f->pretty ? f->pretty : f->name)),
                     manifest_text(anatomy_string(a, f->unit)), hash_json(f->id),
                     hash_json(f->hash), hash_json(f->hash_but_lines), (json_int_t)f->bytes);
}

static json_t *object_row(const Anatomy *a, const AnatomyObject *o)
{
    return json_pack("[o, o, o, o, o, I, i]", manifest_text(anatomy_string(a, o->name)),
                     manifest_text(anatomy_string(a, o->owner)),
                     manifest_text(anatomy_string(a, o->unit)), hash_json(o->id),
                     hash_json(o->hash), (json_int_t)o->bytes, (int)o->kind);
}

static json_t *type_row(const Anatomy *a, const AnatomyType *t)
{
    return json_pack("[o, i, o, o, I]", manifest_text(anatomy_string(a, t->name)), (int)t->kind,
                     hash_json(t->id), hash_json(t->hash), (json_int_t)t->bytes);
}

static json_t *section_row(const Anatomy *a, const AnatomySection *s)
{
    return json_pack("[o, o, I, i]", manifest_text(anatomy_string(a, s->name)), hash_json(s->hash),
                     (json_int_t)s->bytes, (int)s->is_code);
}

int manifest_make_details(const Anatomy *a, Buf *ret)
{
    size_t before = ret->bytes;
    json_t *functions = json_array(), *objects = json_array(), *types = json_array(),
           *sections = json_array();
    for (uint32_t i = 0; i < a->function_count; i++)
        json_array_append_new(functions, function_row(a, &a->functions[i]));
    for (uint32_t i = 0; i < a->object_count; i++)
        json_array_append_new(objects, object_row(a, &a->objects[i]));
    for (uint32_t i = 0; i < a->type_count; i++)
        json_array_append_new(types, type_row(a, &a->types[i]));
    for (uint32_t i = 0; i < a->section_count; i++)
        json_array_append_new(sections, section_row(a, &a->sections[i]));
    int rc =
        manifest_dump(json_pack("{s:i, s:o, s:o, s:o, s:o}", "known", (int)a->flags, "functions",
                                functions, "data", objects, "types", types, "sections", sections),
                      ret);
    if (!rc && ret->bytes - before > ROOM) {
        ret->bytes = before;
        rc = buf_add(ret, "{}", 2);
    }
    return rc;
}

/* ---- and back ---- */

typedef struct Row {
    const json_t *list;
    AnatomyMaker *maker;
    int *bad;
} Row;

static uint32_t text_at(const Row *row, size_t i)
{
    const json_t *value = json_array_get(row->list, i);
    if (!json_is_string(value))
        *row->bad = 1;
    return anatomy_text(row->maker, json_string_value(value) ? json_string_value(value) : "",
                        json_string_length(value));
}

static Hash hash_at(const Row *row, size_t i)
{
    const json_t *value = json_array_get(row->list, i);
    uint8_t bytes[16] = {0};
    Hash hash = {0};
    if (json_string_length(value) != HASH_TEXT_BYTES - 1 ||
        hex_parse(json_string_value(value), sizeof bytes, bytes))
        *row->bad = 1;
    for (int k = 0; k < 8; k++) {
        hash.high = hash.high << 8 | bytes[k];
        hash.low = hash.low << 8 | bytes[8 + k];
    }
    return hash;
}

static uint64_t number_at(const Row *row, size_t i, uint64_t most)
{
    const json_t *value = json_array_get(row->list, i);
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > most) {
        *row->bad = 1;
        return 0;
    }
    return (uint64_t)n;
}

static void take_function(const Row *row)
{
    AnatomyFunction f = {.name = text_at(row, 0),
                         .unit = text_at(row, 1),
                         .id = hash_at(row, 2),
                         .hash = hash_at(row, 3),
                         .hash_but_lines = hash_at(row, 4),
                         .bytes = number_at(row, 5, INT64_MAX),
                         .parts = 1};
    *row->bad |= buf_add(&row->maker->functions, &f, sizeof f) != 0;
}

static void take_object(const Row *row)
{
    AnatomyObject o = {.name = text_at(row, 0),
                       .owner = text_at(row, 1),
                       .unit = text_at(row, 2),
                       .id = hash_at(row, 3),
                       .hash = hash_at(row, 4),
                       .bytes = number_at(row, 5, INT64_MAX),
                       .kind = (uint32_t)number_at(row, 6, OBJECT_KINDS - 1)};
    *row->bad |= buf_add(&row->maker->objects, &o, sizeof o) != 0;
}

static void take_type(const Row *row)
{
    AnatomyType t = {.name = text_at(row, 0),
                     .kind = (uint32_t)number_at(row, 1, TYPE_KINDS - 1),
                     .id = hash_at(row, 2),
                     .hash = hash_at(row, 3),
                     .bytes = number_at(row, 4, INT64_MAX)};
    *row->bad |= buf_add(&row->maker->types, &t, sizeof t) != 0;
}

static void take_section(const Row *row)
{
    AnatomySection s = {.name = text_at(row, 0),
                        .hash = hash_at(row, 1),
                        .bytes = number_at(row, 2, INT64_MAX),
                        .is_code = (uint32_t)number_at(row, 3, 1)};
    *row->bad |= buf_add(&row->maker->sections, &s, sizeof s) != 0;
}

static int take_list(const json_t *root, const char *name, size_t columns, AnatomyMaker *maker,
                     void (*take)(const Row *row))
{
    const json_t *list = json_object_get(root, name);
    int wrong = !json_is_array(list);
    for (size_t i = 0; i < json_array_size(list) && !wrong; i++) {
        Row row = {json_array_get(list, i), maker, &wrong};
        if (!json_is_array(row.list) || json_array_size(row.list) != columns)
            wrong = 1;
        else
            take(&row);
    }
    return wrong;
}

int manifest_anatomy(const Manifest *manifest, Buf *ret, Error *err)
{
    json_t *root = NULL;
    int rc = manifest_json(manifest->details_text, manifest->details_bytes, &root, err);
    if (rc)
        return rc;
    if (!json_object_size(root)) {
        json_decref(root);
        return err_set(err, KEEL_ENOTFOUND, "it does not tell what the image is made of");
    }
    const json_t *known = json_object_get(root, "known");
    AnatomyMaker maker = {.flags = (uint32_t)json_integer_value(known)};
    int wrong = !json_is_integer(known) || json_integer_value(known) < 0 ||
                json_integer_value(known) > UINT16_MAX || json_object_size(root) != 5;
    wrong |= take_list(root, "functions", 6, &maker, take_function);
    wrong |= take_list(root, "data", 7, &maker, take_object);
    wrong |= take_list(root, "types", 5, &maker, take_type);
    wrong |= take_list(root, "sections", 4, &maker, take_section);
    json_decref(root);
    size_t room = 4096 + maker.functions.bytes + maker.objects.bytes + maker.types.bytes +
                  maker.sections.bytes + maker.strings.bytes;
    void *packed = wrong ? NULL : malloc(room);
    if (wrong)
        rc = err_set(err, KEEL_EDATA, "what it says of functions and types is damaged");
    else if (!packed)
        rc = err_set(err, KEEL_ENOMEM, "no memory to read it");
    size_t bytes = 0;
    rc = rc ? rc : anatomy_pack(&maker, packed, room, &bytes, err);
    anatomy_maker_done(&maker);
    if (rc) {
        free(packed);
        return rc;
    }
    buf_done(ret);
    *ret = (Buf){packed, bytes, room};
    return KEEL_OK;
}
