/* Inside image/: the table that says how the DIEs of a unit are written, compiled so that what
 * nobody asks for is stepped over in runs. Bytes of unknown origin; one thread. */
#ifndef IMAGE_DWARF_ABBREV_H
#define IMAGE_DWARF_ABBREV_H

#include "image/dwarf_dies.h"

/* One attribute, or a run of bytes that nobody asks for (name 0). */
typedef struct Attribute {
    uint16_t name, form;
    uint32_t skip;
    int64_t implicit;
} Attribute;

typedef struct Abbreviation {
    uint64_t code;
    uint16_t tag;
    uint8_t has_children, is_wanted;
    uint32_t first, count;
} Abbreviation;

typedef struct Abbreviations {
    Buf list, attributes;
    uint64_t at; /* offset of the table + 1; 0: none */
    DieUnit of;  /* the kind of unit that it was compiled for */
} Abbreviations;

/* The table at an offset, unless it is the one that is there. KEEL_EIMAGE when it is damaged,
 * KEEL_ENOMEM, KEEL_ELIMIT. Zeroed is empty. */
int abbreviations_read(Abbreviations *table, const DieSection *section, const DieUnit *unit,
                       uint64_t at);
void abbreviations_done(Abbreviations *table);

/* NULL: there is none. */
const Abbreviation *abbreviation_of(const Abbreviations *table, uint64_t code);

static inline const Attribute *abbreviation_attributes(const Abbreviations *table,
                                                       const Abbreviation *a)
{
    return a->count ? (const Attribute *)(const void *)table->attributes.data + a->first : NULL;
}

#endif
