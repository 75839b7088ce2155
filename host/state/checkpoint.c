/* The boundary: commit brings the checkpoint up to the arena and the statics; undo does the
 * reverse.
 *
 * A commit first writes down what it will copy (dirty list, staged statics), then sets the phase
 * word, then copies. A kill before the phase word leaves the last boundary in the store, one after
 * it a complete recipe. [frame] */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/ahead.h"
#include "state/internal.h"

int64_t state_kill_at;

void state_kill_now(void)
{
    kill(getpid(), SIGKILL);
}

static const ArenaHead *kept_head(const State *state)
{
    return (const ArenaHead *)store_page(&state->store, 0);
}

uint32_t checkpoint_meta_pages(const State *state)
{
    return meta_pages(kept_head(state)->top);
}

uint32_t checkpoint_data_last(const State *state)
{
    return state->data_first + kept_head(state)->top;
}

static int head_sound(const State *state, Error *err)
{
    const ArenaHead *head = arena_head(state);
    if (head->magic == ARENA_MAGIC && head->base == (uintptr_t)state->base &&
        head->data_first == state->data_first && head->data_pages == state->data_pages &&
        head->top > 0 && head->top <= state->data_pages && head->high >= head->top &&
        head->high <= state->data_pages)
        return 1;
    err_set(err, KEEL_EDATA,
            "the head of the state at %p is damaged: the module wrote there; undo the frame",
            (void *)state->base);
    return 0;
}

int state_sound(const State *state, Error *err)
{
    return state->tier == STATE_TIER_OFF || head_sound(state, err) ? 0 : KEEL_EDATA;
}

static void off(State *state, const char *why)
{
    state->tier = STATE_TIER_OFF;
    snprintf(state->tier_reason, sizeof state->tier_reason, "%s", why);
    track_close(state);
}

/* Frames go on without a checkpoint: what is in the store is a boundary of long ago, which nobody
 * may bring back. At the opening nothing has gone on yet. */
static void commit_nothing(State *state)
{
    if (state->kept && !state->opening)
        state->store.head->magic = 0;
    shim_commit_foreign(state);
    state->commits++;
}

/* Arena pages [first, last) become zero and cost no memory. */
void arena_punch(State *state, uint64_t first, uint64_t last)
{
    for (uint64_t end; end = ahead_piece(state, &first, last), first < last; first = end) {
        fallocate(state->arena_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(first * PAGE_BYTES), (off_t)((end - first) * PAGE_BYTES));
        track_forget(state, first, end);
    }
}

/* Pages that were used once but aren't any more go back to the system: from the end, and only so
 * many in one commit, since giving back a page takes as long as writing it. */
static void trim(State *state)
{
    enum { SLACK = 1024 };
    ArenaHead *head = arena_head(state);
    uint32_t spare = head->high - head->top;
    state->trimming = spare >= SLACK && (state->trimming || spare >= head->top / 4);
    if (!state->trimming || !store_plain(state) || state->ahead)
        return;
    uint32_t last = head->high;
    head->high -= spare < STATE_TRIM_PAGES ? spare : STATE_TRIM_PAGES;
    arena_punch(state, state->data_first + (uint64_t)head->high,
                state->data_first + (uint64_t)last);
}

/* After the commit, so that a kill before finds the checkpoint whole. */
static void trim_base(State *state, uint32_t kept_high)
{
    const ArenaHead *head = arena_head(state);
    if (head->high >= kept_high || state->ahead)
        return;
    off_t at = (off_t)state->store.head->base_offset +
               (off_t)(state->data_first + (uint64_t)head->high) * PAGE_BYTES;
    fallocate(state->store.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
              (off_t)(kept_high - head->high) * PAGE_BYTES);
    if (state->leaves)
        leaves_clear(state, state->data_first + head->high, state->data_first + kept_high);
    if (state->fill)
        fill_note(state, state->data_first + head->high, kept_high - head->high);
}

