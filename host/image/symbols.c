/* Sections and symbols by libelf, sorted by address. Every index and size is checked here once, so
 * that those who look things up need not. Owns what Symbols says; one thread. */
#include "image/symbols.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "image/symbols_parts.h"

enum { SECTIONS_MOST = 65536, SYMBOLS_MOST = 4 << 20 };

static int damaged(Error *err, const char *what)
{
    return err_set(err, KEEL_EIMAGE, "%s: it is damaged: build it again", what);
}

static int no_memory(Error *err)
{
    return err_set(err, KEEL_ENOMEM, "no memory to read its symbols");
}

static const void *section_data(Elf_Scn *scn, size_t *ret_bytes)
{
    Elf_Data *d = elf_getdata(scn, NULL);
    *ret_bytes = d && d->d_buf ? d->d_size : 0;
    return *ret_bytes ? d->d_buf : NULL;
}

static int by_offset(const void *a, const void *b)
{
    const Elf64_Rela *x = a, *y = b;
    if (x->r_offset != y->r_offset)
        return x->r_offset < y->r_offset ? -1 : 1;
    return (x > y) - (x < y);
}

static int take_relocs(Symbols *s, Elf_Scn *scn, const GElf_Shdr *h, Error *err)
{
    if (!h->sh_info || h->sh_info >= s->section_count ||
        !(s->sections[h->sh_info].flags & SHF_ALLOC))
        return KEEL_OK;
    Section *target = &s->sections[h->sh_info];
    size_t bytes;
    const Elf64_Rela *list = section_data(scn, &bytes);
    size_t count = bytes / sizeof *list;
    if (!count || target->reloc_count)
        return KEEL_OK;
    s->has_relocs |= (target->flags & SHF_EXECINSTR) != 0;
    int sorted = 1;
    for (size_t i = 1; i < count && sorted; i++)
        sorted = list[i - 1].r_offset <= list[i].r_offset;
    if (!sorted) {
        Elf64_Rela *copy = malloc(count * sizeof *copy);
        if (!copy)
            return no_memory(err);
        memcpy(copy, list, count * sizeof *copy);
        qsort(copy, count, sizeof *copy, by_offset);
        s->own_relocs[h->sh_info] = copy;
        list = copy;
    }
    target->relocs = list;
    target->reloc_count = count;
    return KEEL_OK;
}

static int take_section(Symbols *s, Elf_Scn *scn, size_t index, size_t names, Error *err)
{
    GElf_Shdr h;
    static const Elf64_Rela NONE[1]; /* an end to count from, also without any */
    Section *to = &s->sections[index];
    to->relocs = NONE;
    if (!gelf_getshdr(scn, &h))
        return damaged(err, "a section header can't be read");
    to->name = elf_strptr(s->elf, names, h.sh_name);
    if (!to->name)
        return damaged(err, "a section's name lies outside the table of names");
    to->type = h.sh_type;
    to->flags = h.sh_flags;
    if (!(h.sh_flags & SHF_ALLOC))
        return KEEL_OK;
    if (h.sh_addr + h.sh_size < h.sh_addr || h.sh_size > (uint64_t)1 << 40)
        return damaged(err, "a section lies outside of any memory");
    to->address = h.sh_addr;
    to->bytes = h.sh_size;
    if (h.sh_type != SHT_NOBITS && h.sh_size) {
        Elf_Data *d = elf_rawdata(scn, NULL);
        if (!d || !d->d_buf || d->d_size != h.sh_size)
            return damaged(err, "a section lies outside the file");
        to->data = d->d_buf;
    }
    if (h.sh_flags & SHF_TLS && (!s->thread_block || h.sh_addr < s->thread_block))
        s->thread_block = h.sh_addr;
    else if (!(h.sh_flags & SHF_TLS) && h.sh_size)
        s->alloc[s->alloc_count++] = (uint32_t)index;
    return KEEL_OK;
}

