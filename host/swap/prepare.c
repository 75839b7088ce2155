/* Before the boundary: from a path to a generation that is ready to run. Engine thread; the parts
 * that need the running slot are handed to its boundary and come back. Owns nothing of its own:
 * what a Group holds is group.c's. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "swap/brought.h"
#include "swap/migrating.h"
#include "swap/group.h"
#include "swap/precopying.h"
#include "swap/shadow.h"

enum { TRIAL_FRAMES = 8 };

static void step(Group *group);
static void known(Attempt *attempt);

int swap_tries(const Swapper *swapper)
{
    return swapper->trial && swapper->trial_mode != SWAP_TRIAL_OFF;
}

/* ---- settle ---- */

/* The first needed service that this host lacks, or NULL. */
static const char *lacking(const Swapper *swapper, const Image *image)
{
    for (int i = 0; i < image->needs_count; i++)
        if (!swapper->offers(image->needs[i]))
            return image->needs[i];
    return NULL;
}

static void settled(Group *group)
{
    Attempt *attempt = &group->attempts[group->at];
    if (settling_still_refused(group)) {
        group_refuse(group);
        return;
    }
    if (group->err.code && !(trusting_gave_up(attempt) && attempt->image)) {
        trusting_refuse(attempt);
        return;
    }
    Slot *slot = attempt->slot;
    settling_keep(attempt);
    char why[160], hash[HASH_TEXT_BYTES];
    if (!(group->flags & SWAP_RETRY) && breaker_knows(&slot->breaker, attempt->image->hash, why)) {
        err_set(&group->err, KEEL_EREFUSED,
                "%s: these bytes (%.12s) faulted before: %s; change and rebuild it, or insist with "
                "`keel ctl swap --retry`",
                slot->name, hash_text(attempt->image->hash, hash), why);
        group_refuse(group);
        return;
    }
    const char *need = lacking(group->swapper, attempt->image);
    if (need) {
        err_set(
            &group->err, KEEL_ENOSERVICE,
            "%s: needs the service %s, which this host does not offer: run it in a host that does, "
            "or remove its KEEL_NEEDS",
            slot->name, need);
        group_refuse(group);
        return;
    }
    if (!attempt->trust.fault)
        changes_ask(attempt);
    group_go(group, SWAP_PIN, "");
    step(group);
}

/* ---- pin: on the frame thread ---- */

/* `at` is the slot to prepare next, or behind the last. */
static void next_slot(Group *group)
{
    group->partial_since_ns = 0;
    group_go(group, group->at < group->count ? SWAP_SETTLE : SWAP_READY, "");
    step(group);
}

/* A slot that runs these bytes already has no part in the swap of the others. The attempts behind
 * it have not begun: nothing points at them yet. */
static void leave_out(Group *group, Attempt *attempt)
{
    attempt_let_go(attempt);
    log_write(attempt->untouched ? LOG_DEBUG : LOG_INFO, "swap", "%s", group->err.text);
    attempt_done(attempt);
    group->count--;
    memmove(attempt, attempt + 1, (size_t)(group->count - group->at) * sizeof *attempt);
    memset(&group->attempts[group->count], 0, sizeof *attempt);
    group->err.code = KEEL_OK;
    next_slot(group);
}

/* Both images are read, or can't be. */
static void plan(Attempt *attempt)
{
    Group *group = attempt->group;
    if (migrating_plan(attempt, &group->err)) {
        group_refuse(group);
        return;
    }
    if (swap_tries(group->swapper) && !attempt->proven) {
        group_go(group, SWAP_TRIAL, attempt->note);
        step(group);
    } else {
        attempt->tried = (TrialResult){.verdict = TRIAL_PASS};
        known(attempt);
    }
}

/* Nonzero: the attempt or its group has ended. */
static int ended(Attempt *attempt)
{
    Group *group = attempt->group;
    int code = group->err.code;
    if (code == KEEL_ESAME && group->count > 1)
        leave_out(group, attempt);
    else if (code)
        group_refuse(group);
    return code != KEEL_OK;
}

static void pinned(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    if (group->err.code == KEEL_EUNTRUSTED) {
        trusting_refuse(attempt);
        return;
    }
    if (ended(attempt))
        return;
    if (attempt->from && !attempt->expected)
        changes_ask_from(attempt);
    if (attempt->from)
        changes_await(attempt, plan);
    else
        plan(attempt);
}

static void pin_state(Attempt *attempt)
{
    Error err = {0};
    if (swap_tries(attempt->group->swapper) &&
        (state_pin(attempt->slot->state, &attempt->pin, &err) ||
         state_pin_view(attempt->pin, &attempt->view, &err)))
        snprintf(attempt->note, sizeof attempt->note, "%s", err.text);
}

