/* Types from debug information, one entry a DIE: records with their fields, enumerations, arrays of
 * one dimension each. What is behind a pointer is read later, so that circles end. One thread. */
#include <dwarf.h>
#include <stdio.h>
#include <string.h>

#include "image/dwarf_schema.h"

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

static const char *scope(const SchemaReader *r, Dwarf_Off offset)
{
    uint32_t text;
    return schema_map_get(&r->scope_of, offset, &text) ? r->out.strings.data + text : "";
}

/* libdw takes short forms for signed, and offsets of 128 and more would be negative. */
static int constant(Dwarf_Attribute *a, uint64_t *ret)
{
    unsigned form = dwarf_whatform(a);
    int is_signed = form == DW_FORM_sdata || form == DW_FORM_implicit_const;
    Dwarf_Sword number;
    Dwarf_Word word;
    if (is_signed && !dwarf_formsdata(a, &number))
        *ret = (uint64_t)number;
    else if (!dwarf_formudata(a, &word))
        *ret = word;
    else
        return -1;
    return 0;
}

uint32_t schema_type_of(SchemaReader *r, Die *d)
{
    Dwarf_Die target;
    if (!(d->have & HAVE_TYPE) || !dwarf_formref_die(&d->type, &target))
        return 0;
    return schema_type(r, &target);
}

