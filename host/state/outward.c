/* See the header. Owns, while it looks, a note for each type whether a pointer is in it. Any one
 * thread. */
#include "state/outward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = SCHEMA_DEPTH, PATH_BYTES = 100 };
enum { UNKNOWN, HAS_NONE, HAS_SOME };

/* No program's memory is below or above. */
#define LOWEST UINT64_C(0x10000)
#define HIGHEST UINT64_C(0x800000000000)

/* What a record of the arena's types is in the schema, by the address of its name: there are few,
 * and many objects. */
enum { CACHE = 256 };
typedef struct Known {
    const char *name, *file;
    uint64_t each;
    uint32_t type;
    int there;
} Known;

typedef struct Search {
    const Frozen *frozen;
    const Schema *schema;
    Outward *found;
    uint8_t *has; /* by type */
    const char *root;
    Known known[CACHE];
} Search;

static int has_pointers(Search *s, uint32_t type, int depth)
{
    const Schema *schema = s->schema;
    const SchemaType *t = &schema->types[type];
    if (s->has[type] != UNKNOWN || depth > DEEPEST)
        return s->has[type] == HAS_SOME;
    int has = t->kind == SCHEMA_POINTER;
    if (t->kind == SCHEMA_ARRAY)
        has = has_pointers(s, t->target, depth + 1);
    for (uint32_t i = 0; t->kind == SCHEMA_RECORD && i < t->fields && !has; i++)
        has = has_pointers(s, schema->fields[t->first + i].type, depth + 1);
    s->has[type] = has ? HAS_SOME : HAS_NONE;
    return has;
}

static void note(Search *s, const char *path, uint64_t value)
{
    Outward *f = s->found;
    char name[OUTWARD_NAME_BYTES];
    snprintf(name, sizeof name, "%.50s%s%s", s->root, *path && *path != '[' ? "." : "", path);
    f->pointers++;
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->fields[i].name, name)) {
            f->fields[i].times++;
            return;
        }
    if (f->count == OUTWARD_NAMED) {
        f->more = 1;
        return;
    }
    struct OutwardField *field = &f->fields[f->count++];
    memcpy(field->name, name, sizeof name);
    field->times = 1;
    field->value = value;
}

static void look_at_pointer(Search *s, const uint8_t *data, const char *path)
{
    const SnapshotInfo *info = &frozen_snapshot(s->frozen)->info;
    uint64_t value;
    memcpy(&value, data, sizeof value);
    if (value >= LOWEST && value < HIGHEST && value - info->base > info->bytes &&
        (value < info->load_first || value > info->load_last))
        note(s, path, value);
}

static void walk(Search *s, uint32_t type, const uint8_t *data, uint64_t bytes, const char *path,
                 int depth)
{
    const Schema *schema = s->schema;
    const SchemaType *t = &schema->types[type];
    if (depth > DEEPEST || !has_pointers(s, type, depth))
        return;
    if (t->kind == SCHEMA_POINTER) {
        if (t->bytes == 8 && bytes >= 8)
            look_at_pointer(s, data, path);
        return;
    }
    char part[PATH_BYTES];
    if (t->kind == SCHEMA_ARRAY) {
        uint64_t each = schema->types[t->target].bytes;
        snprintf(part, sizeof part, "%s[]", path);
        for (uint64_t at = 0; each && each <= bytes - at; at += each)
            walk(s, t->target, data + at, each, part, depth + 1);
        return;
    }
    for (uint32_t i = 0; t->kind == SCHEMA_RECORD && i < t->fields; i++) {
        const SchemaField *f = &schema->fields[t->first + i];
        const SchemaType *ft = &schema->types[f->type];
        const char *name = schema_text(schema, f->name);
        if (f->flags & SCHEMA_TABLE || f->offset > bytes)
            continue;
        uint64_t own = ft->flags & SCHEMA_FLEXIBLE ? bytes - f->offset : ft->bytes;
        snprintf(part, sizeof part, "%s%s%s", path, *path && *name ? "." : "", name);
        if (own <= bytes - f->offset)
            walk(s, f->type, data + f->offset, own, part, depth + 1);
    }
}

static const Known *known_of(Search *s, const FrozenObject *object)
{
    uint64_t each = object->bytes / object->count;
    Known *k = &s->known[((uintptr_t)object->type >> 3) % CACHE];
    if (k->name == object->type && k->file == object->file && k->each == each)
        return k;
    *k = (Known){.name = object->type, .file = object->file, .each = each};
    k->there = schema_find(s->schema, object->type, object->file, &k->type) == KEEL_OK &&
               s->schema->types[k->type].bytes == each;
    return k;
}

static int visit(const FrozenObject *object, void *user)
{
    Search *s = user;
    if (!*object->type || !object->count)
        return 0;
    const Known *k = known_of(s, object);
    if (!k->there || !has_pointers(s, k->type, 0))
        return 0;
    s->root = object->type;
    for (uint64_t i = 0; i < object->count; i++)
        walk(s, k->type, object->data + i * k->each, k->each, "", 0);
    return 0;
}

/* A static of the module, where its bytes are in the snapshot; not what the host's tables are
 * cached in. */
static void look_at_static(Search *s, const SchemaStatic *v)
{
    const Snapshot *snapshot = frozen_snapshot(s->frozen);
    const Schema *schema = s->schema;
    if (v->place != SCHEMA_DATA && v->place != SCHEMA_ZERO)
        return;
    /* The schema's addresses are the file's: the bias is what the first range was moved by. */
    for (int i = 0; i < snapshot->span_count; i++) {
        const SnapshotSpan *span = &snapshot->spans[i];
        uint64_t first = schema->range_count ? schema->ranges[0].address / 4096 * 4096 : 0;
        uint64_t at = v->address - first + snapshot->info.load_first;
        if (at < span->address || at - span->address >= span->bytes ||
            v->bytes > span->bytes - (at - span->address))
            continue;
        s->root = schema_text(schema, v->name);
        walk(s, v->type, span->data + (at - span->address), v->bytes, "", 0);
    }
}

void outward_find(const Frozen *frozen, const Schema *schema, Outward *ret)
{
    *ret = (Outward){0};
    Search *search = calloc(1, sizeof *search);
    uint8_t *has = calloc(schema->type_count + 1, 1);
    if (search && has) {
        *search = (Search){.frozen = frozen, .schema = schema, .found = ret, .has = has};
        frozen_each(frozen, visit, search);
        for (uint32_t i = 0; i < schema->static_count; i++)
            look_at_static(search, &schema->statics[i]);
    }
    free(has);
    free(search);
}

void outward_text(const Outward *f, char *to, size_t room)
{
    int n = snprintf(to, room, "%llu %s out of the state: ", (unsigned long long)f->pointers,
                     f->pointers == 1 ? "pointer leads" : "pointers lead");
    for (int i = 0; i < f->count && n >= 0 && (size_t)n < room; i++) {
        const struct OutwardField *field = &f->fields[i];
        n += snprintf(to + n, room - (size_t)n, "%s%s (0x%llx", i ? ", " : "", field->name,
                      (unsigned long long)field->value);
        if (field->times > 1 && (size_t)n < room)
            n += snprintf(to + n, room - (size_t)n, ", %llu times",
                          (unsigned long long)field->times);
        if ((size_t)n < room)
            n += snprintf(to + n, room - (size_t)n, ")");
    }
    if (f->more && n >= 0 && (size_t)n < room)
        snprintf(to + n, room - (size_t)n, " and more");
}
