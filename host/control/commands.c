/* What `keel ctl` can ask of a host. Runs on the engine thread; what needs the slots is asked at
 * their boundary and answered later. Owns the server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/commands.h"
#include "control/input_words.h"
#include "control/limits.h"
#include "control/message.h"
#include "control/server.h"
#include "host/host.h"

enum { LOG_MOST = LOG_RECORDS };

/* ---- status ---- */

typedef struct StatusAnswer {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    uint64_t frames;
    HostPast past;
    int count;
    struct keel_slot_status slots[];
} StatusAnswer;

static json_t *hex(uint64_t value)
{
    return json_sprintf("0x%llx", (unsigned long long)value);
}

static json_t *slot_json(int number, const struct keel_slot_status *s)
{
    static const char *const phases[] = {"waiting", "running", "probation", "stopped"};
    static const char *const tiers[] = {"auto", "track", "copy", "off"};
    return json_pack(
        "{s:i, s:o, s:o, s:o, s:I, s:s, s:s, s:o, s:{s:s, s:o, s:I, s:I, s:I}, s:s, s:i, s:I, s:I, "
        "s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:I, s:I, s:s, s:s, s:o}",
        "slot", number, "name", message_text(s->name), "path", message_text(s->path), "version",
        message_text(s->version), "generation", (json_int_t)s->generation, "build_id", s->build_id,
        "hash", s->hash, "load_address", hex(s->load_address), "state", "tier",
        tiers[s->state_tier & 3], "tier_reason", message_text(s->tier_reason), "used_bytes",
        (json_int_t)s->state_bytes, "live_objects", (json_int_t)s->state_objects,
        "dirty_pages_last", (json_int_t)s->state_dirty_pages, "phase", phases[s->phase & 3],
        "probation_left", (int)s->probation_left, "frames", (json_int_t)s->frames, "faults",
        (json_int_t)s->faults, "undone", (json_int_t)s->undone, "set_aside",
        (json_int_t)s->inputs_set_aside, "swaps", (json_int_t)s->swaps, "refused",
        (json_int_t)s->refused, "rolled_back", (json_int_t)s->rolled_back, "pause_us",
        (double)s->pause_ns / 1e3, "last", message_text(s->last), "alarms", (json_int_t)s->alarms,
        "counter", (json_int_t)s->counter, "signer", s->signer, "equal", s->equal, "changes",
        message_text(s->changes));
}

static json_t *host_json(const Host *host, uint64_t frames, const HostPast *past)
{
    double uptime = (double)(clock_now_ns() - host->opened_ns) / 1e9;
    return json_pack(
        "{s:i, s:s, s:o, s:f, s:I, s:f, s:b, s:s?, s:{s:f, s:I, s:o}}", "pid", (int)getpid(),
        "version", KEEL_VERSION, "abi", json_sprintf("%u.%u", KEEL_ABI >> 16, KEEL_ABI & 0xffff),
        "uptime_s", uptime, "frames", (json_int_t)frames, "fps",
        uptime > 0 ? (double)frames / uptime : 0.0, "paused", (int)atomic_load(&host->paused),
        "trust", host->trust ? trust_keys_text(host->trust) : NULL, "rewind", "seconds",
        (double)past->reach_ns / 1e9, "bytes", (json_int_t)past->bytes, "why",
        message_text(past->why));
}

static void status_reply(void *user)
{
    StatusAnswer *answer = user;
    json_t *slots = json_array();
    for (int i = 0; i < answer->count; i++)
        json_array_append_new(slots, slot_json(i, &answer->slots[i]));
    request_reply(answer->request, json_pack("{s:o, s:o, s:o}", "host",
                                             host_json(answer->host, answer->frames, &answer->past),
                                             "slots", slots, "limits", limits_json()));
    free(answer);
}

static void status_at_boundary(void *user)
{
    StatusAnswer *answer = user;
    answer->frames = answer->host->frames;
    host_past_status(answer->host, &answer->past);
    for (int i = 0; i < answer->count; i++)
        host_fill_status(answer->host->slots[i], &answer->slots[i]);
    if (loop_send(answer->host->loop, &answer->errand.back, status_reply, answer))
        free(answer);
}

static void run_status(Request *request, void *user)
{
    Host *host = user;
    int count = atomic_load(&host->slot_count);
    StatusAnswer *answer = calloc(1, sizeof *answer + (size_t)count * sizeof answer->slots[0]);
    if (!answer) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    answer->host = host;
    answer->request = request;
    answer->count = count;
    boundary_send(&host->boundary, &answer->errand.there, status_at_boundary, answer);
}

/* ---- swap and rollback ---- */

static json_t *said(Slot *slot)
{
    char text[SLOT_SAID_BYTES];
    slot_said(slot, text);
    return message_text(text);
}

