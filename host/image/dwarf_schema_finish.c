/* What is said once all units have been read: names of pointers and arrays, hashes, one entry for
 * types that are the same in several units. Works on the reader's lists; one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_schema.h"

enum { TEXT_MOST = 500, NAME_DEPTH = 8, ROUNDS_MOST = 64 };

typedef struct Finish {
    SchemaReader *r;
    SchemaType *types;
    SchemaField *fields;
    uint32_t count;
    Hash *now, *next;    /* what tells types apart, a round */
    uint32_t *same, *to; /* the first type that is the same; its place in the packed list */
    uint8_t *state;
    uint32_t *parts; /* places by value, as schema_check counts them */
} Finish;

static const char *text_of(const Finish *f, uint32_t at)
{
    return f->r->out.strings.data + at;
}

static Hash mix(uint64_t tag, Hash a, uint64_t b, uint64_t c)
{
    const uint64_t bits[] = {tag, a.low, a.high, b, c};
    return hash_bytes(bits, sizeof bits);
}

static Hash of_text(const char *text)
{
    return hash_bytes(text, strlen(text));
}

/* ---- declared here, defined in another unit ---- */

static int by_name(const void *a, const void *b)
{
    const SchemaName *x = a, *y = b;
    return x->text != y->text ? (x->text < y->text ? -1 : 1)
                              : (x->type > y->type) - (x->type < y->type);
}

static int is_declared(const Finish *f, uint32_t type)
{
    return (f->types[type].flags & SCHEMA_INCOMPLETE) != 0;
}

/* f->same[i]: the definition of what `i` only declares. */
static void find_definitions(Finish *f)
{
    SchemaName *names = SCHEMA_LIST(f->r->out.names, SchemaName);
    size_t count = SCHEMA_COUNT(f->r->out.names, SchemaName), first = 0;
    for (uint32_t i = 0; i < f->count; i++)
        f->same[i] = i;
    if (count)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i <= count; i++) {
        if (i < count && names[i].text == names[first].text)
            continue;
        uint32_t found = 0;
        int clear = 1;
        for (size_t k = first; k < i; k++) {
            uint32_t t = names[k].type;
            if (is_declared(f, t) || !t)
                continue;
            /* Two definitions that look alike from the outside are one for a declaration. */
            clear = clear && (!found || (f->types[found].bytes == f->types[t].bytes &&
                                         f->types[found].fields == f->types[t].fields));
            found = found ? found : t;
        }
        for (size_t k = first; k < i && found && clear; k++)
            if (is_declared(f, names[k].type))
                f->same[names[k].type] = found;
        first = i;
    }
}

static void use_definitions(Finish *f)
{
    SchemaName *names = SCHEMA_LIST(f->r->out.names, SchemaName);
    size_t count = SCHEMA_COUNT(f->r->out.names, SchemaName);
    for (uint32_t i = 0; i < f->count; i++)
        f->types[i].target = f->same[f->types[i].target];
    for (size_t i = 0; i < count; i++)
        names[i].type = f->same[names[i].type];
}

/* ---- names ---- */

