/* Types from debug information, one entry a DIE: records with their fields, enumerations, arrays of
 * one dimension each. What is behind a pointer is read later, so that circles end. One thread. */
#include <dwarf.h>
#include <string.h>

#include "image/dwarf_schema.h"
#include "image/dwarf_text.h"

enum { TYPES_MOST = 1 << 19, FIELDS_MOST = 1 << 21, TEXT_MOST = 700, STEPS_MOST = 1 << 24 };

static SchemaType *type_at(SchemaReader *r, uint32_t index)
{
    return SCHEMA_LIST(r->out.types, SchemaType) + index;
}

static uint32_t add_type(SchemaReader *r, const SchemaType *type)
{
    uint32_t index = (uint32_t)SCHEMA_COUNT(r->out.types, SchemaType);
    if (index >= TYPES_MOST) {
        schema_fail(r, KEEL_ELIMIT);
        return 0;
    }
    SchemaType t = *type;
    t.unit = r->unit;
    if (buf_add(&r->out.types, &t, sizeof t)) {
        schema_fail(r, KEEL_ENOMEM);
        return 0;
    }
    return index;
}

void schema_type_name(SchemaReader *r, const char *text, uint32_t type)
{
    char line[TEXT_MOST * 2];
    int stars;
    if (schema_canonical(text, line, sizeof line, &stars) || stars)
        return;
    SchemaName name = {.text = schema_intern(r, line), .type = type, .unit = r->unit};
    if (buf_add(&r->out.names, &name, sizeof name))
        schema_fail(r, KEEL_ENOMEM);
}

static const Die *die_at(const SchemaReader *r, uint32_t index)
{
    return &r->dies->list[index];
}

static const char *scope(const SchemaReader *r, uint32_t die)
{
    return r->out.strings.data + r->scopes[die];
}

uint32_t schema_type_of(SchemaReader *r, const Die *d)
{
    uint32_t target = dies_type(r->dies, d);
    return target ? schema_type(r, target) : 0;
}

static uint32_t base_type(SchemaReader *r, const Die *d)
{
    const char *name = d->name;
    SchemaType t = {.bytes = d->bytes, .kind = SCHEMA_OPAQUE, .name = schema_intern(r, name)};
    int simple = d->bytes == 1 || d->bytes == 2 || d->bytes == 4 || d->bytes == 8;
    switch (d->encoding) {
    case DW_ATE_boolean:
        if (d->bytes == 1)
            t.kind = SCHEMA_BOOL;
        break;
    case DW_ATE_signed:
    case DW_ATE_unsigned:
        if (simple || d->bytes == 16)
            t.kind = SCHEMA_INT;
        t.flags = d->encoding == DW_ATE_signed ? SCHEMA_SIGNED : 0;
        break;
    case DW_ATE_signed_char:
    case DW_ATE_unsigned_char:
    case DW_ATE_UTF:
        if (simple)
            t.kind = SCHEMA_INT;
        t.flags = SCHEMA_TEXT | (d->encoding == DW_ATE_signed_char ? SCHEMA_SIGNED : 0);
        break;
    case DW_ATE_float:
        if (d->bytes == 4 || d->bytes == 8 || d->bytes == 16)
            t.kind = SCHEMA_FLOAT;
        break;
    default:
        break;
    }
    uint32_t index = add_type(r, &t);
    if (name)
        schema_type_name(r, name, index);
    return index;
}

static uint32_t pointer_type(SchemaReader *r, const Die *d)
{
    SchemaType t = {.bytes = 8,
                    .kind = SCHEMA_POINTER,
                    .flags = d->tag == DW_TAG_pointer_type ? 0 : SCHEMA_REFERENCE};
    uint32_t index = add_type(r, &t);
    uint32_t pair[2] = {index, dies_type(r->dies, d)};
    if (pair[1]) {
        if (buf_add(&r->pending, pair, sizeof pair))
            schema_fail(r, KEEL_ENOMEM);
    }
    return index;
}

void schema_types_pending(SchemaReader *r)
{
    for (size_t i = 0; i < r->pending.bytes / 8 && !r->failed; i++) {
        const uint32_t *pair = SCHEMA_LIST(r->pending, uint32_t) + i * 2;
        uint32_t index = pair[0], target = schema_type(r, pair[1]);
        type_at(r, index)->target = target;
    }
    r->pending.bytes = 0;
}

enum { DIMENSIONS = 16 };

