/* What an image is made of: its functions and statics with fingerprints, its types with hashes.
 * Plain data without pointers while it crosses from the process that read it; checked on arrival.
 *
 * A fingerprint covers a function's bytes with every place that the link filled in replaced by what
 * it refers to. It does not change with a rebuild elsewhere, the order of functions, debug
 * information or the folder; it changes with the code and with what the code names. */
#ifndef IMAGE_ANATOMY_H
#define IMAGE_ANATOMY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

/* What there was to read. */
enum {
    ANATOMY_SYMBOLS = 1,  /* .symtab */
    ANATOMY_RELOCS = 2,   /* --emit-relocs: functions have fingerprints */
    ANATOMY_DEBUG = 4,    /* debug information: lines, owners of statics, types */
    ANATOMY_LTO = 8,      /* optimized at link time: types are not compared */
    ANATOMY_SPLIT = 16,   /* debug information is in other files (-gsplit-dwarf) */
    ANATOMY_MACHINE = 32, /* of a machine whose code isn't read: no fingerprints */
    ANATOMY_TYPES_CUT = 64,
    ANATOMY_DEBUG_BROKEN = 128,
    ANATOMY_UNITS = 256, /* local symbols tell their source files */
};

/* All names are offsets in `strings`; 0 is "". Lists are sorted by id. */
typedef struct AnatomyFunction {
    Hash id;
    Hash hash;
    Hash hash_but_lines; /* with the line numbers that assert() passes left out */
    uint64_t bytes;
    uint32_t name, pretty, unit; /* pretty: as in the source, when that is known */
    uint32_t file, line;         /* line 0: unknown */
    uint32_t parts;              /* itself, its clones and cold parts */
} AnatomyFunction;

/* How to show an initial value; VALUE_NONE: it isn't one number. */
enum { VALUE_NONE, VALUE_SIGNED, VALUE_UNSIGNED, VALUE_FLOAT, VALUE_BOOL, VALUE_KINDS };

enum { OBJECT_DATA, OBJECT_ZERO, OBJECT_CONSTANT, OBJECT_THREAD, OBJECT_KINDS };

typedef struct AnatomyObject {
    Hash id;
    Hash hash; /* of the initializer; of OBJECT_ZERO always 0 */
    uint64_t bytes;
    uint64_t value;             /* the bytes of what it begins with; by value_kind */
    uint32_t name, unit, owner; /* owner: the function it is inside of, or "" */
    uint32_t file, line;
    uint32_t kind, value_kind, reserved;
} AnatomyObject;

/* A section of the running image, for images that tell nothing finer. */
typedef struct AnatomySection {
    Hash hash;
    uint64_t bytes;
    uint32_t name, is_code;
} AnatomySection;

enum { TYPE_STRUCT, TYPE_UNION, TYPE_CLASS, TYPE_ENUM, TYPE_ALIAS, TYPE_KINDS };

typedef struct AnatomyType {
    Hash id;   /* kind and name */
    Hash hash; /* its layout and that of all it holds by value */
    uint64_t bytes;
    uint32_t name, kind;
    uint32_t first_field, field_count;
    uint32_t target; /* of an alias: the text of what it stands for */
} AnatomyType;

typedef struct AnatomyField {
    Hash hash;       /* of its type */
    uint64_t offset; /* bytes; of an enumerator: its value */
    uint32_t name, type;
    uint32_t bit, bits; /* a bit field's place after `offset`; bits 0: none */
} AnatomyField;

typedef struct Anatomy {
    uint32_t flags;
    uint32_t function_count, object_count, section_count, type_count, field_count, string_bytes;
    const AnatomyFunction *functions;
    const AnatomyObject *objects;
    const AnatomySection *sections;
    const AnatomyType *types;
    const AnatomyField *fields;
    const char *strings;
} Anatomy;

/* While it is being read. Zeroed is empty. */
typedef struct AnatomyMaker {
    uint32_t flags;
    Buf functions, objects, sections, types, fields, strings;
    int failed; /* KEEL_ENOMEM */
} AnatomyMaker;

/* The offset of a copy; control characters become '?', what is too long is cut. */
uint32_t anatomy_text(AnatomyMaker *m, const char *text, size_t bytes);
void anatomy_maker_done(AnatomyMaker *m);

/* As one piece: KEEL_ELIMIT when it has more than `room` bytes. Sorts the lists. */
int anatomy_pack(AnatomyMaker *m, void *to, size_t room, size_t *ret_bytes, Error *err);

/* Checks every count, offset and order. `*ret` points into `data`. KEEL_EFAULT when anything is
 * wrong, since then the reader was subverted. */
int anatomy_check(const void *data, size_t bytes, Anatomy *ret, Error *err);

static inline const char *anatomy_string(const Anatomy *a, uint32_t at)
{
    return a->strings + at;
}

#endif
