/* Inside image/: values of attributes as DWARF 2 to 5 writes them, and what the section-crossing
 * ones mean. Bytes of unknown origin; no state. */
#ifndef IMAGE_DWARF_FORMS_H
#define IMAGE_DWARF_FORMS_H

#include "image/dwarf_cursor.h"
#include "image/dwarf_dies.h"

enum {
    FORM_OTHER, /* nothing that anybody here uses */
    FORM_NUMBER,
    FORM_TEXT,
    FORM_TEXT_INDEX,
    FORM_BLOCK,
    FORM_REFERENCE, /* `number` is the offset in the section; of a unit: from its beginning */
    FORM_REFERENCE_FAR,
    FORM_SIGNATURE,
    FORM_ADDRESS,
    FORM_ADDRESS_INDEX,
    FORM_RANGES_INDEX
};

typedef struct FormValue {
    uint64_t number; /* of FORM_BLOCK: its length */
    const uint8_t *block;
    const char *text;
    uint8_t kind;
} FormValue;

/* Bytes that a form takes in a unit of that kind; -1 when that must be read. */
int form_bytes(unsigned form, const DieUnit *unit);

/* Steps over one value and tells it. `implicit` is what the abbreviation holds. */
FormValue form_read(const Dies *dies, const DieUnit *unit, Cursor *c, unsigned form,
                    int64_t implicit);

/* NULL: none. */
const char *form_text(const Dies *dies, const DieUnit *unit, const FormValue *value);
/* 0, or -1 when it isn't one. */
int form_address(const Dies *dies, const DieUnit *unit, const FormValue *value, uint64_t *ret);
/* The address that `DW_OP_addr x` or `DW_OP_addrx n` tells, alone. */
int form_location(const Dies *dies, const DieUnit *unit, const FormValue *value, uint64_t *ret);
/* The first piece that a list of ranges tells. (dwarf_ranges.c) */
int form_first_range(const Dies *dies, const DieUnit *unit, const FormValue *value,
                     uint64_t *ret_begin, uint64_t *ret_end);
/* Entry `index` of .debug_addr. */
int form_indexed_address(const Dies *dies, const DieUnit *unit, uint64_t index, uint64_t *ret);

#endif
