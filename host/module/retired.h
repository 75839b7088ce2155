/* The addresses of closed generations, kept without access for a while, so that a stale call
 * faults by name instead of running whatever was mapped there next. One thread. */
#ifndef MODULE_RETIRED_H
#define MODULE_RETIRED_H

#include <stdint.h>

enum { RETIRED_RANGES = 64 };
#define RETIRED_BYTES (UINT64_C(4) << 30) /* addresses only: they cost no memory */

typedef struct RetiredRange {
    uint64_t owner;
    uintptr_t first, last;
} RetiredRange;

typedef struct Retired {
    RetiredRange ranges[RETIRED_RANGES]; /* oldest first */
    int count;
    uint64_t bytes;
} Retired;

/* Reserves [first, last), which must be unmapped now; the guard knows it as `name`. When somebody
 * else took the place meanwhile nothing is kept: 0 then, else 1. Lets the oldest go beyond the
 * limits. */
int retired_keep(Retired *retired, uint64_t owner, uintptr_t first, uintptr_t last,
                 const char *name);
int retired_overlaps(const Retired *retired, uintptr_t first, uintptr_t last);
void retired_done(Retired *retired);

#endif
