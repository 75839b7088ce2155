/* A schema as one piece of memory: packed in the helper, checked on arrival. Owns nothing. */
#include "image/schema.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA_MAGIC UINT64_C(0x31616d6568637300)

enum { PARTS = 16, STRINGS = 14, INITIALS = 15 };

typedef struct Packed {
    uint64_t magic;
    uint32_t flags, version;
    uint64_t count[PARTS]; /* entries; strings and initials: bytes */
} Packed;

static const uint32_t SIZES[PARTS] = {sizeof(SchemaType),
                                      sizeof(SchemaField),
                                      sizeof(SchemaValue),
                                      sizeof(SchemaName),
                                      sizeof(SchemaStatic),
                                      sizeof(SchemaFunction),
                                      sizeof(SchemaSymbol),
                                      sizeof(SchemaLink),
                                      sizeof(SchemaRange),
                                      sizeof(SchemaRename),
                                      sizeof(SchemaUnion),
                                      sizeof(SchemaCase),
                                      sizeof(SchemaHook),
                                      sizeof(uint32_t),
                                      1,
                                      1};

static uint32_t version(void)
{
    uint32_t v = 1;
    for (int i = 0; i < PARTS; i++)
        v = v * 31 + SIZES[i];
    return v;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static void parts_of(const SchemaMaker *m, const Buf *ret[PARTS])
{
    const Buf *parts[PARTS] = {&m->types,   &m->fields,    &m->values,  &m->names,
                               &m->statics, &m->functions, &m->symbols, &m->links,
                               &m->ranges,  &m->renames,   &m->unions,  &m->cases,
                               &m->hooks,   &m->units,     &m->strings, &m->initials};
    memcpy(ret, parts, sizeof parts);
}

int schema_pack(const SchemaMaker *maker, void *to, size_t room, size_t *ret_bytes, Error *err)
{
    const Buf *parts[PARTS];
    parts_of(maker, parts);
    Packed head = {.magic = SCHEMA_MAGIC, .flags = maker->flags, .version = version()};
    size_t need = rounded(sizeof head);
    for (int i = 0; i < PARTS; i++) {
        head.count[i] = parts[i]->bytes / SIZES[i];
        need += rounded(parts[i]->bytes);
    }
    if (need > room)
        return err_set(err, KEEL_ELIMIT, "its types take more than %zu MiB", room >> 20);
    memset(to, 0, need);
    memcpy(to, &head, sizeof head);
    size_t at = rounded(sizeof head);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i]->bytes)
            memcpy((char *)to + at, parts[i]->data, parts[i]->bytes);
        at += rounded(parts[i]->bytes);
    }
    *ret_bytes = need;
    return KEEL_OK;
}

void schema_maker_done(SchemaMaker *maker)
{
    const Buf *parts[PARTS];
    if (!maker)
        return;
    parts_of(maker, parts);
    for (int i = 0; i < PARTS; i++)
        buf_done((Buf *)(uintptr_t)parts[i]);
    memset(maker, 0, sizeof *maker);
}

/* ---- checking ---- */

static int bad(Error *err, const char *what)
{
    return err_set(err, KEEL_EFAULT,
                   "its types were read as nonsense (%s): it is damaged or "
                   "malicious",
                   what);
}