static uint32_t base_type(SchemaReader *r, Die *d)
{
    const char *name = die_name(d);
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

static uint32_t pointer_type(SchemaReader *r, Die *d, int tag)
{
    SchemaType t = {.bytes = 8,
                    .kind = SCHEMA_POINTER,
                    .flags = tag == DW_TAG_pointer_type ? 0 : SCHEMA_REFERENCE};
    Dwarf_Die target;
    uint32_t index = add_type(r, &t);
    if (d->have & HAVE_TYPE && dwarf_formref_die(&d->type, &target)) {
        uint64_t pair[2] = {index, dwarf_dieoffset(&target)};
        if (buf_add(&r->pending, pair, sizeof pair))
            schema_fail(r, KEEL_ENOMEM);
    }
    return index;
}

void schema_types_pending(SchemaReader *r)
{
    for (size_t i = 0; i < r->pending.bytes / 16 && !r->failed; i++) {
        const uint64_t *pair = SCHEMA_LIST(r->pending, uint64_t) + i * 2;
        uint32_t index = (uint32_t)pair[0];
        Dwarf_Die die;
        if (!dwarf_offdie(r->dwarf, pair[1], &die))
            continue;
        uint32_t target = schema_type(r, &die);
        type_at(r, index)->target = target;
    }
    r->pending.bytes = 0;
}

enum { DIMENSIONS = 16 };

static uint32_t array_type(SchemaReader *r, Die *d)
{
    uint64_t counts[DIMENSIONS];
    int n = 0;
    Dwarf_Die child;
    uint32_t element = schema_type_of(r, d);
    for (int rc = dwarf_child(&d->die, &child); !rc && n < DIMENSIONS;
         rc = dwarf_siblingof(&child, &child)) {
        Die range;
        uint64_t count = 0;
        if (dwarf_tag(&child) != DW_TAG_subrange_type)
            continue;
        die_read(&child, &range);
        if (range.have & HAVE_COUNT)
            count = constant(&range.count, &count) ? 0 : count;
        else if (range.have & HAVE_UPPER)
            count = constant(&range.upper, &count) ? 0 : count + 1;
        counts[n++] = count;
    }
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

static void member_place(Die *m, uint64_t type_bytes, SchemaField *f)
{
    uint64_t offset = 0;
    Dwarf_Block block;
    if (m->have & HAVE_MEMBER && constant(&m->member, &offset) &&
        !dwarf_formblock(&m->member, &block) && block.length > 1 &&
        block.data[0] == DW_OP_plus_uconst) {
        const uint8_t *p = block.data + 1, *end = block.data + block.length;
        for (unsigned shift = 0; p < end && shift < 63; shift += 7) {
            offset |= (uint64_t)(*p & 0x7f) << shift;
            if (!(*p++ & 0x80))
                break;
        }
    }
    f->offset = offset;
    if (!m->bits || m->bits > 64)
        return;
    uint64_t bit = offset * 8;
    if (m->have & HAVE_DATA_BIT_OFFSET)
        bit = m->bit_offset;
    else if (m->have & HAVE_BIT_OFFSET) /* DWARF 3: from the other end of the storage */
        bit += (m->has_bytes ? m->bytes : type_bytes) * 8 - m->bit_offset - m->bits;
    f->offset = bit / 8;
    f->bit = (uint8_t)(bit % 8);
    f->bits = (uint8_t)m->bits;
}

/* The alias by which the source calls a field's type, or 0. */
static uint32_t spelled(SchemaReader *r, Die *m)
{
    Dwarf_Die at;
    Die d = *m;
    for (int i = 0; i < 8 && d.have & HAVE_TYPE && dwarf_formref_die(&d.type, &at); i++) {
        int tag = dwarf_tag(&at);
        die_read(&at, &d);
        if (tag == DW_TAG_typedef)
            return schema_intern(r, die_name(&d));
        if (tag != DW_TAG_const_type && tag != DW_TAG_volatile_type && tag != DW_TAG_atomic_type)
            break;
    }
    return 0;
}

static void take_member(SchemaReader *r, Die *m, int tag, SchemaType *record, Buf *fields)
{
    SchemaField f = {.name = schema_intern(r, die_name(m))};
    Dwarf_Block block;
    if (m->have & (HAVE_EXTERNAL | HAVE_DECLARATION)) /* a static member */
        return;
    if (tag == DW_TAG_inheritance) {
        f.flags = SCHEMA_BASE;
        if (m->have & HAVE_MEMBER && !dwarf_formblock(&m->member, &block) && block.length &&
            block.data[0] != DW_OP_plus_uconst) {
            record->kind = SCHEMA_OPAQUE; /* a virtual base: its place is known at run time only */
            return;
        }
    }
    f.type = schema_type_of(r, m);
    const SchemaType *type = type_at(r, f.type);
    f.spelled = spelled(r, m);
    member_place(m, type->bytes, &f);
    const char *name = r->out.strings.data + f.name;
    if (m->have & HAVE_ARTIFICIAL && !strncmp(name, "_vptr", 5)) {
        f.flags |= SCHEMA_TABLE;
        record->flags |= SCHEMA_VIRTUAL;
    }
    if (!f.name && type->kind != SCHEMA_RECORD && type->kind != SCHEMA_UNION)
        return; /* padding that has a width and no name */
    if (fields->bytes + r->out.fields.bytes > FIELDS_MOST * sizeof f ||
        buf_add(fields, &f, sizeof f))
        schema_fail(r, KEEL_ENOMEM);
}

static void take_members(SchemaReader *r, Dwarf_Die *die, SchemaType *record)
{
    Buf fields = {0};
    Dwarf_Die child;
    for (int rc = dwarf_child(die, &child); !rc && !r->failed;
         rc = dwarf_siblingof(&child, &child)) {
        int tag = dwarf_tag(&child);
        Die m;
        if (tag == DW_TAG_variant_part)
            record->kind = SCHEMA_OPAQUE;
        if (tag != DW_TAG_member && tag != DW_TAG_inheritance && tag != DW_TAG_subprogram)
            continue;
        die_read(&child, &m);
        if (tag == DW_TAG_subprogram) {
            const char *name = die_name(&m);
            if (name && *name == '~')
                record->flags |= SCHEMA_DESTRUCTOR;
            continue;
        }
        take_member(r, &m, tag, record, &fields);
    }
    if (record->kind == SCHEMA_OPAQUE)
        fields.bytes = 0;
    record->first = (uint32_t)SCHEMA_COUNT(r->out.fields, SchemaField);
    record->fields = (uint32_t)SCHEMA_COUNT(fields, SchemaField);
    if (fields.bytes && buf_add(&r->out.fields, fields.data, fields.bytes))
        schema_fail(r, KEEL_ENOMEM);
    buf_done(&fields);
}

static void name_record(SchemaReader *r, Die *d, int tag, uint32_t index)
{
    char line[TEXT_MOST];
    const char *word = r->is_cxx                      ? ""
                       : tag == DW_TAG_structure_type ? "struct "
                       : tag == DW_TAG_union_type     ? "union "
                       : tag == DW_TAG_class_type     ? ""
                                                      : "enum ";
    const char *name = die_name(d);
    if (!name)
        return;
    snprintf(line, sizeof line, "%s%.330s%.330s", word, scope(r, dwarf_dieoffset(&d->die)), name);
    type_at(r, index)->name = schema_intern(r, line);
    schema_type_name(r, line, index);
}

static uint32_t record_type(SchemaReader *r, Die *d, int tag)
{
    SchemaType t = {.bytes = d->bytes,
                    .kind = tag == DW_TAG_union_type ? SCHEMA_UNION : SCHEMA_RECORD,
                    .flags = die_name(d) ? 0 : SCHEMA_NAMELESS};
    uint32_t index = add_type(r, &t);
    if (schema_map_put(&r->types, dwarf_dieoffset(&d->die), index))
        schema_fail(r, KEEL_ENOMEM);
    name_record(r, d, tag, index);
    t.name = type_at(r, index)->name;
    t.unit = r->unit;
    if (d->have & HAVE_DECLARATION) {
        t.flags |= SCHEMA_INCOMPLETE;
        t.bytes = 0;
    } else {
        take_members(r, &d->die, &t);
    }
    *type_at(r, index) = t;
    return index;
}

static uint32_t enum_type(SchemaReader *r, Die *d)
{
    SchemaType t = {.bytes = d->bytes, .kind = SCHEMA_ENUM};
    Dwarf_Die child;
    int negative = 0;
    t.flags = die_name(d) ? 0 : SCHEMA_NAMELESS;
    t.first = (uint32_t)SCHEMA_COUNT(r->out.values, SchemaValue);
    for (int rc = dwarf_child(&d->die, &child); !rc && !r->failed;
         rc = dwarf_siblingof(&child, &child)) {
        Die m;
        uint64_t value = 0;
        if (dwarf_tag(&child) != DW_TAG_enumerator)
            continue;
        die_read(&child, &m);
        if (!(m.have & HAVE_VALUE) || constant(&m.value, &value))
            continue;
        SchemaValue v = {.value = (int64_t)value, .name = schema_intern(r, die_name(&m))};
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
    name_record(r, d, DW_TAG_enumeration_type, index);
    return index;
}

static uint32_t alias_type(SchemaReader *r, Die *d)
{
    uint32_t index = schema_type_of(r, d);
    const char *name = die_name(d);
    char line[TEXT_MOST];
    if (!name)
        return index;
    snprintf(line, sizeof line, "%.330s%.330s", scope(r, dwarf_dieoffset(&d->die)), name);
    SchemaType *t = type_at(r, index);
    if (t->flags & SCHEMA_NAMELESS && !t->name)
        t->name = schema_intern(r, line); /* `typedef struct {…} order;`: its only name */
    schema_type_name(r, line, index);
    return index;
}

static uint32_t other_type(SchemaReader *r, Die *d, int tag)
{
    SchemaType t = {.bytes = d->bytes, .kind = SCHEMA_OPAQUE};
    Dwarf_Die target;
    if (tag == DW_TAG_subroutine_type) {
        t.kind = SCHEMA_FUNCTION;
        t.bytes = 0;
    } else if (tag == DW_TAG_ptr_to_member_type && !d->has_bytes) {
        t.bytes = d->have & HAVE_TYPE && dwarf_formref_die(&d->type, &target) &&
                          dwarf_tag(&target) == DW_TAG_subroutine_type
                      ? 16
                      : 8;
    } else if (tag == DW_TAG_unspecified_type) {
        t.bytes = 8; /* nullptr_t */
    }
    t.name = schema_intern(r, die_name(d));
    return add_type(r, &t);
}

static uint32_t make(SchemaReader *r, Dwarf_Die *die, Die *d)
{
    int tag = dwarf_tag(die);
    Dwarf_Attribute a;
    Dwarf_Die target;
    switch (tag) {
    case DW_TAG_base_type:
        return base_type(r, d);
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
        return pointer_type(r, d, tag);
    case DW_TAG_array_type:
        return array_type(r, d);
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        if (dwarf_attr(die, DW_AT_signature, &a) && dwarf_formref_die(&a, &target) &&
            dwarf_dieoffset(&target) != dwarf_dieoffset(die))
            return schema_type(r, &target);
        return record_type(r, d, tag);
    case DW_TAG_enumeration_type:
        return enum_type(r, d);
    case DW_TAG_typedef:
        return alias_type(r, d);
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_atomic_type:
        return schema_type_of(r, d);
    default:
        return other_type(r, d, tag);
    }
}

uint32_t schema_type(SchemaReader *r, Dwarf_Die *die)
{
    Dwarf_Off offset = dwarf_dieoffset(die);
    uint32_t index;
    Die d;
    if (schema_map_get(&r->types, offset, &index))
        return index;
    if (r->failed || r->depth >= SCHEMA_DEPTH || r->steps++ > STEPS_MOST) {
        r->out.flags |= SCHEMA_BROKEN;
        return 0;
    }
    r->depth++;
    die_read(die, &d);
    index = make(r, die, &d);
    r->depth--;
    if (schema_map_put(&r->types, offset, index))
        schema_fail(r, KEEL_ENOMEM);
    return index;
}
