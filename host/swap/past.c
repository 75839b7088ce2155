/* Going back in time. Owns the pins of its moments and the recorded frames. */
#include "swap/past.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "swap/feed.h"
#include "swap/feed.h"
#include "swap/recorder.h"
#include "swap/swap.h"

enum {
    MOMENTS = STATE_MOMENTS - 2,
    EVENT_BYTES = 16 << 20,
    ROOM_BYTES = 4096 /* of a record, kept for the next frame that comes to its place */
};

typedef struct Moment {
    Pin *pin;
    uint64_t frames; /* committed so far */
    int64_t last_ns, wall_ns;
    uint64_t random[4];
    struct keel_input_state input;
    EffectsPast effects;
} Moment;

typedef struct PastFrame {
    JournalFrame frame;
    Buf record; /* as the journal has it: JournalFrame, then the events */
} PastFrame;

struct Past {
    Slot *slot;
    int64_t span_ns, interval_ns;
    uint64_t budget_bytes;
    char why[160];

    Moment moments[MOMENTS]; /* oldest first */
    uint32_t moment_count;
    PastFrame *frames;    /* a ring by frame number */
    uint64_t first, last; /* [first, last) are kept */
    uint64_t event_bytes;

    Recorder gathered; /* of the frame that is being committed */
    Playback playback;
    struct keel_input_state live; /* how keys and pointers stand now, while it is away */
    int away;                     /* it was put back and doesn't go on by itself yet */
    int playing;                  /* recorded frames are given */
    int seeking;                  /* frames are run only to get somewhere */
};

int past_new(Slot *slot, int64_t span_ns, uint64_t budget_bytes, Past **ret, Error *err)
{
    Past *past = calloc(1, sizeof *past);
    PastFrame *frames = calloc(PAST_FRAMES, sizeof *frames);
    if (!past || !frames) {
        free(past);
        free(frames);
        return err_set(err, KEEL_ENOMEM, "no memory for going back in time");
    }
    past->slot = slot;
    past->frames = frames;
    past->span_ns = span_ns;
    past->interval_ns = span_ns / (MOMENTS - 2);
    past->budget_bytes = budget_bytes;
    past->first = past->last = slot->frames;
    snprintf(past->why, sizeof past->why, "no frame has run yet");
    slot->past = past;
    *ret = past;
    return KEEL_OK;
}

static void drop_moment(Past *past, uint32_t index)
{
    Moment *moment = &past->moments[index];
    state_unpin(moment->pin);
    effects_past_done(&moment->effects);
    past->moment_count--;
    memmove(moment, moment + 1, (past->moment_count - index) * sizeof *moment);
}

static PastFrame *frame_of(const Past *past, uint64_t number)
{
    return &past->frames[number % PAST_FRAMES];
}

/* A picture that was loaded anew must not stay until this place of the ring comes round again. */
static void give_back(Buf *buf)
{
    if (buf->room > ROOM_BYTES)
        buf_done(buf);
    buf->bytes = 0;
}

/* No more than it takes: buf_add would make room for as much again. */
static int make_room(Buf *buf, size_t bytes)
{
    buf->bytes = 0;
    if (bytes <= ROOM_BYTES || bytes <= buf->room)
        return KEEL_OK;
    buf_done(buf);
    buf->data = malloc(bytes);
    buf->room = buf->data ? bytes : 0;
    return buf->data ? KEEL_OK : KEEL_ENOMEM;
}

static void drop_frames(Past *past, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n < last; n++) {
        Buf *record = &frame_of(past, n)->record;
        past->event_bytes -= record->bytes;
        give_back(record);
    }
}

void past_forget(Past *past, const char *why)
{
    if (!past)
        return;
    if (past->away)
        past_go_on(past);
    while (past->moment_count)
        drop_moment(past, past->moment_count - 1);
    drop_frames(past, past->first, past->last);
    past->first = past->last = past->slot->frames;
    snprintf(past->why, sizeof past->why, "%s", why);
}

void past_free(Past *past)
{
    if (!past)
        return;
    past_forget(past, "");
    past->slot->past = NULL;
    for (int i = 0; i < PAST_FRAMES; i++)
        buf_done(&past->frames[i].record);
    free(past->frames);
    buf_done(&past->gathered.events);
    free(past);
}

/* ---- keeping ---- */

void past_gather(Past *past)
{
    if (!past->seeking)
        recorder_gather(&past->gathered, past->slot);
}

