/* Keel ABI 1.0: what a module is handed at every call: the context, the frame and events.
 *
 * Thread tags used in all headers:
 *   [frame]   only inside the module's start, frame, event, save, restore and stop, on their thread
 *   [worker]  only inside the module's work, on a host's worker thread
 *   [any]     anywhere, any thread, as long as the generation is loaded
 * A host built for debugging checks them; any host answers KEEL_ETHREAD where it can tell. */
#ifndef KEEL_CONTEXT_H
#define KEEL_CONTEXT_H

#include "base.h"

KEEL_BEGIN

/* Why the module is being run. Code that would act on the world asks first. */
enum {
    KEEL_MODE_LIVE = 0,  /* for real */
    KEEL_MODE_TRIAL = 1, /* in the helper process, on a private view of the state; nothing counts */
    KEEL_MODE_SHADOW = 2, /* beside the running generation on the same inputs; nothing counts */
    KEEL_MODE_REPLAY = 3  /* on recorded inputs */
};

/* The context of one slot. Owned by the host, valid for the call that passed it and, for [any]
 * functions, as long as the generation is loaded. Grows at the end; `size` is what the host filled.
 */
typedef struct keel keel;
struct keel {
    uint32_t size;
    uint32_t abi;  /* KEEL_ABI of the host */
    uint32_t mode; /* KEEL_MODE_… */
    uint32_t slot; /* number of the slot, for messages only */
    void *user;    /* what the embedding program passed for this slot, or NULL */

    /* A service's table by id and revision ("keel.time/1") that is at least `min_size` bytes, or
     * NULL. The table outlives the generation. [any] */
    const void *(*service)(keel *k, const char *id, uint32_t min_size);

    /* Keeps a sentence with the error `code` for the report and returns `code`. [any] */
    int32_t (*fail)(keel *k, int32_t code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
};

#define keel_fail(k, code, ...) ((k)->fail((k), (code), __VA_ARGS__))

static inline uint32_t keel_run_mode(const keel *k)
{
    return k->mode;
}

static inline void *keel_user(const keel *k)
{
    return k->user;
}

/* One frame. The same for every slot of a host in that frame. */
struct keel_frame {
    uint32_t size;
    uint32_t flags;  /* KEEL_FRAME_… */
    uint64_t index;  /* counts the slot's frames that were committed, from 0 */
    int64_t time_ns; /* monotonic host time of this frame */
    double dt;       /* seconds since the slot's frame before; 0 in the first */
};

/* The frame before this one was undone; its inputs are given once more. */
#define KEEL_FRAME_REDELIVERED 1u

enum {
    KEEL_EVENT_TIMER =
        1, /* a timer fired: handle, tag; result counts firings since the last event */
    KEEL_EVENT_TASK = 2,    /* work ended: handle, tag, result; data is what work gave back */
    KEEL_EVENT_MESSAGE = 3, /* the embedding program or `keel ctl` sent data: tag, data */
    KEEL_EVENT_INPUT =
        4,               /* somebody moved, pressed, typed: data is a struct keel_input (input.h) */
    KEEL_EVENT_ASSET = 5 /* a file has (new) content: handle, tag, result, data: asset.h */
};

/* This event was given before, in a frame that was undone. */
#define KEEL_EVENT_REDELIVERED 1u

/* Something that happened. Lent for the call. */
struct keel_event {
    uint32_t size;
    uint32_t kind; /* KEEL_EVENT_… */
    uint64_t seq;  /* the slot's input number; grows by one an input, kept when given again */
    uint64_t tag;  /* what the module chose when it asked for the event */
    keel_handle handle;
    int64_t time_ns; /* when it happened, monotonic host time */
    uint32_t flags;
    int32_t result;
    const void *data; /* data_bytes bytes, or NULL */
    uint64_t data_bytes;
};

KEEL_END

#endif
