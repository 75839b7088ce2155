/* Entities of the old image in the new one: functions, statics and the compiler's own symbols, by
 * name and source file, never by address or order. Part of the plan; one thread at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

static _Thread_local const Schema *sorting;

static int order_functions(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    int c = strcmp(schema_text(sorting, sorting->functions[*x].name),
                   schema_text(sorting, sorting->functions[*y].name));
    return c ? c : (*x > *y) - (*x < *y);
}

static int order_symbols(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    int c = strcmp(schema_text(sorting, sorting->symbols[*x].name),
                   schema_text(sorting, sorting->symbols[*y].name));
    return c ? c : (*x > *y) - (*x < *y);
}

static int order_units(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    int c = strcmp(schema_unit_base(schema_text(sorting, sorting->units[*x])),
                   schema_unit_base(schema_text(sorting, sorting->units[*y])));
    return c ? c : (*x > *y) - (*x < *y);
}

static uint32_t *sorted(const Schema *s, uint32_t count, int (*order)(const void *, const void *))
{
    uint32_t *list = malloc((count + 1) * sizeof *list);
    for (uint32_t i = 0; list && i < count; i++)
        list[i] = i;
    sorting = s;
    if (list && count)
        qsort(list, count, sizeof *list, order);
    return list;
}

/* The unit of the new build that is the same source file: by name, else by the end of the name
 * where only one fits; -1: none. `by_base`: those of the new build by the last part of their names.
 */
static int64_t unit_pair(Migration *m, const char *name, const uint32_t *by_base)
{
    const char *base = schema_unit_base(name);
    uint32_t low = 0, high = m->to->unit_count;
    int64_t found = -1;
    int best = 0, count = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *other = schema_text(m->to, m->to->units[by_base[middle]]);
        if (strcmp(schema_unit_base(other), base) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < m->to->unit_count; low++, m->work++) {
        const char *other = schema_text(m->to, m->to->units[by_base[low]]);
        if (strcmp(schema_unit_base(other), base))
            break;
        int fits = schema_units_fit(name, other);
        if (fits > best) {
            best = fits;
            found = by_base[low];
            count = 1;
        } else if (fits && fits == best) {
            count++;
        }
    }
    return count == 1 ? found : -1;
}

int names_init(Migration *m)
{
    uint32_t *by_base = sorted(m->to, m->to->unit_count, order_units);
    m->to_functions = sorted(m->to, m->to->function_count, order_functions);
    m->to_symbols = sorted(m->to, m->to->symbol_count, order_symbols);
    m->from_symbols = sorted(m->from, m->from->symbol_count, order_symbols);
    m->unit_to = malloc((m->from->unit_count + 1) * sizeof *m->unit_to);
    m->static_to = malloc((m->from->static_count + 1) * sizeof *m->static_to);
    if (!by_base || !m->to_functions || !m->to_symbols || !m->from_symbols || !m->unit_to ||
        !m->static_to) {
        free(by_base);
        return KEEL_ENOMEM;
    }
    for (uint32_t i = 0; i < m->from->unit_count; i++) {
        m->unit_to[i] = unit_pair(m, schema_text(m->from, m->from->units[i]), by_base);
        /* Two builds of one file of another name are still one module. */
        if (m->unit_to[i] < 0 && m->from->unit_count == 1 && m->to->unit_count == 1)
            m->unit_to[i] = 0;
    }
    free(by_base);
    return KEEL_OK;
}

void names_done(Migration *m)
{
    free(m->to_functions);
    free(m->to_symbols);
    free(m->from_symbols);
    free(m->unit_to);
    free(m->static_to);
}

/* Is what `unit` of the old image calls its own what `other` of the new one does? */
int names_units_agree(const Migration *m, uint32_t unit, uint32_t other)
{
    return m->unit_to[unit] == (int64_t)other;
}

static const char *function_name(const Schema *s, const void *list, uint32_t at)
{
    return schema_text(s, s->functions[((const uint32_t *)list)[at]].name);
}

