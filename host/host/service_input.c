/* keel.input/1: the slot's inputs of this frame, and what the frame wants of its window. [frame] */
#include <math.h>

#include <keel/input.h>

#include "host/services.h"

static const struct keel_input_state *state(keel *k)
{
    const Slot *slot = service_slot(k);
    return slot ? &slot->inputs.now : NULL;
}

/* An input lies behind its event, which lies at the head of an Input. */
static const struct keel_input *next(keel *k, const struct keel_input *after)
{
    const Slot *slot = service_slot(k);
    if (!slot)
        return NULL;
    const Input *at = slot->inputs.taken;
    if (after) {
        while (at && at->event.data != after)
            at = at->next;
        if (!at)
            return NULL;
        at = at->next;
    }
    for (; at; at = at->next) {
        const struct keel_input *input = input_of_event(&at->event);
        if (input)
            return input;
    }
    return NULL;
}

static int32_t text_area(keel *k, float x, float y, float w, float h)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    if (!isfinite(x) || !isfinite(y) || !isfinite(w) || !isfinite(h))
        return KEEL_EINVAL;
    slot->effects.wants.text = 1;
    slot->effects.wants.area[0] = x;
    slot->effects.wants.area[1] = y;
    slot->effects.wants.area[2] = w;
    slot->effects.wants.area[3] = h;
    return KEEL_OK;
}

static int32_t cursor(keel *k, uint32_t shape)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    if (shape > KEEL_CURSOR_HIDDEN)
        return KEEL_EINVAL;
    slot->effects.wants.cursor = shape;
    return KEEL_OK;
}

static int32_t clipboard_put(keel *k, const char *text, uint64_t bytes)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    if (bytes > KEEL_CLIPBOARD_BYTES_MOST)
        return KEEL_ELIMIT;
    service_probe(text, bytes);
    guard_host_enter();
    int rc = wants_copy(&slot->effects.wants, text, bytes);
    guard_host_leave();
    return rc;
}

static int32_t clipboard_ask(keel *k, uint64_t tag)
{
    Slot *slot = service_slot(k);
    return slot ? wants_paste(&slot->effects.wants, tag) : KEEL_ETHREAD;
}

const struct keel_input_1 service_input_1 = {.size = sizeof service_input_1,
                                             .state = state,
                                             .next = next,
                                             .text_area = text_area,
                                             .cursor = cursor,
                                             .clipboard_put = clipboard_put,
                                             .clipboard_ask = clipboard_ask};
