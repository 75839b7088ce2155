/* Inputs on their way to the slots: from the window, the embedding program, scripts and the
 * clipboard. Owns scripts and the clipboard of hosts without a window. Frame thread, but where
 * host.h says otherwise. */
#include <stdlib.h>
#include <string.h>

#include "host/host.h"

/* ---- one input ---- */

typedef struct Mail {
    Host *host;
    Slot *slot; /* NULL: all */
    struct keel_event event;
    struct keel_input input;
    char text[];
} Mail;

static void give(Slot *slot, struct keel_event *event)
{
    event->time_ns = slot->effects.now_ns;
    if (slot_stands_still(slot))
        inputs_skip(&slot->inputs, event);
    else
        inputs_put_input(&slot->inputs, event);
}

static void give_all(Host *host, Slot *slot, struct keel_event *event)
{
    if (slot) {
        give(slot, event);
        return;
    }
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++)
        give(host->slots[i], event);
}

static void deliver(void *user)
{
    Mail *mail = user;
    Host *host = mail->host;
    if (mail->slot || !host->over || !host->over(host->over_user, host, &mail->input))
        give_all(host, mail->slot, &mail->event);
    free(mail);
}

static int check(const struct keel_input *input, uint64_t bytes)
{
    if (input->size < sizeof *input)
        return host_failed(
            &(Error){KEEL_EABI, "the input is shorter than this host's struct keel_input"});
    if (!input->what || input->what > KEEL_INPUT_RESIZE)
        return host_failed(&(Error){KEEL_EINVAL, "there is no such input (KEEL_INPUT_…)"});
    if (bytes > KEEL_CLIPBOARD_BYTES_MOST)
        return host_failed(&(Error){KEEL_ELIMIT, "an input's text has at most 16 MiB"});
    return KEEL_OK;
}

/* Sets what lies in one piece: the input as this host knows it, its text, a 0. */
static Mail *mail_new(Host *host, Slot *slot, const struct keel_input *input, const char *text,
                      size_t bytes, uint64_t tag)
{
    Mail *mail = malloc(sizeof *mail + bytes + 1);
    if (!mail)
        return NULL;
    mail->host = host;
    mail->slot = slot;
    mail->input = *input;
    mail->input.size = sizeof mail->input;
    mail->input.text_bytes = (uint32_t)bytes;
    if (bytes)
        memcpy(mail->text, text, bytes);
    mail->text[bytes] = 0;
    mail->event = (struct keel_event){.kind = KEEL_EVENT_INPUT,
                                      .tag = tag,
                                      .data = &mail->input,
                                      .data_bytes = sizeof mail->input + bytes + 1};
    return mail;
}

static int post(Host *host, Slot *slot, const struct keel_input *input, const char *text,
                uint64_t bytes)
{
    int rc = check(input, bytes);
    if (rc)
        return rc;
    Mail *mail = mail_new(host, slot, input, text, (size_t)bytes, 0);
    if (!mail)
        return host_failed(&(Error){KEEL_ENOMEM, "no memory for an input"});
    boundary_post(&host->boundary, deliver, mail);
    return KEEL_OK;
}

int keel_slot_input(keel_slot *slot, const struct keel_input *input, const char *text,
                    uint64_t bytes)
{
    return post(slot->host, slot, input, text, bytes);
}

int keel_host_input(keel_host *host, const struct keel_input *input, const char *text,
                    uint64_t bytes)
{
    return post(host, NULL, input, text, bytes);
}

/* ---- scripts ---- */

typedef struct HostInputScript HostInputScript;
struct HostInputScript {
    BoundaryMail mail;
    HostInputScript *next;
    Host *host;
    HostInputStep *steps;
    uint32_t count, at;
    LoopFunction *done;
    void *user;
};

void host_input_steps_free(HostInputStep *steps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(steps[i].text);
    free(steps);
}

static void script_free(HostInputScript *script)
{
    host_input_steps_free(script->steps, script->count);
    free(script);
}

