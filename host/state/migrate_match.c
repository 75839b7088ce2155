/* Which field of the old record is which of the new: by name, by KEEL_RENAMED, and what was nested
 * or split by the name of the innermost. Works on schemas only. One thread at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

enum { LEAVES_MOST = 4096 };

static void fail(Migration *m)
{
    m->failed = KEEL_ENOMEM;
}

/* A field as it counts: those of anonymous records are their record's. */
typedef struct Leaf {
    uint64_t at;
    uint32_t type;
    char name[96];    /* of the field alone */
    char path[160];   /* from the record */
    uint32_t spelled; /* in its schema */
    uint8_t bit, bits, depth, is_table, taken;
    uint32_t tagged; /* index of its KEEL_UNION + 1 */
    uint64_t tag;
    uint32_t given; /* of the first of a name: how many of them are taken, in their order */
} Leaf;

typedef struct Leaves {
    Leaf *list;
    uint32_t count;
    Leaf **by_name; /* once sort_leaves was called */
} Leaves;

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
    m->work++;
}

static int order_leaves(const void *a, const void *b)
{
    const Leaf *const *x = a, *const *y = b;
    int c = strcmp((*x)->name, (*y)->name);
    return c ? c : (*x > *y) - (*x < *y); /* of one list */
}

static void sort_leaves(Migration *m, Leaves *leaves)
{
    leaves->by_name = malloc((leaves->count + 1) * sizeof(Leaf *));
    if (!leaves->by_name) {
        fail(m);
        leaves->count = 0;
        return;
    }
    for (uint32_t i = 0; i < leaves->count; i++)
        leaves->by_name[i] = &leaves->list[i];
    if (leaves->count)
        qsort(leaves->by_name, leaves->count, sizeof(Leaf *), order_leaves);
}

static void leaves_done(Leaves *leaves)
{
    free(leaves->list);
    free(leaves->by_name);
}

/* How many have this name, none, one or several; the first is at *ret_at of `by_name`. */
static int count_named(const Leaves *leaves, const char *name, uint32_t *ret_at)
{
    uint32_t low = 0, high = leaves->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(leaves->by_name[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    if (low == leaves->count || strcmp(leaves->by_name[low]->name, name))
        return 0;
    return low + 1 < leaves->count && !strcmp(leaves->by_name[low + 1]->name, name) ? 2 : 1;
}

/* Whose fields they are: `record`, or a part of it without a name. */
typedef struct Of {
    uint32_t record, holder;
    uint64_t base, holder_base;
} Of;

static void list_leaves(Migration *m, const Schema *s, Of of, const char *path, int depth,
                        int inside, Leaves *ret)
{
    const SchemaType *t = &s->types[of.record];
    for (uint32_t i = 0; i < t->fields && !m->failed; i++) {
        const SchemaField *f = &s->fields[t->first + i];
        const SchemaType *ft = &s->types[f->type];
        const char *name = schema_text(s, f->name);
        Leaf leaf = {.at = of.base + f->offset,
                     .type = f->type,
                     .spelled = f->spelled,
                     .bit = f->bit,
                     .bits = f->bits,
                     .depth = (uint8_t)depth,
                     .is_table = (f->flags & SCHEMA_TABLE) != 0};
        if (f->flags & SCHEMA_BASE)
            name = schema_text(s, ft->name);
        if (!*name && plan_is_record(ft)) {
            list_leaves(m, s, (Of){f->type, of.holder, leaf.at, of.holder_base}, path, depth,
                        inside, ret);
            continue;
        }
        snprintf(leaf.name, sizeof leaf.name, "%s", *name ? name : "(union)");
        snprintf(leaf.path, sizeof leaf.path, "%s%s%.90s", path, *path ? "." : "", leaf.name);
        if (inside && plan_is_record(ft) && depth < 8) {
            list_leaves(m, s, (Of){f->type, f->type, leaf.at, leaf.at}, leaf.path, depth + 1,
                        inside, ret);
            continue;
        }
        const SchemaUnion *tagged =
            ft->kind == SCHEMA_UNION ? schema_union(s, of.holder, leaf.at - of.holder_base) : NULL;
        if (tagged && tagged->type == f->type) {
            leaf.tagged = (uint32_t)(tagged - s->unions) + 1;
            leaf.tag = of.holder_base + tagged->tag_offset;
        }
        add_leaf(m, ret, &leaf);
    }
}

const char *plan_name_before(const Migration *m, const char *type, const char *name)
{
    char wanted[200], said[200];
    int stars;
    if (!m->to->rename_count || schema_canonical(type, wanted, sizeof wanted, &stars))
        return name;
    for (uint32_t i = 0; i < m->to->rename_count; i++) {
        const SchemaRename *r = &m->to->renames[i];
        if (strcmp(schema_text(m->to, r->to), name) ||
            schema_canonical(schema_text(m->to, r->type), said, sizeof said, &stars))
            continue;
        const char *plain = !strncmp(said, "struct ", 7)  ? said + 7
                            : !strncmp(said, "union ", 6) ? said + 6
                                                          : said;
        if (!strcmp(said, wanted) || !strcmp(plain, wanted))
            return schema_text(m->to, r->from);
    }
    return name;
}

static const char *name_before(const Migration *m, const Pair *pair, const char *name)
{
    return pair->kept ? name
                      : plan_name_before(m, schema_text(m->to, m->to->types[pair->to].name), name);
}

/* The first of that name that no call gave before. */
static Leaf *take_named(Leaves *leaves, const char *name)
{
    uint32_t at;
    if (!count_named(leaves, name, &at))
        return NULL;
    uint32_t next = at + leaves->by_name[at]->given;
    if (next == leaves->count || strcmp(leaves->by_name[next]->name, name))
        return NULL;
    leaves->by_name[at]->given++;
    return leaves->by_name[next];
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
                   .is_table = from->is_table && to->is_table,
                   .from_union = from->tagged,
                   .to_union = to->tagged,
                   .from_tag = from->tag,
                   .to_tag = to->tag};
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
        if (plan_is_record(&s->types[leaf->type]))
            list_leaves(m, s, (Of){leaf->type, leaf->type, leaf->at, leaf->at}, leaf->path,
                        leaf->depth + 1, 1, ret);
        else
            add_leaf(m, ret, leaf);
    }
}

