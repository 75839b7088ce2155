/* keel.time/1: the frame's clock, the slot's random numbers, timers as effects. [frame] */
#include <keel/time.h>

#include "host/services.h"

static int64_t now_ns(keel *k)
{
    return ((Slot *)k)->effects.now_ns;
}

static int64_t wall_ns(keel *k)
{
    return ((Slot *)k)->wall_ns;
}

static uint64_t random_bits(keel *k)
{
    Slot *slot = service_slot(k);
    return slot ? slot_random(slot) : 0;
}

static keel_handle timer_start(keel *k, int64_t after_ns, int64_t period_ns, uint64_t tag)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return 0;
    guard_host_enter();
    keel_handle handle = effects_timer_start(&slot->effects, after_ns, period_ns, tag);
    guard_host_leave();
    return handle;
}

static int32_t timer_stop(keel *k, keel_handle timer)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = effects_timer_stop(&slot->effects, timer);
    guard_host_leave();
    return rc;
}

const struct keel_time_1 service_time_1 = {.size = sizeof service_time_1,
                                           .now_ns = now_ns,
                                           .wall_ns = wall_ns,
                                           .random = random_bits,
                                           .timer_start = timer_start,
                                           .timer_stop = timer_stop};