static int map_parts(const uint8_t *data, size_t bytes, Schema *s, Error *err)
{
    Packed head;
    if (bytes < sizeof head || (uintptr_t)data % 16)
        return bad(err, "size");
    memcpy(&head, data, sizeof head);
    if (head.magic != SCHEMA_MAGIC || head.version != version())
        return bad(err, "form");
    const void *at[PARTS];
    size_t offset = rounded(sizeof head);
    for (int i = 0; i < PARTS; i++) {
        size_t left = offset <= bytes ? bytes - offset : 0;
        if (head.count[i] > left / SIZES[i] || head.count[i] > UINT32_MAX - 1)
            return bad(err, "counts");
        at[i] = data + offset;
        offset += rounded(head.count[i] * SIZES[i]);
    }
    *s = (Schema){.flags = head.flags,
                  .type_count = (uint32_t)head.count[0],
                  .field_count = (uint32_t)head.count[1],
                  .value_count = (uint32_t)head.count[2],
                  .name_count = (uint32_t)head.count[3],
                  .static_count = (uint32_t)head.count[4],
                  .function_count = (uint32_t)head.count[5],
                  .symbol_count = (uint32_t)head.count[6],
                  .link_count = (uint32_t)head.count[7],
                  .range_count = (uint32_t)head.count[8],
                  .rename_count = (uint32_t)head.count[9],
                  .union_count = (uint32_t)head.count[10],
                  .case_count = (uint32_t)head.count[11],
                  .hook_count = (uint32_t)head.count[12],
                  .unit_count = (uint32_t)head.count[13],
                  .string_bytes = (uint32_t)head.count[STRINGS],
                  .initial_bytes = (uint32_t)head.count[INITIALS],
                  .types = at[0],
                  .fields = at[1],
                  .values = at[2],
                  .names = at[3],
                  .statics = at[4],
                  .functions = at[5],
                  .symbols = at[6],
                  .links = at[7],
                  .ranges = at[8],
                  .renames = at[9],
                  .unions = at[10],
                  .cases = at[11],
                  .hooks = at[12],
                  .units = at[13],
                  .strings = at[STRINGS],
                  .initials = at[INITIALS]};
    if (!s->string_bytes || s->strings[0] || s->strings[s->string_bytes - 1])
        return bad(err, "strings");
    return KEEL_OK;
}

static int in(uint32_t first, uint32_t count, uint32_t all)
{
    return first <= all && count <= all - first;
}

static int check_field(const Schema *s, const SchemaType *record, const SchemaField *f)
{
    if (f->name >= s->string_bytes || f->spelled >= s->string_bytes || f->type >= s->type_count)
        return 0;
    const SchemaType *t = &s->types[f->type];
    if (f->bits) {
        if (f->bit > 7 || f->bits > 64 ||
            (t->kind != SCHEMA_INT && t->kind != SCHEMA_BOOL && t->kind != SCHEMA_ENUM &&
             t->kind != SCHEMA_OPAQUE))
            return 0;
        uint64_t last = f->offset + ((uint64_t)f->bit + f->bits + 7) / 8;
        return f->offset <= record->bytes && last <= record->bytes;
    }
    return f->offset <= record->bytes && t->bytes <= record->bytes - f->offset;
}

static int check_type(const Schema *s, const SchemaType *t)
{
    if (t->name >= s->string_bytes || t->kind >= SCHEMA_KINDS || t->target >= s->type_count ||
        (t->unit >= s->unit_count && t->unit))
        return 0;
    if (t->fields && t->kind != SCHEMA_RECORD && t->kind != SCHEMA_UNION && t->kind != SCHEMA_ENUM)
        return 0;
    switch (t->kind) {
    case SCHEMA_BOOL:
        return t->bytes == 1;
    case SCHEMA_INT:
        return t->bytes == 1 || t->bytes == 2 || t->bytes == 4 || t->bytes == 8 || t->bytes == 16;
    case SCHEMA_FLOAT:
        return t->bytes == 4 || t->bytes == 8 || t->bytes == 16;
    case SCHEMA_ENUM:
        return (t->bytes == 1 || t->bytes == 2 || t->bytes == 4 || t->bytes == 8) &&
               in(t->first, t->fields, s->value_count);
    case SCHEMA_POINTER:
        return t->bytes == 8;
    case SCHEMA_ARRAY: {
        const SchemaType *e = &s->types[t->target];
        uint64_t all;
        if (t->flags & SCHEMA_FLEXIBLE)
            return t->bytes == 0 && t->count == 0;
        return !__builtin_mul_overflow(e->bytes, t->count, &all) && all == t->bytes;
    }
    case SCHEMA_RECORD:
    case SCHEMA_UNION:
        if (!in(t->first, t->fields, s->field_count) ||
            (t->flags & SCHEMA_INCOMPLETE && (t->fields || t->bytes)))
            return 0;
        for (uint32_t i = 0; i < t->fields; i++)
            if (!check_field(s, t, &s->fields[t->first + i]))
                return 0;
        return 1;
    default:
        return 1;
    }
}

