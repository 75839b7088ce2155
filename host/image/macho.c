/* Mach-O: what a file is, which slice of it, and its load commands. Owns nothing; bytes of unknown
 * origin; any thread. */
#include "image/macho.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "image/parts.h"

enum {
    MAGIC_64 = 0xfeedfacf,
    MAGIC_FAT = 0xbebafeca,    /* as read on this byte order */
    MAGIC_FAT_64 = 0xbfbafeca, /* the same with 64-bit offsets */
    HEAD_BYTES = 32,
    COMMANDS_MAX = 4096,
    SLICES_MAX = 32,
    TYPE_DYLIB = 6,
};

enum {
    LC_SYMTAB = 2,
    LC_DYSYMTAB = 0xb,
    LC_LOAD_DYLIB = 0xc,
    LC_SEGMENT_64 = 0x19,
    LC_ROUTINES_64 = 0x1a,
    LC_UUID = 0x1b,
    LC_LAZY_LOAD_DYLIB = 0x20,
    LC_ENCRYPTION_INFO = 0x21,
    LC_DYLD_INFO = 0x22,
    LC_VERSION_MIN_MACOSX = 0x24,
    LC_FUNCTION_STARTS = 0x26,
    LC_DATA_IN_CODE = 0x29,
    LC_ENCRYPTION_INFO_64 = 0x2c,
    LC_BUILD_VERSION = 0x32,
};
#define LC_REQUIRED 0x80000000u
#define LC_LOAD_WEAK_DYLIB 0x80000018u
#define LC_RPATH 0x8000001cu
#define LC_REEXPORT_DYLIB 0x8000001fu
#define LC_DYLD_INFO_ONLY 0x80000022u
#define LC_LOAD_UPWARD_DYLIB 0x80000023u
#define LC_DYLD_EXPORTS_TRIE 0x80000033u
#define LC_DYLD_CHAINED_FIXUPS 0x80000034u

#if defined(__aarch64__)
enum { OWN_CPU = MACHO_ARM64 };
#else
enum { OWN_CPU = MACHO_X86_64 };
#endif

static uint32_t u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t big32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

const char *macho_cpu_name(uint32_t cpu)
{
    return cpu == MACHO_X86_64 ? "x86-64" : cpu == MACHO_ARM64 ? "arm64" : "another processor";
}

/* A Java class begins as a universal file does; there a version stands where the count is. */
static int is_fat(const uint8_t *data, size_t bytes)
{
    return bytes >= 8 && (u32(data) == MAGIC_FAT || u32(data) == MAGIC_FAT_64) &&
           big32(data + 4) < SLICES_MAX;
}

int macho_is(const void *data, size_t bytes)
{
    return (bytes >= 4 && u32(data) == MAGIC_64) || is_fat(data, bytes);
}

int macho_refuse(const uint8_t *data, size_t bytes, Error *err)
{
    if (bytes < 8)
        return KEEL_OK;
    switch (u32(data)) {
    case MAGIC_64:
        return err_set(err, KEEL_EUNSUPPORTED,
                       "it is a Mach-O file for macOS on %s: this host runs Linux: build it here",
                       macho_cpu_name(u32(data + 4)));
    case 0xfeedfaceu:
    case 0xcefaedfeu:
    case 0xcffaedfeu:
        return err_set(err, KEEL_EUNSUPPORTED,
                       "it is a Mach-O file, 32-bit or of another byte order: build it here");
    case MAGIC_FAT:
    case MAGIC_FAT_64:
        if (is_fat(data, bytes))
            return err_set(
                err, KEEL_EUNSUPPORTED,
                "it is a universal Mach-O file for macOS: this host runs Linux: build it here");
        return err_set(err, KEEL_EIMAGE, "it is a Java class, not a built module");
    default:
        return KEEL_OK;
    }
}