static void name_type(Finish *f, uint32_t index, char *ret, size_t room, int depth)
{
    const SchemaType *t = &f->types[index];
    char inner[TEXT_MOST];
    const char *said = text_of(f, t->name);
    if (*said || depth >= NAME_DEPTH) {
        snprintf(ret, room, "%s", *said ? said : "…");
    } else if (!index) {
        snprintf(ret, room, "void");
    } else if (t->kind == SCHEMA_POINTER) {
        const SchemaType *to = &f->types[t->target];
        name_type(f, t->target, inner, sizeof inner, depth + 1);
        size_t n = strlen(inner);
        int is_function = to->kind == SCHEMA_FUNCTION;
        snprintf(ret, room, "%.400s%s%s", is_function ? "function" : inner,
                 n && inner[n - 1] == '*' ? "" : " ", t->flags & SCHEMA_REFERENCE ? "&" : "*");
    } else if (t->kind == SCHEMA_ARRAY) {
        char counts[120] = "";
        size_t n = 0;
        uint32_t at = index;
        for (int i = 0; i < 5 && f->types[at].kind == SCHEMA_ARRAY; i++) {
            int is_open = f->types[at].flags & SCHEMA_FLEXIBLE;
            char number[24] = "";
            if (!is_open)
                snprintf(number, sizeof number, "%llu", (unsigned long long)f->types[at].count);
            n += (size_t)snprintf(counts + n, sizeof counts - n, "[%s]", number);
            at = f->types[at].target;
        }
        name_type(f, at, inner, sizeof inner, depth + 1);
        snprintf(ret, room, "%.380s%s", inner, counts);
    } else {
        snprintf(ret, room, "%s",
                 t->kind == SCHEMA_RECORD     ? "struct {…}"
                 : t->kind == SCHEMA_UNION    ? "union {…}"
                 : t->kind == SCHEMA_ENUM     ? "enum {…}"
                 : t->kind == SCHEMA_FUNCTION ? "function"
                                              : "?");
    }
}

static void name_all(Finish *f)
{
    char line[TEXT_MOST];
    size_t fields = SCHEMA_COUNT(f->r->out.fields, SchemaField);
    uint32_t *names = calloc(f->count, sizeof *names);
    if (!names) {
        schema_fail(f->r, KEEL_ENOMEM);
        return;
    }
    for (uint32_t i = 0; i < f->count; i++) {
        name_type(f, i, line, sizeof line, 0);
        names[i] = schema_intern(f->r, line);
    }
    for (size_t i = 0; i < fields; i++)
        if (!f->fields[i].spelled)
            f->fields[i].spelled = names[f->fields[i].type];
    for (uint32_t i = 0; i < f->count; i++)
        f->types[i].name = names[i];
    free(names);
}

/* ---- hashes ---- */

enum { NEW, BUSY, DONE };

static void add_parts(Finish *f, uint32_t type, uint32_t held)
{
    f->parts[type] += f->parts[held];
    if (f->parts[type] <= SCHEMA_PARTS)
        return;
    f->parts[type] = SCHEMA_PARTS + 1;
    schema_fail(f->r, KEEL_ELIMIT);
}

static Hash shallow(Finish *f, uint32_t index)
{
    SchemaType *t = &f->types[index];
    if (f->state[index] == DONE)
        return t->hash;
    if (f->state[index] == BUSY)
        return (Hash){2, 2}; /* a circle by value is nobody's type: schema_check refuses it */
    f->state[index] = BUSY;
    f->parts[index] = 1;
    uint16_t flags = t->flags & (SCHEMA_SIGNED | SCHEMA_TEXT | SCHEMA_FLEXIBLE | SCHEMA_VIRTUAL);
    Hash hash = mix(t->kind, (Hash){0}, t->bytes, flags);
    if (t->kind == SCHEMA_POINTER) {
        const SchemaType *to = &f->types[t->target];
        const char *name = to->kind == SCHEMA_FUNCTION ? "function" : text_of(f, to->name);
        hash = mix(1, hash, of_text(name).low, 0);
    } else if (t->kind == SCHEMA_ARRAY) {
        hash = mix(t->count, hash, shallow(f, t->target).low, 0);
        add_parts(f, index, t->target);
    } else if (t->kind == SCHEMA_OPAQUE) {
        hash = mix(2, hash, of_text(text_of(f, t->name)).low, 0);
    } else if (t->kind == SCHEMA_ENUM) {
        for (uint32_t i = 0; i < t->fields; i++) { /* it may have none, and so may all others */
            const SchemaValue *v = &SCHEMA_LIST(f->r->out.values, SchemaValue)[t->first + i];
            hash = mix((uint64_t)v->value, hash, of_text(text_of(f, v->name)).low, 0);
        }
    } else if (t->kind == SCHEMA_RECORD || t->kind == SCHEMA_UNION) {
        for (uint32_t i = 0; i < t->fields; i++) {
            const SchemaField *m = &f->fields[t->first + i];
            Hash inner = shallow(f, m->type);
            add_parts(f, index, m->type);
            hash = mix(m->offset, hash, inner.low, inner.high);
            hash = mix((uint64_t)m->bit << 8 | m->bits, hash, of_text(text_of(f, m->name)).low, 0);
            if (f->types[m->type].flags & SCHEMA_DESTRUCTOR)
                t->flags |= SCHEMA_DESTRUCTOR;
        }
    }
    if (t->kind == SCHEMA_ARRAY)
        t->flags |= f->types[t->target].flags & SCHEMA_DESTRUCTOR;
    t->hash = hash;
    f->state[index] = DONE;
    return hash;
}

