/* Takes one generation out of the process: nobody inside, destructors, dlclose, and then a look at
 * whether the mapping is really gone, since dlclose doesn't say.
 *
 * Destructors run here before dlclose and under the guard, because inside dlclose the loader's lock
 * is held: one that spins or crashes there would take the loader with it. Their entries are then
 * pointed at an empty function, so that dlclose runs them no second time. */
#include "module/retire.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault/guard.h"
#include "image/inspect.h"
#include "module/maps.h"
#include "module/quiet.h"
#include "module/verify.h"

#define DESTRUCTORS_NS (INT64_C(1000) * 1000 * 1000)

typedef void Destructor(void);

typedef struct Fini {
    Destructor **array;
    size_t count;
    size_t next; /* runs from the last to the first */
} Fini;

static void nothing(void) {}

static void run_fini(void *user)
{
    Fini *fini = user;
    while (fini->next > 0)
        fini->array[--fini->next]();
}

static void find_fini(const Generation *g, Fini *ret)
{
    *ret = (Fini){0};
    struct link_map *map = NULL;
    if (dlinfo(g->handle, RTLD_DI_LINKMAP, &map) || !map || !map->l_ld)
        return;
    uintptr_t array = 0;
    uint64_t bytes = 0;
    for (const ElfW(Dyn) *dyn = map->l_ld;
         verify_inside(g, (uintptr_t)dyn, sizeof *dyn, PF_R) && dyn->d_tag != DT_NULL; dyn++) {
        if (dyn->d_tag == DT_FINI_ARRAY)
            array = g->load_bias + dyn->d_un.d_ptr;
        if (dyn->d_tag == DT_FINI_ARRAYSZ)
            bytes = dyn->d_un.d_val;
    }
    if (!array || !bytes || array % sizeof(Destructor *) || !verify_inside(g, array, bytes, PF_R))
        return;
    ret->array = (Destructor **)array;
    ret->count = ret->next = bytes / sizeof(Destructor *);
}

static int silence_fini(const Fini *fini)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)fini->array & ~(page - 1);
    uintptr_t last = ((uintptr_t)(fini->array + fini->count) + page - 1) & ~(page - 1);
    if (mprotect((void *)first, last - first, PROT_READ | PROT_WRITE))
        return 0;
    for (size_t i = 0; i < fini->count; i++)
        fini->array[i] = nothing;
    return 1;
}

static RetireOutcome end_module(Generation *g, Error *err)
{
    Fini fini;
    Fault fault;
    find_fini(g, &fini);
    if (!fini.count)
        return RETIRE_CLOSED;
    FaultKind kind = guard_run(g->number, DESTRUCTORS_NS, run_fini, &fini, &fault);
    int silent = silence_fini(&fini); /* also at the process's exit */
    if (kind != FAULT_NONE) {
        snprintf(g->stays, sizeof g->stays,
                 kind == FAULT_DEADLINE ? "its destructors did not end within a second"
                                        : "its destructors crashed (%.120s)",
                 fault.text);
        err_set(err, KEEL_EFAULT, "%s", g->stays);
        return RETIRE_STAYS;
    }
    if (!silent) {
        snprintf(g->stays, sizeof g->stays,
                 "the list of its destructors can't be changed, and they must not run twice");
        err_set(err, KEEL_EIO, "%s", g->stays);
        return RETIRE_STAYS;
    }
    return RETIRE_CLOSED;
}

/* Unmapping takes as long as there are pages, and whoever needs a page meanwhile waits for it: what
 * the file can give again goes before, in pieces. */
static void thin_out(const Generation *g)
{
    enum { PIECE = 256 * 1024 };
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t at = (g->load_bias + load->address) & ~(page - 1);
        uintptr_t end = g->load_bias + load->address + load->memory_bytes;
        for (; !(load->flags & PF_W) && at < end; at += PIECE)
            madvise((void *)at, end - at < PIECE ? end - at : PIECE, MADV_DONTNEED);
    }
}

static void close_handle(void *user)
{
    dlclose(user);
}

typedef struct Left {
    const Generation *generation;
    ino_t inode;
} Left;

