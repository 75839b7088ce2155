/* What a frame asked for: timers, tasks, images, assets, sounds and wishes of the window, as a transaction.
 *
 * A handle is reserved when the module asks; the timer runs, the task is queued, the cancellation
 * counts when the frame is committed. An undone frame leaves the tables as if it had never asked,
 * and the handles come again in the same order. Owned by one slot, used on its frame thread; only a
 * task's end comes from a worker. */
#ifndef SWAP_EFFECTS_H
#define SWAP_EFFECTS_H

#include <stdatomic.h>

#include <keel/module.h>

#include "fault/guard.h"
#include "loop/workers.h"
#include "module/generation.h"
#include "swap/assets.h"
#include "swap/inputs.h"
#include "swap/pictures.h"
#include "swap/sounds.h"
#include "swap/wants.h"

enum { EFFECTS_TIMERS = 4096, EFFECTS_TASKS = 1024 };

typedef struct Timer {
    int64_t due_ns, period_ns;
    uint64_t tag;
    uint32_t generation; /* of the handle */
    uint8_t state;       /* TIMER_… */
    uint8_t stopping;    /* this frame asked for its end */
} Timer;

typedef struct Task Task;
struct Effects;

/* Lives until both the slot has forgotten it and its work has ended. */
struct Task {
    Job job;
    struct Effects *effects;
    Generation *generation; /* whose work runs; its `inside` is held from submit to end */
    keel_handle handle;
    uint64_t tag;
    uint32_t op;
    int32_t result;
    _Atomic int cancelled;
    Fault fault; /* kind FAULT_NONE unless work faulted */
    void *input;
    uint64_t input_bytes;
    void *output;
    uint64_t output_bytes;
    Task *next; /* in the list of ended ones */
    Task *also; /* in the list of forgotten ones */
};

typedef enum EffectKind {
    EFFECT_TIMER_START,
    EFFECT_TIMER_STOP,
    EFFECT_TASK_START,
    EFFECT_TASK_CANCEL
} EffectKind;

typedef struct Effect {
    EffectKind kind;
    uint32_t index;
    uint32_t priority;
} Effect;

typedef struct TaskPlace {
    Task *task; /* NULL: free */
    uint32_t generation;
    uint8_t submitted;
} TaskPlace;

typedef struct Effects {
    Workers *workers; /* NULL: tasks are taken but never run (trial) */
    int64_t now_ns;   /* of the frame, for timers */
    int resting;      /* the slot stands still: timers that are due wait */
    int held;         /* a replay: tasks are neither run nor ended, until effects_settle */

    Timer *timers; /* EFFECTS_TIMERS, allocated at the first use */
    uint32_t timer_top,
        timer_count;       /* top: places that were ever used, since each knows its next handle */
    int64_t timer_next_ns; /* the earliest due time, INT64_MAX for none */

    TaskPlace *tasks; /* EFFECTS_TASKS */
    uint32_t task_top, task_count;
    _Atomic(Task *) ended; /* newest first; pushed by workers */
    Task *forgotten;       /* cancelled while their work ran: it may run on */
    _Atomic uint32_t running;

    Pictures pictures;
    Assets assets;
    Sounds sounds;
    Wants wants, wanted; /* of the running frame, of the last one that counted */

    Effect *pending;
    uint32_t pending_count, pending_room;
    uint64_t task_faults;
} Effects;

void effects_init(Effects *effects, Workers *workers);
/* Waits for running work; work that goes on for three seconds more is ended as a deadline ends a
 * frame. */
void effects_done(Effects *effects);

/* ---- from services, inside a frame ---- */
keel_handle effects_timer_start(Effects *effects, int64_t after_ns, int64_t period_ns,
                                uint64_t tag);
int effects_timer_stop(Effects *effects, keel_handle timer);
keel_handle effects_task_start(Effects *effects, Generation *generation, uint32_t op, uint64_t tag,
                               uint32_t priority, const void *input, uint64_t input_bytes);
int effects_task_cancel(Effects *effects, keel_handle task);

/* ---- around frames ---- */

/* Puts an event for each due timer and each ended task. `ret_fault` gets the first fault of a
 * task's work with the number of its generation; returns 1 if there was one. */
int effects_collect(Effects *effects, int64_t now_ns, Inputs *inputs, uint64_t *ret_owner,
                    Fault *ret_fault);
void effects_commit(Effects *effects);
void effects_undo(Effects *effects);

/* ---- going back ---- */

/* What timers and tasks there are, between two frames. Images, assets and sounds are not part of it. */
typedef struct EffectsPast {
    Timer *timers;
    uint32_t timer_top,
        timer_count; /* top: places that were ever used, since each knows its next handle */
    int64_t timer_next_ns;
    struct TaskPast {
        uint64_t tag;
        uint32_t generation, op;
        int there;
    } * tasks;
    uint32_t task_top;
} EffectsPast;

/* Of Timer.state: it will fire. */
int effects_timer_runs(uint32_t state);
int effects_keep(const Effects *effects, EffectsPast *ret); /* KEEL_ENOMEM */
void effects_past_done(EffectsPast *past);
/* All as it was then, also in a slot that never had any. Work that ran is forgotten; the tasks of then wait, held, for what a record
 * says or for effects_release. Between two frames. */
void effects_go_back(Effects *effects, const EffectsPast *past);

/* ---- in a replay (held) ---- */

/* Events of the timers that are due, as effects_collect puts them. */
void effects_fire(Effects *effects, int64_t now_ns, Inputs *inputs);
/* The record has this task's end: its place is free. 0 when no such task waits. */
int effects_settle(Effects *effects, keel_handle task);
/* The replay is over and the slot goes on: what still waits ends, as cancelled. */
void effects_release(Effects *effects);

#endif