/* What a type holds by value. Depth 0: not known yet. */
typedef struct Extent {
    uint32_t depth, parts;
} Extent;

/* The limit of depth and above: too deep, or a circle, which is left at once: what is on a circle
 * is never known, and would be asked as often as there are ways to it. */
static Extent extent(const Schema *s, Extent *known, uint32_t type, uint32_t level)
{
    const SchemaType *t = &s->types[type];
    const Extent too_deep = {.depth = SCHEMA_DEPTH + 1};
    Extent all = {.depth = 0, .parts = 1};
    if (known[type].depth)
        return known[type];
    if (level >= SCHEMA_DEPTH)
        return too_deep;
    int is_array = t->kind == SCHEMA_ARRAY;
    uint32_t count = is_array ? 1 : t->kind == SCHEMA_ENUM ? 0 : t->fields;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t held = is_array ? t->target : s->fields[t->first + i].type;
        Extent e = extent(s, known, held, level + 1);
        if (e.depth >= SCHEMA_DEPTH)
            return too_deep;
        all.depth = e.depth > all.depth ? e.depth : all.depth;
        all.parts = all.parts + e.parts > SCHEMA_PARTS ? SCHEMA_PARTS + 1 : all.parts + e.parts;
    }
    all.depth++;
    return known[type] = all;
}

static int check_types(const Schema *s, Error *err)
{
    if (!s->type_count || s->types[0].kind != SCHEMA_VOID || s->types[0].bytes)
        return bad(err, "void");
    for (uint32_t i = 0; i < s->type_count; i++)
        if (!check_type(s, &s->types[i]))
            return bad(err, "a type");
    Extent *known = calloc(s->type_count, sizeof *known);
    if (!known)
        return err_set(err, KEEL_ENOMEM, "no memory for its types");
    int rc = 0;
    for (uint32_t i = 0; i < s->type_count && !rc; i++) {
        Extent e = extent(s, known, i, 0);
        rc = e.depth > SCHEMA_DEPTH   ? bad(err, "a type that holds itself")
             : e.parts > SCHEMA_PARTS ? bad(err, "a type of too many parts")
                                      : 0;
    }
    free(known);
    return rc;
}

static int order_name(const Schema *s, const SchemaName *a, const SchemaName *b)
{
    int c = strcmp(schema_text(s, a->text), schema_text(s, b->text));
    return c ? c : (a->unit > b->unit) - (a->unit < b->unit);
}

static int check_union(const Schema *s, const SchemaUnion *u)
{
    if (u->why >= s->string_bytes || u->tag >= s->string_bytes || u->record >= s->type_count ||
        u->type >= s->type_count || u->tag_type >= s->type_count ||
        !in(u->first, u->cases, s->case_count))
        return 0;
    if (!u->record)
        return u->why != 0;
    const SchemaType *record = &s->types[u->record], *t = &s->types[u->type];
    const SchemaType *tag = &s->types[u->tag_type];
    const SchemaField at = {
        .offset = u->tag_offset, .type = u->tag_type, .bit = u->tag_bit, .bits = u->tag_bits};
    if ((record->kind != SCHEMA_RECORD && record->kind != SCHEMA_UNION) ||
        t->kind != SCHEMA_UNION || u->offset > record->bytes ||
        t->bytes > record->bytes - u->offset || !check_field(s, record, &at) || tag->bytes > 8 ||
        (tag->kind != SCHEMA_INT && tag->kind != SCHEMA_ENUM && tag->kind != SCHEMA_BOOL))
        return 0;
    for (uint32_t i = 0; i < u->cases; i++)
        if (s->cases[u->first + i].field >= t->fields)
            return 0;
    return 1;
}