static void swap_over(Group *group, const Error *err, void *user)
{
    Request *request = user;
    if (err->code) {
        request_fail(request, err->code, "%s", err->text);
        return;
    }
    json_t *slots = json_array();
    for (uint32_t i = 0; group && i < group->count; i++) {
        const Attempt *attempt = &group->attempts[i];
        json_array_append_new(
            slots,
            json_pack("{s:o, s:I, s:I, s:f, s:o, s:o}", "name", message_text(attempt->slot->name),
                      "from", (json_int_t)attempt->expected, "generation",
                      (json_int_t)attempt->number, "pause_us", (double)group->pause_ns / 1e3,
                      "changes", message_text(attempt->changes), "text", said(attempt->slot)));
    }
    request_reply(request, json_pack("{s:o}", "slots", slots));
}

Slot *control_named(Host *host, Request *request, const char *name)
{
    Slot *slot = host_find_slot(host, name);
    if (slot)
        return slot;
    Buf names = {0};
    for (int i = 0; i < atomic_load(&host->slot_count); i++)
        buf_printf(&names, "%s%s", i ? ", " : "", host->slots[i]->name);
    if (name && *name)
        request_fail(request, KEEL_ENOTFOUND, "no slot is called %s: there is %s", name,
                     names.bytes ? buf_text(&names) : "none");
    else
        request_fail(request, KEEL_EINVAL, "which slot? there is %s",
                     names.bytes ? buf_text(&names) : "none");
    buf_done(&names);
    return NULL;
}

static void run_swap(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const json_t *list = json_object_get(args, "slots");
    const char *file = json_string_value(json_object_get(args, "file"));
    uint32_t flags = (json_is_true(json_object_get(args, "retry")) ? SWAP_RETRY : 0u) |
                     (json_is_true(json_object_get(args, "same")) ? SWAP_SAME : 0u);
    Slot *slots[GROUP_SLOTS];
    const char *paths[GROUP_SLOTS] = {0};
    size_t count = list ? json_array_size(list) : 0;
    if (list && !json_is_array(list)) {
        request_fail(request, KEEL_EINVAL, "slots must be a list of names");
        return;
    }
    if (count > GROUP_SLOTS) {
        request_fail(request, KEEL_ELIMIT, "one swap takes at most %d slots", GROUP_SLOTS);
        return;
    }
    if (!count) {
        if (!(slots[0] = control_named(host, request, NULL)))
            return;
        count = 1;
    } else {
        for (size_t i = 0; i < count; i++) {
            const char *name = json_string_value(json_array_get(list, i));
            if (!(slots[i] = control_named(host, request, name ? name : "?")))
                return;
        }
    }
    if (file && count > 1) {
        request_fail(request, KEEL_EINVAL, "a file can be given for one slot only");
        return;
    }
    paths[0] = file;
    Error err = {0};
    if (host_swap_begin(host, slots, paths, NULL, (uint32_t)count, flags, swap_over, request, &err))
        request_fail(request, err.code, "%s", err.text);
}

typedef struct BackAnswer {
    Request *request;
    Slot *slot;
} BackAnswer;

/* During probation there is no group: the old generation was ready. */
static void back_over(Group *group, const Error *err, void *user)
{
    BackAnswer *answer = user;
    if (group || err->code)
        swap_over(group, err, answer->request);
    else
        request_reply(answer->request, json_pack("{s:[{s:s, s:o}]}", "slots", "name",
                                                 answer->slot->name, "text", said(answer->slot)));
    free(answer);
}

static void run_rollback(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const char *state = json_string_value(json_object_get(args, "state"));
    if (state && strcmp(state, "now") && strcmp(state, "before")) {
        request_fail(request, KEEL_EINVAL, "state is \"now\" or \"before\", not \"%.40s\"", state);
        return;
    }
    Slot *slot = control_named(host, request, json_string_value(json_object_get(args, "slot")));
    if (!slot)
        return;
    Error err = {0};
    BackAnswer *answer = malloc(sizeof *answer);
    if (!answer) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    *answer = (BackAnswer){request, slot};
    if (host_rollback_begin(host, slot, state && !strcmp(state, "before"), back_over, answer,
                            &err)) {
        request_fail(request, err.code, "%s", err.text);
        free(answer);
    }
}

/* ---- the rest ---- */

static void run_send(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const json_t *text = json_object_get(args, "text");
    const json_t *tag = json_object_get(args, "tag");
    if (!json_is_string(text) || (tag && !json_is_integer(tag))) {
        request_fail(request, KEEL_EINVAL, "send takes text, a string, and may have tag, a number");
        return;
    }
    Slot *slot = control_named(host, request, json_string_value(json_object_get(args, "slot")));
    if (!slot)
        return;
    if (keel_slot_send(slot, (uint64_t)json_integer_value(tag), json_string_value(text),
                       json_string_length(text)))
        request_fail(request, KEEL_ENOMEM, "no memory for a message");
    else
        request_reply(request, json_object());
}

