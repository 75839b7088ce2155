/* What the dynamic section says. Owns nothing; every number is checked against the file before it
 * is followed; any thread. */
#include "image/dynamic.h"

#include <elf.h>
#include <string.h>

enum { LOADS_MAX = 64, ENTRIES_MAX = 4096 };

typedef struct Tables {
    const Bytes *file;
    Elf64_Phdr loads[LOADS_MAX];
    int load_count;
    Elf64_Phdr dynamic;
    uint64_t strings, string_bytes, symbols, hash, gnu_hash;
    uint64_t init, fini, init_array, init_bytes, fini_array, fini_bytes;
    uint64_t rela, rela_bytes, jump, jump_bytes;
    uint64_t flags, flags_1, runpath, rpath, needed_count;
    int text_relocations, bind_now, has_runpath, has_rpath;
    const uint8_t *text; /* the string table, checked */
} Tables;

void inspect_copy(char *to, size_t room, const uint8_t *from, size_t most)
{
    size_t n = 0;
    while (n + 1 < room && n < most && from[n]) {
        to[n] = from[n] < ' ' || from[n] > '~' ? '?' : (char)from[n];
        n++;
    }
    to[n] = 0;
}

static int contradict(const Tables *t, const char *what)
{
    return err_set(t->file->err, KEEL_EIMAGE, "%s: it is damaged: build it again", what);
}

/* The bytes at an address, or NULL when not all of them are in the file. */
static const uint8_t *at(const Tables *t, uint64_t address, uint64_t bytes)
{
    for (int i = 0; i < t->load_count; i++) {
        const Elf64_Phdr *p = &t->loads[i];
        uint64_t into = address - p->p_vaddr;
        if (address >= p->p_vaddr && into <= p->p_filesz && bytes <= p->p_filesz - into)
            return t->file->data + p->p_offset + into;
    }
    return NULL;
}

static int inside(const Bytes *file, uint64_t offset, uint64_t bytes)
{
    return offset <= file->bytes && bytes <= file->bytes - offset;
}

static int read_segments(Tables *t, Inspection *ret)
{
    Elf64_Ehdr head;
    if (t->file->bytes < sizeof head)
        return contradict(t, "it is too short");
    memcpy(&head, t->file->data, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_ident[EI_DATA] != ELFDATA2LSB || head.e_phentsize != sizeof(Elf64_Phdr) ||
        !inside(t->file, head.e_phoff, (uint64_t)head.e_phnum * sizeof(Elf64_Phdr)))
        return contradict(t, "its ELF header is not that of a module");
    ret->executable_stack = 1; /* what the loader assumes when nothing is said */
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, t->file->data + head.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD || p.p_type == PT_DYNAMIC)
            if (!inside(t->file, p.p_offset, p.p_filesz) || p.p_memsz < p.p_filesz)
                return contradict(t, "one of its segments lies outside the file");
        if (p.p_type == PT_LOAD && t->load_count == LOADS_MAX)
            return contradict(t, "it has too many segments");
        if (p.p_type == PT_LOAD)
            t->loads[t->load_count++] = p;
        if (p.p_type == PT_LOAD && p.p_flags & PF_W && p.p_flags & PF_X)
            ret->writable_code = 1;
        if (p.p_type == PT_DYNAMIC)
            t->dynamic = p;
        if (p.p_type == PT_GNU_STACK)
            ret->executable_stack = (p.p_flags & PF_X) != 0;
        if (p.p_type == PT_TLS)
            ret->tls_bytes = p.p_memsz > UINT32_MAX ? UINT32_MAX : (uint32_t)p.p_memsz;
    }
    return t->dynamic.p_filesz ? KEEL_OK : contradict(t, "it has no dynamic section");
}

static void take_entry(Tables *t, const Elf64_Dyn *d)
{
    uint64_t value = d->d_un.d_val;
    switch (d->d_tag) {
    case DT_STRTAB:
        t->strings = value;
        break;
    case DT_STRSZ:
        t->string_bytes = value;
        break;
    case DT_SYMTAB:
        t->symbols = value;
        break;
    case DT_HASH:
        t->hash = value;
        break;
    case DT_GNU_HASH:
        t->gnu_hash = value;
        break;
    case DT_INIT:
        t->init = value;
        break;
    case DT_FINI:
        t->fini = value;
        break;
    case DT_INIT_ARRAY:
        t->init_array = value;
        break;
    case DT_INIT_ARRAYSZ:
        t->init_bytes = value;
        break;
    case DT_FINI_ARRAY:
        t->fini_array = value;
        break;
    case DT_FINI_ARRAYSZ:
        t->fini_bytes = value;
        break;
    case DT_RELA:
        t->rela = value;
        break;
    case DT_RELASZ:
        t->rela_bytes = value;
        break;
    case DT_JMPREL:
        t->jump = value;
        break;
    case DT_PLTRELSZ:
        t->jump_bytes = value;
        break;
    case DT_FLAGS:
        t->flags |= value;
        break;
    case DT_FLAGS_1:
        t->flags_1 |= value;
        break;
    case DT_TEXTREL:
        t->text_relocations = 1;
        break;
    case DT_BIND_NOW:
        t->bind_now = 1;
        break;
    case DT_RUNPATH:
        t->runpath = value;
        t->has_runpath = 1;
        break;
    case DT_RPATH:
        t->rpath = value;
        t->has_rpath = 1;
        break;
    }
}

