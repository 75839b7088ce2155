/* The commands of a live session: standing still, going on by single frames, setting tweaks. What
 * needs slots is done at their boundary and answered on the engine thread. */
#include <keel/tweak.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "control/commands.h"
#include "control/message.h"
#include "swap/past.h"

enum { STEPS_MOST = 100000 };

void control_pause(Request *request, void *user)
{
    Host *host = user;
    const json_t *on = json_object_get(request_args(request), "on");
    uint32_t paused = json_is_boolean(on) ? (uint32_t)json_is_true(on) : 1;
    keel_host_pause(host, paused);
    request_reply(request, json_pack("{s:b}", "paused", (int)paused));
}

/* ---- single frames ---- */

typedef struct Step {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    uint32_t count;
    uint64_t frames; /* the host's, afterwards */
} Step;

static void stepped(void *user)
{
    Step *step = user;
    request_reply(step->request,
                  json_pack("{s:b, s:I}", "paused", (int)atomic_load(&step->host->paused), "frames",
                            (json_int_t)step->frames));
    free(step);
}

/* [frame] */
static void steps_over(void *user)
{
    Step *step = user;
    step->frames = step->host->frames;
    if (loop_send(step->host->loop, &step->errand.back, stepped, step))
        free(step);
}

static void begin_steps(void *user)
{
    Step *step = user;
    host_step(step->host, step->count, steps_over, step);
}

void control_step(Request *request, void *user)
{
    Host *host = user;
    const json_t *given = json_object_get(request_args(request), "frames");
    json_int_t frames = given ? json_integer_value(given) : 1;
    if (frames < 1 || frames > STEPS_MOST) {
        request_fail(request, KEEL_EINVAL, "frames is a number from 1 to %d", STEPS_MOST);
        return;
    }
    Step *step = malloc(sizeof *step);
    if (!step) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    *step = (Step){.host = host, .request = request, .count = (uint32_t)frames};
    boundary_send(&host->boundary, &step->errand.there, begin_steps, step);
}

/* ---- back in time ---- */

typedef struct GoBack {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    int64_t back_ns;
    json_int_t frames; /* 0: by time */
    int play;
    int64_t gone_ns; /* how far it went */
    Error err;
} GoBack;

static void gone_back(void *user)
{
    GoBack *back = user;
    if (back->err.code)
        request_fail(back->request, back->err.code, "%s", back->err.text);
    else
        request_reply(back->request,
                      json_pack("{s:f, s:b, s:b}", "seconds", (double)back->gone_ns / 1e9, "replay",
                                back->play, "paused", (int)atomic_load(&back->host->paused)));
    free(back);
}

/* Frames are those of the first slot; all go back by the same time. */
static int64_t target(const GoBack *back)
{
    const Host *host = back->host;
    if (!back->frames || !atomic_load(&host->slot_count) || !host->slots[0]->past)
        return host->module_ns - back->back_ns;
    const Slot *slot = host->slots[0];
    uint64_t frames =
        (uint64_t)back->frames < slot->frames ? slot->frames - (uint64_t)back->frames : 0;
    return past_time_of(slot->past, frames);
}

static void go_back(void *user)
{
    GoBack *back = user;
    int64_t before_ns = back->host->module_ns;
    host_go_back(back->host, target(back), back->play, &back->err);
    back->gone_ns = before_ns - back->host->module_ns;
    if (loop_send(back->host->loop, &back->errand.back, gone_back, back))
        free(back);
}

void control_rewind(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const json_t *seconds = json_object_get(args, "seconds"),
                 *frames = json_object_get(args, "frames");
    double back_s = json_number_value(seconds);
    if ((seconds != NULL) == (frames != NULL) || (seconds && !(back_s > 0 && back_s <= 1e6)) ||
        (frames && json_integer_value(frames) < 1)) {
        request_fail(request, KEEL_EINVAL, "rewind takes seconds or frames, above 0");
        return;
    }
    GoBack *back = malloc(sizeof *back);
    if (!back) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    *back = (GoBack){.host = host,
                     .request = request,
                     .back_ns = (int64_t)(back_s * 1e9),
                     .frames = json_integer_value(frames),
                     .play = json_is_true(json_object_get(args, "replay"))};
    boundary_send(&host->boundary, &back->errand.there, go_back, back);
}

/* ---- tweaks ---- */

typedef struct SlotTweaks {
    uint32_t count;
    Tweak tweak[TWEAKS_MOST];
} SlotTweaks;

typedef struct TweakAnswer {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    int only; /* this slot, -1: all */
    int count;
    char name[TWEAK_NAME_BYTES], text[64]; /* to set; "": only to look */
    Error err;
    SlotTweaks slots[];
} TweakAnswer;

static json_t *tweak_json(const Host *host, const Tweak *tweak)
{
    static const char *const kinds[] = {"real", "int", "switch", "color"};
    char path[sizeof host->sources + TWEAK_FILE_BYTES];
    snprintf(path, sizeof path, "%s%s%s", tweak->file[0] == '/' ? "" : host->sources,
             tweak->file[0] == '/' || !host->sources[0] ? "" : "/", tweak->file);
    return json_pack("{s:o, s:s, s:f, s:f, s:f, s:f, s:o}", "name", message_text(tweak->name),
                     "kind", kinds[tweak->kind & 3], "value", tweak->value, "initial",
                     tweak->initial, "least", tweak->least, "most", tweak->most, "file",
                     message_text(path));
}