static void queue_script(void *user)
{
    HostInputScript *script = user, **end = &script->host->script;
    while (*end)
        end = &(*end)->next;
    *end = script;
}

int host_input_script(Host *host, HostInputStep *steps, uint32_t count, LoopFunction *done,
                      void *user)
{
    HostInputScript *script = calloc(1, sizeof *script);
    if (!script) {
        host_input_steps_free(steps, count);
        return KEEL_ENOMEM;
    }
    *script =
        (HostInputScript){.host = host, .steps = steps, .count = count, .done = done, .user = user};
    boundary_send(&host->boundary, &script->mail, queue_script, script);
    return KEEL_OK;
}

/* The first script goes on, as far as its frame reaches. */
void host_input_before_frame(Host *host)
{
    HostInputScript *script = host->script;
    if (!script)
        return;
    for (int ended = 0; script->at < script->count && !ended; script->at++) {
        HostInputStep *step = &script->steps[script->at];
        ended = step->frame;
        if (ended)
            continue;
        if (step->here) {
            step->input.x = host->script_x;
            step->input.y = host->script_y;
        } else if (step->input.what == KEEL_INPUT_MOVE) {
            step->input.dx = step->input.x - host->script_x;
            step->input.dy = step->input.y - host->script_y;
            host->script_x = step->input.x;
            host->script_y = step->input.y;
        }
        Mail *mail = mail_new(host, step->slot, &step->input, step->text,
                              step->text ? strlen(step->text) : 0, 0);
        if (mail)
            deliver(mail);
    }
    if (script->at < script->count)
        return;
    host->script = script->next;
    if (script->done)
        script->done(script->user);
    script_free(script);
}

/* ---- clipboard, and what the window is to do ---- */

static void put_clipboard(Host *host, char *text, size_t bytes)
{
    if (host->window.clipboard_put) {
        host->window.clipboard_put(text, bytes, host->window.user);
        free(text);
        return;
    }
    free(host->clipboard);
    host->clipboard = text;
}

static void paste(Host *host, Slot *slot, uint64_t tag)
{
    size_t bytes = 0;
    char *text = NULL;
    if (host->window.clipboard_get)
        text = host->window.clipboard_get(&bytes, host->window.user);
    else if (host->clipboard)
        text = strndup(host->clipboard, bytes = strlen(host->clipboard));
    if (!text || bytes > KEEL_CLIPBOARD_BYTES_MOST)
        bytes = 0;
    const struct keel_input input = {.size = sizeof input, .what = KEEL_INPUT_PASTE};
    Mail *mail = mail_new(host, slot, &input, text, bytes, tag);
    if (mail)
        deliver(mail);
    free(text);
}

void host_input_after_frame(Host *host)
{
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++) {
        Wants *wanted = &host->slots[i]->effects.wanted;
        if (wanted->copied) {
            put_clipboard(host, wanted->copied, wanted->copied_bytes);
            wanted->copied = NULL;
        }
    }
    for (int i = 0; i < slots; i++) {
        Wants *wanted = &host->slots[i]->effects.wanted;
        for (uint32_t n = 0; n < wanted->paste_count; n++)
            paste(host, host->slots[i], wanted->pastes[n]);
        wanted->paste_count = 0;
    }
}

void host_wants(const Host *host, HostWants *ret_wants)
{
    *ret_wants = (HostWants){0};
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++) {
        const Wants *wanted = &host->slots[i]->effects.wanted;
        if (slot_stands_still(host->slots[i]))
            continue;
        if (wanted->text) {
            ret_wants->text = 1;
            memcpy(ret_wants->area, wanted->area, sizeof ret_wants->area);
        }
        if (wanted->cursor)
            ret_wants->cursor = wanted->cursor;
    }
}

void host_input_done(Host *host)
{
    for (HostInputScript *script = host->script, *next; script; script = next) {
        next = script->next;
        script_free(script);
    }
    host->script = NULL;
    free(host->clipboard);
    host->clipboard = NULL;
}
