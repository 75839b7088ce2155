/* Runs of data pages: first fit in bins by size, neighbours joined at once. All records are in the
 * arena (PageInfo), so an undo reverts them. Every number read from them is checked before it is
 * used: the module can write there. [frame] */
#include <string.h>

#include "state/ahead.h"
#include "state/internal.h"

/* Bins: 1 … 31 pages exactly, then four a doubling. */
static uint32_t bin_of(uint32_t pages)
{
    if (pages < 32)
        return pages;
    uint32_t log = 31 - (uint32_t)__builtin_clz(pages);
    return 32 + (log - 5) * 4 + (pages >> (log - 2) & 3);
}

void pages_init(State *state)
{
    ArenaHead *head = arena_head(state);
    memset(head, 0, sizeof *head);
    head->magic = ARENA_MAGIC;
    head->base = (uintptr_t)state->base;
    head->data_first = state->data_first;
    head->data_pages = state->data_pages;
    head->top = head->high = 1;
}

static int run_is_free(const State *state, uint32_t first)
{
    const PageInfo *info = page_info(state, first);
    uint32_t top = arena_top(state);
    return first > 0 && first < top && info->kind == PAGE_FREE && info->first == first &&
           info->pages > 0 && info->pages <= top - first;
}

static void bin_remove(State *state, uint32_t first)
{
    ArenaHead *head = arena_head(state);
    PageInfo *info = page_info(state, first);
    uint32_t bin = bin_of(info->pages), top = arena_top(state);
    if (info->prev && info->prev < top)
        page_info(state, info->prev)->next = info->next;
    else
        head->bins[bin] = info->next;
    if (info->next && info->next < top)
        page_info(state, info->next)->prev = info->prev;
    if (!head->bins[bin])
        head->bin_mask[bin / 64] &= ~(UINT64_C(1) << bin % 64);
    uint32_t last = first + info->pages - 1;
    memset(page_info(state, last), 0, sizeof *info);
    memset(info, 0, sizeof *info);
}

static void bin_insert(State *state, uint32_t first, uint32_t count)
{
    ArenaHead *head = arena_head(state);
    PageInfo *info = page_info(state, first), *last = page_info(state, first + count - 1);
    uint32_t bin = bin_of(count);
    *last = (PageInfo){.kind = PAGE_FREE, .pages = count, .first = first};
    *info = (PageInfo){.kind = PAGE_FREE, .pages = count, .first = first, .next = head->bins[bin]};
    if (info->next && info->next < arena_top(state))
        page_info(state, info->next)->prev = first;
    head->bins[bin] = first;
    head->bin_mask[bin / 64] |= UINT64_C(1) << bin % 64;
}

static uint32_t take_free(State *state, uint32_t count)
{
    ArenaHead *head = arena_head(state);
    uint32_t bin = bin_of(count), found = 0;
    /* In its own bin a run can be too small; the bins above only hold larger ones. */
    uint32_t at = head->bins[bin];
    for (int tries = 0; tries < 16 && at; tries++) {
        if (!run_is_free(state, at)) {
            heap_damaged(page_info(state, at < head->data_pages ? at : 0), "a list of free pages");
            return 0;
        }
        if (page_info(state, at)->pages >= count) {
            found = at;
            break;
        }
        at = page_info(state, at)->next;
    }
    for (uint32_t b = bin + 1; !found && b < HEAP_BINS;) {
        uint64_t mask = head->bin_mask[b / 64] >> b % 64;
        if (!mask) {
            b = (b / 64 + 1) * 64;
            continue;
        }
        b += (uint32_t)__builtin_ctzll(mask);
        found = head->bins[b];
        if (!run_is_free(state, found) || page_info(state, found)->pages < count) {
            heap_damaged(head, "a list of free pages");
            return 0;
        }
    }
    if (!found)
        return 0;
    uint32_t pages = page_info(state, found)->pages;
    ahead_yield(state, found, count);
    bin_remove(state, found);
    if (pages > count)
        bin_insert(state, found + count, pages - count);
    return found;
}

