/* A slot's guarded calls and its frames as transactions. Frame thread. */
#include "swap/slot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "swap/past.h"
#include "swap/feed.h"
#include "swap/brought.h"
#include "swap/last_picture.h"
#include "swap/recorder.h"

/* A save, restore or stop may walk the whole state, and the frame thread waits: ten frames' time,
 * and what reading and writing each MiB at 100 MB/s may take. How much a start will make nobody
 * knows; it has run in the trial before, in less time. */
enum { LONG_CALL = 10, LONG_CALL_MIB_NS = 20 * 1000 * 1000, START_CALL = 100 };

_Thread_local Slot *slot_current;

/* splitmix64 (Steele, Lea and Flood, 2014), which xoshiro's authors recommend for seeding. */
static uint64_t split_mix(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* xoshiro256** (Blackman and Vigna, 2018). */
uint64_t slot_random(Slot *slot)
{
    uint64_t *s = slot->random;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

void slot_init(Slot *slot, State *state, Workers *workers, uint32_t mode, uint64_t seed)
{
    memset(slot, 0, sizeof *slot);
    slot->context.size = sizeof slot->context;
    slot->context.abi = KEEL_ABI;
    slot->context.mode = mode;
    slot->state = state;
    inputs_init(&slot->inputs);
    effects_init(&slot->effects, workers);
    draw_init(&slot->draw);
    breaker_init(&slot->breaker);
    pthread_mutex_init(&slot->last_lock, NULL);
    for (int i = 0; i < 4; i++)
        slot->random[i] = split_mix(&seed);
    memcpy(slot->random_before, slot->random, sizeof slot->random);
    slot->probation_frames = 120;
}

void slot_done(Slot *slot)
{
    effects_done(&slot->effects);
    draw_done(&slot->draw);
    inputs_done(&slot->inputs);
    tweaks_done(&slot->tweaks);
    breaker_done(&slot->breaker);
    pthread_mutex_destroy(&slot->last_lock);
    image_unref(slot->history);
    free(slot->asset_folder);
    brought_free(slot->brought);
    last_picture_free(slot->last_picture);
    buf_done(&slot->keepsake);
    free(slot->kept_modules);
    free(slot->path);
}

void slot_say(Slot *slot, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&slot->last_lock);
    vsnprintf(slot->last, sizeof slot->last, format, args);
    pthread_mutex_unlock(&slot->last_lock);
    va_end(args);
}

void slot_said(Slot *slot, char ret_text[SLOT_SAID_BYTES])
{
    pthread_mutex_lock(&slot->last_lock);
    memcpy(ret_text, slot->last, SLOT_SAID_BYTES);
    pthread_mutex_unlock(&slot->last_lock);
}

/* ---- guarded calls ---- */

FaultKind slot_call(Slot *slot, Generation *generation, int64_t deadline_ns,
                    GuardFunction *function, void *user, Fault *ret_fault)
{
    Slot *outer = slot_current;
    slot_current = slot;
    atomic_fetch_add_explicit(&generation->inside, 1, memory_order_relaxed);
    state_enter(slot->state);
    FaultKind kind = guard_run(generation->number, deadline_ns, function, user, ret_fault);
    state_leave(slot->state);
    atomic_fetch_sub_explicit(&generation->inside, 1, memory_order_release);
    slot_current = outer;
    return kind;
}

typedef struct EntryCall {
    Slot *slot;
    const struct keel_module *table;
    int64_t deadline_ns;
    int32_t answer;
    struct keel_writer writer;
    struct keel_reader reader;
    Buf *out;
    const uint8_t *in;
    int32_t (*body)(void *user, keel *k);
    void *body_user;
} EntryCall;

/* `bytes`: the state or what was saved of it. */
static int64_t long_deadline_ns(const Slot *slot, uint64_t bytes)
{
    int64_t deadline = slot_deadline_ns(slot);
    if (deadline <= 0)
        return deadline;
    return deadline * LONG_CALL + (int64_t)(bytes >> 20) * LONG_CALL_MIB_NS;
}

static int64_t walk_deadline_ns(const Slot *slot)
{
    StateStatus status;
    state_status(slot->state, &status);
    return long_deadline_ns(slot, status.used_bytes);
}

/* Runs one entry and turns an answer other than 0 into FAULT_ERROR with the module's own words. */
static FaultKind entry(Slot *slot, Generation *generation, const char *name,
                       GuardFunction *function, EntryCall *call, Fault *ret_fault)
{
    call->slot = slot;
    call->table = generation->table;
    slot->fail_text[0] = 0;
    slot->fail_code = 0;
    FaultKind kind = slot_call(slot, generation, call->deadline_ns, function, call, ret_fault);
    if (kind != FAULT_NONE || call->answer == 0)
        return kind;
    memset(ret_fault, 0, sizeof *ret_fault);
    ret_fault->kind = FAULT_ERROR;
    ret_fault->code = call->answer;
    snprintf(ret_fault->text, sizeof ret_fault->text, "%s answered %s%s%s", name,
             call->answer < 0 ? err_name(call->answer) : "an error", slot->fail_text[0] ? ": " : "",
             slot->fail_text);
    return FAULT_ERROR;
}

static FaultKind missing(const char *name, Fault *ret_fault)
{
    memset(ret_fault, 0, sizeof *ret_fault);
    ret_fault->kind = FAULT_ERROR;
    ret_fault->code = KEEL_EUNSUPPORTED;
    snprintf(ret_fault->text, sizeof ret_fault->text, "it has no %s hook", name);
    return FAULT_ERROR;
}

static void call_start(void *user)
{
    EntryCall *call = user;
    call->answer = call->table->start(&call->slot->context);
}

FaultKind slot_start(Slot *slot, Generation *generation, Fault *ret_fault)
{
    EntryCall call = {.deadline_ns = slot_deadline_ns(slot) * START_CALL};
    return TABLE_ENTRY(generation->table, start)
               ? entry(slot, generation, "start", call_start, &call, ret_fault)
               : FAULT_NONE;
}

static void call_stop(void *user)
{
    EntryCall *call = user;
    call->table->stop(&call->slot->context);
}

FaultKind slot_stop(Slot *slot, Generation *generation, Fault *ret_fault)
{
    EntryCall call = {.deadline_ns = walk_deadline_ns(slot)};
    return TABLE_ENTRY(generation->table, stop)
               ? entry(slot, generation, "stop", call_stop, &call, ret_fault)
               : FAULT_NONE;
}

static int32_t writer_write(struct keel_writer *writer, const void *data, uint64_t bytes)
{
    EntryCall *call = writer->host;
    const volatile uint8_t *probe = data;
    /* A bad pointer is the module's fault: found before the host is entered. */
    for (uint64_t at = 0; at < bytes; at += 4096)
        (void)probe[at];
    if (bytes)
        (void)probe[bytes - 1];
    guard_host_enter();
    int rc = buf_add(call->out, data, (size_t)bytes);
    guard_host_leave();
    return rc;
}

static void call_save(void *user)
{
    EntryCall *call = user;
    call->writer =
        (struct keel_writer){.size = sizeof call->writer, .host = call, .write = writer_write};
    call->answer = call->table->save(&call->slot->context, &call->writer);
}

FaultKind slot_save(Slot *slot, Generation *generation, Buf *out, uint32_t *ret_version,
                    Fault *ret_fault)
{
    if (!TABLE_ENTRY(generation->table, save))
        return missing("save", ret_fault);
    EntryCall call = {.out = out, .deadline_ns = walk_deadline_ns(slot)};
    FaultKind kind = entry(slot, generation, "save", call_save, &call, ret_fault);
    if (kind == FAULT_NONE)
        *ret_version = call.writer.version;
    return kind;
}

static int32_t reader_read(struct keel_reader *reader, void *data, uint64_t bytes)
{
    EntryCall *call = reader->host;
    if (bytes > reader->left)
        return KEEL_EDATA;
    memcpy(data, call->in, (size_t)bytes);
    call->in += bytes;
    reader->left -= bytes;
    return KEEL_OK;
}

static void call_restore(void *user)
{
    EntryCall *call = user;
    call->answer = call->table->restore(&call->slot->context, &call->reader);
}

FaultKind slot_restore(Slot *slot, Generation *generation, const void *saved, size_t bytes,
                       uint32_t version, Fault *ret_fault)
{
    if (!TABLE_ENTRY(generation->table, restore))
        return missing("restore", ret_fault);
    EntryCall call = {.in = saved, .deadline_ns = long_deadline_ns(slot, bytes)};
    call.reader = (struct keel_reader){.size = sizeof call.reader,
                                       .version = version,
                                       .host = &call,
                                       .left = bytes,
                                       .read = reader_read};
    return entry(slot, generation, "restore", call_restore, &call, ret_fault);
}

static void call_body(void *user)
{
    EntryCall *call = user;
    call->answer = call->body(call->body_user, &call->slot->context);
}

FaultKind slot_convert(Slot *slot, Generation *generation, int32_t (*body)(void *user, keel *k),
                       void *user, Fault *ret_fault)
{
    EntryCall call = {.body = body, .body_user = user, .deadline_ns = walk_deadline_ns(slot)};
    return entry(slot, generation, "its KEEL_CONVERT", call_body, &call, ret_fault);
}

/* ---- frames ---- */

/* The window's size is an input like others, so that a frame that is played again has it. */
static void follow_size(Slot *slot)
{
    for (const Input *input = slot->inputs.taken; input; input = input->next) {
        const struct keel_input *in = keel_event_input(&input->event);
        if (in && in->what == KEEL_INPUT_RESIZE)
            draw_resize(&slot->draw, (const float[3]){in->x, in->y, in->dx > 0 ? in->dx : 1});
    }
}

void slot_frame_open(Slot *slot, int64_t time_ns)
{
    feed_opened(slot->feed);
    slot->frame.size = sizeof slot->frame;
    slot->frame.flags = slot->redeliver ? KEEL_FRAME_REDELIVERED : 0;
    slot->frame.index = slot->frames;
    slot->frame.time_ns = time_ns;
    slot->frame.dt = slot->last_time_ns ? (double)(time_ns - slot->last_time_ns) * 1e-9 : 0;
    slot->wall_ns = clock_wall_ns();
    slot->effects.now_ns = time_ns;
    draw_begin(&slot->draw);
    inputs_take(&slot->inputs);
    follow_size(slot);
    memcpy(slot->random_before, slot->random, sizeof slot->random);
}

static void call_frame(void *user)
{
    Slot *slot = user;
    const struct keel_module *table = slot->running->table;
    for (const Input *input = slot->inputs.taken; input; input = input->next)
        if (input->event.kind == TWEAK_EVENT)
            tweaks_apply(&slot->tweaks, slot->state, &input->event);
        else if (table->event && input->event.kind != INPUTS_STATE_EVENT)
            table->event(&slot->context, &input->event);
    if (table->frame)
        table->frame(&slot->context, &slot->frame);
}

/* Four buckets a doubling from 1 µs on. */
static int bucket(int64_t ns)
{
    uint64_t us4 = (uint64_t)(ns < 0 ? 0 : ns) / 250;
    if (us4 < 4)
        return (int)us4;
    int exponent = 63 - __builtin_clzll(us4);
    int b = (exponent - 1) * 4 + (int)(us4 >> (exponent - 2) & 3);
    return b < DURATION_BUCKETS ? b : DURATION_BUCKETS - 1;
}

static int64_t bucket_top_ns(int b)
{
    if (b < 4)
        return (b + 1) * 250;
    int exponent = b / 4 + 1;
    return (int64_t)((uint64_t)(4 + b % 4 + 1) << (exponent - 2)) * 250;
}

static void measure(Durations *durations, int64_t ns)
{
    durations->count[bucket(ns)]++;
    if (++durations->total % 256)
        return;
    uint32_t above = 0, allowed = durations->total / 1000;
    int b = DURATION_BUCKETS - 1;
    while (b > 0 && above + durations->count[b] <= allowed)
        above += durations->count[b--];
    durations->p999_ns = bucket_top_ns(b);
    if (durations->total >= UINT32_C(1) << 20) { /* older frames count half */
        durations->total = 0;
        for (int i = 0; i < DURATION_BUCKETS; i++)
            durations->total += durations->count[i] /= 2;
    }
}

int64_t slot_deadline_ns(const Slot *slot)
{
    if (slot->deadline_option_ns)
        return slot->deadline_option_ns < 0 ? 0 : slot->deadline_option_ns;
    int64_t floor_ns = 100 * 1000000, ten = slot->durations.p999_ns * 10;
    return ten > floor_ns ? ten : floor_ns;
}

FaultKind slot_frame_run(Slot *slot, Fault *ret_fault)
{
    int64_t before = clock_now_ns();
    FaultKind kind =
        slot_call(slot, slot->running, slot_deadline_ns(slot), call_frame, slot, ret_fault);
    if (kind == FAULT_NONE)
        measure(&slot->durations, clock_now_ns() - before);
    return kind;
}

void slot_note(Slot *slot)
{
    if (!slot->kept)
        return;
    if (!slot->running && slot->brought)
        state_note(slot->state, slot->brought->note.data, slot->brought->note.bytes);
    else if (!slot->running)
        state_note(slot->state, "", 0); /* nobody's state: a start is anew */
    else if (keepsake_encode(slot, &slot->keepsake) == KEEL_OK)
        state_note(slot->state, slot->keepsake.data, slot->keepsake.bytes);
}

int slot_frame_commit(Slot *slot, Error *err)
{
    if (slot->recorder)
        recorder_gather(slot->recorder, slot);
    if (slot->past)
        past_gather(slot->past);
    feed_gather(slot->feed, slot);
    effects_commit(&slot->effects);
    draw_commit(&slot->draw);
    inputs_commit(&slot->inputs, &slot->frame);
    slot->last_time_ns = slot->frame.time_ns;
    slot->frames++;
    slot->redeliver = 0;
    slot_note(slot);
    if (slot->brought) {
        if (slot->probation.before && !slot->probation.old)
            slot->probation.brought = slot->brought; /* it may be needed again */
        else
            brought_free(slot->brought);
        slot->brought = NULL;
    }
    if (slot->last_picture) {
        last_picture_free(slot->last_picture);
        slot->last_picture = NULL;
    }
    int code = state_commit(slot->state, err);
    atomic_store_explicit(&slot->running->life, state_life(slot->state), memory_order_relaxed);
    if (slot->recorder)
        recorder_frame(slot->recorder, slot);
    if (slot->past)
        past_frame(slot->past);
    feed_frame(slot->feed, slot);
    return code;
}

int slot_frame_undo(Slot *slot, Error *err)
{
    inputs_undo(&slot->inputs);
    slot->redeliver = 1;
    slot->undone++;
    feed_undone(slot->feed);
    return slot_frame_retract(slot, err);
}

int slot_frame_retract(Slot *slot, Error *err)
{
    effects_undo(&slot->effects);
    inputs_put_back(&slot->inputs);
    memcpy(slot->random, slot->random_before, sizeof slot->random);
    return state_undo(slot->state, err);
}
