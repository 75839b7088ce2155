/* What a slot was given: events that wait for a frame, and the last frames with their events for
 * the trial.
 *
 * Events get their sequence number when they arrive. A frame takes all that wait; if it is undone
 * they are put back once, marked as redelivered, and set aside (counted) if that frame is undone
 * too. The record is a ring of bounded bytes. What people did (KEEL_EVENT_INPUT) is folded into the
 * state of keys and pointers, also where its event is set aside: no key stays held for ever. Owned
 * by one slot, used on its frame thread. */
#ifndef SWAP_INPUTS_H
#define SWAP_INPUTS_H

#include <keel/context.h>

#include "base/buf.h"
#include "base/err.h"
#include "swap/input_state.h"

enum {
    INPUTS_FRAMES = 32,             /* frames that are remembered */
    INPUTS_FRAME_BYTES = 64 * 1024, /* of events in one remembered frame; more is left out */
    INPUTS_WAITING = 16384,         /* events that may wait; more are refused */
    INPUTS_MOVES = 256              /* from so many on, moves of the pointer are put together */
};

/* An event that modules don't see: how keys and pointers stand from here on (keel_input_state). It
 * stands where the inputs before it are not recorded: at the head of what inputs_encode writes, and
 * where some were skipped or set aside. */
#define INPUTS_STATE_EVENT UINT32_C(0x80000001)

typedef struct Input {
    struct keel_event event; /* .data points into this allocation */
    struct Input *next;
} Input;

typedef struct InputFrame {
    struct keel_frame frame;
    uint32_t events;
    struct keel_input_state before; /* as the frame before left it */
    Buf data;                       /* encoded events */
} InputFrame;

typedef struct Inputs {
    Input *first, **last; /* waiting, in order */
    uint32_t waiting;
    Input *taken; /* by the running frame */
    uint64_t next_seq;
    uint64_t set_aside; /* events that two undone frames had */
    uint64_t refused;   /* events that came when too many waited */
    int resync;         /* inputs were skipped: the next frame is told how things stand */
    struct keel_input_state committed, now; /* of the last frame that counted, of the running one */
    InputFrame frames[INPUTS_FRAMES];
    uint64_t recorded; /* frames ever recorded */
} Inputs;

void inputs_init(Inputs *inputs);
void inputs_done(Inputs *inputs);

/* Copies the event and its data; gives it the next number. KEEL_ELIMIT, KEEL_ENOMEM. */
int inputs_put(Inputs *inputs, const struct keel_event *event);

/* The same without copying: an input of input_new is linked in and freed later, also on errors. A
 * content of the same asset that still waits makes way for it. */
Input *input_new(const struct keel_event *event, size_t data_bytes); /* its data are to be filled */
int inputs_link_asset(Inputs *inputs, Input *input);

/* The same for what people do: moves of the pointer are put together when many events wait. */
int inputs_put_input(Inputs *inputs, const struct keel_event *event);

/* Nothing runs that could take it: only the state of keys and pointers hears of it. */
void inputs_skip(Inputs *inputs, const struct keel_event *event);

/* The slot goes on from one whose last event had the number `seq`: those that wait come after it.
 * What has a higher number keeps it, as it may have been given already. */
void inputs_go_on(Inputs *inputs, uint64_t seq);

/* Moves all waiting events to `taken`, and makes `now` of them. */
const Input *inputs_take(Inputs *inputs);

/* The frame that took them counts: remembers it and frees them. */
void inputs_commit(Inputs *inputs, const struct keel_frame *frame);

/* The frame didn't happen. Returns how many were set aside. */
uint32_t inputs_undo(Inputs *inputs);

/* The same, and it wasn't a try: they wait again as if they had not been taken. */
void inputs_put_back(Inputs *inputs);

/* Forgets all that wait, but for those of kind `but` and new contents of assets; `state`, if not
 * NULL, hears of them. */
void inputs_clear(Inputs *inputs, uint32_t but, struct keel_input_state *state);

/* Forgets all of this kind that wait. */
void inputs_drop(Inputs *inputs, uint32_t kind);

/* The remembered frames, oldest first, as bytes for another process. */
int inputs_encode(const Inputs *inputs, Buf *out);

/* Reads what inputs_encode wrote, checking every length. `frame` is called for each frame, `event`
 * for each of its events after it; nonzero ends it. Returns 0, what a callback returned, or
 * KEEL_EDATA. */
typedef struct InputsReader {
    int (*frame)(const struct keel_frame *frame, void *user);
    int (*event)(const struct keel_event *event, void *user);
    void *user;
} InputsReader;
int inputs_decode(const void *data, size_t bytes, const InputsReader *reader);

#endif
