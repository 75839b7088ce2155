/* The checkpoint's memory: the base, and while there are pins the pool. Knows versions of pages,
 * not what they mean.
 *
 * A page's current version is in the base (slot_of 0) or in a slot of the pool. Pins count epochs:
 * a version written in epoch `from` and replaced in epoch `to` is needed by the pins with from <=
 * epoch < to. A version that is needed is never written to or moved, so another process can read it
 * while commits go on. [frame] */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "state/internal.h"

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

static void *map_lazy(uint64_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

/* Where a large map is wished: far from where the loader puts images, so that the image of a
 * process before finds its place free (beside gibibytes of these, one start in fifty did not).
 * Above AddressSanitizer's heap, which ends at 0x640000000000; ThreadSanitizer has no room for it.
 */
static void *far_from_images(uint64_t bytes)
{
    static _Atomic uint64_t next = UINT64_C(0x650000000000);
    uint64_t at = atomic_fetch_add(&next, page_up(bytes));
    int taken = UNDER_TSAN || at + bytes > UINT64_C(0x700000000000);
    return taken ? NULL : (void *)(uintptr_t)at;
}

int store_open(Store *store, uint64_t arena_base, uint64_t arena_bytes, int fd, int there,
               Error *err)
{
    *store = (Store){.fd = fd, .pool_fd = -1};
    store->arena_pages = (uint32_t)(arena_bytes / PAGE_BYTES);
    store->page_count = store->arena_pages + STATIC_PAGES_MAX;
    uint32_t list_room = store->arena_pages / 2 + 16;
    uint64_t list = PAGE_BYTES, stage = list + page_up((uint64_t)list_room * sizeof(PageRange));
    uint64_t note = stage + page_up(STATIC_PAGES_MAX * sizeof(uint32_t)) +
                    (uint64_t)STATIC_PAGES_MAX * PAGE_BYTES;
    uint64_t base = note + 2 * (uint64_t)NOTE_ROOM;
    uint64_t before = base + (uint64_t)store->page_count * PAGE_BYTES;
    store->map_bytes = before + (uint64_t)STATIC_PAGES_MAX * PAGE_BYTES;
    int code = fd < 0 ? space_memfd("keel-checkpoint", store->map_bytes, &store->fd, err)
                      : kept_size(fd, store->map_bytes, there, err);
    if (code != 0)
        return code;
    void *map = mmap(far_from_images(store->map_bytes), store->map_bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE, store->fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map the checkpoint");
    store->map = map;
    store->head = map;
    store->list = (PageRange *)(store->map + list);
    store->stage_ids = (uint32_t *)(store->map + stage);
    store->stage_pages = store->map + stage + page_up(STATIC_PAGES_MAX * sizeof(uint32_t));
    store->base = store->map + base;
    store->before = store->map + before;
    if (there) {
        const StoreHead *head = store->head;
        return head->arena_base == arena_base && head->list_offset == list &&
                       head->stage_offset == stage && head->note_offset == note &&
                       head->base_offset == base
                   ? 0
                   : err_set(err, KEEL_EDATA, "the checkpoint is of another Keel");
    }
    *store->head = (StoreHead){.arena_base = arena_base,
                               .arena_bytes = arena_bytes,
                               .list_offset = list,
                               .stage_offset = stage,
                               .base_offset = base,
                               .page_count = store->page_count,
                               .list_room = list_room,
                               .note_offset = note,
                               .stage_room = STATIC_PAGES_MAX};
    store->head->magic = STORE_MAGIC;
    return 0;
}

void store_close(Store *store)
{
    if (store->map)
        munmap(store->map, store->map_bytes);
    if (store->pool)
        munmap(store->pool, store->pool_bytes);
    if (store->meta)
        munmap(store->meta, (uint64_t)store->page_count * sizeof *store->meta);
    if (store->base_busy)
        munmap(store->base_busy, store->page_count);
    if (store->fd >= 0)
        close(store->fd);
    if (store->pool_fd >= 0)
        close(store->pool_fd);
    free(store->pooled);
    free(store->old);
    free(store->free_slots);
    *store = (Store){.fd = -1, .pool_fd = -1};
}

/* Where pin number `pin` (0 … STATE_PINS - 1) has its table in the pool. */
uint64_t store_table_offset(const Store *store, int pin)
{
    uint64_t map = page_up((uint64_t)store->page_count * sizeof(uint32_t));
    return map + (uint64_t)pin * page_up((uint64_t)store->page_count * 8);
}

/* Made at the first pin; sparse, so it costs what is in use. */
int store_open_pool(Store *store, Error *err)
{
    return store->slot_of ? 0 : store_use_pool(store, -1, err);
}

int store_use_pool(Store *store, int fd, Error *err)
{
    uint64_t slots = store_table_offset(store, STATE_PINS);
    store->slot_limit = store->page_count <= UINT32_MAX / (STATE_PINS + 1)
                            ? store->page_count * (STATE_PINS + 1)
                            : UINT32_MAX - 1;
    uint64_t bytes = slots + (uint64_t)store->slot_limit * PAGE_BYTES;
    int code = fd < 0 ? space_memfd("keel-pins", bytes, &fd, err) : kept_size(fd, bytes, 0, err);
    if (code != 0) {
        if (fd >= 0)
            close(fd);
        return code;
    }
    void *pool = mmap(far_from_images(bytes), bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, fd, 0);
    PageMeta *meta = map_lazy((uint64_t)store->page_count * sizeof *meta);
    uint8_t *busy = map_lazy(store->page_count);
    if (pool == MAP_FAILED || !meta || !busy) {
        code = err_errno(err, KEEL_ENOMEM, errno, "cannot map the pool of the pins");
        if (pool != MAP_FAILED)
            munmap(pool, bytes);
        if (meta)
            munmap(meta, (uint64_t)store->page_count * sizeof *meta);
        if (busy)
            munmap(busy, store->page_count);
        close(fd);
        return code;
    }
    store->pool_fd = fd;
    store->pool = pool;
    store->pool_bytes = bytes;
    store->meta = meta;
    store->base_busy = busy;
    store->slots = store->pool + slots;
    store->slot_of = pool;
    store->head->slots_offset = slots;
    return 0;
}

/* Writes zeros where zeros are. */
static void touch(void *first, uint64_t bytes)
{
    volatile uint8_t *at = first;
    for (uint64_t i = 0; i < bytes; i += PAGE_BYTES)
        at[i] = 0;
}

void store_warm_pool(Store *store, uint32_t data_first)
{
    if (store_open_pool(store, NULL) != 0)
        return; /* the first pin will say why */
    const uint32_t firsts[] = {0, data_first, store->arena_pages};
    for (int i = 0; i < 3; i++) {
        touch(&store->slot_of[firsts[i]], 1);
        touch(&store->meta[firsts[i]], 1);
        touch(&store->base_busy[firsts[i]], 1);
    }
    for (int i = 0; i < STATE_PINS; i++)
        touch(store->pool + store_table_offset(store, i), 1);
    touch(store->slots, (uint64_t)WARM_SLOTS * PAGE_BYTES);
}

const uint8_t *store_page(const Store *store, uint32_t id)
{
    uint32_t slot = store->slot_of ? store->slot_of[id] : 0;
    return slot ? store->slots + (uint64_t)(slot - 1) * PAGE_BYTES
                : store->base + (uint64_t)id * PAGE_BYTES;
}

int store_plain(const State *state)
{
    return state->pin_count == 0 && state->store.pooled_count == 0 && state->store.old_count == 0;
}

static int pin_reaches(const State *state, const Pin *pin, uint32_t id)
{
    if (id >= state->store.arena_pages)
        return id - state->store.arena_pages < pin->static_pages;
    return id < pin->meta_pages || (id >= state->data_first && id < pin->data_last);
}

/* Does a pin see the current version of `id`, written in `epoch`? */
int store_needed(const State *state, uint32_t id, uint32_t epoch)
{
    for (int i = 0; i < state->pin_top; i++)
        if (state->pins[i] && epoch <= state->pins[i]->epoch &&
            pin_reaches(state, state->pins[i], id))
            return 1;
    return 0;
}

static int room_for(void **list, uint32_t count, uint32_t *room, size_t each)
{
    if (count < *room)
        return 0;
    uint32_t more = *room ? *room * 2 : 256;
    void *grown = realloc(*list, more * each);
    if (!grown)
        return KEEL_ENOMEM;
    *list = grown;
    *room = more;
    return 0;
}

static int pooled_add(Store *store, uint32_t id)
{
    if (room_for((void **)&store->pooled, store->pooled_count, &store->pooled_room,
                 sizeof *store->pooled) != 0)
        return KEEL_ENOMEM;
    store->meta[id].pooled = store->pooled_count;
    store->pooled[store->pooled_count++] = id;
    return 0;
}

static void pooled_remove(Store *store, uint32_t id)
{
    uint32_t place = store->meta[id].pooled, last = store->pooled[--store->pooled_count];
    store->pooled[place] = last;
    store->meta[last].pooled = place;
}

static uint32_t slot_new(Store *store)
{
    if (store->free_count)
        return store->free_slots[--store->free_count] + 1;
    return store->slot_count < store->slot_limit ? ++store->slot_count : 0;
}

static void slot_free(Store *store, uint32_t slot)
{
    if (room_for((void **)&store->free_slots, store->free_count, &store->free_room,
                 sizeof *store->free_slots) == 0)
        store->free_slots[store->free_count++] = slot - 1;
}

int store_remember(Store *store, uint32_t id, uint32_t slot, uint32_t from)
{
    if (room_for((void **)&store->old, store->old_count, &store->old_room, sizeof *store->old) != 0)
        return KEEL_ENOMEM;
    store->old[store->old_count++] =
        (OldVersion){.id = id, .slot = slot, .from = from, .to = store->epoch};
    return 0;
}

/* Where the next version of `id` is to be written: its place in the base if that is free, else a
 * slot. Nothing is changed for readers of needed versions. Out of memory: the version is given up
 * for the pins (they are marked by state_pin_view's check) — never the checkpoint itself. */
static uint8_t *place_for(State *state, uint32_t id)
{
    Store *store = &state->store;
    if (!store->slot_of || store_plain(state))
        return store->base + (uint64_t)id * PAGE_BYTES;
    uint32_t slot = store->slot_of[id], from = store->meta[id].epoch;
    if (store_needed(state, id, from)) {
        uint32_t to = slot && !store->base_busy[id] ? 0 : slot_new(store);
        if (store_remember(store, id, slot, from) == 0) {
            if (!slot) {
                store->base_busy[id] = 1;
                pooled_add(store, id);
            } else if (!to) {
                pooled_remove(store, id);
            }
            store->slot_of[id] = to;
        }
    } else if (slot && !store->base_busy[id]) {
        pooled_remove(store, id);
        slot_free(store, slot);
        store->slot_of[id] = 0;
    }
    store->meta[id].epoch = store->epoch;
    return (uint8_t *)(uintptr_t)store_page(store, id);
}

void store_put(State *state, uint32_t id, const void *data, uint32_t count)
{
    if (store_plain(state)) {
        memcpy(state->store.base + (uint64_t)id * PAGE_BYTES, data, (uint64_t)count * PAGE_BYTES);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(place_for(state, id + i), (const uint8_t *)data + (uint64_t)i * PAGE_BYTES,
               PAGE_BYTES);
}

void store_put_bytes(State *state, uint32_t id, const void *data, uint32_t bytes)
{
    memcpy(place_for(state, id), data, bytes);
}

void store_list_add(Store *store, uint32_t first, uint32_t count)
{
    StoreHead *head = store->head;
    PageRange *last = head->list_count ? &store->list[head->list_count - 1] : NULL;
    /* Copying a clean page does no harm: a full list, or a small gap, widens its last range. */
    if (last && first >= last->first &&
        (first <= last->first + last->count || head->list_count == head->list_room)) {
        if (first + count > last->first + last->count)
            last->count = first + count - last->first;
        return;
    }
    store->list[head->list_count++] = (PageRange){first, count};
}

/* A little of the work that unpinning left: versions nobody needs any more are given back, pages in
 * the pool go home to the base. `budget` pages at most are copied. */
void store_fold(State *state, uint32_t budget)
{
    Store *store = &state->store;
    if (!store->slot_of || (store->old_count == 0 && store->pooled_count == 0))
        return;
    for (uint32_t n = 0; n < budget * 8 && store->old_count > 0; n++) {
        if (store->old_cursor >= store->old_count)
            store->old_cursor = 0;
        OldVersion *old = &store->old[store->old_cursor];
        int needed = 0;
        for (int i = 0; i < state->pin_top && !needed; i++)
            if (state->pins[i] && old->from <= state->pins[i]->epoch &&
                state->pins[i]->epoch < old->to && pin_reaches(state, state->pins[i], old->id))
                needed = 1;
        if (needed) {
            store->old_cursor++;
            if (store->old_cursor == store->old_count && n >= store->old_count)
                break;
            continue;
        }
        if (old->slot)
            slot_free(store, old->slot);
        else
            store->base_busy[old->id] = 0;
        *old = store->old[--store->old_count];
    }
    for (uint32_t n = 0, at = store->pooled_count; n < budget && at > 0; n++) {
        uint32_t id = store->pooled[--at];
        if (store->base_busy[id] || store_needed(state, id, store->meta[id].epoch))
            continue;
        memcpy(store->base + (uint64_t)id * PAGE_BYTES, store_page(store, id), PAGE_BYTES);
        kill_point();
        uint32_t slot = store->slot_of[id];
        atomic_signal_fence(memory_order_release);
        store->slot_of[id] = 0;
        slot_free(store, slot);
        pooled_remove(store, id);
    }
    if (store_plain(state) && store->slot_count > 0) {
        if (store->slot_count > WARM_SLOTS)
            fallocate(store->pool_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)store->head->slots_offset + (off_t)WARM_SLOTS * PAGE_BYTES,
                      (off_t)(store->slot_count - WARM_SLOTS) * PAGE_BYTES);
        store->slot_count = store->free_count = 0;
    }
}
