/* Inside fault/: what the guard keeps for each thread. The record and the thread's alternate stack
 * share one mapping that is never unmapped, only used again: the watchdog and handlers may look at
 * it any time. */
#ifndef FAULT_THREAD_H
#define FAULT_THREAD_H

#include "fault/guard.h"

enum {
    GUARD_LEVELS = 8, /* nested guarded calls whose deadlines are watched; deeper ones have none */
    GUARD_THREADS = 512, /* threads that are begun at the same time */
    GUARD_CANARY_BYTES =
        4096 /* too large for malloc's per-thread caches: its free takes the arena's lock */
};

typedef struct GuardFrame {
    sigjmp_buf jump;
    struct GuardFrame *outer;
    struct GuardThread *thread;
    uint64_t owner;
    uint64_t sequence;
    uint32_t level;
    uint32_t host_depth; /* of the caller */
} GuardFrame;

typedef struct GuardLevel {
    uint64_t sequence;   /* of the call; written by its thread, read by the watchdog */
    int64_t deadline_ns; /* 0: none */
    uint64_t owner;
} GuardLevel;

/* What the watchdog knows of one level; only its. */
typedef struct GuardSeen {
    uint64_t sequence;
    int64_t elapsed_ns;
    int fired;
} GuardSeen;

typedef struct GuardThread {
    uint32_t in_use; /* under the list's lock; read by the watchdog */
    int tid;
    uint32_t depth;    /* live levels */
    uint64_t sequence; /* of the newest call */
    GuardLevel levels[GUARD_LEVELS];

    /* Watchdog → handler: the call that is too long. Handler → watchdog: 0 when it was looked at.
     */
    uint64_t late_sequence;
    int64_t late_after_ns;
    uint32_t late_tries; /* how often the handler found it in code that is not a module's */

    GuardSeen seen[GUARD_LEVELS];

    uintptr_t stack_first, stack_last; /* 0, 0: not known */
    size_t stack_guard_bytes;
    stack_t alternate, alternate_before;
    uint32_t mxcsr;
    uint16_t x87_control;
    void *canary; /* of this thread's arena, for the probe */
    Fault fault;  /* filled by the handler, copied where the call is left */
} GuardThread;

#define GUARD_LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define GUARD_STORE(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELEASE)

/* The i-th record ever made, or NULL past the last. Its in_use may be 0. Lock-free. */
GuardThread *thread_at(int i);

/* guard_thread_begin, also while guard_install is under way. */
int thread_begin(Error *err);

/* guard.c: ends calls up to and including `frame` with thread->fault. Doesn't return. */
void frame_leave_by_fault(GuardFrame *frame) __attribute__((noreturn));

/* Innermost first; NULL when it has ended. */
GuardFrame *frame_of_sequence(uint64_t sequence);

/* Nonzero when nothing between here and `frame` is in host depth. */
int frame_may_leave(const GuardFrame *frame);

#endif
