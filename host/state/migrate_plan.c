/* The plan: which types of the old image are which of the new, and where each field goes. Owns all
 * lists of a Migration; works on schemas only. One thread at a time. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

enum { PAIRS_MOST = 1 << 20 };

/* Far above what any program's types take (ten megabytes of image: under a million); some seconds.
 */
#define WORK_MOST (UINT64_C(1) << 25)

static void fail(Migration *m)
{
    m->failed = KEEL_ENOMEM;
}

uint32_t plan_add_text(Migration *m, const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    uint32_t at = (uint32_t)m->texts.bytes;
    if (m->texts.bytes > UINT32_MAX - sizeof line || buf_add(&m->texts, line, strlen(line) + 1)) {
        fail(m);
        return 0;
    }
    return at;
}

/* ---- pairs ---- */

static uint32_t tail_of(const Schema *s, uint32_t type, uint64_t *ret_at)
{
    const SchemaType *t = &s->types[type];
    if (t->kind != SCHEMA_RECORD || !t->fields)
        return 0;
    const SchemaField *last = &s->fields[t->first + t->fields - 1];
    const SchemaType *ft = &s->types[last->type];
    if (ft->kind != SCHEMA_ARRAY || !(ft->flags & SCHEMA_FLEXIBLE) || !s->types[ft->target].bytes)
        return 0;
    *ret_at = last->offset;
    return ft->target;
}

uint32_t plan_pair(Migration *m, uint32_t from, uint32_t to, int kept)
{
    uint32_t count = (uint32_t)(m->pairs.bytes / sizeof(Pair)), at;
    uint64_t hash = lookup_mix(lookup_mix(from, to), kept != 0);
    if (++m->work > WORK_MOST)
        m->failed = KEEL_ELIMIT;
    for (uint32_t i = lookup_first(&m->pair_lookup, hash, &at); i;
         i = lookup_next(&m->pair_lookup, &at)) {
        const Pair *p = pair_at(m, i);
        if (p->from == from && p->to == to && p->kept == kept)
            return i;
    }
    const SchemaType *a = &m->from->types[from];
    const SchemaType *b = kept ? a : &m->to->types[to];
    Pair pair = {.from = from,
                 .to = to,
                 .kept = (uint8_t)kept,
                 .same = kept || (hash_equal(a->hash, b->hash) && !plan_hooked(m, from)),
                 .from_bytes = a->bytes,
                 .to_bytes = b->bytes,
                 .from_align = schema_align(m->from, from),
                 .to_align = schema_align(kept ? m->from : m->to, to)};
    pair.name = plan_add_text(m, "%s", schema_text(m->from, a->name));
    pair.from_tail = tail_of(m->from, from, &pair.from_tail_at);
    pair.to_tail = tail_of(kept ? m->from : m->to, to, &pair.to_tail_at);
    pair.next_of_type = m->first_pair[from];
    if (count >= PAIRS_MOST || buf_add(&m->pairs, &pair, sizeof pair) ||
        lookup_add(&m->pair_lookup, hash, count)) {
        fail(m);
        return 0;
    }
    m->first_pair[from] = count;
    m->closed = 0;
    if (plan_is_record(a) && plan_is_record(b))
        plan_match(m, count);
    return count;
}

uint32_t plan_counterpart(Migration *m, uint32_t from, int *ret_none)
{
    const SchemaType *t = &m->from->types[from];
    uint32_t to = 0;
    *ret_none = 0;
    if (!from)
        return 0;
    if (t->kind == SCHEMA_POINTER || t->kind == SCHEMA_ARRAY || t->kind == SCHEMA_FUNCTION) {
        *ret_none = shapes_find(m, t, &to) != 0;
        return to;
    }
    const char *file = m->from->unit_count ? schema_text(m->from, m->from->units[t->unit]) : "";
    *ret_none = schema_index_find(&m->to_index, schema_text(m->from, t->name), file, &to) != 0;
    return to;
}

