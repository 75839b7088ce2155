/* The last seconds of a slot: moments of its state and the inputs of every frame between them, so
 * that it can be put back to any frame of them, and be given again what it was given, by the code
 * that runs now.
 *
 * A moment is a pin: it costs the pages that change after it. Bounded in time, in frames and in
 * bytes; the oldest go first. Belongs to whoever owns the slot; frame thread, between two frames,
 * but for the hooks. */
#ifndef SWAP_PAST_H
#define SWAP_PAST_H

#include "swap/playback.h"
#include "swap/slot.h"

typedef struct Past Past;

enum { PAST_FRAMES = 4096 }; /* at most */

/* KEEL_ENOMEM. The slot's frames are kept from here on. */
int past_new(Slot *slot, int64_t span_ns, uint64_t budget_bytes, Past **ret, Error *err);
void past_free(Past *past); /* NULL is fine */

/* What was is of no use any more; `why` is told to whoever asks for it. NULL is fine. */
void past_forget(Past *past, const char *why);

/* Hooks of slot_frame_commit: before the events are freed, after the state is committed. */
void past_gather(Past *past);
void past_frame(Past *past);

typedef struct PastStatus {
    int64_t oldest_ns, newest_ns; /* module time of the frames that are kept; equal: none */
    uint64_t oldest, newest;      /* frames: those in [oldest, newest] can be gone to */
    uint32_t moments;
    uint64_t bytes;
    char why[160]; /* why there is nothing, "" if there is */
} PastStatus;
void past_status(const Past *past, PastStatus *ret);

/* The number of frames that were committed at `time_ns`, within what is kept. */
uint64_t past_frame_at(const Past *past, int64_t time_ns);

/* When the last of the first `frames` frames was; the oldest or newest where it isn't kept. */
int64_t past_time_of(const Past *past, uint64_t frames);

/* Puts the slot back to where `frames` frames were committed, and has it draw the last of them
 * again. Frames that lie later are kept. KEEL_EREFUSED with a sentence: nothing was changed.
 * KEEL_EFAULT: the code that runs now faulted on the way; the slot is at the frame before. */
int past_go(Past *past, uint64_t frames, Error *err);

/* From where the slot is: gives it again what is recorded, one frame a call of past_open. */
void past_play(Past *past);
/* 1 while there is a recorded frame to give. */
int past_playing(const Past *past);
/* Its module time. */
int64_t past_next_ns(const Past *past);
/* Opens the slot's frame with it, in the place of slot_frame_open. */
void past_open(Past *past);

/* The slot goes on by itself: what lies later is forgotten, tasks that wait end as cancelled. */
void past_go_on(Past *past);

#endif
