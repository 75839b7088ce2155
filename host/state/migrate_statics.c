/* The plan's statics: which of the old image is which of the new, and what becomes of its value. By
 * name, enclosing function and source file; of two that fit neither is taken. One thread at a
 * time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

/* A build's statics by name, function and address, caches left out: once by unit too, once those
 * alone that all units see. */
typedef struct Named {
    const Schema *schema;
    uint32_t *own, *shared;
    uint32_t own_count, shared_count;
} Named;

/* What is looked for; `unit` counts among `own` only. */
typedef struct Name {
    const char *name, *function;
    int64_t unit;
} Name;

static _Thread_local const Schema *sorting;
static _Thread_local int sorting_units;

static int order_name(const Schema *s, const SchemaStatic *v, const Name *name, int units)
{
    int c = strcmp(schema_text(s, v->name), name->name);
    c = c ? c : strcmp(schema_text(s, v->function), name->function);
    return c || !units ? c : ((int64_t)v->unit > name->unit) - ((int64_t)v->unit < name->unit);
}

static int order_statics(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    const SchemaStatic *v = &sorting->statics[*x], *w = &sorting->statics[*y];
    const Name name = {schema_text(sorting, w->name), schema_text(sorting, w->function), w->unit};
    int c = order_name(sorting, v, &name, sorting_units);
    c = c ? c : (v->address > w->address) - (v->address < w->address);
    return c ? c : (*x > *y) - (*x < *y);
}

static int named_init(Named *ret, const Schema *s)
{
    *ret = (Named){.schema = s};
    ret->own = malloc((s->static_count + 1) * sizeof *ret->own);
    ret->shared = malloc((s->static_count + 1) * sizeof *ret->shared);
    if (!ret->own || !ret->shared)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < s->static_count; i++) {
        if (s->statics[i].place == SCHEMA_CACHE)
            continue;
        ret->own[ret->own_count++] = i;
        if (s->statics[i].flags & SCHEMA_EXTERNAL)
            ret->shared[ret->shared_count++] = i;
    }
    sorting = s;
    sorting_units = 1;
    if (ret->own_count)
        qsort(ret->own, ret->own_count, sizeof *ret->own, order_statics);
    sorting_units = 0;
    if (ret->shared_count)
        qsort(ret->shared, ret->shared_count, sizeof *ret->shared, order_statics);
    return KEEL_OK;
}

static void named_done(Named *named)
{
    free(named->own);
    free(named->shared);
}

/* Of a list the first that isn't before the name, or with `past` the first behind it. */
static uint32_t bound(const Named *n, const uint32_t *list, uint32_t count, const Name *name,
                      int past)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int c = order_name(n->schema, &n->schema->statics[list[middle]], name, list == n->own);
        if (c < 0 || (past && !c))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* All of one name: the first and the last by address; 0: there is none. */
static int run_of(Migration *m, const Named *n, int shared, const Name *name, uint32_t *ret_first,
                  uint32_t *ret_last)
{
    const uint32_t *list = shared ? n->shared : n->own;
    uint32_t count = shared ? n->shared_count : n->own_count;
    uint32_t first = bound(n, list, count, name, 0), end = bound(n, list, count, name, 1);
    m->work++;
    if (first == end)
        return 0;
    *ret_first = list[first];
    *ret_last = list[end - 1];
    return 1;
}

/* What all units see goes by name, the rest by its unit too. */
static int64_t find_static(Migration *m, const Named *to, const SchemaStatic *v)
{
    Name name = {schema_text(m->from, v->name), schema_text(m->from, v->function),
                 m->unit_to[v->unit]};
    int64_t found = STATIC_GONE;
    for (int shared = 0; shared < 1 + ((v->flags & SCHEMA_EXTERNAL) != 0); shared++) {
        uint32_t first, last;
        if (!run_of(m, to, shared, &name, &first, &last))
            continue;
        uint64_t address = m->to->statics[last].address;
        if (m->to->statics[first].address != address ||
            (found >= 0 && m->to->statics[found].address != address))
            return STATIC_UNCLEAR;
        found = found > (int64_t)last ? found : (int64_t)last;
    }
    return found;
}

