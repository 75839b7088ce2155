/* One generation on a given state and recorded inputs: the trial child's run. Owns a slot for the
 * time of the run. */
#include "host/replay.h"

#include <stdio.h>
#include <string.h>

#include "host/services.h"

enum { SYNTHETIC_FRAME_NS = 16666667 };

typedef struct Replay {
    const ReplayRequest *request;
    ReplayResult *result;
    Slot slot;
    Generation generation;
    FaultKind kind;
    int open; /* a frame was read and waits for its events */
    int64_t last_ns;
} Replay;

static void phase(Replay *replay, const char *name)
{
    snprintf(replay->result->phase, sizeof replay->result->phase, "%s", name);
}

static int ended(Replay *replay, FaultKind kind)
{
    replay->kind = kind;
    if (kind == FAULT_NONE)
        return 0;
    replay->result->types_changed = kind == FAULT_TYPES;
    snprintf(replay->result->text, sizeof replay->result->text, "%s", replay->result->fault.text);
    return 1;
}

/* Runs the frame whose events have been put. */
static int run_frame(Replay *replay)
{
    Slot *slot = &replay->slot;
    if (!replay->open)
        return 0;
    replay->open = 0;
    slot_frame_open(slot, replay->last_ns);
    phase(replay, "frame");
    if (ended(replay, slot_frame_run(slot, &replay->result->fault)))
        return 1;
    effects_commit(&slot->effects);
    draw_commit(&slot->draw);
    inputs_commit(&slot->inputs, &slot->frame);
    slot->last_time_ns = slot->frame.time_ns;
    slot->frames++;
    replay->result->frames_run++;
    return replay->result->frames_run >= replay->request->frames;
}

static int on_frame(const struct keel_frame *frame, void *user)
{
    Replay *replay = user;
    if (run_frame(replay))
        return 1;
    replay->last_ns = frame->time_ns > replay->last_ns ? frame->time_ns : replay->last_ns + 1;
    replay->open = 1;
    return 0;
}

static int on_event(const struct keel_event *event, void *user)
{
    Replay *replay = user;
    inputs_put(&replay->slot.inputs, event);
    return 0;
}

static void begin(Replay *replay, const ReplayRequest *request)
{
    memset(replay, 0, sizeof *replay);
    replay->request = request;
    slot_init(&replay->slot, request->state, NULL, request->mode, 1);
    services_give(&replay->slot);
    snprintf(replay->slot.name, sizeof replay->slot.name, "%s", request->table->name);
    replay->generation.number = request->owner;
    replay->generation.table = request->table;
    replay->slot.running = &replay->generation;
    replay->slot.deadline_option_ns = request->deadline_ns ? request->deadline_ns : -1;
    replay->slot.context.user = request->user;
    draw_resize(&replay->slot.draw, request->screen);
    replay->last_ns = 1;
    replay->slot.effects.now_ns = 1;
}

static Replay one; /* large, and one a process at a time is all that a trial child runs */

FaultKind replay_convert(const ReplayRequest *request, int32_t (*body)(void *user, keel *k),
                         void *body_user, Fault *ret_fault)
{
    begin(&one, request);
    FaultKind kind = slot_convert(&one.slot, &one.generation, body, body_user, ret_fault);
    slot_done(&one.slot);
    return kind;
}

FaultKind replay_run(const ReplayRequest *request, ReplayResult *result)
{
    begin(&one, request);
    one.result = result;
    int over = 0;
    if (request->how == REPLAY_START) {
        phase(&one, "start");
        over = ended(&one, slot_start(&one.slot, &one.generation, &result->fault));
    } else if (request->how == REPLAY_HOOKS) {
        phase(&one, "restore");
        state_reset(request->state);
        over =
            ended(&one, slot_restore(&one.slot, &one.generation, request->saved,
                                     request->saved_bytes, request->saved_version, &result->fault));
    }
    const InputsReader reader = {on_frame, on_event, &one};
    if (!over && inputs_decode(request->inputs, request->inputs_bytes, &reader) == 0)
        run_frame(&one);
    /* Too few were recorded (a new slot): the rest are plain frames of a 60 Hz clock. */
    while (one.kind == FAULT_NONE && !over && result->frames_run < request->frames) {
        one.last_ns += SYNTHETIC_FRAME_NS;
        one.open = 1;
        run_frame(&one);
    }
    if (one.kind == FAULT_NONE)
        phase(&one, "done");
    slot_done(&one.slot);
    return one.kind;
}
