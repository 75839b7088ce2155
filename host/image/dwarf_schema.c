/* An image's schema, read whole. Owns the reader for the call; one thread. */
#include "image/dwarf_schema.h"

#include <stdlib.h>
#include <string.h>

#include "image/dwarf_parts.h"
#include "image/types_section.h"

enum { STRINGS_MOST = 64 << 20, TEXT_MOST = 1000 };

void schema_fail(SchemaReader *r, int code)
{
    r->failed = r->failed ? r->failed : code;
}

static size_t place_of(const SchemaMap *map, uint64_t key)
{
    size_t at = key * 0x9e3779b97f4a7c15u >> 20 & (map->room - 1);
    while (map->slots[at].key && map->slots[at].key != key)
        at = (at + 1) & (map->room - 1);
    return at;
}

int schema_map_get(const SchemaMap *map, uint64_t key, uint32_t *ret)
{
    if (!map->room || !key)
        return 0;
    size_t at = place_of(map, key);
    if (!map->slots[at].key)
        return 0;
    *ret = map->slots[at].value;
    return 1;
}

int schema_map_put(SchemaMap *map, uint64_t key, uint32_t value)
{
    if ((map->used + 1) * 2 > map->room) {
        SchemaMap more = {.room = map->room ? map->room * 2 : 1024};
        more.slots = calloc(more.room, sizeof *more.slots);
        if (!more.slots)
            return KEEL_ENOMEM;
        for (size_t i = 0; i < map->room; i++)
            if (map->slots[i].key)
                more.slots[place_of(&more, map->slots[i].key)] = map->slots[i];
        more.used = map->used;
        free(map->slots);
        *map = more;
    }
    size_t at = place_of(map, key);
    map->used += !map->slots[at].key;
    map->slots[at].key = key;
    map->slots[at].value = value;
    return KEEL_OK;
}

void schema_map_done(SchemaMap *map)
{
    free(map->slots);
    *map = (SchemaMap){0};
}

uint32_t schema_intern(SchemaReader *r, const char *text)
{
    char line[TEXT_MOST + 1];
    uint32_t at;
    size_t n = text ? strnlen(text, TEXT_MOST) : 0;
    if (!n)
        return 0;
    for (size_t i = 0; i < n; i++)
        line[i] = (unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i];
    line[n] = 0;
    uint64_t key = hash_bytes(line, n).low | 1;
    if (schema_map_get(&r->texts, key, &at) && !strcmp(r->out.strings.data + at, line))
        return at;
    at = (uint32_t)r->out.strings.bytes;
    if (at + n > STRINGS_MOST) {
        schema_fail(r, KEEL_ELIMIT);
        return 0;
    }
    if (buf_add(&r->out.strings, line, n + 1) || schema_map_put(&r->texts, key, at)) {
        schema_fail(r, KEEL_ENOMEM);
        return 0;
    }
    return at;
}

static int begin(SchemaReader *r)
{
    SchemaType none = {.kind = SCHEMA_VOID};
    SchemaName name = {.unit = SCHEMA_ANY_UNIT};
    int rc = buf_add(&r->out.strings, "", 1);
    none.name = schema_intern(r, "void");
    name.text = none.name;
    rc = rc ? rc : buf_add(&r->out.types, &none, sizeof none);
    return rc ? rc : buf_add(&r->out.names, &name, sizeof name);
}

static void read_all(SchemaReader *r)
{
    r->out.flags |= SCHEMA_HAS_DEBUG | (r->dies->is_broken ? SCHEMA_BROKEN : 0);
    r->types = calloc(r->dies->count, sizeof *r->types);
    r->scopes = calloc(r->dies->count, sizeof *r->scopes);
    if (!r->types || !r->scopes)
        schema_fail(r, KEEL_ENOMEM);
    else
        schema_units(r);
    if (!r->failed)
        schema_finish(r);
    if (!r->failed)
        schema_elf(r, r->dies->elf);
}

/* What was put into the file while it had debug information. Checked before it is believed, here
 * and by the host. 0: there is none that fits. */
static int take_embedded(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes)
{
    size_t found = 0;
    Schema schema;
    const void *from = types_section_find(data, bytes, &found);
    if (!from || found > room)
        return 0;
    memcpy(ret, from, found);
    if (schema_check(ret, found, &schema, NULL))
        return 0;
    *ret_bytes = found;
    return 1;
}

/* That of the image before, whole. */
static int take_before(const Reading *before, void *ret, size_t room, size_t *ret_bytes, Error *err)
{
    const ReadingPart *part = reading_part(before, READING_SCHEMA, NULL);
    if (part->bytes > room)
        return err_set(err, KEEL_ELIMIT, "there is no room for what is read of it");
    memcpy(ret, part->data, part->bytes);
    *ret_bytes = part->bytes;
    return KEEL_OK;
}

int schema_read_with(const void *data, size_t bytes, Dies *dies, Reuse *reuse, void *ret,
                     size_t room, size_t *ret_bytes, Error *err)
{
    SchemaReader r = {.dies = dies};
    if (reuse && reuse->schema_from)
        return take_before(reuse->schema_from, ret, room, ret_bytes, err);
    int rc = begin(&r);
    if (!rc && !r.failed && dies->has_debug)
        read_all(&r);
    rc = rc ? rc : r.failed;
    if (rc)
        err_set(err, rc,
                "its debug information has more types, or a type of more parts, than can be "
                "kept");
    else if (r.out.flags || !take_embedded(data, bytes, ret, room, ret_bytes))
        rc = schema_pack(&r.out, ret, room, ret_bytes, err);
    if (reuse)
        reuse->reads_code = r.reads_code;
    schema_maker_done(&r.out);
    schema_map_done(&r.texts);
    free(r.types);
    free(r.scopes);
    buf_done(&r.pending);
    return rc;
}

int schema_read(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                Error *err)
{
    Dies dies;
    int rc = dies_open(data, bytes, &dies);
    if (rc)
        return err_set(err, rc, "its debug information is more than can be read");
    rc = schema_read_with(data, bytes, &dies, NULL, ret, room, ret_bytes, err);
    dies_done(&dies);
    return rc;
}