/* The slot's state is from a process before this one. */
static void go_on(Attempt *attempt, Error *err)
{
    Slot *slot = attempt->slot;
    const Brought *brought = slot->brought;
    if (strcmp(brought->keepsake.head.module, attempt->image->name) != 0) {
        err_set(err, KEEL_EREFUSED,
                "%s: the state that was kept is one of the module \"%s\", %s holds \"%s\": run "
                "that, or start anew with another folder",
                slot->name, brought->keepsake.head.module, attempt->image->path,
                attempt->image->name);
        return;
    }
    attempt->how = TRIAL_KEEP;
    attempt->expected = 0;
    attempt->proven = brought_same_image(brought, attempt->image);
    if (attempt->proven)
        return;
    const Generation *ghost = brought_ghost(brought);
    if (!ghost) { /* nothing would tell its types from those of then */
        err_set(err, KEEL_EREFUSED,
                "%s: the state that was kept is of another build, and no rule can carry it over: "
                "%s; run that build, or start anew with another folder",
                slot->name, brought->why);
        return;
    }
    attempt->from = image_ref(ghost->image);
    migrating_look(attempt);
    pin_state(attempt);
}

static void pin_on_frame(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    Slot *slot = attempt->slot;
    Error *err = &group->err;
    err->code = KEEL_OK;
    if (slot->running && hash_equal(slot->running->image->hash, attempt->image->hash) &&
        !(group->flags & SWAP_SAME)) {
        err_set(err, KEEL_ESAME, "%s: rebuilt, same bytes: still generation %llu", slot->name,
                (unsigned long long)slot->running->number);
    } else if (trusting_judge(attempt, slot->running, err)) {
        /* No key vouches for it: nothing of it is run. */
    } else if (slot->running && strcmp(slot->running->image->name, attempt->image->name) != 0) {
        err_set(
            err, KEEL_EREFUSED,
            "%s: %s holds the module \"%s\", this slot runs \"%s\": their states have nothing in "
            "common; give it a slot of its own",
            slot->name, attempt->image->path, attempt->image->name, slot->running->image->name);
    } else if (!slot->running && slot->brought) {
        go_on(attempt, err);
    } else if (!slot->running) {
        attempt->how = TRIAL_START;
        attempt->expected = 0;
    } else {
        attempt->how = TRIAL_KEEP;
        attempt->expected = slot->running->number;
        attempt->from = image_ref(slot->running->image);
        migrating_look(attempt);
        pin_state(attempt);
        attempt->screen[0] = slot->draw.screen.width;
        attempt->screen[1] = slot->draw.screen.height;
        attempt->screen[2] = slot->draw.screen.scale;
        attempt->inputs.bytes = 0;
        inputs_encode(&slot->inputs, &attempt->inputs);
    }
    swap_answer(group->swapper, &attempt->answer, pinned, attempt);
}

/* ---- save, for a trial of the hooks: on the frame thread; the state stays as it was ---- */

static void saved(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    if (group->err.code) {
        group_refuse(group);
        return;
    }
    attempt->how = TRIAL_HOOKS;
    group_go(group, SWAP_TRIAL, "through save and restore");
    step(group);
}

static void save_on_frame(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    Slot *slot = attempt->slot;
    Error *err = &group->err;
    uint64_t random[4];
    memcpy(random, slot->random, sizeof random);
    err->code = KEEL_OK;
    attempt->saved.bytes = 0;
    if (!slot->running || slot->running->number != attempt->expected) {
        err_set(err, KEEL_ECHANGED, "%s: another generation took its place meanwhile", slot->name);
    } else if (slot_save(slot, slot->running, &attempt->saved, &attempt->saved_version,
                         &attempt->fault) != FAULT_NONE) {
        swap_recover(slot, &attempt->fault);
        swap_report(group->swapper->loop, slot, &attempt->fault,
                    "in save: the frame before it counts, and it runs on");
        err_set(err, KEEL_ETYPE, "%s: %s; the running generation can't save its state: %s%s%s",
                slot->name, attempt->tried.text, attempt->fault.text,
                *attempt->migrating.no_rules ? "; no rules carry it over, since " : "",
                attempt->migrating.no_rules);
    }
    effects_undo(&slot->effects);
    memcpy(slot->random, random, sizeof slot->random);
    Error undo = {0};
    if (state_undo(slot->state, &undo) && attempt->fault.kind != FAULT_NONE &&
        attempt->fault.kind != FAULT_ERROR)
        log_warn("swap", "%s: %s", slot->name, undo.text);
    swap_answer(group->swapper, &attempt->answer, saved, attempt);
}

/* ---- trial ---- */

static void same_on_engine(void *user)
{
    Attempt *attempt = user;
    if (attempt->group->err.code == KEEL_ESAME)
        slot_say(attempt->slot, "%s", attempt->changes);
    ended(attempt);
}