/* Does the old image itself have two of this name? */
static int stands_twice(Migration *m, const Named *from, const SchemaStatic *v)
{
    const Name name = {schema_text(m->from, v->name), schema_text(m->from, v->function), v->unit};
    for (int shared = 0; shared < 1 + ((v->flags & SCHEMA_EXTERNAL) != 0); shared++) {
        uint32_t first, last;
        if (run_of(m, from, shared, &name, &first, &last) &&
            (m->from->statics[first].address != v->address ||
             m->from->statics[last].address != v->address))
            return 1;
    }
    return 0;
}

/* ---- initialisers ---- */

static Hash link_at(const Schema *s, uint64_t place)
{
    uint32_t low = 0, high = s->link_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->links[middle].place < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->link_count && s->links[low].place == place ? s->links[low].means : (Hash){0};
}

typedef struct Initials {
    const Migration *m;
    const Pair *pair;
    const SchemaStatic *v, *w;
    const uint8_t *from;
    uint8_t *to; /* what the old initialiser says in the new layout; elsewhere the new one */
    int differs;
} Initials;

static void convert_initial(Initials *in, uint32_t first, uint32_t count, uint64_t from,
                            uint64_t to)
{
    char why[200];
    for (uint32_t i = 0; i < count && !in->differs; i++) {
        Op op = *op_at(in->m, first + i);
        op.from += from;
        op.to += to;
        switch (op.kind) {
        case OP_COPY:
        case OP_WORDS:
            memcpy(in->to + op.to, in->from + op.from, op.bytes);
            break;
        case OP_NUMBER:
        case OP_BITS:
        case OP_ENUM:
            in->differs |= value_convert(in->m, in->pair, &op, in->from + op.from, in->to + op.to,
                                         why, sizeof why) != 0;
            break;
        case OP_POINTER:
        case OP_TABLE:
            in->differs |= !hash_equal(link_at(in->m->from, in->v->address + op.from),
                                       link_at(in->m->to, in->w->address + op.to));
            break;
        case OP_ARRAY:
            for (uint64_t n = 0; n < op.bytes && !in->differs; n++)
                convert_initial(in, first + i + 1, op.body, op.from + n * op.from_step,
                                op.to + n * op.to_step);
            i += op.body;
            break;
        case OP_UNION: {
            uint32_t at = plan_case(in->m, first + i, in->from + from);
            if (at != UINT32_MAX)
                convert_initial(in, at + 1, op_at(in->m, at)->body, from, to);
            i += op.body;
            break;
        }
        default:
            break; /* what gets less room: the new initialiser has no say in the rest */
        }
    }
}

/* Of two layouts: does the new initialiser say something else about what both have? */
static int initialiser_differs(Migration *m, const SchemaStatic *v, const SchemaStatic *w,
                               uint32_t index)
{
    const Pair *pair = pair_at(m, index);
    int known = (v->place == SCHEMA_ZERO || v->init_at) && (w->place == SCHEMA_ZERO || w->init_at);
    if (!known)
        return 0; /* too long to compare: what was lived counts for more */
    uint8_t *buffers = calloc(3, (v->bytes > w->bytes ? v->bytes : w->bytes) + 16);
    if (!buffers) {
        m->failed = KEEL_ENOMEM;
        return 0;
    }
    size_t step = (v->bytes > w->bytes ? v->bytes : w->bytes) + 16;
    Initials in = {.m = m, .pair = pair, .v = v, .w = w, .from = buffers, .to = buffers + step};
    uint8_t *fresh = buffers + 2 * step;
    if (v->init_at)
        memcpy(buffers, m->from->initials + v->init_at - 1, v->bytes);
    if (w->init_at)
        memcpy(fresh, m->to->initials + w->init_at - 1, w->bytes);
    memcpy(in.to, fresh, w->bytes);
    convert_initial(&in, pair->first_op, pair->ops, 0, 0);
    int differs = in.differs || memcmp(in.to, fresh, w->bytes) != 0;
    free(buffers);
    return differs;
}

static int carries(uint16_t place)
{
    return place == SCHEMA_DATA || place == SCHEMA_ZERO;
}

