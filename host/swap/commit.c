/* The boundary: new generations put in place, kept or taken out again. Frame thread. Owns nothing
 * beyond the slots' probations; writes no log itself while a frame waits, but hands sentences to
 * the engine thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "swap/feed.h"
#include "swap/brought.h"
#include "swap/recorder.h"
#include "swap/past.h"
#include "swap/migrating.h"
#include "swap/swap.h"

/* ---- sentences, written by the engine thread ---- */

typedef struct Sentence {
    LogLevel level;
    char text[700];
} Sentence;

static void write_sentence(void *user)
{
    Sentence *sentence = user;
    log_write(sentence->level, "swap", "%s", sentence->text);
    free(sentence);
}

static void say(const Swapper *swapper, LogLevel level, const Slot *slot, const char *text)
{
    Sentence *sentence = malloc(sizeof *sentence);
    if (!sentence)
        return;
    sentence->level = level;
    snprintf(sentence->text, sizeof sentence->text, "%s: %s", slot->name, text);
    if (loop_post(swapper->loop, write_sentence, sentence))
        free(sentence);
}

/* Fails only for a generation that never ran: its writable data is more than can be kept. */
static int use_statics(Slot *slot, Error *err)
{
    const Generation *running = slot->running;
    if (!running && slot->brought)
        return brought_hold(slot->brought, slot, err);
    return state_set_statics(slot->state, running ? running->statics : NULL,
                             running ? running->static_count : 0, err);
}

static int has_checkpoint(const Slot *slot)
{
    StateStatus status;
    state_status(slot->state, &status);
    return status.tier != STATE_TIER_OFF;
}

/* ---- commit ---- */

static int failed(const Attempt *attempt, const Fault *fault, const char *what, Error *err)
{
    const Slot *slot = attempt->slot;
    swap_recover(slot, fault);
    swap_report(attempt->group->swapper->loop, slot, fault,
                "while generations were exchanged: the one before runs on");
    int code =
        fault->kind == FAULT_ERROR || fault->kind == FAULT_TYPES ? KEEL_EREFUSED : KEEL_EFAULT;
    return err_set(err, code, "%s: %s failed: %s", slot->name, what, fault->text);
}

/* Puts the attempt's generation into its slot. On failure the slot's state may be anything: the
 * caller undoes. */
static int install(Attempt *attempt, Error *err)
{
    Slot *slot = attempt->slot;
    Fault fault = {0};
    memcpy(attempt->random, slot->random, sizeof attempt->random);
    if (attempt->how == TRIAL_KEEP && slot->running &&
        migrating_by_hooks(attempt, slot->running, attempt->fresh))
        attempt->how = TRIAL_HOOKS; /* it was not tried, else this would be known */
    if (attempt->how == TRIAL_HOOKS) {
        if (!has_checkpoint(slot) && !TABLE_ENTRY(slot->running->table, restore))
            return err_set(err, KEEL_EREFUSED,
                           "%s: its state has no checkpoint and the running generation no restore "
                           "to come back by: give it a restore, or restart",
                           slot->name);
        attempt->saved.bytes = 0;
        if (slot_save(slot, slot->running, &attempt->saved, &attempt->saved_version, &fault) !=
            FAULT_NONE)
            return failed(attempt, &fault, "save", err);
        state_reset(slot->state);
        attempt->emptied = 1;
    } else if (attempt->how == TRIAL_KEEP &&
               migrating_over(attempt, slot->running ? slot->running : brought_ghost(slot->brought),
                              err)) {
        return err_wrap(err, "%s: its state can't be carried over", slot->name);
    }
    static const JournalHow hows[] = {
        [TRIAL_START] = JOURNAL_START, [TRIAL_KEEP] = JOURNAL_KEEP, [TRIAL_HOOKS] = JOURNAL_HOOKS};
    slot->running = attempt->fresh;
    if (slot->brought && attempt->how == TRIAL_KEEP) {
        brought_install(slot->brought, slot, slot->effects.now_ns);
        effects_release(&slot->effects);
    }
    recorder_entered(slot, hows[attempt->how]);
    if (use_statics(slot, err))
        return err_wrap(err, "%s", slot->name);
    switch (attempt->how) {
    case TRIAL_HOOKS:
        if (slot_restore(slot, slot->running, attempt->saved.data, attempt->saved.bytes,
                         attempt->saved_version, &fault) != FAULT_NONE)
            return failed(attempt, &fault, "restore", err);
        break;
    case TRIAL_START:
        if (slot_start(slot, slot->running, &fault) != FAULT_NONE)
            return failed(attempt, &fault, "start", err);
        break;
    case TRIAL_KEEP:
        break;
    }
    return KEEL_OK;
}

