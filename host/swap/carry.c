/* A slot's clock, random numbers and handle tables as bytes. Owns nothing. */
#include "swap/carry.h"

#include <string.h>

#include "swap/effects_parts.h"

typedef struct CarryHead {
    uint32_t version, size;
    uint64_t frames, next_seq;
    int64_t now_ns, wall_ns, last_time_ns;
    uint64_t random[4];
    float screen[3]; /* width, height, scale */
    uint32_t shown;
} CarryHead;

enum { CARRY_VERSION = 2 };

int carry_save(const Slot *slot, Buf *out)
{
    CarryHead head = {
        .version = CARRY_VERSION,
        .size = sizeof head,
        .frames = slot->frames,
        .next_seq = slot->inputs.next_seq - slot->inputs.waiting,
        .now_ns = slot->effects.now_ns,
        .wall_ns = slot->wall_ns,
        .last_time_ns = slot->last_time_ns,
        .screen = {slot->draw.screen.width, slot->draw.screen.height, slot->draw.screen.scale},
        .shown = slot->draw.screen.flags & KEEL_VIEW_SHOWN};
    memcpy(head.random, slot->random, sizeof head.random);
    if (buf_add(out, &head, sizeof head) || timers_save(&slot->effects, out) ||
        tasks_save(&slot->effects, out) || pictures_save(&slot->effects.pictures, out))
        return KEEL_ENOMEM;
    return KEEL_OK;
}

int carry_load(Slot *slot, const void *data, size_t bytes)
{
    CarryHead head;
    Carried in = {data, bytes};
    if (carried_take(&in, &head, sizeof head) || head.version != CARRY_VERSION ||
        head.size != sizeof head)
        return KEEL_EDATA;
    int rc = timers_load(&slot->effects, &in);
    if (!rc)
        rc = tasks_load(&slot->effects, &in);
    if (!rc)
        rc = pictures_load(&slot->effects.pictures, &in);
    if (!rc && in.bytes)
        rc = KEEL_EDATA;
    if (rc)
        return rc;
    slot->frames = head.frames;
    slot->inputs.next_seq = head.next_seq;
    slot->effects.now_ns = head.now_ns;
    slot->wall_ns = head.wall_ns;
    slot->last_time_ns = head.last_time_ns;
    draw_resize(&slot->draw, head.screen);
    slot->draw.screen.flags = head.shown & KEEL_VIEW_SHOWN;
    memcpy(slot->random, head.random, sizeof slot->random);
    memcpy(slot->random_before, head.random, sizeof slot->random_before);
    return KEEL_OK;
}
