/* A recorded session given to a slot again. Owns only the list of due timers. */
#include "swap/playback.h"

#include <string.h>

void playback_init(Playback *playback, Slot *slot)
{
    *playback = (Playback){.slot = slot};
    inputs_init(&playback->due);
    slot->effects.held = 1;
}

void playback_done(Playback *playback)
{
    inputs_done(&playback->due);
}

FaultKind playback_enter(Playback *playback, Generation *generation, const JournalGeneration *how,
                         Fault *ret_fault)
{
    Slot *slot = playback->slot;
    FaultKind kind = FAULT_NONE;
    slot->effects.now_ns = how->now_ns;
    slot->wall_ns = how->wall_ns;
    if (how->how == JOURNAL_HOOKS && slot->running) {
        Buf saved = {0};
        uint32_t version = 0;
        kind = slot_save(slot, slot->running, &saved, &version, ret_fault);
        if (kind == FAULT_NONE) {
            state_reset(slot->state);
            slot->running = generation;
            kind = slot_restore(slot, generation, saved.data, saved.bytes, version, ret_fault);
        }
        buf_done(&saved);
        return kind;
    }
    slot->running = generation;
    if (how->how != JOURNAL_START)
        return FAULT_NONE;
    memcpy(slot->random, how->random, sizeof slot->random);
    return slot_start(slot, generation, ret_fault);
}

/* The firing of this timer that the table gave for this frame, or NULL. */
static const Input *find_due(const Playback *playback, keel_handle handle)
{
    for (const Input *due = playback->due.taken; due; due = due->next)
        if (due->event.handle == handle)
            return due;
    return NULL;
}

static int was_recorded(const JournalRecord *record, keel_handle timer)
{
    JournalEvent event;
    const uint8_t *data;
    for (size_t at = 0; journal_event_next(record, &at, &event, &data);)
        if (event.kind == KEEL_EVENT_TIMER && event.handle == timer)
            return 1;
    return 0;
}

static void put(Slot *slot, const JournalEvent *e, const uint8_t *data)
{
    const struct keel_event event = {.kind = e->kind,
                                     .tag = e->tag,
                                     .handle = e->handle,
                                     .time_ns = e->time_ns,
                                     .flags = e->flags,
                                     .result = e->result,
                                     .data = data,
                                     .data_bytes = e->data_bytes};
    slot->inputs.next_seq = e->seq - 1;
    inputs_put(&slot->inputs, &event);
}

static void give_events(Playback *playback, const JournalRecord *record, int64_t time_ns)
{
    Slot *slot = playback->slot;
    effects_fire(&slot->effects, time_ns, &playback->due);
    inputs_take(&playback->due);
    JournalEvent event;
    const uint8_t *data;
    for (size_t at = 0; journal_event_next(record, &at, &event, &data);) {
        int asked = event.kind == KEEL_EVENT_TIMER  ? find_due(playback, event.handle) != NULL
                    : event.kind == KEEL_EVENT_TASK ? effects_settle(&slot->effects, event.handle)
                                                    : 1;
        if (asked || (event.flags & KEEL_EVENT_REDELIVERED))
            put(slot, &event, data);
        else
            playback->unmatched++;
    }
    for (const Input *due = playback->due.taken; due; due = due->next)
        if (!was_recorded(record, due->event.handle)) {
            inputs_put(&slot->inputs, &due->event);
            playback->unrecorded++;
        }
    const struct keel_frame none = {0};
    inputs_commit(&playback->due, &none);
}

void playback_open(Playback *playback, const JournalRecord *record)
{
    Slot *slot = playback->slot;
    JournalFrame frame;
    memcpy(&frame, record->data, sizeof frame);
    give_events(playback, record, frame.time_ns);
    slot_frame_open(slot, frame.time_ns);
    slot->frame.index = frame.index;
    slot->frame.dt = frame.dt;
    slot->frame.flags = frame.flags;
    slot->wall_ns = frame.wall_ns;
}

FaultKind playback_frame(Playback *playback, const JournalRecord *record, Fault *ret_fault)
{
    Slot *slot = playback->slot;
    playback_open(playback, record);
    FaultKind kind = slot_frame_run(slot, ret_fault);
    if (kind != FAULT_NONE)
        return kind;
    Error err = {0};
    if (slot_frame_commit(slot, &err)) {
        *ret_fault = (Fault){.kind = FAULT_MEMORY};
        memcpy(ret_fault->text, err.text, sizeof ret_fault->text - 1);
        return FAULT_MEMORY;
    }
    slot->frames = slot->frame.index + 1;
    playback->frames++;
    return FAULT_NONE;
}