static uint32_t first_function(const Migration *m, const char *name)
{
    uint32_t low = 0, high = m->to->function_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(function_name(m->to, m->to_functions, middle), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* 0: none, 1: one, 2: several. */
static int find_function(const Migration *m, const SchemaFunction *f, uint64_t *ret)
{
    const char *name = schema_text(m->from, f->name);
    int count = 0;
    for (uint32_t i = first_function(m, name);
         i < m->to->function_count && !strcmp(function_name(m->to, m->to_functions, i), name);
         i++) {
        const SchemaFunction *g = &m->to->functions[m->to_functions[i]];
        int both = f->flags & g->flags & SCHEMA_EXTERNAL || (f->flags | g->flags) & SCHEMA_FOLDED;
        if (g->flags & SCHEMA_CLONE || (!both && !names_units_agree(m, f->unit, g->unit)))
            continue;
        count += !count || g->address != *ret;
        *ret = g->address;
    }
    return count > 2 ? 2 : count;
}

int names_function(const Migration *m, uint64_t address, uint64_t *ret, const char **ret_name)
{
    int64_t at = schema_function_at(m->from, address);
    uint64_t found = 0;
    int count = 0;
    *ret_name = "";
    /* Several functions of one address were folded; they may be apart now. */
    for (uint32_t i = (uint32_t)at;
         at >= 0 && i < m->from->function_count && m->from->functions[i].address == address; i++) {
        const SchemaFunction *f = &m->from->functions[i];
        uint64_t one = 0;
        if (f->flags & SCHEMA_CLONE)
            continue;
        *ret_name = schema_text(m->from, f->name);
        int n = find_function(m, f, &one);
        if (n > 1 || (n && count && one != found))
            return KEEL_ECHANGED;
        if (n) {
            found = one;
            count = 1;
        }
    }
    if (!count)
        return KEEL_ENOTFOUND;
    *ret = found;
    return KEEL_OK;
}

uint32_t names_first_symbol(const Schema *schema, const uint32_t *by_name, const char *name)
{
    uint32_t low = 0, high = schema->symbol_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const SchemaSymbol *s = &schema->symbols[by_name[middle]];
        if (strcmp(schema_text(schema, s->name), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int names_symbol(const Migration *m, const SchemaSymbol *symbol, uint64_t offset, uint64_t *ret)
{
    const char *name = schema_text(m->from, symbol->name);
    uint32_t at = names_first_symbol(m->to, m->to_symbols, name);
    if (at == m->to->symbol_count)
        return KEEL_ENOTFOUND;
    const SchemaSymbol *s = &m->to->symbols[m->to_symbols[at]];
    if (strcmp(schema_text(m->to, s->name), name))
        return KEEL_ENOTFOUND;
    /* The first table of a class begins at 16; those of further bases move with its length. */
    if (offset >= s->bytes || (offset != 16 && offset && s->bytes != symbol->bytes))
        return KEEL_ECHANGED;
    *ret = s->address + offset;
    return KEEL_OK;
}

void names_describe(const Schema *s, uint64_t address, char *ret, size_t room)
{
    int64_t at = schema_function_at(s, address);
    if (at >= 0 && address - s->functions[at].address < s->functions[at].bytes) {
        snprintf(ret, room, "the function %.150s", schema_text(s, s->functions[at].name));
        return;
    }
    at = schema_static_at(s, address);
    if (at >= 0 && address - s->statics[at].address < s->statics[at].bytes) {
        const SchemaStatic *v = &s->statics[at];
        int inner = v->function != 0;
        snprintf(ret, room, "the static %.100s%s%.60s", schema_text(s, v->name),
                 inner ? " of " : "", schema_text(s, v->function));
        return;
    }
    at = schema_symbol_at(s, address);
    if (at >= 0 && address - s->symbols[at].address < s->symbols[at].bytes)
        snprintf(ret, room, "%.150s", schema_text(s, s->symbols[at].name));
    else
        snprintf(ret, room, "an unnamed part of the code");
}
