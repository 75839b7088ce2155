/* Converts elements, from a pin or, in the boundary, from the arena, to the checkpoint and the
 * arena. Owns nothing. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/migrate_precopy.h"

/* `bytes` bytes that are at `at` in the arena, as the pin has them. */
static const uint8_t *pinned(const MigratePrecopy *p, const PinReader *reader, const uint8_t *at,
                             uint64_t bytes)
{
    uint64_t offset = precopy_offset(p, at), first = offset / PAGE_BYTES;
    uint64_t last = (offset + bytes - 1) / PAGE_BYTES;
    uint64_t pooled = 0;
    for (uint64_t id = first; reader->slot && id <= last; id++)
        pooled |= reader->slot[id];
    if (!pooled)
        return reader->base + offset;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t inside = (offset + done) % PAGE_BYTES, part = PAGE_BYTES - inside;
        part = part < bytes - done ? part : bytes - done;
        const uint8_t *page = pin_read(reader, (uint32_t)((offset + done) / PAGE_BYTES));
        memcpy(p->scratch + done, page + inside, part);
        done += part;
    }
    return p->scratch;
}

static void note_dropped(const MigratePrecopy *p, Array *array, uint64_t first, uint64_t count,
                         const uint8_t *from)
{
    const Pair *pair = pair_at(p->m, array->pair);
    for (uint32_t i = 0; i < pair->dropped && array->is_set; i++) {
        const Single *single = single_at(p->m, pair->first_dropped + i);
        for (uint64_t n = 0; n < count; n++) {
            uint64_t bit = UINT64_C(1) << (first + n) % 64;
            uint64_t *word = &array->is_set[i][(first + n) / 64];
            int is = apply_single_is_set(p->m, single, from + n * pair->from_bytes);
            array->set[i] += (uint64_t)is - !!(*word & bit);
            *word = is ? *word | bit : *word & ~bit;
        }
    }
}

/* The checkpoint's place for what is at `at` in the arena. */
static uint8_t *base_of(const MigratePrecopy *p, const uint8_t *at)
{
    return p->state->store.base + precopy_offset(p, at);
}

/* What the checkpoint has there goes to the arena by its file: a store would cost a fault of a
 * protected page each (three to a page of the source), and be for the commit to find and to copy.
 */
static int put(const MigratePrecopy *p, const uint8_t *to, uint64_t bytes)
{
    ssize_t did =
        bytes ? pwrite(p->state->arena_fd, base_of(p, to), bytes, (off_t)precopy_offset(p, to)) : 0;
    return did == (ssize_t)bytes ? KEEL_OK : KEEL_ENOMEM;
}

int precopy_put(const MigratePrecopy *p, const uint8_t *to, const void *from, uint64_t bytes)
{
    memcpy(base_of(p, to), from, bytes);
    return put(p, to, bytes);
}

static void protect(const MigratePrecopy *p, const uint8_t *at, uint64_t bytes)
{
    uint64_t offset = precopy_offset(p, at);
    ahead_protect(p->state, offset / PAGE_BYTES, (offset + bytes + PAGE_BYTES - 1) / PAGE_BYTES);
}

/* Waits while the allocator decides; nonzero: it needs the room. */
static int enter(const MigratePrecopy *p)
{
    Ahead *ahead = p->state->ahead;
    pthread_mutex_lock(&ahead->busy);
    if (!atomic_load(&ahead->stop))
        return KEEL_OK;
    pthread_mutex_unlock(&ahead->busy);
    return KEEL_ECHANGED;
}

static void leave(const MigratePrecopy *p)
{
    pthread_mutex_unlock(&p->state->ahead->busy);
}

static int populate(uint8_t *at, uint64_t bytes)
{
#ifndef MADV_POPULATE_WRITE
    enum { MADV_POPULATE_WRITE = 23 };
#endif
    /* Before Linux 5.14 pages come by and by; without memory that would be SIGBUS. */
    return madvise(at, bytes, MADV_POPULATE_WRITE) && errno != EINVAL ? KEEL_ENOMEM : KEEL_OK;
}

/* Whole elements [first, first + count). `reader`: NULL in the boundary. */
static int convert_elements(MigratePrecopy *p, Array *array, const PinReader *reader,
                            uint64_t first, uint64_t count)
{
    const Pair *pair = pair_at(p->m, array->pair);
    uint64_t most =
        CHUNK_BYTES / (pair->from_bytes > pair->to_bytes ? pair->from_bytes : pair->to_bytes);
    int rc = 0;
    for (uint64_t end = first + count; first < end && !rc; first += count) {
        count = end - first < most || !most ? end - first : most;
        count = most ? count : 1;
        const uint8_t *at = array->from + first * pair->from_bytes;
        const uint8_t *from = reader ? pinned(p, reader, at, count * pair->from_bytes) : at;
        uint8_t *to = array->to + first * pair->to_bytes;
        uint64_t bytes = count * pair->to_bytes;
        if (reader && (rc = enter(p)))
            break;
        uint8_t *kept = base_of(p, to);
        memset(kept, 0, bytes);
        rc = bulk_convert(p->m, pair, from, kept, count);
        note_dropped(p, array, first, count, from);
        rc = rc ? rc : put(p, to, bytes);
        if (reader)
            leave(p);
    }
    return rc;
}

