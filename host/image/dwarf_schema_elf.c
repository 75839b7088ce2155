/* The image's own tables, for a schema: where statics lie, what their initialisers hold and point
 * at, the compiler's own symbols, renamed fields. One thread. */
#include <elf.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keel/change.h>

#include "image/dwarf_schema.h"

#ifndef SHT_RELR
#define SHT_RELR 19
#endif

enum { INITIAL_MOST = 1 << 20, INITIALS_MOST = 16 << 20, TEXT_MOST = 4096, LINKS_MOST = 1 << 20 };

typedef struct Section {
    GElf_Shdr head;
    const uint8_t *data; /* NULL: nothing in the file */
    uint32_t place;
} Section;

typedef struct Sections {
    Section *list;
    size_t count;
} Sections;

static Hash mix(uint64_t tag, Hash a, Hash b)
{
    const uint64_t bits[] = {tag, a.low, a.high, b.low, b.high};
    return hash_bytes(bits, sizeof bits);
}

static Hash of_text(const char *text)
{
    return hash_bytes(text, strlen(text));
}

static const Section *section_at(const Sections *s, uint64_t address)
{
    for (size_t i = 0; i < s->count; i++)
        if (address >= s->list[i].head.sh_addr &&
            address - s->list[i].head.sh_addr < s->list[i].head.sh_size)
            return &s->list[i];
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    uint64_t x, y; /* all lists here begin with it */
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int by_static(const void *a, const void *b)
{
    const SchemaStatic *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    if (!x->function != !y->function) /* those inside of a function first: they say more */
        return x->function ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static void sort(Buf *list, size_t size)
{
    if (list->bytes)
        qsort(list->data, list->bytes / size, size, by_address);
}

static int read_sections(SchemaReader *r, Elf *elf, Sections *ret)
{
    size_t count, names;
    if (elf_getshdrnum(elf, &count) || elf_getshdrstrndx(elf, &names) || count > 1 << 16)
        return KEEL_EIMAGE;
    Section *list = calloc(count + 1, sizeof *list);
    if (!list)
        return KEEL_ENOMEM;
    size_t kept = 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) && kept < count;) {
        Section s = {0};
        if (!gelf_getshdr(scn, &s.head) || !(s.head.sh_flags & SHF_ALLOC) || !s.head.sh_size ||
            s.head.sh_flags & SHF_TLS)
            continue;
        const char *name = elf_strptr(elf, names, s.head.sh_name);
        const Elf_Data *data = s.head.sh_type == SHT_NOBITS ? NULL : elf_rawdata(scn, NULL);
        if (data && data->d_size >= s.head.sh_size)
            s.data = data->d_buf;
        s.place = !(s.head.sh_flags & SHF_WRITE)               ? SCHEMA_CONSTANT
                  : name && !strcmp(name, ".keel.cache")       ? SCHEMA_CACHE
                  : name && !strncmp(name, ".data.rel.ro", 12) ? SCHEMA_CONSTANT
                  : s.data                                     ? SCHEMA_DATA
                                                               : SCHEMA_ZERO;
        list[kept++] = s;
    }
    *ret = (Sections){list, kept};
    for (size_t i = 0; i < kept; i++) {
        const GElf_Shdr *h = &list[i].head;
        SchemaRange range = {.address = h->sh_addr,
                             .bytes = h->sh_size,
                             .kind = h->sh_flags & SHF_EXECINSTR ? SCHEMA_CODE
                                     : h->sh_flags & SHF_WRITE   ? SCHEMA_WRITABLE
                                                                 : SCHEMA_READABLE};
        if (buf_add(&r->out.ranges, &range, sizeof range))
            return KEEL_ENOMEM;
    }
    sort(&r->out.ranges, sizeof(SchemaRange));
    SchemaRange *ranges = SCHEMA_LIST(r->out.ranges, SchemaRange);
    size_t n = SCHEMA_COUNT(r->out.ranges, SchemaRange), good = 0;
    for (size_t i = 0; i < n; i++)
        if (!good || ranges[i].address >= ranges[good - 1].address + ranges[good - 1].bytes)
            ranges[good++] = ranges[i];
    r->out.ranges.bytes = good * sizeof *ranges;
    return KEEL_OK;
}

/* ---- symbols ---- */

static int is_compilers(const char *name)
{
    static const char *const PREFIXES[] = {"_ZTV", "_ZTI", "_ZTS", "_ZTT", "_ZTC", "_ZGV"};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++)
        if (!strncmp(name, PREFIXES[i], 4))
            return 1;
    return 0;
}

typedef struct Sym {
    uint64_t address;
    const char *name;
    int is_clone;
} Sym;

