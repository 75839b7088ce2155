/* Walks the units for a schema: scopes first, since names need them, then functions, statics and
 * types. One thread. */
#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_schema.h"
#include "image/dwarf_text.h"

enum { DEPTH_MOST = 48, PREFIX_MOST = 512, STATICS_MOST = 1 << 20, UNITS_MOST = 1 << 16 };

typedef struct Place {
    char prefix[PREFIX_MOST];
    char function[PREFIX_MOST]; /* around it; "" */
} Place;

/* Name and type of what is declared in one place and defined in another. */
typedef struct Known {
    const char *name, *linkage;
    int external;
    uint32_t line, declared;
    const Die *type; /* the DIE that has a type, or NULL */
} Known;

static const Die *die_at(const SchemaReader *r, uint32_t index)
{
    return &r->dies->list[index];
}

static void follow(const SchemaReader *r, const Die *d, Known *k)
{
    *k = (Known){0};
    for (int i = 0; i < 5; i++) {
        if (!k->name)
            k->name = d->name;
        if (!k->linkage)
            k->linkage = d->linkage;
        if (!k->line)
            k->line = d->line;
        k->external |= (d->have & DIE_EXTERNAL) != 0;
        if (!k->type && d->have & DIE_TYPE)
            k->type = d;
        uint32_t to = d->have & (DIE_ORIGIN | DIE_SPECIFICATION) ? dies_at(r->dies, d->refers) : 0;
        if (!to)
            return;
        k->declared = to;
        d = die_at(r, to);
    }
}

static void qualify(const SchemaReader *r, const Known *k, const char *prefix, char *ret,
                    size_t room)
{
    if (r->scopes[k->declared])
        prefix = r->out.strings.data + r->scopes[k->declared];
    text_join(ret, room, prefix, k->name ? k->name : "", 400);
}

static void take_function(SchemaReader *r, const Die *d, const Place *place, Place *inner)
{
    Known k;
    char name[PREFIX_MOST * 2];
    SchemaFunction f = {.address = d->address, .bytes = d->extent, .unit = r->unit};
    follow(r, d, &k);
    if (!k.name) {
        snprintf(inner->function, sizeof inner->function, "%s", SCHEMA_INLINED);
        return;
    }
    qualify(r, &k, place->prefix, name, sizeof name);
    text_put(inner->function, sizeof inner->function, 0, k.linkage ? k.linkage : name, 510);
    text_join(inner->prefix, sizeof inner->prefix, name, "::", 500);
    if (!(d->have & DIE_ADDRESS) || !d->address)
        return;
    f.name = schema_intern(r, inner->function);
    f.flags = k.external ? SCHEMA_EXTERNAL : 0;
    if (r->out.functions.bytes > STATICS_MOST * sizeof f ||
        buf_add(&r->out.functions, &f, sizeof f))
        schema_fail(r, KEEL_ENOMEM);
}

static void take_variable(SchemaReader *r, const Die *d, const Place *place)
{
    Known k;
    char name[PREFIX_MOST * 2];
    if (!(d->have & DIE_ADDRESS))
        return;
    follow(r, d, &k);
    if (!k.name)
        return;
    if (*place->function)
        text_put(name, sizeof name, 0, k.name, 500);
    else
        qualify(r, &k, place->prefix, name, sizeof name);
    SchemaStatic v = {.address = d->address,
                      .name = schema_intern(r, name),
                      .function = schema_intern(r, place->function),
                      .unit = r->unit,
                      .line = k.line,
                      .flags = k.external && !*place->function ? SCHEMA_EXTERNAL : 0};
    if (k.type)
        v.type = schema_type_of(r, k.type);
    v.bytes = (SCHEMA_LIST(r->out.types, SchemaType) + v.type)->bytes;
    if (r->out.statics.bytes > STATICS_MOST * sizeof v || buf_add(&r->out.statics, &v, sizeof v))
        schema_fail(r, KEEL_ENOMEM);
}

typedef void Take(SchemaReader *r, uint32_t die, const Place *place, int depth);

