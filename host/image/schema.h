/* The schema of an image: the types that its memory may hold, its statics with their initialisers,
 * its functions, and what else a pointer can mean. Made from debug information in the helper; plain
 * data without pointers while it crosses; checked on arrival. Immutable then; any thread.
 *
 * Types are indexes into `types`, 0 is void. Names are offsets in `strings`, 0 is "". Addresses are
 * the file's own: an address in memory less the load bias. */
#ifndef IMAGE_SCHEMA_H
#define IMAGE_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

typedef enum SchemaKind {
    SCHEMA_VOID,
    SCHEMA_BOOL,
    SCHEMA_INT,   /* also characters: SCHEMA_TEXT */
    SCHEMA_FLOAT, /* of 4, 8 or 16 bytes */
    SCHEMA_ENUM,
    SCHEMA_RECORD, /* struct or class */
    SCHEMA_UNION,
    SCHEMA_ARRAY,
    SCHEMA_POINTER,  /* also references */
    SCHEMA_FUNCTION, /* only behind pointers */
    SCHEMA_OPAQUE,   /* bytes whose meaning isn't told: complex numbers, pointers to members */
    SCHEMA_KINDS
} SchemaKind;

/* Of types. */
enum {
    SCHEMA_SIGNED = 1,     /* SCHEMA_INT, SCHEMA_ENUM */
    SCHEMA_TEXT = 2,       /* SCHEMA_INT: char and its kin */
    SCHEMA_INCOMPLETE = 4, /* a record that this image only declares */
    SCHEMA_DESTRUCTOR = 8, /* a record with one, of its own or inside */
    SCHEMA_FLEXIBLE = 16,  /* SCHEMA_ARRAY without a length: the rest of the allocation */
    SCHEMA_REFERENCE = 32, /* SCHEMA_POINTER of C++ that is never NULL */
    SCHEMA_VIRTUAL = 64,   /* a record with a pointer to its class's functions */
    SCHEMA_NAMELESS = 128  /* a record or enum without a name of its own */
};

typedef struct SchemaType {
    Hash hash;      /* layout, and names of fields and enumerators, of all that is held by value; of
                       what is behind a pointer only the name */
    uint64_t bytes; /* 0: void, functions, incomplete ones, flexible arrays */
    uint64_t count; /* SCHEMA_ARRAY: elements, of one dimension */
    uint32_t name;  /* "struct order", "order_t", "unsigned int", "struct order *": for people */
    uint32_t target;        /* element; what is pointed to */
    uint32_t first, fields; /* records, unions: in `fields`; SCHEMA_ENUM: in `values` */
    uint16_t kind, flags;
    uint32_t unit; /* the first that has it */
} SchemaType;

/* Of fields. */
enum {
    SCHEMA_BASE = 1, /* a base class */
    SCHEMA_TABLE = 2 /* the pointer to the class's functions */
};

typedef struct SchemaField {
    uint64_t offset;  /* bytes from the record's start */
    uint32_t name;    /* "": an anonymous struct or union, whose fields count as the record's */
    uint32_t spelled; /* its type as the source has it, for people */
    uint32_t type;
    uint16_t flags;
    uint8_t bit, bits; /* a bit field: place after `offset` (below 8), width; bits 0: none */
} SchemaField;

typedef struct SchemaValue {
    int64_t value;
    uint32_t name, reserved;
} SchemaValue;

/* What a type may be called, sorted by text, then unit: "struct order" (C), "ns::order" (C++), an
 * alias, "unsigned long". Units that agree about a name share one entry with SCHEMA_ANY_UNIT. */
#define SCHEMA_ANY_UNIT UINT32_MAX
typedef struct SchemaName {
    uint32_t text, type, unit, reserved;
} SchemaName;

typedef enum SchemaPlace {
    SCHEMA_DATA,
    SCHEMA_ZERO,
    SCHEMA_CONSTANT,
    SCHEMA_CACHE, /* KEEL_CACHE: never carried */
    SCHEMA_PLACES
} SchemaPlace;