static uint32_t array_type(SchemaReader *r, uint32_t die)
{
    uint64_t counts[DIMENSIONS];
    int n = 0;
    uint32_t element = schema_type_of(r, die_at(r, die));
    for (uint32_t child = dies_child(r->dies, die); child && n < DIMENSIONS;
         child = dies_after(r->dies, die, child))
        if (die_at(r, child)->tag == DW_TAG_subrange_type)
            counts[n++] = die_at(r, child)->value;
    while (n-- > 0) {
        uint64_t all, bytes = type_at(r, element)->bytes;
        SchemaType t = {.kind = SCHEMA_ARRAY, .target = element, .count = counts[n]};
        if (!counts[n] || __builtin_mul_overflow(bytes, counts[n], &all))
            t.flags = SCHEMA_FLEXIBLE, t.count = all = 0;
        t.bytes = all;
        element = add_type(r, &t);
    }
    return element;
}

/* The alias by which the source calls a field's type, or 0. */
static uint32_t spelled(SchemaReader *r, const Die *d)
{
    uint32_t at;
    for (int i = 0; i < 8 && (at = dies_type(r->dies, d)); i++) {
        d = die_at(r, at);
        if (d->tag == DW_TAG_typedef)
            return schema_intern(r, d->name);
        if (d->tag != DW_TAG_const_type && d->tag != DW_TAG_volatile_type &&
            d->tag != DW_TAG_atomic_type)
            break;
    }
    return 0;
}

static void take_member(SchemaReader *r, const Die *m, SchemaType *record, Buf *fields)
{
    SchemaField f = {.name = schema_intern(r, m->name)};
    uint32_t bit;
    if (m->have & (DIE_EXTERNAL | DIE_DECLARATION)) /* a static member */
        return;
    if (m->tag == DW_TAG_inheritance) {
        f.flags = SCHEMA_BASE;
        if (m->have & DIE_PLACE_COMPUTED) {
            record->kind = SCHEMA_OPAQUE; /* a virtual base: its place is known at run time only */
            return;
        }
    }
    f.type = schema_type_of(r, m);
    const SchemaType *type = type_at(r, f.type);
    f.spelled = spelled(r, m);
    f.offset = die_member_place(m, type->bytes, &bit);
    if (m->bits && m->bits <= 64) {
        f.bit = (uint8_t)bit;
        f.bits = (uint8_t)m->bits;
    }
    const char *name = r->out.strings.data + f.name;
    if (m->have & DIE_ARTIFICIAL && !strncmp(name, "_vptr", 5)) {
        f.flags |= SCHEMA_TABLE;
        record->flags |= SCHEMA_VIRTUAL;
    }
    if (!f.name && type->kind != SCHEMA_RECORD && type->kind != SCHEMA_UNION)
        return; /* padding that has a width and no name */
    if (fields->bytes + r->out.fields.bytes > FIELDS_MOST * sizeof f ||
        buf_add(fields, &f, sizeof f))
        schema_fail(r, KEEL_ENOMEM);
}

static void take_members(SchemaReader *r, uint32_t die, SchemaType *record)
{
    Buf fields = {0};
    for (uint32_t child = dies_child(r->dies, die); child && !r->failed;
         child = dies_after(r->dies, die, child)) {
        const Die *m = die_at(r, child);
        if (m->tag == DW_TAG_variant_part)
            record->kind = SCHEMA_OPAQUE;
        else if (m->tag == DW_TAG_subprogram && m->name && *m->name == '~')
            record->flags |= SCHEMA_DESTRUCTOR;
        else if (m->tag == DW_TAG_member || m->tag == DW_TAG_inheritance)
            take_member(r, m, record, &fields);
    }
    if (record->kind == SCHEMA_OPAQUE)
        fields.bytes = 0;
    record->first = (uint32_t)SCHEMA_COUNT(r->out.fields, SchemaField);
    record->fields = (uint32_t)SCHEMA_COUNT(fields, SchemaField);
    if (fields.bytes && buf_add(&r->out.fields, fields.data, fields.bytes))
        schema_fail(r, KEEL_ENOMEM);
    buf_done(&fields);
}

static void name_record(SchemaReader *r, uint32_t die, uint32_t index)
{
    const Die *d = die_at(r, die);
    char line[TEXT_MOST];
    const char *word = r->is_cxx                         ? ""
                       : d->tag == DW_TAG_structure_type ? "struct "
                       : d->tag == DW_TAG_union_type     ? "union "
                       : d->tag == DW_TAG_class_type     ? ""
                                                         : "enum ";
    const char *name = d->name;
    if (!name)
        return;
    text_put(line, sizeof line, text_join(line, sizeof line, word, scope(r, die), 330), name, 330);
    type_at(r, index)->name = schema_intern(r, line);
    schema_type_name(r, line, index);
}

