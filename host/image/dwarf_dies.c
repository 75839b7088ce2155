/* Opens the debug information of an image: its sections, unpacked where they were packed, and the
 * list of DIEs that dwarf_tree.c makes of them. Owns what Dies says; one thread. */
#include "image/dwarf_dies.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/dwarf_tree.h"

static const char *const NAMES[DIES_SECTIONS] = {"info",   "types",    "abbrev",      "str",
                                                 "line",   "line_str", "str_offsets", "addr",
                                                 "ranges", "rnglists"};

/* Which of the sections this is; -1: none. `*ret_old`: packed as GNU tools once did, ".zdebug_…".
 */
static int which(const char *name, int *ret_old)
{
    if (!name || *name != '.')
        return -1;
    *ret_old = name[1] == 'z';
    name += 1 + *ret_old;
    if (strncmp(name, "debug_", 6))
        return -1;
    for (int i = 0; i < DIES_SECTIONS; i++)
        if (!strcmp(name + 6, NAMES[i]))
            return i;
    return -1;
}

typedef struct Found {
    Elf_Scn *scn;
    int is_packed, is_old;
} Found;

/* 1 when one is packed. */
static int find(Elf *elf, Found *found)
{
    size_t names;
    int packed = 0;
    if (elf_getshdrstrndx(elf, &names))
        return 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));) {
        GElf_Shdr h;
        int is_old = 0;
        int i = gelf_getshdr(scn, &h) ? which(elf_strptr(elf, names, h.sh_name), &is_old) : -1;
        if (i < 0 || h.sh_type == SHT_NOBITS || found[i].scn)
            continue;
        found[i] = (Found){scn, is_old || h.sh_flags & SHF_COMPRESSED, is_old};
        packed |= found[i].is_packed;
    }
    return packed;
}

static void take(Dies *dies, const Found *found)
{
    for (int i = 0; i < DIES_SECTIONS; i++) {
        const Found *f = &found[i];
        if (!f->scn)
            continue;
        if (f->is_packed &&
            (f->is_old ? elf_compress_gnu(f->scn, 0, 0) : elf_compress(f->scn, 0, 0)) < 0) {
            dies->is_broken = 1;
            continue;
        }
        const Elf_Data *data = elf_rawdata(f->scn, NULL);
        if (!data || !data->d_buf)
            continue;
        DieSection s = {data->d_buf, data->d_size};
        while ((i == DIES_STR || i == DIES_LINE_STR) && s.bytes && s.data[s.bytes - 1])
            s.bytes--; /* so that every text in it has an end */
        dies->sections[i] = s;
    }
    dies->has_debug = found[DIES_INFO].scn != NULL;
}

static Elf *open_elf(void *data, size_t bytes)
{
    Elf *elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_memory(data, bytes);
    if (elf && elf_kind(elf) != ELF_K_ELF) {
        elf_end(elf);
        elf = NULL;
    }
    return elf;
}

/* libelf unpacks in place, which the file's own bytes don't allow. */
static int open_copy(const void *data, size_t bytes, Dies *dies, Found *found)
{
    elf_end(dies->elf);
    dies->copy = malloc(bytes);
    dies->elf = dies->copy ? open_elf(memcpy(dies->copy, data, bytes), bytes) : NULL;
    memset(found, 0, DIES_SECTIONS * sizeof *found);
    if (dies->elf)
        find(dies->elf, found);
    return dies->copy ? KEEL_OK : KEEL_ENOMEM;
}

int dies_open(const void *data, size_t bytes, Dies *ret)
{
    Dies dies = {.elf = open_elf((void *)(uintptr_t)data, bytes)};
    Found found[DIES_SECTIONS] = {0};
    int rc = KEEL_OK;
    if (dies.elf && find(dies.elf, found))
        rc = open_copy(data, bytes, &dies, found);
    if (dies.elf && !rc)
        take(&dies, found);
    if (dies.has_debug && !rc)
        rc = dies_read(&dies);
    if (rc)
        dies_done(&dies);
    else
        *ret = dies;
    return rc;
}

void dies_done(Dies *dies)
{
    if (!dies)
        return;
    if (dies->elf)
        elf_end(dies->elf);
    free(dies->copy);
    free(dies->list);
    free(dies->near);
    buf_done(&dies->units);
    buf_done(&dies->files);
    *dies = (Dies){0};
}

uint32_t dies_at(const Dies *dies, uint32_t offset)
{
    if (offset / DIES_NEAR >= dies->near_count)
        return 0;
    uint32_t at = dies->near[offset / DIES_NEAR];
    if (!at)
        return 0;
    while (at < dies->count && dies->list[at].offset < offset)
        at++;
    return at < dies->count && dies->list[at].offset == offset ? at : 0;
}

uint64_t die_member_place(const Die *member, uint64_t type_bytes, uint32_t *ret_bit)
{
    uint64_t offset = member->have & DIE_PLACE ? member->value : 0, bit = offset * 8;
    *ret_bit = 0;
    if (!member->bits)
        return offset;
    if (member->have & DIE_DATA_BIT_OFFSET)
        bit = member->extent;
    else if (member->have & DIE_BIT_OFFSET) /* DWARF 3: from the other end of the storage */
        bit += (member->have & DIE_BYTES ? member->bytes : type_bytes) * 8 - member->extent -
               member->bits;
    *ret_bit = bit % 8;
    return bit / 8;
}