/* Of statics and functions. */
enum {
    SCHEMA_EXTERNAL = 1, /* known in all units: the name alone identifies it */
    SCHEMA_CLONE = 2,    /* a function that the compiler made of another one */
    SCHEMA_FOLDED = 4    /* a function that only a symbol tells of: its unit isn't known */
};

/* Sorted by address; several with one address are one object that several units see. */
typedef struct SchemaStatic {
    Hash init; /* of the initialiser, addresses in it replaced by what they mean; 0, 0: all zero */
    uint64_t address, bytes;
    uint32_t name;     /* in the source, with its scopes */
    uint32_t function; /* around it; "" */
    uint32_t unit, type;
    uint16_t place, flags;
    uint32_t init_at; /* SCHEMA_DATA: place in `initials` + 1; 0: not kept, too long */
    uint32_t line, reserved;
} SchemaStatic;

/* Sorted by address. Several with one address: the linker folded them. */
typedef struct SchemaFunction {
    uint64_t address, bytes;
    uint32_t name, unit;
    uint32_t flags, reserved;
} SchemaFunction;

/* What the compiler made without being asked: tables of virtual functions, type information, guards
 * of statics. Sorted by address. */
typedef struct SchemaSymbol {
    uint64_t address, bytes;
    uint32_t name, reserved;
} SchemaSymbol;

/* An address in an initialiser. Sorted by place. */
typedef struct SchemaLink {
    uint64_t place; /* address of the 8 bytes */
    Hash means;     /* what they point at, wherever that is */
} SchemaLink;

/* KEEL_RENAMED: what the source says of a field that had another name before. As spelled. */
typedef struct SchemaRename {
    uint32_t type, from, to, reserved;
} SchemaRename;

/* KEEL_UNION: where the tag of a union is, and which member counts by its value. What can't be
 * found in the types has `why`, a sentence, and no record. */
typedef struct SchemaUnion {
    uint64_t offset, tag_offset; /* both from the record's start */
    uint32_t record, type;  /* the one with the tag, also of anonymous ones inside; the union */
    uint32_t tag_type, tag; /* tag: its name */
    uint32_t first, cases;  /* in `cases` */
    uint32_t why;
    uint8_t tag_bit, tag_bits, reserved[2];
} SchemaUnion;

typedef struct SchemaCase {
    int64_t value;
    uint32_t field, reserved; /* of the union's fields */
} SchemaCase;

/* KEEL_CONVERT: which version of a record this build has, and the type as the line spells it. */
typedef struct SchemaHook {
    uint32_t record, version, type, reserved;
} SchemaHook;

enum { SCHEMA_READABLE, SCHEMA_WRITABLE, SCHEMA_CODE };

/* Sections of the running image, sorted by address. */
typedef struct SchemaRange {
    uint64_t address, bytes;
    uint32_t kind, reserved;
} SchemaRange;

/* Of schemas. */
enum {
    SCHEMA_HAS_DEBUG = 1,
    SCHEMA_BROKEN = 2, /* the debug information ends early: things may be missing */
    SCHEMA_LTO = 4,    /* optimised at link time */
    SCHEMA_SPLIT = 8   /* the debug information is in other files */
};

typedef struct Schema {
    uint32_t flags;
    uint32_t type_count, field_count, value_count, name_count, static_count, function_count,
        symbol_count, link_count, range_count, rename_count, union_count, case_count, hook_count,
        unit_count;
    uint32_t string_bytes, initial_bytes;
    const SchemaType *types;
    const SchemaField *fields;
    const SchemaValue *values;
    const SchemaName *names;
    const SchemaStatic *statics;
    const SchemaFunction *functions;
    const SchemaSymbol *symbols;
    const SchemaLink *links;
    const SchemaRange *ranges;
    const SchemaRename *renames;
    const SchemaUnion *unions;
    const SchemaCase *cases;
    const SchemaHook *hooks;
    const uint32_t *units; /* the source files' names, as the compiler was given them */
    const char *strings;
    const uint8_t *initials;
} Schema;