int macho_slice(const void *data, size_t bytes, uint32_t cpu, const uint8_t **ret,
                size_t *ret_bytes, Error *err)
{
    const uint8_t *file = data, *best = NULL;
    size_t best_bytes = 0;
    int best_rank = 0;
    if (!is_fat(file, bytes)) {
        *ret = file;
        *ret_bytes = bytes;
        return KEEL_OK;
    }
    int wide = u32(file) == MAGIC_FAT_64;
    uint32_t count = big32(file + 4), row_bytes = wide ? 32 : 20;
    if (bytes < 8 + (uint64_t)count * row_bytes)
        return err_set(err, KEEL_EIMAGE, "its list of processors is cut off: build it again");
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *row = file + 8 + i * row_bytes;
        uint32_t kind = big32(row);
        uint64_t at = wide ? (uint64_t)big32(row + 8) << 32 | big32(row + 12) : big32(row + 8);
        uint64_t size = wide ? (uint64_t)big32(row + 16) << 32 | big32(row + 20) : big32(row + 12);
        if (at > bytes || size > bytes - at)
            return err_set(err, KEEL_EIMAGE,
                           "its part for %s lies outside the file: build it again",
                           macho_cpu_name(kind));
        int rank = kind == cpu                                             ? 3
                   : cpu                                                   ? 0
                   : kind == OWN_CPU                                       ? 2
                   : kind == MACHO_X86_64 || kind == (uint32_t)MACHO_ARM64 ? 1
                                                                           : 0;
        if (rank > best_rank) {
            best = file + at;
            best_bytes = (size_t)size;
            best_rank = rank;
        }
    }
    if (!best)
        return err_set(err, KEEL_EUNSUPPORTED, "it has no part for %s",
                       cpu ? macho_cpu_name(cpu) : "x86-64 or arm64");
    *ret = best;
    *ret_bytes = best_bytes;
    return KEEL_OK;
}

/* ---- load commands ---- */

typedef struct Reader {
    Macho *m;
    Error *err;
} Reader;

static int damaged(const Reader *r, const char *what)
{
    return err_set(r->err, KEEL_EIMAGE, "%s: it is damaged: build it again", what);
}

static int inside(const Macho *m, uint64_t at, uint64_t bytes)
{
    return at <= m->bytes && bytes <= m->bytes - at;
}

/* At most 16 characters, not always ended. */
static void take_name(char to[17], const uint8_t *from)
{
    memcpy(to, from, 16);
    to[16] = 0;
}

static int take_section(Reader *r, const uint8_t *row, const MachoSegment *segment)
{
    Macho *m = r->m;
    if (m->section_count == MACHO_SECTIONS)
        return damaged(r, "it has more than 255 sections");
    MachoSection *s = &m->sections[m->section_count];
    take_name(s->name, row);
    take_name(s->segment, row + 16);
    s->address = u64(row + 32);
    s->bytes = u64(row + 40);
    s->relocs = u32(row + 60);
    s->flags = u32(row + 64);
    s->reserved1 = u32(row + 68);
    s->reserved2 = u32(row + 72);
    s->writable = (segment->protection & 2) != 0;
    uint32_t type = s->flags & MACHO_TYPE, at = u32(row + 48);
    int zeros =
        type == MACHO_ZEROFILL || type == MACHO_GB_ZEROFILL || type == MACHO_THREAD_ZEROFILL;
    if (s->address < segment->address || s->bytes > segment->memory_bytes ||
        s->address - segment->address > segment->memory_bytes - s->bytes)
        return damaged(r, "a section lies outside its segment");
    if (!zeros && s->bytes) {
        if (!inside(m, at, s->bytes) || at < segment->file_at ||
            at - segment->file_at != s->address - segment->address)
            return damaged(r, "a section lies outside the file");
        s->data = m->data + at;
    }
    m->section_count++;
    return KEEL_OK;
}

static int take_segment(Reader *r, const uint8_t *c, uint32_t bytes)
{
    Macho *m = r->m;
    if (bytes < 72 || m->segment_count == MACHO_SEGMENTS)
        return damaged(r, "it has too many segments, or one is cut off");
    MachoSegment *s = &m->segments[m->segment_count];
    take_name(s->name, c + 8);
    s->address = u64(c + 24);
    s->memory_bytes = u64(c + 32);
    s->file_at = u64(c + 40);
    s->file_bytes = u64(c + 48);
    s->protection = u32(c + 60);
    uint32_t count = u32(c + 64);
    if (!inside(m, s->file_at, s->file_bytes) || s->file_bytes > s->memory_bytes ||
        s->address > UINT64_MAX / 2 || s->memory_bytes > UINT64_MAX / 4)
        return damaged(r, "a segment lies outside the file, or at an absurd address");
    for (int i = 0; i < m->segment_count; i++)
        if (s->memory_bytes && s->address < m->segments[i].address + m->segments[i].memory_bytes &&
            m->segments[i].address < s->address + s->memory_bytes)
            return damaged(r, "its segments overlap");
    if (!s->file_at && s->file_bytes)
        m->base = s->address;
    if (count > (bytes - 72) / 80)
        return damaged(r, "a segment has more sections than fit into it");
    int rc = KEEL_OK;
    for (uint32_t i = 0; i < count && !rc; i++)
        rc = take_section(r, c + 72 + i * 80, s);
    m->segment_count++;
    return rc;
}

