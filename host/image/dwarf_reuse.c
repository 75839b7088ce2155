/* Keys of an image's bytes, and what a reading leaves for the next. Owns what Reuse says; one
 * thread. */
#include "image/dwarf_reuse.h"

#include <gelf.h>
#include <string.h>

#include "image/sources.h"

enum { SECTIONS_MOST = 4096, SKIPS_MOST = 64 };

typedef struct Skip {
    uint64_t first, last; /* in the file */
} Skip;

typedef struct Keys {
    const char *data;
    size_t bytes;
    Buf debug; /* what debug sections there are, and a hash of each */
    Skip skips[SKIPS_MOST];
    size_t skip_count;
    int has_info, is_odd;
} Keys;

/* One note, that of the linker, and nothing behind it that somebody could have meant. */
static int is_build_id(const Keys *k, const GElf_Shdr *h, const char *name)
{
    Elf64_Nhdr note;
    if (h->sh_type != SHT_NOTE || strcmp(name, ".note.gnu.build-id") ||
        h->sh_size < sizeof note + 4)
        return 0;
    memcpy(&note, k->data + h->sh_offset, sizeof note);
    return note.n_namesz == 4 && note.n_type == NT_GNU_BUILD_ID &&
           !memcmp(k->data + h->sh_offset + sizeof note, "GNU", 4) && note.n_descsz < 256 &&
           h->sh_size == sizeof note + 4 + ((note.n_descsz + 3u) & ~3u);
}

static void look(Keys *k, const GElf_Shdr *h, const char *name)
{
    int is_debug = !strncmp(name, ".debug_", 7) || !strncmp(name, ".zdebug_", 8);
    if (is_debug) { /* without bytes, too: of two of one name the first is meant */
        const Hash head[] = {
            hash_bytes(name, strlen(name)), {h->sh_type, h->sh_flags}, {h->sh_size, h->sh_entsize}};
        k->is_odd |= buf_add(&k->debug, head, sizeof head) != 0;
    }
    if (h->sh_type == SHT_NOBITS || !h->sh_size)
        return;
    if (h->sh_offset > k->bytes || h->sh_size > k->bytes - h->sh_offset) {
        k->is_odd = 1;
        return;
    }
    if (is_debug) {
        const Hash hash = hash_bytes(k->data + h->sh_offset, h->sh_size);
        k->is_odd |= buf_add(&k->debug, &hash, sizeof hash) != 0;
        k->has_info |= !strcmp(name + (name[1] == 'z') + 1, "debug_info");
    }
    if (!(h->sh_flags & SHF_EXECINSTR) && !is_build_id(k, h, name))
        return;
    if (k->skip_count == SKIPS_MOST)
        k->is_odd = 1;
    else
        k->skips[k->skip_count++] = (Skip){h->sh_offset, h->sh_offset + h->sh_size};
}

/* What is skipped may be nothing else as well: no other section, not the tables of headers. */
static int overlaps(const Keys *k, uint64_t first, uint64_t bytes, const Skip *self)
{
    for (size_t i = 0; i < k->skip_count; i++)
        if (&k->skips[i] != self && first < k->skips[i].last && k->skips[i].first < first + bytes)
            return 1;
    return 0;
}

static Hash hash_rest(Keys *k)
{
    Buf all = {0};
    uint64_t at = 0;
    while (at < k->bytes) { /* in the order of the file; there are few */
        Skip next = {k->bytes, k->bytes};
        for (size_t i = 0; i < k->skip_count; i++)
            if (k->skips[i].first >= at && k->skips[i].first < next.first)
                next = k->skips[i];
        const Hash piece[] = {{at, next.first},
                              hash_bytes(k->data + at, (size_t)(next.first - at))};
        if (buf_add(&all, piece, sizeof piece))
            k->is_odd = 1;
        at = next.last;
    }
    Hash hash = all.bytes && !k->is_odd ? hash_bytes(all.data, all.bytes) : (Hash){0};
    buf_done(&all);
    return hash;
}