/* Reads the debug information: bytes of unknown origin, for a process under limits. An image that
 * has none gives a schema without SCHEMA_HAS_DEBUG. (library keel_debug) */
int schema_read(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                Error *err);

/* Checks every count, index, order and size. `*ret` points into `data`, which is aligned to 16.
 * KEEL_EFAULT when anything is wrong. What it lets through: fields lie inside their records, no
 * type holds itself by value, nesting is at most SCHEMA_DEPTH, and who walks through all that a
 * type holds by value comes to at most SCHEMA_PARTS places (unions in unions would double them a
 * level).
 */
enum { SCHEMA_DEPTH = 64, SCHEMA_PARTS = 1 << 16 };
int schema_check(const void *data, size_t bytes, Schema *ret, Error *err);

static inline const char *schema_text(const Schema *schema, uint32_t at)
{
    return schema->strings + at;
}

/* A type by the words of the source ("struct order", "const order_t *", "unsigned long int") and
 * the file in which they stand. KEEL_ENOTFOUND; KEEL_ECHANGED when units have different types of
 * that name and none of them is `file`. */
int schema_find(const Schema *schema, const char *spelled, const char *file, uint32_t *ret_type);

/* Lists by which many such questions to one schema are answered without going through all of it
 * each time, with the same answers. Owned by who made it; the schema must stay. */
typedef struct SchemaIndex {
    const Schema *schema;
    struct SchemaEnding *endings; /* names inside of namespaces, by their ends */
    uint32_t ending_count;
    uint32_t *pointers; /* by type: the first pointer to it; 0: none */
} SchemaIndex;

/* KEEL_ENOMEM. `done` takes a zeroed one. */
int schema_index_init(SchemaIndex *index, const Schema *schema);
void schema_index_done(SchemaIndex *index);
int schema_index_find(const SchemaIndex *index, const char *spelled, const char *file,
                      uint32_t *ret_type);

/* One way to write a type: without const and its kin, words of numbers in one order, no needless
 * space; `*ret_stars` counts those at its end. KEEL_EINVAL: too long, or more than a name. */
int schema_canonical(const char *spelled, char *ret, size_t room, int *ret_stars);

/* The alignment that the parts of a type ask for, 1 to 16. */
uint32_t schema_align(const Schema *schema, uint32_t type);

/* What is said of the union that lies at `offset` in a record, or NULL. */
const SchemaUnion *schema_union(const Schema *schema, uint32_t record, uint64_t offset);
/* Which of the union's fields counts in the record at `data`, or -1: the tag has none of the values
 * that were named. */
int64_t schema_union_field(const Schema *schema, const SchemaUnion *tagged, const uint8_t *data);
/* The tag's value, with its sign. */
int64_t schema_tag(const SchemaType *type, const uint8_t *at, unsigned bit, unsigned bits);

/* What is said of a record's version, or NULL. */
const SchemaHook *schema_hook(const Schema *schema, uint32_t record);

/* Index of the last static, function, symbol whose address is at most `address`, or -1; of several
 * with that address the first. */
int64_t schema_static_at(const Schema *schema, uint64_t address);
int64_t schema_function_at(const Schema *schema, uint64_t address);
int64_t schema_symbol_at(const Schema *schema, uint64_t address);
/* The range around an address, or NULL. */
const SchemaRange *schema_range_at(const Schema *schema, uint64_t address);

/* How far two names of units say the same source file: by the whole name most, else by how much of
 * their ends agrees; 0: other files, as all are whose last part differs. */
int schema_units_fit(const char *a, const char *b);
/* The last part of a file's name. */
const char *schema_unit_base(const char *path);

/* While it is being made: lists of the structs above. Zeroed is empty. */
typedef struct SchemaMaker {
    uint32_t flags;
    Buf types, fields, values, names, statics, functions, symbols, links, ranges, renames, unions,
        cases, hooks, units, strings, initials;
} SchemaMaker;
int schema_pack(const SchemaMaker *maker, void *to, size_t room, size_t *ret_bytes, Error *err);
void schema_maker_done(SchemaMaker *maker);

#endif