static void plan_static(Migration *m, uint32_t index)
{
    const SchemaStatic *v = &m->from->statics[index];
    StaticPlan plan = {.from = index};
    int64_t to = m->static_to[index];
    if (!carries(v->place))
        return;
    if (to == STATIC_UNCLEAR) {
        if (!m->why.code)
            err_set(&m->why, KEEL_ETYPE,
                    "%s%s%s: there is more than one static of this name, which is which can't be "
                    "told: give them different names",
                    schema_text(m->from, v->function), v->function ? "." : "",
                    schema_text(m->from, v->name));
        return;
    }
    if (to < 0) {
        plan.fate = STATIC_DROPPED;
    } else {
        const SchemaStatic *w = &m->to->statics[to];
        plan.to = (uint32_t)to;
        plan.pair = plan_pair(m, v->type, w->type, 0);
        if (!plan.pair)
            return;
        if (!pair_at(m, plan.pair)->planned)
            plan_ops(m, plan.pair);
        if (!carries(w->place))
            plan.fate = STATIC_NOTHING;
        else if ((m->from->types[v->type].flags | m->to->types[w->type].flags) & SCHEMA_DESTRUCTOR)
            plan.fate = STATIC_OWNER;
        else if (pair_at(m, plan.pair)->same ? !hash_equal(v->init, w->init)
                                             : initialiser_differs(m, v, w, plan.pair))
            plan.fate = STATIC_ANEW;
        else
            plan.fate = STATIC_CARRIED;
    }
    if (buf_add(&m->statics, &plan, sizeof plan))
        m->failed = KEEL_ENOMEM;
}

/* `static T x` of C++ has a guard beside it that tells whether it was constructed. */
static void plan_guards(Migration *m, const StaticPlan *plan)
{
    const SchemaStatic *v = &m->from->statics[plan->from];
    const char *function = schema_text(m->from, v->function);
    const char *name = schema_text(m->from, v->name);
    char guard[1200];
    if (plan->fate != STATIC_CARRIED || strncmp(function, "_Z", 2))
        return;
    size_t n = (size_t)snprintf(guard, sizeof guard, "_ZGVZ%.900sE%zu%.200s", function + 2,
                                strlen(name), name);
    uint32_t at = n < sizeof guard ? names_first_symbol(m->from, m->from_symbols, guard)
                                   : m->from->symbol_count;
    for (; at < m->from->symbol_count; at++, m->work++) {
        const SchemaSymbol *s = &m->from->symbols[m->from_symbols[at]];
        uint64_t pair[2] = {s->address};
        if (strcmp(schema_text(m->from, s->name), guard))
            break;
        if (s->bytes != 8 || names_symbol(m, s, 0, &pair[1]))
            continue;
        if (buf_add(&m->guards, pair, sizeof pair))
            m->failed = KEEL_ENOMEM;
    }
}

void plan_statics(Migration *m)
{
    const Schema *s = m->from;
    Named from, to = {0};
    if (named_init(&from, m->from) || named_init(&to, m->to))
        m->failed = KEEL_ENOMEM;
    for (uint32_t i = 0; i < s->static_count && !m->failed; i++) {
        const SchemaStatic *v = &s->statics[i];
        m->static_to[i] = find_static(m, &to, v);
        if (m->static_to[i] >= 0 && stands_twice(m, &from, v))
            m->static_to[i] = STATIC_UNCLEAR;
    }
    named_done(&from);
    named_done(&to);
    if (m->failed)
        return;
    /* What several units see is one object, wherever one of them still sees it. */
    for (uint32_t i = 0; i < s->static_count;) {
        uint32_t last = i;
        int64_t known = STATIC_GONE;
        for (; last < s->static_count && s->statics[last].address == s->statics[i].address; last++)
            if (m->static_to[last] != STATIC_GONE && known != STATIC_UNCLEAR)
                known = known >= 0 && m->static_to[last] >= 0 &&
                                m->to->statics[known].address !=
                                    m->to->statics[m->static_to[last]].address
                            ? STATIC_UNCLEAR
                            : m->static_to[last];
        for (uint32_t k = i; k < last; k++)
            m->static_to[k] = known;
        plan_static(m, i);
        i = last;
    }
    for (size_t i = 0; i < m->statics.bytes / sizeof(StaticPlan); i++)
        plan_guards(m, (const StaticPlan *)(const void *)m->statics.data + i);
}

int migration_kept_statics(const Migration *m, Buf *list)
{
    const StaticPlan *plans = (const StaticPlan *)(const void *)m->statics.data;
    int rc = 0;
    for (size_t i = 0; i < m->statics.bytes / sizeof *plans && !rc; i++) {
        const MigrateKept kept = {plans[i].from, plans[i].to};
        if (plans[i].fate == STATIC_CARRIED && pair_at(m, plans[i].pair)->same)
            rc = buf_add(list, &kept, sizeof kept);
    }
    return rc ? KEEL_ENOMEM : 0;
}