static void find_keys(Elf *elf, Keys *k, Reuse *ret)
{
    GElf_Ehdr head;
    size_t names, count;
    GElf_Shdr h;
    if (!gelf_getehdr(elf, &head) || elf_getshdrstrndx(elf, &names) ||
        elf_getshdrnum(elf, &count) || count > SECTIONS_MOST)
        return;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) && !k->is_odd;) {
        const char *name = gelf_getshdr(scn, &h) ? elf_strptr(elf, names, h.sh_name) : NULL;
        if (name)
            look(k, &h, name);
        else
            k->is_odd = 1;
    }
    if (k->is_odd || !k->has_info)
        return;
    const Hash kind = {head.e_ident[EI_CLASS], head.e_machine};
    if (buf_add(&k->debug, &kind, sizeof kind))
        return;
    ret->debug = hash_bytes(k->debug.data, k->debug.bytes);
    int odd = overlaps(k, 0, head.e_ehsize, NULL) ||
              overlaps(k, head.e_shoff, (uint64_t)head.e_shentsize * count, NULL) ||
              overlaps(k, head.e_phoff, (uint64_t)head.e_phentsize * head.e_phnum, NULL);
    size_t skip = 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) && !odd;) {
        if (!gelf_getshdr(scn, &h) || h.sh_type == SHT_NOBITS || !h.sh_size)
            continue;
        const Skip *self = skip < k->skip_count && k->skips[skip].first == h.sh_offset &&
                                   k->skips[skip].last == h.sh_offset + h.sh_size
                               ? &k->skips[skip++]
                               : NULL;
        odd = overlaps(k, h.sh_offset, h.sh_size, self);
    }
    if (!odd)
        ret->rest = hash_rest(k);
}

static int is_key(Hash key)
{
    return key.low || key.high;
}

void reuse_open(const void *data, size_t bytes, const Reading *before, Reuse *ret)
{
    Keys k = {.data = data, .bytes = bytes};
    *ret = (Reuse){0};
    Elf *elf =
        elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_memory((char *)(uintptr_t)data, bytes);
    if (elf && elf_kind(elf) == ELF_K_ELF)
        find_keys(elf, &k, ret);
    if (elf)
        elf_end(elf);
    buf_done(&k.debug);
    const Sources *was = reading_sources(before);
    if (!was || !reading_anatomy(before, NULL))
        return;
    if (!sources_kept(was, &ret->kept))
        ret->fingerprints.before = &ret->kept;
    if (is_key(ret->debug) && hash_equal(ret->debug, was->debug))
        ret->debug_from = before;
    if (is_key(ret->rest) && hash_equal(ret->rest, was->rest) && ret->debug_from &&
        reading_schema(before, NULL))
        ret->schema_from = before;
}

void reuse_done(Reuse *reuse)
{
    if (!reuse)
        return;
    buf_done(&reuse->sources);
    buf_done(&reuse->fingerprints.kept);
}

int reuse_keep(Reuse *reuse, const AnatomyMaker *maker, const Owners *owners, const Lines *lines)
{
    const Sources head = {.flags = maker->flags,
                          .string_bytes = (uint32_t)maker->strings.bytes,
                          .owner_count = (uint32_t)owners->count,
                          .line_count = (uint32_t)lines->count};
    int rc = buf_add(&reuse->sources, &head, sizeof head);
    if (!rc && owners->count)
        rc = buf_add(&reuse->sources, owners->list, owners->count * sizeof *owners->list);
    if (!rc && lines->count)
        rc = buf_add(&reuse->sources, lines->list, lines->count * sizeof *lines->list);
    return rc;
}

int reuse_keep_fingerprints(Reuse *reuse)
{
    const Buf *kept = &reuse->fingerprints.kept;
    KeptHead head = {0};
    Sources *s = (Sources *)(void *)reuse->sources.data;
    if (kept->bytes > UINT32_MAX || kept->bytes < sizeof head)
        return KEEL_OK;
    memcpy(&head, kept->data, sizeof head);
    s->kept_bytes = (uint32_t)kept->bytes;
    s->taken = reuse->fingerprints.taken;
    s->parts = head.function_count;
    return buf_add(&reuse->sources, kept->data, kept->bytes);
}

static int add(Buf *to, const void *list, size_t bytes)
{
    return bytes ? buf_add(to, list, bytes) : KEEL_OK;
}

int reuse_take(Reuse *reuse, AnatomyMaker *maker, Owners *ret_owners, Lines *ret_lines)
{
    const Sources *was = reading_sources(reuse->debug_from);
    const Anatomy *a = reading_anatomy(reuse->debug_from, NULL);
    maker->flags = was->flags;
    *ret_owners = (Owners){sources_owners(was), was->owner_count};
    *ret_lines = (Lines){sources_lines(was), was->line_count};
    int rc = add(&maker->strings, a->strings, was->string_bytes);
    rc = rc ? rc : add(&maker->types, a->types, a->type_count * sizeof *a->types);
    return rc ? rc : add(&maker->fields, a->fields, a->field_count * sizeof *a->fields);
}