/* qsort has no room for context, and tables are small: insertion by address. */
static void sort_alloc(Symbols *s)
{
    for (size_t i = 1; i < s->alloc_count; i++) {
        uint32_t x = s->alloc[i];
        size_t j = i;
        for (; j && s->sections[s->alloc[j - 1]].address > s->sections[x].address; j--)
            s->alloc[j] = s->alloc[j - 1];
        s->alloc[j] = x;
    }
}

static int read_sections(Symbols *s, Error *err)
{
    size_t names;
    if (elf_getshdrnum(s->elf, &s->section_count) || elf_getshdrstrndx(s->elf, &names))
        return damaged(err, "its section headers can't be read");
    if (s->section_count > SECTIONS_MOST)
        return damaged(err, "it has too many sections");
    s->sections = calloc(s->section_count + 1, sizeof *s->sections);
    s->alloc = calloc(s->section_count + 1, sizeof *s->alloc);
    s->own_relocs = calloc(s->section_count + 1, sizeof *s->own_relocs);
    if (!s->sections || !s->alloc || !s->own_relocs)
        return no_memory(err);
    int rc = KEEL_OK;
    for (size_t i = 1; !rc && i < s->section_count; i++)
        rc = take_section(s, elf_getscn(s->elf, i), i, names, err);
    if (!rc && s->alloc_count > 4096)
        rc = damaged(err, "it has too many sections in memory");
    if (!rc)
        sort_alloc(s);
    for (size_t i = 1; !rc && i < s->section_count; i++) {
        GElf_Shdr h;
        Elf_Scn *scn = elf_getscn(s->elf, i);
        if (s->sections[i].type == SHT_RELA && !(s->sections[i].flags & SHF_ALLOC) &&
            gelf_getshdr(scn, &h))
            rc = take_relocs(s, scn, &h, err);
    }
    return rc;
}

static const char *without_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int add_unit(Symbols *s, const char *name, size_t *room)
{
    if (s->unit_count == *room) {
        size_t more = *room ? *room * 2 : 64;
        Unit *units = realloc(s->units, more * sizeof *units);
        if (!units)
            return KEEL_ENOMEM;
        s->units = units;
        *room = more;
    }
    Unit *u = &s->units[s->unit_count++];
    u->name = without_folder(name);
    u->same_before = 0;
    /* Looking back a bounded way: thousands of files of the same name are nobody's build. */
    for (size_t i = s->unit_count - 1, n = 0; i-- && n < 256; n++)
        if (!strcmp(s->units[i].name, u->name)) {
            u->same_before = s->units[i].same_before + 1;
            break;
        }
    return KEEL_OK;
}

/* The linker's own tables, which some linkers give sizes and types (gold), or a name an entry
 * (mold): nobody wrote them, and what they hold is compared where it is used. */
static int is_linkers(const char *name)
{
    static const char *const whole[] = {"_DYNAMIC", "_GLOBAL_OFFSET_TABLE_"};
    static const char *const ends[] = {"$plt",   "$pltgot",   "$got",   "$gotplt",
                                       "$gottp", "$gottpoff", "$tlsgd", "$tlsdesc"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(name, whole[i]))
            return 1;
    const char *end = strrchr(name, '$');
    for (size_t i = 0; end && i < sizeof ends / sizeof *ends; i++)
        if (!strcmp(end, ends[i]))
            return 1;
    return 0;
}

