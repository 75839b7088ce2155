/* Where a pointer of the old generation leads in the new one. Objects of the state by their place
 * and type; functions, statics and tables of classes by name; literals copied into the state. What
 * is elsewhere (libc's heap, the host) stays. [frame] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_run.h"

#define LITERALS_TYPE "char"
#define LITERALS_FILE "keel:literals" /* what they are known by, also to the next migration */

static const char *path_of(const Walk *w, const Op *op)
{
    return plan_text(w->m, op->path);
}

/* ---- into an object ---- */

static int into_object(Walk *w, const Op *op, uint64_t value, const Object *object, uint64_t *ret)
{
    uint64_t offset = value - (uintptr_t)object->at, base = (uintptr_t)object->to;
    const Pair *pair = object->pair ? pair_at(w->m, object->pair) : NULL;
    if (!pair || pair->same || !pair->from_bytes) {
        *ret = base + offset;
        return 0;
    }
    uint64_t all = pair->from_tail ? pair->from_bytes : object->bytes;
    uint64_t i = offset < pair->from_bytes ? 0 : offset / pair->from_bytes;
    uint64_t inner = offset - i * pair->from_bytes, place;
    if (pair->from_tail && offset >= pair->from_tail_at && pair->to_tail) {
        uint64_t step = w->m->from->types[pair->from_tail].bytes;
        uint64_t next = pair_schema(w->m, pair)->types[pair->to_tail].bytes;
        i = (offset - pair->from_tail_at) / step;
        inner = (offset - pair->from_tail_at) % step;
        const Pair *element = pair_at(w->m, plan_pair_of(w->m, pair->from_tail));
        if (plan_place(w->m, element, inner, op->from_type, &place))
            goto lost;
        *ret = base + pair->to_tail_at + i * next + place;
        return 0;
    }
    if (!inner) { /* also one behind the last */
        *ret = base + i * pair->to_bytes;
        if (!op->from_type || op->from_type == pair->from || offset == all)
            return 0;
    }
    if (plan_place(w->m, pair, inner, op->from_type, &place))
        goto lost;
    *ret = base + i * pair->to_bytes + place;
    return 0;
lost:
    return walk_refuse(w,
                       "%s: it points into a %s, at what is no longer there (offset %llu): set it "
                       "to NULL before, or keep the field",
                       path_of(w, op), plan_text(w->m, pair->name), (unsigned long long)inner);
}

/* ---- literals ---- */

static int literals_grow(Walk *w)
{
    uint32_t room = w->literal_room ? w->literal_room * 2 : 256;
    uint64_t *more = calloc(room, sizeof *more);
    if (!more)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < w->literal_room; i++) {
        const char *text = (const char *)(uintptr_t)w->literal_at[i];
        if (!text)
            continue;
        uint32_t at = (uint32_t)hash_bytes(text, strlen(text)).low & (room - 1);
        while (more[at])
            at = (at + 1) & (room - 1);
        more[at] = (uintptr_t)text;
    }
    free(w->literal_at);
    w->literal_at = more;
    w->literal_room = room;
    return 0;
}

static uint64_t *literal_slot(Walk *w, const char *text, size_t bytes)
{
    uint32_t at = (uint32_t)hash_bytes(text, bytes).low & (w->literal_room - 1);
    while (w->literal_at[at] && (memcmp((void *)(uintptr_t)w->literal_at[at], text, bytes + 1)))
        at = (at + 1) & (w->literal_room - 1);
    return &w->literal_at[at];
}

/* Those of earlier migrations are used again. */
static int literals_begin(Walk *w, uint32_t type)
{
    if (literals_grow(w))
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < w->count; i++) {
        const Object *object = &w->objects[i];
        const char *text = (const char *)object->at;
        if (!text || object->type != type || !object->bytes ||
            strnlen(text, object->bytes) != object->bytes - 1)
            continue;
        if ((w->literal_count + 1) * 2 > w->literal_room && literals_grow(w))
            return KEEL_ENOMEM;
        uint64_t *slot = literal_slot(w, text, object->bytes - 1);
        w->literal_count += !*slot;
        *slot = (uintptr_t)text;
    }
    return 0;
}

