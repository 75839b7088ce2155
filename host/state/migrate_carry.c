/* Statics: each keeps its value unless its initialiser was edited. All are converted aside first
 * and written when nothing can fail any more, so that a refusal leaves the new image as it was.
 * [frame] */
#include <stdlib.h>
#include <string.h>

#include "state/migrate_run.h"

typedef struct Carried {
    uint8_t *to, *value;
    uint64_t bytes;
} Carried;

static int convert(Walk *w, const StaticPlan *plan, Carried *ret)
{
    const SchemaStatic *v = &w->m->from->statics[plan->from];
    const SchemaStatic *s = &w->m->to->statics[plan->to];
    const Pair pair = *pair_at(w->m, plan->pair);
    const uint8_t *from = (const uint8_t *)(uintptr_t)(v->address + w->run->from.bias);
    uint8_t *to = (uint8_t *)(uintptr_t)(s->address + w->run->to.bias);
    uint8_t *value = malloc(s->bytes + 16);
    if (!value)
        return walk_refuse(w, "no memory for the statics");
    /* What is new in it keeps what its initialiser says. */
    memcpy(value, to, s->bytes);
    w->here.from = from;
    w->here.from_real = (uintptr_t)from;
    w->here.to = value;
    w->here.to_real = (uintptr_t)to;
    w->here.object = 0;
    int rc = apply_ops(w, &pair, pair.first_op, pair.ops, from, value, APPLY_WRITE);
    if (rc) {
        free(value);
        return err_wrap(w->err, "the static %s", schema_text(w->m->from, v->name));
    }
    *ret = (Carried){to, value, s->bytes};
    return 0;
}

static int was_lived(const Walk *w, const SchemaStatic *v)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)(v->address + w->run->from.bias);
    if (v->place != SCHEMA_ZERO)
        return 1;
    for (uint64_t i = 0; i < v->bytes; i++)
        if (at[i])
            return 1;
    return 0;
}

static void count_dropped(Walk *w, const StaticPlan *plan)
{
    const SchemaStatic *v = &w->m->from->statics[plan->from];
    if (v->bytes && was_lived(w, v))
        walk_report(w, "the static %s is gone", schema_text(w->m->from, v->name));
}

int carry_statics(Walk *w)
{
    const StaticPlan *plans = (const StaticPlan *)(const void *)w->m->statics.data;
    size_t count = w->m->statics.bytes / sizeof *plans, kept = 0;
    Carried *list = calloc(count + 1, sizeof *list);
    int rc = list ? 0 : walk_refuse(w, "no memory for the statics");
    for (size_t i = 0; i < count && !rc; i++) {
        const StaticPlan plan = ((const StaticPlan *)(const void *)w->m->statics.data)[i];
        if (plan.fate == STATIC_CARRIED && w->m->to->statics[plan.to].bytes) {
            rc = convert(w, &plan, &list[kept]);
            kept += !rc;
        } else if (plan.fate == STATIC_ANEW) {
            w->result->statics_anew++;
        } else if (plan.fate == STATIC_DROPPED) {
            count_dropped(w, &plan);
        } else if (plan.fate == STATIC_OWNER) {
            walk_report(w, "the static %s has a destructor and starts anew",
                        schema_text(w->m->from, w->m->from->statics[plan.from].name));
        }
    }
    for (size_t i = 0; i < kept; i++) {
        if (!rc)
            statics_write(list[i].to, list[i].value, list[i].bytes);
        free(list[i].value);
    }
    free(list);
    if (rc)
        return rc;
    w->result->statics = kept;
    const uint64_t *guards = (const uint64_t *)(const void *)w->m->guards.data;
    for (size_t i = 0; i < w->m->guards.bytes / 16; i++)
        memcpy((void *)(uintptr_t)(guards[i * 2 + 1] + w->run->to.bias),
               (void *)(uintptr_t)(guards[i * 2] + w->run->from.bias), 8);
    return 0;
}
