/* Pins: a past boundary that stays readable. A pin is an epoch number; the store keeps the versions
 * that it needs (see store.c). Costs the pages that are in the pool at that moment, not the arena's
 * size. [frame] */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "state/internal.h"

static int pin_between(State *state, int first, int last, Pin **ret, Error *err)
{
    Store *store = &state->store;
    if (state->tier == STATE_TIER_OFF)
        return err_set(err, KEEL_EUNSUPPORTED, "there is no checkpoint to pin: %s",
                       state->tier_reason);
    int place = first;
    while (place < last && state->pins[place])
        place++;
    if (place == last)
        return err_set(err, KEEL_ELIMIT, "%d moments of the state are pinned already",
                       last - first);
    int code = store_open_pool(store, err);
    if (code != 0)
        return code;
    Pin *pin = calloc(1, sizeof *pin);
    if (!pin)
        return err_set(err, KEEL_ENOMEM, "no memory for a pin");
    pin->state = state;
    pin->place = place;
    pin->meta_pages = checkpoint_meta_pages(state);
    pin->data_last = checkpoint_data_last(state);
    pin->static_pages = state->static_pages;
    pin->span_count = state->span_count;
    memcpy(pin->spans, state->spans, sizeof pin->spans);
    if (place < STATE_PINS) {
        pin->table_offset = store_table_offset(store, place);
        PageRange *table = (PageRange *)(store->pool + pin->table_offset); /* {id, slot + 1} */
        for (uint32_t i = 0; i < store->pooled_count; i++) {
            uint32_t id = store->pooled[i];
            table[pin->table_count++] = (PageRange){id, store->slot_of[id]};
        }
    }
    pin->epoch = store->epoch++;
    state->pins[place] = pin;
    if (place >= state->pin_top)
        state->pin_top = place + 1;
    state->pin_count++;
    *ret = pin;
    return 0;
}

int state_pin(State *state, Pin **ret, Error *err)
{
    return pin_between(state, 0, STATE_PINS, ret, err);
}

int state_pin_moment(State *state, Pin **ret, Error *err)
{
    return pin_between(state, STATE_PINS, STATE_PINS + STATE_MOMENTS, ret, err);
}

void state_fold_pins(State *state)
{
    store_fold(state, state->store.old_count / 8 + 1);
}

uint64_t state_pinned_bytes(const State *state)
{
    const Store *store = &state->store;
    return (uint64_t)(store->slot_count - store->free_count) * PAGE_BYTES;
}

void state_unpin(Pin *pin)
{
    if (!pin)
        return;
    State *state = pin->state;
    state->pins[pin->place] = NULL;
    while (state->pin_top && !state->pins[state->pin_top - 1])
        state->pin_top--;
    state->pin_count--;
    free(pin);
}

/* The page as the pin sees it where that differs from the checkpoint: versions that were replaced
 * since. */
static void restore_old(State *state, const Pin *pin)
{
    const Store *store = &state->store;
    /* Pages above what the last boundary had in use: the undo left them as they were. */
    uint32_t meta = checkpoint_meta_pages(state), last = checkpoint_data_last(state);
    for (uint32_t id = meta; id < pin->meta_pages; id++)
        memcpy(state->base + (uint64_t)id * PAGE_BYTES, store_page(store, id), PAGE_BYTES);
    for (uint32_t id = last; id < pin->data_last; id++)
        memcpy(state->base + (uint64_t)id * PAGE_BYTES, store_page(store, id), PAGE_BYTES);
    for (uint32_t i = 0; i < store->old_count; i++) {
        const OldVersion *old = &store->old[i];
        if (old->from > pin->epoch || pin->epoch >= old->to)
            continue;
        const uint8_t *was = old->slot ? store->slots + (uint64_t)(old->slot - 1) * PAGE_BYTES
                                       : store->base + (uint64_t)old->id * PAGE_BYTES;
        if (old->id < pin->meta_pages || (old->id >= state->data_first && old->id < pin->data_last))
            memcpy(state->base + (uint64_t)old->id * PAGE_BYTES, was, PAGE_BYTES);
    }
}

/* The pin's version of the statics page `n`. */
static const uint8_t *static_page(const State *state, const Pin *pin, uint32_t n)
{
    const Store *store = &state->store;
    uint32_t id = store->arena_pages + n;
    for (uint32_t i = 0; i < store->old_count; i++) {
        const OldVersion *old = &store->old[i];
        if (old->id == id && old->from <= pin->epoch && pin->epoch < old->to)
            return old->slot ? store->slots + (uint64_t)(old->slot - 1) * PAGE_BYTES
                             : store->base + (uint64_t)id * PAGE_BYTES;
    }
    return store_page(store, id);
}

static void restore_statics(State *state, const Pin *pin)
{
    /* Those of another image have nowhere to go. */
    if (pin->span_count != state->span_count ||
        memcmp(pin->spans, state->spans, (size_t)pin->span_count * sizeof *pin->spans) != 0)
        return;
    uint32_t n = 0;
    for (int i = 0; i < pin->span_count; i++)
        for (uint64_t at = 0; at < pin->spans[i].bytes; at += PAGE_BYTES, n++) {
            uint64_t left = pin->spans[i].bytes - at;
            statics_write((uint8_t *)pin->spans[i].address + at, static_page(state, pin, n),
                          left < PAGE_BYTES ? left : PAGE_BYTES);
        }
}

int state_restore_pin(State *state, Pin *pin, Error *err)
{
    if (!pin || pin->state != state)
        return err_set(err, KEEL_EINVAL, "this pin is not of this state");
    if (state->tier == STATE_TIER_OFF)
        return err_set(err, KEEL_EUNSUPPORTED,
                       "the pinned moment can't be restored, there is no checkpoint any more: %s",
                       state->tier_reason);
    int code = state_undo(state, err);
    if (code != 0)
        return code;
    uint32_t high = arena_head(state)->high;
    restore_old(state, pin);
    restore_statics(state, pin);
    /* Pages that were in use since and aren't at the pinned moment may hold anything. */
    ArenaHead *head = arena_head(state);
    if (head->high < high)
        head->high = high;
    state->live_high = head->high;
    /* Records of pages above the top are zero. */
    arena_punch(state, pin->meta_pages, state->data_first);
    shim_begin_life(state);
    return 0;
}

int pin_read_begin(const Pin *pin, PinReader *ret)
{
    const Store *store = &pin->state->store;
    *ret = (PinReader){
        .pin = pin, .base = store->base, .slots = store->slots, .count = store->page_count};
    if (!pin->table_count)
        return KEEL_OK;
    uint64_t bytes = (uint64_t)ret->count * sizeof *ret->slot;
    ret->slot = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ret->slot == MAP_FAILED) {
        ret->slot = NULL;
        return KEEL_ENOMEM;
    }
    const PageRange *table = (const PageRange *)(const void *)(store->pool + pin->table_offset);
    for (uint32_t i = 0; i < pin->table_count; i++)
        ret->slot[table[i].first] = table[i].count;
    return KEEL_OK;
}

void pin_read_end(PinReader *reader)
{
    if (reader->slot)
        munmap(reader->slot, (uint64_t)reader->count * sizeof *reader->slot);
    reader->slot = NULL;
}
