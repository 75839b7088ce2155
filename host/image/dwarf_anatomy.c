/* An image's anatomy: debug information first, since it tells numbered statics apart, then
 * fingerprints. Owns the libdw handle for the call; one thread. */
#include "image/anatomy_read.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_read.h"
#include "image/macho_fingerprint.h"

static int by_address_owner(const void *a, const void *b)
{
    const Owner *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->function < y->function) - (x->function > y->function); /* owned ones first */
}

static int by_address_line(const void *a, const void *b)
{
    const Line *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static size_t sort(Buf *list, size_t size, int (*order)(const void *, const void *))
{
    size_t count = list->bytes / size;
    if (count)
        qsort(list->data, count, size, order);
    return count;
}

int dwarf_has_debug(Elf *elf, int *ret_compressed)
{
    int found = 0;
    size_t names;
    GElf_Shdr h;
    if (elf_getshdrstrndx(elf, &names))
        return 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));) {
        const char *name = gelf_getshdr(scn, &h) ? elf_strptr(elf, names, h.sh_name) : NULL;
        if (!name || (strncmp(name, ".debug_", 7) && strncmp(name, ".zdebug_", 8)))
            continue;
        *ret_compressed |= *name && (name[1] == 'z' || h.sh_flags & SHF_COMPRESSED);
        if (!strcmp(name, ".debug_info") || !strcmp(name, ".zdebug_info"))
            found = h.sh_type != SHT_NOBITS;
    }
    return found;
}

/* What it can't read is missing, not an error: the code can be compared without. */
static void read_debug(const void *data, size_t bytes, Reader *r)
{
    Elf *elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_memory((char *)data, bytes);
    void *copy = NULL;
    int compressed = 0, found = elf && elf_kind(elf) == ELF_K_ELF && dwarf_has_debug(elf, &compressed);
    if (found && compressed) {
        elf_end(elf);
        copy = malloc(bytes);
        elf = copy ? elf_memory(memcpy(copy, data, bytes), bytes) : NULL;
        found = elf != NULL;
    }
    if (found) {
        r->dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
        if (r->dwarf)
            r->maker->flags |= ANATOMY_DEBUG;
        if (!r->dwarf || dwarf_read_units(r))
            r->maker->flags |= ANATOMY_DEBUG_BROKEN;
        dwarf_end(r->dwarf);
    }
    if (elf)
        elf_end(elf);
    free(copy);
}

int anatomy_read(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    AnatomyMaker maker = {0};
    if (macho_is(data, bytes)) {
        int bad = macho_fingerprint(data, bytes, &maker, err);
        bad = bad ? bad : anatomy_pack(&maker, ret, room, ret_bytes, err);
        anatomy_maker_done(&maker);
        return bad;
    }
    Reader r = {.maker = &maker};
    read_debug(data, bytes, &r);
    Owners owners = {.count = sort(&r.owners, sizeof(Owner), by_address_owner)};
    Lines lines = {.count = sort(&r.lines, sizeof(Line), by_address_line)};
    owners.list = (const Owner *)r.owners.data;
    lines.list = (const Line *)r.lines.data;
    int rc = r.failed == KEEL_ENOMEM ? err_set(err, r.failed, "no memory for its debug information")
                                     : KEEL_OK;
    rc = rc ? rc : fingerprint_bytes(data, bytes, &owners, &lines, &maker, err);
    rc = rc ? rc : anatomy_pack(&maker, ret, room, ret_bytes, err);
    types_done(&r.types);
    buf_done(&r.owners);
    buf_done(&r.lines);
    buf_done(&r.found);
    buf_done(&r.later);
    anatomy_maker_done(&maker);
    return rc;
}
