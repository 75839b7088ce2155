/* The loose hash of a state that another process's is compared with, again and again: whole once,
 * then at the cost of what was ever written.
 *
 * The memory of an adopted state is a private mapping of the other's: what this process writes gets
 * pages of its own, which /proc/self/pagemap tells from those that are still the file's. So a page
 * that was never written keeps its leaf. Where that can't be asked, all of it is hashed each time.
 * Owns the leaves. The thread that runs the state. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/leaf.h"

/* Of an entry of pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define ENTRY_OF_FILE (UINT64_C(1) << 61)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_PRESENT (UINT64_C(1) << 63)

enum { ENTRIES = 4096 };

struct LooseHash {
    const State *state;
    StateSpan images[2];
    int image_count;
    int pagemap;    /* -1: it can't be asked */
    uint64_t *leaf; /* by arena page; of those that count */
    uint64_t bytes;
    uint32_t top;
    uint64_t sum;
    uint64_t entries[ENTRIES];
};

/* As leaf_of in leaves.c, with all images in which words may point; only `loose`. */
static uint64_t loose_of(uint32_t id, const uint8_t *page, const StateSpan *images, int count)
{
    const uint64_t *words = (const uint64_t *)(const void *)page;
    uint64_t loose[PAGE_BYTES / 8];
    if (id && leaf_is_zero(words))
        return 0;
    int any = !id;
    for (int k = 0; k < count && !any; k++)
        any = leaf_points(words, (uintptr_t)images[k].address, images[k].bytes);
    if (!any)
        return leaf_place(id, page);
    memcpy(loose, page, PAGE_BYTES);
    if (id == 0)
        ((ArenaHead *)(void *)loose)->high = 0;
    for (int k = 0; k < count && id; k++)
        for (int i = 0; i < PAGE_BYTES / 8; i++)
            if (words[i] - (uintptr_t)images[k].address < images[k].bytes)
                loose[i] = UINT64_C(0xC0DE) << 48;
    return leaf_place(id, loose);
}

uint64_t state_hash_loose(const State *state, const StateSpan *images, int count)
{
    uint32_t top = arena_top(state), meta = meta_pages(top);
    uint64_t sum = 0;
    for (uint32_t id = 0; id < meta; id++)
        sum += loose_of(id, state->base + (uint64_t)id * PAGE_BYTES, images, count);
    for (uint32_t id = state->data_first; id < state->data_first + top; id++)
        sum += loose_of(id, state->base + (uint64_t)id * PAGE_BYTES, images, count);
    return sum;
}

static void look(LooseHash *loose, uint32_t id)
{
    uint64_t is = loose_of(id, loose->state->base + (uint64_t)id * PAGE_BYTES, loose->images,
                           loose->image_count);
    loose->sum += is - loose->leaf[id];
    loose->leaf[id] = is;
}

static void take(LooseHash *loose, uint32_t first, uint32_t last)
{
    for (uint32_t id = first; id < last; id++)
        look(loose, id);
}

static void leave_out(LooseHash *loose, uint32_t first, uint32_t last)
{
    for (uint32_t id = first; id < last; id++) {
        loose->sum -= loose->leaf[id];
        loose->leaf[id] = 0;
    }
}

/* Those that were written; all of them where nobody says. */
static void take_written(LooseHash *loose, uint32_t first, uint32_t last)
{
    for (uint32_t at = first; at < last;) {
        uint32_t n = last - at < ENTRIES ? last - at : ENTRIES;
        uint64_t page = (uintptr_t)loose->state->base / PAGE_BYTES + at;
        ssize_t got = loose->pagemap < 0
                          ? -1
                          : pread(loose->pagemap, loose->entries, n * sizeof(uint64_t),
                                  (off_t)(page * sizeof(uint64_t)));
        int told = got == (ssize_t)(n * sizeof(uint64_t));
        for (uint32_t i = 0; i < n; i++) {
            uint64_t entry = told ? loose->entries[i] : ENTRY_PRESENT;
            if (entry & (ENTRY_PRESENT | ENTRY_SWAPPED) && !(entry & ENTRY_OF_FILE))
                look(loose, at + i);
        }
        at += n;
    }
}

int loose_new(const State *state, const StateSpan *images, int count, LooseHash **ret)
{
    LooseHash *loose = calloc(1, sizeof *loose);
    if (!loose)
        return KEEL_ENOMEM;
    *loose = (LooseHash){.state = state, .image_count = count, .bytes = state->max_bytes / 512};
    memcpy(loose->images, images, (size_t)count * sizeof *images);
    loose->leaf = mmap(NULL, loose->bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (loose->leaf == MAP_FAILED) {
        free(loose);
        return KEEL_ENOMEM;
    }
    loose->pagemap = state->adopted ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;
    loose->top = arena_top(state);
    take(loose, 0, meta_pages(loose->top));
    take(loose, state->data_first, state->data_first + loose->top);
    *ret = loose;
    return KEEL_OK;
}

uint64_t loose_now(LooseHash *loose)
{
    const State *state = loose->state;
    uint32_t was = loose->top, top = arena_top(state), low = was < top ? was : top;
    take_written(loose, 0, meta_pages(low));
    take_written(loose, state->data_first, state->data_first + low);
    if (top > was) {
        take(loose, meta_pages(was), meta_pages(top));
        take(loose, state->data_first + was, state->data_first + top);
    } else {
        leave_out(loose, meta_pages(top), meta_pages(was));
        leave_out(loose, state->data_first + top, state->data_first + was);
    }
    loose->top = top;
    return loose->sum;
}

void loose_free(LooseHash *loose)
{
    if (!loose)
        return;
    munmap(loose->leaf, loose->bytes);
    if (loose->pagemap >= 0)
        close(loose->pagemap);
    free(loose);
}