uint32_t plan_pair_of(Migration *m, uint32_t from)
{
    int none;
    if (!m->own_pair[from]) {
        uint32_t to = plan_counterpart(m, from, &none);
        m->own_pair[from] = none ? plan_pair(m, from, from, 1) : plan_pair(m, from, to, 0);
    }
    return m->own_pair[from];
}

/* ---- versions ---- */

int plan_hook(const Migration *m, uint32_t from, uint32_t to, int kept)
{
    const SchemaHook *before = schema_hook(m->from, from);
    const SchemaHook *now = kept ? NULL : schema_hook(m->to, to);
    if (kept || (before ? before->version : 0) == (now ? now->version : 0))
        return HOOK_NONE;
    return now ? HOOK_CALL : HOOK_ATTIC;
}

int plan_hooked(Migration *m, uint32_t from)
{
    const SchemaType *t = &m->from->types[from];
    int none, found = 0;
    if (!m->from->hook_count && !m->to->hook_count)
        return 0;
    if (m->hooked[from])
        return m->hooked[from] == 2;
    m->hooked[from] = 1;
    if (plan_is_record(t)) {
        uint32_t to = plan_counterpart(m, from, &none);
        found = !none && plan_hook(m, from, to, 0) != HOOK_NONE;
    }
    if (t->kind == SCHEMA_ARRAY)
        found = plan_hooked(m, t->target);
    for (uint32_t i = 0; i < t->fields && t->kind != SCHEMA_ENUM && !found; i++)
        found = plan_hooked(m, m->from->fields[t->first + i].type);
    m->hooked[from] = (uint8_t)(found ? 2 : 1);
    return found;
}

void plan_close(Migration *m)
{
    if (m->closed)
        return;
    /* Pairs grow while they are planned; those of earlier calls need no other look. */
    for (; m->looked < m->pairs.bytes / sizeof(Pair) && !m->failed; m->looked++) {
        if (!m->looked)
            continue; /* the first is none */
        if (!pair_at(m, m->looked)->planned)
            plan_ops(m, m->looked);
        if (!m->failed && pair_at(m, m->looked)->from_tail)
            plan_pair_of(m, pair_at(m, m->looked)->from_tail);
        if (!m->failed)
            walks_look(m, m->looked);
    }
    walks_spread(m);
    m->closed = !m->failed;
}

/* ---- life ---- */

uint32_t plan_learn(Migration *m, const char *spelled, const char *file)
{
    const Learnt *list = (const Learnt *)(const void *)m->learnt.data;
    uint64_t hash = lookup_mix_text(lookup_mix_text(0, spelled), file);
    uint32_t at;
    for (uint32_t i = lookup_first(&m->learnt_lookup, hash, &at); i;
         i = lookup_next(&m->learnt_lookup, &at))
        if (!strcmp(plan_text(m, list[i - 1].spelled), spelled) &&
            !strcmp(plan_text(m, list[i - 1].file), file))
            return list[i - 1].pair;
    Learnt learnt = {.spelled = plan_add_text(m, "%s", spelled),
                     .file = plan_add_text(m, "%s", file)};
    uint32_t from = 0, to = 0;
    if (!schema_index_find(&m->from_index, spelled, file, &from) && from) {
        int rc = schema_index_find(&m->to_index, spelled, file, &to);
        learnt.pair = rc == KEEL_OK ? plan_pair(m, from, to, 0) : plan_pair(m, from, from, 1);
    }
    if (learnt.pair)
        pair_at(m, learnt.pair)->reached = 1;
    if (buf_add(&m->learnt, &learnt, sizeof learnt) ||
        lookup_add(&m->learnt_lookup, hash, (uint32_t)(m->learnt.bytes / sizeof learnt)))
        fail(m);
    return learnt.pair;
}

int migration_learn(Migration *migration, const char *spelled, const char *file)
{
    plan_learn(migration, spelled, file);
    plan_close(migration);
    return migration->failed;
}

/* Statics are where pointers of these types may lead to. */
static void find_pointed(Migration *m, uint32_t type, int depth)
{
    const SchemaType *t = &m->from->types[type];
    if (m->pointed[type] || depth > SCHEMA_DEPTH)
        return;
    m->pointed[type] = 1;
    if (t->kind == SCHEMA_ARRAY)
        find_pointed(m, t->target, depth + 1);
    for (uint32_t i = 0; i < t->fields && t->kind != SCHEMA_ENUM; i++)
        find_pointed(m, m->from->fields[t->first + i].type, depth + 1);
}