static int entry(const Tables *t, uint64_t i, Elf64_Dyn *ret)
{
    if (i >= t->dynamic.p_filesz / sizeof *ret || i >= ENTRIES_MAX)
        return 0;
    memcpy(ret, t->file->data + t->dynamic.p_offset + i * sizeof *ret, sizeof *ret);
    return ret->d_tag != DT_NULL;
}

/* A string of the dynamic string table, ended inside it; NULL otherwise. */
static const uint8_t *text_at(const Tables *t, uint64_t offset)
{
    if (offset >= t->string_bytes || !memchr(t->text + offset, 0, t->string_bytes - offset))
        return NULL;
    return t->text + offset;
}

static int list_add(const Tables *t, InspectList *list, uint64_t offset)
{
    const uint8_t *text = text_at(t, offset);
    if (!text)
        return contradict(t, "a name lies outside its table of names");
    if (list->count < INSPECT_LIST)
        inspect_copy(list->item[list->count], INSPECT_TEXT, text, INSPECT_TEXT);
    list->count++;
    return KEEL_OK;
}

static uint32_t entries(uint64_t bytes, uint64_t function)
{
    return (uint32_t)(bytes / sizeof(uint64_t)) + (function != 0);
}

static int read_dynamic(Tables *t, Inspection *ret)
{
    Elf64_Dyn d;
    for (uint64_t i = 0; entry(t, i, &d); i++)
        take_entry(t, &d);
    t->text = t->strings ? at(t, t->strings, t->string_bytes) : NULL;
    if (!t->text || !t->string_bytes)
        return contradict(t, "its table of names is missing or outside the file");
    if ((t->init_bytes && !at(t, t->init_array, t->init_bytes)) ||
        (t->fini_bytes && !at(t, t->fini_array, t->fini_bytes)))
        return contradict(t, "its list of constructors lies outside the file");
    if ((t->rela_bytes && !at(t, t->rela, t->rela_bytes)) ||
        (t->jump_bytes && !at(t, t->jump, t->jump_bytes)))
        return contradict(t, "its relocations lie outside the file");
    int rc = KEEL_OK;
    for (uint64_t i = 0; !rc && entry(t, i, &d); i++)
        if (d.d_tag == DT_NEEDED)
            rc = list_add(t, &ret->needed, d.d_un.d_val);
    if (rc)
        return rc;
    if (t->has_runpath || t->has_rpath) {
        const uint8_t *path = text_at(t, t->has_runpath ? t->runpath : t->rpath);
        if (!path)
            return contradict(t, "its search path lies outside its table of names");
        inspect_copy(ret->runpath, sizeof ret->runpath, path, sizeof ret->runpath);
    }
    ret->constructors = entries(t->init_bytes, t->init);
    ret->destructors = entries(t->fini_bytes, t->fini);
    ret->text_relocations = t->text_relocations || t->flags & DF_TEXTREL;
    ret->static_tls = (t->flags & DF_STATIC_TLS) != 0;
    ret->bind_now = t->bind_now || t->flags & DF_BIND_NOW || t->flags_1 & DF_1_NOW;
    ret->nodelete = (t->flags_1 & DF_1_NODELETE) != 0;
    return KEEL_OK;
}

static uint32_t word(const uint8_t *from)
{
    uint32_t x;
    memcpy(&x, from, sizeof x);
    return x;
}

/* One more than the last symbol that a relocation names; their tables have been checked. */
static uint64_t count_used(const Tables *t)
{
    const uint64_t tables[2][2] = {{t->rela, t->rela_bytes}, {t->jump, t->jump_bytes}};
    uint64_t count = 0;
    for (int i = 0; i < 2; i++) {
        const uint8_t *data = tables[i][1] ? at(t, tables[i][0], tables[i][1]) : NULL;
        for (uint64_t n = 0; data && n < tables[i][1] / sizeof(Elf64_Rela); n++) {
            Elf64_Rela r;
            memcpy(&r, data + n * sizeof r, sizeof r);
            if (ELF64_R_SYM(r.r_info) >= count)
                count = ELF64_R_SYM(r.r_info) + 1;
        }
    }
    return count;
}

