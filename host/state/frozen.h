/* A state to look at, as a snapshot has it: in memory of its own anywhere, for programs that show
 * and compare. Nothing in it is trusted; what doesn't fit is left out. Any one thread. */
#ifndef STATE_FROZEN_H
#define STATE_FROZEN_H

#include "state/snapshot.h"

typedef struct Frozen Frozen;

typedef struct FrozenObject {
    uint64_t address;        /* where it is in the slot */
    const uint8_t *data;     /* its bytes, here */
    uint64_t bytes, count;   /* all of it; objects in it, bytes of an opaque block */
    const char *type, *file; /* "" for opaque blocks */
} FrozenObject;

/* Reads a whole snapshot. Errors as snapshot_open and snapshot_pages. */
int frozen_open(const char *path, Frozen **ret, Error *err);
int frozen_open_fd(int fd, Frozen **ret, Error *err); /* `fd` stays the caller's */
/* The pinned moment itself, in the process that has it: nothing is copied but its statics and the
 * pages that changed since. `info` is what a snapshot of it would say. The pin must stay. [any
 * while pinned, also beside frames] */
int frozen_of_pin(const Pin *pin, const SnapshotInfo *info, Frozen **ret, Error *err);
void frozen_free(Frozen *frozen);

const Snapshot *frozen_snapshot(const Frozen *frozen);

/* Every live object in address order; nonzero ends the walk and is returned. */
typedef int FrozenVisit(const FrozenObject *object, void *user);
int frozen_each(const Frozen *frozen, FrozenVisit *visit, void *user);

/* The object that starts at `address`: 1 or 0. */
int frozen_at(const Frozen *frozen, uint64_t address, FrozenObject *ret);
/* The one that `address` points into: 1 or 0. */
int frozen_around(const Frozen *frozen, uint64_t address, FrozenObject *ret);
uint64_t frozen_root(const Frozen *frozen); /* 0: none */

/* ---- what differs ---- */

typedef enum FrozenChange {
    FROZEN_BYTES,    /* the same object with other contents */
    FROZEN_ONLY_OLD, /* no such object in the second … */
    FROZEN_ONLY_NEW, /* … or in the first */
    FROZEN_TYPE      /* another type or count at the same address */
} FrozenChange;

typedef struct FrozenDifference {
    FrozenChange change;
    const FrozenObject *before, *after; /* NULL where there is none */
    uint64_t first;                     /* FROZEN_BYTES: offset of the first byte that differs */
    uint64_t words;                     /* FROZEN_BYTES: 8-byte words that differ */
} FrozenDifference;

/* Objects are the same by address. Words that point into the image that ran count as equal when
 * both do; `only_pointers` counts objects that differ in nothing else. Returns how many differ. */
typedef void FrozenTell(const FrozenDifference *difference, void *user);
uint64_t frozen_compare(const Frozen *before, const Frozen *after, FrozenTell *tell, void *user,
                        uint64_t *ret_only_pointers);

#endif
