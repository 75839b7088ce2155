/* Timers of a slot: the table, and the events of those that are due. Owns the table's entries; what
 * a frame asked for takes effect when effects.c says so. Frame thread. */
#include <stdlib.h>

#include "swap/effects_parts.h"

enum { TIMER_FREE = 0, TIMER_RESERVED, TIMER_RUNNING };

keel_handle effects_timer_start(Effects *effects, int64_t after_ns, int64_t period_ns, uint64_t tag)
{
    if (!effects->timers)
        effects->timers = calloc(EFFECTS_TIMERS, sizeof *effects->timers);
    if (!effects->timers || effects->timer_count == EFFECTS_TIMERS || !effects_reserve(effects))
        return 0;
    uint32_t i = 0;
    while (i < effects->timer_top && effects->timers[i].state != TIMER_FREE)
        i++;
    Timer *timer = &effects->timers[i];
    if (i == effects->timer_top)
        effects->timer_top++;
    if (after_ns < 0)
        after_ns = 0;
    int64_t due;
    if (__builtin_add_overflow(effects->now_ns, after_ns, &due))
        due = INT64_MAX - 1;
    *timer = (Timer){.due_ns = due,
                     .period_ns = period_ns > 0 ? period_ns : 0,
                     .tag = tag,
                     .generation = timer->generation + 1,
                     .state = TIMER_RESERVED};
    effects->timer_count++;
    effects_push(effects, EFFECT_TIMER_START, i, 0);
    return handle_make(timer->generation, i);
}

int effects_timer_stop(Effects *effects, keel_handle handle)
{
    uint32_t i = handle_index(handle);
    if (i >= effects->timer_top)
        return KEEL_ESTALE;
    Timer *timer = &effects->timers[i];
    if (timer->state == TIMER_FREE || timer->stopping ||
        timer->generation != (uint32_t)(handle >> 32))
        return KEEL_ESTALE;
    if (!effects_reserve(effects))
        return KEEL_ENOMEM;
    timer->stopping = 1;
    effects_push(effects, EFFECT_TIMER_STOP, i, 0);
    return KEEL_OK;
}

int effects_timer_runs(uint32_t state)
{
    return state == TIMER_RUNNING;
}

void timers_fire(Effects *effects, int64_t now_ns, Inputs *inputs)
{
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < effects->timer_top; i++) {
        Timer *timer = &effects->timers[i];
        if (timer->state != TIMER_RUNNING)
            continue;
        if (timer->due_ns <= now_ns) {
            int64_t times = 1;
            if (timer->period_ns)
                times += (now_ns - timer->due_ns) / timer->period_ns;
            struct keel_event event = {.kind = KEEL_EVENT_TIMER,
                                       .tag = timer->tag,
                                       .handle = handle_make(timer->generation, i),
                                       .time_ns = now_ns,
                                       .result = times > INT32_MAX ? INT32_MAX : (int32_t)times};
            if (inputs_put(inputs, &event) == KEEL_OK) {
                if (timer->period_ns) {
                    timer->due_ns += times * timer->period_ns;
                } else {
                    timer->state = TIMER_FREE;
                    effects->timer_count--;
                    continue;
                }
            }
        }
        if (timer->due_ns < next)
            next = timer->due_ns;
    }
    effects->timer_next_ns = next;
}

void timer_run(Effects *effects, uint32_t index)
{
    Timer *timer = &effects->timers[index];
    timer->state = TIMER_RUNNING;
    if (timer->due_ns < effects->timer_next_ns)
        effects->timer_next_ns = timer->due_ns;
}

void timer_end(Effects *effects, uint32_t index)
{
    effects->timers[index].state = TIMER_FREE;
    effects->timers[index].stopping = 0;
    effects->timer_count--;
}

void timer_unreserve(Effects *effects, uint32_t index)
{
    timer_end(effects, index);
    effects->timers[index].generation--; /* the same handle again, as if never asked for */
}

void timer_unend(Effects *effects, uint32_t index)
{
    effects->timers[index].stopping = 0;
}

int timers_save(const Effects *effects, Buf *out)
{
    uint64_t top = effects->timer_top;
    int rc = buf_add(out, &top, sizeof top);
    return rc ? rc : buf_add(out, effects->timers, top * sizeof *effects->timers);
}

int timers_load(Effects *effects, Carried *in)
{
    uint64_t top;
    if (carried_take(in, &top, sizeof top) || top > EFFECTS_TIMERS)
        return KEEL_EDATA;
    if (!top)
        return KEEL_OK;
    effects->timers = calloc(EFFECTS_TIMERS, sizeof *effects->timers);
    if (!effects->timers)
        return KEEL_ENOMEM;
    if (carried_take(in, effects->timers, top * sizeof *effects->timers))
        return KEEL_EDATA;
    effects->timer_next_ns = INT64_MAX;
    for (uint32_t i = 0; i < top; i++) {
        const Timer *timer = &effects->timers[i];
        if ((timer->state != TIMER_FREE && timer->state != TIMER_RUNNING) || timer->stopping ||
            timer->period_ns < 0)
            return KEEL_EDATA;
        if (timer->state == TIMER_FREE)
            continue;
        effects->timer_count++;
        if (timer->due_ns < effects->timer_next_ns)
            effects->timer_next_ns = timer->due_ns;
    }
    effects->timer_top = (uint32_t)top;
    return KEEL_OK;
}
