/* The plan's lookups: numbers of things by a hash of what they are, so that asking for one again
 * costs the same however many there are. Owned by one Migration; one thread at a time. */
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

void lookup_done(Lookup *table)
{
    free(table->slots);
    *table = (Lookup){0};
}

uint32_t lookup_first(const Lookup *table, uint64_t hash, uint32_t *ret_at)
{
    *ret_at = (uint32_t)hash & (table->room - 1);
    return table->room ? table->slots[*ret_at].value : 0;
}

uint32_t lookup_next(const Lookup *table, uint32_t *at)
{
    *at = (*at + 1) & (table->room - 1);
    return table->slots[*at].value;
}

static void put(Lookup *table, LookupSlot slot)
{
    uint32_t at = slot.hash & (table->room - 1);
    while (table->slots[at].value)
        at = (at + 1) & (table->room - 1);
    table->slots[at] = slot;
}

int lookup_add(Lookup *table, uint64_t hash, uint32_t value)
{
    if (table->count + 1 > table->room / 2) {
        Lookup more = {.room = table->room ? table->room * 2 : 64, .count = table->count};
        more.slots = calloc(more.room, sizeof *more.slots);
        if (!more.slots)
            return KEEL_ENOMEM;
        for (uint32_t i = 0; i < table->room; i++)
            if (table->slots[i].value)
                put(&more, table->slots[i]);
        free(table->slots);
        *table = more;
    }
    put(table, (LookupSlot){value, (uint32_t)hash});
    table->count++;
    return KEEL_OK;
}

uint64_t lookup_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

uint64_t lookup_mix_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return lookup_mix(hash, 0);
}

/* ---- types of the new image by what they are made of ---- */

static _Thread_local const Schema *sorting;

static int order_shape(const Schema *s, uint32_t type, Hash hash, const char *name)
{
    const SchemaType *t = &s->types[type];
    if (t->hash.high != hash.high)
        return t->hash.high < hash.high ? -1 : 1;
    if (t->hash.low != hash.low)
        return t->hash.low < hash.low ? -1 : 1;
    return strcmp(schema_text(s, t->name), name);
}

static int order_shapes(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    const SchemaType *t = &sorting->types[*y];
    int c = order_shape(sorting, *x, t->hash, schema_text(sorting, t->name));
    return c ? c : (*x > *y) - (*x < *y);
}

int shapes_init(Migration *m)
{
    m->to_shapes = malloc((m->to->type_count + 1) * sizeof *m->to_shapes);
    if (!m->to_shapes)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < m->to->type_count; i++)
        m->to_shapes[i] = i;
    sorting = m->to;
    if (m->to->type_count)
        qsort(m->to_shapes, m->to->type_count, sizeof *m->to_shapes, order_shapes);
    return KEEL_OK;
}

int shapes_find(const Migration *m, const SchemaType *t, uint32_t *ret)
{
    const char *name = schema_text(m->from, t->name);
    uint32_t low = 0, high = m->to->type_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (order_shape(m->to, m->to_shapes[middle], t->hash, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == m->to->type_count || order_shape(m->to, m->to_shapes[low], t->hash, name))
        return KEEL_ENOTFOUND;
    *ret = m->to_shapes[low];
    return KEEL_OK;
}
