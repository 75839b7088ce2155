/* Free pages of a state that are filled ahead of a boundary, while frames go on, with what a
 * migration will put there. The allocator knows nothing of them until then: nothing is to be undone
 * when the migration doesn't come, and a process that is killed leaves pages without a meaning.
 * Meanwhile commits and undos look past them, and note which pages frames change.
 *
 * Inside the state only. [frame], but for what is said to be another thread's. */
#ifndef STATE_AHEAD_H
#define STATE_AHEAD_H

#include <pthread.h>

#include "state/internal.h"

enum { AHEAD_RANGES = 64 };

struct Ahead {
    PageRange ranges[AHEAD_RANGES]; /* data pages, by address, apart from each other */
    uint32_t range_count;
    int claimed;          /* the allocator has them, since this boundary */
    int lost;             /* it needed them for something else: they are not filled any more */
    _Atomic int stop;     /* the same, for the thread that fills them */
    pthread_mutex_t busy; /* which holds this while it writes */
    uint64_t *dirty;      /* a bit for each page of the arena that a commit changed */
    uint32_t meta_done, data_done; /* ahead_mark got so far; pages, data pages */
};

/* KEEL_ENOMEM. */
int ahead_open(State *state);
/* Pages that aren't claimed are free pages like others from now on. The thread that filled them
 * has ended. */
void ahead_close(State *state);
/* Room for `pages` pages that nobody needs, not even a pin: 0 or their first. */
uint32_t ahead_place(State *state, uint32_t pages);
/* Would there be, without pins and without the versions that they left in the pool? */
int ahead_may_come(const State *state, uint32_t pages);

/* pages.c is about to use these data pages: if some are being filled, this ends. */
void ahead_yield(State *state, uint32_t first, uint32_t count);

/* The pages of the arena in [*at, last) that commits and undos look at: moves *at past those that
 * are being filled, returns the end of the first piece; *at >= last: there is none. */
uint64_t ahead_piece(const State *state, uint64_t *at, uint64_t last);

/* What was claimed is the allocator's for good. */
static inline void ahead_committed(struct Ahead *ahead)
{
    if (ahead->claimed)
        ahead->range_count = 0;
    ahead->claimed = 0;
}

/* Right after a commit: some of the pages that come into use with the ranges, and that were never
 * used, count as unwritten; else the boundary's commit would mark them all at once (0.1 µs each).
 */
void ahead_mark(State *state);

void ahead_note(State *state, uint32_t id, uint32_t count);

static inline int ahead_changed(const struct Ahead *ahead, uint64_t id)
{
    return (int)(ahead->dirty[id / 64] >> id % 64 & 1);
}

/* Filled pages count as unwritten. [any thread] */
void ahead_protect(const State *state, uint64_t first, uint64_t last);
/* Was something written there since? Arena pages. */
int ahead_written(const State *state, uint64_t first, uint64_t last);

#endif
