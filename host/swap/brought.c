/* What a slot was in another process, given to it here. Owns copies. Frame thread. */
#include "swap/brought.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/section.h"

enum { PAGE = 4096 };

int brought_new(const void *note, uint64_t note_bytes, const void *statics, uint64_t statics_bytes,
                const char *from, Brought **ret, Error *err)
{
    Brought *brought = calloc(1, sizeof *brought);
    if (!brought)
        return err_set(err, KEEL_ENOMEM, "no memory to bring a slot back");
    if (keepsake_decode(note, (size_t)note_bytes, &brought->keepsake)) {
        free(brought);
        return err_set(err, KEEL_EDATA, "what is kept of the slot beside its state is damaged");
    }
    snprintf(brought->from, sizeof brought->from, "%s", from);
    if (statics_bytes && (brought->statics = malloc((size_t)statics_bytes))) {
        memcpy(brought->statics, statics, (size_t)statics_bytes);
        brought->statics_bytes = statics_bytes;
    }
    *ret = brought;
    return KEEL_OK;
}

/* Spans one after another, each filled up to whole pages. */
static int join_spans(const Snapshot *s, Buf *out)
{
    static const uint8_t zeros[4096];
    for (int i = 0; i < s->span_count; i++) {
        size_t over = (size_t)(s->spans[i].bytes % sizeof zeros);
        if (buf_add(out, s->spans[i].data, (size_t)s->spans[i].bytes) ||
            buf_add(out, zeros, over ? sizeof zeros - over : 0))
            return KEEL_ENOMEM;
    }
    return KEEL_OK;
}

int brought_of_snapshot(const Snapshot *s, const char *from, Brought **ret, Error *err)
{
    Buf statics = {0};
    int rc = join_spans(s, &statics)
                 ? err_set(err, KEEL_ENOMEM, "no memory to bring a slot back")
                 : brought_new(s->note, s->note_bytes, statics.data, statics.bytes, from, ret, err);
    buf_done(&statics);
    return rc;
}

void brought_free(Brought *brought)
{
    if (!brought)
        return;
    keepsake_done(&brought->keepsake);
    free(brought->statics);
    free(brought);
}

int brought_same_image(const Brought *brought, const Image *image)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    return head->image_low == image->hash.low && head->image_high == image->hash.high;
}

/* Spans of the same image lie at the same places in it. */
static int spans_fit(const KeepsakeHead *head, const Generation *g, uint64_t bytes)
{
    uint64_t need = 0;
    if (head->span_count != (uint32_t)g->static_count)
        return 0;
    for (uint32_t i = 0; i < head->span_count; i++) {
        if (head->span_address[i] - head->load_first !=
                (uintptr_t)g->statics[i].address - g->load_first ||
            head->span_bytes[i] != g->statics[i].bytes)
            return 0;
        need += (head->span_bytes[i] + PAGE - 1) / PAGE * PAGE;
    }
    return need == bytes;
}

static void put_statics(const Brought *brought, const Generation *g)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    const uint8_t *from = brought->statics;
    uint64_t span = head->load_last - head->load_first, cache = 0, cached = 0;
    /* What caches the host's tables is of that host. */
    if (image_section(g->image, ".keel.cache", &cache, &cached))
        cache += g->load_bias;
    if (!from || !spans_fit(head, g, brought->statics_bytes))
        return;
    for (uint32_t i = 0; i < head->span_count; i++) {
        uint8_t *to = g->statics[i].address;
        uint64_t bytes = head->span_bytes[i], at = 0;
        for (; at + 8 <= bytes; at += 8) {
            uint64_t word;
            if ((uintptr_t)to + at - cache < cached)
                continue;
            memcpy(&word, from + at, 8);
            if (word - head->load_first < span)
                word += g->load_first - head->load_first;
            memcpy(to + at, &word, 8);
        }
        memcpy(to + at, from + at, (size_t)(bytes - at));
        from += (bytes + PAGE - 1) / PAGE * PAGE;
    }
}

void brought_install(const Brought *brought, Slot *slot, int64_t now_ns)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    const Generation *g = slot->running;
    keepsake_apply(&brought->keepsake, slot, now_ns);
    if (!brought_same_image(brought, g->image))
        return;
    state_rebase(slot->state, head->load_first, head->load_last, g->load_first);
    put_statics(brought, g);
}
