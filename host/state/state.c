/* A slot's State: opened, closed, described. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/ahead.h"
#include "state/internal.h"

#define CHUNK_PAGES UINT64_C(512) /* what one page table holds */

/* The records' room is sized for the worst case and starts sparse. */
void state_layout(State *state, uint64_t base, uint64_t max_bytes)
{
    uint64_t pages = max_bytes / PAGE_BYTES;
    uint64_t meta = 1 + (pages * sizeof(PageInfo) + PAGE_BYTES - 1) / PAGE_BYTES;
    state->base = (uint8_t *)(uintptr_t)base;
    state->max_bytes = max_bytes;
    state->data_first = (uint32_t)((meta + CHUNK_PAGES - 1) & ~(CHUNK_PAGES - 1));
    state->data_pages = (uint32_t)(pages - state->data_first);
}

static int open_tier(State *state, StateTier tier, Error *err)
{
    char reason[sizeof state->tier_reason] = "";
    state->tier = STATE_TIER_OFF;
    if (tier == STATE_TIER_OFF) {
        snprintf(state->tier_reason, sizeof state->tier_reason, "switched off by an option");
        return 0;
    }
    if (tier == STATE_TIER_COPY) {
        state->tier = STATE_TIER_COPY;
        snprintf(state->tier_reason, sizeof state->tier_reason, "copying was asked for");
        return 0;
    }
    if (track_open(state, reason, sizeof reason) == 0) {
        state->tier = STATE_TIER_TRACK;
        return 0;
    }
    if (tier == STATE_TIER_TRACK)
        return err_set(err, KEEL_EUNSUPPORTED, "writes to the state can't be tracked here: %s",
                       reason);
    state->tier = STATE_TIER_COPY;
    snprintf(state->tier_reason, sizeof state->tier_reason, "%s", reason);
    return 0;
}

/* Arena, store and pool: memfds, or the files of a folder with what they hold. */
static int open_memory(State *state, KeptFiles *kept, Error *err)
{
    uint64_t base = (uintptr_t)state->base, bytes = state->max_bytes;
    if (kept->lock < 0) {
        int code = space_memfd("keel-state", bytes, &state->arena_fd, err);
        if (code == 0)
            code = space_map_arena(base, bytes, state->arena_fd, err);
        return code ? code : store_open(&state->store, base, bytes, -1, 0, err);
    }
    int store = kept->store, pool = kept->pool;
    state->arena_fd = kept->arena;
    state->kept_lock = kept->lock;
    shim_lock_held(state->kept_lock);
    kept->lock = kept->arena = kept->store = kept->pool = -1;
    int code = kept_size(state->arena_fd, bytes, kept->there, err);
    if (code == 0)
        code = space_map_arena(base, bytes, state->arena_fd, err);
    if (code) {
        close(store);
        close(pool);
        return code;
    }
    code = store_open(&state->store, base, bytes, store, kept->there, err);
    if (code) {
        close(pool);
        return code;
    }
    return store_use_pool(&state->store, pool, err);
}

static int open_at(const StateOptions *o, KeptFiles *kept, uint64_t base, uint64_t bytes,
                   State **ret, Error *err)
{
    State *state = calloc(1, sizeof *state);
    if (!state) {
        space_give(base, bytes);
        return err_set(err, KEEL_ENOMEM, "no memory for a state");
    }
    state->arena_fd = state->store.fd = state->store.pool_fd = state->kept_lock = -1;
    state->track.uffd = state->track.pagemap = -1;
    state_layout(state, base, bytes);
    state->copy_limit = o->copy_limit_bytes ? o->copy_limit_bytes : UINT64_C(8) << 20;
    state->resumed = kept->there;
    memcpy(state->kept_why, kept->why, sizeof state->kept_why);
    int code = open_memory(state, kept, err);
    if (code == 0 && o->folder && !(state->kept = strdup(o->folder)))
        code = err_set(err, KEEL_ENOMEM, "no memory for a state");
    if (code == 0)
        code = open_tier(state, o->tier, err);
    if (code == 0) {
        if (!state->resumed)
            pages_init(state);
        state->live_high = arena_head(state)->high;
        shim_init(state);
        state->opening = 1;
        code = state_commit(state, err);
        state->opening = 0;
    }
    if (code != 0) {
        state_close(state);
        return code;
    }
    if (state->tier != STATE_TIER_OFF)
        store_warm_pool(&state->store, state->data_first);
    state->commits = 0;
    *ret = state;
    return 0;
}

int state_open(const StateOptions *options, State **ret, Error *err)
{
    static const StateOptions none;
    const StateOptions *o = options ? options : &none;
    uint64_t bytes = o->max_bytes ? o->max_bytes : STATE_GRAIN_BYTES, base = o->base;
    if (bytes > STATE_SPACE_BYTES || (unsigned)o->tier > STATE_TIER_OFF)
        return err_set(err, KEEL_EINVAL, "state_open: no such size or tier");
    bytes = (bytes + STATE_GRAIN_BYTES - 1) / STATE_GRAIN_BYTES * STATE_GRAIN_BYTES;
    KeptFiles kept = {.lock = -1, .arena = -1, .store = -1, .pool = -1};
    int code = o->folder ? kept_open(o->folder, bytes, &kept, err) : 0;
    if (code)
        return code;
    if (kept.there)
        base = kept.base; /* what is there can be nowhere else */
    if (base && (base < STATE_BASE || (base - STATE_BASE) % STATE_GRAIN_BYTES != 0 ||
                 base - STATE_BASE > STATE_SPACE_BYTES - bytes))
        code = err_set(err, KEEL_EINVAL, "no state can be at 0x%llx", (unsigned long long)base);
    if (code == 0)
        code = space_take(bytes, base, &base, err);
    if (code == 0)
        code = open_at(o, &kept, base, bytes, ret, err);
    kept_close(&kept);
    return code;
}

void state_close(State *state)
{
    if (!state)
        return;
    state_hash_drop(state->fill);
    for (int i = 0; i < STATE_PINS + STATE_MOMENTS; i++)
        state_unpin(state->pins[i]);
    ahead_close(state);
    shim_done(state);
    track_close(state);
    leaves_close(state);
    store_close(&state->store);
    space_give((uintptr_t)state->base, state->max_bytes);
    if (state->arena_fd >= 0)
        close(state->arena_fd);
    if (state->kept_lock >= 0 && shim_lock_free(state->kept_lock))
        close(state->kept_lock);
    free(state->kept);
    free(state);
}

void state_status(const State *state, StateStatus *ret)
{
    const ArenaHead *head = arena_head(state);
    *ret =
        (StateStatus){.tier = state->tier,
                      .base = (uintptr_t)state->base,
                      .max_bytes = state->max_bytes,
                      .used_bytes = (meta_pages(head->top) + (uint64_t)head->top - 1) * PAGE_BYTES,
                      .live_objects = head->live_objects,
                      .live_bytes = head->live_bytes,
                      .dirty_pages_last = state->dirty_pages_last,
                      .commit_ns_last = state->commit_ns_last,
                      .hot_pages = state->track.hot_pages};
    memcpy(ret->tier_reason, state->tier_reason, sizeof ret->tier_reason);
}