static uint32_t record_type(SchemaReader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    SchemaType t = {.bytes = d->bytes,
                    .kind = d->tag == DW_TAG_union_type ? SCHEMA_UNION : SCHEMA_RECORD,
                    .flags = d->name ? 0 : SCHEMA_NAMELESS};
    uint32_t index = add_type(r, &t);
    r->types[die] = index + 1;
    name_record(r, die, index);
    t.name = type_at(r, index)->name;
    t.unit = r->unit;
    if (d->have & DIE_DECLARATION) {
        t.flags |= SCHEMA_INCOMPLETE;
        t.bytes = 0;
    } else {
        take_members(r, die, &t);
    }
    *type_at(r, index) = t;
    return index;
}

static uint32_t enum_type(SchemaReader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    SchemaType t = {.bytes = d->bytes, .kind = SCHEMA_ENUM};
    int negative = 0;
    t.flags = d->name ? 0 : SCHEMA_NAMELESS;
    t.first = (uint32_t)SCHEMA_COUNT(r->out.values, SchemaValue);
    for (uint32_t child = dies_child(r->dies, die); child && !r->failed;
         child = dies_after(r->dies, die, child)) {
        const Die *m = die_at(r, child);
        if (m->tag != DW_TAG_enumerator || !(m->have & DIE_VALUE))
            continue;
        SchemaValue v = {.value = (int64_t)m->value, .name = schema_intern(r, m->name)};
        negative |= v.value < 0;
        t.fields++;
        if (t.first + t.fields > FIELDS_MOST || buf_add(&r->out.values, &v, sizeof v))
            schema_fail(r, KEEL_ENOMEM);
    }
    uint32_t under = schema_type_of(r, d);
    t.flags |= (under ? type_at(r, under)->flags & SCHEMA_SIGNED : negative ? SCHEMA_SIGNED : 0);
    if (t.bytes != 1 && t.bytes != 2 && t.bytes != 4 && t.bytes != 8) {
        t.bytes = 0; /* only declared */
        t.kind = SCHEMA_OPAQUE;
        t.fields = 0;
    }
    uint32_t index = add_type(r, &t);
    name_record(r, die, index);
    return index;
}

static uint32_t alias_type(SchemaReader *r, uint32_t die)
{
    uint32_t index = schema_type_of(r, die_at(r, die));
    const char *name = die_at(r, die)->name;
    char line[TEXT_MOST];
    if (!name)
        return index;
    text_join(line, sizeof line, scope(r, die), name, 330);
    SchemaType *t = type_at(r, index);
    if (t->flags & SCHEMA_NAMELESS && !t->name)
        t->name = schema_intern(r, line); /* `typedef struct {…} order;`: its only name */
    schema_type_name(r, line, index);
    return index;
}

static uint32_t other_type(SchemaReader *r, const Die *d)
{
    SchemaType t = {.bytes = d->bytes, .kind = SCHEMA_OPAQUE};
    if (d->tag == DW_TAG_subroutine_type) {
        t.kind = SCHEMA_FUNCTION;
        t.bytes = 0;
    } else if (d->tag == DW_TAG_ptr_to_member_type && !(d->have & DIE_BYTES)) {
        t.bytes = die_at(r, dies_type(r->dies, d))->tag == DW_TAG_subroutine_type ? 16 : 8;
    } else if (d->tag == DW_TAG_unspecified_type) {
        t.bytes = 8; /* nullptr_t */
    }
    t.name = schema_intern(r, d->name);
    return add_type(r, &t);
}

static uint32_t make(SchemaReader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    uint32_t target;
    switch (d->tag) {
    case DW_TAG_base_type:
        return base_type(r, d);
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
        return pointer_type(r, d);
    case DW_TAG_array_type:
        return array_type(r, die);
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        target = d->have & DIE_SIGNATURE ? dies_at(r->dies, d->refers) : 0;
        return target && target != die ? schema_type(r, target) : record_type(r, die);
    case DW_TAG_enumeration_type:
        return enum_type(r, die);
    case DW_TAG_typedef:
        return alias_type(r, die);
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_atomic_type:
        return schema_type_of(r, d);
    default:
        return other_type(r, d);
    }
}

uint32_t schema_type(SchemaReader *r, uint32_t die)
{
    if (r->types[die])
        return r->types[die] - 1;
    if (r->failed || r->depth >= SCHEMA_DEPTH || r->steps++ > STEPS_MOST) {
        r->out.flags |= SCHEMA_BROKEN;
        return 0;
    }
    r->depth++;
    uint32_t index = make(r, die);
    r->depth--;
    r->types[die] = index + 1;
    return index;
}
