/* Faults of threads that a module made. Owns a table of parked threads: the thread that faulted
 * fills a place and sleeps there for good, since its stack can't be unwound and its code may go.
 * Async-signal-safe on the parking side. */
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault/parts.h"

#pragma GCC poison exit abort malloc free printf snprintf

enum { STRAYS = 256 };

typedef enum StrayState { STRAY_FREE, STRAY_FILLING, STRAY_NEW, STRAY_TAKEN } StrayState;

typedef struct Stray {
    int state;
    uint64_t owner;
    Fault fault;
} Stray;

static Stray strays[STRAYS];
static int waiting;         /* new ones; what is counted is there */
static uint32_t unrecorded; /* parked when the table was full */

static void record(uint64_t owner, const Fault *fault)
{
    for (int i = 0; i < STRAYS; i++) {
        int expected = STRAY_FREE;
        if (!__atomic_compare_exchange_n(&strays[i].state, &expected, STRAY_FILLING, 0,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        strays[i].fault = *fault;
        strays[i].fault.thread = (int)syscall(SYS_gettid);
        __atomic_store_n(&strays[i].owner, owner, __ATOMIC_RELAXED);
        __atomic_store_n(&strays[i].state, STRAY_NEW, __ATOMIC_RELEASE);
        __atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE);
        return;
    }
    __atomic_add_fetch(&unrecorded, 1, __ATOMIC_RELAXED);
}

/* pthread_sigmask leaves libc's own two signals open: setuid in another thread waits for an answer
 * to one. */
void stray_park(uint64_t owner, const Fault *fault)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    record(owner, fault);
    uint32_t never = 0;
    for (;;)
        syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static int take(uint64_t owner, uint64_t *ret_owner, Fault *ret_fault)
{
    for (int i = 0; i < STRAYS && guard_strays(); i++) {
        int expected = STRAY_NEW;
        if (GUARD_LOAD(strays[i].state) != STRAY_NEW || (owner && strays[i].owner != owner))
            continue;
        if (!__atomic_compare_exchange_n(&strays[i].state, &expected, STRAY_TAKEN, 0,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        __atomic_sub_fetch(&waiting, 1, __ATOMIC_RELAXED);
        *ret_owner = strays[i].owner;
        *ret_fault = strays[i].fault;
        return 1;
    }
    return 0;
}

int guard_strays(void)
{
    return GUARD_LOAD(waiting) > 0;
}

int guard_take_stray(uint64_t *ret_owner, Fault *ret_fault)
{
    return take(0, ret_owner, ret_fault);
}

int guard_take_stray_of(uint64_t owner, Fault *ret_fault)
{
    return take(owner, &owner, ret_fault);
}

/* Where the table is full nobody's code may be unmapped. */
int guard_parked(uint64_t owner)
{
    int count = (int)__atomic_load_n(&unrecorded, __ATOMIC_RELAXED);
    for (int i = 0; i < STRAYS; i++) {
        int state = GUARD_LOAD(strays[i].state);
        if (state == STRAY_FILLING)
            count++; /* whose, will be known in a moment */
        else if (state != STRAY_FREE)
            count += !owner || __atomic_load_n(&strays[i].owner, __ATOMIC_RELAXED) == owner;
    }
    return count;
}
