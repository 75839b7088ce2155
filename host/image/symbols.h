/* Inside image/: sections and symbols of an ELF file, sorted by address and known by identities
 * that outlive a rebuild. Owns the libelf handle and its tables; bytes of unknown origin, meant for
 * a process under limits; one thread. */
#ifndef IMAGE_SYMBOLS_H
#define IMAGE_SYMBOLS_H

#include <elf.h>
#include <libelf.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "image/owners.h"

typedef struct Section {
    const char *name;
    uint64_t address, bytes, flags;
    const uint8_t *data; /* NULL: no bytes in the file */
    uint32_t type;
    const Elf64_Rela *relocs; /* of --emit-relocs, by rising offset */
    size_t reloc_count;
} Section;

enum { SYMBOL_OTHER, SYMBOL_FUNCTION, SYMBOL_OBJECT, SYMBOL_THREAD };

typedef struct Symbol {
    const char *name;
    uint64_t address, bytes; /* of thread-local ones: offset in the thread's block */
    uint32_t section;        /* 0: undefined or absolute */
    uint32_t unit;           /* of a local one, index in `units`; 0: none */
    uint32_t group;          /* functions: parts and clones of one have the same */
    uint32_t rank;           /* among those of the same name */
    uint16_t base;           /* length of the author's part of the name */
    uint8_t kind, is_local, is_section, by_content;
    uint8_t type;
    uint8_t is_implied; /* a function without a size: up to the next */
    Hash id;            /* name, unit, rank: never an address */
    Hash part;          /* of a function: the part's name without number */
} Symbol;

typedef struct Unit {
    const char *name; /* the source's, without folder */
    uint32_t same_before;
} Unit;

typedef struct Symbols {
    Elf *elf;
    Elf64_Rela **own_relocs; /* sorted copies */
    Section *sections;
    size_t section_count, alloc_count;
    uint32_t *alloc; /* sections in memory, by address */
    Symbol *symbols;
    size_t count;
    Unit *units;
    size_t unit_count;
    uint32_t *functions, *objects, *threads; /* sized ones by address */
    size_t function_count, object_count, thread_count;
    uint32_t group_count;
    uint64_t thread_block; /* address of the template */
    int has_table, has_relocs;
    Hash table; /* of the table's bytes and its names' */
    uint16_t machine;
} Symbols;

/* KEEL_EIMAGE with a sentence. `owners` may be NULL. `data` stays the caller's and unchanged. */
int symbols_open(const void *data, size_t bytes, const Owners *owners, Symbols *ret, Error *err);
void symbols_done(Symbols *s);

/* NULL: nothing there. */
const Section *symbols_section(const Symbols *s, uint64_t address);

/* The number of the section's first relocation at `address` or behind it; reloc_count: none. */
size_t symbols_relocs_from(const Section *in, uint64_t address);
const Symbol *symbols_function(const Symbols *s, uint64_t address);
const Symbol *symbols_object(const Symbols *s, uint64_t address);
const Symbol *symbols_thread(const Symbols *s, uint64_t offset);

#endif