static int is_left(const MapEntry *entry, void *user)
{
    const Left *left = user;
    return entry->first < left->generation->load_last &&
           entry->last > left->generation->load_first && entry->inode == left->inode;
}

/* Negative: it can't be told now. */
static int still_mapped(const Generation *g, Error *err)
{
    struct stat stat;
    Left left = {.generation = g};
    if (fstat(g->image->memfd, &stat))
        return 1;
    left.inode = stat.st_ino;
    return maps_each(is_left, &left, err);
}

static int names_it(struct dl_phdr_info *info, size_t bytes, void *user)
{
    const Generation *g = user;
    (void)bytes;
    return info->dlpi_name && strcmp(info->dlpi_name, g->staged) == 0;
}

static void say_why_it_stays(Generation *g)
{
    Inspection *look = calloc(1, sizeof *look);
    const char *why = "a library keeps it, or a thread's thread-local objects wait for its end";
    int known = look && !inspect_bytes(g->image->data, g->image->bytes, look, NULL);
    if (g->image->nodelete || (known && look->nodelete))
        why = "it was linked with -z nodelete: link it without";
    else if (known && look->unique.count)
        why = "it has symbols that are unique in the process (C++ inline statics): build it with "
              "-fno-gnu-unique";
    snprintf(g->stays, sizeof g->stays, "%s", why);
    free(look);
}

/* From the first executable segment to the last: where return addresses and thread functions
 * point to. */
static void find_code(const Generation *g, uintptr_t *ret_first, uintptr_t *ret_last)
{
    uintptr_t first = UINTPTR_MAX, last = 0;
    for (int i = 0; i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t at = g->load_bias + load->address;
        if (!(load->flags & PF_X))
            continue;
        first = at < first ? at : first;
        last = at + load->memory_bytes > last ? at + load->memory_bytes : last;
    }
    *ret_first = first;
    *ret_last = last;
}

/* After dlclose, which doesn't say. */
static RetireOutcome is_gone(Generation *g, Error *err)
{
    int left = dl_iterate_phdr(names_it, g) ? 1 : still_mapped(g, err);
    if (left < 0)
        return RETIRE_BUSY;
    if (!left)
        return RETIRE_CLOSED;
    g->nodelete = 1;
    say_why_it_stays(g);
    err_set(err, KEEL_EREFUSED, "%s", g->stays);
    return RETIRE_STAYS;
}

static RetireOutcome close_it(Generation *g, Error *err)
{
    if (!g->handle)
        return is_gone(g, err);
    uint32_t inside = atomic_load(&g->inside);
    if (inside) {
        err_set(err, KEEL_EBUSY, "%u host thread%s in it", inside, inside == 1 ? " is" : "s are");
        return RETIRE_BUSY;
    }
    if (guard_parked(g->number)) {
        snprintf(g->stays, sizeof g->stays,
                 "a thread that it started crashed in it and is parked there for good");
        err_set(err, KEEL_EFAULT, "%s", g->stays);
        return RETIRE_STAYS;
    }
    uintptr_t code_first, code_last;
    find_code(g, &code_first, &code_last);
    if (quiet_check(code_first, code_last, err))
        return RETIRE_BUSY;
    if (!g->ended) {
        g->ended = 1;
        RetireOutcome outcome = end_module(g, err);
        if (outcome != RETIRE_CLOSED)
            return outcome;
    }
    thin_out(g);
    Fault fault;
    if (guard_run(g->number, 2 * DESTRUCTORS_NS, close_handle, g->handle, &fault) != FAULT_NONE) {
        snprintf(g->stays, sizeof g->stays, "a destructor did not end inside dlclose (%.120s)",
                 fault.text);
        err_set(err, KEEL_EFAULT, "%s", g->stays);
        g->nodelete = 1;
        return RETIRE_LOCKED;
    }
    g->handle = NULL;
    return is_gone(g, err);
}

/* What its destructors give back to the slot's heap was allocated in its time. */
RetireOutcome retire_try(Generation *g, Error *err)
{
    uint64_t life = atomic_load(&g->life);
    state_free_in(life ? life : UINT64_MAX);
    RetireOutcome outcome = close_it(g, err);
    state_free_in(0);
    return outcome;
}
