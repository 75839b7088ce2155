/* What the timers and the tasks of effects.h share, and what effects.c asks of each; nobody outside
 * swap/ includes it. Frame thread. */
#ifndef SWAP_EFFECTS_PARTS_H
#define SWAP_EFFECTS_PARTS_H

#include "swap/carried.h"
#include "swap/effects.h"

static inline keel_handle handle_make(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | (index + 1);
}

static inline uint32_t handle_index(keel_handle handle)
{
    return (uint32_t)handle - 1; /* 0 becomes UINT32_MAX, beyond every table */
}

/* Room for one more pending effect, so that nothing can fail after a handle was given out. */
int effects_reserve(Effects *effects);
void effects_push(Effects *effects, EffectKind kind, uint32_t index, uint32_t priority);

/* ---- timers.c ---- */

/* An event for each that is due; finds timer_next_ns. */
void timers_fire(Effects *effects, int64_t now_ns, Inputs *inputs);
/* The frame that asked counts … */
void timer_run(Effects *effects, uint32_t index);
void timer_end(Effects *effects, uint32_t index);
/* … or never was. */
void timer_unreserve(Effects *effects, uint32_t index);
void timer_unend(Effects *effects, uint32_t index);

/* For carry.c: the table as bytes, and into an empty one. KEEL_ENOMEM, KEEL_EDATA. */
int timers_save(const Effects *effects, Buf *out);
int timers_load(Effects *effects, Carried *in);

/* ---- tasks.c ---- */

/* An event for each that has ended; as effects_collect. */
int tasks_collect(Effects *effects, int64_t now_ns, Inputs *inputs, uint64_t *ret_owner,
                  Fault *ret_fault);
/* The frame that asked counts … */
void task_submit(Effects *effects, uint32_t index, uint32_t priority);
void task_forget(Effects *effects, uint32_t index);
/* … or never was. */
void task_unreserve(Effects *effects, uint32_t index);
/* For carry.c; a task that was carried has no work and waits to be settled. */
int tasks_save(const Effects *effects, Buf *out);
int tasks_load(Effects *effects, Carried *in);
/* Takes back what hasn't begun and waits for the rest. */
void tasks_done(Effects *effects);

#endif
