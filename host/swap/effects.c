/* What a frame asked for, as a list that counts as a whole or not at all. Owns the list and the
 * memory of both tables; what is in them is timers.c's and tasks.c's. Frame thread. */
#include <stdlib.h>
#include <string.h>

#include "swap/effects_parts.h"

void effects_init(Effects *effects, Workers *workers)
{
    memset(effects, 0, sizeof *effects);
    effects->workers = workers;
    effects->timer_next_ns = INT64_MAX;
    pictures_init(&effects->pictures);
}

void effects_done(Effects *effects)
{
    effects_undo(effects);
    tasks_done(effects);
    free(effects->timers);
    free(effects->tasks);
    free(effects->pending);
    pictures_done(&effects->pictures);
    assets_done(&effects->assets);
    sounds_done(&effects->sounds);
    wants_done(&effects->wanted);
    effects_init(effects, NULL);
}

int effects_reserve(Effects *effects)
{
    if (effects->pending_count < effects->pending_room)
        return 1;
    uint32_t room = effects->pending_room ? effects->pending_room * 2 : 64;
    Effect *grown = realloc(effects->pending, room * sizeof *grown);
    if (!grown)
        return 0;
    effects->pending = grown;
    effects->pending_room = room;
    return 1;
}

void effects_push(Effects *effects, EffectKind kind, uint32_t index, uint32_t priority)
{
    effects->pending[effects->pending_count++] = (Effect){kind, index, priority};
}

int effects_collect(Effects *effects, int64_t now_ns, Inputs *inputs, uint64_t *ret_owner,
                    Fault *ret_fault)
{
    effects->now_ns = now_ns;
    if (now_ns >= effects->timer_next_ns && !effects->resting)
        timers_fire(effects, now_ns, inputs);
    return tasks_collect(effects, now_ns, inputs, ret_owner, ret_fault);
}

void effects_fire(Effects *effects, int64_t now_ns, Inputs *inputs)
{
    effects->now_ns = now_ns;
    if (now_ns >= effects->timer_next_ns)
        timers_fire(effects, now_ns, inputs);
}

void effects_commit(Effects *effects)
{
    for (uint32_t n = 0; n < effects->pending_count; n++) {
        const Effect *effect = &effects->pending[n];
        switch (effect->kind) {
        case EFFECT_TIMER_START:
            timer_run(effects, effect->index);
            break;
        case EFFECT_TIMER_STOP:
            timer_end(effects, effect->index);
            break;
        case EFFECT_TASK_START:
            task_submit(effects, effect->index, effect->priority);
            break;
        case EFFECT_TASK_CANCEL:
            task_forget(effects, effect->index);
            break;
        }
    }
    effects->pending_count = 0;
    pictures_commit(&effects->pictures);
    assets_commit(&effects->assets);
    sounds_commit(&effects->sounds);
    wants_commit(&effects->wants, &effects->wanted);
}

void effects_undo(Effects *effects)
{
    pictures_undo(&effects->pictures);
    assets_undo(&effects->assets);
    sounds_undo(&effects->sounds);
    wants_done(&effects->wants);
    while (effects->pending_count) {
        const Effect *effect = &effects->pending[--effects->pending_count];
        switch (effect->kind) {
        case EFFECT_TIMER_START:
            timer_unreserve(effects, effect->index);
            break;
        case EFFECT_TIMER_STOP:
            timer_unend(effects, effect->index);
            break;
        case EFFECT_TASK_START:
            task_unreserve(effects, effect->index);
            break;
        case EFFECT_TASK_CANCEL:
            break;
        }
    }
}
