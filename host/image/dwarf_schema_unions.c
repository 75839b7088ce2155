/* What KEEL_UNION and KEEL_CONVERT say, looked up in the types: where union and tag lie in their
 * record, which field of the union each value means. What can't be found is kept as a sentence,
 * since a declaration that means nothing is a mistake. Works on the reader's lists; one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keel/change.h>

#include "image/dwarf_schema.h"

enum { CASES_MOST = 4096 };

typedef struct Said {
    const char *type, *field, *tag;
    const char *cases; /* struct keel_when, not aligned */
    uint32_t count;
} Said;

static const SchemaType *type_at(const SchemaReader *r, uint32_t type)
{
    return SCHEMA_LIST(r->out.types, SchemaType) + type;
}

static const SchemaField *field_at(const SchemaReader *r, const SchemaType *t, uint32_t i)
{
    return SCHEMA_LIST(r->out.fields, SchemaField) + t->first + i;
}

static const char *text_of(const SchemaReader *r, uint32_t at)
{
    return r->out.strings.data + at;
}

static int has_fields(const SchemaType *t)
{
    return t->kind == SCHEMA_RECORD || t->kind == SCHEMA_UNION;
}

/* Which of the type's own fields is `name`, or is anonymous and holds it; -1. */
static int64_t field_with(const SchemaReader *r, const SchemaType *t, const char *name, int depth)
{
    for (uint32_t i = 0; i < t->fields && has_fields(t); i++) {
        const SchemaField *f = field_at(r, t, i);
        const char *is = text_of(r, f->name);
        if (*is ? !strcmp(is, name)
                : depth < SCHEMA_DEPTH && field_with(r, type_at(r, f->type), name, depth + 1) >= 0)
            return i;
    }
    return -1;
}

/* The field of that name, through anonymous ones; its place from the record's start. NULL. */
static const SchemaField *find_field(const SchemaReader *r, uint32_t record, const char *name,
                                     uint64_t *at)
{
    const SchemaType *t = type_at(r, record);
    for (int depth = 0; depth < SCHEMA_DEPTH; depth++) {
        int64_t i = field_with(r, t, name, 0);
        if (i < 0)
            return NULL;
        const SchemaField *f = field_at(r, t, (uint32_t)i);
        *at += f->offset;
        if (*text_of(r, f->name))
            return f;
        t = type_at(r, f->type);
    }
    return NULL;
}

/* The anonymous union of which the first named member is one. */
static int find_nameless(const SchemaReader *r, uint32_t record, const char *member, int depth,
                         uint64_t *at, uint32_t *ret)
{
    const SchemaType *t = type_at(r, record);
    for (uint32_t i = 0; i < t->fields && has_fields(t) && depth < SCHEMA_DEPTH; i++) {
        const SchemaField *f = field_at(r, t, i);
        const SchemaType *ft = type_at(r, f->type);
        if (*text_of(r, f->name) || !has_fields(ft))
            continue;
        uint64_t inner = *at + f->offset;
        if (ft->kind == SCHEMA_UNION && field_with(r, ft, member, 0) >= 0) {
            *at = inner;
            *ret = f->type;
            return 1;
        }
        if (ft->kind == SCHEMA_RECORD &&
            find_nameless(r, f->type, member, depth + 1, &inner, ret)) {
            *at = inner;
            return 1;
        }
    }
    return 0;
}

static void keep(SchemaReader *r, const SchemaUnion *u)
{
    if (buf_add(&r->out.unions, u, sizeof *u))
        schema_fail(r, KEEL_ENOMEM);
}

static void mistaken(SchemaReader *r, const Said *said, const char *what, const char *name)
{
    char text[400];
    snprintf(text, sizeof text, "KEEL_UNION(%.80s, %.80s, %.80s, …): %.60s %.60s", said->type,
             said->field, said->tag, what, name);
    keep(r, &(SchemaUnion){.why = schema_intern(r, text)});
}

static const char *member_of(const Said *said, uint32_t i)
{
    return said->cases + (size_t)i * sizeof(struct keel_when) + offsetof(struct keel_when, member);
}

/* Where the union lies in the record. */
static int find_union(SchemaReader *r, const Said *said, uint32_t record, SchemaUnion *ret)
{
    const SchemaField *f;
    if (*said->field) {
        f = find_field(r, record, said->field, &ret->offset);
        if (!f || type_at(r, f->type)->kind != SCHEMA_UNION) {
            mistaken(r, said, "there is no union called", said->field);
            return 0;
        }
        ret->type = f->type;
    } else if (type_at(r, record)->kind == SCHEMA_UNION) {
        ret->type = record;
    } else if (!find_nameless(r, record, member_of(said, 0), 0, &ret->offset, &ret->type)) {
        mistaken(r, said, "no union without a name has a", member_of(said, 0));
        return 0;
    }
    f = find_field(r, record, said->tag, &ret->tag_offset);
    const SchemaType *t = f ? type_at(r, f->type) : NULL;
    if (!t || t->bytes > 8 ||
        (t->kind != SCHEMA_INT && t->kind != SCHEMA_ENUM && t->kind != SCHEMA_BOOL)) {
        mistaken(r, said, "there is no integer or enum called", said->tag);
        return 0;
    }
    ret->tag = f->name;
    ret->tag_type = f->type;
    ret->tag_bit = f->bit;
    ret->tag_bits = f->bits;
    return 1;
}

