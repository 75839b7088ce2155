/* What opaque blocks (malloc's) hold: as the typed pointers call it that lead there from typed
 * objects and statics. A block that two types claim, or that may hold a changed type and isn't
 * called so, refuses the migration: nothing is guessed. [frame] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_run.h"

static int enqueue(Walk *w, Object *object)
{
    if (object->flags & OBJECT_QUEUED)
        return 0;
    if (w->queued == w->queue_room) {
        uint32_t room = w->queue_room ? w->queue_room * 2 : 1024;
        uint32_t *more = realloc(w->queue, room * sizeof *more);
        if (!more)
            return KEEL_ENOMEM;
        w->queue = more;
        w->queue_room = room;
    }
    object->flags |= OBJECT_QUEUED;
    w->queue[w->queued++] = (uint32_t)(object - w->objects);
    return 0;
}

static const SchemaType *from_type(const Walk *w, uint32_t type)
{
    return &w->m->from->types[type];
}

static int is_byte(const SchemaType *t)
{
    return (t->kind == SCHEMA_INT || t->kind == SCHEMA_BOOL) && t->bytes == 1;
}

/* Does `outer` hold `inner` at `offset`? */
static int holds_at(const Walk *w, uint32_t outer, uint32_t inner, uint64_t offset, int depth)
{
    const SchemaType *t = from_type(w, outer);
    if (outer == inner && !offset)
        return 1;
    if (depth > SCHEMA_DEPTH)
        return 0;
    if (t->kind == SCHEMA_ARRAY) {
        uint64_t step = from_type(w, t->target)->bytes;
        return step && offset < t->bytes && holds_at(w, t->target, inner, offset % step, depth + 1);
    }
    for (uint32_t i = 0; i < t->fields && t->kind != SCHEMA_ENUM; i++) {
        const SchemaField *f = &w->m->from->fields[t->first + i];
        uint64_t bytes = from_type(w, f->type)->bytes;
        if (offset >= f->offset && offset - f->offset < bytes &&
            holds_at(w, f->type, inner, offset - f->offset, depth + 1))
            return 1;
    }
    return 0;
}

/* `_ZTV5Order`, `_ZTVN2ns5OrderE` to `Order`, `ns::Order`. */
static void class_name(const char *symbol, char *ret, size_t room)
{
    const char *p = symbol + 4;
    size_t n = 0;
    p += *p == 'N';
    *ret = 0;
    while (*p >= '0' && *p <= '9') {
        char *end;
        unsigned long bytes = strtoul(p, &end, 10);
        if (bytes > strlen(end) || n + bytes + 3 > room)
            return;
        n += (size_t)snprintf(ret + n, room - n, "%s%.*s", n ? "::" : "", (int)bytes, end);
        p = end + bytes;
    }
}

/* An object of a class with virtual functions says itself what it is. */
static uint32_t own_class(const Walk *w, const Object *object, uint32_t want)
{
    uint64_t table;
    const SchemaType *t = from_type(w, want);
    if (!(t->flags & SCHEMA_VIRTUAL) && t->kind != SCHEMA_RECORD)
        return want;
    memcpy(&table, object->at, sizeof table);
    if (object->bytes < 8 || table < w->run->from.first || table >= w->run->from.last)
        return want;
    uint64_t link = table - w->run->from.bias;
    int64_t at = schema_symbol_at(w->m->from, link);
    if (at < 0 || link - w->m->from->symbols[at].address != 16)
        return want;
    const char *symbol = schema_text(w->m->from, w->m->from->symbols[at].name);
    char name[256];
    uint32_t found = 0;
    if (strncmp(symbol, "_ZTV", 4))
        return want;
    class_name(symbol, name, sizeof name);
    if (schema_find(w->m->from, name, "", &found) || !found ||
        from_type(w, found)->bytes > object->bytes)
        return want;
    return found;
}