/* `step.n`, `step.n.3`, `_ZZ4stepvE1n`: of a static without its function, which one is it? */
static void take_owner(SchemaReader *r, uint64_t address, const char *symbol)
{
    SchemaStatic *list = SCHEMA_LIST(r->out.statics, SchemaStatic);
    size_t count = SCHEMA_COUNT(r->out.statics, SchemaStatic);
    const Schema look = {.statics = list, .static_count = (uint32_t)count};
    int64_t at = schema_static_at(&look, address);
    for (size_t i = (size_t)at; at >= 0 && i < count && list[i].address == address; i++) {
        const char *name = r->out.strings.data + list[i].name, *end = NULL;
        char function[1000], local[300];
        if (strcmp(r->out.strings.data + list[i].function, SCHEMA_INLINED))
            continue;
        int is_cxx = !strncmp(symbol, "_ZZ", 3);
        if (is_cxx)
            snprintf(local, sizeof local, "E%zu%.280s", strlen(name), name);
        else
            snprintf(local, sizeof local, ".%.280s", name);
        end = strstr(symbol, local);
        if (!end || end == symbol)
            continue;
        snprintf(function, sizeof function, "%s%.*s", is_cxx ? "_Z" : "",
                 (int)(end - symbol) - (is_cxx ? 3 : 0), symbol + (is_cxx ? 3 : 0));
        uint32_t text = schema_intern(r, function);
        SCHEMA_LIST(r->out.statics, SchemaStatic)[i].function = text;
    }
}

static void take_symbol(SchemaReader *r, const GElf_Sym *sym, const char *name, Buf *functions)
{
    int type = GELF_ST_TYPE(sym->st_info);
    if (!name || sym->st_shndx == SHN_UNDEF || sym->st_shndx >= SHN_LORESERVE || !sym->st_size)
        return;
    if (type == STT_FUNC) {
        Sym f = {sym->st_value, name, strchr(name, '.') != NULL};
        if (buf_add(functions, &f, sizeof f))
            schema_fail(r, KEEL_ENOMEM);
    } else if (type == STT_OBJECT && !is_compilers(name)) {
        take_owner(r, sym->st_value, name);
    } else if (type == STT_OBJECT) {
        SchemaSymbol s = {
            .address = sym->st_value, .bytes = sym->st_size, .name = schema_intern(r, name)};
        if (buf_add(&r->out.symbols, &s, sizeof s))
            schema_fail(r, KEEL_ENOMEM);
    }
}

/* Only the first of an address asks for all of them. */
static int is_told(const SchemaReader *r, size_t at, const char *name)
{
    const SchemaFunction *list = SCHEMA_LIST(r->out.functions, SchemaFunction);
    size_t count = SCHEMA_COUNT(r->out.functions, SchemaFunction);
    if (at && list[at - 1].address == list[at].address)
        return 1;
    for (size_t i = at; i < count && list[i].address == list[at].address; i++)
        if (!strcmp(r->out.strings.data + list[i].name, name))
            return 1;
    return 0;
}

static void read_symbols(SchemaReader *r, Elf *elf)
{
    Buf functions = {0};
    Elf_Scn *found = NULL;
    GElf_Shdr h, table = {0};
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));)
        if (gelf_getshdr(scn, &h) &&
            (h.sh_type == SHT_SYMTAB || (h.sh_type == SHT_DYNSYM && !found))) {
            found = scn;
            table = h;
        }
    Elf_Data *data = found ? elf_getdata(found, NULL) : NULL;
    size_t count = data && table.sh_entsize ? data->d_size / table.sh_entsize : 0;
    for (size_t i = 0; i < count && i < INT32_MAX && !r->failed; i++) {
        GElf_Sym sym;
        if (gelf_getsym(data, (int)i, &sym))
            take_symbol(r, &sym, elf_strptr(elf, table.sh_link, sym.st_name), &functions);
    }
    sort(&r->out.symbols, sizeof(SchemaSymbol));
    sort(&functions, sizeof(Sym));
    const Sym *known = SCHEMA_LIST(functions, Sym);
    size_t n = SCHEMA_COUNT(functions, Sym);
    SchemaFunction *list = SCHEMA_LIST(r->out.functions, SchemaFunction);
    size_t count_before = SCHEMA_COUNT(r->out.functions, SchemaFunction);
    Buf folded = {0};
    for (size_t i = 0, at = 0; i < count_before; i++) {
        while (at < n && known[at].address < list[i].address)
            at++;
        int clone = 0, plain = 0;
        for (size_t k = at; k < n && known[k].address == list[i].address; k++)
            *(known[k].is_clone ? &clone : &plain) = 1;
        if (clone && !plain)
            list[i].flags |= SCHEMA_CLONE;
        /* Linkers that fold functions leave debug information of one of them. */
        for (size_t k = at; k < n && known[k].address == list[i].address; k++)
            if (!known[k].is_clone && !is_told(r, i, known[k].name)) {
                SchemaFunction f = list[i];
                f.name = schema_intern(r, known[k].name);
                f.flags = SCHEMA_FOLDED;
                if (buf_add(&folded, &f, sizeof f))
                    schema_fail(r, KEEL_ENOMEM);
            }
    }
    if (folded.bytes && buf_add(&r->out.functions, folded.data, folded.bytes))
        schema_fail(r, KEEL_ENOMEM);
    sort(&r->out.functions, sizeof(SchemaFunction));
    buf_done(&folded);
    buf_done(&functions);
}