static int by_hash(const void *a, const void *b)
{
    const Hash *x = a, *y = b;
    if (x->high != y->high)
        return x->high < y->high ? -1 : 1;
    return (x->low > y->low) - (x->low < y->low);
}

static size_t distinct(Finish *f, Hash *room)
{
    size_t count = 0;
    memcpy(room, f->now, f->count * sizeof *room);
    qsort(room, f->count, sizeof *room, by_hash);
    for (uint32_t i = 0; i < f->count; i++)
        count += !i || !hash_equal(room[i], room[i - 1]);
    return count;
}

/* Types are the same when they look alike however far one follows their pointers: rounds tell more
 * and more apart, until a round tells nothing new. */
static int tell_apart(Finish *f)
{
    Hash *room = malloc(f->count * sizeof *room);
    size_t classes = 0;
    if (!room)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < f->count; i++)
        f->now[i] = mix(f->types[i].kind, shallow(f, i), of_text(text_of(f, f->types[i].name)).low,
                        f->types[i].flags & SCHEMA_INCOMPLETE);
    for (int round = 0; round < ROUNDS_MOST; round++) {
        size_t before = classes;
        classes = distinct(f, room);
        if (classes == before)
            break;
        for (uint32_t i = 0; i < f->count; i++) {
            const SchemaType *t = &f->types[i];
            Hash hash = mix(4, f->now[i], f->now[t->target].low, f->now[t->target].high);
            for (uint32_t k = 0; k < t->fields && t->kind != SCHEMA_ENUM; k++) {
                Hash inner = f->now[f->fields[t->first + k].type];
                hash = mix(5, hash, inner.low, inner.high);
            }
            f->next[i] = hash;
        }
        Hash *swap = f->now;
        f->now = f->next;
        f->next = swap;
    }
    free(room);
    return KEEL_OK;
}

typedef struct Class {
    Hash hash;
    uint32_t type;
} Class;

static int by_class(const void *a, const void *b)
{
    const Class *x = a, *y = b;
    int c = by_hash(&x->hash, &y->hash);
    return c ? c : (x->type > y->type) - (x->type < y->type);
}

static int merge(Finish *f)
{
    Class *classes = malloc(f->count * sizeof *classes);
    if (!classes)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < f->count; i++)
        classes[i] = (Class){f->now[i], i};
    qsort(classes, f->count, sizeof *classes, by_class);
    for (uint32_t i = 0, first = 0; i < f->count; i++) {
        if (!hash_equal(classes[i].hash, classes[first].hash))
            first = i;
        f->same[classes[i].type] = classes[first].type;
    }
    free(classes);
    return KEEL_OK;
}