/* The old generation runs again; the state has been undone. Where it has no checkpoint nothing was:
 * then it starts empty if nothing ran, and else gets back what save wrote. */
static void put_back(Attempt *attempt, Generation *old)
{
    Slot *slot = attempt->slot;
    slot->running = old;
    use_statics(slot, NULL);
    int emptied = attempt->emptied;
    attempt->emptied = 0;
    if (has_checkpoint(slot)) {
        attempt->migrating.done = 0;
        return;
    }
    if (old && !emptied) {
        Error err = {0};
        int rc = migrating_back(attempt, attempt->fresh, old, &err);
        attempt->migrating.done = 0;
        use_statics(slot, NULL);
        if (rc && rc != KEEL_EUNSUPPORTED)
            say(attempt->group->swapper, LOG_ERROR, slot, err.text);
        return;
    }
    Fault fault = {0};
    state_reset(slot->state);
    if (old && slot_restore(slot, old, attempt->saved.data, attempt->saved.bytes,
                            attempt->saved_version, &fault) != FAULT_NONE) {
        swap_recover(slot, &fault);
        say(attempt->group->swapper, LOG_ERROR, slot,
            "its state is lost: it has no checkpoint, and restore refused what save wrote");
        state_reset(slot->state);
    }
    effects_undo(&slot->effects);
    state_commit(slot->state, NULL);
}

/* Also those that hooks took. */
static void take_back_random(const Attempt *attempt)
{
    memcpy(attempt->slot->random, attempt->random, sizeof attempt->random);
}

/* The slot as before install; its inputs stay with the frame that is open. */
static void take_out(Attempt *attempt, Generation *old)
{
    effects_undo(&attempt->slot->effects);
    state_undo(attempt->slot->state, NULL);
    put_back(attempt, old);
    take_back_random(attempt);
}

int group_commit(Group *group, Error *err)
{
    int64_t before_ns = clock_now_ns();
    Generation *old[GROUP_SLOTS];
    Pin *pins[GROUP_SLOTS] = {0};
    uint32_t done = 0;
    int rc = KEEL_OK;
    for (; done < group->count && !rc; done++) {
        Attempt *attempt = &group->attempts[done];
        Slot *slot = attempt->slot;
        old[done] = slot->running;
        uint64_t running = slot->running ? slot->running->number : 0;
        if (running != attempt->expected) {
            rc = err_set(err, KEEL_ECHANGED, "%s: generation %llu took its place meanwhile",
                         slot->name, (unsigned long long)running);
            break;
        }
        if (slot->running || (slot->brought && attempt->how == TRIAL_KEEP))
            state_pin(slot->state, &pins[done],
                      NULL); /* without one, rollback keeps what happened */
        attempt->migrating.before = slot->running ? pins[done] : NULL;
        rc = install(attempt, err);
    }
    if (rc) {
        while (done--) {
            take_out(&group->attempts[done], old[done]);
            if (pins[done])
                state_unpin(pins[done]);
        }
        return rc;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        Attempt *attempt = &group->attempts[i];
        Slot *slot = attempt->slot;
        if (slot->probation.group)
            probation_end(slot);
        group_ref(group);
        slot->probation = (Probation){.group = group,
                                      .old = old[i],
                                      .before = pins[i],
                                      .left = slot->probation_frames,
                                      .by_hooks = attempt->how == TRIAL_HOOKS,
                                      .stopped = slot->breaker.open,
                                      .first = 1};
        if (attempt->how != TRIAL_KEEP || migrating_changed(attempt))
            past_forget(slot->past, "a swap since then changed the types or pointers of the state");
        atomic_store(&slot->trying, 1);
        breaker_reset(&slot->breaker);
        slot->swaps++;
    }
    group->pause_ns = clock_now_ns() - before_ns;
    for (uint32_t i = 0; i < group->count; i++)
        group->attempts[i].slot->pause_ns = group->pause_ns;
    return KEEL_OK;
}

/* ---- the first frame ---- */

