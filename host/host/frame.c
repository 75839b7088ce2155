/* One frame from end to end: the boundary's mail, inputs, every slot's calls, then commit or undo.
 * Frame thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/host.h"
#include "swap/past.h"

/* What a slot's frame came to. */
typedef struct Outcome {
    int ran;
    uint64_t owner; /* number of the generation that ran */
    FaultKind kind;
    Fault fault;
    char undone[200]; /* after a fault: what became of the frame */
} Outcome;

/* ---- after a fault ---- */

typedef struct FaultNews {
    Host *host;
    Slot *slot;
    int opened; /* the breaker */
    char text[600];
} FaultNews;

static void fallen_back(Group *group, const Error *err, void *user)
{
    (void)group;
    Slot *slot = user;
    if (err->code)
        log_error("swap", "%s: stands still until a new build comes: %s", slot->name, err->text);
}

static void tell_fault(void *user)
{
    FaultNews *news = user;
    log_error("fault", "%s: %s", news->slot->name, news->text);
    if (news->opened) {
        Error err = {0};
        if (host_rollback_begin(news->host, news->slot, 0, fallen_back, news->slot, &err))
            fallen_back(NULL, &err, news->slot);
    }
    free(news);
}

static void tell(Host *host, Slot *slot, int opened, const char *text)
{
    FaultNews *news = malloc(sizeof *news);
    if (!news)
        return;
    news->host = host;
    news->slot = slot;
    news->opened = opened;
    snprintf(news->text, sizeof news->text, "%s", text);
    if (loop_post(host->loop, tell_fault, news))
        free(news);
}

/* A fault outside the first frame of a group; no slot's frame is open. */
static void handle_fault(Host *host, Slot *slot, uint64_t owner, const Fault *fault,
                         const char *undone)
{
    char text[600];
    slot->faults++;
    /* Of a generation that is on its way out: the one that runs is not to blame. */
    if (!slot->running || owner != slot->running->number) {
        snprintf(text, sizeof text, "in generation %llu, which runs no more: %s; %s",
                 (unsigned long long)owner, fault->text, undone);
        tell(host, slot, 0, text);
        return;
    }
    /* A first generation has nothing to go back to: it goes on from the frame before, until the
     * breaker opens. */
    if (slot->probation.old) {
        breaker_remember(&slot->breaker, slot->running->image->hash, fault->text);
        tell(host, slot, 0, fault->text);
        swap_report(host->loop, slot, fault, "in probation: the generation before runs on");
        group_roll_back(slot->probation.group, 0, fault->text);
        return;
    }
    int opened = breaker_frame(&slot->breaker, 1);
    if (opened)
        breaker_remember(&slot->breaker, slot->running->image->hash, fault->text);
    snprintf(text, sizeof text, "%s; %s%s", fault->text, undone,
             opened ? "; too many faults: the breaker is open, going back to the generation before"
                    : "");
    tell(host, slot, opened, text);
    swap_report(host->loop, slot, fault, undone);
}

/* A fault on a thread that a module made: the thread is parked, its generation is to blame. */
static void take_stray(Host *host, Slot *slot, uint64_t owner, const Fault *fault)
{
    swap_recover(slot, fault);
    if (!slot->probation.first || owner != slot->running->number) {
        handle_fault(host, slot, owner, fault, "a thread of its own faulted and is parked");
        return;
    }
    slot->faults++;
    swap_report(host->loop, slot, fault, "before its first frame: it is taken out again");
    group_undo(slot->probation.group);
    group_first_frame_failed(slot->probation.group, slot, fault);
}

static void take_strays(Host *host)
{
    Fault fault;
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots && guard_strays(); i++) {
        Slot *slot = host->slots[i];
        const Generation *theirs[] = {slot->running, slot->probation.old};
        uint64_t owners[] = {theirs[0] ? theirs[0]->number : 0, theirs[1] ? theirs[1]->number : 0};
        for (int n = 0; n < 2; n++)
            while (owners[n] && guard_take_stray_of(owners[n], &fault))
                take_stray(host, slot, owners[n], &fault);
    }
    while (guard_strays() && loader_take_stray(host->loader, &fault))
        log_error("fault", "in a thread of a retired generation: %s; the thread is parked",
                  fault.text);
}

