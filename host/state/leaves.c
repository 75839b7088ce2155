/* Hashes of the state that cost what a frame changed. Each page that is in use counts by a leaf, a
 * number of its contents and its place; the hash is the sum of all leaves (Bellare and Micciancio's
 * AdHash, 1997, here against accidents and not adversaries), so that a changed page costs one
 * subtraction and one addition.
 *
 * Words that point into the running image differ from process to process. Such a page has two
 * leaves: `exact` knows where in the image the word points, `loose` only that it does, so that two
 * builds can be compared. [frame] */
#include <string.h>
#include <sys/mman.h>

#include "state/leaf.h"
#include "state/leaves.h"

static Leaf leaf_of(const Leaves *leaves, uint32_t id, const uint8_t *page)
{
    const uint64_t *words = (const uint64_t *)(const void *)page;
    uint64_t first = leaves->first, span = leaves->span;
    uint64_t exact[PAGE_BYTES / 8], loose[PAGE_BYTES / 8];
    if (id == 0) { /* how far memory was used once depends on pins, not on the module */
        memcpy(exact, page, PAGE_BYTES);
        ((ArenaHead *)(void *)exact)->high = 0;
        uint64_t hash = leaf_place(id, exact);
        return (Leaf){hash, hash};
    }
    if (leaf_is_zero(words))
        return (Leaf){0, 0};
    if (!span || !leaf_points(words, first, span)) {
        uint64_t hash = leaf_place(id, page);
        return (Leaf){hash, hash};
    }
    for (int i = 0; i < PAGE_BYTES / 8; i++) {
        exact[i] = loose[i] = words[i];
        for (int n = leaves->images; words[i] - first < span && n-- > 0;) {
            uint64_t offset = words[i] - leaves->image[n].first;
            if (offset >= leaves->image[n].span)
                continue;
            loose[i] = UINT64_C(0xC0DE) << 48;
            exact[i] = loose[i] | (uint64_t)n << 40 | offset;
            break;
        }
    }
    return (Leaf){leaf_place(id, exact), leaf_place(id, loose)};
}

static int counted(const State *state, const Leaves *leaves, uint32_t id)
{
    return id < meta_pages(leaves->top) ||
           (id >= state->data_first && id - state->data_first < leaves->top);
}

static void add(StateHashes *sum, Leaf leaf)
{
    sum->exact += leaf.exact;
    sum->loose += leaf.loose;
}

static void drop(StateHashes *sum, Leaf leaf)
{
    sum->exact -= leaf.exact;
    sum->loose -= leaf.loose;
}

void leaves_set(const State *state, Leaves *leaves, uint32_t id, const uint8_t *page)
{
    Leaf leaf = leaf_of(leaves, id, page);
    if (counted(state, leaves, id)) {
        drop(&leaves->sum, leaves->leaf[id]);
        add(&leaves->sum, leaf);
    }
    leaves->leaf[id] = leaf;
}

void leaves_put(State *state, uint32_t id, const uint8_t *page)
{
    leaves_set(state, state->leaves, id, page);
}

void leaves_clear(State *state, uint32_t first, uint32_t last)
{
    Leaves *leaves = state->leaves;
    for (uint32_t id = first; id < last; id++) {
        if (counted(state, leaves, id))
            drop(&leaves->sum, leaves->leaf[id]);
        leaves->leaf[id] = (Leaf){0, 0};
    }
}

static void count_range(Leaves *leaves, uint64_t first, uint64_t last, int in)
{
    for (uint64_t id = first; id < last; id++)
        (in ? add : drop)(&leaves->sum, leaves->leaf[id]);
}

void leaves_reach(const State *state, Leaves *leaves, uint32_t top)
{
    uint32_t was = leaves->top, low = was < top ? was : top, high = was < top ? top : was;
    if (was == top)
        return;
    count_range(leaves, meta_pages(low), meta_pages(high), top > was);
    count_range(leaves, state->data_first + (uint64_t)low, state->data_first + (uint64_t)high,
                top > was);
    leaves->top = top;
}

void leaves_top(State *state, uint32_t top)
{
    leaves_reach(state, state->leaves, top);
}

static void *lazy(uint64_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

Leaves *leaves_new(const State *state)
{
    Leaves *leaves = lazy(sizeof *leaves);
    if (!leaves)
        return NULL;
    leaves->pages = state->max_bytes / PAGE_BYTES;
    leaves->leaf = lazy(leaves->pages * sizeof(Leaf));
    if (leaves->leaf)
        return leaves;
    leaves_free(leaves);
    return NULL;
}

void leaves_free(Leaves *leaves)
{
    if (!leaves)
        return;
    if (leaves->leaf)
        munmap(leaves->leaf, leaves->pages * sizeof(Leaf));
    munmap(leaves, sizeof *leaves);
}

void leaves_close(State *state)
{
    leaves_free(state->leaves);
    state->leaves = NULL;
}

static void take_all(State *state)
{
    Leaves *leaves = state->leaves;
    uint32_t top = ((const ArenaHead *)(const void *)store_page(&state->store, 0))->top;
    uint32_t meta = meta_pages(top);
    for (uint32_t id = 0; id < meta; id++)
        leaves->leaf[id] = leaf_of(leaves, id, store_page(&state->store, id));
    for (uint32_t id = state->data_first; id < state->data_first + top; id++)
        leaves->leaf[id] = leaf_of(leaves, id, store_page(&state->store, id));
    leaves->top = top;
    leaves->sum = (StateHashes){0, 0};
    count_range(leaves, 0, meta, 1);
    count_range(leaves, state->data_first, state->data_first + (uint64_t)top, 1);
}

int state_hash_frames(State *state, int on, Error *err)
{
    if (!on) {
        leaves_close(state);
        return KEEL_OK;
    }
    if (state->tier == STATE_TIER_OFF)
        return err_set(err, KEEL_EUNSUPPORTED, "without a checkpoint no hashes are kept: %s",
                       state->tier_reason);
    if (state->leaves)
        return KEEL_OK;
    state->leaves = leaves_new(state);
    if (!state->leaves)
        return err_set(err, KEEL_ENOMEM, "no memory for the state's hashes");
    take_all(state);
    return KEEL_OK;
}

int leaves_image(Leaves *leaves, uintptr_t first, uintptr_t last)
{
    for (int i = 0; i < leaves->images; i++)
        if (leaves->image[i].first == first && leaves->image[i].span == last - first)
            return 0;
    /* More than fit: the numbers go on counting from the same place in every run. */
    if (leaves->images == LEAVES_IMAGES)
        leaves->images--;
    leaves->image[leaves->images].first = first;
    leaves->image[leaves->images++].span = last - first;
    uint64_t low = UINT64_MAX, high = 0;
    for (int i = 0; i < leaves->images; i++) {
        uint64_t end = leaves->image[i].first + leaves->image[i].span;
        low = leaves->image[i].first < low ? leaves->image[i].first : low;
        high = end > high ? end : high;
    }
    leaves->first = low;
    leaves->span = high - low;
    return 1;
}

void state_hash_image(State *state, uintptr_t first, uintptr_t last)
{
    Leaves *leaves = state->leaves;
    /* Nothing points yet into an image that has just come, but for one that ran before hashes were
     * kept. */
    if (leaves && leaves_image(leaves, first, last) && leaves->images == 1)
        take_all(state);
}

int state_hashes(const State *state, StateHashes *ret)
{
    if (!state->leaves || state->tier == STATE_TIER_OFF)
        return KEEL_EUNSUPPORTED;
    *ret = state->leaves->sum;
    return KEEL_OK;
}
