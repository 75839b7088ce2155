/* A slot beside its memory, as bytes and back. Owns nothing but what decoding makes. */
#include "swap/keepsake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

typedef struct TimerBytes {
    int64_t due_ns, period_ns;
    uint64_t tag;
    uint32_t generation, state;
} TimerBytes;

typedef struct TaskBytes {
    uint64_t tag;
    uint32_t generation, there, op, reserved;
} TaskBytes;

static void fill_head(const Slot *slot, KeepsakeHead *head)
{
    *head = (KeepsakeHead){.version = VERSION,
                           .bytes = sizeof *head,
                           .frames = slot->frames,
                           .branch = slot->branch,
                           .next_seq = slot->inputs.next_seq,
                           .last_time_ns = slot->last_time_ns,
                           .wall_ns = slot->wall_ns,
                           .timers = slot->effects.timer_top,
                           .tasks = slot->effects.task_top};
    memcpy(head->random, slot->random, sizeof head->random);
    const Generation *g = slot->running;
    if (!g)
        return;
    head->image_low = g->image->hash.low;
    head->image_high = g->image->hash.high;
    head->load_first = g->load_first;
    head->load_last = g->load_last;
    head->span_count = (uint32_t)g->static_count;
    for (int i = 0; i < g->static_count; i++) {
        head->span_address[i] = (uintptr_t)g->statics[i].address;
        head->span_bytes[i] = g->statics[i].bytes;
    }
    memcpy(head->module, g->image->name, sizeof head->module);
    memcpy(head->module_version, g->image->version, sizeof head->module_version);
    memcpy(head->build_id, g->image->build_id, sizeof g->image->build_id);
    strncpy(head->path, g->image->path, sizeof head->path - 1);
}

int keepsake_encode(const Slot *slot, Buf *out)
{
    KeepsakeHead head;
    const Effects *effects = &slot->effects;
    out->bytes = 0;
    fill_head(slot, &head);
    int rc = buf_add(out, &head, sizeof head);
    for (uint32_t i = 0; i < head.timers && !rc; i++) {
        const Timer *t = &effects->timers[i];
        const TimerBytes bytes = {t->due_ns, t->period_ns, t->tag, t->generation, t->state};
        rc = buf_add(out, &bytes, sizeof bytes);
    }
    for (uint32_t i = 0; i < head.tasks && !rc; i++) {
        const TaskPlace *place = &effects->tasks[i];
        const TaskBytes bytes = {.tag = place->task ? place->task->tag : 0,
                                 .generation = place->generation,
                                 .there = place->task != NULL,
                                 .op = place->task ? place->task->op : 0};
        rc = buf_add(out, &bytes, sizeof bytes);
    }
    return rc;
}

static int ended(const char *text, size_t bytes)
{
    return memchr(text, 0, bytes) != NULL;
}

static int head_good(const KeepsakeHead *h, size_t bytes)
{
    if (h->version != VERSION || h->bytes != sizeof *h || h->timers > EFFECTS_TIMERS ||
        h->tasks > EFFECTS_TASKS || h->span_count > GENERATION_STATICS ||
        h->load_first > h->load_last ||
        bytes != sizeof *h + h->timers * sizeof(TimerBytes) + h->tasks * sizeof(TaskBytes))
        return 0;
    for (uint32_t i = 0; i < h->span_count; i++)
        if (h->span_address[i] < h->load_first || h->span_bytes[i] > h->load_last - h->load_first ||
            h->span_address[i] > h->load_last - h->span_bytes[i])
            return 0;
    return ended(h->module, sizeof h->module) && ended(h->path, sizeof h->path) &&
           ended(h->module_version, sizeof h->module_version) &&
           ended(h->build_id, sizeof h->build_id);
}

static int read_timers(Keepsake *k, const uint8_t *at)
{
    EffectsPast *past = &k->effects;
    past->timer_top = k->head.timers;
    past->timer_next_ns = INT64_MAX;
    past->timers = calloc(past->timer_top + 1, sizeof *past->timers);
    if (!past->timers)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < past->timer_top; i++) {
        TimerBytes t;
        memcpy(&t, at + i * sizeof t, sizeof t);
        int running = effects_timer_runs(t.state);
        past->timers[i] = (Timer){.due_ns = t.due_ns,
                                  .period_ns = t.period_ns > 0 ? t.period_ns : 0,
                                  .tag = t.tag,
                                  .generation = t.generation,
                                  .state = running ? (uint8_t)t.state : 0};
        past->timer_count += (uint32_t)running;
        if (running && t.due_ns < past->timer_next_ns)
            past->timer_next_ns = t.due_ns;
    }
    return KEEL_OK;
}

int keepsake_decode(const void *data, size_t bytes, Keepsake *ret)
{
    Keepsake k = {0};
    if (bytes < sizeof k.head)
        return KEEL_EDATA;
    memcpy(&k.head, data, sizeof k.head);
    if (!head_good(&k.head, bytes))
        return KEEL_EDATA;
    const uint8_t *at = (const uint8_t *)data + sizeof k.head;
    int rc = read_timers(&k, at);
    at += k.head.timers * sizeof(TimerBytes);
    k.effects.task_top = k.head.tasks;
    k.effects.tasks = calloc(k.head.tasks + 1, sizeof *k.effects.tasks);
    if (rc || !k.effects.tasks) {
        keepsake_done(&k);
        return KEEL_ENOMEM;
    }
    for (uint32_t i = 0; i < k.head.tasks; i++) {
        TaskBytes t;
        memcpy(&t, at + i * sizeof t, sizeof t);
        k.effects.tasks[i].generation = t.generation;
        k.effects.tasks[i].there = t.there != 0;
        k.effects.tasks[i].tag = t.tag;
        k.effects.tasks[i].op = t.op;
    }
    *ret = k;
    return KEEL_OK;
}

uint32_t keepsake_branch(const void *data, size_t bytes)
{
    KeepsakeHead head;
    if (!data || bytes < sizeof head)
        return 0;
    memcpy(&head, data, sizeof head);
    return head_good(&head, bytes) ? head.branch : 0;
}

void keepsake_done(Keepsake *k)
{
    effects_past_done(&k->effects);
    *k = (Keepsake){0};
}

/* Not in the keepsake itself, which is applied again where the first build doesn't stay. */
static void delay_timers(Effects *effects, int64_t later, int64_t now_ns)
{
    effects->timer_next_ns = INT64_MAX;
    for (uint32_t i = 0; effects->timers && i < effects->timer_top; i++) {
        Timer *timer = &effects->timers[i];
        if (!effects_timer_runs(timer->state))
            continue;
        if (__builtin_add_overflow(timer->due_ns, later, &timer->due_ns))
            timer->due_ns = now_ns;
        if (timer->due_ns < effects->timer_next_ns)
            effects->timer_next_ns = timer->due_ns;
    }
}

void keepsake_apply(const Keepsake *k, Slot *slot, int64_t now_ns)
{
    int64_t later;
    if (__builtin_sub_overflow(now_ns, k->head.last_time_ns, &later))
        later = 0;
    effects_go_back(&slot->effects, &k->effects);
    delay_timers(&slot->effects, later, now_ns);
    memcpy(slot->random, k->head.random, sizeof slot->random);
    memcpy(slot->random_before, k->head.random, sizeof slot->random_before);
    slot->frames = k->head.frames;
    slot->branch = k->head.branch;
    inputs_go_on(&slot->inputs, k->head.next_seq);
    slot->last_time_ns = 0;
}
