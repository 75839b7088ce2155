/* Gives a slot again what its journal says it was given: the same clock, random numbers, events and
 * results of tasks; frame by frame, each committed.
 *
 * Timers are run by the slot's own table and the recorded clock, so that a build that sets others
 * gets what it asked for; tasks are not run, their recorded results arrive. The slot's effects must
 * be held. Whoever owns the slot runs this; its frame thread. */
#ifndef SWAP_PLAYBACK_H
#define SWAP_PLAYBACK_H

#include "state/journal.h"
#include "swap/slot.h"

typedef struct Playback {
    Slot *slot;
    Inputs due; /* timers' events, before they are put beside the recorded ones */
    uint64_t frames;
    uint64_t unmatched;  /* recorded results and firings that this build never asked for */
    uint64_t unrecorded; /* firings of timers that the recorded build had not set */
} Playback;

void playback_init(Playback *playback, Slot *slot);
void playback_done(Playback *playback);

/* Puts the generation into the slot as the record says it came: start, restore or nothing. What
 * went wrong is not undone. */
FaultKind playback_enter(Playback *playback, Generation *generation, const JournalGeneration *how,
                         Fault *ret_fault);

/* Gives the slot one frame's events and opens it: what stands before slot_frame_run. */
void playback_open(Playback *playback, const JournalRecord *record);

/* Runs and commits one frame. `record` must have passed journal_frame_read. FAULT_NONE, or what the
 * module did; the frame is then open and may be undone. */
FaultKind playback_frame(Playback *playback, const JournalRecord *record, Fault *ret_fault);

#endif