static void walk(SchemaReader *r, uint32_t parent, const Place *place, int depth, Take *take)
{
    uint32_t end = die_at(r, parent)->next;
    for (uint32_t die = parent + 1; die < end && depth < DEPTH_MOST && !r->failed;
         die = die_at(r, die)->next)
        take(r, die, place, depth + 1);
}

static void enter_named(const char *name, const Place *place, Place *ret)
{
    *ret = *place;
    if (!name)
        return;
    size_t n = text_put(ret->prefix, sizeof ret->prefix, 0, place->prefix, 250);
    n = text_put(ret->prefix, sizeof ret->prefix, n, name, 240);
    text_put(ret->prefix, sizeof ret->prefix, n, "::", 2);
}

/* First: the scopes around what has a name. */
static void take_scopes(SchemaReader *r, uint32_t die, const Place *place, int depth)
{
    const Die *d = die_at(r, die);
    Place inner;
    if (*place->prefix && d->tag != DW_TAG_inheritance)
        r->scopes[die] = schema_intern(r, place->prefix);
    if (d->next == die + 1 || (d->tag != DW_TAG_namespace && d->tag != DW_TAG_structure_type &&
                               d->tag != DW_TAG_class_type && d->tag != DW_TAG_union_type))
        return;
    enter_named(d->name, place, &inner);
    walk(r, die, &inner, depth, take_scopes);
}

static void take(SchemaReader *r, uint32_t die, const Place *place, int depth)
{
    const Die *d = die_at(r, die);
    Place inner;
    switch (d->tag) {
    case DW_TAG_subprogram:
        if (d->have & DIE_DECLARATION)
            return;
        inner = *place;
        take_function(r, d, place, &inner);
        walk(r, die, &inner, depth, take);
        return;
    case DW_TAG_variable:
        take_variable(r, d, place);
        return;
    case DW_TAG_lexical_block:
        walk(r, die, place, depth, take);
        return;
    case DW_TAG_namespace:
        enter_named(d->name, place, &inner);
        walk(r, die, &inner, depth, take);
        return;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        schema_type(r, die);
        if (d->next == die + 1)
            return;
        enter_named(d->name, place, &inner);
        walk(r, die, &inner, depth, take); /* types and static members inside */
        return;
    case DW_TAG_enumeration_type:
    case DW_TAG_typedef:
    case DW_TAG_base_type:
    case DW_TAG_pointer_type:
        schema_type(r, die);
        return;
    default:
        return;
    }
}

static void take_unit(SchemaReader *r, const DieUnit *unit)
{
    static const Place empty;
    if (unit->producer &&
        (!strncmp(unit->producer, "GNU GIMPLE", 10) || strstr(unit->producer, " -flto")))
        r->out.flags |= SCHEMA_LTO;
    r->is_cxx = unit->language == DW_LANG_C_plus_plus || unit->language == DW_LANG_C_plus_plus_03 ||
                unit->language == DW_LANG_C_plus_plus_11 ||
                unit->language == DW_LANG_C_plus_plus_14 ||
                (unit->language >= 0x2b && unit->language <= 0x2c); /* C++17, C++20 of DWARF 6 */
    r->unit = (uint32_t)SCHEMA_COUNT(r->out.units, uint32_t);
    uint32_t text = schema_intern(r, die_at(r, unit->first)->name);
    if (r->unit >= UNITS_MOST || buf_add(&r->out.units, &text, sizeof text)) {
        schema_fail(r, KEEL_ELIMIT);
        return;
    }
    walk(r, unit->first, &empty, 0, take_scopes);
    walk(r, unit->first, &empty, 0, take);
    schema_types_pending(r);
}

void schema_units(SchemaReader *r)
{
    for (uint32_t i = 0; i < dies_unit_count(r->dies) && !r->failed; i++) {
        const DieUnit *unit = dies_unit(r->dies, i);
        if (unit->is_split) {
            r->out.flags |= SCHEMA_SPLIT; /* looking further would open other files */
            return;
        }
        if (!unit->is_types) /* reached by those who use them */
            take_unit(r, unit);
    }
}