static Leaf *only_one(const Leaves *leaves, const char *name)
{
    uint32_t at;
    return count_named(leaves, name, &at) == 1 ? leaves->by_name[at] : NULL;
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

void plan_match(Migration *m, uint32_t index)
{
    Pair *pair = pair_at(m, index);
    const Schema *to_schema = pair_schema(m, pair);
    Leaves from = {0}, to = {0}, inner_from = {0}, inner_to = {0};
    list_leaves(m, m->from, (Of){pair->from, pair->from, 0, 0}, "", 0, 0, &from);
    list_leaves(m, to_schema, (Of){pair->to, pair->to, 0, 0}, "", 0, 0, &to);
    sort_leaves(m, &from);
    pair->first_match = (uint32_t)(m->matches.bytes / sizeof(Match));
    for (uint32_t i = 0; i < to.count && !m->failed; i++) {
        Leaf *t = &to.list[i];
        const char *before = name_before(m, pair, t->name);
        Leaf *f = take_named(&from, before);
        if (!f)
            continue;
        f->taken = t->taken = 1;
        add_match(m, pair, f, t);
    }
    go_inside(m, m->from, &from, &inner_from);
    go_inside(m, to_schema, &to, &inner_to);
    sort_leaves(m, &inner_from);
    sort_leaves(m, &inner_to);
    match_inner(m, pair, &inner_from, &inner_to);
    pair->first_dropped = (uint32_t)(m->singles.bytes / sizeof(Single));
    for (uint32_t i = 0; i < inner_from.count; i++)
        if (!inner_from.list[i].taken)
            add_single(m, m->from, &inner_from.list[i], &pair->dropped);
    pair->first_added = (uint32_t)(m->singles.bytes / sizeof(Single));
    for (uint32_t i = 0; i < inner_to.count; i++)
        if (!inner_to.list[i].taken)
            add_single(m, to_schema, &inner_to.list[i], &pair->added);
    leaves_done(&from);
    leaves_done(&to);
    leaves_done(&inner_from);
    leaves_done(&inner_to);
}
