/* One frame from end to end: the boundary's mail, inputs, every slot's calls, then commit or undo.
 * Frame thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/host.h"

/* What a slot's frame came to. */
typedef struct Outcome {
    int ran;
    FaultKind kind;
    Fault fault;
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

/* A fault outside the first frame of a group; the frame, if one ran, has been undone. */
static void handle_fault(Host *host, Slot *slot, uint64_t owner, const Fault *fault,
                         const char *undone)
{
    slot->faults++;
    /* A first generation has nothing to go back to: it goes on from the frame before, until the
     * breaker opens. */
    if (slot->probation.old && owner == slot->running->number) {
        breaker_remember(&slot->breaker, slot->running->image->hash, fault->text);
        tell(host, slot, 0, fault->text);
        swap_report(host->loop, slot, fault, "in probation: the generation before runs on");
        group_roll_back(slot->probation.group, 0, fault->text);
        return;
    }
    char text[600];
    int opened = breaker_frame(&slot->breaker, 1);
    if (opened && slot->running)
        breaker_remember(&slot->breaker, slot->running->image->hash, fault->text);
    snprintf(text, sizeof text, "%s; %s%s", fault->text, undone,
             opened ? "; too many faults: the breaker is open, going back to the generation before"
                    : "");
    tell(host, slot, opened, text);
    swap_report(host->loop, slot, fault, undone);
}

static Slot *slot_of(Host *host, uint64_t owner)
{
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++) {
        const Slot *slot = host->slots[i];
        if ((slot->running && slot->running->number == owner) ||
            (slot->probation.old && slot->probation.old->number == owner))
            return host->slots[i];
    }
    return NULL;
}

/* Faults on threads that the modules made: the thread is parked, its generation is to blame. */
static void take_strays(Host *host)
{
    uint64_t owner;
    Fault fault;
    while (guard_take_stray(&owner, &fault)) {
        Slot *slot = slot_of(host, owner);
        if (!slot) {
            log_error("fault", "in a thread of a retired generation: %s; the thread is parked",
                      fault.text);
            continue;
        }
        swap_recover(slot, &fault);
        if (slot->probation.first)
            continue; /* decided by its first frame */
        handle_fault(host, slot, owner, &fault, "a thread of its own faulted and is parked");
    }
}

/* ---- the frame ---- */

static void run_slot(Host *host, Slot *slot, int64_t time_ns, Outcome *outcome)
{
    uint64_t owner;
    outcome->ran = 0;
    if (effects_collect(&slot->effects, time_ns, &slot->inputs, &owner, &outcome->fault)) {
        swap_recover(slot, &outcome->fault);
        handle_fault(host, slot, owner, &outcome->fault, "its work on a worker thread faulted");
    }
    if (!slot->running || slot->breaker.open)
        return;
    slot_frame_open(slot, time_ns);
    outcome->ran = 1;
    outcome->fault.kind = FAULT_NONE;
    outcome->kind = slot_frame_run(slot, &outcome->fault);
    if (outcome->kind != FAULT_NONE)
        swap_recover(slot, &outcome->fault);
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

static void commit_slot(Slot *slot)
{
    Error err = {0};
    if (slot_frame_commit(slot, &err))
        log_warn("state", "%s: %s", slot->name, err.text);
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
        if (failed)
            slot_frame_undo(slot, NULL);
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

static void finish_slot(Host *host, Slot *slot, const Outcome *outcome)
{
    if (outcome->kind == FAULT_NONE) {
        commit_slot(slot);
        breaker_frame(&slot->breaker, 0);
        if (slot->probation.group)
            probation_frame(slot);
        return;
    }
    Error err = {0};
    int rc = slot_frame_undo(slot, &err);
    char undone[300];
    snprintf(undone, sizeof undone, "%.290s",
             rc ? err.text : "the frame is undone, its state is that of the frame before");
    handle_fault(host, slot, slot->running->number, &outcome->fault, undone);
}

void keel_host_idle(keel_host *host, int64_t until_ns)
{
    int64_t left;
    while ((left = until_ns - clock_now_ns()) > 0) {
        boundary_wait(&host->boundary, left);
        boundary_run(&host->boundary);
    }
}

int keel_host_frame_at(keel_host *host, int64_t time_ns)
{
    static _Thread_local Outcome outcomes[HOST_SLOTS];
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++)
        host->slots[i]->effects.now_ns = time_ns;
    boundary_run(&host->boundary);
    take_strays(host);
    if (atomic_load_explicit(&host->paused, memory_order_relaxed))
        return 0;
    int ran = 0;
    for (int i = 0; i < slots; i++) {
        run_slot(host, host->slots[i], time_ns, &outcomes[i]);
        ran += outcomes[i].ran;
    }
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran && host->slots[i]->probation.first)
            decide_group(host, host->slots[i]->probation.group, outcomes, slots);
    for (int i = 0; i < slots; i++)
        if (outcomes[i].ran)
            finish_slot(host, host->slots[i], &outcomes[i]);
    host->frames++;
    return ran;
}
