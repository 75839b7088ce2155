/* Where a part of an old object lies in the new one. Works on the plan only; changes nothing. */
#include <string.h>

#include "state/migrate_plan.h"

typedef struct Wanted {
    const Migration *m;
    const Schema *to;
    int kept;
    uint32_t type; /* as the pointer calls it; 0: it doesn't tell */
    int depth;
} Wanted;

static int place_in(const Wanted *w, uint32_t from, uint32_t to, uint64_t offset, uint64_t *ret);

static const Pair *known_pair(const Wanted *w, uint32_t from, uint32_t to)
{
    uint32_t count = (uint32_t)(w->m->pairs.bytes / sizeof(Pair));
    for (uint32_t i = 1; i < count; i++) {
        const Pair *p = pair_at(w->m, i);
        if (p->from == from && p->to == to && p->kept == w->kept)
            return p;
    }
    return NULL;
}

static int place_in_record(const Wanted *w, uint32_t from, uint32_t to, uint64_t offset,
                           uint64_t *ret)
{
    const Pair *pair = known_pair(w, from, to);
    for (uint32_t i = 0; pair && i < pair->matches; i++) {
        const Match *match = match_at(w->m, pair->first_match + i);
        uint64_t bytes = w->m->from->types[match->from_type].bytes, inner;
        if (match->from_bits || offset < match->from || offset - match->from >= bytes)
            continue;
        if (place_in(w, match->from_type, match->to_type, offset - match->from, &inner))
            continue;
        *ret = match->to + inner;
        return 0;
    }
    return -1;
}

/* Into a union that changed: where all members that hold what is wanted agree. */
static int place_in_union(const Wanted *w, uint32_t from, uint32_t to, uint64_t offset,
                          uint64_t *ret)
{
    const SchemaType *a = &w->m->from->types[from], *b = &w->to->types[to];
    int found = 0;
    for (uint32_t i = 0; i < a->fields; i++) {
        const SchemaField *f = &w->m->from->fields[a->first + i];
        const char *name = schema_text(w->m->from, f->name);
        uint64_t inner;
        for (uint32_t k = 0; k < b->fields; k++) {
            const SchemaField *g = &w->to->fields[b->first + k];
            if (strcmp(schema_text(w->to, g->name), name) || f->bits ||
                offset >= w->m->from->types[f->type].bytes ||
                place_in(w, f->type, g->type, offset, &inner))
                continue;
            if (found && *ret != inner)
                return -1;
            *ret = inner;
            found = 1;
        }
    }
    return found ? 0 : -1;
}

static int place_in(const Wanted *w, uint32_t from, uint32_t to, uint64_t offset, uint64_t *ret)
{
    const SchemaType *a = &w->m->from->types[from], *b = &w->to->types[to];
    int is_it = !offset && (!w->type || w->type == from);
    if (is_it || hash_equal(a->hash, b->hash)) {
        *ret = offset;
        return 0;
    }
    if (a->kind == SCHEMA_ARRAY && b->kind == SCHEMA_ARRAY) {
        uint64_t step = w->m->from->types[a->target].bytes, inner;
        uint64_t i = step ? offset / step : 0;
        if (!step || i >= b->count || place_in(w, a->target, b->target, offset - i * step, &inner))
            return -1;
        *ret = i * w->to->types[b->target].bytes + inner;
        return 0;
    }
    if (plan_is_record(a) && plan_is_record(b))
        return place_in_record(w, from, to, offset, ret);
    if (a->kind == SCHEMA_UNION && b->kind == SCHEMA_UNION)
        return place_in_union(w, from, to, offset, ret);
    if (offset || a->kind == SCHEMA_RECORD || a->kind == SCHEMA_UNION)
        return -1;
    *ret = 0;
    return 0;
}

int plan_place(const Migration *m, const Pair *pair, uint64_t offset, uint32_t want, uint64_t *ret)
{
    Wanted w = {.m = m, .to = pair_schema(m, pair), .kept = pair->kept, .type = want};
    if (!place_in(&w, pair->from, pair->to, offset, ret))
        return 0;
    if (offset)
        return -1;
    *ret = 0; /* called by another name than anything there: the whole */
    return 0;
}
