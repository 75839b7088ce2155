/* Values of a state by type. Owns nothing. Numbers of the schema were checked on arrival; those of
 * the state were not, and are only shown. */
#include "app/state_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64, NAMED = 400 };

static const SchemaType *type_of(const StateLook *look, uint32_t type)
{
    return &look->types->schema.types[type];
}

static const char *name_of(const StateLook *look, uint32_t at)
{
    return schema_text(&look->types->schema, at);
}

static uint64_t load_bytes(const uint8_t *data, uint64_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, data, bytes < 8 ? bytes : 8);
    return value;
}

/* A whole number of up to 8 bytes, bit fields too; sign-extended when it has a sign. */
static uint64_t load_integer(const SchemaType *t, const StatePlace *place)
{
    unsigned __int128 wide = 0;
    uint64_t bytes = place->bits ? ((uint64_t)place->bit + place->bits + 7) / 8 : t->bytes;
    memcpy(&wide, place->data, bytes < 16 ? bytes : 16);
    unsigned width = place->bits ? place->bits : (unsigned)t->bytes * 8;
    uint64_t value = (uint64_t)(wide >> place->bit);
    if (width < 64) {
        value &= (UINT64_C(1) << width) - 1;
        if ((t->flags & SCHEMA_SIGNED) && width && value >> (width - 1))
            value |= ~UINT64_C(0) << width;
    }
    return value;
}

void state_json_string(Buf *out, const char *text, size_t bytes)
{
    buf_add(out, "\"", 1);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 32 || c >= 127)
            buf_printf(out, "\\u%04x", c); /* bytes, as Latin-1: nothing is lost */
        else
            buf_add(out, &text[i], 1);
    }
    buf_add(out, "\"", 1);
}

static int is_text(const StateLook *look, const SchemaType *t)
{
    return t->kind == SCHEMA_ARRAY && type_of(look, t->target)->kind == SCHEMA_INT &&
           (type_of(look, t->target)->flags & SCHEMA_TEXT) && type_of(look, t->target)->bytes == 1;
}

/* Text up to its NUL, when nothing but zeros follow; else it is an array of numbers. */
static int text_length(const StatePlace *place, size_t *ret)
{
    const uint8_t *end = memchr(place->data, 0, place->bytes);
    *ret = end ? (size_t)(end - place->data) : place->bytes;
    for (size_t i = *ret; i < place->bytes; i++)
        if (place->data[i])
            return 0;
    for (size_t i = 0; i < *ret; i++)
        if (place->data[i] < 32 && place->data[i] != '\n' && place->data[i] != '\t')
            return 0;
    return 1;
}

int state_value_has_parts(const StateLook *look, const StatePlace *place)
{
    const SchemaType *t = type_of(look, place->type);
    size_t length;
    if (t->kind == SCHEMA_ARRAY)
        return !is_text(look, t) || !text_length(place, &length);
    return t->kind == SCHEMA_RECORD || place->counts;
}

static void pointer_text(const StateLook *look, uint64_t value, Buf *out)
{
    const SnapshotInfo *info = &frozen_snapshot(look->frozen)->info;
    if (!value) {
        buf_printf(out, "null");
    } else if (value >= info->load_first && value < info->load_last) {
        uint64_t offset = value - info->load_first;
        int64_t f = schema_function_at(&look->types->schema, offset);
        const SchemaFunction *function = f >= 0 ? &look->types->schema.functions[f] : NULL;
        if (function && offset == function->address)
            buf_printf(out, "\"%s: %s\"", info->module, name_of(look, function->name));
        else
            buf_printf(out, "\"%s+0x%llx\"", info->module, (unsigned long long)offset);
    } else {
        buf_printf(out, "\"0x%llx\"", (unsigned long long)value);
    }
}

