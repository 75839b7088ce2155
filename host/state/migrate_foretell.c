/* What a migration would do, told from the plan alone. Changes nothing but the plan, which learns
 * the types it is asked about. One thread at a time. */
#include <string.h>

#include "state/migrate_plan.h"

static const char *comma(const char **first)
{
    const char *said = *first;
    *first = ", ";
    return said;
}

static const char *last_part(const char *path)
{
    const char *dot = strchr(path, '.');
    return dot ? dot + 1 : path;
}

static int tell_fields(const Migration *m, const Pair *pair, Buf *out)
{
    const char *first = " new ";
    int rc = 0;
    for (uint32_t i = 0; i < pair->added && !rc; i++)
        rc = buf_printf(out, "%s%s", comma(&first),
                        plan_text(m, single_at(m, pair->first_added + i)->name));
    first = pair->added ? "; dropped: " : " dropped: ";
    for (uint32_t i = 0; i < pair->dropped && !rc; i++) {
        const Single *single = single_at(m, pair->first_dropped + i);
        rc = buf_printf(out, "%s%s (%s)", comma(&first), plan_text(m, single->name),
                        plan_text(m, single->spelled));
    }
    return rc;
}

static int tell_op(const Migration *m, const Pair *pair, const Op *op, Buf *out)
{
    const Schema *to = pair_schema(m, pair);
    const char *path = last_part(plan_text(m, op->path));
    const char *a = schema_text(m->from, m->from->types[op->from_type].name);
    const char *b = schema_text(to, to->types[op->to_type].name);
    switch (op->kind) {
    case OP_NUMBER:
        return buf_printf(out, "; %s: %s → %s", path, a, b);
    case OP_BITS:
        return op->from_bits == op->to_bits
                   ? 0
                   : buf_printf(out, "; %s: %u → %u bits", path, op->from_bits, op->to_bits);
    case OP_ENUM:
        return buf_printf(out, "; %s: by the names of %s", path, a);
    case OP_EMPTY:
        if (m->from->types[op->from_type].kind == SCHEMA_UNION)
            return buf_printf(out, "; %s: a union that changes and has no KEEL_UNION: must be zero",
                              path);
        return buf_printf(out, "; %s: must be empty where %s has no place for it", path, b);
    case OP_TEXT:
        return buf_printf(out, "; %s: must end within %s", path, b);
    case OP_HOOK:
        return buf_printf(out,
                          op->hook == HOOK_CALL ? "; then KEEL_CONVERT" : "; of another version");
    case OP_UNION:
        return op->to_step ? 0 : buf_printf(out, "; %s: by its tag", path);
    default:
        return 0;
    }
}

static int tell_pair(Migration *m, uint32_t index, Buf *out)
{
    const Pair pair = *pair_at(m, index);
    int rc = buf_printf(out, "%s:", plan_text(m, pair.name));
    rc = rc ? rc : tell_fields(m, &pair, out);
    for (uint32_t i = 0; i < pair.ops && !rc; i++)
        rc = tell_op(m, &pair, op_at(m, pair.first_op + i), out);
    if (!rc && pair.from_bytes != pair.to_bytes)
        rc = buf_printf(out, "; %llu → %llu bytes", (unsigned long long)pair.from_bytes,
                        (unsigned long long)pair.to_bytes);
    return rc ? rc : buf_printf(out, "\n");
}

static int tell_static(const Migration *m, const StaticPlan *plan, Buf *out)
{
    static const char *const WHAT[] = {[STATIC_ANEW] = "starts from its new initialiser",
                                       [STATIC_OWNER] = "starts anew: its type has a destructor",
                                       [STATIC_DROPPED] = "is gone"};
    const SchemaStatic *v = &m->from->statics[plan->from];
    const char *function = schema_text(m->from, v->function);
    if (plan->fate >= sizeof WHAT / sizeof *WHAT || !WHAT[plan->fate] || !v->bytes)
        return 0;
    return buf_printf(out, "static %s%s%s: %s\n", schema_text(m->from, v->name),
                      *function ? " of " : "", function, WHAT[plan->fate]);
}

int migration_foretell(Migration *m, Buf *lines)
{
    int rc = 0;
    for (uint32_t i = 0; i < m->from->name_count && !rc; i++) {
        const SchemaType *t = &m->from->types[m->from->names[i].type];
        int is_first =
            !strcmp(schema_text(m->from, t->name), schema_text(m->from, m->from->names[i].text));
        if (t->kind != SCHEMA_RECORD || t->flags & SCHEMA_INCOMPLETE || !is_first)
            continue;
        uint32_t pair = plan_pair_of(m, m->from->names[i].type);
        plan_close(m);
        if (!pair || m->failed)
            return KEEL_ENOMEM;
        if (!pair_at(m, pair)->same && !pair_at(m, pair)->kept)
            rc = tell_pair(m, pair, lines);
    }
    const StaticPlan *plans = (const StaticPlan *)(const void *)m->statics.data;
    for (size_t i = 0; i < m->statics.bytes / sizeof *plans && !rc; i++)
        rc = tell_static(m, &plans[i], lines);
    return rc;
}
