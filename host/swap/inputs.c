/* A slot's waiting events and its record of the last frames. Owns both; never calls a module. */
#include "swap/inputs.h"

#include <stdlib.h>
#include <string.h>

void inputs_init(Inputs *inputs)
{
    memset(inputs, 0, sizeof *inputs);
    inputs->last = &inputs->first;
    inputs->committed.size = inputs->now.size = sizeof inputs->now;
}

static void free_list(Input *input)
{
    while (input) {
        Input *next = input->next;
        free(input);
        input = next;
    }
}

void inputs_done(Inputs *inputs)
{
    free_list(inputs->first);
    free_list(inputs->taken);
    for (int i = 0; i < INPUTS_FRAMES; i++)
        buf_done(&inputs->frames[i].data);
    inputs_init(inputs);
}

Input *input_new(const struct keel_event *event, size_t data_bytes)
{
    Input *input = malloc(sizeof *input + data_bytes);
    if (!input)
        return NULL;
    input->event = *event;
    input->event.size = sizeof input->event;
    input->event.data = data_bytes ? input + 1 : NULL;
    input->event.data_bytes = data_bytes;
    input->next = NULL;
    return input;
}

static Input *copy_of(const struct keel_event *event)
{
    size_t bytes = event->data ? (size_t)event->data_bytes : 0;
    Input *input = input_new(event, bytes);
    if (input && bytes)
        memcpy(input + 1, event->data, bytes);
    return input;
}

static int append(Inputs *inputs, Input *input)
{
    if (inputs->waiting >= INPUTS_WAITING) {
        inputs->refused++;
        free(input);
        return KEEL_ELIMIT;
    }
    input->event.seq = ++inputs->next_seq;
    *inputs->last = input;
    inputs->last = &input->next;
    inputs->waiting++;
    return KEEL_OK;
}

int inputs_link_asset(Inputs *inputs, Input *input)
{
    for (Input **at = &inputs->first; *at; at = &(*at)->next) {
        Input *old = *at;
        if (old->event.kind != KEEL_EVENT_ASSET || old->event.handle != input->event.handle ||
            old->event.flags & KEEL_EVENT_REDELIVERED)
            continue;
        *at = old->next;
        if (!old->next)
            inputs->last = at;
        inputs->waiting--;
        free(old);
        break;
    }
    return append(inputs, input);
}

int inputs_put(Inputs *inputs, const struct keel_event *event)
{
    if (inputs->waiting >= INPUTS_WAITING) {
        inputs->refused++;
        return KEEL_ELIMIT;
    }
    Input *input = copy_of(event);
    return input ? append(inputs, input) : KEEL_ENOMEM;
}

/* Adds a move to the one that waits last. */
static int joined(Inputs *inputs, const struct keel_event *event)
{
    if (inputs->waiting < INPUTS_MOVES)
        return 0;
    Input *last = (Input *)((char *)inputs->last - offsetof(Input, next));
    const struct keel_input *before = input_of_event(&last->event);
    const struct keel_input *more = input_of_event(event);
    if (!before || before->what != KEEL_INPUT_MOVE || !more || more->what != KEEL_INPUT_MOVE ||
        before->device != more->device || last->event.flags & KEEL_EVENT_REDELIVERED)
        return 0;
    struct keel_input *input = (struct keel_input *)(last + 1);
    input->x = more->x;
    input->y = more->y;
    input->dx += more->dx;
    input->dy += more->dy;
    input->mods = more->mods;
    last->event.time_ns = event->time_ns;
    return 1;
}

int inputs_put_input(Inputs *inputs, const struct keel_event *event)
{
    return joined(inputs, event) ? KEEL_OK : inputs_put(inputs, event);
}

void inputs_skip(Inputs *inputs, const struct keel_event *event)
{
    const struct keel_input *input = input_of_event(event);
    if (!input)
        return;
    input_state_fold(&inputs->committed, input);
    input_state_next(&inputs->committed);
    inputs->resync = 1;
}

void inputs_go_on(Inputs *inputs, uint64_t seq)
{
    if (inputs->first && inputs->first->event.seq <= seq) {
        for (Input *input = inputs->first; input; input = input->next)
            input->event.seq = ++seq;
        inputs->next_seq = seq;
    } else if (inputs->next_seq < seq) {
        inputs->next_seq = seq;
    }
}

/* The frame is told first how things stand. Without memory it only isn't recorded. */
static void tell_state(Inputs *inputs)
{
    uint64_t after = inputs->taken ? inputs->taken->event.seq : inputs->next_seq + 1;
    const struct keel_event event = {.kind = INPUTS_STATE_EVENT,
                                     .seq = after - 1,
                                     .data = &inputs->committed,
                                     .data_bytes = sizeof inputs->committed};
    Input *state = copy_of(&event);
    if (!state)
        return;
    state->next = inputs->taken;
    inputs->taken = state;
    inputs->resync = 0;
}

static void make_now(Inputs *inputs)
{
    inputs->now = inputs->committed;
    input_state_next(&inputs->now);
    for (const Input *input = inputs->taken; input; input = input->next) {
        const struct keel_input *did = input_of_event(&input->event);
        if (did)
            input_state_fold(&inputs->now, did);
        else if (input->event.kind == INPUTS_STATE_EVENT &&
                 input->event.data_bytes == sizeof inputs->now)
            memcpy(&inputs->now, input->event.data, sizeof inputs->now);
    }
}

const Input *inputs_take(Inputs *inputs)
{
    if (inputs->first) {
        inputs->taken = inputs->first;
        inputs->first = NULL;
        inputs->last = &inputs->first;
        inputs->waiting = 0;
    }
    if (inputs->resync)
        tell_state(inputs);
    make_now(inputs);
    return inputs->taken;
}