static int check_names(const Schema *s, Error *err)
{
    for (uint32_t i = 0; i < s->name_count; i++) {
        const SchemaName *n = &s->names[i];
        if (n->text >= s->string_bytes || n->type >= s->type_count ||
            (n->unit >= s->unit_count && n->unit != SCHEMA_ANY_UNIT))
            return bad(err, "a name");
        if (i && order_name(s, n - 1, n) > 0)
            return bad(err, "the order of names");
    }
    for (uint32_t i = 0; i < s->value_count; i++)
        if (s->values[i].name >= s->string_bytes)
            return bad(err, "an enumerator");
    for (uint32_t i = 0; i < s->unit_count; i++)
        if (s->units[i] >= s->string_bytes)
            return bad(err, "a unit");
    for (uint32_t i = 0; i < s->rename_count; i++) {
        const SchemaRename *r = &s->renames[i];
        if (r->type >= s->string_bytes || r->from >= s->string_bytes || r->to >= s->string_bytes)
            return bad(err, "a renamed field");
    }
    for (uint32_t i = 0; i < s->union_count; i++)
        if (!check_union(s, &s->unions[i]))
            return bad(err, "the tag of a union");
    for (uint32_t i = 0; i < s->hook_count; i++)
        if (s->hooks[i].record >= s->type_count || s->hooks[i].type >= s->string_bytes ||
            s->types[s->hooks[i].record].kind != SCHEMA_RECORD || !s->hooks[i].version)
            return bad(err, "the version of a type");
    return KEEL_OK;
}

static int span_sound(uint64_t address, uint64_t bytes)
{
    return address <= UINT64_MAX / 4 && bytes <= UINT64_MAX / 4;
}

static int check_static(const Schema *s, const SchemaStatic *v)
{
    if (!span_sound(v->address, v->bytes) || v->name >= s->string_bytes ||
        v->function >= s->string_bytes || v->unit >= s->unit_count || v->type >= s->type_count ||
        v->place >= SCHEMA_PLACES || s->types[v->type].bytes > v->bytes)
        return 0;
    return !v->init_at ||
           (v->init_at - 1 <= s->initial_bytes && v->bytes <= s->initial_bytes - (v->init_at - 1));
}

static int check_places(const Schema *s, Error *err)
{
    for (uint32_t i = 0; i < s->static_count; i++)
        if (!check_static(s, &s->statics[i]) ||
            (i && s->statics[i].address < s->statics[i - 1].address))
            return bad(err, "a static");
    for (uint32_t i = 0; i < s->function_count; i++) {
        const SchemaFunction *f = &s->functions[i];
        if (!span_sound(f->address, f->bytes) || f->name >= s->string_bytes ||
            f->unit >= s->unit_count || (i && f->address < f[-1].address))
            return bad(err, "a function");
    }
    for (uint32_t i = 0; i < s->symbol_count; i++) {
        const SchemaSymbol *y = &s->symbols[i];
        if (!span_sound(y->address, y->bytes) || y->name >= s->string_bytes ||
            (i && y->address < y[-1].address))
            return bad(err, "a symbol");
    }
    for (uint32_t i = 0; i < s->link_count; i++)
        if (s->links[i].place > UINT64_MAX / 4 || (i && s->links[i].place < s->links[i - 1].place))
            return bad(err, "an address in an initialiser");
    for (uint32_t i = 0; i < s->range_count; i++) {
        const SchemaRange *r = &s->ranges[i];
        if (!span_sound(r->address, r->bytes) || r->kind > SCHEMA_CODE ||
            (i && r->address < r[-1].address + r[-1].bytes))
            return bad(err, "a range");
    }
    return KEEL_OK;
}

int schema_check(const void *data, size_t bytes, Schema *ret, Error *err)
{
    Schema s;
    int rc = map_parts(data, bytes, &s, err);
    rc = rc ? rc : check_types(&s, err);
    rc = rc ? rc : check_names(&s, err);
    rc = rc ? rc : check_places(&s, err);
    if (!rc)
        *ret = s;
    return rc;
}