int migration_new(const Schema *from, const Schema *to, Migration **ret, Error *err)
{
    static const Pair none;
    static const Pointing nobody;
    const Schema *const both[] = {from, to};
    for (int i = 0; i < 2; i++) {
        const char *which = i ? "the new image" : "the running image";
        if (!(both[i]->flags & SCHEMA_HAS_DEBUG))
            return err_set(err, KEEL_EUNSUPPORTED,
                           "%s has no debug information: what it keeps can't be carried over by "
                           "rules; build it with -g",
                           which);
        if (both[i]->flags & (SCHEMA_SPLIT | SCHEMA_BROKEN))
            return err_set(err, KEEL_EUNSUPPORTED,
                           "%s has its debug information elsewhere or damaged: build it with -g, "
                           "without -gsplit-dwarf",
                           which);
    }
    Migration *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, KEEL_ENOMEM, "no memory for a plan");
    m->from = from;
    m->to = to;
    m->pointed = calloc(from->type_count, 1);
    m->hooked = calloc(from->type_count, 1);
    m->own_pair = calloc(from->type_count, sizeof *m->own_pair);
    m->first_pair = calloc(from->type_count, sizeof *m->first_pair);
    m->is_part = calloc(from->type_count, 1);
    m->holds = calloc(from->type_count, 1);
    if (!m->pointed || !m->hooked || !m->own_pair || !m->first_pair || !m->is_part || !m->holds ||
        buf_add(&m->pairs, &none, sizeof none) || buf_add(&m->pointings, &nobody, sizeof nobody) ||
        buf_add(&m->texts, "", 1) || schema_index_init(&m->from_index, from) ||
        schema_index_init(&m->to_index, to) || shapes_init(m) || names_init(m))
        m->failed = KEEL_ENOMEM;
    for (uint32_t i = 0; i < from->static_count && !m->failed; i++)
        if (from->statics[i].place != SCHEMA_CACHE)
            find_pointed(m, from->statics[i].type, 0);
    if (!m->failed)
        plan_unions(m);
    if (!m->failed && !m->why.code)
        plan_statics(m);
    if (!m->failed)
        plan_close(m);
    int rc = m->failed == KEEL_ELIMIT
                 ? err_set(err, m->failed, "its types are too many and too large for a plan")
             : m->failed ? err_set(err, m->failed, "no memory for a plan")
                         : m->why.code;
    if (rc) {
        if (m->why.code)
            err_set(err, rc, "%s", m->why.text);
        migration_free(m);
        return rc;
    }
    *ret = m;
    return KEEL_OK;
}

void migration_free(Migration *m)
{
    if (!m)
        return;
    buf_done(&m->pairs);
    buf_done(&m->matches);
    buf_done(&m->singles);
    buf_done(&m->ops);
    buf_done(&m->texts);
    buf_done(&m->learnt);
    buf_done(&m->statics);
    buf_done(&m->guards);
    buf_done(&m->pointings);
    lookup_done(&m->pair_lookup);
    lookup_done(&m->learnt_lookup);
    schema_index_done(&m->from_index);
    schema_index_done(&m->to_index);
    names_done(m);
    free(m->to_shapes);
    free(m->pointed);
    free(m->hooked);
    free(m->own_pair);
    free(m->first_pair);
    free(m->is_part);
    free(m->holds);
    free(m);
}

uint64_t migration_work(const Migration *m)
{
    return m->work;
}

int migration_changes(const Migration *m)
{
    const Learnt *list = (const Learnt *)(const void *)m->learnt.data;
    if (m->to->hook_count) /* it goes type by type */
        return 0;
    for (size_t i = 0; i < m->learnt.bytes / sizeof *list; i++)
        if (list[i].pair && !pair_at(m, list[i].pair)->same)
            return 1;
    return 0;
}
