/* Which free pages a migration fills ahead, and who may touch them. Owns the record of it. */
#include "state/ahead.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Above what is in use, room for frames to grow into meanwhile. */
enum { GROWTH_PAGES = 4096 };
/* At a time, so that a frame isn't longer by more than about 30 µs. */
enum { MARK_PAGES = 256 };

static uint64_t dirty_bytes(const State *state)
{
    return (state->max_bytes / PAGE_BYTES / 64 + 1) * sizeof(uint64_t);
}

int ahead_open(State *state)
{
    struct Ahead *ahead = calloc(1, sizeof *ahead);
    if (!ahead || pthread_mutex_init(&ahead->busy, NULL)) {
        free(ahead);
        return KEEL_ENOMEM;
    }
    ahead->dirty = mmap(NULL, dirty_bytes(state), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ahead->dirty == MAP_FAILED) {
        pthread_mutex_destroy(&ahead->busy);
        free(ahead);
        return KEEL_ENOMEM;
    }
    state->ahead = ahead;
    return KEEL_OK;
}

/* Above the top pages are taken for zero: those that aren't are known by `high`. */
static void give_back(State *state)
{
    struct Ahead *ahead = state->ahead;
    ArenaHead *head = arena_head(state);
    for (uint32_t i = 0; i < ahead->range_count && !ahead->claimed; i++) {
        uint32_t last = ahead->ranges[i].first + ahead->ranges[i].count;
        if (last > head->high)
            head->high = last;
        if (state->track.data_last < (uint64_t)state->data_first + last)
            state->track.data_last = (uint64_t)state->data_first + last; /* ahead_protect's */
    }
    if (state->live_high < head->high)
        state->live_high = head->high;
    ahead->range_count = ahead->claimed ? ahead->range_count : 0;
}

void ahead_close(State *state)
{
    struct Ahead *ahead = state->ahead;
    if (!ahead)
        return;
    give_back(state);
    munmap(ahead->dirty, dirty_bytes(state));
    pthread_mutex_destroy(&ahead->busy);
    free(ahead);
    state->ahead = NULL;
}

/* ---- places ---- */

static int overlap(const struct Ahead *ahead, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < ahead->range_count; i++)
        if (first < ahead->ranges[i].first + ahead->ranges[i].count &&
            ahead->ranges[i].first < first + count)
            return (int)i + 1;
    return 0;
}

/* The base must have the only version of each page, so that it can be written there. The page
 * behind the last one of these of which the pool has one, or 0. */
static uint32_t pooled_end(const State *state, uint32_t first, uint32_t count)
{
    const Store *store = &state->store;
    uint32_t id = state->data_first + first, end = 0;
    for (uint32_t i = 0; i < store->pooled_count; i++) {
        uint32_t at = store->pooled[i] - id;
        if (at < count && first + at + 1 > end)
            end = first + at + 1;
    }
    return end;
}

static int add_range(struct Ahead *ahead, uint32_t first, uint32_t count)
{
    uint32_t at = 0;
    while (at < ahead->range_count && ahead->ranges[at].first < first)
        at++;
    PageRange *before = at ? &ahead->ranges[at - 1] : NULL;
    if (before && before->first + before->count == first) {
        before->count += count;
        return KEEL_OK;
    }
    if (ahead->range_count == AHEAD_RANGES)
        return KEEL_ELIMIT;
    memmove(&ahead->ranges[at + 1], &ahead->ranges[at],
            (ahead->range_count - at) * sizeof *ahead->ranges);
    ahead->ranges[at] = (PageRange){first, count};
    ahead->range_count++;
    return KEEL_OK;
}

/* At the end of a run of free pages: the allocator takes from its begin. */
static uint32_t place_between(const State *state, uint32_t pages)
{
    uint32_t run, count, past = 0;
    while (pages_next_free(state, pages, &past, &run, &count)) {
        uint32_t end = run + count;
        while (end - run >= pages) {
            int taken = overlap(state->ahead, end - pages, pages);
            if (!taken && !pooled_end(state, end - pages, pages))
                return end - pages;
            end = taken ? state->ahead->ranges[taken - 1].first : run;
        }
    }
    return 0;
}

