/* Hashes of a state that is too large to be read at one boundary. A pin holds the pages still while
 * another thread makes their leaves; commits note which pages they change meanwhile, and a later
 * boundary makes those anew, at the cost of them alone. Owns the leaves until they are joined, the
 * pin, and the two sets of pages. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/leaves.h"

enum { LOOK = 16 }; /* pages that are read after one that has memory; between two looks at `stop` */

struct HashFill {
    State *state;
    Leaves *leaves;
    Pin *pin;
    uint64_t *dirty; /* by page: changed since the pin; [frame] */
    uint64_t *work;  /* by page: to be made anew from the pin, and what it doesn't reach */
    uint64_t set_bytes;
    uint32_t dirty_last, work_last; /* no page from there on is in the set */
    uint32_t dirty_count;
    int whole; /* the first round made all of them */
    _Atomic int stop;
};

static uint64_t *new_set(uint64_t bytes)
{
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

static void free_fill(HashFill *fill)
{
    if (fill->dirty)
        munmap(fill->dirty, fill->set_bytes);
    if (fill->work)
        munmap(fill->work, fill->set_bytes);
    leaves_free(fill->leaves);
    free(fill);
}

int state_hash_begin(State *state, uintptr_t first, uintptr_t last, HashFill **ret, Error *err)
{
    *ret = NULL;
    if (state->leaves)
        return KEEL_OK;
    if (state->fill)
        return err_set(err, KEEL_EBUSY, "its state is being hashed already");
    HashFill *fill = calloc(1, sizeof *fill);
    if (!fill)
        return err_set(err, KEEL_ENOMEM, "no memory for the state's hashes");
    fill->state = state;
    fill->set_bytes = (state->max_bytes / PAGE_BYTES / 64 + 1) * sizeof(uint64_t);
    fill->dirty = new_set(fill->set_bytes);
    fill->work = new_set(fill->set_bytes);
    fill->leaves = leaves_new(state);
    int rc = fill->dirty && fill->work && fill->leaves
                 ? state_pin(state, &fill->pin, err)
                 : err_set(err, KEEL_ENOMEM, "no memory for the state's hashes");
    if (rc) {
        free_fill(fill);
        return rc;
    }
    leaves_image(fill->leaves, first, last);
    leaves_reach(state, fill->leaves, fill->pin->data_last - state->data_first);
    state->fill = fill;
    *ret = fill;
    return KEEL_OK;
}

void fill_note(State *state, uint32_t id, uint32_t count)
{
    HashFill *fill = state->fill;
    for (uint32_t end = id + count; id < end; id++) {
        uint64_t bit = UINT64_C(1) << id % 64;
        fill->dirty_count += !(fill->dirty[id / 64] & bit);
        fill->dirty[id / 64] |= bit;
        if (id >= fill->dirty_last)
            fill->dirty_last = id + 1;
    }
}

uint32_t state_hash_behind(const HashFill *fill)
{
    return fill->dirty_count;
}

void state_hash_stop(HashFill *fill)
{
    atomic_store(&fill->stop, 1);
}

/* ---- beside frames ---- */

static int reaches(const HashFill *fill, uint32_t id)
{
    return id < fill->pin->meta_pages ||
           (id >= fill->state->data_first && id < fill->pin->data_last);
}

/* Pages without memory are zero, and reading them would give them some. Where a run of others ends
 * is asked once: the kernel looks at each page of it to tell. */
static int make_range(HashFill *fill, const PinReader *reader, uint64_t first, uint64_t last)
{
    const State *state = fill->state;
    uint64_t base = state->store.head->base_offset, known = first;
    while (first < last) {
        if (atomic_load(&fill->stop))
            return KEEL_ECANCELED;
        if (first >= known) {
            first = checkpoint_next(state->store.fd, SEEK_DATA, first, last, base);
            known = first < last ? checkpoint_next(state->store.fd, SEEK_HOLE, first, last, base)
                                 : last;
            known = known > first ? known : first + 1;
        }
        uint64_t end = known < first + LOOK ? known : first + LOOK;
        for (; first < end && first < last; first++)
            leaves_set(state, fill->leaves, (uint32_t)first, pin_read(reader, (uint32_t)first));
    }
    return KEEL_OK;
}

static int make_all(HashFill *fill, const PinReader *reader)
{
    const Pin *pin = fill->pin;
    int rc = make_range(fill, reader, 0, pin->meta_pages);
    if (rc == KEEL_OK)
        rc = make_range(fill, reader, fill->state->data_first, pin->data_last);
    const PageRange *pooled =
        (const PageRange *)(const void *)(fill->state->store.pool + pin->table_offset);
    for (uint32_t i = 0; i < pin->table_count && rc == KEEL_OK; i++)
        if (reaches(fill, pooled[i].first)) /* their place in the base may have no memory */
            leaves_set(fill->state, fill->leaves, pooled[i].first,
                       pin_read(reader, pooled[i].first));
    return rc;
}

static int make_work(HashFill *fill, const PinReader *reader)
{
    for (uint32_t word = 0; word <= fill->work_last / 64; word++) {
        for (uint64_t left = fill->work[word]; left; left &= left - 1) {
            uint32_t id = word * 64 + (uint32_t)__builtin_ctzll(left);
            if (!reaches(fill, id)) /* what is there is nobody's, and may change */
                continue;
            leaves_set(fill->state, fill->leaves, id, pin_read(reader, id));
            fill->work[word] &= ~(UINT64_C(1) << id % 64);
        }
        if (word % 8 == 0 && atomic_load(&fill->stop))
            return KEEL_ECANCELED;
    }
    return KEEL_OK;
}

int state_hash_fill(HashFill *fill)
{
    PinReader reader;
    int rc = pin_read_begin(fill->pin, &reader);
    if (rc)
        return rc;
    rc = fill->whole ? make_work(fill, &reader) : make_all(fill, &reader);
    fill->whole |= rc == KEEL_OK;
    pin_read_end(&reader);
    return rc;
}

/* ---- at boundaries ---- */

/* What frames changed, beside what is left from before. */
static void move_dirty(HashFill *fill)
{
    for (uint32_t word = 0; word <= fill->dirty_last / 64; word++) {
        fill->work[word] |= fill->dirty[word];
        fill->dirty[word] = 0;
    }
    if (fill->work_last < fill->dirty_last)
        fill->work_last = fill->dirty_last;
    fill->dirty_last = fill->dirty_count = 0;
}

int state_hash_again(HashFill *fill, Error *err)
{
    Pin *pin;
    int rc = state_pin(fill->state, &pin, err);
    if (rc)
        return rc;
    state_unpin(fill->pin);
    fill->pin = pin;
    move_dirty(fill);
    leaves_reach(fill->state, fill->leaves, pin->data_last - fill->state->data_first);
    return KEEL_OK;
}

int state_hash_join(HashFill *fill, Error *err)
{
    State *state = fill->state;
    int rc = KEEL_OK;
    if (state->tier == STATE_TIER_OFF)
        rc = err_set(err, KEEL_EUNSUPPORTED, "without a checkpoint no hashes are kept: %s",
                     state->tier_reason);
    else if (!fill->whole)
        rc = err_set(err, KEEL_ECANCELED, "its state was not hashed to the end");
    if (rc == KEEL_OK && !state->leaves) {
        move_dirty(fill);
        leaves_reach(state, fill->leaves, checkpoint_data_last(state) - state->data_first);
        for (uint32_t word = 0; word <= fill->work_last / 64; word++)
            for (uint64_t left = fill->work[word]; left; left &= left - 1) {
                uint32_t id = word * 64 + (uint32_t)__builtin_ctzll(left);
                leaves_set(state, fill->leaves, id, store_page(&state->store, id));
            }
        state->leaves = fill->leaves;
        fill->leaves = NULL;
    }
    state_hash_drop(fill);
    return rc;
}

void state_hash_drop(HashFill *fill)
{
    if (!fill)
        return;
    fill->state->fill = NULL;
    state_unpin(fill->pin);
    free_fill(fill);
}