static void resolve(SchemaReader *r, const void *what, uint32_t record)
{
    const Said *said = what;
    SchemaUnion u = {.record = record, .cases = said->count};
    if (!find_union(r, said, record, &u))
        return;
    u.first = (uint32_t)SCHEMA_COUNT(r->out.cases, SchemaCase);
    for (uint32_t i = 0; i < said->count; i++) {
        struct keel_when when;
        memcpy(&when, said->cases + (size_t)i * sizeof when, sizeof when);
        int64_t field = field_with(r, type_at(r, u.type), when.member, 0);
        if (field < 0) {
            mistaken(r, said, "the union has no", when.member);
            return;
        }
        SchemaCase one = {.value = (int64_t)((uint64_t)when.value_high << 32 | when.value_low),
                          .field = (uint32_t)field};
        if (buf_add(&r->out.cases, &one, sizeof one))
            schema_fail(r, KEEL_ENOMEM);
    }
    keep(r, &u);
}

/* The three texts at the end. */
static int take_texts(const char *at, size_t bytes, Said *said)
{
    const char **to[] = {&said->type, &said->field, &said->tag};
    for (int i = 0; i < 3; i++) {
        const char *end = memchr(at, 0, bytes);
        if (!end)
            return 0;
        *to[i] = at;
        bytes -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    return 1;
}

/* All types of that name: files may have their own. */
static int each_type(SchemaReader *r, const char *wanted,
                     void (*found)(SchemaReader *r, const void *said, uint32_t type),
                     const void *said)
{
    const SchemaName *names = SCHEMA_LIST(r->out.names, SchemaName);
    size_t count = SCHEMA_COUNT(r->out.names, SchemaName);
    uint32_t last = 0;
    for (size_t i = 0; i < count && !r->failed; i++) {
        const SchemaType *t = type_at(r, names[i].type);
        if (strcmp(text_of(r, names[i].text), wanted) || names[i].type == last || !has_fields(t) ||
            t->flags & SCHEMA_INCOMPLETE)
            continue;
        last = names[i].type;
        found(r, said, last);
    }
    return last != 0;
}

static void each_called(SchemaReader *r, const char *type,
                        void (*found)(SchemaReader *r, const void *said, uint32_t type),
                        const void *said)
{
    char wanted[300];
    int stars;
    if (schema_canonical(type, wanted, sizeof wanted, &stars) || stars)
        return;
    const char *plain = !strncmp(wanted, "struct ", 7)  ? wanted + 7
                        : !strncmp(wanted, "union ", 6) ? wanted + 6
                                                        : wanted;
    if (!each_type(r, wanted, found, said) && plain != wanted)
        each_type(r, plain, found, said); /* C++ */
}

void schema_take_union(SchemaReader *r, const char *desc, size_t bytes)
{
    Said said = {.cases = desc + 4};
    if (bytes < 4)
        return;
    memcpy(&said.count, desc, 4);
    if (!said.count || said.count > CASES_MOST ||
        said.count > (bytes - 4) / sizeof(struct keel_when))
        return;
    size_t before = 4 + (size_t)said.count * sizeof(struct keel_when);
    if (!take_texts(desc + before, bytes - before, &said))
        return;
    for (uint32_t i = 0; i < said.count; i++)
        if (!memchr(member_of(&said, i), 0, sizeof((struct keel_when *)0)->member))
            return;
    each_called(r, said.type, resolve, &said);
}

static void take_version(SchemaReader *r, const void *what, uint32_t type)
{
    SchemaHook hook = *(const SchemaHook *)what;
    hook.record = type;
    if (type_at(r, type)->kind == SCHEMA_RECORD && buf_add(&r->out.hooks, &hook, sizeof hook))
        schema_fail(r, KEEL_ENOMEM);
}

void schema_take_hook(SchemaReader *r, const char *desc, size_t bytes)
{
    SchemaHook hook = {0};
    if (bytes < 6 || !memchr(desc + 4, 0, bytes - 4))
        return;
    memcpy(&hook.version, desc, 4);
    hook.type = schema_intern(r, desc + 4);
    if (hook.version)
        each_called(r, desc + 4, take_version, &hook);
}
