/* Timers and tasks of a slot as a transaction. Owns both tables; calls a module only in a task's
 * work, on a worker. */
#include "swap/effects.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fault/guard.h"

enum { TIMER_FREE = 0, TIMER_RESERVED, TIMER_RUNNING };

static keel_handle handle_make(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | (index + 1);
}

static uint32_t handle_index(keel_handle handle)
{
    return (uint32_t)handle - 1; /* 0 becomes UINT32_MAX, beyond every table */
}

void effects_init(Effects *effects, Workers *workers)
{
    memset(effects, 0, sizeof *effects);
    effects->workers = workers;
    effects->timer_next_ns = INT64_MAX;
}

static void task_free(Task *task)
{
    if (task->generation)
        atomic_fetch_sub(&task->generation->inside, 1);
    free(task->input);
    free(task->output);
    free(task);
}

static Task *take_ended(Effects *effects)
{
    Task *newest = atomic_exchange(&effects->ended, NULL), *oldest = NULL;
    while (newest) {
        Task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void effects_done(Effects *effects)
{
    effects_undo(effects);
    for (uint32_t i = 0; i < effects->task_top; i++) {
        Task *task = effects->tasks[i].task;
        if (!task)
            continue;
        atomic_store(&task->cancelled, 1);
        if (effects->workers && workers_take_back(effects->workers, &task->job)) {
            atomic_fetch_sub(&effects->running, 1);
            task_free(task);
            effects->tasks[i].task = NULL;
        }
    }
    while (atomic_load(&effects->running))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    for (Task *task = take_ended(effects), *next; task; task = next) {
        next = task->next;
        task_free(task);
    }
    free(effects->timers);
    free(effects->tasks);
    free(effects->pending);
    effects_init(effects, NULL);
}

/* Room for one more pending effect, so that nothing can fail after a handle was given out. */
static int reserve_pending(Effects *effects)
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

static void push(Effects *effects, EffectKind kind, uint32_t index, uint32_t priority)
{
    effects->pending[effects->pending_count++] = (Effect){kind, index, priority};
}

keel_handle effects_timer_start(Effects *effects, int64_t after_ns, int64_t period_ns, uint64_t tag)
{
    if (!effects->timers)
        effects->timers = calloc(EFFECTS_TIMERS, sizeof *effects->timers);
    if (!effects->timers || effects->timer_count == EFFECTS_TIMERS || !reserve_pending(effects))
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
    push(effects, EFFECT_TIMER_START, i, 0);
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
    if (!reserve_pending(effects))
        return KEEL_ENOMEM;
    timer->stopping = 1;
    push(effects, EFFECT_TIMER_STOP, i, 0);
    return KEEL_OK;
}

keel_handle effects_task_start(Effects *effects, Generation *generation, uint32_t op, uint64_t tag,
                               uint32_t priority, const void *input, uint64_t input_bytes)
{
    if (!effects->tasks)
        effects->tasks = calloc(EFFECTS_TASKS, sizeof *effects->tasks);
    if (!effects->tasks || effects->task_count == EFFECTS_TASKS || !reserve_pending(effects))
        return 0;
    uint32_t i = 0;
    while (i < effects->task_top && effects->tasks[i].task)
        i++;
    Task *task = calloc(1, sizeof *task);
    void *copy = input_bytes ? malloc((size_t)input_bytes) : NULL;
    if (!task || (input_bytes && !copy)) {
        free(task);
        free(copy);
        return 0;
    }
    if (input_bytes)
        memcpy(copy, input, (size_t)input_bytes);
    if (i == effects->task_top)
        effects->task_top++;
    TaskPlace *place = &effects->tasks[i];
    place->task = task;
    place->submitted = 0;
    place->generation++;
    effects->task_count++;
    task->effects = effects;
    task->generation = generation;
    if (generation)
        atomic_fetch_add(&generation->inside, 1);
    task->op = op;
    task->tag = tag;
    task->handle = handle_make(place->generation, i);
    task->input = copy;
    task->input_bytes = input_bytes;
    push(effects, EFFECT_TASK_START, i, priority > 2 ? 2 : priority);
    return task->handle;
}

static TaskPlace *find_task(Effects *effects, keel_handle handle)
{
    uint32_t i = handle_index(handle);
    if (i >= effects->task_top)
        return NULL;
    TaskPlace *place = &effects->tasks[i];
    return place->task && place->generation == (uint32_t)(handle >> 32) ? place : NULL;
}

int effects_task_cancel(Effects *effects, keel_handle handle)
{
    TaskPlace *place = find_task(effects, handle);
    if (!place)
        return KEEL_ESTALE;
    if (!reserve_pending(effects))
        return KEEL_ENOMEM;
    push(effects, EFFECT_TASK_CANCEL, handle_index(handle), 0);
    return KEEL_OK;
}

/* ---- work, on a worker thread ---- */

typedef struct WorkCall {
    struct keel_work work; /* first: what the module holds */
    Task *task;
} WorkCall;

static int32_t work_give(struct keel_work *work, const void *data, uint64_t bytes)
{
    Task *task = ((WorkCall *)work->host)->task;
    if (bytes > UINT64_C(1) << 32)
        return KEEL_ELIMIT;
    void *copy = NULL;
    if (bytes) {
        guard_host_enter();
        copy = malloc((size_t)bytes);
        guard_host_leave();
        if (!copy)
            return KEEL_ENOMEM;
        memcpy(copy, data, (size_t)bytes); /* may fault: the module's fault */
    }
    guard_host_enter();
    free(task->output);
    task->output = copy;
    task->output_bytes = bytes;
    guard_host_leave();
    return KEEL_OK;
}

static int32_t work_cancelled(const struct keel_work *work)
{
    return atomic_load(&((WorkCall *)work->host)->task->cancelled);
}

static void work_call(void *user)
{
    WorkCall *call = user;
    call->task->result = call->task->generation->table->work(&call->work);
}

static void task_run(Job *job)
{
    Task *task = (Task *)job;
    WorkCall call = {.work = {.size = sizeof call.work,
                              .op = task->op,
                              .tag = task->tag,
                              .input = task->input,
                              .input_bytes = task->input_bytes,
                              .give = work_give,
                              .cancelled = work_cancelled},
                     .task = task};
    call.work.host = &call;
    if (!atomic_load(&task->cancelled) &&
        guard_run(task->generation->number, 0, work_call, &call, &task->fault) != FAULT_NONE)
        task->result = KEEL_EFAULT;
    Effects *effects = task->effects;
    Task *head = atomic_load(&effects->ended);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak(&effects->ended, &head, task));
    atomic_fetch_sub(&effects->running, 1);
}

/* ---- around frames ---- */

static void fire_timers(Effects *effects, int64_t now_ns, Inputs *inputs)
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
    while (effects->timer_top && effects->timers[effects->timer_top - 1].state == TIMER_FREE)
        effects->timer_top--;
    effects->timer_next_ns = next;
}

