/* Writes what a slot is given into its journal: one record a committed frame, with the hashes of
 * the state after it. Owned by whoever runs the slot, frame thread only. */
#ifndef SWAP_RECORDER_H
#define SWAP_RECORDER_H

#include "state/journal.h"
#include "swap/slot.h"

typedef struct Recorder {
    Journal *journal;    /* the owner's to tend and close */
    uint64_t generation; /* the last one that was written down */
    Buf events;          /* of the frame that is being committed */
    uint32_t event_count;
    uint64_t frames;
} Recorder;

/* Writes the first record; from here on the slot's frames are recorded. The
 * recorder and the journal stay the caller's. */
int recorder_begin(Recorder *recorder, Slot *slot, Journal *journal, Error *err);
/* Nothing more is recorded. */
void recorder_end(Recorder *recorder, Slot *slot);

/* A generation was put into the slot: how, and what time and random numbers it found. NULL recorder
 * is fine for the next four. */
void recorder_entered(Slot *slot, JournalHow how);
/* Its events as they stand in a record, before they are freed. KEEL_ENOMEM. */
int recorder_encode(const Slot *slot, Buf *events, uint32_t *ret_count);
/* The frame that was committed last. */
JournalFrame recorder_describe(const Slot *slot, uint32_t events);

/* The frame's events, before they are freed. */
void recorder_gather(Recorder *recorder, const Slot *slot);
/* The frame is committed. */
void recorder_frame(Recorder *recorder, Slot *slot);
/* The state changed in a way that no replay can follow. */
void recorder_break(Recorder *recorder, const char *why);

#endif
