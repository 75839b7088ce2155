/* The plan: which types of the old image are which of the new, and where each field goes. Owns all
 * lists of a Migration; works on schemas only. One thread at a time. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

enum { LEAVES_MOST = 4096, PAIRS_MOST = 1 << 20 };
enum { PAIR_NEW, PAIR_MATCHED };

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

/* ---- fields ---- */

/* A field as it counts: those of anonymous records are their record's. */
typedef struct Leaf {
    uint64_t at;
    uint32_t type;
    char name[96];    /* of the field alone */
    char path[160];   /* from the record */
    uint32_t spelled; /* in its schema */
    uint8_t bit, bits, depth, is_table, taken;
} Leaf;

typedef struct Leaves {
    Leaf *list;
    uint32_t count;
} Leaves;

static int is_record(const SchemaType *t)
{
    return t->kind == SCHEMA_RECORD && !(t->flags & SCHEMA_INCOMPLETE);
}

static void add_leaf(Migration *m, Leaves *leaves, const Leaf *leaf)
{
    if (leaves->count >= LEAVES_MOST) {
        m->failed = KEEL_ELIMIT;
        return;
    }
    if (!(leaves->count & (leaves->count - 1))) {
        uint32_t room = leaves->count ? leaves->count * 2 : 1;
        Leaf *more = realloc(leaves->list, room * sizeof *more);
        if (!more) {
            fail(m);
            return;
        }
        leaves->list = more;
    }
    leaves->list[leaves->count++] = *leaf;
}

static void list_leaves(Migration *m, const Schema *s, uint32_t record, uint64_t base,
                        const char *path, int depth, int inside, Leaves *ret)
{
    const SchemaType *t = &s->types[record];
    for (uint32_t i = 0; i < t->fields && !m->failed; i++) {
        const SchemaField *f = &s->fields[t->first + i];
        const SchemaType *ft = &s->types[f->type];
        const char *name = schema_text(s, f->name);
        Leaf leaf = {.at = base + f->offset,
                     .type = f->type,
                     .spelled = f->spelled,
                     .bit = f->bit,
                     .bits = f->bits,
                     .depth = (uint8_t)depth,
                     .is_table = (f->flags & SCHEMA_TABLE) != 0};
        if (f->flags & SCHEMA_BASE)
            name = schema_text(s, ft->name);
        if (!*name && is_record(ft)) {
            list_leaves(m, s, f->type, leaf.at, path, depth, inside, ret);
            continue;
        }
        snprintf(leaf.name, sizeof leaf.name, "%s", *name ? name : "(union)");
        snprintf(leaf.path, sizeof leaf.path, "%s%s%.90s", path, *path ? "." : "", leaf.name);
        if (inside && is_record(ft) && depth < 8) {
            list_leaves(m, s, f->type, leaf.at, leaf.path, depth + 1, inside, ret);
            continue;
        }
        add_leaf(m, ret, &leaf);
    }
}

/* The field's name before, when KEEL_RENAMED tells. */
static const char *name_before(const Migration *m, const Pair *pair, const char *name)
{
    char wanted[200], said[200];
    int stars;
    if (!m->to->rename_count || pair->kept)
        return name;
    const char *type = schema_text(m->to, m->to->types[pair->to].name);
    if (schema_canonical(type, wanted, sizeof wanted, &stars))
        return name;
    for (uint32_t i = 0; i < m->to->rename_count; i++) {
        const SchemaRename *r = &m->to->renames[i];
        if (strcmp(schema_text(m->to, r->to), name) ||
            schema_canonical(schema_text(m->to, r->type), said, sizeof said, &stars))
            continue;
        const char *plain = strncmp(said, "struct ", 7) ? said : said + 7;
        if (!strcmp(said, wanted) || !strcmp(plain, wanted))
            return schema_text(m->to, r->from);
    }
    return name;
}

static Leaf *leaf_named(Leaves *leaves, const char *name)
{
    for (uint32_t i = 0; i < leaves->count; i++)
        if (!leaves->list[i].taken && !strcmp(leaves->list[i].name, name))
            return &leaves->list[i];
    return NULL;
}

static void add_match(Migration *m, Pair *pair, const Leaf *from, const Leaf *to)
{
    Match match = {.from = from->at,
                   .to = to->at,
                   .from_type = from->type,
                   .to_type = to->type,
                   .name = plan_add_text(m, "%s", to->path),
                   .from_bit = from->bit,
                   .from_bits = from->bits,
                   .to_bit = to->bit,
                   .to_bits = to->bits,
                   .is_table = from->is_table && to->is_table};
    if (buf_add(&m->matches, &match, sizeof match))
        fail(m);
    pair->matches++;
}

static void add_single(Migration *m, const Schema *s, const Leaf *leaf, uint32_t *count)
{
    Single single = {.at = leaf->at,
                     .type = leaf->type,
                     .name = plan_add_text(m, "%s", leaf->path),
                     .spelled = plan_add_text(m, "%s", schema_text(s, leaf->spelled)),
                     .bit = leaf->bit,
                     .bits = leaf->bits};
    if (buf_add(&m->singles, &single, sizeof single))
        fail(m);
    ++*count;
}