int effects_collect(Effects *effects, int64_t now_ns, Inputs *inputs, uint64_t *ret_owner,
                    Fault *ret_fault)
{
    int faulted = 0;
    effects->now_ns = now_ns;
    if (now_ns >= effects->timer_next_ns && !effects->resting)
        fire_timers(effects, now_ns, inputs);
    if (!atomic_load_explicit(&effects->ended, memory_order_relaxed))
        return 0;
    for (Task *task = take_ended(effects), *next; task; task = next) {
        next = task->next;
        if (task->fault.kind != FAULT_NONE) {
            effects->task_faults++;
            if (!faulted) {
                *ret_owner = task->generation->number;
                *ret_fault = task->fault;
                faulted = 1;
            }
        }
        TaskPlace *place = find_task(effects, task->handle);
        if (place && !atomic_load(&task->cancelled)) {
            struct keel_event event = {.kind = KEEL_EVENT_TASK,
                                       .tag = task->tag,
                                       .handle = task->handle,
                                       .time_ns = now_ns,
                                       .result = task->result,
                                       .data = task->output,
                                       .data_bytes = task->output_bytes};
            inputs_put(inputs, &event);
        }
        if (place) {
            place->task = NULL;
            effects->task_count--;
        }
        task_free(task);
    }
    return faulted;
}

static void submit(Effects *effects, uint32_t index, uint32_t priority)
{
    TaskPlace *place = &effects->tasks[index];
    Task *task = place->task;
    task->job.priority = priority;
    task->job.run = task_run;
    place->submitted = 1;
    atomic_fetch_add(&effects->running, 1);
    if (effects->workers && workers_put(effects->workers, &task->job) == KEEL_OK)
        return;
    /* Nobody will run it: it ends at once, as an event that says so. */
    task->result = effects->workers ? KEEL_ELIMIT : KEEL_ECANCELED;
    Task *head = atomic_load(&effects->ended);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak(&effects->ended, &head, task));
    atomic_fetch_sub(&effects->running, 1);
}

static void forget_task(Effects *effects, uint32_t index)
{
    TaskPlace *place = &effects->tasks[index];
    Task *task = place->task;
    if (!task)
        return;
    atomic_store(&task->cancelled, 1);
    if (place->submitted && effects->workers && workers_take_back(effects->workers, &task->job)) {
        atomic_fetch_sub(&effects->running, 1);
        task_free(task);
        place->task = NULL;
        effects->task_count--;
    }
}

void effects_commit(Effects *effects)
{
    for (uint32_t n = 0; n < effects->pending_count; n++) {
        Effect *effect = &effects->pending[n];
        Timer *timer = effects->timers ? &effects->timers[effect->index % EFFECTS_TIMERS] : NULL;
        switch (effect->kind) {
        case EFFECT_TIMER_START:
            timer->state = TIMER_RUNNING;
            if (timer->due_ns < effects->timer_next_ns)
                effects->timer_next_ns = timer->due_ns;
            break;
        case EFFECT_TIMER_STOP:
            timer->state = TIMER_FREE;
            timer->stopping = 0;
            effects->timer_count--;
            break;
        case EFFECT_TASK_START:
            submit(effects, effect->index, effect->priority);
            break;
        case EFFECT_TASK_CANCEL:
            forget_task(effects, effect->index);
            break;
        }
    }
    effects->pending_count = 0;
}

void effects_undo(Effects *effects)
{
    while (effects->pending_count) {
        Effect *effect = &effects->pending[--effects->pending_count];
        switch (effect->kind) {
        case EFFECT_TIMER_START: {
            Timer *timer = &effects->timers[effect->index];
            timer->state = TIMER_FREE;
            timer->stopping = 0;
            timer->generation--; /* the same handle again, as if it had never been asked for */
            effects->timer_count--;
            break;
        }
        case EFFECT_TIMER_STOP:
            effects->timers[effect->index].stopping = 0;
            break;
        case EFFECT_TASK_START: {
            TaskPlace *place = &effects->tasks[effect->index];
            task_free(place->task);
            place->task = NULL;
            place->generation--;
            effects->task_count--;
            break;
        }
        case EFFECT_TASK_CANCEL:
            break;
        }
    }
}