/* Only the first of each class stays; void stays at 0. */
static void compact(Finish *f)
{
    SchemaMaker *out = &f->r->out;
    uint32_t kept = 0;
    Buf fields = {0};
    for (uint32_t i = 0; i < f->count; i++)
        if (f->same[i] == i)
            f->to[i] = kept++;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->same[i] != i)
            continue;
        SchemaType t = f->types[i];
        t.target = f->to[f->same[t.target]];
        if (t.kind == SCHEMA_RECORD || t.kind == SCHEMA_UNION) {
            uint32_t first = (uint32_t)SCHEMA_COUNT(fields, SchemaField);
            for (uint32_t k = 0; k < t.fields; k++) {
                SchemaField m = f->fields[t.first + k];
                m.type = f->to[f->same[m.type]];
                if (buf_add(&fields, &m, sizeof m))
                    schema_fail(f->r, KEEL_ENOMEM);
            }
            t.first = first;
        }
        f->types[f->to[i]] = t;
    }
    out->types.bytes = kept * sizeof(SchemaType);
    buf_done(&out->fields);
    out->fields = fields;
    SchemaName *names = SCHEMA_LIST(out->names, SchemaName);
    for (size_t i = 0; i < SCHEMA_COUNT(out->names, SchemaName); i++)
        names[i].type = f->to[f->same[names[i].type]];
    SchemaStatic *statics = SCHEMA_LIST(out->statics, SchemaStatic);
    for (size_t i = 0; i < SCHEMA_COUNT(out->statics, SchemaStatic); i++)
        statics[i].type = f->to[f->same[statics[i].type]];
}

/* ---- what types may be called ---- */

static const char *sort_strings;

static int by_text(const void *a, const void *b)
{
    const SchemaName *x = a, *y = b;
    int c = x->text == y->text ? 0 : strcmp(sort_strings + x->text, sort_strings + y->text);
    if (!c)
        c = (x->unit > y->unit) - (x->unit < y->unit);
    return c ? c : (x->type > y->type) - (x->type < y->type);
}

static void sort_names(SchemaReader *r)
{
    SchemaName *names = SCHEMA_LIST(r->out.names, SchemaName);
    const SchemaType *types = SCHEMA_LIST(r->out.types, SchemaType);
    size_t count = SCHEMA_COUNT(r->out.names, SchemaName), kept = 0;
    sort_strings = r->out.strings.data;
    for (size_t i = 0; i < count; i++)
        if (!(types[names[i].type].flags & SCHEMA_INCOMPLETE))
            names[kept++] = names[i];
    count = kept;
    if (count)
        qsort(names, count, sizeof *names, by_text);
    kept = 0;
    for (size_t first = 0, i = 0; i <= count; i++) {
        if (i < count && names[i].text == names[first].text)
            continue;
        int agree = 1;
        for (size_t k = first; k < i; k++)
            agree = agree && names[k].type == names[first].type;
        for (size_t k = first; k < (agree && i > first ? first + 1 : i); k++) {
            SchemaName n = names[k];
            n.unit = agree ? SCHEMA_ANY_UNIT : n.unit;
            if (kept && names[kept - 1].text == n.text && names[kept - 1].unit == n.unit &&
                names[kept - 1].type == n.type)
                continue;
            names[kept++] = n;
        }
        first = i;
    }
    r->out.names.bytes = kept * sizeof *names;
}

void schema_finish(SchemaReader *r)
{
    Finish f = {.r = r, .count = (uint32_t)SCHEMA_COUNT(r->out.types, SchemaType)};
    f.types = SCHEMA_LIST(r->out.types, SchemaType);
    f.fields = SCHEMA_LIST(r->out.fields, SchemaField);
    f.now = calloc(f.count, sizeof *f.now);
    f.next = calloc(f.count, sizeof *f.next);
    f.same = calloc(f.count, sizeof *f.same);
    f.to = calloc(f.count, sizeof *f.to);
    f.state = calloc(f.count, 1);
    f.parts = calloc(f.count, sizeof *f.parts);
    if (!f.now || !f.next || !f.same || !f.to || !f.state || !f.parts) {
        schema_fail(r, KEEL_ENOMEM);
    } else {
        find_definitions(&f);
        use_definitions(&f);
        name_all(&f);
        if (tell_apart(&f) || merge(&f))
            schema_fail(r, KEEL_ENOMEM);
        else
            compact(&f);
        sort_names(r);
    }
    free(f.now);
    free(f.next);
    free(f.same);
    free(f.to);
    free(f.state);
    free(f.parts);
}