static int keep_frame(Past *past)
{
    const Slot *slot = past->slot;
    uint64_t number = slot->frame.index;
    if (number != past->last && !(past->playing && number >= past->first && number < past->last)) {
        past_forget(past, ""); /* the count jumped: nothing before belongs to it */
        past->first = past->last = number;
    }
    PastFrame *kept = frame_of(past, number);
    if (number == past->last) {
        if (past->last - past->first == PAST_FRAMES) {
            drop_frames(past, past->first, past->first + 1);
            past->first++;
        }
        past->last++;
    } else {
        past->event_bytes -= kept->record.bytes;
    }
    kept->frame = (JournalFrame){.index = number,
                                 .time_ns = slot->frame.time_ns,
                                 .wall_ns = slot->wall_ns,
                                 .dt = slot->frame.dt,
                                 .flags = slot->frame.flags,
                                 .events = past->gathered.event_count};
    if (make_room(&kept->record, sizeof kept->frame + past->gathered.events.bytes) ||
        buf_add(&kept->record, &kept->frame, sizeof kept->frame) ||
        buf_add(&kept->record, past->gathered.events.data, past->gathered.events.bytes)) {
        kept->record.bytes = 0;
        return KEEL_ENOMEM;
    }
    past->event_bytes += kept->record.bytes;
    give_back(&past->gathered.events);
    return KEEL_OK;
}

static int keep_moment(Past *past)
{
    Slot *slot = past->slot;
    Moment moment = {.frames = slot->frame.index + 1,
                     .last_ns = slot->last_time_ns,
                     .wall_ns = slot->wall_ns,
                     .input = slot->inputs.committed};
    Error err = {0};
    memcpy(moment.random, slot->random, sizeof moment.random);
    if (past->moment_count == MOMENTS)
        drop_moment(past, 0);
    if (effects_keep(&slot->effects, &moment.effects) ||
        state_pin_moment(slot->state, &moment.pin, &err)) {
        effects_past_done(&moment.effects);
        past_forget(past, err.code ? err.text : "there was no memory for it");
        return KEEL_ENOMEM;
    }
    past->moments[past->moment_count++] = moment;
    return KEEL_OK;
}

/* Bounded: what is too old, too much or of no use (frames before the first moment) goes. */
static void trim(Past *past)
{
    int64_t now_ns = past->slot->last_time_ns;
    while (past->moment_count > 1 && past->moments[1].last_ns < now_ns - past->span_ns)
        drop_moment(past, 0);
    int much = state_pinned_bytes(past->slot->state) > past->budget_bytes;
    if (past->moment_count > 1 && (much || past->event_bytes > EVENT_BYTES))
        drop_moment(past, 0);
    if (much)
        state_fold_pins(past->slot->state);
    /* A frame's number is also how many were committed before it. */
    uint64_t first = past->moment_count ? past->moments[0].frames : past->last;
    if (first > past->first && first <= past->last) {
        drop_frames(past, past->first, first);
        past->first = first;
    }
    while (past->moment_count && past->moments[0].frames < past->first)
        drop_moment(past, 0);
}

void past_frame(Past *past)
{
    if (past->seeking)
        return;
    past->why[0] = 0;
    if (keep_frame(past)) {
        past_forget(past, "there was no memory for a frame's inputs");
        return;
    }
    const Moment *newest = past->moment_count ? &past->moments[past->moment_count - 1] : NULL;
    if (!newest || past->slot->last_time_ns - newest->last_ns >= past->interval_ns)
        if (keep_moment(past))
            return;
    trim(past);
}

void past_status(const Past *past, PastStatus *ret)
{
    *ret = (PastStatus){.moments = past->moment_count,
                        .bytes = state_pinned_bytes(past->slot->state) + past->event_bytes};
    snprintf(ret->why, sizeof ret->why, "%s", past->why);
    if (!past->moment_count)
        return;
    ret->oldest = past->moments[0].frames;
    ret->newest = past->last > ret->oldest ? past->last : ret->oldest;
    ret->oldest_ns = past->moments[0].last_ns;
    ret->newest_ns =
        past->last > past->first ? frame_of(past, past->last - 1)->frame.time_ns : ret->oldest_ns;
}