static void tweak_reply(void *user)
{
    TweakAnswer *answer = user;
    json_t *slots = json_array();
    for (int i = 0; i < answer->count && !answer->err.code; i++) {
        json_t *list = json_array();
        for (uint32_t t = 0; t < answer->slots[i].count; t++)
            json_array_append_new(list, tweak_json(answer->host, &answer->slots[i].tweak[t]));
        json_array_append_new(slots, json_pack("{s:o, s:o}", "name",
                                               message_text(answer->host->slots[i]->name), "tweaks",
                                               list));
    }
    if (answer->err.code)
        request_fail(answer->request, answer->err.code, "%s", answer->err.text);
    else
        request_reply(answer->request, json_pack("{s:O}", "slots", slots));
    json_decref(slots);
    free(answer);
}

/* "9.5", "on", "#ff8800" or "default" as the tweak's value. */
static int parse_value(const Tweak *tweak, const char *text, double *ret, Error *err)
{
    static const char *const what[] = {"a number", "a whole number", "on or off",
                                       "a color as #ff8800"};
    char *end;
    if (!strcmp(text, "default")) {
        *ret = tweak->initial;
        return KEEL_OK;
    }
    if (tweak->kind == KEEL_TWEAK_SWITCH && (!strcmp(text, "on") || !strcmp(text, "off"))) {
        *ret = !strcmp(text, "on");
        return KEEL_OK;
    }
    if (tweak->kind == KEEL_TWEAK_COLOR && text[0] == '#') {
        size_t digits = strspn(text + 1, "0123456789abcdefABCDEF");
        unsigned long long color = strtoull(text + 1, &end, 16);
        *ret = (double)(digits == 6 ? color << 8 | 255 : color);
        if (digits != 6 && digits != 8)
            end = (char *)(uintptr_t)text; /* no color */
    } else {
        *ret = strtod(text, &end);
    }
    if (end == text || end != text + strlen(text))
        return err_set(err, KEEL_EINVAL, "%s is %s, not \"%s\"", tweak->name, what[tweak->kind & 3],
                       text);
    return KEEL_OK;
}

/* The slot that has the tweak; -1 after the error was set. */
static int slot_of(TweakAnswer *answer, uint32_t *ret_index)
{
    int found = -1, with = 0;
    for (int i = 0; i < answer->count; i++)
        for (uint32_t t = 0; t < answer->slots[i].count; t++)
            if (!strcmp(answer->slots[i].tweak[t].name, answer->name)) {
                found = i;
                with++;
                *ret_index = t;
            }
    if (with > 1) {
        err_set(&answer->err, KEEL_EINVAL, "several slots have a tweak %s: say which by --slot",
                answer->name);
        return -1;
    }
    return found;
}

static void list_tweaks(TweakAnswer *answer)
{
    for (int i = 0; i < answer->count; i++) {
        const Slot *slot = answer->host->slots[i];
        answer->slots[i].count = slot->running && (answer->only < 0 || answer->only == i)
                                     ? tweaks_list(&slot->tweaks, slot->state,
                                                   slot->running->number, answer->slots[i].tweak)
                                     : 0;
    }
}

static void set_tweak(TweakAnswer *answer)
{
    uint32_t index = 0;
    int at = slot_of(answer, &index);
    double value = 0;
    if (answer->err.code || (at >= 0 && !answer->text[0]) ||
        (at >= 0 &&
         parse_value(&answer->slots[at].tweak[index], answer->text, &value, &answer->err)))
        return;
    for (int i = 0; at < 0 && i < answer->count; i++) /* its sentence names those that are near */
        if (answer->slots[i].count)
            at = i;
    if (at < 0)
        at = answer->only < 0 ? 0 : answer->only;
    Slot *slot = answer->host->slots[at];
    if (!slot->running)
        err_set(&answer->err, KEEL_EBUSY, "%s: nothing runs", slot->name);
    else
        tweaks_set(&slot->tweaks, slot->running->number, answer->name, value, &slot->inputs,
                   slot->effects.now_ns, &answer->err);
}

static void tweak_at_boundary(void *user)
{
    TweakAnswer *answer = user;
    list_tweaks(answer);
    if (answer->name[0] && answer->count) {
        set_tweak(answer);
        list_tweaks(answer);
    }
    if (loop_send(answer->host->loop, &answer->errand.back, tweak_reply, answer))
        free(answer);
}

void control_tweak(Request *request, void *user)
{
    Host *host = user;
    const json_t *args = request_args(request);
    const json_t *name = json_object_get(args, "set"), *value = json_object_get(args, "value");
    const char *slot_name = json_string_value(json_object_get(args, "slot"));
    const Slot *slot = slot_name ? control_named(host, request, slot_name) : NULL;
    if (slot_name && !slot)
        return;
    if (name && (!json_is_string(name) || !*json_string_value(name) || !json_is_string(value))) {
        request_fail(request, KEEL_EINVAL, "tweak takes set and value, two strings");
        return;
    }
    int count = atomic_load(&host->slot_count);
    TweakAnswer *answer = calloc(1, sizeof *answer + (size_t)count * sizeof answer->slots[0]);
    if (!answer) {
        request_fail(request, KEEL_ENOMEM, "no memory for the answer");
        return;
    }
    *answer = (TweakAnswer){
        .host = host, .request = request, .only = slot ? (int)slot->number : -1, .count = count};
    if (name) {
        snprintf(answer->name, sizeof answer->name, "%s", json_string_value(name));
        snprintf(answer->text, sizeof answer->text, "%s", json_string_value(value));
    }
    boundary_send(&host->boundary, &answer->errand.there, tweak_at_boundary, answer);
}