static void fill(Symbols *s, Symbol *to, const Elf64_Sym *from, const char *name, uint32_t unit)
{
    int type = ELF64_ST_TYPE(from->st_info), section = from->st_shndx;
    to->name = name;
    to->type = (uint8_t)type;
    to->address = from->st_value;
    to->is_section = type == STT_SECTION;
    to->is_local = ELF64_ST_BIND(from->st_info) == STB_LOCAL;
    int defined = section != SHN_UNDEF && section < SHN_LORESERVE &&
                  (size_t)section < s->section_count && s->sections[section].flags & SHF_ALLOC;
    if (!defined)
        return;
    const Section *in = &s->sections[section];
    to->section = (uint32_t)section;
    uint64_t base = type == STT_TLS ? in->address - s->thread_block : in->address;
    uint64_t into = from->st_value - base;
    if (from->st_value < base || into > in->bytes)
        return;
    to->bytes = from->st_size < in->bytes - into ? from->st_size : in->bytes - into;
    if (to->is_local && ELF64_ST_VISIBILITY(from->st_other) == STV_DEFAULT)
        to->unit = unit;
    if (is_linkers(name))
        return;
    int code = (in->flags & SHF_EXECINSTR) != 0 && in->data;
    if ((type == STT_FUNC || type == STT_GNU_IFUNC) && code) {
        to->is_implied = !to->bytes && strcmp(in->name, ".init") && strcmp(in->name, ".fini");
        to->kind = to->bytes || to->is_implied ? SYMBOL_FUNCTION : SYMBOL_OTHER;
    }
    if (!to->bytes)
        return;
    else if (type == STT_TLS)
        to->kind = SYMBOL_THREAD;
    else if (type == STT_OBJECT && !(in->flags & (SHF_EXECINSTR | SHF_TLS)))
        to->kind = SYMBOL_OBJECT;
}

static int read_table(Symbols *s, Elf_Scn *scn, Error *err)
{
    GElf_Shdr h;
    size_t bytes, text_bytes, room = 0;
    const Elf64_Sym *list = section_data(scn, &bytes);
    if (!gelf_getshdr(scn, &h) || !list)
        return KEEL_OK;
    Elf_Scn *text = elf_getscn(s->elf, h.sh_link);
    const char *names = text ? section_data(text, &text_bytes) : NULL;
    s->count = bytes / sizeof *list;
    if (!names || names[text_bytes - 1])
        return damaged(err, "its symbols have no names");
    if (s->count > SYMBOLS_MOST)
        return damaged(err, "it has too many symbols");
    s->symbols = calloc(s->count + 1, sizeof *s->symbols);
    if (!s->symbols || add_unit(s, "", &room))
        return no_memory(err);
    const Hash table[] = {hash_bytes(list, bytes), hash_bytes(names, text_bytes)};
    s->table = hash_bytes(table, sizeof table);
    uint32_t unit = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (list[i].st_name >= text_bytes)
            return damaged(err, "a symbol's name lies outside the table of names");
        const char *name = names + list[i].st_name;
        if (ELF64_ST_TYPE(list[i].st_info) == STT_FILE) {
            if (*name && add_unit(s, name, &room))
                return no_memory(err);
            unit = *name ? (uint32_t)s->unit_count - 1 : 0;
        }
        fill(s, &s->symbols[i], &list[i], name, unit);
    }
    s->has_table = 1;
    return KEEL_OK;
}

typedef struct Place {
    uint64_t address;
    const Symbol *symbol;
} Place;

/* Of several names for one place, always the same comes first. */
static int by_place(const void *a, const void *b)
{
    const Place *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    if (x->symbol->is_local != y->symbol->is_local)
        return x->symbol->is_local - y->symbol->is_local;
    int names = strcmp(x->symbol->name, y->symbol->name);
    return names ? names : (x->symbol > y->symbol) - (x->symbol < y->symbol);
}

static int sort_kind(const Symbols *s, int kind, uint32_t **ret, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        count += s->symbols[i].kind == kind;
    Place *places = malloc((count + 1) * sizeof *places);
    uint32_t *list = malloc((count + 1) * sizeof *list);
    if (!places || !list) {
        free(places);
        free(list);
        return KEEL_ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->symbols[i].kind == kind)
            places[n++] = (Place){s->symbols[i].address, &s->symbols[i]};
    qsort(places, n, sizeof *places, by_place);
    for (size_t i = 0; i < n; i++)
        list[i] = (uint32_t)(places[i].symbol - s->symbols);
    free(places);
    *ret = list;
    *ret_count = n;
    return KEEL_OK;
}

