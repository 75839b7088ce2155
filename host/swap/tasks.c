/* Tasks of a slot: the table, the module's `work` on a worker, and the events of those that ended.
 * Owns each task until both the slot has forgotten it and its work has ended. Calls a module only
 * in a task's work, guarded, on a worker; all else is the frame thread's. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "swap/effects_parts.h"

enum { WORK_PATIENCE_MS = 3000 };

static void task_free(Task *task)
{
    if (task->generation)
        atomic_fetch_sub(&task->generation->inside, 1);
    free(task->input);
    free(task->output);
    free(task);
}

static void remember_no_more(Effects *effects, const Task *task)
{
    Task **at = &effects->forgotten;
    while (*at && *at != task)
        at = &(*at)->also;
    if (*at)
        *at = task->also;
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

keel_handle effects_task_start(Effects *effects, Generation *generation, uint32_t op, uint64_t tag,
                               uint32_t priority, const void *input, uint64_t input_bytes)
{
    if (!effects->tasks)
        effects->tasks = calloc(EFFECTS_TASKS, sizeof *effects->tasks);
    if (!effects->tasks || effects->task_count == EFFECTS_TASKS || !effects_reserve(effects))
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
    effects_push(effects, EFFECT_TASK_START, i, priority > 2 ? 2 : priority);
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
    if (!effects_reserve(effects))
        return KEEL_ENOMEM;
    effects_push(effects, EFFECT_TASK_CANCEL, handle_index(handle), 0);
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

int tasks_collect(Effects *effects, int64_t now_ns, Inputs *inputs, uint64_t *ret_owner,
                  Fault *ret_fault)
{
    int faulted = 0;
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
        if (place && place->task != task) /* the handle was given again after going back */
            place = NULL;
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
        } else {
            remember_no_more(effects, task);
        }
        task_free(task);
    }
    return faulted;
}

void task_submit(Effects *effects, uint32_t index, uint32_t priority)
{
    TaskPlace *place = &effects->tasks[index];
    Task *task = place->task;
    task->job.priority = priority;
    task->job.run = task_run;
    if (effects->held)
        return;
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

void task_forget(Effects *effects, uint32_t index)
{
    TaskPlace *place = &effects->tasks[index];
    Task *task = place->task;
    if (!task)
        return;
    /* Its place is free whether its work has begun or not: the next handle must not depend on how
     * fast a worker is. What has begun is freed when it has ended. */
    atomic_store(&task->cancelled, 1);
    int begun = place->submitted;
    if (begun && effects->workers && workers_take_back(effects->workers, &task->job)) {
        atomic_fetch_sub(&effects->running, 1);
        begun = 0;
    }
    if (!begun) {
        task_free(task);
    } else {
        task->also = effects->forgotten;
        effects->forgotten = task;
    }
    place->task = NULL;
    effects->task_count--;
}

int effects_settle(Effects *effects, keel_handle handle)
{
    TaskPlace *place = find_task(effects, handle);
    if (!place || place->submitted)
        return 0;
    task_free(place->task);
    place->task = NULL;
    effects->task_count--;
    return 1;
}

void effects_release(Effects *effects)
{
    effects->held = 0;
    for (uint32_t i = 0; i < effects->task_top; i++) {
        TaskPlace *place = &effects->tasks[i];
        Task *task = place->task;
        if (!task || place->submitted)
            continue;
        place->submitted = 1;
        task->result = KEEL_ECANCELED;
        task->next = atomic_load(&effects->ended);
        atomic_store(&effects->ended, task);
    }
}

void task_unreserve(Effects *effects, uint32_t index)
{
    TaskPlace *place = &effects->tasks[index];
    task_free(place->task);
    place->task = NULL;
    place->generation--; /* the same handle again, as if never asked for */
    effects->task_count--;
}

static void bound(const Task *task)
{
    if (task && task->generation)
        guard_bound(task->generation->number, 1);
}

/* Nonzero: some work has not ended after three seconds. */
static int wait_for_work(const Effects *effects)
{
    int left = WORK_PATIENCE_MS;
    while (atomic_load(&effects->running) && left--)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return atomic_load(&effects->running) != 0;
}

void tasks_done(Effects *effects)
{
    for (uint32_t i = 0; i < effects->task_top; i++) {
        Task *task = effects->tasks[i].task;
        if (!task)
            continue;
        atomic_store(&task->cancelled, 1);
        int begun = effects->tasks[i].submitted;
        if (begun && effects->workers && workers_take_back(effects->workers, &task->job)) {
            atomic_fetch_sub(&effects->running, 1);
            begun = 0;
        }
        if (begun)
            continue;
        task_free(task);
        effects->tasks[i].task = NULL;
    }
    if (wait_for_work(effects)) { /* it doesn't look whether it is cancelled */
        for (uint32_t i = 0; i < effects->task_top; i++)
            bound(effects->tasks[i].task);
        for (const Task *task = effects->forgotten; task; task = task->also)
            bound(task);
        while (wait_for_work(effects))
            ;
    }
    for (Task *task = take_ended(effects), *next; task; task = next) {
        next = task->next;
        task_free(task);
    }
    effects->forgotten = NULL;
}

/* A place as it is carried. */
typedef struct PlaceCarried {
    uint64_t tag;
    uint32_t generation, op, used, reserved;
} PlaceCarried;

int tasks_save(const Effects *effects, Buf *out)
{
    uint64_t top = effects->task_top;
    int rc = buf_add(out, &top, sizeof top);
    for (uint32_t i = 0; !rc && i < top; i++) {
        const TaskPlace *place = &effects->tasks[i];
        PlaceCarried carried = {.generation = place->generation, .used = place->task != NULL};
        if (place->task) {
            carried.tag = place->task->tag;
            carried.op = place->task->op;
        }
        rc = buf_add(out, &carried, sizeof carried);
    }
    return rc;
}

int tasks_load(Effects *effects, Carried *in)
{
    uint64_t top;
    if (carried_take(in, &top, sizeof top) || top > EFFECTS_TASKS)
        return KEEL_EDATA;
    if (top)
        effects->tasks = calloc(EFFECTS_TASKS, sizeof *effects->tasks);
    if (top && !effects->tasks)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < top; i++) {
        PlaceCarried carried;
        if (carried_take(in, &carried, sizeof carried))
            return KEEL_EDATA;
        TaskPlace *place = &effects->tasks[i];
        place->generation = carried.generation;
        effects->task_top = i + 1;
        if (!carried.used)
            continue;
        Task *task = place->task = calloc(1, sizeof *task);
        if (!task)
            return KEEL_ENOMEM;
        task->effects = effects;
        task->tag = carried.tag;
        task->op = carried.op;
        task->handle = handle_make(carried.generation, i);
        effects->task_count++;
    }
    return KEEL_OK;
}