static int claim(Walk *w, Object *object, uint32_t type, uint32_t to_type)
{
    const SchemaType *t = from_type(w, type);
    int is_record = t->kind == SCHEMA_RECORD || t->kind == SCHEMA_UNION;
    uint32_t real = is_record ? own_class(w, object, type) : type;
    uint32_t pair =
        !is_record && to_type ? plan_pair(w->m, type, to_type, 0) : plan_pair_of(w->m, real);
    plan_close(w->m);
    if (!pair || w->m->failed)
        return KEEL_ENOMEM;
    if (object->pair == pair)
        return 0;
    if (object->pair) {
        const Pair *before = pair_at(w->m, object->pair), *now = pair_at(w->m, pair);
        const SchemaType *b = from_type(w, before->from);
        if (is_byte(t) || holds_at(w, before->from, real, 0, 0))
            return 0;
        if (!is_byte(b) && !holds_at(w, real, before->from, 0, 0)) {
            if (before->same && now->same && !before->walks && !now->walks)
                return 0;
            return walk_refuse(w,
                               "a block of %llu bytes is called %s and %s by pointers to it: which "
                               "of them it holds can't be told; make it with keel_new",
                               (unsigned long long)object->bytes, plan_text(w->m, before->name),
                               plan_text(w->m, now->name));
        }
    }
    object->pair = pair;
    object->flags &= ~(uint32_t)OBJECT_QUEUED;
    return pair_at(w->m, pair)->walks ? enqueue(w, object) : 0;
}

/* Numbers that keel_new_array made follow the pointer that calls them something else now. */
static int retype(Walk *w, Object *object, const Op *op)
{
    if (!object->pair || !op->to_type)
        return 0;
    const Pair *pair = pair_at(w->m, object->pair);
    if (pair->to == op->to_type)
        return 0;
    const SchemaType *t = from_type(w, pair->from);
    if (pair->from != op->from_type || pair->kept || pair->to == op->to_type ||
        t->kind == SCHEMA_RECORD || t->kind == SCHEMA_UNION || t->kind == SCHEMA_POINTER)
        return 0;
    uint32_t made = plan_pair(w->m, op->from_type, op->to_type, 0);
    plan_close(w->m);
    object->pair = made ? made : object->pair;
    return w->m->failed;
}

static int reach(Walk *w, const Op *op, uint64_t value)
{
    uint64_t now;
    if (value - (uintptr_t)w->state->base >= w->state->max_bytes)
        return 0;
    uint32_t pair = index_start(w, value, &now);
    if (pair != UINT32_MAX && pair && pair_at(w->m, pair)->from == op->from_type &&
        from_type(w, op->from_type)->kind == SCHEMA_RECORD)
        return 0; /* called what it is */
    Object *object = index_find(w, value);
    if (!object)
        return 0;
    if (object->type != TYPE_OPAQUE)
        return retype(w, object, op);
    const SchemaType *want = from_type(w, op->from_type);
    uint64_t offset = value - (uintptr_t)object->at;
    if (!want->bytes || want->kind == SCHEMA_FUNCTION) {
        object->flags |= OBJECT_NAMELESS;
        return 0;
    }
    if (want->bytes > object->bytes - offset)
        return 0; /* behind its end, or called by what it can't be */
    if (!offset)
        return claim(w, object, op->from_type, op->to_type);
    if (!(object->flags & OBJECT_MIDDLE) && !is_byte(want) && offset < UINT32_MAX) {
        object->flags |= OBJECT_MIDDLE;
        object->inner = op->from_type;
        object->inner_at = (uint32_t)offset;
    }
    return 0;
}

static int scan(Walk *w, uint32_t first, uint32_t count, const uint8_t *from)
{
    for (uint32_t i = 0; i < count; i++) {
        const Op op = *op_at(w->m, first + i);
        uint64_t value;
        int rc = 0;
        if (op.kind == OP_POINTER) {
            memcpy(&value, from + op.from, sizeof value);
            rc = value ? reach(w, &op, value) : 0;
        } else if (op.kind == OP_ARRAY) {
            for (uint64_t n = 0; n < op.bytes && !rc; n++)
                rc = scan(w, first + i + 1, op.body, from + op.from + n * op.from_step);
            i += op.body;
        } else if (op.kind == OP_UNION) {
            uint32_t at = plan_case(w->m, first + i, from);
            if (at != UINT32_MAX)
                rc = scan(w, at + 1, op_at(w->m, at)->body, from);
            i += op.body;
        }
        if (rc)
            return rc;
    }
    return 0;
}