static void encode_event(InputFrame *kept, const struct keel_event *event)
{
    size_t need = sizeof *event + (size_t)event->data_bytes;
    if (kept->data.bytes + need > INPUTS_FRAME_BYTES)
        return;
    struct keel_event plain = *event;
    plain.data = NULL; /* an address means nothing elsewhere */
    size_t before = kept->data.bytes;
    if (buf_add(&kept->data, &plain, sizeof plain) ||
        buf_add(&kept->data, event->data, (size_t)event->data_bytes)) {
        kept->data.bytes = before;
        return;
    }
    kept->events++;
}

void inputs_commit(Inputs *inputs, const struct keel_frame *frame)
{
    InputFrame *kept = &inputs->frames[inputs->recorded++ % INPUTS_FRAMES];
    kept->frame = *frame;
    kept->events = 0;
    kept->before = inputs->committed;
    kept->data.bytes = 0;
    inputs->committed = inputs->now;
    if (!inputs->taken)
        return;
    for (Input *input = inputs->taken; input; input = input->next)
        encode_event(kept, &input->event);
    free_list(inputs->taken);
    inputs->taken = NULL;
}

uint32_t inputs_undo(Inputs *inputs)
{
    uint32_t aside = 0;
    Input *again = NULL, **end = &again;
    uint32_t count = 0;
    for (Input *input = inputs->taken, *next; input; input = next) {
        next = input->next;
        if (input->event.flags & KEEL_EVENT_REDELIVERED &&
            input->event.kind != INPUTS_STATE_EVENT) {
            inputs_skip(inputs, &input->event);
            free(input);
            aside++;
            continue;
        }
        input->event.flags |= KEEL_EVENT_REDELIVERED;
        input->next = NULL;
        *end = input;
        end = &input->next;
        count++;
    }
    inputs->taken = NULL;
    inputs->set_aside += aside;
    if (!again)
        return aside;
    *end = inputs->first;
    if (!inputs->first)
        inputs->last = end;
    inputs->first = again;
    inputs->waiting += count;
    return aside;
}

void inputs_put_back(Inputs *inputs)
{
    Input **end = &inputs->taken;
    for (; *end; end = &(*end)->next)
        inputs->waiting++;
    if (!inputs->taken)
        return;
    *end = inputs->first;
    if (!inputs->first)
        inputs->last = end;
    inputs->first = inputs->taken;
    inputs->taken = NULL;
}

void inputs_clear(Inputs *inputs, uint32_t but, struct keel_input_state *state)
{
    Input **at = &inputs->first;
    while (*at) {
        Input *input = *at;
        if (input->event.kind == but || input->event.kind == KEEL_EVENT_ASSET) {
            at = &input->next;
            continue;
        }
        const struct keel_input *did = input_of_event(&input->event);
        if (did && state)
            input_state_fold(state, did);
        *at = input->next;
        free(input);
        inputs->waiting--;
    }
    inputs->last = at;
}

void inputs_drop(Inputs *inputs, uint32_t kind)
{
    Input **at = &inputs->first;
    while (*at) {
        Input *input = *at;
        if (input->event.kind != kind) {
            at = &input->next;
            continue;
        }
        *at = input->next;
        free(input);
        inputs->waiting--;
    }
    inputs->last = at;
}

int inputs_encode(const Inputs *inputs, Buf *out)
{
    uint64_t count = inputs->recorded < INPUTS_FRAMES ? inputs->recorded : INPUTS_FRAMES;
    uint64_t first = inputs->recorded - count;
    for (uint64_t i = first; i < inputs->recorded; i++) {
        const InputFrame *kept = &inputs->frames[i % INPUTS_FRAMES];
        int with_state = i == first && !input_state_plain(&kept->before);
        uint64_t events = kept->events + (uint64_t)with_state;
        if (buf_add(out, &kept->frame, sizeof kept->frame) || buf_add(out, &events, sizeof events))
            return KEEL_ENOMEM;
        struct keel_event before = {
            .size = sizeof before, .kind = INPUTS_STATE_EVENT, .data_bytes = sizeof kept->before};
        if (with_state && (buf_add(out, &before, sizeof before) ||
                           buf_add(out, &kept->before, sizeof kept->before)))
            return KEEL_ENOMEM;
        if (buf_add(out, kept->data.data, kept->data.bytes))
            return KEEL_ENOMEM;
    }
    return KEEL_OK;
}

/* Takes `bytes` bytes off the front; 0 when there are fewer. */
static int take(const uint8_t **at, size_t *left, void *to, size_t bytes)
{
    if (*left < bytes)
        return 0;
    memcpy(to, *at, bytes);
    *at += bytes;
    *left -= bytes;
    return 1;
}

int inputs_decode(const void *data, size_t bytes, const InputsReader *reader)
{
    const uint8_t *at = data;
    size_t left = bytes;
    while (left) {
        struct keel_frame frame;
        uint64_t events;
        if (!take(&at, &left, &frame, sizeof frame) || !take(&at, &left, &events, sizeof events) ||
            frame.size != sizeof frame)
            return KEEL_EDATA;
        int rc = reader->frame(&frame, reader->user);
        if (rc)
            return rc;
        for (; events; events--) {
            struct keel_event event;
            if (!take(&at, &left, &event, sizeof event) || event.size != sizeof event ||
                event.data_bytes > left)
                return KEEL_EDATA;
            event.data = event.data_bytes ? at : NULL;
            at += event.data_bytes;
            left -= (size_t)event.data_bytes;
            rc = reader->event(&event, reader->user);
            if (rc)
                return rc;
        }
    }
    return KEEL_OK;
}
