/* Proves a loaded image: place, pages, table. Owns nothing; changes only the generation it was
 * given. The loader's thread, or the trial's child. */
#include "module/verify.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fault/guard.h"
#include "module/loader.h"
#include "module/maps.h"

static uintptr_t page_down(uintptr_t address)
{
    return address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

static void add_static(Generation *g, uintptr_t first, uintptr_t last)
{
    if (first >= last || g->static_count == GENERATION_STATICS)
        return;
    g->statics[g->static_count++] = (StateSpan){.address = (void *)first, .bytes = last - first};
}

/* Writable segments without RELRO, which nobody may write any more. The loader protects whole pages
 * only, its end rounded down. */
static void find_statics(Generation *g)
{
    const Image *image = g->image;
    uintptr_t relro_first = page_down(g->load_bias + image->relro_first);
    uintptr_t relro_last = page_down(g->load_bias + image->relro_last);
    for (int i = 0; i < image->load_count; i++) {
        const ImageLoad *load = &image->loads[i];
        if (!(load->flags & PF_W))
            continue;
        uintptr_t first = g->load_bias + load->address;
        uintptr_t last = first + load->memory_bytes;
        if (relro_last <= first || relro_first >= last) {
            add_static(g, first, last);
            continue;
        }
        add_static(g, first, relro_first);
        add_static(g, relro_last, last);
    }
}

int verify_place(Generation *g, Error *err)
{
    struct link_map *map = NULL;
    if (dlinfo(g->handle, RTLD_DI_LINKMAP, &map) || !map)
        return err_set(err, KEEL_ELOAD, "the loader doesn't tell where it put %s: %s",
                       g->image->path, dlerror());
    if (strcmp(map->l_name, g->staged) != 0)
        return err_set(err, KEEL_ELOAD,
                       "the loader gave %s instead of %s: an image of the same file was loaded",
                       map->l_name, g->staged);
    g->load_bias = map->l_addr;
    g->load_first = map->l_addr + g->image->span_first;
    g->load_last = map->l_addr + g->image->span_last;
    g->static_count = 0;
    find_statics(g);
    return KEEL_OK;
}

typedef struct Proof {
    const Generation *generation;
    struct stat stat;
    uintptr_t next[IMAGE_LOADS_MAX]; /* a segment's pages are proven up to here */
    Error *err;
} Proof;

static int prove_entry(const MapEntry *entry, void *user)
{
    Proof *proof = user;
    const Generation *g = proof->generation;
    if (entry->last <= g->load_first)
        return 0;
    if (entry->first >= g->load_last)
        return 0;
    int ours = entry->inode == proof->stat.st_ino && entry->major == major(proof->stat.st_dev) &&
               entry->minor == minor(proof->stat.st_dev);
    if (entry->inode && !ours)
        return err_set(proof->err, KEEL_ELOAD,
                       "%s: another file (inode %llu) is mapped inside its range at %#lx",
                       g->image->path, (unsigned long long)entry->inode,
                       (unsigned long)entry->first);
    if (ours && entry->access[3] != 'p')
        return err_set(proof->err, KEEL_ELOAD, "%s is mapped shared at %#lx", g->image->path,
                       (unsigned long)entry->first);
    if (entry->access[1] == 'w' && entry->access[2] == 'x')
        return err_set(proof->err, KEEL_ELOAD,
                       "%s has memory that is both writable and executable at %#lx", g->image->path,
                       (unsigned long)entry->first);
    for (int i = 0; ours && i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t next = proof->next[i];
        if (next < entry->first || next >= entry->last)
            continue;
        uint64_t here = entry->file_offset + (next - entry->first);
        uint64_t due =
            page_down(load->file_offset) + (next - page_down(g->load_bias + load->address));
        if (here == due)
            proof->next[i] = entry->last;
    }
    return 0;
}

/* A debugger that waits for breakpoints in this source has put them in as soon as it was mapped. */
static int differs_by_breakpoints(const uint8_t *mapped, const uint8_t *file, uint64_t bytes)
{
#if defined(__x86_64__) || defined(__i386__)
    enum { INT3 = 0xcc };
    if (!guard_debugger())
        return 0;
    for (uint64_t i = 0; i < bytes; i++)
        if (mapped[i] != file[i] && mapped[i] != INT3)
            return 0;
    return 1;
#else
    (void)mapped, (void)file, (void)bytes;
    return 0;
#endif
}

int verify_mapped(const Generation *g, Error *err)
{
    Proof proof = {.generation = g, .err = err};
    if (fstat(g->image->memfd, &proof.stat))
        return err_set(err, KEEL_ELOAD, "%s: its sealed copy is gone", g->image->path);
    for (int i = 0; i < g->image->load_count; i++)
        proof.next[i] = page_down(g->load_bias + g->image->loads[i].address);
    int rc = maps_each(prove_entry, &proof, err);
    if (rc)
        return rc;
    for (int i = 0; i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t first = g->load_bias + load->address;
        if (load->file_bytes && proof.next[i] < first + load->file_bytes)
            return err_set(err, KEEL_ELOAD,
                           "%s: the pages at %#lx are not those of the image that was checked",
                           g->image->path, (unsigned long)proof.next[i]);
        if (!(load->flags & PF_X) || load->flags & PF_W)
            continue;
        const uint8_t *mapped = (const uint8_t *)first, *file = g->image->data + load->file_offset;
        if (memcmp(mapped, file, load->file_bytes) != 0 &&
            !differs_by_breakpoints(mapped, file, load->file_bytes))
            return err_set(err, KEEL_ELOAD,
                           "%s: its code in memory differs from the image that was checked (text "
                           "relocations?): build it with -fPIC",
                           g->image->path);
    }
    return KEEL_OK;
}

int verify_inside(const Generation *g, uintptr_t address, uint64_t count, uint32_t flags)
{
    for (int i = 0; i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t first = g->load_bias + load->address;
        if ((load->flags & flags) == flags && address >= first && count <= load->memory_bytes &&
            address - first <= load->memory_bytes - count)
            return 1;
    }
    return 0;
}

static int check_text(const Generation *g, const char *what, const char *text, Error *err)
{
    for (uintptr_t at = (uintptr_t)text; at - (uintptr_t)text < IMAGE_NAME_BYTES; at++) {
        if (!verify_inside(g, at, 1, PF_R))
            break;
        if (!*(const char *)at)
            return KEEL_OK;
    }
    return err_set(err, KEEL_EIMAGE, "%s: the %s in its table is not a text inside the image",
                   g->image->path, what);
}

int verify_table(Generation *g, Error *err)
{
    const struct keel_module *table = dlsym(g->handle, KEEL_SYMBOL);
    const char *path = g->image->path;
    if (!table)
        return err_set(err, KEEL_EIMAGE,
                       "%s does not export " KEEL_SYMBOL
                       ": put KEEL_MODULE into one of its source files and don't strip it",
                       path);
    uint64_t head = offsetof(struct keel_module, start);
    if ((uintptr_t)table % _Alignof(struct keel_module) ||
        !verify_inside(g, (uintptr_t)table, head, PF_R))
        return err_set(err, KEEL_EIMAGE,
                       "%s: " KEEL_SYMBOL " lies outside the image: a library that it names "
                       "defines it too",
                       path);
    if (!verify_inside(g, (uintptr_t)table, table->size, PF_R))
        return err_set(err, KEEL_EIMAGE,
                       "%s: " KEEL_SYMBOL " says that it has %u bytes, but the image ends before: "
                       "let KEEL_MODULE make the table",
                       path, table->size);
    int rc = check_text(g, "name", table->name, err);
    if (!rc)
        rc = check_text(g, "version", table->version, err);
    if (!rc)
        rc = table_check(table, g->image, err);
    if (rc)
        return rc;
#define ENTRY(name)                                               \
    {                                                             \
#name, KEEL_HAS(table, name) ? (uintptr_t)table->name : 0 \
    }
    const struct {
        const char *name;
        uintptr_t address;
    } entries[] = {ENTRY(start), ENTRY(frame),   ENTRY(event), ENTRY(stop),
                   ENTRY(save),  ENTRY(restore), ENTRY(work)};
#undef ENTRY
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (entries[i].address && !verify_inside(g, entries[i].address, 1, PF_X))
            return err_set(err, KEEL_EIMAGE, "%s: its entry `%s` points to %#lx, outside its code",
                           path, entries[i].name, (unsigned long)entries[i].address);
    g->table = table;
    return KEEL_OK;
}
