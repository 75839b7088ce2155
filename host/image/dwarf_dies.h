/* Inside image/: the debug information of an image, read once into one flat list that all who ask
 * share. DIEs stand in the order of the file, each before its children, with what anybody here
 * asks of them decoded; what nobody asks for (parameters, calls, inlined code) is left out.
 * Strings point into the sections. Bytes of unknown origin, meant for a process under limits; one
 * thread. Not part of libkeel-core. */
#ifndef IMAGE_DWARF_DIES_H
#define IMAGE_DWARF_DIES_H

#include <libelf.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    DIE_TYPE = 1,
    DIE_SPECIFICATION = 2,
    DIE_ORIGIN = 4,
    DIE_ADDRESS = 8, /* `address` is where it lies: a function's beginning, a static's place */
    DIE_PLACE = 16,  /* `value` is a member's offset in bytes */
    DIE_PLACE_COMPUTED = 32, /* a member whose place is known at run time only */
    DIE_COUNT = 64,          /* `value` is how many elements */
    DIE_VALUE = 128,         /* `value` is an enumerator's */
    DIE_FILE = 256,
    DIE_BYTES = 512,
    DIE_BIT_OFFSET = 1024,      /* `extent`, counted as DWARF 3 does */
    DIE_DATA_BIT_OFFSET = 2048, /* `extent`, from the record's beginning */
    DIE_DECLARATION = 4096,
    DIE_EXTERNAL = 8192,
    DIE_ARTIFICIAL = 16384,
    DIE_SIGNATURE = 32768, /* `refers` is the type that it stands for */
};

typedef struct Die {
    const char *name, *linkage; /* NULL: none */
    uint64_t bytes, value, address;
    uint64_t extent; /* bytes of a function's first piece; a bit field's offset */
    uint32_t type;   /* offset of another DIE, for dies_at; 0: none */
    uint32_t refers; /* what it completes or was made of, likewise */
    uint32_t offset; /* its own */
    uint32_t next;   /* index behind its last child */
    uint32_t file, line;
    uint32_t bits;
    uint16_t tag, have; /* DW_TAG_…, DIE_… */
    uint8_t encoding;
} Die;

typedef struct DieUnit {
    uint32_t first, end; /* indexes: its own DIE, behind its last */
    uint16_t version;
    uint8_t offset_bytes, address_bytes;
    uint8_t is_types, is_split, has_lines;
    uint32_t language;
    const char *producer, *folder;
    uint64_t lines;                                          /* in .debug_line */
    uint64_t strings_base, addresses_base, ranges_base, low; /* of its attributes */
} DieUnit;

enum {
    DIES_INFO,
    DIES_TYPES,
    DIES_ABBREV,
    DIES_STR,
    DIES_LINE,
    DIES_LINE_STR,
    DIES_STR_OFFSETS,
    DIES_ADDR,
    DIES_RANGES,
    DIES_RNGLISTS,
    DIES_SECTIONS
};

typedef struct DieSection {
    const uint8_t *data;
    uint64_t bytes;
} DieSection;

typedef struct DieFile {
    const char *folder, *name;
} DieFile;

typedef struct Dies {
    Elf *elf;   /* NULL: no ELF file */
    void *copy; /* of the file, where sections had to be unpacked */
    DieSection sections[DIES_SECTIONS];
    Die *list; /* [0] is none */
    uint32_t count, room;
    Buf units;      /* DieUnit */
    uint32_t *near; /* by offset / 64: the first there */
    size_t near_count;
    int has_debug, is_broken; /* broken: it ends early, things may be missing */
    /* Of the last unit that was asked for its files: */
    const DieUnit *files_of;
    Buf files; /* DieFile */
} Dies;

/* KEEL_ENOMEM or KEEL_ELIMIT; debug information that contradicts itself only ends the list. `data`
 * stays the caller's and unchanged, and must stay as long as the list. */
int dies_open(const void *data, size_t bytes, Dies *ret);
void dies_done(Dies *dies);

/* Index of the DIE at an offset; 0: none that was kept. */
uint32_t dies_at(const Dies *dies, uint32_t offset);

static inline uint32_t dies_unit_count(const Dies *dies)
{
    return (uint32_t)(dies->units.bytes / sizeof(DieUnit));
}

static inline const DieUnit *dies_unit(const Dies *dies, uint32_t index)
{
    return (const DieUnit *)(const void *)dies->units.data + index;
}

/* What its type refers to: index, or 0. */
static inline uint32_t dies_type(const Dies *dies, const Die *die)
{
    return die->type ? dies_at(dies, die->type) : 0;
}

/* The children of a DIE, one after the other: index, or 0 at the end. */
static inline uint32_t dies_child(const Dies *dies, uint32_t parent)
{
    return dies->list[parent].next > parent + 1 ? parent + 1 : 0;
}

static inline uint32_t dies_after(const Dies *dies, uint32_t parent, uint32_t child)
{
    uint32_t next = dies->list[child].next;
    return next < dies->list[parent].next ? next : 0;
}

/* Where a member of a record lies, by whatever the compiler told: bytes, and for a bit field the
 * bit after them. `type_bytes` is the size of its type. */
uint64_t die_member_place(const Die *member, uint64_t type_bytes, uint32_t *ret_bit);

/* A file that DW_AT_decl_file names, as a whole path. 0: there is none. (dwarf_lines.c) */
int dies_file(Dies *dies, const DieUnit *unit, uint32_t index, char *ret, size_t room);

#endif