/* The part [low, high) of one large element, which begins at `start` of the array. */
static int convert_part(MigratePrecopy *p, const Array *array, const PinReader *reader,
                        uint64_t index, uint64_t low, uint64_t high)
{
    const Pair *pair = pair_at(p->m, array->pair);
    const uint8_t *element = array->from + index * pair->from_bytes, *from = element;
    uint8_t *to = array->to + index * pair->to_bytes;
    if (!reader)
        return bulk_part(p->m, pair, element, to, low, high);
    uint64_t begin = low > MARGIN ? low - MARGIN : 0;
    uint64_t end = pair->from_bytes - high > MARGIN ? high + MARGIN : pair->from_bytes;
    from = pinned(p, reader, element + begin, end - begin) - begin;
    int rc = enter(p);
    if (rc)
        return rc;
    rc = bulk_part(p->m, pair, from, to, low, high);
    rc = rc ? rc : bulk_part(p->m, pair, from, base_of(p, to), low, high);
    leave(p);
    return rc;
}

/* What the source's bytes [low, high) lead to. */
static int convert(MigratePrecopy *p, Array *array, const PinReader *reader, uint64_t low,
                   uint64_t high)
{
    const Pair *pair = pair_at(p->m, array->pair);
    uint64_t step = pair->from_bytes;
    if (step <= LARGE_ELEMENT)
        return convert_elements(p, array, reader, low / step,
                                (high + step - 1) / step - low / step);
    int rc = 0;
    while (low < high && !rc) {
        uint64_t index = low / step, inside = low - index * step;
        uint64_t bytes = high - low < CHUNK_BYTES ? high - low : CHUNK_BYTES;
        bytes = bytes < step - inside ? bytes : step - inside;
        rc = convert_part(p, array, reader, index, inside, inside + bytes);
        low += bytes;
    }
    return rc;
}

int precopy_convert_dirty(MigratePrecopy *p, Array *array, const PinReader *reader,
                          const uint64_t *dirty)
{
    uint64_t start = precopy_offset(p, array->from), end = start + array->bytes;
    uint64_t last = (end + PAGE_BYTES - 1) / PAGE_BYTES;
    int rc = 0;
    for (uint64_t id = start / PAGE_BYTES; id < last && !rc;) {
        if (!(dirty[id / 64] >> id % 64)) {
            id = (id / 64 + 1) * 64;
            continue;
        }
        uint64_t first = id;
        while (id < last && dirty[id / 64] >> id % 64 & 1)
            id++;
        if (id == first) {
            id++;
            continue;
        }
        uint64_t low = first * PAGE_BYTES, high = id * PAGE_BYTES;
        low = low > start ? low - start : 0;
        high = (high < end ? high : end) - start;
        rc = convert(p, array, reader, low, high);
    }
    return rc;
}

static int clear(const MigratePrecopy *p, const uint8_t *to, uint64_t bytes)
{
    memset(base_of(p, to), 0, bytes);
    return put(p, to, bytes);
}

/* Zeros wherever no element will be; for large elements all over. */
static int prepare(const MigratePrecopy *p, const Array *array)
{
    enum { PIECE = 1 << 20 };
    const Pair *pair = pair_at(p->m, array->pair);
    uint8_t *first = page_address(p->state, array->first);
    uint64_t all = (uint64_t)array->pages * PAGE_BYTES;
    uint64_t head = (uint64_t)(array->to - first), used = array->count * pair->to_bytes;
    int rc = 0;
    for (uint64_t at = 0; at < all && !rc; at += PIECE) {
        uint64_t bytes = all - at < PIECE ? all - at : PIECE;
        if ((rc = enter(p)))
            break;
        rc = populate(first + at, bytes);
        rc = rc ? rc : populate(base_of(p, first + at), bytes);
        if (!rc)
            protect(p, first + at, bytes);
        if (!rc && pair->from_bytes > LARGE_ELEMENT)
            rc = clear(p, first + at, bytes);
        leave(p);
    }
    if (rc || (rc = enter(p)))
        return rc;
    rc = clear(p, first, head);
    rc = rc ? rc : clear(p, array->to + used, all - head - used);
    leave(p);
    return rc;
}

int precopy_fill(MigratePrecopy *p)
{
    PinReader reader;
    int rc = pin_read_begin(p->pin, &reader);
    for (uint32_t i = 0; i < p->count && !rc; i++) {
        Array *array = &p->arrays[i];
        rc = p->filled ? 0 : prepare(p, array);
        if (!rc)
            rc = p->filled ? precopy_convert_dirty(p, array, &reader, p->dirty)
                           : convert(p, array, &reader, 0, array->bytes);
        if (!rc && pair_at(p->m, array->pair)->from_bytes > LARGE_ELEMENT)
            protect(p, page_address(p->state, array->first), (uint64_t)array->pages * PAGE_BYTES);
    }
    pin_read_end(&reader);
    p->filled = 1;
    p->failed |= rc != 0;
    return rc;
}