uint64_t checkpoint_next(int fd, int what, uint64_t at, uint64_t end, uint64_t offset)
{
    off_t found = lseek(fd, (off_t)(offset + at * PAGE_BYTES), what);
    if (found < 0)
        return errno == ENXIO || what == SEEK_HOLE ? end : at;
    uint64_t page = ((uint64_t)found - offset) / PAGE_BYTES;
    return page < at ? at : page < end ? page : end;
}

/* Compares each page of [first, first + count) before it copies: a page that is equal costs no
 * write and no version. */
static uint32_t put_changed(State *state, uint32_t first, uint32_t count)
{
    uint32_t changed = 0;
    int noting = state->tier == STATE_TIER_TRACK && state->track.protecting;
    int unseen = noting && state->track.hot_pages > 0 && store_plain(state);
    for (uint32_t id = first; id < first + count; id++) {
        const uint8_t *now = state->base + (uint64_t)id * PAGE_BYTES;
        uint32_t blind = unseen ? track_blind(state, id, first + count - id) : 0;
        if (blind) {
            store_put(state, id, now, blind);
            if (state->ahead)
                ahead_note(state, id, blind);
            for (uint32_t n = 0; state->leaves && n < blind; n++)
                leaves_put(state, id + n, now + (uint64_t)n * PAGE_BYTES);
            if (state->fill)
                fill_note(state, id, blind);
            changed += blind;
            id += blind - 1;
            kill_point();
            continue;
        }
        int differs = memcmp(now, store_page(&state->store, id), PAGE_BYTES) != 0;
        if (noting)
            track_note(state, id, differs);
        if (!differs)
            continue;
        store_put(state, id, now, 1);
        if (state->ahead)
            ahead_note(state, id, 1);
        if (state->leaves)
            leaves_put(state, id, now);
        if (state->fill)
            fill_note(state, id, 1);
        changed++;
        kill_point();
    }
    return changed;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A range of many new pages may have been allocated and never touched: where both memfds have
 * holes, both are zero and nothing is to be read, let alone copied. */
static uint32_t put_range(State *state, PageRange range)
{
    enum { LOOK = 64 };
    if (range.count < LOOK)
        return put_changed(state, range.first, range.count);
    uint32_t changed = 0;
    uint64_t end = (uint64_t)range.first + range.count, base = state->store.head->base_offset;
    for (uint64_t at = range.first, stop = at; at < end; at = stop) {
        uint64_t arena = checkpoint_next(state->arena_fd, SEEK_DATA, at, end, 0);
        uint64_t kept = checkpoint_next(state->store.fd, SEEK_DATA, at, end, base);
        at = arena < kept ? arena : kept;
        stop = at < end ? at + 1 : end;
        if (at < end && arena == at)
            stop = later(stop, checkpoint_next(state->arena_fd, SEEK_HOLE, at, end, 0));
        if (at < end && kept == at)
            stop = later(stop, checkpoint_next(state->store.fd, SEEK_HOLE, at, end, base));
        changed += put_changed(state, (uint32_t)at, (uint32_t)(stop - at));
    }
    return changed;
}

static void list_data(State *state, uint64_t last)
{
    uint64_t at = state->data_first;
    for (uint64_t end; end = ahead_piece(state, &at, last), at < last; at = end)
        store_list_add(&state->store, (uint32_t)at, (uint32_t)(end - at));
}

static int collect(State *state, Error *err)
{
    Store *store = &state->store;
    const ArenaHead *head = arena_head(state);
    store->head->list_count = store->head->stage_count = 0;
    if (state->tier == STATE_TIER_TRACK && state->track.protecting)
        return track_collect(state, 0, err);
    store_list_add(store, 0, meta_pages(head->top));
    list_data(state, (uint64_t)state->data_first + head->top);
    return 0;
}

static uint64_t used_bytes(const State *state)
{
    const ArenaHead *head = arena_head(state);
    return ((uint64_t)meta_pages(head->top) + head->top - 1) * PAGE_BYTES;
}

int state_commit(State *state, Error *err)
{
    int64_t begin = clock_now_ns();
    Store *store = &state->store;
    shim_commit_remote(state);
    if (state->tier == STATE_TIER_OFF) {
        commit_nothing(state);
        return 0;
    }
    if (!head_sound(state, err))
        return KEEL_EDATA;
    if (state->tier == STATE_TIER_COPY && used_bytes(state) > state->copy_limit) {
        char why[160];
        snprintf(why, sizeof why, "%.90s%sthe state grew to %llu bytes, copying is limited to %llu",
                 state->tier_reason, state->tier_reason[0] ? "; " : "",
                 (unsigned long long)used_bytes(state), (unsigned long long)state->copy_limit);
        off(state, why);
        commit_nothing(state);
        return 0;
    }
    uint32_t kept_high = kept_head(state)->high;
    trim(state);
    int code = collect(state, err);
    if (code != 0)
        return code;
    store->head->stage_count = statics_stage(state);
    if (!store->head->statics_noted && !state->note_fresh && !state->opening)
        store->head->statics_before = 0; /* the arena goes on without a note */
    store->head->note_next = state->note_fresh ? !store->head->note_which : store->head->note_which;
    kill_point();
    atomic_store_explicit(&store->head->phase, STORE_COPYING, memory_order_release);
    kill_point();
    uint32_t dirty = 0;
    for (uint32_t i = 0; i < store->head->list_count; i++) {
        dirty += put_range(state, store->list[i]);
    }
    statics_put_staged(state);
    dirty += store->head->stage_count;
    kill_point();
    store->head->sequence++;
    store->head->statics_noted |= (uint32_t)state->note_fresh;
    atomic_thread_fence(memory_order_release); /* recover_store tells by the next line */
    store->head->note_which = store->head->note_next;
    state->note_fresh = 0;
    atomic_store_explicit(&store->head->phase, STORE_IDLE, memory_order_release);
    kill_point();
    if (state->ahead)
        ahead_committed(state->ahead);
    if (state->leaves)
        leaves_top(state, arena_head(state)->top);
    trim_base(state, kept_high);
    state->live_high = arena_head(state)->high;
    store_fold(state, 64);
    shim_commit_foreign(state);
    if (state->ahead)
        ahead_mark(state);
    track_adapt(state);
    state->commits++;
    state->dirty_pages_last = dirty;
    state->commit_ns_last = (uint64_t)(clock_now_ns() - begin);
    return 0;
}

/* The arena's pages in [first, last) as the store has them. */
static void take_back(State *state, uint32_t first, uint32_t count)
{
    for (uint32_t id = first; id < first + count; id++) {
        uint8_t *now = state->base + (uint64_t)id * PAGE_BYTES;
        const uint8_t *kept = store_page(&state->store, id);
        if (memcmp(now, kept, PAGE_BYTES) != 0)
            memcpy(now, kept, PAGE_BYTES);
    }
}

int state_undo(State *state, Error *err)
{
    Store *store = &state->store;
    if (state->tier == STATE_TIER_OFF)
        return err_set(err, KEEL_EUNSUPPORTED, "there is no checkpoint to go back to: %s",
                       state->tier_reason);
    store->head->list_count = 0;
    state->note_fresh = 0;
    uint32_t meta = checkpoint_meta_pages(state), last = checkpoint_data_last(state);
    if (state->tier == STATE_TIER_TRACK && state->track.protecting) {
        int code = track_collect(state, 1, err);
        if (code != 0)
            return code;
    } else {
        store_list_add(store, 0, meta);
        list_data(state, last);
    }
    for (uint32_t i = 0; i < store->head->list_count; i++)
        take_back(state, store->list[i].first, store->list[i].count);
    store->head->list_count = 0;
    if (state->ahead)
        state->ahead->claimed = 0;
    /* Whatever the undone frame put above what was in use is gone, also what it wrote there wildly:
     * pages that the allocator takes for zero are zero. */
    arena_punch(state, (uint64_t)state->data_first + arena_head(state)->high,
                state->max_bytes / PAGE_BYTES);
    arena_punch(state, meta, state->data_first);
    state->live_high = arena_head(state)->high;
    statics_undo(state);
    shim_undo(state);
    return 0;
}
