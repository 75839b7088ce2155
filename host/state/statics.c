/* The writable data of the running image. Its pages have ids after the arena's; a commit stages the
 * changed ones in shared memory before any copy, because the image's own memory dies with the
 * process. [frame] */
#include <string.h>

#include "base/sanitizer.h"
#include "state/internal.h"

#if UNDER_ASAN || UNDER_TSAN
/* Between an instrumented image's variables lie bytes that a sanitizer's memcpy refuses to touch.
 */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void
copy_raw(void *to, const void *from, size_t bytes)
{
    volatile uint8_t *t = to;
    const volatile uint8_t *f = from;
    for (size_t i = 0; i < bytes; i++)
        if (t[i] != f[i])
            t[i] = f[i];
}

__attribute__((no_sanitize("address", "thread", "undefined"))) static int
differs_raw(const void *a, const void *b, size_t bytes)
{
    const volatile uint8_t *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i])
            return 1;
    return 0;
}
#else
#define copy_raw memcpy
#define differs_raw memcmp
#endif

typedef struct StaticPage {
    uint8_t *address;
    uint32_t bytes, id;
} StaticPage;

/* Page `n` of the statics; the spans' last pages may be short. Walks in order: *span and *offset
 * are kept by the caller, from 0. */
static int next_page(const State *state, int *span, uint64_t *offset, uint32_t *n, StaticPage *ret)
{
    while (*span < state->span_count && *offset >= state->spans[*span].bytes) {
        *offset = 0;
        ++*span;
    }
    if (*span >= state->span_count)
        return 0;
    const StateSpan *in = &state->spans[*span];
    uint64_t left = in->bytes - *offset;
    *ret = (StaticPage){.address = (uint8_t *)in->address + *offset,
                        .bytes = left < PAGE_BYTES ? (uint32_t)left : PAGE_BYTES,
                        .id = state->store.arena_pages + *n};
    *offset += PAGE_BYTES;
    ++*n;
    return 1;
}

static uint32_t stage(State *state, int all)
{
    Store *store = &state->store;
    StaticPage page;
    int span = 0;
    uint64_t offset = 0;
    uint32_t n = 0, count = 0;
    while (next_page(state, &span, &offset, &n, &page)) {
        if (!all && differs_raw(page.address, store_page(store, page.id), page.bytes) == 0)
            continue;
        copy_raw(store->stage_pages + (uint64_t)count * PAGE_BYTES, page.address, page.bytes);
        store->stage_ids[count++] = page.id;
    }
    return count;
}

uint32_t statics_stage(State *state)
{
    return stage(state, 0);
}

void statics_put_staged(State *state)
{
    Store *store = &state->store;
    for (uint32_t i = 0; i < store->head->stage_count; i++) {
        store_put(state, store->stage_ids[i], store->stage_pages + (uint64_t)i * PAGE_BYTES, 1);
        kill_point();
    }
}

void statics_undo(State *state)
{
    StaticPage page;
    int span = 0;
    uint64_t offset = 0;
    uint32_t n = 0;
    while (next_page(state, &span, &offset, &n, &page)) {
        const uint8_t *kept = store_page(&state->store, page.id);
        if (differs_raw(page.address, kept, page.bytes) != 0)
            copy_raw(page.address, kept, page.bytes);
    }
}

/* From here to the first commit with a note of the new image, the note and the arena are the old
 * one's: a process that is killed meanwhile needs its statics. */
static void keep_before(State *state)
{
    Store *store = &state->store;
    StoreHead *head = store->head;
    if (!state->kept || !head->statics_noted)
        return; /* or those of before are there already */
    for (uint32_t i = 0; i < head->static_pages; i++)
        memcpy(store->before + (uint64_t)i * PAGE_BYTES, store_page(store, store->arena_pages + i),
               PAGE_BYTES);
    head->statics_before = head->static_pages;
}

int state_set_statics(State *state, const StateSpan *spans, int count, Error *err)
{
    if (count < 0 || count > STATE_STATICS_MAX)
        return err_set(err, KEEL_ELIMIT, "%d ranges of writable data: at most %d are kept", count,
                       STATE_STATICS_MAX);
    uint64_t pages = 0;
    for (int i = 0; i < count; i++) {
        uint64_t need = spans[i].bytes / PAGE_BYTES + (spans[i].bytes % PAGE_BYTES != 0);
        if (!spans[i].address && spans[i].bytes)
            return err_set(err, KEEL_EINVAL, "a range of writable data without an address");
        if (need > STATIC_PAGES_MAX - pages)
            return err_set(err, KEEL_ELIMIT,
                           "the image has more than %d MiB of writable data: put what is large "
                           "into the state (keel_new)",
                           STATIC_PAGES_MAX / 256);
        pages += need;
    }
    state->span_count = count;
    if (count)
        memcpy(state->spans, spans, (size_t)count * sizeof *spans);
    state->static_pages = (uint32_t)pages;
    if (state->tier == STATE_TIER_OFF)
        return 0;
    StoreHead *head = state->store.head;
    keep_before(state);
    atomic_thread_fence(memory_order_release);
    head->list_count = 0;
    head->stage_count = stage(state, 1);
    head->statics_noted = 0;
    atomic_thread_fence(memory_order_release); /* a kill finds those of before meanwhile */
    head->static_pages = (uint32_t)pages;
    head->note_next = head->note_which;
    atomic_store_explicit(&head->phase, STORE_COPYING, memory_order_release);
    statics_put_staged(state);
    atomic_store_explicit(&head->phase, STORE_IDLE, memory_order_release);
    return 0;
}

/* A page of the statics from the store to where the image has it. */
void statics_write(void *address, const void *from, uint64_t bytes)
{
    copy_raw(address, from, bytes);
}
