/* Inside image/: Mach-O files of macOS, 64-bit and little-endian, alone or as one slice of a
 * universal file: header, load commands, sections. Such an image can be looked at and compared
 * here, never loaded. Pure; bytes of unknown origin; any thread. */
#ifndef IMAGE_MACHO_H
#define IMAGE_MACHO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    MACHO_SEGMENTS = 32,
    MACHO_SECTIONS = 255,
    MACHO_LIBRARIES = 256,
    MACHO_RPATHS = 16,
    MACHO_X86_64 = 0x01000007,
    MACHO_ARM64 = 0x0100000c,
};

/* Of MachoSection.flags: its low byte is a type. */
enum {
    MACHO_TYPE = 0xff,
    MACHO_ZEROFILL = 1,
    MACHO_CSTRINGS = 2,
    MACHO_LITERAL4 = 3,
    MACHO_LITERAL8 = 4,
    MACHO_POINTERS = 6,
    MACHO_LAZY_POINTERS = 7,
    MACHO_STUBS = 8,
    MACHO_INIT_POINTERS = 9,
    MACHO_TERM_POINTERS = 10,
    MACHO_GB_ZEROFILL = 12,
    MACHO_LITERAL16 = 14,
    MACHO_THREAD_DATA = 17,
    MACHO_THREAD_ZEROFILL = 18,
    MACHO_THREAD_VARIABLES = 19,
    MACHO_INIT_OFFSETS = 22,
};
#define MACHO_PURE_CODE 0x80000000u
#define MACHO_SOME_CODE 0x00000400u

typedef struct MachoSegment {
    char name[17];
    uint64_t address, memory_bytes, file_at, file_bytes;
    uint32_t protection; /* 1 read, 2 write, 4 run */
} MachoSegment;

typedef struct MachoSection {
    char segment[17], name[17];
    uint64_t address, bytes;
    const uint8_t *data; /* NULL: zeros */
    uint32_t flags, reserved1, reserved2, relocs;
    int writable;
} MachoSection;

typedef struct MachoRange {
    uint32_t at, bytes;
} MachoRange;

typedef struct Macho {
    const uint8_t *data; /* of the slice */
    size_t bytes;
    uint32_t cpu, cpu_subtype, file_type, flags;
    uint64_t base; /* the header's address */
    int segment_count, section_count, library_count, rpath_count;
    MachoSegment segments[MACHO_SEGMENTS];
    MachoSection sections[MACHO_SECTIONS];
    const char *libraries[MACHO_LIBRARIES]; /* in order of their ordinals, from 1 */
    const char *rpaths[MACHO_RPATHS];
    uint32_t symbols_at, symbol_count, strings_at, string_bytes, indirect_at, indirect_count;
    MachoRange rebase, bind, weak_bind, lazy_bind, exports, chained, starts, data_in_code;
    char uuid[33]; /* hexadecimal, or "" */
    uint32_t platform, min_os, sdk, linker, has_init;
} Macho;

/* One row of the symbol table. */
typedef struct MachoSymbol {
    const char *name; /* never NULL */
    uint64_t value;
    uint8_t type, section; /* n_type, n_sect */
    uint16_t desc;
} MachoSymbol;

enum { MACHO_STAB = 0xe0, MACHO_PRIVATE = 0x10, MACHO_IN = 0x0e, MACHO_EXTERNAL = 1 };
enum { MACHO_UNDEFINED = 0, MACHO_ABSOLUTE = 2, MACHO_DEFINED = 0x0e }; /* of MACHO_IN */
enum { MACHO_SO = 0x64, MACHO_OSO = 0x66 };

/* Does it begin as such files do? */
int macho_is(const void *data, size_t bytes);

/* Of a universal file the slice for `cpu`, else for this machine's kind, else the first 64-bit one;
 * any other file as it is. `cpu` 0: this machine's. KEEL_EUNSUPPORTED when it has none. */
int macho_slice(const void *data, size_t bytes, uint32_t cpu, const uint8_t **ret,
                size_t *ret_bytes, Error *err);

/* Reads the load commands of macho_slice's choice. KEEL_EIMAGE with a sentence. */
int macho_open(const void *data, size_t bytes, Macho *ret, Error *err);

/* `index` is below symbol_count. */
MachoSymbol macho_symbol(const Macho *m, uint32_t index);

/* The symbol that slot `index` of the indirect table stands for; -1: none. */
int64_t macho_indirect(const Macho *m, uint64_t index);

/* The section that holds an address; NULL: none. */
const MachoSection *macho_section(const Macho *m, uint64_t address);

static inline int macho_is_code(const MachoSection *s)
{
    return (s->flags & (MACHO_PURE_CODE | MACHO_SOME_CODE)) != 0;
}

/* "arm64"; of others "another processor". */
const char *macho_cpu_name(uint32_t cpu);

/* A ULEB128 or SLEB128 number; -1 when it doesn't end before `end`. */
int macho_uleb(const uint8_t **at, const uint8_t *end, uint64_t *ret);
int macho_sleb(const uint8_t **at, const uint8_t *end, int64_t *ret);

#endif
