/* Inside image/: debug information by libdw: where functions and statics are in the source, which
 * function a static lives in, and the types. Bytes of unknown origin, meant for a process under
 * limits; one thread. Not part of libkeel-core. */
#ifndef IMAGE_DWARF_READ_H
#define IMAGE_DWARF_READ_H

#include <elfutils/libdw.h>

#include "image/anatomy.h"
#include "image/fingerprint.h"

/* Everything about a DIE that anybody here asks for, in one pass over its attributes. */
typedef struct Die {
    Dwarf_Die die;
    Dwarf_Attribute name, linkage, type, specification, origin, low_pc, location, member, count,
        upper, value, file;
    uint32_t have; /* bits HAVE_… */
    uint32_t line;
    uint64_t bytes, bits, bit_offset, encoding;
    int has_bytes;
} Die;

enum {
    HAVE_NAME = 1,
    HAVE_LINKAGE = 2,
    HAVE_TYPE = 4,
    HAVE_SPECIFICATION = 8,
    HAVE_ORIGIN = 16,
    HAVE_LOW_PC = 32,
    HAVE_LOCATION = 64,
    HAVE_MEMBER = 128,
    HAVE_COUNT = 256,
    HAVE_UPPER = 512,
    HAVE_VALUE = 1024,
    HAVE_FILE = 2048,
    HAVE_BIT_OFFSET = 4096,
    HAVE_DATA_BIT_OFFSET = 8192,
    HAVE_DECLARATION = 16384,
    HAVE_EXTERNAL = 32768,
    HAVE_ARTIFICIAL = 65536,
};

void die_read(Dwarf_Die *die, Die *ret);
const char *die_name(Die *die); /* NULL: none */

/* What is known of a type DIE. */
typedef struct TypeInfo {
    Hash hash;
    uint64_t bytes;
    uint32_t text; /* as people write it */
    uint32_t kind; /* TYPE_… + 1 when it can hold fields, else 0 */
    int is_nameless;
} TypeInfo;

typedef struct TypeSlot {
    uint64_t offset; /* of the DIE; 0: free */
    uint32_t prefix; /* string: scopes around it, with "::" at the end */
    uint8_t state;
    TypeInfo info;
} TypeSlot;

typedef struct TypeTable {
    TypeSlot *slots; /* a power of two, at most half full */
    size_t room, used;
    uint64_t *seen; /* hashes of types that were added */
    size_t seen_room, seen_used;
    int depth, steps;
} TypeTable;

typedef struct Reader {
    Dwarf *dwarf;
    AnatomyMaker *maker;
    TypeTable types;
    Buf owners, lines; /* Owner, Line */
    Buf found;         /* Dwarf_Off of types to add once all scopes are known */
    int failed;        /* KEEL_E… */
    /* Of the unit being read: */
    Dwarf_Files *files;
    size_t file_count;
    uint32_t *file_names;
    int files_read;
    Buf later; /* Dwarf_Off of variables whose declaration may come behind them */
    int is_c;  /* its names are those of the symbols */
    Dwarf_Die unit;
} Reader;

/* Remembers the scopes around a DIE; called before any type is resolved. */
void types_scope(Reader *r, Dwarf_Off offset, uint32_t prefix);

/* Adds a named type with its fields to the maker, once. `alias` names a nameless one, or NULL. */
void types_add(Reader *r, Dwarf_Die *die, const char *alias);

void types_done(TypeTable *table);

/* Reads all units into the reader. 0, KEEL_ENOMEM, or KEEL_EIMAGE when libdw finds it broken. */
int dwarf_read_units(Reader *r);

/* Is there debug information? `*ret_compressed` is set when some of it is packed: compressed sections
 * are unpacked in place by libelf, which the file's own bytes don't allow. */
int dwarf_has_debug(Elf *elf, int *ret_compressed);

#endif
