/* Between the malloc shim inside a module and its host. Modules don't include it.
 *
 * The shim (abi/shim) is linked into a module and gives it hidden malloc, free, exit … of its own.
 * It finds its heap through `keel_heap_bind`, which a host exports and the module references
 * weakly; without a host the shim passes everything on to libc. */
#ifndef KEEL_HEAP_H
#define KEEL_HEAP_H

#include "base.h"

KEEL_BEGIN

enum {
    KEEL_LEAVE_EXIT = 1,
    KEEL_LEAVE_EXIT_NOW = 2, /* _exit and _Exit */
    KEEL_LEAVE_QUICK_EXIT = 3,
    KEEL_LEAVE_THREAD_EXIT = 4,
    KEEL_LEAVE_ABORT = 5
};

struct keel_heap {
    uint32_t size;
    uint32_t reserved;
    uintptr_t arena_first; /* [first, last): the range of the slot's arena */
    uintptr_t arena_last;
    void *host;

    /* Nonzero when the calling thread is inside a [frame] call of this slot: only then does memory
     * come from the arena. Elsewhere (constructors, other threads) the shim uses libc. [any] */
    int32_t (*in_frame)(const struct keel_heap *h);
    /* `align` is a power of two. NULL when the arena is full. [frame] */
    void *(*alloc)(const struct keel_heap *h, uint64_t bytes, uint64_t align);
    /* Grows or shrinks in place; 0 when it could. [frame] */
    int32_t (*resize)(const struct keel_heap *h, void *block, uint64_t bytes);
    /* An arena block; from another thread it is queued for the end of the frame. [any] */
    void (*free)(const struct keel_heap *h, void *block);
    /* The bytes that `block` of the arena can hold. [any] */
    uint64_t (*usable)(const struct keel_heap *h, const void *block);
    /* libc's memory: given to libc's free at the end of the frame, so that an undone frame keeps
     * it. [any] */
    void (*free_foreign)(const struct keel_heap *h, void *block);
    /* The module called exit or one of its kin: a fault of the module. Doesn't return inside a call
     * of the module. Elsewhere 0: the shim calls the real one; else it traps, so that the thread
     * faults and not the process ends. [any] */
    int32_t (*leave)(const struct keel_heap *h, int32_t kind, int32_t code);
};

/* The heap of the image that is being loaded on this thread, or of none: NULL. */
const struct keel_heap *keel_heap_bind(void);

KEEL_END

#endif