/* ---- the frame ---- */

static void collect(Host *host, Slot *slot, int64_t time_ns)
{
    uint64_t owner;
    Fault fault;
    slot->effects.resting = slot_stands_still(slot);
    if (slot->past && past_playing(slot->past))
        return; /* what it gets is recorded */
    if (effects_collect(&slot->effects, time_ns, &slot->inputs, &owner, &fault)) {
        swap_recover(slot, &fault);
        handle_fault(host, slot, owner, &fault, "its work on a worker thread faulted");
    }
}

static void run_slot(Slot *slot, int64_t time_ns, Outcome *outcome)
{
    outcome->ran = !slot_stands_still(slot);
    if (!outcome->ran)
        return;
    if (slot->past && past_playing(slot->past))
        past_open(slot->past);
    else
        slot_frame_open(slot, time_ns);
    outcome->owner = slot->running->number;
    outcome->fault.kind = FAULT_NONE;
    outcome->kind = slot_frame_run(slot, &outcome->fault);
    if (outcome->kind != FAULT_NONE) {
        swap_recover(slot, &outcome->fault);
        return;
    }
    Error err = {0};
    if (state_sound(slot->state, &err)) {
        outcome->kind = FAULT_MEMORY;
        outcome->fault = (Fault){.kind = FAULT_MEMORY, .wall_ns = slot->wall_ns};
        snprintf(outcome->fault.text, sizeof outcome->fault.text, "%.250s", err.text);
    }
}

/* The slot whose first frame failed for the whole group, or NULL. */
static Slot *failed_first(Host *host, const Group *group, const Outcome *outcomes, int slots,
                          int *ret_index)
{
    for (int i = 0; i < slots; i++) {
        Slot *slot = host->slots[i];
        if (slot->probation.group == group && outcomes[i].ran && outcomes[i].kind != FAULT_NONE) {
            *ret_index = i;
            return slot;
        }
    }
    return NULL;
}

/* Once a slot: a module that draws too much does it in every frame. */
static void tell_refused(Slot *slot)
{
    Draw *draw = &slot->draw;
    if (!draw->recording->refused || draw->refused_said)
        return;
    draw->refused_said = 1;
    log_warn("draw",
             "%s: drew more than %d MiB or %d gradients in one frame: the rest isn't shown; draw "
             "less, or put what doesn't change into an image",
             slot->name, DRAW_LIST_BYTES >> 20, DRAW_GRADIENTS);
}

static void commit_slot(Slot *slot)
{
    Error err = {0};
    tell_refused(slot);
    if (slot_frame_commit(slot, &err))
        log_warn("state", "%s: %s", slot->name, err.text);
}

/* A frame that never happened. What people did then, where a recorded one was played, goes with it:
 * the slot goes on by itself, with what its timers and tasks gave. */
static int undo_frame(Slot *slot, int blamed, Error *err)
{
    int played = slot->past && past_playing(slot->past);
    int rc = blamed ? slot_frame_undo(slot, err) : slot_frame_retract(slot, err);
    if (played) {
        inputs_drop(&slot->inputs, KEEL_EVENT_INPUT);
        inputs_drop(&slot->inputs, INPUTS_STATE_EVENT);
    }
    if (slot->past)
        past_go_on(slot->past);
    return rc;
}

