/* What an Image and an Inspection say of a Mach-O file. Owns the tables for a call; bytes of
 * unknown origin; any thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dynamic.h"
#include "image/macho.h"
#include "image/parts.h"

enum { PAGE_BYTES = 4096, HEADER_ALLOWS_STACK = 0x20000 };

static int read_notes(Image *image, const Macho *m, Error *err)
{
    NotesFound found = {0};
    int rc = KEEL_OK;
    for (int i = 0; i < m->section_count && !rc; i++) {
        const MachoSection *s = &m->sections[i];
        if (!strcmp(s->segment, "__TEXT") && !strcmp(s->name, "__keel_note") && s->data)
            rc = notes_read(image, (uint64_t)(s->data - image->data), s->bytes, 4, &found, err);
    }
    if (!rc && !found.modules)
        rc = err_set(err, KEEL_EIMAGE,
                     "it is a shared library but not a Keel module: its KEEL_MODULE line is "
                     "missing, or the linker dropped the note that it makes");
    return rc;
}

static void take_segments(Image *image, const Macho *m)
{
    for (int i = 0; i < m->segment_count && image->load_count < IMAGE_LOADS_MAX; i++) {
        const MachoSegment *s = &m->segments[i];
        uint64_t last = s->address + s->memory_bytes + PAGE_BYTES - 1;
        if (!s->memory_bytes || !strcmp(s->name, "__LINKEDIT"))
            continue;
        if (!image->load_count || s->address < image->span_first)
            image->span_first = s->address & ~(uint64_t)(PAGE_BYTES - 1);
        if (last > image->span_last)
            image->span_last = last & ~(uint64_t)(PAGE_BYTES - 1);
        image->loads[image->load_count++] =
            (ImageLoad){.address = s->address,
                        .memory_bytes = s->memory_bytes,
                        .file_offset = s->file_at,
                        .file_bytes = s->file_bytes,
                        .flags = (s->protection & 1 ? 4u : 0) | (s->protection & 2) |
                                 (s->protection & 4 ? 1u : 0)}; /* PF_R, PF_W, PF_X */
    }
}

int image_read_macho(Image *image, Error *err)
{
    Macho *m = malloc(sizeof *m);
    if (!m)
        return err_set(err, KEEL_ENOMEM, "no memory to read it");
    int rc = macho_open(image->data, image->bytes, m, err);
    rc = rc ? rc : read_notes(image, m, err);
    if (!rc) {
        memcpy(image->build_id, m->uuid, sizeof m->uuid);
        take_segments(image, m);
    }
    free(m);
    return rc;
}

/* ---- inspection ---- */

static void add_item(InspectList *list, const char *text, size_t bytes)
{
    if (list->count < INSPECT_LIST)
        inspect_copy(list->item[list->count], INSPECT_TEXT, (const uint8_t *)text, bytes);
    list->count++;
}

/* The linker's names have one more underscore than the source's. */
static const char *plain(const char *name)
{
    return *name == '_' ? name + 1 : name;
}

static void note_library(Inspection *ret, const char *path)
{
    static const struct {
        const char *part;
        uint32_t which;
    } KNOWN[] = {{"clang_rt.asan", 1}, {"clang_rt.tsan", 2}, {"clang_rt.ubsan", 3}};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strstr(path, KNOWN[i].part))
            ret->sanitizer = KNOWN[i].which;
    add_item(&ret->needed, path, strlen(path));
}

static void read_symbols(const Macho *m, Inspection *ret)
{
    for (uint32_t i = 0; i < m->symbol_count; i++) {
        MachoSymbol s = macho_symbol(m, i);
        const char *name = plain(s.name);
        size_t bytes = strlen(name);
        if (s.type & MACHO_STAB) {
            ret->has_debug |= s.type == MACHO_OSO;
            continue;
        }
        if ((s.type & MACHO_IN) == MACHO_DEFINED)
            ret->has_symtab = 1;
        if (!strcmp(name, "keel_shim_heap"))
            ret->has_shim = 1;
        if (!(s.type & MACHO_EXTERNAL) || s.type & MACHO_PRIVATE)
            continue;
        if ((s.type & MACHO_IN) == MACHO_UNDEFINED) {
            add_item(&ret->undefined, name, bytes);
        } else {
            ret->exports_module |= !strcmp(name, "keel_module");
            add_item(&ret->exported, name, bytes);
        }
    }
}

static void read_sections(const Macho *m, Inspection *ret)
{
    for (int i = 0; i < m->section_count; i++) {
        const MachoSection *s = &m->sections[i];
        switch (s->flags & MACHO_TYPE) {
        case MACHO_INIT_POINTERS:
            ret->constructors += (uint32_t)(s->bytes / 8);
            break;
        case MACHO_INIT_OFFSETS:
            ret->constructors += (uint32_t)(s->bytes / 4);
            break;
        case MACHO_TERM_POINTERS:
            ret->destructors += (uint32_t)(s->bytes / 8);
            break;
        case MACHO_THREAD_DATA:
        case MACHO_THREAD_ZEROFILL:
            ret->tls_bytes += (uint32_t)s->bytes;
            break;
        case MACHO_LAZY_POINTERS:
            ret->bind_now &= !s->bytes;
            break;
        default:
            break;
        }
        if (!strcmp(s->segment, "__TEXT") && s->relocs)
            ret->text_relocations = 1;
    }
    for (int i = 0; i < m->segment_count; i++)
        ret->writable_code |= (m->segments[i].protection & 6) == 6;
    ret->constructors += m->has_init;
}

static void tell_platform(const Macho *m, Inspection *ret)
{
    static const char *const NAMES[] = {"",        "macOS",    "iOS",          "tvOS",
                                        "watchOS", "bridgeOS", "Mac Catalyst", "iOS simulator"};
    const char *name = m->platform < sizeof NAMES / sizeof *NAMES ? NAMES[m->platform] : "";
    char linker[40] = "";
    if (m->linker)
        snprintf(linker, sizeof linker, ", linked by %u.%u.%u", m->linker >> 16,
                 m->linker >> 8 & 0xff, m->linker & 0xff);
    snprintf(ret->compiler, sizeof ret->compiler, "for %s %u.%u on %s%s",
             *name ? name : "an unknown system", m->min_os >> 16, m->min_os >> 8 & 0xff,
             macho_cpu_name(m->cpu), linker);
}

int inspect_macho(const void *data, size_t bytes, Inspection *ret, Error *err)
{
    Macho *m = malloc(sizeof *m);
    if (!m)
        return err_set(err, KEEL_ENOMEM, "no memory to read it");
    int rc = macho_open(data, bytes, m, err);
    if (!rc) {
        memset(ret, 0, sizeof *ret);
        ret->bind_now = 1;
        ret->has_relocs = 1; /* its fixups and the code itself tell */
        for (int i = 0; i < m->library_count; i++)
            note_library(ret, m->libraries[i]);
        for (int i = 0; i < m->rpath_count; i++) {
            size_t at = strlen(ret->runpath);
            if (at + 2 >= sizeof ret->runpath)
                break;
            if (at)
                ret->runpath[at++] = ':';
            inspect_copy(ret->runpath + at, sizeof ret->runpath - at, (const uint8_t *)m->rpaths[i],
                         strlen(m->rpaths[i]));
        }
        read_symbols(m, ret);
        read_sections(m, ret);
        tell_platform(m, ret);
        ret->executable_stack = (m->flags & HEADER_ALLOWS_STACK) != 0;
    }
    free(m);
    return rc;
}
