/* A slot's committed frames, as they happen, for a second generation in another process that is to
 * do the same: a ring in shared memory, with the answers coming back beside it.
 *
 * The frame thread puts each frame with its events; no system calls. The other process takes them
 * and answers with the hashes of its state. The engine thread compares. What the other process
 * writes is never trusted: an index is only an index into memory of ours, a hash only a number. A
 * ring that is full breaks the feed, since the frame thread never waits. */
#ifndef SWAP_FEED_H
#define SWAP_FEED_H

#include "state/journal.h"
#include "swap/slot.h"

typedef struct Feed Feed;

/* [engine] */
int feed_new(Feed **ret, Error *err);
void feed_free(Feed *feed); /* NULL is fine; the slot must have let go of it */
int feed_fd(const Feed *feed);
/* The other side finds its end at its next look. [any] */
void feed_stop(Feed *feed);

/* ---- around the slot's frames [frame]; NULL is fine ---- */

void feed_opened(Feed *feed);
/* The frame's events, before they are freed. */
void feed_gather(Feed *feed, const Slot *slot);
void feed_frame(Feed *feed, const Slot *slot);
/* The frame was undone: the old generation's good frames are counted anew. */
void feed_undone(Feed *feed);
/* The state changed in a way that no replay can follow. `why` is a constant. */
void feed_break(Feed *feed, const char *why);
/* Was frame `number` (counted by the feed from 0) the last one, or `slack_ns` ago at the most, and
 * is the feed whole? */
int feed_is_near(const Feed *feed, uint64_t number, int64_t slack_ns);

/* ---- what became of it [engine] ---- */

/* Looks at the frames that came since the last look; those that took longer than `most_ns` and
 * those that were undone start the count anew. */
uint64_t feed_old_in_a_row(Feed *feed, int64_t most_ns);

typedef struct FeedState {
    uint64_t fed, answered;
    uint64_t in_a_row; /* answers that agreed, without one that did not or came late */
    int64_t lag_ns;    /* of the last answer: from the frame's commit until it was known */
    int differs;       /* an answer did not agree: */
    uint64_t frame;    /* … the first such frame's index */
    uint64_t agreed;   /* … frames before it that agreed */
    int by_check;      /* … by what check said, and not by hashes: */
    int32_t check;
    const char *broken; /* why nothing more can agree, or NULL */
} FeedState;

/* Compares what was answered since the last look. */
void feed_look(Feed *feed, int64_t most_lag_ns, FeedState *ret);

/* ---- in the other process ---- */

typedef struct FeedReader FeedReader;
int feed_open(int fd, FeedReader **ret, Error *err);
/* 1 and a frame that journal_frame_read takes, valid until the next call; 0: none yet;
 * KEEL_ECANCELED: it has ended; KEEL_EDATA. */
int feed_next(FeedReader *reader, JournalRecord *ret);
/* About the frame that came last: the state's hash, or what the module's check said about it. */
void feed_answer(FeedReader *reader, uint64_t loose, const int32_t *check);

#endif