static int keep_literal(Walk *w, const Op *op, uint64_t value, uint64_t last, uint64_t *ret)
{
    const char *text = (const char *)(uintptr_t)value;
    size_t bytes = strnlen(text, last - value);
    uint32_t type;
    if (bytes == last - value) {
        walk_report(w, "%s: points to constant data of the old code", path_of(w, op));
        *ret = value;
        return 0;
    }
    int rc = type_find(w->state, LITERALS_TYPE, LITERALS_FILE, 1, 1, &type);
    if (!rc && !w->literal_room)
        rc = literals_begin(w, type);
    if (!rc && (w->literal_count + 1) * 2 > w->literal_room)
        rc = literals_grow(w);
    if (rc)
        return walk_refuse(w, "%s: no room in the state for the text that it points to",
                           path_of(w, op));
    uint64_t *slot = literal_slot(w, text, bytes);
    if (!*slot) {
        char *copy = heap_take(w->state, bytes + 1, 16, type, bytes + 1, 0);
        if (!copy)
            return walk_refuse(w, "%s: no room in the state for the text that it points to",
                               path_of(w, op));
        memcpy(copy, text, bytes + 1);
        *slot = (uintptr_t)copy;
        w->literal_count++;
        w->result->literals++;
    }
    *ret = *slot;
    return 0;
}

/* ---- into the old image ---- */

static int is_text(const Walk *w, uint32_t type)
{
    const SchemaType *t = &w->m->from->types[type];
    return t->flags & SCHEMA_TEXT && t->bytes == 1;
}

static int gone(Walk *w, const Op *op, uint64_t link, int rc)
{
    char what[220];
    names_describe(w->m->from, link, what, sizeof what);
    return walk_refuse(w, "%s: it points to %s, %s", path_of(w, op), what,
                       rc == KEEL_ECHANGED ? "of which the new code has several: which one can't "
                                             "be told"
                                           : "which the new code hasn't");
}

static int into_static(Walk *w, const Op *op, uint32_t index, uint64_t link, uint64_t *ret)
{
    const SchemaStatic *v = &w->m->from->statics[index];
    int64_t to = w->m->static_to[index];
    uint64_t place = link - v->address;
    if (v->place == SCHEMA_CACHE || to < 0)
        return v->place == SCHEMA_CONSTANT && is_text(w, op->from_type)
                   ? KEEL_ENOTFOUND
                   : gone(w, op, link, to == STATIC_UNCLEAR ? KEEL_ECHANGED : KEEL_ENOTFOUND);
    const SchemaStatic *s = &w->m->to->statics[to];
    uint32_t pair = plan_pair(w->m, v->type, s->type, 0);
    if (!pair)
        return walk_refuse(w, "no memory for a plan");
    if (place == v->bytes)
        place = s->bytes;
    else if (plan_place(w->m, pair_at(w->m, pair), place, op->from_type, &place))
        return gone(w, op, link, KEEL_ENOTFOUND);
    *ret = s->address + w->run->to.bias + place;
    return 0;
}

static int into_image(Walk *w, const Op *op, uint64_t value, uint64_t *ret)
{
    uint64_t link = value - w->run->from.bias, to = 0;
    const char *name;
    int rc = names_function(w->m, link, &to, &name);
    if (!rc) {
        *ret = to + w->run->to.bias;
        return 0;
    }
    int is_function = w->m->from->types[op->from_type].kind == SCHEMA_FUNCTION;
    if (*name || is_function)
        return gone(w, op, link, rc);
    int64_t at = schema_static_at(w->m->from, link);
    if (at >= 0 && link - w->m->from->statics[at].address <= w->m->from->statics[at].bytes) {
        const SchemaStatic *v = &w->m->from->statics[at];
        int is_end = link - v->address == v->bytes;
        int wanted = !is_end || (op->from_type && w->m->pointed[op->from_type]);
        if (wanted && (rc = into_static(w, op, (uint32_t)at, link, ret)) != KEEL_ENOTFOUND)
            return rc;
    }
    at = schema_symbol_at(w->m->from, link);
    if (at >= 0 && link - w->m->from->symbols[at].address < w->m->from->symbols[at].bytes) {
        const SchemaSymbol *symbol = &w->m->from->symbols[at];
        rc = names_symbol(w->m, symbol, link - symbol->address, &to);
        if (rc)
            return gone(w, op, link, rc);
        *ret = to + w->run->to.bias;
        return 0;
    }
    const SchemaRange *range = schema_range_at(w->m->from, link);
    if (range && range->kind == SCHEMA_READABLE && is_text(w, op->from_type))
        return keep_literal(w, op, value, range->address + range->bytes + w->run->from.bias, ret);
    walk_report(w, "%s: points into the old code, at what has no name", path_of(w, op));
    *ret = value;
    return 0;
}

