/* keel.time/1: clock, random numbers and timers. They come from the host so that a recorded session
 * can be played again. */
#ifndef KEEL_TIME_H
#define KEEL_TIME_H

#include "context.h"

KEEL_BEGIN

#define KEEL_TIME_1 "keel.time/1"

struct keel_time_1 {
    uint32_t size;
    uint32_t reserved;

    /* Monotonic nanoseconds; inside a frame it doesn't move. [frame] */
    int64_t (*now_ns)(keel *k);
    /* Nanoseconds since 1970-01-01 UTC of the frame. [frame] */
    int64_t (*wall_ns)(keel *k);
    /* 64 random bits, not for secrets: xoshiro256** (Blackman and Vigna, 2018), seeded a slot. An
     * undone frame draws the same numbers again. [frame] */
    uint64_t (*random)(keel *k);

    /* A timer that fires after `after_ns` and then, when `period_ns` is above 0, every period_ns;
     * as KEEL_EVENT_TIMER with `tag`. Firings that a frame couldn't take are counted in one event.
     * Starts at the end of the frame. 0 when there are too many (4,096 a slot). [frame] */
    keel_handle (*timer_start)(keel *k, int64_t after_ns, int64_t period_ns, uint64_t tag);
    /* No event of it comes after this frame. KEEL_ESTALE when it has ended before. [frame] */
    int32_t (*timer_stop)(keel *k, keel_handle timer);
};

static inline const struct keel_time_1 *keel_time_service_(keel *k)
{
    static const struct keel_time_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_time_1 *)k->service(k, KEEL_TIME_1, sizeof *table);
    return table;
}

static inline int64_t keel_now_ns(keel *k)
{
    return keel_time_service_(k)->now_ns(k);
}

static inline int64_t keel_wall_ns(keel *k)
{
    return keel_time_service_(k)->wall_ns(k);
}

static inline uint64_t keel_random(keel *k)
{
    return keel_time_service_(k)->random(k);
}

static inline keel_handle keel_timer_start(keel *k, int64_t after_ns, int64_t period_ns,
                                           uint64_t tag)
{
    return keel_time_service_(k)->timer_start(k, after_ns, period_ns, tag);
}

static inline int32_t keel_timer_stop(keel *k, keel_handle timer)
{
    return keel_time_service_(k)->timer_stop(k, timer);
}

KEEL_END

#endif
