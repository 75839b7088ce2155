/* Reads the values of attributes, each checked against the end of its section. Pure. */
#include "image/dwarf_forms.h"

#include <dwarf.h>

int form_bytes(unsigned form, const DieUnit *unit)
{
    switch (form) {
    case DW_FORM_flag_present:
    case DW_FORM_implicit_const:
        return 0;
    case DW_FORM_data1:
    case DW_FORM_ref1:
    case DW_FORM_flag:
    case DW_FORM_strx1:
    case DW_FORM_addrx1:
        return 1;
    case DW_FORM_data2:
    case DW_FORM_ref2:
    case DW_FORM_strx2:
    case DW_FORM_addrx2:
        return 2;
    case DW_FORM_strx3:
    case DW_FORM_addrx3:
        return 3;
    case DW_FORM_data4:
    case DW_FORM_ref4:
    case DW_FORM_strx4:
    case DW_FORM_addrx4:
    case DW_FORM_ref_sup4:
        return 4;
    case DW_FORM_data8:
    case DW_FORM_ref8:
    case DW_FORM_ref_sig8:
    case DW_FORM_ref_sup8:
        return 8;
    case DW_FORM_data16:
        return 16;
    case DW_FORM_addr:
        return unit->address_bytes;
    case DW_FORM_ref_addr:
        return unit->version < 3 ? unit->address_bytes : unit->offset_bytes;
    case DW_FORM_strp:
    case DW_FORM_line_strp:
    case DW_FORM_sec_offset:
    case DW_FORM_strp_sup:
    case DW_FORM_GNU_ref_alt:
    case DW_FORM_GNU_strp_alt:
        return unit->offset_bytes;
    default:
        return -1;
    }
}

static FormValue number(uint64_t value)
{
    return (FormValue){.number = value, .kind = FORM_NUMBER};
}

static FormValue block(Cursor *c, uint64_t bytes)
{
    FormValue value = {.number = bytes, .block = c->at, .kind = FORM_BLOCK};
    cursor_skip(c, bytes);
    return c->is_bad ? (FormValue){0} : value;
}

static FormValue text_at(const DieSection *s, uint64_t offset)
{
    /* The section was cut behind its last zero. */
    return offset < s->bytes
               ? (FormValue){.text = (const char *)s->data + offset, .kind = FORM_TEXT}
               : (FormValue){0};
}

static FormValue of_kind(uint8_t kind, uint64_t value)
{
    return (FormValue){.number = value, .kind = kind};
}

static FormValue read_fixed(const Dies *dies, Cursor *c, unsigned form, unsigned bytes)
{
    if (bytes > 8) {
        cursor_skip(c, bytes);
        return (FormValue){0};
    }
    uint64_t value = cursor_number(c, bytes);
    switch (form) {
    case DW_FORM_ref1:
    case DW_FORM_ref2:
    case DW_FORM_ref4:
    case DW_FORM_ref8:
        return of_kind(FORM_REFERENCE, value);
    case DW_FORM_ref_addr:
        return of_kind(FORM_REFERENCE_FAR, value);
    case DW_FORM_ref_sig8:
        return of_kind(FORM_SIGNATURE, value);
    case DW_FORM_addr:
        return of_kind(FORM_ADDRESS, value);
    case DW_FORM_strx1:
    case DW_FORM_strx2:
    case DW_FORM_strx3:
    case DW_FORM_strx4:
        return of_kind(FORM_TEXT_INDEX, value);
    case DW_FORM_addrx1:
    case DW_FORM_addrx2:
    case DW_FORM_addrx3:
    case DW_FORM_addrx4:
        return of_kind(FORM_ADDRESS_INDEX, value);
    case DW_FORM_strp:
        return text_at(&dies->sections[DIES_STR], value);
    case DW_FORM_line_strp:
        return text_at(&dies->sections[DIES_LINE_STR], value);
    case DW_FORM_ref_sup4: /* in another file, which isn't opened */
    case DW_FORM_ref_sup8:
    case DW_FORM_strp_sup:
    case DW_FORM_GNU_ref_alt:
    case DW_FORM_GNU_strp_alt:
        return (FormValue){0};
    default:
        return number(value);
    }
}