static void float_text(const SchemaType *t, const uint8_t *data, Buf *out)
{
    double value = 0;
    float small;
    long double large;
    if (t->bytes == 4) {
        memcpy(&small, data, 4);
        value = (double)small;
    } else if (t->bytes == 8) {
        memcpy(&value, data, 8);
    } else {
        memcpy(&large, data, t->bytes < sizeof large ? t->bytes : sizeof large);
        value = (double)large;
    }
    char text[40];
    int digits = 1; /* as few as give the same number again */
    do
        snprintf(text, sizeof text, "%.*g", digits, value);
    while (digits++ < 17 &&
           (t->bytes == 4 ? (double)strtof(text, NULL) != value : strtod(text, NULL) != value));
    if (strchr(text, 'e') && fabs(value) >= 1 && fabs(value) < 1e15)
        snprintf(text, sizeof text, "%.15g", value); /* 120, not 1.2e+02: as exact */
    if (isfinite(value))
        buf_printf(out, "%s", text);
    else
        buf_printf(out, "\"%s\"", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

static void bytes_text(const uint8_t *data, uint64_t bytes, Buf *out)
{
    buf_add(out, "\"hex:", 5);
    for (uint64_t i = 0; i < bytes; i++)
        buf_printf(out, "%02x", data[i]);
    buf_add(out, "\"", 1);
}

void state_value_text(const StateLook *look, const StatePlace *place, Buf *out)
{
    const Schema *schema = &look->types->schema;
    const SchemaType *t = type_of(look, place->type);
    size_t length;
    uint64_t value;
    switch ((SchemaKind)t->kind) {
    case SCHEMA_BOOL:
        buf_printf(out, "%s", load_integer(t, place) ? "true" : "false");
        return;
    case SCHEMA_INT:
        if (t->bytes > 8)
            break;
        value = load_integer(t, place);
        if (t->flags & SCHEMA_SIGNED)
            buf_printf(out, "%lld", (long long)value);
        else
            buf_printf(out, "%llu", (unsigned long long)value);
        return;
    case SCHEMA_ENUM:
        value = load_integer(t, place);
        for (uint32_t i = 0; i < t->fields; i++)
            if (schema->values[t->first + i].value == (int64_t)value) {
                const char *name = name_of(look, schema->values[t->first + i].name);
                state_json_string(out, name, strlen(name));
                return;
            }
        buf_printf(out, "%lld", (long long)value);
        return;
    case SCHEMA_FLOAT:
        float_text(t, place->data, out);
        return;
    case SCHEMA_POINTER:
        pointer_text(look, load_bytes(place->data, t->bytes), out);
        return;
    case SCHEMA_ARRAY:
        if (is_text(look, t) && text_length(place, &length)) {
            state_json_string(out, (const char *)place->data, length);
            return;
        }
        break;
    default:
        break;
    }
    bytes_text(place->data, place->bytes, out);
}

/* ---- parts ---- */

/* Element `index` of an array; 0 when it has none there. */
static int element(const StateLook *look, const StatePlace *array, uint64_t index, StatePlace *ret)
{
    const SchemaType *t = type_of(look, array->type), *e = type_of(look, t->target);
    if (!e->bytes || index >= array->bytes / e->bytes)
        return 0;
    *ret = (StatePlace){.address = array->address + index * e->bytes,
                        .data = array->data + index * e->bytes,
                        .bytes = e->bytes,
                        .type = t->target};
    state_value_whole(look, ret);
    return 1;
}

/* Which field of a union counts, + 1; its tag is in `holder`, or in the union itself. */
static uint32_t counts(const StateLook *look, const StatePlace *holder, uint32_t record,
                       uint64_t back, uint64_t offset, uint32_t type)
{
    const Schema *schema = &look->types->schema;
    const SchemaUnion *tagged = schema_union(schema, record, offset);
    if (!tagged || tagged->type != type)
        return 0;
    return (uint32_t)(schema_union_field(schema, tagged, holder->data - back) + 1);
}

void state_value_field(const StateLook *look, const StatePlace *record, const SchemaField *f,
                       StatePlace *ret)
{
    const SchemaType *t = type_of(look, f->type);
    *ret = (StatePlace){.address = record->address + f->offset,
                        .data = record->data + f->offset,
                        .bytes = t->flags & SCHEMA_FLEXIBLE ? record->bytes - f->offset : t->bytes,
                        .type = f->type,
                        .bit = f->bit,
                        .bits = f->bits};
    uint32_t holder = record->holder ? record->holder : record->type;
    uint64_t back = record->holder ? record->holder_at : 0;
    if (t->kind == SCHEMA_UNION) {
        ret->counts = counts(look, record, holder, back, back + f->offset, f->type);
        if (!ret->counts)
            ret->counts = counts(look, ret, f->type, 0, 0, f->type);
    }
    if (!f->name && t->kind == SCHEMA_RECORD &&
        type_of(look, record->type)->kind == SCHEMA_RECORD) {
        ret->holder = holder;
        ret->holder_at = back + f->offset;
    }
}

void state_value_whole(const StateLook *look, StatePlace *place)
{
    if (type_of(look, place->type)->kind == SCHEMA_UNION)
        place->counts = counts(look, place, place->type, 0, 0, place->type);
}

/* Not what a union holds now, nor its tag. */
static int is_idle(const StateLook *look, const StatePlace *in, uint32_t i, const SchemaField *f)
{
    const SchemaUnion *tagged = schema_union(&look->types->schema, in->type, 0);
    return in->counts && in->counts != i + 1 && (!tagged || tagged->tag != f->name);
}

/* A field by name, also of anonymous parts and base classes. */
static int field(const StateLook *look, const StatePlace *record, const char *name, size_t bytes,
                 int depth, StatePlace *ret)
{
    const SchemaType *t = type_of(look, record->type);
    if (depth > DEEPEST || (t->kind != SCHEMA_RECORD && t->kind != SCHEMA_UNION))
        return 0;
    for (uint32_t i = 0; i < t->fields; i++) {
        const SchemaField *f = &look->types->schema.fields[t->first + i];
        const char *is = name_of(look, f->name);
        StatePlace place;
        if (is_idle(look, record, i, f))
            continue;
        state_value_field(look, record, f, &place);
        if (strlen(is) == bytes && bytes && memcmp(is, name, bytes) == 0) {
            *ret = place;
            return 1;
        }
        if ((!*is || (f->flags & SCHEMA_BASE)) && field(look, &place, name, bytes, depth + 1, ret))
            return 1;
    }
    return 0;
}

/* What a pointer points at, as far as its object reaches. */
static int follow(const StateLook *look, const StatePlace *pointer, StatePlace *ret)
{
    const SchemaType *t = type_of(look, pointer->type);
    uint64_t address = load_bytes(pointer->data, t->bytes);
    FrozenObject object;
    if (t->kind != SCHEMA_POINTER || !address || !frozen_around(look->frozen, address, &object))
        return 0;
    uint64_t offset = address - object.address, need = type_of(look, t->target)->bytes;
    if (!need || need > object.bytes - offset)
        return 0;
    *ret = (StatePlace){
        .address = address, .data = object.data + offset, .bytes = need, .type = t->target};
    state_value_whole(look, ret);
    return 1;
}

/* The pointer as an array: p[3]. */
static int behind(const StateLook *look, const StatePlace *pointer, uint64_t index, StatePlace *ret)
{
    StatePlace first;
    FrozenObject object;
    if (!follow(look, pointer, &first) || !frozen_around(look->frozen, first.address, &object))
        return 0;
    uint64_t offset = first.address - object.address;
    if (index >= (object.bytes - offset) / first.bytes)
        return 0;
    first.address += index * first.bytes;
    first.data += index * first.bytes;
    state_value_whole(look, &first);
    *ret = first;
    return 1;
}

static void list_fields(const StateLook *look, const StatePlace *of, char *to, size_t room)
{
    const SchemaType *t = type_of(look, of->type);
    size_t used = 0;
    to[0] = 0;
    for (uint32_t i = 0; i < t->fields && used + 1 < room; i++) {
        const SchemaField *f = &look->types->schema.fields[t->first + i];
        const char *name = name_of(look, f->name);
        if (*name && (t->kind == SCHEMA_RECORD || (of->counts && !is_idle(look, of, i, f))))
            used += (size_t)snprintf(to + used, room - used, "%s%s", used ? ", " : "", name);
    }
}

static int root(const StateLook *look, StatePlace *ret, Error *err)
{
    FrozenObject object;
    uint32_t type;
    if (!frozen_root(look->frozen) || !frozen_at(look->frozen, frozen_root(look->frozen), &object))
        return err_set(err, KEEL_ENOTFOUND,
                       "the state has no root: the module never called keel_state");
    if (!state_types_find(look->types, &object, &type))
        return err_set(err, KEEL_ETYPE,
                       "the root's type `%s` of %llu bytes is not one that the module's debug "
                       "information has: give the build that ran by --module",
                       object.type, (unsigned long long)object.bytes);
    *ret = (StatePlace){
        .address = object.address, .data = object.data, .bytes = object.bytes, .type = type};
    state_value_whole(look, ret);
    return KEEL_OK;
}

static int step_name(const StateLook *look, StatePlace *place, const char **at, const char *path,
                     Error *err)
{
    size_t bytes = strcspn(*at, ".[");
    StatePlace target;
    if (type_of(look, place->type)->kind == SCHEMA_POINTER && follow(look, place, &target))
        *place = target;
    if (!field(look, place, *at, bytes, 0, &target)) {
        char fields[NAMED];
        list_fields(look, place, fields, sizeof fields);
        return err_set(err, KEEL_ENOTFOUND, "%.*s: `%s` has no \"%.*s\"%s%s",
                       (int)(*at - path + (int)bytes), path,
                       name_of(look, type_of(look, place->type)->name), (int)bytes, *at,
                       !*fields        ? ""
                       : place->counts ? ", by its tag it holds "
                                       : "; it has ",
                       fields);
    }
    *place = target;
    *at += bytes;
    return KEEL_OK;
}

static int step_index(const StateLook *look, StatePlace *place, const char **at, const char *path,
                      Error *err)
{
    char *end;
    errno = 0;
    unsigned long long index = strtoull(*at + 1, &end, 10);
    StatePlace target;
    if (end == *at + 1 || *end != ']' || errno)
        return err_set(err, KEEL_EINVAL, "%s: a number in brackets is missing", path);
    int there = type_of(look, place->type)->kind == SCHEMA_ARRAY
                    ? element(look, place, index, &target)
                    : behind(look, place, index, &target);
    if (!there)
        return err_set(err, KEEL_ENOTFOUND, "%.*s: there is no element %llu", (int)(end + 1 - path),
                       path, index);
    *place = target;
    *at = end + 1;
    return KEEL_OK;
}

int state_value_find(const StateLook *look, const char *path, StatePlace *ret, Error *err)
{
    StatePlace place;
    const char *at = path;
    int rc = root(look, &place, err);
    while (rc == KEEL_OK && *at) {
        if (*at == '[') {
            rc = step_index(look, &place, &at, path, err);
        } else {
            at += at > path && *at == '.';
            rc = step_name(look, &place, &at, path, err);
        }
    }
    if (rc == KEEL_OK)
        *ret = place;
    return rc;
}

/* Goes on with a path that has `used` bytes. */
static int inside(const StateLook *look, StatePlace place, uint64_t offset, StatePlace *ret,
                  char *path, size_t used, size_t room)
{
    for (int depth = 0; depth < DEEPEST && state_value_has_parts(look, &place); depth++) {
        const SchemaType *t = type_of(look, place.type);
        StatePlace part;
        if (t->kind == SCHEMA_ARRAY) {
            uint64_t size = type_of(look, t->target)->bytes;
            if (!size || !element(look, &place, offset / size, &part))
                return 0;
            used += (size_t)snprintf(path + used, used < room ? room - used : 0, "[%llu]",
                                     (unsigned long long)(offset / size));
            offset %= size;
        } else {
            const SchemaField *in = NULL;
            for (uint32_t i = 0; i < t->fields; i++) {
                const SchemaField *f = &look->types->schema.fields[t->first + i];
                if (place.counts && place.counts != i + 1)
                    continue;
                state_value_field(look, &place, f, &part);
                if (offset >= f->offset && offset - f->offset < (part.bytes ? part.bytes : 1))
                    in = f;
            }
            if (!in)
                return 0; /* between fields */
            state_value_field(look, &place, in, &part);
            used += (size_t)snprintf(path + used, used < room ? room - used : 0, "%s%s",
                                     *name_of(look, in->name) ? "." : "", name_of(look, in->name));
            offset -= in->offset;
        }
        if (used >= room)
            return 0;
        place = part;
    }
    *ret = place;
    return 1;
}

int state_value_inside(const StateLook *look, const StatePlace *whole, uint64_t offset,
                       StatePlace *ret, char *path, size_t room)
{
    path[0] = 0;
    return inside(look, *whole, offset, ret, path, 0, room);
}

int state_value_at(const StateLook *look, const FrozenObject *object, uint64_t offset,
                   StatePlace *ret, char *path, size_t room)
{
    uint32_t type;
    if (!state_types_find(look->types, object, &type))
        return 0;
    uint64_t each = object->bytes / object->count, index = offset / each;
    StatePlace place = {.address = object->address + index * each,
                        .data = object->data + index * each,
                        .bytes = each,
                        .type = type};
    state_value_whole(look, &place);
    size_t used = 0;
    path[0] = 0;
    if (object->count > 1)
        used = (size_t)snprintf(path, room, "[%llu]", (unsigned long long)index);
    return inside(look, place, offset % each, ret, path, used, room);
}