static int scan_object(Walk *w, const Object *object)
{
    const Pair pair = *pair_at(w->m, object->pair);
    if (!pair.pointers || !pair.from_bytes)
        return 0;
    int rc = 0;
    for (uint64_t at = 0; !rc && at + pair.from_bytes <= object->bytes; at += pair.from_bytes) {
        rc = scan(w, pair.first_op, pair.ops, object->at + at);
        if (pair.from_tail)
            break;
    }
    if (!rc && pair.from_tail) {
        uint32_t tail = plan_pair_of(w->m, pair.from_tail);
        plan_close(w->m);
        const Pair element = *pair_at(w->m, tail);
        for (uint64_t at = pair.from_tail_at;
             !rc && element.from_bytes && at + element.from_bytes <= object->bytes;
             at += element.from_bytes)
            rc = scan(w, element.first_op, element.ops, object->at + at);
    }
    return rc;
}

/* A block that nobody calls by its type: could it hold what changes? */
static int check_unknown(Walk *w, const Object *object)
{
    uint32_t count = (uint32_t)(w->m->pairs.bytes / sizeof(Pair));
    for (uint32_t i = 1; i < count; i++) {
        const Pair *pair = pair_at(w->m, i);
        if (pair->same || from_type(w, pair->from)->kind != SCHEMA_RECORD)
            continue;
        if (object->flags & OBJECT_MIDDLE && object->bytes >= pair->from_bytes &&
            holds_at(w, pair->from, object->inner, object->inner_at % pair->from_bytes, 0))
            return walk_refuse(
                w,
                "a block of %llu bytes is reached only in its middle, by a pointer to %s: it may "
                "hold a %s, which changes; keep a pointer to its start, or make it with keel_new",
                (unsigned long long)object->bytes,
                schema_text(w->m->from, from_type(w, object->inner)->name),
                plan_text(w->m, pair->name));
        if (object->flags & OBJECT_NAMELESS && object->bytes == pair->from_bytes)
            return walk_refuse(
                w,
                "a block of %llu bytes is reached only by pointers that don't tell its type: it "
                "may hold a %s, which changes; make it with keel_new, or keep a typed pointer",
                (unsigned long long)object->bytes, plan_text(w->m, pair->name));
    }
    return 0;
}

int typing_run(Walk *w)
{
    int rc = 0;
    if (!w->loose) /* all are called what they are */
        return 0;
    const StaticPlan *statics = (const StaticPlan *)(const void *)w->m->statics.data;
    for (size_t i = 0; i < w->m->statics.bytes / sizeof *statics && !rc; i++) {
        const StaticPlan plan = ((const StaticPlan *)(const void *)w->m->statics.data)[i];
        if (!plan.pair || plan.fate == STATIC_NOTHING)
            continue;
        const Pair pair = *pair_at(w->m, plan.pair);
        uint64_t at = w->m->from->statics[plan.from].address + w->run->from.bias;
        rc = scan(w, pair.first_op, pair.ops, (const uint8_t *)(uintptr_t)at);
    }
    for (uint32_t i = 0; i < w->count && !rc; i++)
        if (w->objects[i].type != TYPE_OPAQUE && w->objects[i].pair &&
            pair_at(w->m, w->objects[i].pair)->walks)
            rc = enqueue(w, &w->objects[i]);
    while (w->queued && !rc)
        rc = scan_object(w, &w->objects[w->queue[--w->queued]]);
    for (uint32_t i = 0; i < w->count && !rc; i++) {
        const Object *object = &w->objects[i];
        if (object->at && object->type == TYPE_OPAQUE && !object->pair &&
            object->flags & (OBJECT_NAMELESS | OBJECT_MIDDLE))
            rc = check_unknown(w, object);
    }
    return rc;
}
