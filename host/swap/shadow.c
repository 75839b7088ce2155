/* A candidate that runs beside the running generation. Owns the feed, the pin that the child's view
 * is of, and the timer that looks. Engine thread, but for two pieces that run at the boundary. */
#include "swap/shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "swap/carry.h"
#include "swap/feed.h"
#include "swap/group.h"
#include "swap/migrating.h"

enum { LOOK_MS = 2, TRIES = 3, BACKOFF_MS = 250 };

/* Rounds of hashing the state beside frames, before the boundary where the child's begins. */
enum { FEW_PAGES = 100, ROUNDS_MOST = 8 };

#define HELPER_PATIENCE_NS (INT64_C(10) * 1000 * 1000 * 1000)

typedef enum ShadowStep { SHADOW_ATTACH, SHADOW_OLD, SHADOW_NEW, SHADOW_OVER } ShadowStep;

struct Shadow {
    Attempt *attempt; /* NULL once the group has let go */
    Slot *slot;
    Swapper *swapper;
    AttemptThen *proven;
    Feed *feed;
    Pin *pin;
    StateView view;
    Buf carried;
    uintptr_t live_first, live_last;
    ShadowStep step;
    int tries;
    int hashing;   /* hashes were switched on for this */
    int running;   /* the helper was asked and hasn't answered */
    int attaching; /* between the first boundary and the one where the feed is there */
    int attached;  /* the slot or its state has something of ours */
    HashFill *fill;
    uint32_t behind; /* pages, before the last round */
    int rounds, filled;
    int filling;                     /* a thread of the pool has `fill` */
    int64_t filling_ns, boundary_ns; /* when it began; its longest boundary */
    uv_work_t work;
    int timer_closed;
    int64_t since_ns;
    uint64_t expected;          /* the generation that it is compared with */
    _Atomic uint64_t agreed_at; /* the number of the last frame that was compared */
    Error err;                  /* of the boundary */
    Error late;                 /* it failed while the group had gone on */
    uv_timer_t timer;
    SwapAnswer answer;
};

typedef struct Shadow Shadow;

int shadow_wanted(Attempt *attempt)
{
    const Swapper *swapper = attempt->group->swapper;
    if (!swapper->handover.shadow || !swapper->shadow || !attempt->from || attempt->image == NULL)
        return 0;
    const char *why = attempt->how != TRIAL_KEEP  ? "its state goes through save and restore"
                      : attempt->group->count > 1 ? "several slots are swapped at once"
                                                  : NULL;
    if (why)
        log_warn("swap", "%s: no shadow, since %s: it goes on under probation", attempt->slot->name,
                 why);
    return !why;
}

/* ---- the end ---- */

static void free_shadow(Shadow *shadow)
{
    feed_free(shadow->feed);
    buf_done(&shadow->carried);
    free(shadow);
}

/* Freed when the helper, the boundary and the timer have all let go. */
static void look_if_free(Shadow *shadow)
{
    if (!shadow->attempt && !shadow->running && !shadow->attaching && !shadow->attached &&
        shadow->timer_closed)
        free_shadow(shadow);
}

static void timer_closed(uv_handle_t *handle)
{
    Shadow *shadow = handle->data;
    shadow->timer_closed = 1;
    look_if_free(shadow);
}

static void detached(void *user)
{
    Shadow *shadow = user;
    shadow->attached = 0;
    look_if_free(shadow);
}

static void detach_on_frame(void *user)
{
    Shadow *shadow = user;
    Slot *slot = shadow->slot;
    state_hash_drop(shadow->fill);
    shadow->fill = NULL;
    if (slot->feed && slot->feed == shadow->feed)
        slot->feed = NULL;
    if (shadow->hashing && !slot->recorder && !slot->feed)
        state_hash_frames(slot->state, 0, NULL);
    if (shadow->pin)
        state_unpin(shadow->pin);
    shadow->pin = NULL;
    swap_answer(shadow->swapper, &shadow->answer, detached, shadow);
}

static void detach(Shadow *shadow)
{
    swap_await(shadow->swapper);
    shadow->swapper->at_boundary(shadow->swapper->host, detach_on_frame, shadow);
}

