/* The image's own tables, for a schema: sections, the compiler's own symbols, whose statics those
 * of inlined functions are, renamed fields. One thread. */
#include <elf.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keel/change.h>

#include "image/dwarf_schema.h"

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

void schema_sort(Buf *list, size_t size)
{
    if (list->bytes)
        qsort(list->data, list->bytes / size, size, by_address);
}

static int read_sections(SchemaReader *r, Elf *elf, SchemaSections *ret)
{
    size_t count, names;
    if (elf_getshdrnum(elf, &count) || elf_getshdrstrndx(elf, &names) || count > 1 << 16)
        return KEEL_EIMAGE;
    SchemaSection *list = calloc(count + 1, sizeof *list);
    if (!list)
        return KEEL_ENOMEM;
    size_t kept = 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) && kept < count;) {
        SchemaSection s = {0};
        if (!gelf_getshdr(scn, &s.head) || !(s.head.sh_flags & SHF_ALLOC) || !s.head.sh_size ||
            s.head.sh_flags & SHF_TLS)
            continue;
        const char *name = elf_strptr(elf, names, s.head.sh_name);
        const Elf_Data *data = s.head.sh_type == SHT_NOBITS ? NULL : elf_rawdata(scn, NULL);
        if (data && data->d_size >= s.head.sh_size)
            s.data = data->d_buf;
        s.place = !(s.head.sh_flags & SHF_WRITE)                ? SCHEMA_CONSTANT
                  : name && !strcmp(name, ".keel.cache")        ? SCHEMA_CACHE
                  : name && !strcmp(name, KEEL_CONVERT_SECTION) ? SCHEMA_CACHE
                  : name && !strncmp(name, ".data.rel.ro", 12)  ? SCHEMA_CONSTANT
                  : s.data                                      ? SCHEMA_DATA
                                                                : SCHEMA_ZERO;
        list[kept++] = s;
    }
    *ret = (SchemaSections){list, kept};
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
    schema_sort(&r->out.ranges, sizeof(SchemaRange));
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

static const SchemaRange *range_of(const SchemaReader *r, uint64_t address)
{
    const Schema look = {.ranges = SCHEMA_LIST(r->out.ranges, SchemaRange),
                         .range_count = (uint32_t)SCHEMA_COUNT(r->out.ranges, SchemaRange)};
    return schema_range_at(&look, address);
}

static void take_symbol(SchemaReader *r, const GElf_Sym *sym, const char *name, Buf *functions)
{
    int type = GELF_ST_TYPE(sym->st_info);
    if (!name || !*name || sym->st_shndx == SHN_UNDEF || sym->st_shndx >= SHN_LORESERVE)
        return;
    const SchemaRange *in = range_of(r, sym->st_value);
    int is_code = in && in->kind == SCHEMA_CODE;
    if (is_code && (type == STT_FUNC || type == STT_NOTYPE)) {
        Sym f = {sym->st_value, name, strchr(name, '.') != NULL};
        if (buf_add(functions, &f, sizeof f))
            schema_fail(r, KEEL_ENOMEM);
    } else if (!sym->st_size) {
        return;
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

/* Functions without debug information: of assembly, of libraries. */
static void add_untold(SchemaReader *r, const Sym *known, size_t count, Buf *ret)
{
    const Schema look = {.functions = SCHEMA_LIST(r->out.functions, SchemaFunction),
                         .function_count =
                             (uint32_t)SCHEMA_COUNT(r->out.functions, SchemaFunction)};
    for (size_t i = 0; i < count && r->out.units.bytes; i++) {
        int64_t at = schema_function_at(&look, known[i].address);
        if (known[i].is_clone || (at >= 0 && look.functions[at].address == known[i].address))
            continue;
        SchemaFunction f = {.address = known[i].address,
                            .bytes = 1,
                            .name = schema_intern(r, known[i].name),
                            .flags = SCHEMA_FOLDED};
        if (buf_add(ret, &f, sizeof f))
            schema_fail(r, KEEL_ENOMEM);
    }
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
    schema_sort(&r->out.symbols, sizeof(SchemaSymbol));
    schema_sort(&functions, sizeof(Sym));
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
    add_untold(r, known, n, &folded);
    if (folded.bytes && buf_add(&r->out.functions, folded.data, folded.bytes))
        schema_fail(r, KEEL_ENOMEM);
    schema_sort(&r->out.functions, sizeof(SchemaFunction));
    buf_done(&folded);
    buf_done(&functions);
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
            if (note.n_type == KEEL_NOTE_UNION && note.n_namesz == sizeof KEEL_NOTE_OWNER &&
                !memcmp(bytes + name, KEEL_NOTE_OWNER, sizeof KEEL_NOTE_OWNER))
                schema_take_union(r, bytes + contents, note.n_descsz);
            if (note.n_type == KEEL_NOTE_CONVERT && note.n_namesz == sizeof KEEL_NOTE_OWNER &&
                !memcmp(bytes + name, KEEL_NOTE_OWNER, sizeof KEEL_NOTE_OWNER))
                schema_take_hook(r, bytes + contents, note.n_descsz);
        }
    }
}

void schema_elf(SchemaReader *r, Elf *elf)
{
    SchemaSections sections = {0};
    int rc = read_sections(r, elf, &sections);
    if (rc) {
        schema_fail(r, rc);
        free(sections.list);
        return;
    }
    schema_sort(&r->out.functions, sizeof(SchemaFunction));
    if (r->out.statics.bytes)
        qsort(r->out.statics.data, SCHEMA_COUNT(r->out.statics, SchemaStatic), sizeof(SchemaStatic),
              by_static);
    read_symbols(r, elf);
    schema_links(r, elf, &sections);
    schema_place_statics(r, &sections);
    read_notes(r, elf);
    free(sections.list);
}
