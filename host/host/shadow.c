/* A second generation on the live one's inputs, in the helper's child. Owns a slot for the time of
 * the run. It has no system call but sleeping and memory's. */
#include "host/shadow.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/services.h"
#include "swap/carry.h"
#include "swap/playback.h"

enum { LOOK_NS = 300 * 1000 };

typedef struct CheckCall {
    Slot *slot;
    int32_t answer;
} CheckCall;

static void call_check(void *user)
{
    CheckCall *call = user;
    call->answer = call->slot->running->table->check(&call->slot->context);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
}

static FaultKind odd_feed(ReplayResult *result, const char *what)
{
    result->fault = (Fault){.kind = FAULT_ERROR, .code = KEEL_EPROTOCOL};
    snprintf(result->fault.text, sizeof result->fault.text, "%s", what);
    return FAULT_ERROR;
}

static FaultKind follow(Playback *playback, const ShadowRequest *request, LooseHash *loose,
                        ReplayResult *result)
{
    Slot *slot = playback->slot;
    JournalRecord record;
    for (;;) {
        int rc = feed_next(request->feed, &record);
        if (rc == KEEL_ECANCELED)
            return FAULT_NONE;
        if (rc < 0)
            return odd_feed(result, "the feed of frames is damaged");
        if (rc == 0) {
            nap();
            continue;
        }
        snprintf(result->phase, sizeof result->phase, "frame");
        FaultKind kind = playback_frame(playback, &record, &result->fault);
        if (kind != FAULT_NONE)
            return kind;
        CheckCall call = {.slot = slot};
        int checks = TABLE_ENTRY(request->table, check) != NULL;
        if (checks) {
            snprintf(result->phase, sizeof result->phase, "check");
            kind = slot_call(slot, slot->running, 0, call_check, &call, &result->fault);
            if (kind != FAULT_NONE)
                return kind;
        }
        feed_answer(request->feed, checks ? 0 : loose_now(loose), checks ? &call.answer : NULL);
        result->frames_run++;
    }
}

FaultKind shadow_run(const ShadowRequest *request, ReplayResult *result)
{
    static Slot slot; /* large, and one a process is all that a child runs */
    static Generation generation;
    Playback playback;
    slot_init(&slot, request->state, NULL, KEEL_MODE_SHADOW, 1);
    services_give(&slot);
    snprintf(slot.name, sizeof slot.name, "%s", request->table->name);
    generation.number = request->owner;
    generation.table = request->table;
    slot.running = &generation;
    slot.deadline_option_ns = -1; /* the helper has one for all of it */
    slot.context.user = request->user;
    playback_init(&playback, &slot);
    FaultKind kind = FAULT_NONE;
    if (carry_load(&slot, request->carried, request->carried_bytes))
        kind = odd_feed(result, "what the slot is outside its state was damaged on the way");
    LooseHash *loose = NULL; /* whole once, while frames wait in the feed */
    if (kind == FAULT_NONE && loose_new(request->state, request->images, 2, &loose))
        kind = odd_feed(result, "there is no memory for the hashes of its state");
    if (kind == FAULT_NONE)
        kind = follow(&playback, request, loose, result);
    loose_free(loose);
    if (kind == FAULT_NONE)
        snprintf(result->phase, sizeof result->phase, "done");
    else
        snprintf(result->text, sizeof result->text, "%s", result->fault.text);
    playback_done(&playback);
    return kind;
}
