/* The bounded ring of reserved ranges. Owns the reservations. The loader's thread. */
#include "module/retired.h"

#include <string.h>
#include <sys/mman.h>

#include "fault/guard.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static void let_go(Retired *retired)
{
    RetiredRange *oldest = &retired->ranges[0];
    guard_range_remove(oldest->owner);
    munmap((void *)oldest->first, oldest->last - oldest->first);
    retired->bytes -= oldest->last - oldest->first;
    retired->count--;
    memmove(oldest, oldest + 1, (size_t)retired->count * sizeof *oldest);
}

int retired_keep(Retired *retired, uint64_t owner, uintptr_t first, uintptr_t last,
                 const char *name)
{
    uint64_t bytes = last - first;
    if (bytes > RETIRED_BYTES)
        return 0;
    while (retired->count &&
           (retired->count == RETIRED_RANGES || retired->bytes > RETIRED_BYTES - bytes))
        let_go(retired);
    void *at = mmap((void *)first, bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED)
        return 0;
    if ((uintptr_t)at != first) { /* kernels before 4.17 take it for a hint */
        munmap(at, bytes);
        return 0;
    }
    if (guard_range_add(first, last, owner, name, NULL)) {
        munmap(at, bytes);
        return 0;
    }
    retired->ranges[retired->count++] = (RetiredRange){owner, first, last};
    retired->bytes += bytes;
    return 1;
}

int retired_overlaps(const Retired *retired, uintptr_t first, uintptr_t last)
{
    for (int i = 0; i < retired->count; i++)
        if (first < retired->ranges[i].last && last > retired->ranges[i].first)
            return 1;
    return 0;
}

void retired_done(Retired *retired)
{
    while (retired->count)
        let_go(retired);
}