static int grow_top(State *state, uint32_t count, int *ret_zeroed)
{
    ArenaHead *head = arena_head(state);
    if (head->top == 0 || head->top > state->data_pages) {
        heap_damaged(head, "the head of the state");
        return 0;
    }
    if (count > state->data_pages - head->top)
        return 0;
    /* Pages that were in use before come back as zeros, so that the same calls find the same memory
     * in a process that has no such past: a replay, a slot that was brought back. */
    ahead_yield(state, head->top, count);
    uint32_t top = head->top + count, past = head->high;
    if (past < state->live_high)
        past = state->live_high;
    if (past > state->data_pages)
        past = state->data_pages;
    if (head->top < past)
        memset(page_address(state, head->top), 0,
               (uint64_t)((top < past ? top : past) - head->top) * PAGE_BYTES);
    *ret_zeroed = 1;
    if (top > state->live_high)
        state->live_high = top;
    if (top > head->high)
        head->high = top;
    head->top = top;
    return 1;
}

uint32_t pages_take(State *state, uint32_t count, int *ret_zeroed)
{
    *ret_zeroed = 0;
    uint32_t first = take_free(state, count);
    if (first)
        return first;
    first = arena_head(state)->top;
    return grow_top(state, count, ret_zeroed) ? first : 0;
}

void pages_give(State *state, uint32_t first, uint32_t count)
{
    ArenaHead *head = arena_head(state);
    uint32_t top = arena_top(state);
    if (first == 0 || first >= top || count == 0 || count > top - first) {
        heap_damaged(page_info(state, first < head->data_pages ? first : 0), "a run of pages");
        return;
    }
    if (first + count < top && run_is_free(state, first + count)) {
        uint32_t more = page_info(state, first + count)->pages;
        bin_remove(state, first + count);
        count += more;
    }
    const PageInfo *before = page_info(state, first - 1);
    if (before->kind == PAGE_FREE && before->first < first && run_is_free(state, before->first) &&
        page_info(state, before->first)->pages == first - before->first) {
        uint32_t start = before->first;
        bin_remove(state, start);
        count += first - start;
        first = start;
    }
    if (first + count == top)
        head->top = first;
    else
        bin_insert(state, first, count);
}

/* The run [first, first + old_count) grows in place; 0 when it can't. Its new pages aren't zeroed.
 */
int pages_extend(State *state, uint32_t first, uint32_t old_count, uint32_t new_count)
{
    ArenaHead *head = arena_head(state);
    uint32_t next = first + old_count, more = new_count - old_count;
    if (next == head->top) {
        int zeroed;
        return grow_top(state, more, &zeroed);
    }
    if (!run_is_free(state, next) || page_info(state, next)->pages < more)
        return 0;
    uint32_t pages = page_info(state, next)->pages;
    ahead_yield(state, next, more);
    bin_remove(state, next);
    if (pages > more)
        bin_insert(state, next + more, pages - more);
    return 1;
}

/* Lists are short here, runs of that size few; a list that is none ends the search. */
int pages_next_free(const State *state, uint32_t count, uint32_t *past, uint32_t *ret_first,
                    uint32_t *ret_count)
{
    enum { MOST = 256 };
    const ArenaHead *head = arena_head(state);
    uint32_t seen = 0;
    for (uint32_t b = bin_of(count); b < HEAP_BINS; b++)
        for (uint32_t at = head->bins[b]; at && seen < MOST; at = page_info(state, at)->next) {
            if (!run_is_free(state, at))
                return 0;
            if (seen++ < *past || page_info(state, at)->pages < count)
                continue;
            *past = seen;
            *ret_first = at;
            *ret_count = page_info(state, at)->pages;
            return 1;
        }
    return 0;
}

static int claim_above(State *state, uint32_t first, uint32_t count)
{
    ArenaHead *head = arena_head(state);
    uint32_t top = head->top, last = first + count;
    if (first < top || top == 0 || last > state->data_pages)
        return KEEL_ECHANGED;
    head->top = last;
    if (last > head->high)
        head->high = last;
    if (last > state->live_high)
        state->live_high = last;
    if (first > top)
        pages_give(state, top, first - top);
    return KEEL_OK;
}

int pages_claim(State *state, uint32_t first, uint32_t count)
{
    uint32_t run, pages, past = 0;
    if (first >= arena_head(state)->top)
        return claim_above(state, first, count);
    while (pages_next_free(state, count, &past, &run, &pages)) {
        if (first < run || first - run > pages - count)
            continue;
        bin_remove(state, run);
        if (first > run)
            bin_insert(state, run, first - run);
        if (run + pages > first + count)
            bin_insert(state, first + count, run + pages - first - count);
        return KEEL_OK;
    }
    return KEEL_ECHANGED;
}
