/* The first piece of a function that lies in several, from .debug_ranges (to DWARF 4) or
 * .debug_rnglists. Pure. */
#include <dwarf.h>

#include "image/dwarf_forms.h"

static int old_list(const DieSection *s, uint64_t at, const DieUnit *unit, uint64_t *ret_begin,
                    uint64_t *ret_end)
{
    unsigned bytes = unit->address_bytes;
    uint64_t base = unit->low, none = bytes == 8 ? UINT64_MAX : UINT32_MAX;
    if (at >= s->bytes)
        return -1;
    Cursor c = {s->data + at, s->data + s->bytes, 0};
    while (!c.is_bad) {
        uint64_t begin = cursor_number(&c, bytes), end = cursor_number(&c, bytes);
        if (c.is_bad || (!begin && !end))
            return -1;
        if (begin == none) {
            base = end;
            continue;
        }
        if (begin == end)
            continue;
        *ret_begin = base + begin;
        *ret_end = base + end;
        return 0;
    }
    return -1;
}

/* One entry: 1 when it is a piece, 0 when the next one has to be looked at, -1 at the end. */
static int next_piece(const Dies *dies, const DieUnit *unit, Cursor *c, uint64_t *base,
                      uint64_t *begin, uint64_t *end)
{
    uint64_t a;
    switch (cursor_number(c, 1)) {
    case DW_RLE_base_addressx:
        return form_indexed_address(dies, unit, cursor_uleb(c), base);
    case DW_RLE_base_address:
        *base = cursor_number(c, unit->address_bytes);
        return 0;
    case DW_RLE_startx_endx:
        a = cursor_uleb(c);
        return form_indexed_address(dies, unit, a, begin) ||
                       form_indexed_address(dies, unit, cursor_uleb(c), end)
                   ? -1
                   : 1;
    case DW_RLE_startx_length:
        if (form_indexed_address(dies, unit, cursor_uleb(c), begin))
            return -1;
        *end = *begin + cursor_uleb(c);
        return 1;
    case DW_RLE_offset_pair:
        *begin = *base + cursor_uleb(c);
        *end = *base + cursor_uleb(c);
        return 1;
    case DW_RLE_start_end:
        *begin = cursor_number(c, unit->address_bytes);
        *end = cursor_number(c, unit->address_bytes);
        return 1;
    case DW_RLE_start_length:
        *begin = cursor_number(c, unit->address_bytes);
        *end = *begin + cursor_uleb(c);
        return 1;
    default:
        return -1;
    }
}

static int new_list(const Dies *dies, const DieSection *s, uint64_t at, const DieUnit *unit,
                    uint64_t *ret_begin, uint64_t *ret_end)
{
    uint64_t base = unit->low, begin = 0, end = 0;
    if (at >= s->bytes)
        return -1;
    Cursor c = {s->data + at, s->data + s->bytes, 0};
    while (!c.is_bad) {
        int piece = next_piece(dies, unit, &c, &base, &begin, &end);
        if (piece < 0 || c.is_bad)
            return -1;
        if (!piece || begin == end)
            continue;
        *ret_begin = begin;
        *ret_end = end;
        return 0;
    }
    return -1;
}

int form_first_range(const Dies *dies, const DieUnit *unit, const FormValue *value,
                     uint64_t *ret_begin, uint64_t *ret_end)
{
    const DieSection *lists = &dies->sections[DIES_RNGLISTS];
    uint64_t at = value->number, offset = 0;
    if (value->kind == FORM_RANGES_INDEX) {
        unsigned bytes = unit->offset_bytes;
        if (unit->ranges_base > lists->bytes || at >= (lists->bytes - unit->ranges_base) / bytes)
            return -1;
        memcpy(&offset, lists->data + unit->ranges_base + at * bytes, bytes);
        at = unit->ranges_base + offset;
    } else if (value->kind != FORM_NUMBER) {
        return -1;
    }
    return unit->version >= 5
               ? new_list(dies, lists, at, unit, ret_begin, ret_end)
               : old_list(&dies->sections[DIES_RANGES], at, unit, ret_begin, ret_end);
}
