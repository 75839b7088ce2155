/* Walks the units for a schema: scopes first, since names need them, then functions, statics and
 * types. One thread. */
#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_schema.h"

enum { DEPTH_MOST = 48, PREFIX_MOST = 512, STATICS_MOST = 1 << 20, UNITS_MOST = 1 << 16 };

typedef struct Place {
    char prefix[PREFIX_MOST];
    char function[PREFIX_MOST]; /* around it; "" */
} Place;

/* Name and type of what is declared in one place and defined in another. */
typedef struct Known {
    const char *name, *linkage;
    int external;
    uint32_t line;
    Dwarf_Off declared;
    Die type; /* the DIE that has a type */
    int has_type;
} Known;

static void follow(const Die *d, Known *k)
{
    Die at = *d;
    *k = (Known){0};
    for (int i = 0; i < 5; i++) {
        Dwarf_Die next;
        if (!k->name)
            k->name = die_name(&at);
        if (!k->linkage && at.have & HAVE_LINKAGE)
            k->linkage = dwarf_formstring(&at.linkage);
        if (!k->line)
            k->line = at.line;
        k->external |= (at.have & HAVE_EXTERNAL) != 0;
        if (!k->has_type && at.have & HAVE_TYPE) {
            k->type = at;
            k->has_type = 1;
        }
        Dwarf_Attribute *to = at.have & HAVE_ORIGIN          ? &at.origin
                              : at.have & HAVE_SPECIFICATION ? &at.specification
                                                             : NULL;
        if (!to || !dwarf_formref_die(to, &next))
            return;
        k->declared = dwarf_dieoffset(&next);
        die_read(&next, &at);
    }
}

static void remember_scope(SchemaReader *r, Dwarf_Die *die, const char *prefix)
{
    if (*prefix && schema_map_put(&r->scope_of, dwarf_dieoffset(die), schema_intern(r, prefix)))
        schema_fail(r, KEEL_ENOMEM);
}

static void qualify(const SchemaReader *r, const Known *k, const char *prefix, char *ret,
                    size_t room)
{
    uint32_t text;
    if (k->declared && schema_map_get(&r->scope_of, k->declared, &text))
        prefix = r->out.strings.data + text;
    snprintf(ret, room, "%.400s%.400s", prefix, k->name ? k->name : "");
}

static int first_range(Die *d, Dwarf_Addr *ret, uint64_t *ret_bytes)
{
    Dwarf_Addr base, end, low, high;
    if (d->have & HAVE_LOW_PC && !dwarf_lowpc(&d->die, &low)) {
        *ret = low;
        *ret_bytes = !dwarf_highpc(&d->die, &high) && high > low ? high - low : 1;
        return 0;
    }
    if (dwarf_ranges(&d->die, 0, &base, ret, &end) <= 0)
        return -1;
    *ret_bytes = end > *ret ? end - *ret : 1;
    return 0;
}

static void take_function(SchemaReader *r, Die *d, const Place *place, Place *inner)
{
    Known k;
    Dwarf_Addr low;
    char name[PREFIX_MOST * 2];
    SchemaFunction f = {.unit = r->unit};
    follow(d, &k);
    if (!k.name) {
        snprintf(inner->function, sizeof inner->function, "%s", SCHEMA_INLINED);
        return;
    }
    qualify(r, &k, place->prefix, name, sizeof name);
    snprintf(inner->function, sizeof inner->function, "%.510s", k.linkage ? k.linkage : name);
    snprintf(inner->prefix, sizeof inner->prefix, "%.500s::", name);
    if (first_range(d, &low, &f.bytes) || !low)
        return;
    f.address = low;
    f.name = schema_intern(r, inner->function);
    f.flags = k.external ? SCHEMA_EXTERNAL : 0;
    if (r->out.functions.bytes > STATICS_MOST * sizeof f ||
        buf_add(&r->out.functions, &f, sizeof f))
        schema_fail(r, KEEL_ENOMEM);
}

/* The address in `DW_OP_addr x` or `DW_OP_addrx n`. */
static int static_address(Die *d, Dwarf_Addr *ret)
{
    Dwarf_Block block;
    Dwarf_Op *ops;
    size_t count;
    Dwarf_Attribute address;
    if (!(d->have & HAVE_LOCATION) || dwarf_formblock(&d->location, &block))
        return -1;
    if (block.length == 9 && block.data[0] == DW_OP_addr) {
        memcpy(ret, block.data + 1, 8);
        return 0;
    }
    if (!block.length || (block.data[0] != DW_OP_addrx && block.data[0] != DW_OP_GNU_addr_index))
        return -1;
    if (dwarf_getlocation(&d->location, &ops, &count) || count != 1 ||
        dwarf_getlocation_attr(&d->location, ops, &address))
        return -1;
    return dwarf_formaddr(&address, ret);
}