uint64_t past_frame_at(const Past *past, int64_t time_ns)
{
    uint64_t low = past->moment_count ? past->moments[0].frames : past->last, high = past->last;
    while (low < high) { /* the first frame that is later */
        uint64_t middle = low + (high - low) / 2;
        if (frame_of(past, middle)->frame.time_ns <= time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t past_time_of(const Past *past, uint64_t frames)
{
    if (!past->moment_count || frames <= past->moments[0].frames)
        return past->moment_count ? past->moments[0].last_ns : past->slot->last_time_ns;
    return frame_of(past, (frames < past->last ? frames : past->last) - 1)->frame.time_ns;
}

/* ---- going back ---- */

static const Moment *moment_before(const Past *past, uint64_t frames)
{
    const Moment *found = NULL;
    for (uint32_t i = 0; i < past->moment_count; i++)
        if (past->moments[i].frames < frames || (!i && past->moments[i].frames == frames))
            found = &past->moments[i];
    return found;
}

static JournalRecord record_of(const Past *past, uint64_t number)
{
    const PastFrame *kept = frame_of(past, number);
    return (JournalRecord){.kind = JOURNAL_FRAME,
                           .bytes = (uint32_t)kept->record.bytes,
                           .data = (const uint8_t *)kept->record.data};
}

/* Runs recorded frames until `frames` are committed. */
static int seek(Past *past, uint64_t frames, Error *err)
{
    Slot *slot = past->slot;
    struct Recorder *recorder = slot->recorder;
    struct Feed *feed = slot->feed;
    Fault fault = {0};
    FaultKind kind = FAULT_NONE;
    slot->recorder = NULL; /* a journal has them already */
    slot->feed = NULL;
    past->seeking = 1;
    while (slot->frames < frames && kind == FAULT_NONE) {
        const JournalRecord record = record_of(past, slot->frames);
        kind = playback_frame(&past->playback, &record, &fault);
    }
    past->seeking = 0;
    slot->recorder = recorder;
    slot->feed = feed;
    if (kind == FAULT_NONE)
        return KEEL_OK;
    swap_recover(slot, &fault);
    slot->faults++;
    slot_frame_retract(slot, NULL);
    inputs_clear(&slot->inputs, 0, NULL);
    return err_set(err, KEEL_EFAULT, "%s: frame %llu of then faulted: %s", slot->name,
                   (unsigned long long)slot->frames, fault.text);
}

int past_go(Past *past, uint64_t frames, Error *err)
{
    Slot *slot = past->slot;
    if (slot->probation.first)
        return err_set(err, KEEL_EBUSY, "%s: a swap is under way", slot->name);
    const Moment *moment = moment_before(past, frames);
    if (!moment || frames > past->last)
        return err_set(err, KEEL_EREFUSED, "%s: nothing of then is kept: %s", slot->name,
                       past->why[0] ? past->why : "it is older than what is kept");
    int code = state_restore_pin(slot->state, moment->pin, err);
    if (code)
        return err_wrap(err, "%s", slot->name);
    if (!past->away) {
        playback_init(&past->playback, slot);
        past->live = slot->inputs.committed;
    }
    past->away = 1;
    past->playing = 0;
    effects_go_back(&slot->effects, &moment->effects);
    memcpy(slot->random, moment->random, sizeof slot->random);
    slot->frames = moment->frames;
    slot->branch++; /* less frames, but newer than what was kept of the later ones */
    slot->last_time_ns = moment->last_ns;
    slot->wall_ns = moment->wall_ns;
    slot->redeliver = 0;
    inputs_clear(&slot->inputs, 0, &past->live);
    slot->inputs.committed = moment->input;
    slot->inputs.resync = 0;
    if (slot->recorder)
        recorder_break(slot->recorder, "it was put back in time");
    feed_break(slot->feed, "the slot was put back in time");
    slot_note(slot);
    code = state_commit(slot->state, err);
    if (code)
        return err_wrap(err, "%s", slot->name);
    return seek(past, frames, err);
}

/* Moments later than where the slot is belong to another course of things. */
static void drop_later_moments(Past *past)
{
    while (past->moment_count && past->moments[past->moment_count - 1].frames > past->slot->frames)
        drop_moment(past, past->moment_count - 1);
}

void past_play(Past *past)
{
    if (!past->away)
        return;
    drop_later_moments(past);
    past->playing = 1;
    if (!past_playing(past))
        past_go_on(past);
}

int past_playing(const Past *past)
{
    return past->playing && past->slot->frames >= past->first && past->slot->frames < past->last;
}

int64_t past_next_ns(const Past *past)
{
    return frame_of(past, past->slot->frames)->frame.time_ns;
}

void past_open(Past *past)
{
    const JournalRecord record = record_of(past, past->slot->frames);
    /* What comes now is of another time. */
    inputs_clear(&past->slot->inputs, TWEAK_EVENT, &past->live);
    playback_open(&past->playback, &record);
}

void past_go_on(Past *past)
{
    if (!past->away)
        return;
    past->away = past->playing = 0;
    playback_done(&past->playback);
    past->slot->inputs.committed = past->live;
    input_state_next(&past->slot->inputs.committed);
    past->slot->inputs.resync = 1;
    effects_release(&past->slot->effects);
    drop_later_moments(past);
    if (past->slot->frames >= past->first && past->slot->frames < past->last) {
        drop_frames(past, past->slot->frames, past->last);
        past->last = past->slot->frames;
    }
}