void group_first_frame_done(Group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        group->attempts[i].fresh = NULL; /* it runs: the slot's now */
        group->attempts[i].emptied = 0;
        group->attempts[i].slot->probation.first = 0;
    }
    int64_t now = clock_now_ns();
    group->spent_ns[group->phase] += now - group->phase_ns;
    group->phase_ns = now;
    group->phase = SWAP_PROBATION;
    group->err.code = KEEL_OK;
    group_decided(group);
}

/* Ends a slot's probation without deciding about its generations. */
static void leave_probation(Slot *slot)
{
    Group *group = slot->probation.group;
    if (slot->probation.before)
        state_unpin(slot->probation.before);
    brought_free(slot->probation.brought);
    slot->probation = (Probation){0};
    atomic_store(&slot->trying, 0);
    group_unref(group);
}

/* All slots of the group, whose frames have been undone, run their old generations. */
static void old_ones_again(Group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        Slot *slot = group->attempts[i].slot;
        put_back(&group->attempts[i], slot->probation.old);
        take_back_random(&group->attempts[i]);
        slot->breaker.open = slot->probation.stopped;
        leave_probation(slot);
        slot->swaps--;
    }
}

void group_undo(Group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        effects_undo(&group->attempts[i].slot->effects);
        state_undo(group->attempts[i].slot->state, NULL);
    }
}

void group_cancel(Group *group)
{
    group_undo(group);
    old_ones_again(group);
    err_set(&group->err, KEEL_ECANCELED, "the host is closing");
    group_decided(group);
}

static int with_hooks(const Group *group, const Slot *slot)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const Attempt *attempt = &group->attempts[i];
        if (attempt->slot == slot)
            return attempt->how == TRIAL_KEEP && slot->probation.old &&
                   TABLE_ENTRY(slot->probation.old->table, save) &&
                   TABLE_ENTRY(attempt->fresh->table, restore);
    }
    return 0;
}

static void commit_again(void *user)
{
    Group *group = user;
    group->err.code = KEEL_OK;
    if (group_commit(group, &group->err))
        group_decided(group);
}

void group_first_frame_failed(Group *group, Slot *slot, const Fault *fault)
{
    int again = fault->kind == FAULT_TYPES && with_hooks(group, slot);
    old_ones_again(group);
    for (uint32_t i = 0; i < group->count && again; i++)
        if (group->attempts[i].slot == slot)
            group->attempts[i].how = TRIAL_HOOKS;
    if (again) {
        group->swapper->at_boundary(group->swapper->host, commit_again, group);
        return;
    }
    int crashed = fault->kind != FAULT_TYPES && fault->kind != FAULT_ERROR;
    const char *no_rules = "";
    for (uint32_t i = 0; i < group->count && fault->kind == FAULT_TYPES; i++)
        if (group->attempts[i].slot == slot)
            no_rules = group->attempts[i].migrating.no_rules;
    err_set(&group->err, crashed ? KEEL_EFAULT : KEEL_ETYPE,
            "%s: taken back out: its first frame %s: %s%s%s", slot->name,
            crashed ? "faulted" : "was refused", fault->text,
            *no_rules ? "; no rules carry it over, since " : "", no_rules);
    for (uint32_t i = 0; i < group->count && crashed; i++)
        if (group->attempts[i].slot == slot)
            breaker_remember(&slot->breaker, group->attempts[i].image->hash, fault->text);
    group_decided(group);
}

/* ---- probation ---- */

void probation_end(Slot *slot)
{
    Generation *old = slot->probation.old;
    Swapper *swapper = slot->probation.group->swapper;
    if (old) {
        image_unref(slot->history);
        slot->history = image_ref(old->image);
        loader_retire(swapper->loader, old);
    }
    leave_probation(slot);
}

void probation_frame(Slot *slot)
{
    if (--slot->probation.left)
        return;
    breaker_forget(&slot->breaker, slot->running->image->hash); /* a second try proved them */
    probation_end(slot);
}

/* The slot's part of the group whose probation it is in. */
static Attempt *attempt_of(const Slot *slot)
{
    Group *group = slot->probation.group;
    for (uint32_t i = 0; i < group->count; i++)
        if (group->attempts[i].slot == slot)
            return &group->attempts[i];
    return NULL;
}

/* Gives the state to the old generation. Returns what became of it, as words; *ret_followed is 0
 * where it doesn't follow from the frames before. */
