/* A Group from its making to its end: what it holds and gives back, its phases in the log, the
 * sentence about what became of it. Engine thread, but for what swap.h says of both. Never decides
 * what comes next: that is prepare.c's and commit.c's. */
#include "swap/migrating.h"
#include "swap/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "swap/precopying.h"
#include "swap/shadow.h"

static const char *const phase_names[SWAP_PHASES] = {"settle",    "pin",  "trial",   "save",
                                                     "shadow",    "load", "ready",   "commit",
                                                     "probation", "done", "refused", "rolled back"};

const char *swap_phase_name(SwapPhase phase)
{
    return phase < SWAP_PHASES ? phase_names[phase] : "?";
}

Group *group_new(Swapper *swapper, uint32_t flags, GroupDone *done, void *user)
{
    Group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    group->swapper = swapper;
    group->flags = flags;
    group->done = done;
    group->user = user;
    atomic_store(&group->refs, 1);
    group->begun_ns = group->phase_ns = clock_now_ns();
    return group;
}

int group_add(Group *group, Slot *slot, const char *path, Image *image)
{
    if (group->count == GROUP_SLOTS)
        return KEEL_ELIMIT;
    for (uint32_t i = 0; i < group->count; i++)
        if (group->attempts[i].slot == slot)
            return KEEL_EINVAL;
    Attempt *attempt = &group->attempts[group->count];
    if (path && !(attempt->path = strdup(path)))
        return KEEL_ENOMEM;
    attempt->group = group;
    attempt->slot = slot;
    attempt->image = image ? image_ref(image) : NULL;
    group->count++;
    return KEEL_OK;
}

void group_ref(Group *group)
{
    atomic_fetch_add(&group->refs, 1);
}

void attempt_done(Attempt *attempt)
{
    migrating_done(attempt); /* before the images, whose types it knows */
    buf_done(&attempt->migrating.types);
    free(attempt->path);
    free(attempt->staged);
    image_unref(attempt->image);
    image_unref(attempt->from);
    buf_done(&attempt->inputs);
    buf_done(&attempt->saved);
    manifest_done(&attempt->trust.manifest);
}

void group_unref(Group *group)
{
    if (atomic_fetch_sub(&group->refs, 1) > 1)
        return;
    for (uint32_t i = 0; i < group->count; i++)
        attempt_done(&group->attempts[i]);
    free(group);
}

void group_go(Group *group, SwapPhase phase, const char *detail)
{
    int64_t now = clock_now_ns();
    group->spent_ns[group->phase] += now - group->phase_ns;
    group->phase_ns = now;
    group->phase = phase;
    const Slot *slot = group->attempts[group->at < group->count ? group->at : 0].slot;
    int alarm =
        phase == SWAP_REFUSED && group->err.code == KEEL_EUNTRUSTED; /* trusting.c says it */
    LogLevel level = alarm                                                ? LOG_DEBUG
                     : phase == SWAP_REFUSED || phase == SWAP_ROLLED_BACK ? LOG_WARN
                     : phase == SWAP_DONE || phase == SWAP_PROBATION      ? LOG_INFO
                                                                          : LOG_DEBUG;
    log_write(level, "swap", "%s%s: %s%s%s", slot->name, group->count > 1 ? " and others" : "",
              swap_phase_name(phase), *detail ? ": " : "", detail);
}

static void unpin_on_frame(void *user)
{
    state_unpin(user);
}

void attempt_unpin(Attempt *attempt)
{
    Swapper *swapper = attempt->group->swapper;
    if (attempt->pin)
        swapper->at_boundary(swapper->host, unpin_on_frame, attempt->pin);
    attempt->pin = NULL;
}

void attempt_let_go(Attempt *attempt)
{
    Swapper *swapper = attempt->group->swapper;
    shadow_end(attempt);
    precopying_end(attempt);
    attempt_unpin(attempt);
    if (attempt->staged) {
        stage_remove(swapper->stage, attempt->staged);
        free(attempt->staged);
        attempt->staged = NULL;
    }
}

static void closed(uv_handle_t *handle)
{
    group_unref(handle->data);
}

void group_close_timer(Group *group)
{
    if (!group->timer_open)
        return;
    group->timer_open = 0;
    group_ref(group);
    uv_close((uv_handle_t *)&group->timer, closed);
}

/* Would the same file be refused again? Not for what may be otherwise the next time: another's
 * doing, a lack, a manifest that comes later. */
static int lies_in_the_file(int code)
{
    return code == KEEL_EREFUSED || code == KEEL_ETYPE || code == KEEL_EFAULT ||
           code == KEEL_EABI || code == KEEL_EIMAGE || code == KEEL_ENOSERVICE;
}

void group_refuse(Group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        Attempt *attempt = &group->attempts[i];
        attempt_let_go(attempt);
        if (attempt->fresh && !group->swapper->closing)
            loader_retire(group->swapper->loader, attempt->fresh);
        attempt->fresh = NULL;
        if (group->err.code == KEEL_ESAME)
            continue;
        slot_say(attempt->slot, "%s", group->err.text);
        atomic_fetch_add(&attempt->slot->refused, 1);
        if (group->count == 1 && lies_in_the_file(group->err.code))
            attempt->slot->refused_file = attempt->file;
        if (group->err.code == KEEL_EUNTRUSTED && attempt->trust.fault)
            atomic_fetch_add(&attempt->slot->alarms, 1);
    }
    if (group->err.code == KEEL_ESAME)
        log_write(group->attempts[0].untouched ? LOG_DEBUG : LOG_INFO, "swap", "%s",
                  group->err.text);
    else
        group_go(group, SWAP_REFUSED, group->err.text);
    group->done(group, &group->err, group->user);
    group_close_timer(group);
    group_unref(group);
}

static void decided_on_engine(void *user)
{
    Group *group = user;
    if (group->err.code) {
        group_refuse(group);
        return;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        attempt_let_go(&group->attempts[i]);
        const Attempt *attempt = &group->attempts[i];
        const int64_t *spent = group->spent_ns;
        char from[40] = "";
        if (attempt->expected)
            snprintf(from, sizeof from, "%llu → ", (unsigned long long)attempt->expected);
        slot_say(attempt->slot,
                 "generation %s%llu in %.1f ms (read %.1f, trial %.1f, load %.1f), pause %.1f "
                 "µs%s%s%s%s",
                 from, (unsigned long long)attempt->number,
                 (double)(group->phase_ns - group->begun_ns) / 1e6,
                 (double)spent[SWAP_SETTLE] / 1e6,
                 (double)(spent[SWAP_TRIAL] + spent[SWAP_PIN] + spent[SWAP_SAVE]) / 1e6,
                 (double)spent[SWAP_LOAD] / 1e6, (double)group->pause_ns / 1e3,
                 attempt->changes[0] ? "; " : "", attempt->changes,
                 attempt->note[0] ? "; not proven: " : "", attempt->note);
        char text[SLOT_SAID_BYTES];
        slot_said(attempt->slot, text);
        log_info("swap", "%s: %s", attempt->slot->name, text);
        migrating_say(attempt);
        trusting_keep(attempt);
        changes_ran(&group->attempts[i]);
    }
    group->done(group, &group->err, group->user);
    group_unref(group);
}

void group_decided(Group *group)
{
    swap_answer(group->swapper, &group->answer, decided_on_engine, group);
}