/* What is left, down to the innermost fields. */
static void go_inside(Migration *m, const Schema *s, const Leaves *left, Leaves *ret)
{
    for (uint32_t i = 0; i < left->count; i++) {
        const Leaf *leaf = &left->list[i];
        if (leaf->taken)
            continue;
        if (is_record(&s->types[leaf->type]))
            list_leaves(m, s, leaf->type, leaf->at, leaf->path, leaf->depth + 1, 1, ret);
        else
            add_leaf(m, ret, leaf);
    }
}

static Leaf *only_one(Leaves *leaves, const char *name)
{
    Leaf *found = NULL;
    for (uint32_t i = 0; i < leaves->count; i++) {
        if (strcmp(leaves->list[i].name, name))
            continue;
        if (found)
            return NULL;
        found = &leaves->list[i];
    }
    return found;
}

/* Nested or split: by the innermost name, where it is the only one on both sides. */
static void match_inner(Migration *m, Pair *pair, Leaves *from, Leaves *to)
{
    for (uint32_t i = 0; i < to->count; i++) {
        Leaf *t = &to->list[i];
        Leaf *f = only_one(from, name_before(m, pair, t->name));
        if (!f)
            f = only_one(from, t->name);
        if (!f || f->taken || only_one(to, t->name) != t || f->depth == t->depth)
            continue;
        f->taken = t->taken = 1;
        add_match(m, pair, f, t);
    }
}

static void match_fields(Migration *m, uint32_t index)
{
    Pair *pair = pair_at(m, index);
    const Schema *to_schema = pair_schema(m, pair);
    Leaves from = {0}, to = {0}, inner_from = {0}, inner_to = {0};
    list_leaves(m, m->from, pair->from, 0, "", 0, 0, &from);
    list_leaves(m, to_schema, pair->to, 0, "", 0, 0, &to);
    pair->first_match = (uint32_t)(m->matches.bytes / sizeof(Match));
    for (uint32_t i = 0; i < to.count && !m->failed; i++) {
        Leaf *t = &to.list[i];
        const char *before = name_before(m, pair, t->name);
        Leaf *f = leaf_named(&from, before);
        if (!f)
            continue;
        f->taken = t->taken = 1;
        add_match(m, pair, f, t);
    }
    go_inside(m, m->from, &from, &inner_from);
    go_inside(m, to_schema, &to, &inner_to);
    match_inner(m, pair, &inner_from, &inner_to);
    pair->first_dropped = (uint32_t)(m->singles.bytes / sizeof(Single));
    for (uint32_t i = 0; i < inner_from.count; i++)
        if (!inner_from.list[i].taken)
            add_single(m, m->from, &inner_from.list[i], &pair->dropped);
    pair->first_added = (uint32_t)(m->singles.bytes / sizeof(Single));
    for (uint32_t i = 0; i < inner_to.count; i++)
        if (!inner_to.list[i].taken)
            add_single(m, to_schema, &inner_to.list[i], &pair->added);
    free(from.list);
    free(to.list);
    free(inner_from.list);
    free(inner_to.list);
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
    uint32_t count = (uint32_t)(m->pairs.bytes / sizeof(Pair));
    for (uint32_t i = 1; i < count; i++) {
        const Pair *p = pair_at(m, i);
        if (p->from == from && p->to == to && p->kept == kept)
            return i;
    }
    const SchemaType *a = &m->from->types[from];
    const SchemaType *b = kept ? a : &m->to->types[to];
    Pair pair = {.from = from,
                 .to = to,
                 .kept = (uint8_t)kept,
                 .same = kept || hash_equal(a->hash, b->hash),
                 .from_bytes = a->bytes,
                 .to_bytes = b->bytes,
                 .from_align = schema_align(m->from, from),
                 .to_align = schema_align(kept ? m->from : m->to, to)};
    pair.name = plan_add_text(m, "%s", schema_text(m->from, a->name));
    pair.from_tail = tail_of(m->from, from, &pair.from_tail_at);
    pair.to_tail = tail_of(kept ? m->from : m->to, to, &pair.to_tail_at);
    if (count >= PAIRS_MOST || buf_add(&m->pairs, &pair, sizeof pair)) {
        fail(m);
        return 0;
    }
    m->closed = 0;
    if (is_record(a) && is_record(b))
        match_fields(m, count);
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
        for (uint32_t i = 0; i < m->to->type_count; i++)
            if (hash_equal(m->to->types[i].hash, t->hash) &&
                !strcmp(schema_text(m->to, m->to->types[i].name), schema_text(m->from, t->name)))
                return i;
        *ret_none = 1;
        return 0;
    }
    const char *file = m->from->unit_count ? schema_text(m->from, m->from->units[t->unit]) : "";
    *ret_none = schema_find(m->to, schema_text(m->from, t->name), file, &to) != 0;
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

/* ---- what must be looked at ---- */

