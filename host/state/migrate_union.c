/* Unions of which KEEL_UNION tells the member that counts: which value of the old tag means which
 * field of the old union, and what that is in the new one. Works on schemas only; one thread. */
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

static const SchemaField *field_of(const Schema *s, const SchemaType *t, uint32_t i)
{
    return &s->fields[t->first + i];
}

/* The new union's field that was `name` in the old one. */
static uint32_t new_field(const Migration *m, const Schema *to_schema, uint32_t to, uint32_t record,
                          const char *name)
{
    const SchemaType *b = &to_schema->types[to];
    for (uint32_t i = 0; i < b->fields; i++) {
        const char *now = schema_text(to_schema, field_of(to_schema, b, i)->name), *before = now;
        if (to_schema == m->to) {
            before = plan_name_before(m, schema_text(m->to, b->name), now);
            if (before == now && record)
                before = plan_name_before(m, schema_text(m->to, m->to->types[record].name), now);
        }
        if (!strcmp(before, name))
            return i;
    }
    return UINT32_MAX;
}

/* The old union's field that `name` of the new one was. */
static uint32_t old_field(const Migration *m, const Schema *to_schema, const Tagged *t,
                          uint32_t from, uint32_t to, uint32_t field)
{
    const SchemaType *a = &m->from->types[from];
    for (uint32_t i = 0; i < a->fields; i++)
        if (new_field(m, to_schema, to, t->to->record,
                      schema_text(m->from, field_of(m->from, a, i)->name)) == field)
            return i;
    return UINT32_MAX;
}

/* What the new tag's value was in the old one: enumerators go by name. */
static int old_value(const Migration *m, const Schema *to_schema, const Tagged *t, int64_t *value)
{
    const SchemaType *a = &m->from->types[t->type], *b = &to_schema->types[t->to->tag_type];
    const char *name = NULL;
    if (a->kind != SCHEMA_ENUM || b->kind != SCHEMA_ENUM)
        return 1;
    for (uint32_t i = 0; i < b->fields && !name; i++)
        if (to_schema->values[b->first + i].value == *value)
            name = schema_text(to_schema, to_schema->values[b->first + i].name);
    for (uint32_t i = 0; i < a->fields && name; i++)
        if (!strcmp(schema_text(m->from, m->from->values[a->first + i].name), name)) {
            *value = m->from->values[a->first + i].value;
            return 1;
        }
    return !name;
}

int plan_cases(const Migration *m, const Schema *to_schema, const Tagged *t, uint32_t from,
               uint32_t to, TagCase **ret, uint32_t *ret_count)
{
    const SchemaUnion *said = t->from ? t->from : t->to;
    const Schema *schema = t->from ? m->from : to_schema;
    uint32_t record = t->to ? t->to->record : 0, n = 0;
    TagCase *list = calloc(said->cases + 1, sizeof *list);
    if (!list)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < said->cases; i++) {
        const SchemaCase *one = &schema->cases[said->first + i];
        TagCase made = {.value = one->value, .from_field = one->field, .to_field = one->field};
        if (t->from) {
            const SchemaField *f = field_of(m->from, &m->from->types[from], one->field);
            made.to_field = new_field(m, to_schema, to, record, schema_text(m->from, f->name));
        } else {
            made.from_field = old_field(m, to_schema, t, from, to, one->field);
            if (made.from_field == UINT32_MAX || !old_value(m, to_schema, t, &made.value))
                continue; /* new: no old object can be one */
        }
        list[n++] = made;
    }
    *ret = list;
    *ret_count = n;
    return KEEL_OK;
}

int plan_find_tag(const Schema *s, uint32_t type, const char *name, Tagged *ret)
{
    const SchemaType *t = &s->types[type];
    for (uint32_t i = 0; i < t->fields && t->kind != SCHEMA_ENUM; i++) {
        const SchemaField *f = field_of(s, t, i);
        uint16_t kind = s->types[f->type].kind;
        Tagged inner = {0};
        if (!f->name && plan_find_tag(s, f->type, name, &inner)) {
            inner.tag += f->offset;
            inner.to = ret->to;
            *ret = inner;
            return 1;
        }
        if (strcmp(schema_text(s, f->name), name) || s->types[f->type].bytes > 8 ||
            (kind != SCHEMA_INT && kind != SCHEMA_ENUM && kind != SCHEMA_BOOL))
            continue;
        ret->tag = f->offset;
        ret->type = f->type;
        ret->bit = f->bit;
        ret->bits = f->bits;
        return 1;
    }
    return 0;
}

uint32_t plan_case(const Migration *m, uint32_t at, const uint8_t *from)
{
    const Op *op = op_at(m, at);
    int64_t tag = schema_tag(&m->from->types[op->from_type], from + op->from_step, op->from_bit,
                             op->from_bits);
    for (uint32_t i = at + 1; i <= at + op->body; i += op_at(m, i)->body + 1)
        if (op_at(m, i)->bytes == (uint64_t)tag)
            return i;
    return UINT32_MAX;
}

void plan_unions(Migration *m)
{
    for (uint32_t i = 0; i < m->to->union_count && !m->why.code; i++)
        if (!m->to->unions[i].record)
            err_set(&m->why, KEEL_ETYPE, "%s", schema_text(m->to, m->to->unions[i].why));
}