static void imply_sizes(Symbols *s)
{
    uint64_t next = 0;
    for (size_t i = s->function_count; i--;) {
        Symbol *f = &s->symbols[s->functions[i]];
        const Section *in = &s->sections[f->section];
        uint64_t end = in->address + in->bytes;
        if (f->is_implied)
            f->bytes = (next > f->address && next < end ? next : end) - f->address;
        if (!i || s->symbols[s->functions[i - 1]].address != f->address)
            next = f->address;
    }
}

static int read_symbols(Symbols *s, const Owners *owners, Error *err)
{
    int rc = KEEL_OK;
    for (size_t i = 1; !rc && i < s->section_count && !s->has_table; i++)
        if (s->sections[i].type == SHT_SYMTAB)
            rc = read_table(s, elf_getscn(s->elf, i), err);
    if (rc)
        return rc;
    rc = sort_kind(s, SYMBOL_FUNCTION, &s->functions, &s->function_count);
    if (!rc)
        imply_sizes(s);
    rc = rc ? rc : sort_kind(s, SYMBOL_OBJECT, &s->objects, &s->object_count);
    rc = rc ? rc : sort_kind(s, SYMBOL_THREAD, &s->threads, &s->thread_count);
    rc = rc ? rc : symbols_identify(s, owners);
    return rc ? no_memory(err) : KEEL_OK;
}

int symbols_open(const void *data, size_t bytes, const Owners *owners, Symbols *ret, Error *err)
{
    Symbols s = {0};
    GElf_Ehdr head;
    if (elf_version(EV_CURRENT) == EV_NONE)
        return err_set(err, KEEL_EUNSUPPORTED, "libelf is too old: %s", elf_errmsg(-1));
    s.elf = elf_memory((char *)data, bytes); /* copies what it changes */
    int rc = KEEL_OK;
    if (!s.elf || !gelf_getehdr(s.elf, &head))
        rc = damaged(err, "libelf can't read it");
    else if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB)
        rc = err_set(err, KEEL_EUNSUPPORTED, "it is no 64-bit little-endian ELF file");
    if (!rc) {
        s.machine = head.e_machine;
        rc = read_sections(&s, err);
    }
    rc = rc ? rc : read_symbols(&s, owners, err);
    if (rc)
        symbols_done(&s);
    else
        *ret = s;
    return rc;
}

void symbols_done(Symbols *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->own_relocs && i < s->section_count; i++)
        free(s->own_relocs[i]);
    free(s->own_relocs);
    free(s->sections);
    free(s->alloc);
    free(s->symbols);
    free(s->units);
    free(s->functions);
    free(s->objects);
    free(s->threads);
    if (s->elf)
        elf_end(s->elf);
    *s = (Symbols){0};
}

size_t symbols_relocs_from(const Section *in, uint64_t address)
{
    size_t low = 0, high = in->reloc_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (in->relocs[middle].r_offset < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const Section *symbols_section(const Symbols *s, uint64_t address)
{
    size_t low = 0, high = s->alloc_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->sections[s->alloc[middle]].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    const Section *in = &s->sections[s->alloc[low - 1]];
    return address - in->address < in->bytes ? in : NULL;
}

/* The last that begins at or before it; among names of one place the first. */
static const Symbol *find(const Symbols *s, const uint32_t *list, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->symbols[list[middle]].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 1 && s->symbols[list[low - 1]].address == s->symbols[list[low - 2]].address)
        low--;
    if (!low)
        return NULL;
    const Symbol *at = &s->symbols[list[low - 1]];
    return address - at->address < at->bytes ? at : NULL;
}

const Symbol *symbols_function(const Symbols *s, uint64_t address)
{
    return find(s, s->functions, s->function_count, address);
}

const Symbol *symbols_object(const Symbols *s, uint64_t address)
{
    return find(s, s->objects, s->object_count, address);
}

const Symbol *symbols_thread(const Symbols *s, uint64_t offset)
{
    return find(s, s->threads, s->thread_count, offset);
}
