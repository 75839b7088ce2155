/* Where statics lie, what their initialisers hold, and what the addresses in them mean wherever the
 * link put it. One thread. */
#include <elf.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_schema.h"

#ifndef SHT_RELR
#define SHT_RELR 19
#endif

enum { INITIAL_MOST = 1 << 20, INITIALS_MOST = 16 << 20, TEXT_MOST = 4096, LINKS_MOST = 1 << 20 };

static Hash mix(uint64_t tag, Hash a, Hash b)
{
    const uint64_t bits[] = {tag, a.low, a.high, b.low, b.high};
    return hash_bytes(bits, sizeof bits);
}

static Hash of_text(const char *text)
{
    return hash_bytes(text, strlen(text));
}

static const SchemaSection *section_at(const SchemaSections *s, uint64_t address)
{
    for (size_t i = 0; i < s->count; i++)
        if (address >= s->list[i].head.sh_addr &&
            address - s->list[i].head.sh_addr < s->list[i].head.sh_size)
            return &s->list[i];
    return NULL;
}

/* ---- what an address means, wherever it is ---- */

static Hash meaning(SchemaReader *r, const SchemaSections *sections, uint64_t address)
{
    const Schema look = {.statics = SCHEMA_LIST(r->out.statics, SchemaStatic),
                         .static_count = (uint32_t)SCHEMA_COUNT(r->out.statics, SchemaStatic),
                         .functions = SCHEMA_LIST(r->out.functions, SchemaFunction),
                         .function_count = (uint32_t)SCHEMA_COUNT(r->out.functions, SchemaFunction),
                         .symbols = SCHEMA_LIST(r->out.symbols, SchemaSymbol),
                         .symbol_count = (uint32_t)SCHEMA_COUNT(r->out.symbols, SchemaSymbol)};
    const char *strings = r->out.strings.data;
    int64_t at = schema_function_at(&look, address);
    if (at >= 0 && look.functions[at].address == address)
        return mix(1, of_text(strings + look.functions[at].name), (Hash){0});
    at = schema_static_at(&look, address);
    if (at >= 0 && address - look.statics[at].address < look.statics[at].bytes) {
        const SchemaStatic *v = &look.statics[at];
        Hash name = mix(2, of_text(strings + v->name), of_text(strings + v->function));
        return mix(3, name, (Hash){address - v->address, 0});
    }
    at = schema_symbol_at(&look, address);
    if (at >= 0 && address - look.symbols[at].address < look.symbols[at].bytes)
        return mix(4, of_text(strings + look.symbols[at].name),
                   (Hash){address - look.symbols[at].address, 0});
    const SchemaSection *s = section_at(sections, address);
    if (!s || !s->data)
        return mix(5, (Hash){s != NULL, 0}, (Hash){0});
    r->reads_code |= (s->head.sh_flags & SHF_EXECINSTR) != 0;
    uint64_t left = s->head.sh_size - (address - s->head.sh_addr);
    const uint8_t *bytes = s->data + (address - s->head.sh_addr);
    size_t most = left < TEXT_MOST ? (size_t)left : TEXT_MOST;
    const uint8_t *end = memchr(bytes, 0, most);
    size_t n = end ? (size_t)(end - bytes) : most < 64 ? most : 64;
    return mix(6, hash_bytes(bytes, n), (Hash){0});
}

static void add_link(SchemaReader *r, const SchemaSections *sections, uint64_t place, Hash means)
{
    const SchemaSection *s = section_at(sections, place);
    SchemaLink link = {place, means};
    if (!s || s->place == SCHEMA_CACHE || r->out.links.bytes > LINKS_MOST * sizeof link)
        return;
    if (buf_add(&r->out.links, &link, sizeof link))
        schema_fail(r, KEEL_ENOMEM);
}

static void read_rela(SchemaReader *r, Elf *elf, Elf_Scn *scn, const GElf_Shdr *h,
                      const SchemaSections *sections)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    GElf_Shdr symbols = {0};
    Elf_Scn *table = elf_getscn(elf, h->sh_link);
    Elf_Data *entries = table && gelf_getshdr(table, &symbols) ? elf_getdata(table, NULL) : NULL;
    size_t count = data && h->sh_entsize ? data->d_size / h->sh_entsize : 0;
    for (size_t i = 0; i < count && i < INT32_MAX && !r->failed; i++) {
        GElf_Rela rela;
        GElf_Sym sym;
        if (!gelf_getrela(data, (int)i, &rela))
            break;
        uint32_t number = (uint32_t)GELF_R_SYM(rela.r_info);
        uint64_t addend = (uint64_t)rela.r_addend;
        if (!number) {
            add_link(r, sections, rela.r_offset, meaning(r, sections, addend));
            continue;
        }
        if (!entries || !gelf_getsym(entries, (int)number, &sym))
            continue;
        const char *name = elf_strptr(elf, symbols.sh_link, sym.st_name);
        Hash means = sym.st_shndx != SHN_UNDEF
                         ? meaning(r, sections, sym.st_value + addend)
                         : mix(7, of_text(name ? name : ""), (Hash){addend, 0});
        add_link(r, sections, rela.r_offset, means);
    }
}

