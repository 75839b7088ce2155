/* Is any thread of this process still in, or on its way back to, a range of addresses?
 *
 * Threads that run modules register: they are covered by exact counts (Generation.inside) and are
 * not looked at. Every other thread's stack is scanned for words in the range, conservatively: a
 * word that only looks like an address keeps the range, never the other way round. */
#ifndef MODULE_QUIET_H
#define MODULE_QUIET_H

#include <stdint.h>

#include "base/err.h"

/* Counted, a thread. The calling thread counts its calls into modules in Generation.inside, so its stack needs no
 * scan. At most 256 threads; what comes after is scanned. [any] */
void quiet_thread_known(void);
void quiet_thread_forget(void);

/* KEEL_OK: nobody. KEEL_EBUSY: somebody is, or it can't be told now (a thread that runs without
 * ever blocking); the sentence names the thread. */
int quiet_check(uintptr_t first, uintptr_t last, Error *err);

#endif