/* Decides about a group whose slots ran their first frames: all count, or none does. */
static void decide_group(Host *host, Group *group, Outcome *outcomes, int slots)
{
    int bad = 0;
    Slot *failed = failed_first(host, group, outcomes, slots, &bad);
    for (int i = 0; i < slots; i++) {
        Slot *slot = host->slots[i];
        if (slot->probation.group != group || !outcomes[i].ran)
            continue;
        outcomes[i].ran = 0;
        if (failed) /* only who faulted may have done so for its events */
            undo_frame(slot, outcomes[i].kind != FAULT_NONE && outcomes[i].kind != FAULT_TYPES,
                       NULL);
        else
            commit_slot(slot);
    }
    if (!failed) {
        group_first_frame_done(group);
        return;
    }
    if (outcomes[bad].kind != FAULT_TYPES)
        failed->faults++;
    swap_report(host->loop, failed, &outcomes[bad].fault,
                "in its first frame, which is undone: the generation before runs on");
    group_first_frame_failed(group, failed, &outcomes[bad].fault);
}

/* Each slot's frame by itself: it counts, or it never happened. */
static void close_frame(Slot *slot, Outcome *outcome)
{
    if (outcome->kind == FAULT_NONE) {
        commit_slot(slot);
        breaker_frame(&slot->breaker, 0);
        return;
    }
    Error err = {0};
    int rc = undo_frame(slot, 1, &err);
    snprintf(outcome->undone, sizeof outcome->undone, "%.190s",
             rc ? err.text : "the frame is undone, its state is that of the frame before");
    if (slot->probation.old) /* also when another slot's fault takes it back first */
        breaker_remember(&slot->breaker, slot->running->image->hash, outcome->fault.text);
}

/* All slots' frames are closed before a fault is handled: it may take whole groups back. Probation
 * goes on last, so that none ends in the frame that breaks it. */
static void finish_slots(Host *host, Outcome *outcomes, int slots)
{
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran)
            close_frame(host->slots[i], &outcomes[i]);
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran && outcomes[i].kind != FAULT_NONE)
            handle_fault(host, host->slots[i], outcomes[i].owner, &outcomes[i].fault,
                         outcomes[i].undone);
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran && outcomes[i].kind == FAULT_NONE && host->slots[i]->probation.group)
            probation_frame(host->slots[i]);
}

int host_has_news(const Host *host)
{
    int slots = atomic_load(&host->slot_count), news = 0;
    for (int i = 0; i < slots; i++)
        news |= host->slots[i]->probation.first;
    return news && !host_stands(host);
}

void keel_host_idle(keel_host *host, int64_t until_ns)
{
    int64_t left;
    while (host_on_frame_thread(host) == KEEL_OK && (left = until_ns - clock_now_ns()) > 0 &&
           !(host->eager && host_has_news(host))) {
        if (host->listen) /* what was read already doesn't end the wait */
            host->listen(host->shoot_user);
        boundary_wait(&host->boundary, left);
        boundary_run(&host->boundary);
    }
}

int keel_host_frame_at(keel_host *host, int64_t real_ns)
{
    static _Thread_local Outcome outcomes[HOST_SLOTS];
    int wrong = host_on_frame_thread(host);
    if (wrong)
        return wrong;
    int slots = atomic_load(&host->slot_count);
    int64_t time_ns = host_stands(host) ? host->module_ns : host_module_time(host, real_ns);
    for (int i = 0; i < slots; i++)
        host->slots[i]->effects.now_ns = time_ns;
    boundary_run(&host->boundary);
    take_strays(host);
    if (host_stands(host)) {
        host->stood = 1;
        if (host->over) /* a panel above the slots hears what people do also now */
            host_input_before_frame(host);
        return 0;
    }
    slots = atomic_load(&host->slot_count);
    /* The boundary may have moved it. */
    time_ns = host_past_time(host, host_module_time(host, real_ns));
    int ran = 0;
    host_input_before_frame(host);
    for (int i = 0; i < slots; i++)
        collect(host, host->slots[i], time_ns);
    for (int i = 0; i < slots; i++) {
        run_slot(host->slots[i], time_ns, &outcomes[i]);
        ran += outcomes[i].ran;
    }
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran && host->slots[i]->probation.first)
            decide_group(host, host->slots[i]->probation.group, outcomes, slots);
    finish_slots(host, outcomes, slots);
    host_input_after_frame(host);
    host_audio_tick(host);
    host->frames++;
    host_ran(host, time_ns);
    return ran;
}