void shadow_end(Attempt *attempt)
{
    Shadow *shadow = attempt->shadow;
    if (!shadow)
        return;
    attempt->shadow = NULL;
    shadow->attempt = NULL;
    shadow->step = SHADOW_OVER;
    if (shadow->feed)
        feed_stop(shadow->feed);
    if (shadow->filling)
        state_hash_stop(shadow->fill);
    else if (shadow->attached && !shadow->attaching)
        detach(shadow);
    uv_close((uv_handle_t *)&shadow->timer, timer_closed);
}

/* ---- refusing and trying again ---- */

static void refuse(Shadow *shadow, int code, const char *text)
{
    Group *group = shadow->attempt->group;
    if (!shadow->proven) { /* it is being loaded: told when the boundary asks */
        err_set(&shadow->late, code, "%s", text);
        return;
    }
    err_set(&group->err, code, "%s: not handed over: %s", shadow->slot->name, text);
    group_refuse(group); /* ends the shadow with the attempt */
}

static void attach(uv_timer_t *timer);

/* What may be better the next time. */
static void again(Shadow *shadow, const char *why)
{
    if (shadow->swapper->leaving) {
        refuse(shadow, KEEL_ECANCELED, "the host is closing");
        return;
    }
    if (!shadow->proven) {
        err_set(&shadow->late, KEEL_ETIMEOUT, "%s", why);
        return;
    }
    if (++shadow->tries >= TRIES) {
        char text[400];
        snprintf(text, sizeof text, "%.300s, %d times; the one that runs stays", why,
                 shadow->tries);
        refuse(shadow, KEEL_ETIMEOUT, text);
        return;
    }
    log_info("swap", "%s: shadow: %s; it is tried again", shadow->slot->name, why);
    feed_stop(shadow->feed);
    shadow->step = SHADOW_ATTACH;
    detach(shadow);
    uv_timer_start(&shadow->timer, attach, (uint64_t)BACKOFF_MS << shadow->tries, 0);
}

/* ---- the child ---- */

static void ran(const TrialResult *result, void *user)
{
    Shadow *shadow = user;
    shadow->running = 0;
    if (!shadow->attempt) {
        look_if_free(shadow);
        return;
    }
    if (shadow->step != SHADOW_NEW)
        return; /* it was told to end */
    char text[600];
    snprintf(text, sizeof text, "beside the one that runs (%s): %s", result->phase, result->text);
    if (result->verdict == TRIAL_FAIL && result->fault.kind != FAULT_NONE)
        breaker_remember(&shadow->slot->breaker, shadow->attempt->image->hash, result->text);
    if (result->verdict == TRIAL_UNAVAILABLE)
        again(shadow, text);
    else
        refuse(shadow, KEEL_EREFUSED, text);
}

static int start_child(Shadow *shadow)
{
    Attempt *attempt = shadow->attempt;
    Swapper *swapper = shadow->swapper;
    TrialRequest request = {.image = attempt->image,
                            .staged = attempt->staged,
                            .view = shadow->view,
                            .how = TRIAL_KEEP,
                            .inputs = shadow->carried.data,
                            .inputs_bytes = shadow->carried.bytes,
                            .user = shadow->slot->context.user,
                            .time_limit_ns = HELPER_PATIENCE_NS,
                            .feed = feed_fd(shadow->feed),
                            .live_first = shadow->live_first,
                            .live_last = shadow->live_last};
    Error err = {0};
    migrating_ask(attempt, &request);
    if (trial_run(swapper->shadow, &request, ran, shadow, &err)) {
        refuse(shadow, err.code, err.text);
        return 0;
    }
    shadow->running = 1;
    return 1;
}

static void tell_difference(Shadow *shadow, const FeedState *state)
{
    char text[500];
    if (state->by_check)
        snprintf(text, sizeof text,
                 "its check answered %d after frame %llu, where generation %llu runs on",
                 state->check, (unsigned long long)state->frame,
                 (unsigned long long)shadow->expected);
    else
        snprintf(text, sizeof text,
                 "its state differs from generation %llu's from frame %llu on (%llu frames before "
                 "agreed): if that is meant, give the module a check entry, or swap it without a "
                 "handover",
                 (unsigned long long)shadow->expected, (unsigned long long)state->frame,
                 (unsigned long long)state->agreed);
    refuse(shadow, KEEL_EREFUSED, text);
}