static const char *state_back(Slot *slot, int before, int *ret_followed)
{
    Probation *probation = &slot->probation;
    *ret_followed = 0;
    if (probation->brought && state_restore_pin(slot->state, probation->before, NULL) == KEEL_OK) {
        slot->brought = probation->brought;
        probation->brought = NULL;
        brought_branch(slot->brought, slot->branch);
        return "nothing ran before it: the next build goes on with the state that was brought back";
    }
    if (!probation->old) {
        state_reset(slot->state);
        return "nothing ran before it: the next build starts anew";
    }
    if (before && probation->before &&
        state_restore_pin(slot->state, probation->before, NULL) == KEEL_OK)
        return "with the state at the swap";
    Error why = {0};
    int rc = probation->by_hooks
                 ? KEEL_EUNSUPPORTED
                 : migrating_back(attempt_of(slot), slot->running, probation->old, &why);
    *ret_followed = !rc || (rc == KEEL_EUNSUPPORTED && !probation->by_hooks);
    if (!rc)
        return "what happened since went back by the rules of its types";
    if (rc != KEEL_EUNSUPPORTED) {
        say(probation->group->swapper, LOG_WARN, slot, why.text);
        state_undo(slot->state, NULL);
        if (probation->before && state_restore_pin(slot->state, probation->before, NULL) == KEEL_OK)
            return "with the state at the swap, since what happened since can't go back";
        return "its state could not go back: see the log";
    }
    if (!probation->by_hooks)
        return before ? "with the state of now, since none was kept"
                      : "what happened since is kept";
    Buf saved = {0};
    uint32_t version = 0;
    Fault fault = {0};
    Generation *fresh = slot->running;
    FaultKind kind = slot_save(slot, fresh, &saved, &version, &fault);
    if (kind == FAULT_NONE) {
        state_reset(slot->state);
        slot->running = probation->old;
        kind = slot_restore(slot, probation->old, saved.data, saved.bytes, version, &fault);
        slot->running = fresh;
    }
    swap_recover(slot, &fault); /* before anything is allocated or freed */
    buf_done(&saved);
    if (kind == FAULT_NONE)
        return "what happened since went back through save and restore";
    effects_undo(&slot->effects);
    swap_report(probation->group->swapper->loop, slot, &fault,
                "while its state was taken back to the generation before: it goes without");
    state_undo(slot->state, NULL);
    if (probation->before && state_restore_pin(slot->state, probation->before, NULL) == KEEL_OK)
        return "with the state at the swap, since save or restore refused to take it back";
    state_reset(slot->state);
    return "with empty state: none was kept and save or restore refused";
}

static void roll_back_slot(Slot *slot, int before, const char *why)
{
    Generation *fresh = slot->running;
    Generation *old = slot->probation.old;
    const Swapper *swapper = slot->probation.group->swapper;
    int followed, changed = migrating_changed(attempt_of(slot));
    const char *what = state_back(slot, before, &followed);
    slot->running = old;
    feed_break(slot->feed, "the generation that it is compared with was rolled back");
    recorder_entered(slot, JOURNAL_KEEP);
    if (!followed)
        recorder_break(slot->recorder, "a rollback put another state in its place");
    if (!followed || changed)
        past_forget(slot->past, "a rollback since then put another state in its place");
    use_statics(slot, NULL);
    slot->breaker.open = slot->probation.stopped;
    effects_commit(&slot->effects); /* what restore asked for */
    slot_note(slot);
    state_commit(slot->state, NULL);
    slot->rolled_back++;
    atomic_fetch_add(&slot->taken_back, 1);
    char text[600];
    snprintf(text, sizeof text, "generation %llu rolled back to %llu: %s; %s",
             (unsigned long long)fresh->number, (unsigned long long)(old ? old->number : 0), why,
             what);
    slot_say(slot, "%s", text);
    say(swapper, LOG_WARN, slot, text);
    Loader *loader = swapper->loader;
    leave_probation(slot);
    loader_retire(loader, fresh);
}

void group_roll_back(Group *group, int before, const char *why)
{
    group_ref(group);
    for (uint32_t i = 0; i < group->count; i++) {
        Slot *slot = group->attempts[i].slot;
        if (slot->probation.group == group)
            roll_back_slot(slot, before, why);
    }
    group_unref(group);
}