/* The GNU hash table doesn't say how many symbols there are: the last chain ends with the last one.
 */
static int count_gnu(const Tables *t, uint64_t *ret_count)
{
    const uint8_t *head = at(t, t->gnu_hash, 16);
    if (!head)
        return contradict(t, "its hash table of symbols lies outside the file");
    uint32_t buckets = word(head), first = word(head + 4), bloom = word(head + 8), last = 0;
    uint64_t table = t->gnu_hash + 16 + 8ull * bloom;
    const uint8_t *bucket = at(t, table, 4ull * buckets);
    if (!bucket)
        return contradict(t, "its hash table of symbols lies outside the file");
    for (uint32_t i = 0; i < buckets; i++)
        if (word(bucket + 4ull * i) > last)
            last = word(bucket + 4ull * i);
    if (last < first) { /* it exports nothing, and what it needs is not in this table */
        uint64_t used = count_used(t);
        *ret_count = used > first ? used : first;
        return KEEL_OK;
    }
    for (uint64_t chain = table + 4ull * buckets;; last++) {
        const uint8_t *link = at(t, chain + 4ull * (last - first), 4);
        if (!link || last == UINT32_MAX)
            return contradict(t, "its hash table of symbols has no end");
        if (word(link) & 1)
            break;
    }
    *ret_count = (uint64_t)last + 1;
    return KEEL_OK;
}

static int count_symbols(const Tables *t, uint64_t *ret_count)
{
    if (t->gnu_hash)
        return count_gnu(t, ret_count);
    const uint8_t *head = t->hash ? at(t, t->hash, 8) : NULL;
    if (!head)
        return contradict(t, "it has no hash table of symbols");
    *ret_count = word(head + 4);
    return KEEL_OK;
}

static void note_sanitizer(Inspection *ret, const char *name)
{
    static const struct {
        const char *prefix;
        uint32_t which;
    } KNOWN[] = {{"__asan_", 1},   {"__tsan_", 2}, {"__ubsan_", 3},         {"__msan_", 4},
                 {"__hwasan_", 5}, {"__lsan_", 5}, {"__sanitizer_cov_", 5}, {"__dfsan_", 5}};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (!strncmp(name, KNOWN[i].prefix, strlen(KNOWN[i].prefix)))
            /* A build with two of them is named by the one that can't be added to a running host.
             */
            if (!ret->sanitizer || ret->sanitizer == 3)
                ret->sanitizer = KNOWN[i].which;
}

static int take_symbol(const Tables *t, const Elf64_Sym *s, Inspection *ret)
{
    unsigned bind = ELF64_ST_BIND(s->st_info), seen = ELF64_ST_VISIBILITY(s->st_other);
    const uint8_t *name = text_at(t, s->st_name);
    if (!name)
        return contradict(t, "a symbol's name lies outside its table of names");
    if (!*name || bind == STB_LOCAL)
        return KEEL_OK;
    if (s->st_shndx == SHN_UNDEF) {
        note_sanitizer(ret, (const char *)name);
        /* The malloc shim asks for its heap by this name; stripping leaves it. */
        if (!strcmp((const char *)name, "keel_heap_bind"))
            ret->has_shim = 1;
        return bind == STB_WEAK ? KEEL_OK : list_add(t, &ret->undefined, s->st_name);
    }
    if (bind == STB_GNU_UNIQUE) {
        int rc = list_add(t, &ret->unique, s->st_name);
        if (rc)
            return rc;
    }
    if (seen != STV_DEFAULT && seen != STV_PROTECTED)
        return KEEL_OK;
    if (!strcmp((const char *)name, "keel_module"))
        ret->exports_module = 1;
    return list_add(t, &ret->exported, s->st_name);
}

static int read_symbols(const Tables *t, Inspection *ret)
{
    uint64_t count = 0;
    int rc = count_symbols(t, &count);
    if (rc)
        return rc;
    const uint8_t *table = t->symbols ? at(t, t->symbols, count * sizeof(Elf64_Sym)) : NULL;
    if (!table)
        return contradict(t, "its symbols lie outside the file");
    for (uint64_t i = 1; !rc && i < count; i++) {
        Elf64_Sym s;
        memcpy(&s, table + i * sizeof s, sizeof s);
        rc = take_symbol(t, &s, ret);
    }
    return rc;
}

int dynamic_inspect(const Bytes *file, Inspection *ret, uint64_t *ret_symbols)
{
    Tables t = {.file = file};
    int rc = read_segments(&t, ret);
    rc = rc ? rc : read_dynamic(&t, ret);
    rc = rc ? rc : read_symbols(&t, ret);
    if (!rc)
        *ret_symbols = t.symbols;
    return rc;
}
