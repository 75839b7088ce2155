/* Timers and tasks as they were at an earlier moment: kept, and put back. Owns what it keeps. Frame
 * thread. */
#include <stdlib.h>
#include <string.h>

#include "swap/effects_parts.h"

int effects_keep(const Effects *effects, EffectsPast *ret)
{
    EffectsPast past = {.timer_top = effects->timer_top,
                        .timer_count = effects->timer_count,
                        .timer_next_ns = effects->timer_next_ns,
                        .task_top = effects->task_top};
    if (past.timer_top)
        past.timers = malloc(past.timer_top * sizeof *past.timers);
    if (past.task_top)
        past.tasks = calloc(past.task_top, sizeof *past.tasks);
    if ((past.timer_top && !past.timers) || (past.task_top && !past.tasks)) {
        effects_past_done(&past);
        return KEEL_ENOMEM;
    }
    if (past.timer_top)
        memcpy(past.timers, effects->timers, past.timer_top * sizeof *past.timers);
    for (uint32_t i = 0; i < past.task_top; i++) {
        const TaskPlace *place = &effects->tasks[i];
        past.tasks[i].generation = place->generation;
        past.tasks[i].there = place->task != NULL;
        if (place->task) {
            past.tasks[i].tag = place->task->tag;
            past.tasks[i].op = place->task->op;
        }
    }
    *ret = past;
    return KEEL_OK;
}

void effects_past_done(EffectsPast *past)
{
    free(past->timers);
    free(past->tasks);
    *past = (EffectsPast){0};
}

/* A task whose work is not to be run again. */
static Task *stand_in(Effects *effects, const struct TaskPast *was, uint32_t index)
{
    Task *task = calloc(1, sizeof *task);
    if (!task)
        return NULL;
    task->effects = effects;
    task->op = was->op;
    task->tag = was->tag;
    task->handle = handle_make(was->generation, index);
    return task;
}

/* Without memory for the tables there is nothing of then in them. */
static void make_tables(Effects *effects)
{
    if (!effects->timers)
        effects->timers = calloc(EFFECTS_TIMERS, sizeof *effects->timers);
    if (!effects->tasks)
        effects->tasks = calloc(EFFECTS_TASKS, sizeof *effects->tasks);
}

void effects_go_back(Effects *effects, const EffectsPast *past)
{
    effects_undo(effects);
    if (past->timer_top || past->task_top)
        make_tables(effects);
    if ((past->timer_top && !effects->timers) || (past->task_top && !effects->tasks))
        return;
    for (uint32_t i = 0; i < effects->task_top; i++)
        task_forget(effects, i);
    for (uint32_t i = 0; i < past->task_top; i++) {
        TaskPlace *place = &effects->tasks[i];
        place->generation = past->tasks[i].generation;
        place->submitted = 0;
        place->task = past->tasks[i].there ? stand_in(effects, &past->tasks[i], i) : NULL;
        effects->task_count += place->task != NULL;
    }
    for (uint32_t i = past->task_top; i < effects->task_top; i++)
        effects->tasks[i].generation = 0; /* never used then */
    effects->task_top = past->task_top;
    if (effects->timers)
        memset(effects->timers, 0, effects->timer_top * sizeof *effects->timers);
    if (past->timer_top)
        memcpy(effects->timers, past->timers, past->timer_top * sizeof *past->timers);
    effects->timer_top = past->timer_top;
    effects->timer_count = past->timer_count;
    effects->timer_next_ns = past->timer_next_ns;
    effects->held = 1;
}