typedef struct InputAnswer {
    LoopPost back;
    Host *host;
    Request *request;
} InputAnswer;

static void input_reply(void *user)
{
    InputAnswer *answer = user;
    request_reply(answer->request, json_object());
    free(answer);
}

static void input_given(void *user)
{
    InputAnswer *answer = user;
    if (loop_send(answer->host->loop, &answer->back, input_reply, answer))
        free(answer);
}

static void run_input(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const char *name = json_string_value(json_object_get(args, "slot"));
    Slot *slot = name ? control_named(host, request, name) : NULL;
    if (name && !slot)
        return;
    Error err = {0};
    HostInputStep *steps;
    uint32_t count;
    if (input_words_read(json_object_get(args, "steps"), slot, &steps, &count, &err)) {
        request_fail(request, err.code, "%s", err.text);
        return;
    }
    InputAnswer *answer = malloc(sizeof *answer);
    if (!answer) {
        host_input_steps_free(steps, count);
        request_fail(request, KEEL_ENOMEM, "no memory for the inputs");
        return;
    }
    *answer = (InputAnswer){.host = host, .request = request};
    if (host_input_script(host, steps, count, input_given, answer)) {
        free(answer);
        request_fail(request, KEEL_ENOMEM, "no memory for the inputs");
    }
}

static json_t *record_json(const LogRecord *record)
{
    char room[sizeof record->room + 1], text[LOG_TEXT_BYTES + 1];
    snprintf(room, sizeof room, "%.*s", (int)sizeof record->room, record->room);
    snprintf(text, sizeof text, "%.*s", LOG_TEXT_BYTES, record->text);
    return json_pack("{s:I, s:f, s:s, s:o, s:o}", "seq", (json_int_t)record->seq, "time",
                     (double)record->wall_ns / 1e9, "level", log_level_name(record->level), "room",
                     message_text(room), "text", message_text(text));
}

static void run_log(Request *request, void *user)
{
    (void)user;
    const json_t *args = request_args(request);
    json_int_t count = json_integer_value(json_object_get(args, "count"));
    json_int_t after = json_integer_value(json_object_get(args, "after"));
    if (count <= 0 || count > LOG_MOST)
        count = LOG_MOST;
    uint64_t newest = log_newest(), from = after > 0 ? (uint64_t)after : 0;
    if (newest > (uint64_t)count && from < newest - (uint64_t)count)
        from = newest - (uint64_t)count;
    LogRecord *records = calloc((size_t)count, sizeof *records);
    if (!records) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    int n = log_read(from, records, (int)count);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, record_json(&records[i]));
    free(records);
    request_reply(request, json_pack("{s:o, s:I}", "records", list, "newest", (json_int_t)newest));
}

static void run_quit(Request *request, void *user)
{
    Host *host = user;
    atomic_store(&host->quit, 1);
    boundary_wake(&host->boundary);
    request_reply(request, json_object());
}

static const Command commands[] = {
    {"status", "what runs: slots, generations, state, limits", run_status},
    {"swap", "look at the files now and swap: {slots: [names], file, retry, same}", run_swap},
    {"rollback", "back to the generation before: {slot, state: now|before}", run_rollback},
    {"send", "a message to the module: {slot, text, tag}", run_send},
    {"input", "what somebody would do by hand: {slot, steps: [\"move 10 20\", \"down\", \"up\"]}",
     run_input},
    {"pause", "stand still or go on: {on: true|false}", control_pause},
    {"frame-step", "while paused, run frames and stand still again: {frames}", control_step},
    {"rewind", "back in time, and play it again: {seconds or frames, replay}", control_rewind},
    {"tweak", "what can be set, or set one: {slot, set, value}", control_tweak},
    {"screenshot", "write the next picture as PNG: {file}, an absolute path", control_screenshot},
    {"snapshot", "write a slot's state to a file: {slot, file}, an absolute path",
     control_snapshot},
    {"state-set", "exchange bytes of a state: {slot, address, was, is}, hexadecimal", control_set},
    {"log", "the last records: {count, after}", run_log},
    {"quit", "end the host", run_quit},
    {NULL, NULL, NULL}};

static void close_server(void *server)
{
    server_free(server);
}

int keel_host_serve(keel_host *host, const char *name)
{
    Error err = {0};
    Server *server;
    if (host->control)
        return host_failed(&(Error){KEEL_EBUSY, "this host has its control socket already"});
    if (server_new(host->loop, name, commands, host, &server, &err))
        return host_failed(&err);
    log_info("control", "keel ctl --socket %s", server_path(server));
    host->control = server;
    host->control_close = close_server;
    return KEEL_OK;
}
