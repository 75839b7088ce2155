/* Is any thread of this process still in, or on its way back to, a range of addresses?
 *
 * Threads that run modules and count their calls (Generation.inside) are not looked at, nor are the
 * host's own that never run a module's code (base/known_threads.h). Every other thread's stack is scanned for words in the range, conservatively: a
 * word that only looks like an address keeps the range, never the other way round. */
#ifndef MODULE_QUIET_H
#define MODULE_QUIET_H

#include <stdint.h>

#include "base/err.h"

/* KEEL_OK: nobody. KEEL_EBUSY: somebody is, or it can't be told now (a thread that runs without
 * ever blocking); the sentence names the thread. */
int quiet_check(uintptr_t first, uintptr_t last, Error *err);

#endif