static uint32_t place_above(const State *state, uint32_t pages)
{
    const struct Ahead *ahead = state->ahead;
    uint32_t top = arena_head(state)->top, low = top, room = state->data_pages;
    for (int i = 0; i < state->pin_top; i++)
        if (state->pins[i] && state->pins[i]->data_last - state->data_first > low)
            low = state->pins[i]->data_last - state->data_first;
    if (low >= room || pages > room - low)
        return 0;
    uint32_t spare = room - low - pages;
    low += spare < GROWTH_PAGES ? spare / 2 : GROWTH_PAGES;
    for (uint32_t i = 0; i < ahead->range_count; i++)
        if (ahead->ranges[i].first >= top && ahead->ranges[i].first + ahead->ranges[i].count > low)
            low = ahead->ranges[i].first + ahead->ranges[i].count;
    uint32_t past;
    while (low < room && pages <= room - low && (past = pooled_end(state, low, pages)))
        low = past;
    return low < room && pages <= room - low ? low : 0;
}

uint32_t ahead_place(State *state, uint32_t pages)
{
    /* Pins see free pages, too, though nothing of theirs is there. */
    uint32_t first = state->pin_count ? 0 : place_between(state, pages);
    if (!first)
        first = place_above(state, pages);
    return first && add_range(state->ahead, first, pages) == KEEL_OK ? first : 0;
}

int ahead_may_come(const State *state, uint32_t pages)
{
    uint32_t run, count, past = 0;
    return !store_plain(state) && (pages <= state->data_pages - arena_head(state)->top ||
                                   pages_next_free(state, pages, &past, &run, &count));
}

/* ---- while they are filled ---- */

void ahead_yield(State *state, uint32_t first, uint32_t count)
{
    struct Ahead *ahead = state->ahead;
    if (!ahead || ahead->claimed || ahead->lost || !overlap(ahead, first, count))
        return;
    ahead->lost = 1;
    atomic_store(&ahead->stop, 1);
    pthread_mutex_lock(&ahead->busy); /* it may be in the middle of a few pages */
    pthread_mutex_unlock(&ahead->busy);
    give_back(state);
}

uint64_t ahead_piece(const State *state, uint64_t *at, uint64_t last)
{
    const struct Ahead *ahead = state->ahead;
    if (!ahead || ahead->claimed)
        return last;
    for (uint32_t i = 0; i < ahead->range_count; i++) {
        uint64_t first = (uint64_t)state->data_first + ahead->ranges[i].first;
        if (*at >= first + ahead->ranges[i].count)
            continue;
        if (*at < first)
            return first < last ? first : last;
        *at = first + ahead->ranges[i].count;
    }
    return last;
}

/* Of [first, last) those that follow `*done`; `begin` is the page of the arena that they count
 * from.
 */
static void mark(State *state, uint64_t begin, uint32_t first, uint32_t last, uint32_t *done,
                 uint64_t *never_before)
{
    first = first > *done ? first : *done;
    last = last > first && last - first > MARK_PAGES ? first + MARK_PAGES : last;
    if (first >= last)
        return;
    ahead_protect(state, begin + first, begin + last);
    *done = last;
    if (*never_before < begin + last)
        *never_before = begin + last;
}

void ahead_mark(State *state)
{
    struct Ahead *ahead = state->ahead;
    if (ahead->lost || !ahead->range_count || !state->track.protecting)
        return;
    uint32_t used =
        arena_head(state)->high > state->live_high ? arena_head(state)->high : state->live_high;
    uint32_t next = 0, last = 0;
    for (uint32_t i = ahead->range_count; i-- > 0 && ahead->ranges[i].first >= used;)
        next = ahead->ranges[i].first;
    for (uint32_t i = 0; i < ahead->range_count; i++)
        last = ahead->ranges[i].first + ahead->ranges[i].count;
    mark(state, 0, meta_pages(used), meta_pages(last), &ahead->meta_done, &state->track.meta_last);
    mark(state, state->data_first, used, next, &ahead->data_done, &state->track.data_last);
}

void ahead_note(State *state, uint32_t id, uint32_t count)
{
    for (uint32_t end = id + count; id < end; id++)
        state->ahead->dirty[id / 64] |= UINT64_C(1) << id % 64;
}
