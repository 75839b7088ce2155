/* What a page counts for in the hash of a state, see leaves.c. Nobody outside this room includes
 * it. Any thread. */
#ifndef STATE_LEAF_H
#define STATE_LEAF_H

#include "state/internal.h"

static inline uint64_t leaf_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64's finalizer */
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline int leaf_is_zero(const uint64_t *words)
{
    uint64_t any = 0;
    for (int i = 0; i < PAGE_BYTES / 8; i++)
        any |= words[i];
    return !any;
}

static inline int leaf_points(const uint64_t *words, uint64_t first, uint64_t span)
{
    uint64_t hits = 0;
    for (int i = 0; i < PAGE_BYTES / 8; i++)
        hits |= words[i] - first < span;
    return hits != 0;
}

static inline uint64_t leaf_place(uint32_t id, const void *page)
{
    return leaf_mix(hash_bytes(page, PAGE_BYTES).low + id * UINT64_C(0x9e3779b97f4a7c15));
}

#endif
