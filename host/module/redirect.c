/* Rewrites the image's references to exit and its kin, after the dynamic loader resolved them. Owns
 * nothing; writes only words that a relocation of the image names, inside the image; reads the
 * image's dynamic section with every place checked. Loader's thread. */
#include "module/redirect.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <keel/heap.h>

#include "module/verify.h"

#if defined(__x86_64__)
enum { RELOC_SLOT = R_X86_64_JUMP_SLOT, RELOC_DATA = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { RELOC_SLOT = R_AARCH64_JUMP_SLOT, RELOC_DATA = R_AARCH64_GLOB_DAT };
#endif

/* ---- what the module calls instead ---- */

/* Back only where the process, or the thread, may really end: on a thread of the module's own the
 * trap makes it that thread's fault. */
static void leave(int32_t kind, int32_t code)
{
    if (state_module_leaves(kind, code))
        __builtin_trap();
}

static _Noreturn void module_exit(int code)
{
    leave(KEEL_LEAVE_EXIT, code);
    exit(code);
}

static _Noreturn void module_exit_now(int code)
{
    leave(KEEL_LEAVE_EXIT_NOW, code);
    _exit(code);
}

static _Noreturn void module_quick_exit(int code)
{
    leave(KEEL_LEAVE_QUICK_EXIT, code);
    quick_exit(code);
}

static _Noreturn void module_thread_exit(void *value)
{
    leave(KEEL_LEAVE_THREAD_EXIT, 0);
    pthread_exit(value);
}

static uintptr_t instead_of(const char *name)
{
    if (!strcmp(name, "exit"))
        return (uintptr_t)module_exit;
    if (!strcmp(name, "_exit") || !strcmp(name, "_Exit"))
        return (uintptr_t)module_exit_now;
    if (!strcmp(name, "quick_exit"))
        return (uintptr_t)module_quick_exit;
    if (!strcmp(name, "pthread_exit"))
        return (uintptr_t)module_thread_exit;
    return 0;
}

/* ---- the image's relocations ---- */

typedef struct Tables {
    const Generation *generation;
    uintptr_t symbols, strings, rela, slots;
    uint64_t strings_bytes, rela_bytes, slots_bytes;
} Tables;

static int readable(const Tables *tables, uintptr_t address, uint64_t bytes)
{
    return bytes && verify_inside(tables->generation, address, bytes, PF_R);
}

/* glibc adds the load address to most entries in place. */
static uintptr_t placed(const Generation *g, uint64_t value)
{
    return value >= g->load_first ? (uintptr_t)value : (uintptr_t)value + g->load_bias;
}

static int find_tables(Tables *tables, const Generation *g)
{
    struct link_map *map = NULL;
    *tables = (Tables){.generation = g};
    if (dlinfo(g->handle, RTLD_DI_LINKMAP, &map) || !map)
        return 0;
    int addends = 1;
    for (uintptr_t at = (uintptr_t)map->l_ld;; at += sizeof(ElfW(Dyn))) {
        if (!readable(tables, at, sizeof(ElfW(Dyn))))
            return 0;
        const ElfW(Dyn) *entry = (const ElfW(Dyn) *)at;
        uint64_t value = entry->d_un.d_val;
        if (entry->d_tag == DT_NULL)
            break;
        else if (entry->d_tag == DT_SYMTAB)
            tables->symbols = placed(g, value);
        else if (entry->d_tag == DT_STRTAB)
            tables->strings = placed(g, value);
        else if (entry->d_tag == DT_STRSZ)
            tables->strings_bytes = value;
        else if (entry->d_tag == DT_RELA)
            tables->rela = placed(g, value);
        else if (entry->d_tag == DT_RELASZ)
            tables->rela_bytes = value;
        else if (entry->d_tag == DT_JMPREL)
            tables->slots = placed(g, value);
        else if (entry->d_tag == DT_PLTRELSZ)
            tables->slots_bytes = value;
        else if (entry->d_tag == DT_PLTREL)
            addends = value == DT_RELA;
    }
    if (!addends)
        tables->slots_bytes = 0;
    return readable(tables, tables->strings, tables->strings_bytes);
}

/* NULL unless the symbol is one that others define, with a name that ends. */
static const char *name_of(const Tables *tables, uint64_t index)
{
    uintptr_t at = tables->symbols + index * sizeof(ElfW(Sym));
    if (!readable(tables, at, sizeof(ElfW(Sym))))
        return NULL;
    const ElfW(Sym) *symbol = (const ElfW(Sym) *)at;
    if (symbol->st_shndx != SHN_UNDEF || symbol->st_name >= tables->strings_bytes)
        return NULL;
    const char *name = (const char *)tables->strings + symbol->st_name;
    return memchr(name, 0, tables->strings_bytes - symbol->st_name) ? name : NULL;
}

/* The loader made what lies in RELRO read-only; it is so again afterwards. */
static int write_word(const Generation *g, uintptr_t place, uintptr_t value)
{
    if (place % sizeof value || !verify_inside(g, place, sizeof value, PF_R | PF_W))
        return 0;
    uint64_t own = place - g->load_bias;
    int sealed = own >= g->image->relro_first && own < g->image->relro_last;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *first = (void *)(place & ~(uintptr_t)(page - 1));
    if (sealed && mprotect(first, page, PROT_READ | PROT_WRITE))
        return 0;
    __atomic_store_n((uintptr_t *)place, value, __ATOMIC_RELEASE);
    if (sealed)
        mprotect(first, page, PROT_READ);
    return 1;
}

static int redirect_in(const Tables *tables, uintptr_t first, uint64_t bytes)
{
    int count = 0;
    for (uint64_t at = 0; at + sizeof(ElfW(Rela)) <= bytes; at += sizeof(ElfW(Rela))) {
        if (!readable(tables, first + at, sizeof(ElfW(Rela))))
            break;
        const ElfW(Rela) *rela = (const ElfW(Rela) *)(first + at);
        unsigned type = (unsigned)ELF64_R_TYPE(rela->r_info);
        if (type != RELOC_SLOT && type != RELOC_DATA)
            continue;
        const char *name = name_of(tables, ELF64_R_SYM(rela->r_info));
        uintptr_t instead = name ? instead_of(name) : 0;
        if (instead)
            count += write_word(tables->generation,
                                tables->generation->load_bias + (uintptr_t)rela->r_offset, instead);
    }
    return count;
}

int redirect_leaving(const Generation *generation)
{
    Tables tables;
    if (!find_tables(&tables, generation))
        return 0;
    return redirect_in(&tables, tables.slots, tables.slots_bytes) +
           redirect_in(&tables, tables.rela, tables.rela_bytes);
}
