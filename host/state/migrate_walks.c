/* Which pairs must be looked at: those that change, and those whose pointers may lead to a change
 * or out of the arena. Spread once along who holds whom, so that it costs as much as there are
 * pointers and fields; the answer is the least set and knows no order. One thread at a time. */
#include "state/migrate_plan.h"

/* May a pointer of this type lead into the image? */
static int may_leave(const Migration *m, uint32_t target)
{
    const SchemaType *t = &m->from->types[target];
    return !target || t->kind == SCHEMA_FUNCTION || t->flags & (SCHEMA_TEXT | SCHEMA_INCOMPLETE) ||
           m->pointed[target];
}

static void mark(Migration *m, uint32_t index)
{
    Pair *pair = pair_at(m, index);
    if (pair->walks)
        return;
    pair->walks = 1;
    pair->next_marked = m->marked;
    m->marked = index;
}

/* Holders of a type are reached through its members: a pointer to `struct link` may lead to what
 * holds one. */
static void mark_parts(Migration *m, const Pair *holder)
{
    for (uint32_t k = 0; k < holder->matches; k++) {
        uint32_t type = match_at(m, holder->first_match + k)->from_type;
        m->work++;
        if (m->is_part[type])
            continue;
        m->is_part[type] = 1;
        for (uint32_t n = m->first_pair[type]; n; n = pair_at(m, n)->next_of_type, m->work++)
            mark(m, n);
    }
}

/* Who points to `to` is told when that turns out to be looked at. */
static void add_pointer(Migration *m, uint32_t holder, uint32_t to)
{
    const Pointing pointing = {.holder = holder, .next = pair_at(m, to)->pointed_by};
    uint32_t index = (uint32_t)(m->pointings.bytes / sizeof pointing);
    if (buf_add(&m->pointings, &pointing, sizeof pointing))
        m->failed = KEEL_ENOMEM;
    else
        pair_at(m, to)->pointed_by = index;
}

void walks_look(Migration *m, uint32_t index)
{
    const Pair pair = *pair_at(m, index);
    int leads = !pair.same || m->is_part[pair.from];
    for (uint32_t k = 0; k < pair.ops && !m->failed; k++, m->work++) {
        const Op op = *op_at(m, pair.first_op + k);
        leads |= op.kind == OP_TABLE || op.kind == OP_WORDS || op.kind == OP_UNION;
        if (op.kind != OP_POINTER)
            continue;
        leads |= may_leave(m, op.from_type);
        if (!op.from_type || m->from->types[op.from_type].kind == SCHEMA_FUNCTION)
            continue;
        uint32_t to = plan_pair_of(m, op.from_type);
        if (!to)
            continue;
        pair_at(m, to)->reached = 1;
        leads |= pair_at(m, to)->walks;
        add_pointer(m, index, to);
    }
    if (leads)
        mark(m, index);
}

void walks_spread(Migration *m)
{
    while (m->marked && !m->failed) {
        const Pair pair = *pair_at(m, m->marked);
        m->marked = pair.next_marked;
        if (!pair.same)
            mark_parts(m, &pair);
        for (uint32_t at = pair.pointed_by; at; m->work++) {
            const Pointing *p = (const Pointing *)(const void *)m->pointings.data + at;
            mark(m, p->holder);
            at = p->next;
        }
    }
}