FormValue form_read(const Dies *dies, const DieUnit *unit, Cursor *c, unsigned form,
                    int64_t implicit)
{
    if (form == DW_FORM_indirect) {
        form = (unsigned)cursor_uleb(c);
        if (form == DW_FORM_indirect || form == DW_FORM_implicit_const) {
            c->is_bad = 1;
            return (FormValue){0};
        }
    }
    if (form == DW_FORM_implicit_const)
        return number((uint64_t)implicit);
    if (form == DW_FORM_flag_present)
        return number(1);
    int bytes = form_bytes(form, unit);
    if (bytes >= 0)
        return read_fixed(dies, c, form, (unsigned)bytes);
    switch (form) {
    case DW_FORM_udata:
        return number(cursor_uleb(c));
    case DW_FORM_sdata:
        return number((uint64_t)cursor_sleb(c));
    case DW_FORM_string:
        return (FormValue){.text = cursor_text(c), .kind = FORM_TEXT};
    case DW_FORM_ref_udata:
        return of_kind(FORM_REFERENCE, cursor_uleb(c));
    case DW_FORM_strx:
    case DW_FORM_GNU_str_index:
        return of_kind(FORM_TEXT_INDEX, cursor_uleb(c));
    case DW_FORM_addrx:
    case DW_FORM_GNU_addr_index:
        return of_kind(FORM_ADDRESS_INDEX, cursor_uleb(c));
    case DW_FORM_rnglistx:
        return of_kind(FORM_RANGES_INDEX, cursor_uleb(c));
    case DW_FORM_loclistx:
        cursor_uleb(c);
        return (FormValue){0};
    case DW_FORM_block:
    case DW_FORM_exprloc:
        return block(c, cursor_uleb(c));
    case DW_FORM_block1:
        return block(c, cursor_number(c, 1));
    case DW_FORM_block2:
        return block(c, cursor_number(c, 2));
    case DW_FORM_block4:
        return block(c, cursor_number(c, 4));
    default: /* how long it is isn't known */
        c->is_bad = 1;
        return (FormValue){0};
    }
}

/* Entry `index` of a table of numbers behind `base`. */
static int entry(const DieSection *s, uint64_t base, uint64_t index, unsigned bytes, uint64_t *ret)
{
    if (base > s->bytes || !bytes || index >= (s->bytes - base) / bytes)
        return -1;
    *ret = 0;
    memcpy(ret, s->data + base + index * bytes, bytes);
    return 0;
}

const char *form_text(const Dies *dies, const DieUnit *unit, const FormValue *value)
{
    uint64_t offset;
    if (value->kind == FORM_TEXT)
        return value->text;
    if (value->kind != FORM_TEXT_INDEX ||
        entry(&dies->sections[DIES_STR_OFFSETS], unit->strings_base, value->number,
              unit->offset_bytes, &offset))
        return NULL;
    return text_at(&dies->sections[DIES_STR], offset).text;
}

int form_indexed_address(const Dies *dies, const DieUnit *unit, uint64_t index, uint64_t *ret)
{
    return entry(&dies->sections[DIES_ADDR], unit->addresses_base, index, unit->address_bytes, ret);
}

int form_address(const Dies *dies, const DieUnit *unit, const FormValue *value, uint64_t *ret)
{
    if (value->kind == FORM_ADDRESS_INDEX)
        return form_indexed_address(dies, unit, value->number, ret);
    *ret = value->number;
    return value->kind == FORM_ADDRESS ? 0 : -1;
}

int form_location(const Dies *dies, const DieUnit *unit, const FormValue *value, uint64_t *ret)
{
    if (value->kind != FORM_BLOCK || !value->number)
        return -1;
    Cursor c = {value->block + 1, value->block + value->number, 0};
    switch (*value->block) {
    case DW_OP_addr:
        if (cursor_left(&c) != unit->address_bytes)
            return -1;
        *ret = cursor_number(&c, unit->address_bytes);
        return 0;
    case DW_OP_addrx:
    case DW_OP_GNU_addr_index: {
        uint64_t index = cursor_uleb(&c);
        return c.is_bad || cursor_left(&c) ? -1 : form_indexed_address(dies, unit, index, ret);
    }
    default:
        return -1;
    }
}