/* Another build of the code that runs, if that still runs: a fault may have taken it out. */
static void same_on_frame(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    Slot *slot = attempt->slot;
    if (!slot->running || slot->running->number != attempt->expected) {
        err_set(&group->err, KEEL_ECHANGED, "%s: another generation took its place meanwhile",
                slot->name);
    } else {
        slot->equal = attempt->image->hash;
        slot->equal_to = attempt->expected;
        snprintf(attempt->changes, sizeof attempt->changes,
                 "rebuilt, same code%s: still generation %llu",
                 attempt->lines_differ ? " but for the lines that asserts tell" : "",
                 (unsigned long long)attempt->expected);
        err_set(&group->err, KEEL_ESAME, "%s: %s", slot->name, attempt->changes);
    }
    swap_answer(group->swapper, &attempt->answer, same_on_engine, attempt);
}

/* Nonzero: it is the code that runs already, and the attempt ends. */
static int is_same(Attempt *attempt)
{
    Group *group = attempt->group;
    Swapper *swapper = group->swapper;
    if (!attempt->from || !attempt->expected || attempt->how == TRIAL_HOOKS)
        return 0;
    Verdict verdict = changes_find(attempt);
    if (verdict > VERDICT_LINES || group->flags & SWAP_SAME || swapper->identical)
        return 0;
    attempt->lines_differ = verdict == VERDICT_LINES;
    swap_await(swapper);
    swapper->at_boundary(swapper->host, same_on_frame, attempt);
    return 1;
}

/* The trial is over, and what could be read of the image is known. */
static void judge(Attempt *attempt)
{
    if (is_same(attempt))
        return;
    Group *group = attempt->group;
    Slot *slot = attempt->slot;
    const TrialResult *result = &attempt->tried;
    snprintf(attempt->note, sizeof attempt->note, "%s",
             result->verdict == TRIAL_PASS ? "" : result->text);
    int strict = group->swapper->trial_mode == SWAP_TRIAL_STRICT;
    if (result->verdict == TRIAL_FAIL && result->types_changed && attempt->how == TRIAL_KEEP &&
        attempt->expected) {
        group_go(group, SWAP_SAVE, result->text);
        step(group);
        return;
    }
    if (result->verdict == TRIAL_FAIL || (strict && result->verdict != TRIAL_PASS)) {
        int crashed = result->fault.kind != FAULT_NONE && result->fault.kind != FAULT_TYPES &&
                      result->fault.kind != FAULT_ERROR;
        int unruled = result->types_changed || attempt->how == TRIAL_HOOKS;
        const char *no_rules = unruled ? attempt->migrating.no_rules : "";
        err_set(&group->err, crashed ? KEEL_EFAULT : KEEL_EREFUSED,
                "%s: %s in the trial (%s): %s%s%s", slot->name,
                result->verdict == TRIAL_FAIL ? "failed" : "not proven", result->phase,
                result->text, *no_rules ? "; no rules carry it over, since " : "", no_rules);
        if (crashed)
            breaker_remember(&slot->breaker, attempt->image->hash, result->text);
        group_refuse(group);
        return;
    }
    if (result->verdict != TRIAL_PASS)
        log_warn("trial", "%s: %s: %s; it goes on under probation", slot->name,
                 result->verdict == TRIAL_INCONCLUSIVE ? "inconclusive" : "not tried",
                 result->text);
    if (shadow_wanted(attempt)) {
        attempt_unpin(attempt);
        group_go(group, SWAP_SHADOW, "");
    } else {
        attempt_let_go(attempt);
        group_go(group, SWAP_LOAD, "");
    }
    step(group);
}

/* All is known but perhaps its reading, for which a first image need not wait. */
static void known(Attempt *attempt)
{
    if (attempt->from)
        changes_await(attempt, judge);
    else
        judge(attempt);
}

static void tried(const TrialResult *result, void *user)
{
    Attempt *attempt = user;
    attempt->tried = *result;
    known(attempt);
}