static void look_new(Shadow *shadow)
{
    const Handover *want = &shadow->swapper->handover;
    FeedState state;
    feed_look(shadow->feed, want->new_lag_ns, &state);
    if (shadow->late.code && shadow->proven) {
        refuse(shadow, shadow->late.code, shadow->late.text);
    } else if (state.differs) {
        tell_difference(shadow, &state);
    } else if (state.broken) {
        again(shadow, state.broken);
    } else if (state.in_a_row >= want->new_frames) {
        shadow->agreed_at = state.answered - 1;
        if (!shadow->proven)
            return; /* it has gone on: the boundary looks at agreed_at */
        AttemptThen *proven = shadow->proven;
        shadow->proven = NULL;
        log_info("swap", "%s: shadow: the same as generation %llu over %llu frames, %.1f ms behind",
                 shadow->slot->name, (unsigned long long)shadow->expected,
                 (unsigned long long)state.agreed, (double)state.lag_ns / 1e6);
        proven(shadow->attempt);
    } else if (clock_now_ns() - shadow->since_ns > want->new_patience_ns) {
        char why[200];
        snprintf(why, sizeof why, "it agreed %llu times in a row, %llu are wanted, within %lld ms",
                 (unsigned long long)state.in_a_row, (unsigned long long)want->new_frames,
                 (long long)(want->new_patience_ns / 1000000));
        again(shadow, why);
    }
}

static void look(uv_timer_t *timer)
{
    Shadow *shadow = timer->data;
    const Handover *want = &shadow->swapper->handover;
    if (shadow->swapper->leaving) {
        refuse(shadow, KEEL_ECANCELED, "the host is closing");
        return;
    }
    if (shadow->step == SHADOW_NEW) {
        look_new(shadow);
        return;
    }
    if (feed_old_in_a_row(shadow->feed, want->old_lag_ns) >= want->old_frames) {
        shadow->step = SHADOW_NEW;
        shadow->since_ns = clock_now_ns();
        start_child(shadow);
    } else if (clock_now_ns() - shadow->since_ns > want->old_patience_ns) {
        again(shadow,
              "the one that runs is not well: too few good frames in a row to compare with");
    }
}

/* ---- the beginning ---- */

static void fill_more(Shadow *shadow);

/* Another boundary is behind it. */
static void stepped(void *user)
{
    Shadow *shadow = user;
    if (shadow->attempt && !shadow->err.code && shadow->fill) {
        fill_more(shadow);
        return;
    }
    shadow->attaching = 0;
    if (!shadow->attempt) { /* the group has ended meanwhile */
        if (shadow->attached)
            detach(shadow);
        look_if_free(shadow);
        return;
    }
    if (shadow->err.code) {
        refuse(shadow, shadow->err.code, shadow->err.text);
        return;
    }
    if (shadow->rounds)
        log_info("swap",
                 "%s: shadow: its state was hashed beside frames, in %.0f ms and %d round%s; %u "
                 "pages had changed since, the longest boundary took %.2f ms",
                 shadow->slot->name, (double)(clock_now_ns() - shadow->filling_ns) / 1e6,
                 shadow->rounds, shadow->rounds == 1 ? "" : "s", shadow->behind,
                 (double)shadow->boundary_ns / 1e6);
    shadow->step = SHADOW_OLD;
    shadow->since_ns = clock_now_ns();
    uv_timer_start(&shadow->timer, look, LOOK_MS, LOOK_MS);
}

/* The hashes are there, or all but what a few frames changed: the child's begin. */
static int attach_feed(Shadow *shadow, Error *err)
{
    Slot *slot = shadow->slot;
    HashFill *fill = shadow->fill;
    shadow->fill = NULL;
    int rc = fill ? state_hash_join(fill, err) : KEEL_OK;
    if (rc == KEEL_OK)
        rc = state_pin(slot->state, &shadow->pin, err);
    if (rc == KEEL_OK)
        rc = state_pin_view(shadow->pin, &shadow->view, err);
    if (rc == KEEL_OK && carry_save(slot, &shadow->carried))
        rc = err_set(err, KEEL_ENOMEM, "there is no memory for it");
    if (rc)
        return rc;
    shadow->live_first = slot->running->load_first;
    shadow->live_last = slot->running->load_last;
    state_hash_image(slot->state, shadow->live_first, shadow->live_last);
    slot->feed = shadow->feed;
    return KEEL_OK;
}

/* Until little changes meanwhile, or it doesn't get less. */
static int wants_round(const Shadow *shadow, uint32_t behind)
{
    return behind > FEW_PAGES && shadow->rounds < ROUNDS_MOST &&
           (shadow->rounds < 2 || behind < shadow->behind / 4 * 3);
}