/* May a pointer of this type lead into the image? */
static int may_leave(const Migration *m, uint32_t target)
{
    const SchemaType *t = &m->from->types[target];
    return !target || t->kind == SCHEMA_FUNCTION || t->flags & (SCHEMA_TEXT | SCHEMA_INCOMPLETE) ||
           m->pointed[target];
}

/* Planned by the pointers in its operations; `*ret_leads`: one leads where something changes. */
static int leads_on(Migration *m, const Pair *pair)
{
    for (uint32_t i = 0; i < pair->ops; i++) {
        const Op *op = op_at(m, pair->first_op + i);
        if (op->kind == OP_TABLE || op->kind == OP_WORDS)
            return 1;
        if (op->kind != OP_POINTER)
            continue;
        if (may_leave(m, op->from_type))
            return 1;
        uint32_t to = plan_pair_of(m, op->from_type);
        if (to && pair_at(m, to)->walks)
            return 1;
    }
    return 0;
}

/* Whether holders of a type are reached through its members: a pointer to `struct link` may lead to
 * what holds one. */
static void spread_to_parts(Migration *m)
{
    uint32_t count = (uint32_t)(m->pairs.bytes / sizeof(Pair));
    for (uint32_t i = 1; i < count; i++) {
        const Pair *holder = pair_at(m, i);
        if (!holder->walks)
            continue;
        for (uint32_t k = 0; k < holder->matches; k++) {
            const Match *match = match_at(m, holder->first_match + k);
            for (uint32_t n = 1; n < count; n++) {
                Pair *part = pair_at(m, n);
                if (part->from == match->from_type && !part->walks && !holder->same)
                    part->walks = 1;
            }
        }
    }
}

void plan_close(Migration *m)
{
    if (m->closed)
        return;
    /* Pairs grow while they are planned. */
    for (uint32_t i = 1; i < m->pairs.bytes / sizeof(Pair) && !m->failed; i++) {
        if (!pair_at(m, i)->planned)
            plan_ops(m, i);
        uint32_t first = pair_at(m, i)->first_op, ops = pair_at(m, i)->ops;
        if (pair_at(m, i)->from_tail)
            plan_pair_of(m, pair_at(m, i)->from_tail);
        for (uint32_t k = 0; k < ops && !m->failed; k++) {
            const Op op = *op_at(m, first + k);
            if (op.kind == OP_POINTER && op.from_type &&
                m->from->types[op.from_type].kind != SCHEMA_FUNCTION)
                plan_pair_of(m, op.from_type);
        }
    }
    int changed = 1;
    while (changed && !m->failed) {
        changed = 0;
        uint32_t count = (uint32_t)(m->pairs.bytes / sizeof(Pair));
        for (uint32_t i = 1; i < count; i++) {
            if (!pair_at(m, i)->walks && (!pair_at(m, i)->same || leads_on(m, pair_at(m, i)))) {
                pair_at(m, i)->walks = 1;
                changed = 1;
            }
        }
        spread_to_parts(m);
    }
    m->closed = !m->failed;
}

/* ---- places inside of objects ---- */

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
    if (is_record(a) && is_record(b))
        return place_in_record(w, from, to, offset, ret);
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

/* ---- life ---- */

uint32_t plan_learn(Migration *m, const char *spelled, const char *file)
{
    const Learnt *list = (const Learnt *)(const void *)m->learnt.data;
    size_t count = m->learnt.bytes / sizeof *list;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(plan_text(m, list[i].spelled), spelled) &&
            !strcmp(plan_text(m, list[i].file), file))
            return list[i].pair;
    Learnt learnt = {.spelled = plan_add_text(m, "%s", spelled),
                     .file = plan_add_text(m, "%s", file)};
    uint32_t from = 0, to = 0;
    if (!schema_find(m->from, spelled, file, &from) && from) {
        int rc = schema_find(m->to, spelled, file, &to);
        learnt.pair = rc == KEEL_OK ? plan_pair(m, from, to, 0) : plan_pair(m, from, from, 1);
    }
    if (buf_add(&m->learnt, &learnt, sizeof learnt))
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
    m->own_pair = calloc(from->type_count, sizeof *m->own_pair);
    if (!m->pointed || !m->own_pair || buf_add(&m->pairs, &none, sizeof none) ||
        buf_add(&m->texts, "", 1) || names_init(m))
        m->failed = KEEL_ENOMEM;
    for (uint32_t i = 0; i < from->static_count && !m->failed; i++)
        if (from->statics[i].place != SCHEMA_CACHE)
            find_pointed(m, from->statics[i].type, 0);
    if (!m->failed)
        plan_statics(m);
    if (!m->failed)
        plan_close(m);
    int rc = m->failed ? err_set(err, m->failed, "no memory for a plan") : m->why.code;
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
    names_done(m);
    free(m->pointed);
    free(m->own_pair);
    free(m);
}

int migration_changes(const Migration *m)
{
    const Learnt *list = (const Learnt *)(const void *)m->learnt.data;
    for (size_t i = 0; i < m->learnt.bytes / sizeof *list; i++)
        if (list[i].pair && !pair_at(m, list[i].pair)->same)
            return 1;
    return 0;
}