/* ---- both ---- */

static int is_in_image(const Walk *w, uint64_t value)
{
    return value >= w->run->from.first && value < w->run->from.last;
}

int point_translate(Walk *w, const Op *op, uint64_t value, uint64_t *ret)
{
    if (value - (uintptr_t)w->state->base < w->state->max_bytes) {
        uint64_t now = value;
        uint32_t pair = index_start(w, value, &now);
        if (pair != UINT32_MAX && pair && pair_at(w->m, pair)->from == op->from_type) {
            *ret = now; /* to its start, called what it is */
            return 0;
        }
        const Object *object = index_find(w, value);
        if (object)
            return into_object(w, op, value, object, ret);
        *ret = value; /* stale already */
        return 0;
    }
    if (!is_in_image(w, value)) {
        if (w->m->from->types[op->from_type].kind != SCHEMA_FUNCTION && !w->outside_count++)
            snprintf(w->outside, sizeof w->outside, "%s", path_of(w, op));
        *ret = value;
        return 0;
    }
    KnownPointer *known = &w->known[(value ^ value >> 9 ^ op->from_type) % KNOWN_POINTERS];
    if (known->from != value || known->want != op->from_type) {
        int rc = into_image(w, op, value, ret);
        if (rc)
            return rc;
        *known = (KnownPointer){value, *ret, op->from_type};
    }
    *ret = known->to;
    w->result->pointers++;
    return 0;
}

int point_table(Walk *w, const Op *op, uint64_t value, uint64_t *ret)
{
    uint64_t link = value - w->run->from.bias, to = 0;
    *ret = value;
    if (!value || !is_in_image(w, value))
        return 0; /* of another library */
    int64_t at = schema_symbol_at(w->m->from, link);
    const SchemaSymbol *symbol = at < 0 ? NULL : &w->m->from->symbols[at];
    if (!symbol || link - symbol->address >= symbol->bytes)
        return gone(w, op, link, KEEL_ENOTFOUND);
    int rc = names_symbol(w->m, symbol, link - symbol->address, &to);
    if (rc)
        return gone(w, op, link, rc);
    *ret = to + w->run->to.bias;
    w->result->pointers++;
    return 0;
}

int point_words(Walk *w, const Op *op, const uint8_t *from)
{
    for (uint64_t at = 0; at + 8 <= op->bytes; at += 8) {
        uint64_t value;
        memcpy(&value, from + at, sizeof value);
        if (is_in_image(w, value)) {
            walk_report(w, "%s: a union may hold an address of the old code", path_of(w, op));
            continue;
        }
        const Object *object =
            value - (uintptr_t)w->state->base < w->state->max_bytes ? index_find(w, value) : NULL;
        if (!object)
            continue;
        const Pair *pair = object->pair ? pair_at(w->m, object->pair) : NULL;
        int moves = object->to != object->at;
        int shifts = pair && !pair->same && value != (uintptr_t)object->at;
        if (moves || shifts)
            return walk_refuse(
                w,
                "%s: a union that may point to a %s, which %s: whether it does can't "
                "be told; say by KEEL_UNION which member counts, or set it to NULL before",
                path_of(w, op), pair ? plan_text(w->m, pair->name) : "block",
                moves ? "grows and has to move" : "changes");
    }
    return 0;
}
