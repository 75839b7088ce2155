/* What the two files of pre-copying share: which arrays it is, and their conversion. Nobody else
 * includes it. */
#ifndef STATE_MIGRATE_PRECOPY_H
#define STATE_MIGRATE_PRECOPY_H

#include "state/ahead.h"
#include "state/migrate_run.h"

enum {
    CHUNK_BYTES = 256 << 10,  /* while one is written the allocator may have to wait */
    LARGE_ELEMENT = 32 << 10, /* from here on parts of elements are converted */
    MARGIN = 2 * BULK_MARGIN
};

typedef struct Ahead Ahead;

typedef struct Array {
    uint8_t *from, *to;
    uint64_t count, bytes; /* elements; of the source */
    uint32_t type, pair;
    uint32_t first, pages; /* data pages of `to` */
    uint64_t **is_set;     /* by dropped field: a bit an element that has something in it */
    uint64_t *set;         /* and how many have */
    uint32_t fields;       /* how many those are */
} Array;

struct MigratePrecopy {
    Migration *m;
    State *state;
    Pin *pin;
    Array *arrays;
    uint32_t count, room;
    uint64_t *dirty; /* what to convert, by page of the arena */
    uint64_t dirty_bytes;
    uint8_t *scratch; /* a chunk's source, where its pages lie apart */
    int filled, failed;
};

/* Of an address from the arena's begin. */
static inline uint64_t precopy_offset(const MigratePrecopy *p, const uint8_t *address)
{
    return (uint64_t)(address - p->state->base);
}

/* migrate_fill.c: what lies in dirty pages of the source. `reader`: NULL in the boundary, where the
 * arena itself is read. */
int precopy_convert_dirty(MigratePrecopy *p, Array *array, const PinReader *reader,
                          const uint64_t *dirty);

/* The same bytes to the arena and to the checkpoint, and no page counts as written. KEEL_ENOMEM. */
int precopy_put(const MigratePrecopy *p, const uint8_t *to, const void *from, uint64_t bytes);

#endif