/* A text at an offset that the command names, ended inside of it. */
static int take_text(Reader *r, const uint8_t *c, uint32_t bytes, const char **list, int *count,
                     int most)
{
    uint32_t at = bytes >= 12 ? u32(c + 8) : bytes;
    if (at >= bytes || !memchr(c + at, 0, bytes - at))
        return damaged(r, "a name in its load commands has no end");
    if (*count == most)
        return damaged(r, "it names too many libraries");
    list[(*count)++] = (const char *)c + at;
    return KEEL_OK;
}

static int take_range(Reader *r, const uint8_t *c, MachoRange *ret)
{
    MachoRange range = {u32(c), u32(c + 4)};
    if (!inside(r->m, range.at, range.bytes))
        return damaged(r, "what its load commands name lies outside the file");
    *ret = range;
    return KEEL_OK;
}

static int take_dyld_info(Reader *r, const uint8_t *c)
{
    Macho *m = r->m;
    int rc = take_range(r, c + 8, &m->rebase);
    rc = rc ? rc : take_range(r, c + 16, &m->bind);
    rc = rc ? rc : take_range(r, c + 24, &m->weak_bind);
    rc = rc ? rc : take_range(r, c + 32, &m->lazy_bind);
    return rc ? rc : take_range(r, c + 40, &m->exports);
}

static int take_symtab(Reader *r, const uint8_t *c)
{
    Macho *m = r->m;
    m->symbols_at = u32(c + 8);
    m->symbol_count = u32(c + 12);
    m->strings_at = u32(c + 16);
    m->string_bytes = u32(c + 20);
    if (!inside(m, m->symbols_at, (uint64_t)m->symbol_count * 16) ||
        !inside(m, m->strings_at, m->string_bytes) ||
        (m->string_bytes && m->data[m->strings_at + m->string_bytes - 1]))
        return damaged(r, "its symbols lie outside the file");
    return KEEL_OK;
}

static int take_indirect(Reader *r, const uint8_t *c)
{
    r->m->indirect_at = u32(c + 56);
    r->m->indirect_count = u32(c + 60);
    if (!inside(r->m, r->m->indirect_at, (uint64_t)r->m->indirect_count * 4))
        return damaged(r, "its symbols lie outside the file");
    return KEEL_OK;
}

static void take_build(Macho *m, const uint8_t *c, uint32_t bytes)
{
    m->platform = u32(c + 8);
    m->min_os = u32(c + 12);
    m->sdk = u32(c + 16);
    uint32_t tools = u32(c + 20);
    for (uint32_t i = 0; i < tools && 24 + (i + 1) * 8 <= bytes && i < 16; i++)
        if (u32(c + 24 + i * 8) == 3 || u32(c + 24 + i * 8) == 4) /* ld, lld */
            m->linker = u32(c + 28 + i * 8);
}

static int take_command(Reader *r, const uint8_t *c, uint32_t kind, uint32_t bytes)
{
    static const struct {
        uint32_t kind, bytes;
    } LEAST[] = {{LC_SYMTAB, 24},
                 {LC_DYSYMTAB, 80},
                 {LC_UUID, 24},
                 {LC_DYLD_INFO, 48},
                 {LC_DYLD_INFO_ONLY, 48},
                 {LC_FUNCTION_STARTS, 16},
                 {LC_DATA_IN_CODE, 16},
                 {LC_DYLD_CHAINED_FIXUPS, 16},
                 {LC_DYLD_EXPORTS_TRIE, 16},
                 {LC_BUILD_VERSION, 24},
                 {LC_VERSION_MIN_MACOSX, 16},
                 {LC_ENCRYPTION_INFO, 20},
                 {LC_ENCRYPTION_INFO_64, 20}};
    Macho *m = r->m;
    for (size_t i = 0; i < sizeof LEAST / sizeof *LEAST; i++)
        if (kind == LEAST[i].kind && bytes < LEAST[i].bytes)
            return damaged(r, "one of its load commands is cut off");
    switch (kind) {
    case LC_SEGMENT_64:
        return take_segment(r, c, bytes);
    case LC_SYMTAB:
        return take_symtab(r, c);
    case LC_DYSYMTAB:
        return take_indirect(r, c);
    case LC_LOAD_DYLIB:
    case LC_LAZY_LOAD_DYLIB:
    case LC_LOAD_WEAK_DYLIB:
    case LC_REEXPORT_DYLIB:
    case LC_LOAD_UPWARD_DYLIB:
        return take_text(r, c, bytes, m->libraries, &m->library_count, MACHO_LIBRARIES);
    case LC_RPATH:
        return take_text(r, c, bytes, m->rpaths, &m->rpath_count, MACHO_RPATHS);
    case LC_UUID:
        hex_text(c + 8, 16, m->uuid);
        return KEEL_OK;
    case LC_DYLD_INFO:
    case LC_DYLD_INFO_ONLY:
        return take_dyld_info(r, c);
    case LC_FUNCTION_STARTS:
        return take_range(r, c + 8, &m->starts);
    case LC_DATA_IN_CODE:
        return take_range(r, c + 8, &m->data_in_code);
    case LC_DYLD_CHAINED_FIXUPS:
        return take_range(r, c + 8, &m->chained);
    case LC_DYLD_EXPORTS_TRIE:
        return take_range(r, c + 8, &m->exports);
    case LC_BUILD_VERSION:
        take_build(m, c, bytes);
        return KEEL_OK;
    case LC_VERSION_MIN_MACOSX:
        m->platform = 1;
        m->min_os = u32(c + 8);
        m->sdk = u32(c + 12);
        return KEEL_OK;
    case LC_ROUTINES_64:
        m->has_init = 1;
        return KEEL_OK;
    case LC_ENCRYPTION_INFO:
    case LC_ENCRYPTION_INFO_64:
        if (u32(c + 16))
            return err_set(r->err, KEEL_EIMAGE, "its code is encrypted, so it can't be read");
        return KEEL_OK;
    default:
        return KEEL_OK;
    }
}