static void begin_trial(Attempt *attempt)
{
    Group *group = attempt->group;
    Swapper *swapper = group->swapper;
    if (attempt->how == TRIAL_KEEP && !attempt->pin) {
        /* The state can't be shown to the helper: what is left is to load it and watch. */
        TrialResult result = {.verdict = TRIAL_INCONCLUSIVE};
        snprintf(result.phase, sizeof result.phase, "pin");
        snprintf(result.text, sizeof result.text, "%s", attempt->note);
        tried(&result, attempt);
        return;
    }
    if (!attempt->staged && stage_add(swapper->stage, ++swapper->staged, attempt->image->path,
                                      attempt->image->memfd, &attempt->staged, &group->err)) {
        group_refuse(group);
        return;
    }
    TrialRequest request = {.image = attempt->image,
                            .staged = attempt->staged,
                            .view = attempt->view,
                            .how = attempt->how,
                            .inputs = attempt->inputs.data,
                            .inputs_bytes = attempt->inputs.bytes,
                            .saved = attempt->saved.data,
                            .saved_bytes = attempt->saved.bytes,
                            .saved_version = attempt->saved_version,
                            .frames = TRIAL_FRAMES,
                            .screen = {attempt->screen[0], attempt->screen[1], attempt->screen[2]},
                            .user = attempt->slot->context.user};
    migrating_ask(attempt, &request);
    if (trial_run(swapper->trial, &request, tried, attempt, &group->err)) {
        TrialResult result = {.verdict = TRIAL_UNAVAILABLE};
        snprintf(result.phase, sizeof result.phase, "helper");
        snprintf(result.text, sizeof result.text, "%.500s", group->err.text);
        group->err.code = KEEL_OK;
        tried(&result, attempt);
    }
}

/* ---- shadow ---- */

static void proven(Attempt *attempt)
{
    group_go(attempt->group, SWAP_LOAD, "");
    step(attempt->group);
}

/* ---- load ---- */

static void loaded_on_engine(void *user)
{
    Attempt *attempt = user;
    Group *group = attempt->group;
    if (group->err.code) {
        err_wrap(&group->err, "%s", attempt->slot->name);
        group_refuse(group);
        return;
    }
    memcpy(attempt->fresh->changes, attempt->changes, sizeof attempt->changes);
    group->at++;
    next_slot(group);
}

static void loaded(Generation *generation, const Error *err, void *user)
{
    Attempt *attempt = user;
    if (generation && attempt->slot->keep_image)
        attempt->slot->keep_image(attempt->slot, attempt->image);
    attempt->fresh = generation;
    attempt->number = generation ? generation->number : 0;
    if (!generation)
        attempt->group->err = *err;
    /* The loader's thread has time; without an answer the group would never end. */
    while (loop_post(attempt->group->swapper->loop, loaded_on_engine, attempt) == KEEL_ENOMEM)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- commit ---- */

static void commit_again(Attempt *attempt)
{
    step(attempt->group);
}

static void not_committed(void *user)
{
    group_refuse(user);
}

/* What was proven beside the running generation is to be so now. */
static void not_near(void *user)
{
    Group *group = user;
    if (group->swapper->closing)
        step(group);
    else
        shadow_again(&group->attempts[0], commit_again);
}

/* On success the group's fate is the frame thread's: it ends by group_decided. */
static void commit_on_frame(void *user)
{
    Group *group = user;
    group->err.code = KEEL_OK;
    if (!shadow_stands(&group->attempts[0])) {
        swap_answer(group->swapper, &group->answer, not_near, group);
        return;
    }
    if (precopying_on_frame(group, step))
        swap_answer(group->swapper, &group->answer, precopying_work, group);
    else if (group_commit(group, &group->err))
        swap_answer(group->swapper, &group->answer, not_committed, group);
}

static void step(Group *group)
{
    Swapper *swapper = group->swapper;
    Attempt *attempt = &group->attempts[group->at < group->count ? group->at : 0];
    if (swapper->closing) {
        err_set(&group->err, KEEL_ECANCELED, "the host is closing");
        group_refuse(group);
        return;
    }
    switch (group->phase) {
    case SWAP_SETTLE:
        if (!attempt->path) {
            group_go(group, SWAP_PIN, "");
            step(group);
            break;
        }
        settling_read(group, settled);
        break;
    case SWAP_PIN:
        swap_await(swapper);
        swapper->at_boundary(swapper->host, pin_on_frame, attempt);
        break;
    case SWAP_TRIAL:
        begin_trial(attempt);
        break;
    case SWAP_SAVE:
        swap_await(swapper);
        swapper->at_boundary(swapper->host, save_on_frame, attempt);
        break;
    case SWAP_SHADOW:
        shadow_begin(attempt, proven);
        break;
    case SWAP_LOAD:
        group->err.code = KEEL_OK;
        if (loader_load(swapper->loader, attempt->slot->state, attempt->image, loaded, attempt)) {
            LoaderStatus status;
            loader_status(swapper->loader, &status);
            err_set(&group->err, KEEL_EBUSY, "%s: %s", attempt->slot->name,
                    *status.busy ? status.busy : "there is no memory to load it");
            group_refuse(group);
        }
        break;
    case SWAP_READY:
        group_close_timer(group);
        swap_await(swapper);
        swapper->at_boundary(swapper->host, commit_on_frame, group);
        break;
    default:
        break;
    }
}

void group_begin(Group *group)
{
    group->at = 0;
    group->begun_ns = group->phase_ns = clock_now_ns();
    group_go(group, SWAP_SETTLE, "");
    step(group);
}
