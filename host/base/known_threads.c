/* The list of known threads, by the kernel's numbers. Takes no lock and no memory; any thread. */
#include "base/known_threads.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KNOWN_MAX = 256 };

static _Atomic int known[KNOWN_MAX];

/* A thread may run the frames of two hosts. */
static _Thread_local int times;

static int my_tid(void)
{
    return (int)syscall(SYS_gettid);
}

int known_thread_is(int tid)
{
    for (int i = 0; i < KNOWN_MAX; i++)
        if (atomic_load(&known[i]) == tid)
            return 1;
    return 0;
}

void known_thread_begin(void)
{
    if (times++)
        return;
    int me = my_tid();
    for (int i = 0; i < KNOWN_MAX; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&known[i], &none, me))
            return;
    }
}

void known_thread_end(void)
{
    if (!times || --times)
        return;
    int mine = my_tid();
    for (int i = 0; i < KNOWN_MAX; i++) {
        int me = mine;
        if (atomic_compare_exchange_strong(&known[i], &me, 0))
            return;
    }
}