static int read_commands(Reader *r)
{
    Macho *m = r->m;
    uint32_t count = u32(m->data + 16), bytes = u32(m->data + 20), at = HEAD_BYTES;
    if (count > COMMANDS_MAX || bytes > m->bytes - HEAD_BYTES)
        return damaged(r, "its load commands are cut off");
    uint32_t end = HEAD_BYTES + bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (end - at < 8)
            return damaged(r, "its load commands are cut off");
        uint32_t kind = u32(m->data + at), size = u32(m->data + at + 4);
        if (size < 8 || size % 4 || size > end - at)
            return damaged(r, "one of its load commands is cut off");
        int rc = take_command(r, m->data + at, kind, size);
        if (rc)
            return rc;
        at += size;
    }
    return KEEL_OK;
}

int macho_open(const void *data, size_t bytes, Macho *ret, Error *err)
{
    memset(ret, 0, sizeof *ret);
    Reader r = {.m = ret, .err = err};
    int rc = macho_slice(data, bytes, 0, &ret->data, &ret->bytes, err);
    if (rc)
        return rc;
    if (ret->bytes < HEAD_BYTES || u32(ret->data) != MAGIC_64)
        return err_set(err, KEEL_EIMAGE, "it is cut short, or no 64-bit Mach-O file");
    ret->cpu = u32(ret->data + 4);
    ret->cpu_subtype = u32(ret->data + 8) & 0xffffff;
    ret->file_type = u32(ret->data + 12);
    ret->flags = u32(ret->data + 24);
    if (ret->cpu != MACHO_X86_64 && ret->cpu != (uint32_t)MACHO_ARM64)
        return err_set(err, KEEL_EUNSUPPORTED, "it is for a processor that isn't read here");
    rc = read_commands(&r);
    if (!rc && ret->file_type != TYPE_DYLIB && ret->file_type != 8 /* a bundle */)
        return err_set(err, KEEL_EIMAGE, "it is %s, not a shared library: link it with -dynamiclib",
                       ret->file_type == 1   ? "an object file (.o)"
                       : ret->file_type == 2 ? "a program"
                                             : "another kind of Mach-O file");
    return rc;
}

/* ---- tables ---- */

MachoSymbol macho_symbol(const Macho *m, uint32_t index)
{
    const uint8_t *row = m->data + m->symbols_at + (size_t)index * 16;
    uint32_t name = u32(row);
    return (MachoSymbol){
        .name = name < m->string_bytes ? (const char *)m->data + m->strings_at + name : "",
        .type = row[4],
        .section = row[5],
        .desc = (uint16_t)(row[6] | row[7] << 8),
        .value = u64(row + 8)};
}

int64_t macho_indirect(const Macho *m, uint64_t index)
{
    if (index >= m->indirect_count)
        return -1;
    uint32_t symbol = u32(m->data + m->indirect_at + index * 4);
    return symbol < m->symbol_count ? (int64_t)symbol : -1;
}

const MachoSection *macho_section(const Macho *m, uint64_t address)
{
    for (int i = 0; i < m->section_count; i++)
        if (address - m->sections[i].address < m->sections[i].bytes)
            return &m->sections[i];
    return NULL;
}

int macho_uleb(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return 0;
        }
    }
    return -1;
}

int macho_sleb(const uint8_t **at, const uint8_t *end, int64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end;) {
        uint8_t byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if (shift < 64 && byte & 0x40)
                value |= ~UINT64_C(0) << shift;
            *ret = (int64_t)value;
            return 0;
        }
    }
    return -1;
}