static void add_relr(SchemaReader *r, const SchemaSections *sections, uint64_t place)
{
    const SchemaSection *s = section_at(sections, place);
    uint64_t address;
    if (!s || !s->data || s->head.sh_size - (place - s->head.sh_addr) < 8)
        return;
    memcpy(&address, s->data + (place - s->head.sh_addr), 8);
    add_link(r, sections, place, meaning(r, sections, address));
}

static void read_relr(SchemaReader *r, Elf_Scn *scn, const SchemaSections *sections)
{
    const Elf_Data *data = elf_rawdata(scn, NULL);
    uint64_t at = 0;
    for (size_t i = 0; data && i + 8 <= data->d_size && !r->failed; i += 8) {
        uint64_t entry;
        memcpy(&entry, (const char *)data->d_buf + i, 8);
        if (!(entry & 1)) {
            add_relr(r, sections, entry);
            at = entry + 8;
            continue;
        }
        for (int bit = 0; bit < 63; bit++)
            if (entry >> (bit + 1) & 1)
                add_relr(r, sections, at + (uint64_t)bit * 8);
        at += 63 * 8;
    }
}

void schema_links(SchemaReader *r, Elf *elf, const SchemaSections *sections)
{
    GElf_Shdr h;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) && !r->failed;) {
        if (!gelf_getshdr(scn, &h) || !(h.sh_flags & SHF_ALLOC))
            continue;
        if (h.sh_type == SHT_RELA)
            read_rela(r, elf, scn, &h, sections);
        else if (h.sh_type == SHT_RELR)
            read_relr(r, scn, sections);
    }
    schema_sort(&r->out.links, sizeof(SchemaLink));
}

/* ---- statics ---- */

static size_t first_link(const SchemaLink *links, size_t count, uint64_t address)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (links[middle].place < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void read_initial(SchemaReader *r, const SchemaSection *s, SchemaStatic *v)
{
    const SchemaLink *links = SCHEMA_LIST(r->out.links, SchemaLink);
    size_t count = SCHEMA_COUNT(r->out.links, SchemaLink);
    uint8_t *copy = malloc(v->bytes ? v->bytes : 1);
    if (!copy) {
        schema_fail(r, KEEL_ENOMEM);
        return;
    }
    memcpy(copy, s->data + (v->address - s->head.sh_addr), v->bytes);
    Hash means = {0};
    int is_zero = 1;
    for (size_t i = first_link(links, count, v->address);
         i < count && links[i].place < v->address + v->bytes; i++) {
        uint64_t at = links[i].place - v->address;
        memset(copy + at, 0, v->bytes - at < 8 ? v->bytes - at : 8);
        means = mix(8 + at, means, links[i].means);
        is_zero = 0;
    }
    for (uint64_t i = 0; i < v->bytes && is_zero; i++)
        is_zero = !copy[i];
    v->init = is_zero ? (Hash){0} : mix(9, hash_bytes(copy, v->bytes), means);
    if (v->place == SCHEMA_DATA && v->bytes <= INITIAL_MOST &&
        r->out.initials.bytes + v->bytes <= INITIALS_MOST) {
        v->init_at = (uint32_t)r->out.initials.bytes + 1;
        if (buf_add(&r->out.initials, copy, v->bytes))
            schema_fail(r, KEEL_ENOMEM);
    }
    free(copy);
}

void schema_place_statics(SchemaReader *r, const SchemaSections *sections)
{
    SchemaStatic *list = SCHEMA_LIST(r->out.statics, SchemaStatic);
    size_t count = SCHEMA_COUNT(r->out.statics, SchemaStatic), kept = 0;
    for (size_t i = 0; i < count && !r->failed; i++) {
        SchemaStatic v = list[i];
        const SchemaSection *s = section_at(sections, v.address);
        if (!s || v.bytes > s->head.sh_size - (v.address - s->head.sh_addr))
            continue; /* of a section that the linker threw away */
        v.place = (uint16_t)s->place;
        const SchemaStatic *before = kept ? &list[kept - 1] : NULL;
        if (before && before->address == v.address && before->bytes == v.bytes) {
            if (before->name == v.name && before->function == v.function && before->unit == v.unit)
                continue;
            v.init = before->init;
            v.init_at = before->init_at;
        } else if (s->data && s->place != SCHEMA_CACHE) {
            r->reads_code |= (s->head.sh_flags & SHF_EXECINSTR) != 0;
            read_initial(r, s, &v);
        }
        list[kept++] = v;
    }
    r->out.statics.bytes = kept * sizeof *list;
}