/* ---- what an address means, wherever it is ---- */

static Hash meaning(const SchemaReader *r, const Sections *sections, uint64_t address)
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
    const Section *s = section_at(sections, address);
    if (!s || !s->data)
        return mix(5, (Hash){s != NULL, 0}, (Hash){0});
    uint64_t left = s->head.sh_size - (address - s->head.sh_addr);
    const uint8_t *bytes = s->data + (address - s->head.sh_addr);
    size_t most = left < TEXT_MOST ? (size_t)left : TEXT_MOST;
    const uint8_t *end = memchr(bytes, 0, most);
    size_t n = end ? (size_t)(end - bytes) : most < 64 ? most : 64;
    return mix(6, hash_bytes(bytes, n), (Hash){0});
}

static void add_link(SchemaReader *r, const Sections *sections, uint64_t place, Hash means)
{
    const Section *s = section_at(sections, place);
    SchemaLink link = {place, means};
    if (!s || s->place == SCHEMA_CACHE || r->out.links.bytes > LINKS_MOST * sizeof link)
        return;
    if (buf_add(&r->out.links, &link, sizeof link))
        schema_fail(r, KEEL_ENOMEM);
}

static void read_rela(SchemaReader *r, Elf *elf, Elf_Scn *scn, const GElf_Shdr *h,
                      const Sections *sections)
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

static void add_relr(SchemaReader *r, const Sections *sections, uint64_t place)
{
    const Section *s = section_at(sections, place);
    uint64_t address;
    if (!s || !s->data || s->head.sh_size - (place - s->head.sh_addr) < 8)
        return;
    memcpy(&address, s->data + (place - s->head.sh_addr), 8);
    add_link(r, sections, place, meaning(r, sections, address));
}

static void read_relr(SchemaReader *r, Elf_Scn *scn, const Sections *sections)
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

static void read_links(SchemaReader *r, Elf *elf, const Sections *sections)
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
    sort(&r->out.links, sizeof(SchemaLink));
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

static void read_initial(SchemaReader *r, const Section *s, SchemaStatic *v)
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

static void place_statics(SchemaReader *r, const Sections *sections)
{
    SchemaStatic *list = SCHEMA_LIST(r->out.statics, SchemaStatic);
    size_t count = SCHEMA_COUNT(r->out.statics, SchemaStatic), kept = 0;
    for (size_t i = 0; i < count && !r->failed; i++) {
        SchemaStatic v = list[i];
        const Section *s = section_at(sections, v.address);
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
            read_initial(r, s, &v);
        }
        list[kept++] = v;
    }
    r->out.statics.bytes = kept * sizeof *list;
}

/* ---- notes ---- */

static void take_renamed(SchemaReader *r, const char *at, size_t bytes)
{
    SchemaRename name = {0};
    uint32_t *to[] = {&name.type, &name.from, &name.to};
    for (int i = 0; i < 3; i++) {
        const char *end = memchr(at, 0, bytes);
        if (!end)
            return;
        *to[i] = schema_intern(r, at);
        bytes -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    if (buf_add(&r->out.renames, &name, sizeof name))
        schema_fail(r, KEEL_ENOMEM);
}

static void read_notes(SchemaReader *r, Elf *elf)
{
    GElf_Shdr h;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));) {
        Elf_Data *data =
            gelf_getshdr(scn, &h) && h.sh_type == SHT_NOTE ? elf_getdata(scn, NULL) : NULL;
        size_t name, contents;
        GElf_Nhdr note;
        for (size_t at = 0, next; data && (next = gelf_getnote(data, at, &note, &name, &contents));
             at = next) {
            const char *bytes = data->d_buf;
            if (note.n_type == KEEL_NOTE_RENAMED && note.n_namesz == sizeof KEEL_NOTE_OWNER &&
                !memcmp(bytes + name, KEEL_NOTE_OWNER, sizeof KEEL_NOTE_OWNER))
                take_renamed(r, bytes + contents, note.n_descsz);
        }
    }
}

void schema_elf(SchemaReader *r, Elf *elf)
{
    Sections sections = {0};
    int rc = read_sections(r, elf, &sections);
    if (rc) {
        schema_fail(r, rc);
        free(sections.list);
        return;
    }
    sort(&r->out.functions, sizeof(SchemaFunction));
    if (r->out.statics.bytes)
        qsort(r->out.statics.data, SCHEMA_COUNT(r->out.statics, SchemaStatic), sizeof(SchemaStatic),
              by_static);
    read_symbols(r, elf);
    read_links(r, elf, &sections);
    place_statics(r, &sections);
    read_notes(r, elf);
    free(sections.list);
}
