/* What a slot was in another process, given to it here. Owns copies. Frame thread. */
#include "swap/brought.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
    if (buf_add(&brought->note, note, (size_t)note_bytes)) {
        brought_free(brought);
        return err_set(err, KEEL_ENOMEM, "no memory to bring a slot back");
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

void brought_branch(Brought *brought, uint32_t branch)
{
    KeepsakeHead *head = &brought->keepsake.head;
    head->branch = (head->branch > branch ? head->branch : branch) + 1;
    memcpy(brought->note.data, head, sizeof *head);
}

static void drop_ghost(Brought *brought)
{
    Generation *g = &brought->ghost;
    if (g->load_last > g->load_first)
        munmap((void *)g->load_first, g->load_last - g->load_first);
    image_unref(g->image);
    *g = (Generation){0};
}

void brought_free(Brought *brought)
{
    if (!brought)
        return;
    drop_ghost(brought);
    image_unref(brought->image);
    keepsake_done(&brought->keepsake);
    buf_done(&brought->note);
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

/* Where it was, or where there is room, from its file: no relocation is done, since only constants,
 * addresses and the statics of then count. */
static int map_ghost(Generation *g, const Image *image, const KeepsakeHead *head, Error *err)
{
    uint64_t bytes = head->load_last - head->load_first;
    void *was = (void *)(uintptr_t)head->load_first;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (!bytes || bytes > UINT64_C(1) << 36 || head->load_first % PAGE || head->load_last % PAGE ||
        bytes != image->span_last - image->span_first)
        return err_set(err, KEEL_EDATA, "the build that ran doesn't fit where it was");
    void *at = mmap(was, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != was && at != MAP_FAILED) { /* a kernel that doesn't know that flag */
        munmap(at, bytes);
        at = MAP_FAILED;
    }
    if (at == MAP_FAILED)
        at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "no memory for the build that ran");
    g->load_first = (uintptr_t)at;
    g->load_last = g->load_first + bytes;
    g->load_bias = g->load_first - image->span_first;
    for (int i = 0; i < image->load_count; i++) {
        const ImageLoad *load = &image->loads[i]; /* checked by image_open */
        if (load->file_bytes)
            memcpy((void *)(uintptr_t)(load->address + g->load_bias),
                   image->data + load->file_offset, load->file_bytes);
    }
    return KEEL_OK;
}

int brought_has_statics(const Brought *brought)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    uint64_t need = 0;
    for (uint32_t i = 0; i < head->span_count; i++)
        need += (head->span_bytes[i] + PAGE - 1) / PAGE * PAGE;
    return need <= brought->statics_bytes;
}

/* All that points where the build was points to where its ghost is. */
static void follow_ghost(Brought *brought, State *state)
{
    KeepsakeHead *head = &brought->keepsake.head;
    uint64_t first = head->load_first, span = head->load_last - first;
    uint64_t to = brought->ghost.load_first, *words = (uint64_t *)(void *)brought->statics;
    for (uint64_t i = 0; i < brought->statics_bytes / sizeof *words; i++)
        if (words[i] - first < span)
            words[i] += to - first;
    state_rebase(state, first, head->load_last, to);
    for (uint32_t i = 0; i < head->span_count; i++)
        head->span_address[i] += to - first;
    head->load_first = to;
    head->load_last = to + span;
    memcpy(brought->note.data, head, sizeof *head);
}

static void fill_ghost(Brought *brought)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    Generation *g = &brought->ghost;
    const uint8_t *from = brought->statics;
    for (uint32_t i = 0; i < head->span_count; i++) {
        uint64_t bytes = head->span_bytes[i];
        g->statics[i] = (StateSpan){(void *)(uintptr_t)head->span_address[i], bytes};
        memcpy(g->statics[i].address, from, (size_t)bytes);
        from += (bytes + PAGE - 1) / PAGE * PAGE;
    }
    g->static_count = (int)head->span_count;
}

int brought_use_image(Brought *brought, Image *image, Slot *slot, Error *err)
{
    Generation *g = &brought->ghost;
    int rc = brought_has_statics(brought) ? map_ghost(g, image, &brought->keepsake.head, err)
                                          : err_set(err, KEEL_EDATA, "its statics weren't kept");
    int moved = rc == KEEL_OK && g->load_first != brought->keepsake.head.load_first;
    if (moved)
        follow_ghost(brought, slot->state);
    if (rc == KEEL_OK)
        fill_ghost(brought);
    g->image = image;
    if (rc == KEEL_OK)
        rc = brought_hold(brought, slot, err);
    if (rc == KEEL_OK && moved)
        rc = state_commit(slot->state, err);
    if (rc)
        drop_ghost(brought);
    return rc;
}

int brought_hold(const Brought *brought, Slot *slot, Error *err)
{
    const Generation *g = &brought->ghost;
    if (!g->image)
        return state_set_statics(slot->state, NULL, 0, err);
    int rc = state_set_statics(slot->state, g->statics, g->static_count, err);
    if (rc || !slot->kept)
        return rc;
    /* Killed now, it comes back with these. */
    rc = state_note(slot->state, brought->note.data, brought->note.bytes);
    return rc ? rc : state_commit(slot->state, err);
}

const Generation *brought_ghost(const Brought *brought)
{
    return brought && brought->ghost.image ? &brought->ghost : NULL;
}

void brought_install(Brought *brought, Slot *slot, int64_t now_ns)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    const Generation *g = slot->running;
    if (brought->installed) { /* what they gave a build that did not stay is given again */
        inputs_drop(&slot->inputs, KEEL_EVENT_TIMER);
        inputs_drop(&slot->inputs, KEEL_EVENT_TASK);
    }
    brought->installed = 1;
    keepsake_apply(&brought->keepsake, slot, now_ns);
    if (!brought_same_image(brought, g->image))
        return;
    state_rebase(slot->state, head->load_first, head->load_last, g->load_first);
    put_statics(brought, g);
}
