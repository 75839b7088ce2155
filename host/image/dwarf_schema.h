/* Inside image/: how a schema is read from debug information. Bytes of unknown origin, meant for a
 * process under limits; one thread. Not part of libkeel-core. */
#ifndef IMAGE_DWARF_SCHEMA_H
#define IMAGE_DWARF_SCHEMA_H

#include <gelf.h>

#include "image/dwarf_dies.h"
#include "image/schema.h"

/* Numbers by key; key 0 is none. */
typedef struct SchemaMap {
    struct SchemaMapSlot {
        uint64_t key;
        uint32_t value;
    } * slots;
    size_t room, used;
} SchemaMap;

typedef struct SchemaReader {
    const Dies *dies;
    SchemaMaker out;
    uint32_t *types;  /* by index of the DIE: index + 1; 0: not read yet */
    SchemaMap texts;  /* by hash: offset in strings */
    uint32_t *scopes; /* by index of the DIE: text of the scopes around it */
    Buf pending;      /* pointers whose target is not read yet */
    int depth, steps;
    int failed;     /* KEEL_E… */
    int reads_code; /* something of it was looked up among the code's bytes */
    /* Of the unit being read: */
    uint32_t unit;
    int is_cxx;
} SchemaReader;

void schema_fail(SchemaReader *r, int code);
uint32_t schema_intern(SchemaReader *r, const char *text);
int schema_map_get(const SchemaMap *map, uint64_t key, uint32_t *ret);
/* KEEL_ENOMEM; takes the place of what is there. */
int schema_map_put(SchemaMap *map, uint64_t key, uint32_t value);
void schema_map_done(SchemaMap *map);

/* dwarf_schema_types.c */
uint32_t schema_type(SchemaReader *r, uint32_t die);
/* What DW_AT_type of `d` means; 0: void. */
uint32_t schema_type_of(SchemaReader *r, const Die *d);
void schema_type_name(SchemaReader *r, const char *text, uint32_t type);
/* Reads what pointers point to. */
void schema_types_pending(SchemaReader *r);

/* dwarf_schema_finish.c: names, hashes, one of each. */
void schema_finish(SchemaReader *r);

/* dwarf_schema_units.c */
void schema_units(SchemaReader *r);

/* dwarf_schema_elf.c: places, initialisers, symbols, renames; `elf` of the running image. */
void schema_elf(SchemaReader *r, Elf *elf);

/* Of the running image. */
typedef struct SchemaSection {
    GElf_Shdr head;
    const uint8_t *data; /* NULL: nothing in the file */
    uint32_t place;
} SchemaSection;

typedef struct SchemaSections {
    SchemaSection *list;
    size_t count;
} SchemaSections;

/* Lists whose entries begin with an address. */
void schema_sort(Buf *list, size_t size);

/* dwarf_schema_unions.c: a KEEL_UNION note, looked up in the types, which are finished. */
void schema_take_union(SchemaReader *r, const char *desc, size_t bytes);
/* The same of KEEL_CONVERT. */
void schema_take_hook(SchemaReader *r, const char *desc, size_t bytes);

/* dwarf_schema_links.c */
void schema_links(SchemaReader *r, Elf *elf, const SchemaSections *sections);
void schema_place_statics(SchemaReader *r, const SchemaSections *sections);

/* The function around a static where the compiler left only a shell of it, as clang does of what it
 * inlined everywhere; symbols may tell. */
#define SCHEMA_INLINED "(inlined)"

#define SCHEMA_LIST(buf, T) ((T *)(void *)(buf).data)
#define SCHEMA_COUNT(buf, T) ((buf).bytes / sizeof(T))

#endif