static void take_step(Shadow *shadow, Error *err)
{
    Slot *slot = shadow->slot;
    const Generation *running = slot->running;
    if (!running || running->number != shadow->expected || slot->feed) {
        err_set(err, KEEL_ECHANGED, "another generation took its place meanwhile");
        return;
    }
    if (!shadow->hashing) {
        shadow->hashing = !state_hash_begin(slot->state, running->load_first, running->load_last,
                                            &shadow->fill, err);
        if (err->code || shadow->fill)
            return;
    }
    if (shadow->fill) {
        uint32_t behind = state_hash_behind(shadow->fill);
        int more = wants_round(shadow, behind);
        shadow->behind = behind;
        if (more) {
            state_hash_again(shadow->fill, err);
            return;
        }
    }
    attach_feed(shadow, err);
}

static void step_on_frame(void *user)
{
    Shadow *shadow = user;
    int64_t began = clock_now_ns();
    take_step(shadow, &shadow->err);
    shadow->attached = 1; /* whatever there is, detach_on_frame takes it back */
    int64_t took = clock_now_ns() - began;
    if (took > shadow->boundary_ns)
        shadow->boundary_ns = took;
    swap_answer(shadow->swapper, &shadow->answer, stepped, shadow);
}

static void next_step(Shadow *shadow)
{
    swap_await(shadow->swapper);
    shadow->swapper->at_boundary(shadow->swapper->host, step_on_frame, shadow);
}

static void fill_it(uv_work_t *work)
{
    Shadow *shadow = work->data;
    shadow->filled = state_hash_fill(shadow->fill);
}

static void filled(uv_work_t *work, int status)
{
    Shadow *shadow = work->data;
    int rc = status ? KEEL_ECANCELED : shadow->filled;
    shadow->filling = 0;
    shadow->rounds++;
    if (shadow->attempt && !rc && !shadow->swapper->leaving) {
        next_step(shadow);
        return;
    }
    if (shadow->attempt)
        err_set(&shadow->err, rc ? rc : KEEL_ECANCELED, "%s",
                rc == KEEL_ENOMEM ? "no memory for the state's hashes" : "the host is closing");
    stepped(shadow);
}

static void fill_more(Shadow *shadow)
{
    shadow->filling = 1;
    shadow->work.data = shadow;
    if (uv_queue_work(loop_uv(shadow->swapper->loop), &shadow->work, fill_it, filled))
        filled(&shadow->work, UV_ECANCELED);
}

static void attach(uv_timer_t *timer)
{
    Shadow *shadow = timer->data;
    if (shadow->attached || shadow->running) { /* of the try before: soon */
        uv_timer_start(&shadow->timer, attach, LOOK_MS, 0);
        return;
    }
    feed_free(shadow->feed);
    shadow->feed = NULL;
    shadow->err = (Error){0};
    shadow->carried.bytes = 0;
    if (feed_new(&shadow->feed, &shadow->err)) {
        refuse(shadow, shadow->err.code, shadow->err.text);
        return;
    }
    shadow->attaching = 1;
    shadow->hashing = shadow->rounds = 0;
    shadow->boundary_ns = 0;
    shadow->filling_ns = clock_now_ns();
    next_step(shadow);
}

void shadow_begin(Attempt *attempt, AttemptThen *proven)
{
    Group *group = attempt->group;
    Shadow *shadow = calloc(1, sizeof *shadow);
    if (!shadow) {
        err_set(&group->err, KEEL_ENOMEM, "%s: no memory for a handover", attempt->slot->name);
        group_refuse(group);
        return;
    }
    shadow->attempt = attempt;
    shadow->slot = attempt->slot;
    shadow->swapper = group->swapper;
    shadow->proven = proven;
    attempt->shadow = shadow;
    shadow->expected = attempt->expected;
    uv_timer_init(loop_uv(group->swapper->loop), &shadow->timer);
    shadow->timer.data = shadow;
    attach(&shadow->timer);
}

void shadow_again(Attempt *attempt, AttemptThen *proven)
{
    attempt->shadow->proven = proven;
}

int shadow_stands(const Attempt *attempt)
{
    const Shadow *shadow = attempt->shadow;
    return !shadow ||
           feed_is_near(shadow->feed, shadow->agreed_at, shadow->swapper->handover.new_lag_ns);
}