static void take_variable(SchemaReader *r, Die *d, const Place *place)
{
    Known k;
    Dwarf_Addr address;
    char name[PREFIX_MOST * 2];
    if (static_address(d, &address) || !address)
        return;
    follow(d, &k);
    if (!k.name)
        return;
    if (*place->function)
        snprintf(name, sizeof name, "%.500s", k.name);
    else
        qualify(r, &k, place->prefix, name, sizeof name);
    SchemaStatic v = {.address = address,
                      .name = schema_intern(r, name),
                      .function = schema_intern(r, place->function),
                      .unit = r->unit,
                      .line = k.line,
                      .flags = k.external && !*place->function ? SCHEMA_EXTERNAL : 0};
    if (k.has_type)
        v.type = schema_type_of(r, &k.type);
    v.bytes = (SCHEMA_LIST(r->out.types, SchemaType) + v.type)->bytes;
    if (r->out.statics.bytes > STATICS_MOST * sizeof v || buf_add(&r->out.statics, &v, sizeof v))
        schema_fail(r, KEEL_ENOMEM);
}

typedef void Take(SchemaReader *r, Dwarf_Die *die, const Place *place, int depth);

static void walk(SchemaReader *r, Dwarf_Die *parent, const Place *place, int depth, Take *take)
{
    Dwarf_Die die;
    if (depth >= DEPTH_MOST || dwarf_child(parent, &die))
        return;
    for (;;) {
        take(r, &die, place, depth + 1);
        if (r->failed)
            return;
        int rc = dwarf_siblingof(&die, &die);
        if (rc < 0)
            schema_fail(r, KEEL_EIMAGE);
        if (rc)
            return;
    }
}

static void enter_named(const char *name, const Place *place, Place *ret)
{
    *ret = *place;
    if (name)
        snprintf(ret->prefix, sizeof ret->prefix, "%.250s%.240s::", place->prefix, name);
}

/* First: the scopes around what has a name. */
static void take_scopes(SchemaReader *r, Dwarf_Die *die, const Place *place, int depth)
{
    Die d;
    Place inner;
    switch (dwarf_tag(die)) {
    case DW_TAG_namespace:
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        die_read(die, &d);
        remember_scope(r, die, place->prefix);
        enter_named(die_name(&d), place, &inner);
        walk(r, die, &inner, depth, take_scopes);
        return;
    case DW_TAG_enumeration_type:
    case DW_TAG_typedef:
    case DW_TAG_variable:
    case DW_TAG_member:
    case DW_TAG_subprogram:
        remember_scope(r, die, place->prefix);
        return;
    default:
        return;
    }
}

static void take(SchemaReader *r, Dwarf_Die *die, const Place *place, int depth)
{
    Die d;
    Place inner;
    int tag = dwarf_tag(die);
    switch (tag) {
    case DW_TAG_subprogram:
        die_read(die, &d);
        if (d.have & HAVE_DECLARATION)
            return;
        inner = *place;
        take_function(r, &d, place, &inner);
        walk(r, die, &inner, depth, take);
        return;
    case DW_TAG_variable:
        die_read(die, &d);
        take_variable(r, &d, place);
        return;
    case DW_TAG_lexical_block:
        walk(r, die, place, depth, take);
        return;
    case DW_TAG_namespace:
        die_read(die, &d);
        enter_named(die_name(&d), place, &inner);
        walk(r, die, &inner, depth, take);
        return;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        schema_type(r, die);
        die_read(die, &d);
        enter_named(die_name(&d), place, &inner);
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

static void take_unit(SchemaReader *r, Dwarf_Die *unit)
{
    Dwarf_Attribute a;
    const char *producer = dwarf_formstring(dwarf_attr(unit, DW_AT_producer, &a));
    const char *name = dwarf_formstring(dwarf_attr(unit, DW_AT_name, &a));
    Dwarf_Word language = 0;
    static Place empty;
    if (producer && (!strncmp(producer, "GNU GIMPLE", 10) || strstr(producer, " -flto")))
        r->out.flags |= SCHEMA_LTO;
    if (dwarf_attr(unit, DW_AT_language, &a))
        dwarf_formudata(&a, &language);
    r->is_cxx = language == DW_LANG_C_plus_plus || language == DW_LANG_C_plus_plus_03 ||
                language == DW_LANG_C_plus_plus_11 || language == DW_LANG_C_plus_plus_14 ||
                (language >= 0x2b && language <= 0x2c); /* C++17, C++20 of DWARF 6 */
    r->unit = (uint32_t)SCHEMA_COUNT(r->out.units, uint32_t);
    uint32_t text = schema_intern(r, name);
    if (r->unit >= UNITS_MOST || buf_add(&r->out.units, &text, sizeof text)) {
        schema_fail(r, KEEL_ELIMIT);
        return;
    }
    walk(r, unit, &empty, 0, take_scopes);
    walk(r, unit, &empty, 0, take);
    schema_types_pending(r);
}

void schema_units(SchemaReader *r)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Half version;
    Dwarf_Die unit;
    uint8_t kind;
    int rc = 0;
    while (!r->failed && !(rc = dwarf_get_units(r->dwarf, cu, &cu, &version, &kind, &unit, NULL))) {
        int tag = dwarf_tag(&unit);
        if (kind == DW_UT_type || kind == DW_UT_split_type) /* reached by those who use them */
            continue;
        if (dwarf_hasattr(&unit, DW_AT_dwo_name) || dwarf_hasattr(&unit, DW_AT_GNU_dwo_name)) {
            r->out.flags |= SCHEMA_SPLIT; /* looking further would open other files */
            return;
        }
        if (tag == DW_TAG_compile_unit || tag == DW_TAG_partial_unit)
            take_unit(r, &unit);
    }
    if (rc < 0)
        r->out.flags |= SCHEMA_BROKEN;
}
