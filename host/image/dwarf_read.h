/* Inside image/: from debug information: where functions and statics are in the source, which
 * function a static lives in, and the types. Bytes of unknown origin, meant for a process under
 * limits; one thread. Not part of libkeel-core. */
#ifndef IMAGE_DWARF_READ_H
#define IMAGE_DWARF_READ_H

#include "image/anatomy.h"
#include "image/dwarf_dies.h"
#include "image/fingerprint.h"

/* What is known of a type DIE. */
typedef struct TypeInfo {
    Hash hash;
    uint64_t bytes;
    uint32_t text; /* as people write it */
    uint32_t kind; /* TYPE_… + 1 when it can hold fields, else 0 */
    int is_nameless;
} TypeInfo;

typedef struct TypeSlot {
    uint32_t prefix; /* string: scopes around it, with "::" at the end */
    uint8_t state;
    TypeInfo info;
} TypeSlot;

typedef struct TypeTable {
    TypeSlot *slots; /* by index of the DIE */
    uint64_t *seen;  /* hashes of types that were added */
    size_t seen_room, seen_used;
    int depth, steps;
} TypeTable;

typedef struct Reader {
    Dies *dies;
    AnatomyMaker *maker;
    TypeTable types;
    Buf owners, lines; /* Owner, Line */
    Buf found;         /* uint32_t: types to add once all scopes are known */
    int failed;        /* KEEL_E… */
    /* Of the unit being read: */
    const DieUnit *unit;
    uint32_t *file_names;
    uint32_t file_room;
    Buf later; /* uint32_t: variables whose declaration may come behind them */
    int is_c;  /* its names are those of the symbols */
} Reader;

/* Adds a named type with its fields to the maker, once. `alias` names a nameless one, or NULL. */
void types_add(Reader *r, uint32_t die, const char *alias);

void types_done(TypeTable *table);

/* Reads all units into the reader. 0 or KEEL_ENOMEM. */
int dwarf_read_units(Reader *r);

#endif
