/* The arena's allocator. Slots of one size share a slab of a few pages; what doesn't fit a slot
 * gets its own run of pages. Before each object stands its ObjectHead. Same calls, same addresses.
 * All records are in the arena; it keeps nothing elsewhere, so a call may be left by a longjmp and
 * is undone with the frame. [frame] */
#include <stdlib.h>
#include <string.h>

#include "fault/guard.h"
#include "state/internal.h"

enum { KEPT_MAX = 1 << 20 };

/* Slot sizes: 32, 48 … 128, then four a doubling up to SMALL_MAX, so that at most a quarter is
 * unused. */
static uint32_t class_of(uint64_t slot)
{
    if (slot <= 32)
        return 0;
    if (slot <= 128)
        return (uint32_t)((slot - 17) / 16 - 0);
    uint32_t log = 63 - (uint32_t)__builtin_clzll(slot - 1);
    return 6 + (log - 7) * 4 + (uint32_t)((slot - 1) >> (log - 2) & 3) + 1;
}

uint32_t heap_slot_bytes(uint32_t c)
{
    if (c <= 6)
        return 32 + c * 16;
    c -= 7;
    return (5 + c % 4) << (c / 4 + 5);
}

/* At least eight slots a slab. */
uint32_t heap_slab_pages(uint32_t c)
{
    uint32_t bytes = heap_slot_bytes(c) * 8;
    return bytes <= PAGE_BYTES ? 1 : (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

/* Large objects: up by a quarter too, in whole pages. */
static uint64_t large_bytes(uint64_t bytes)
{
    uint32_t log = 63 - (uint32_t)__builtin_clzll(bytes);
    uint64_t step = UINT64_C(1) << (log > 14 ? log - 2 : 12);
    return (bytes + step - 1) & ~(step - 1);
}

void heap_damaged(const void *address, const char *what)
{
    guard_raise(FAULT_MEMORY, KEEL_EDATA,
                "the records of the state at %p (%s) are damaged: something wrote past an object's "
                "end or through a stale pointer",
                address, what);
}

static uint64_t slots_in(uint32_t class_index)
{
    return (uint64_t)heap_slab_pages(class_index) * PAGE_BYTES / heap_slot_bytes(class_index);
}

static uint8_t *slot_address(const State *state, uint32_t page, uint32_t class_index, uint32_t slot)
{
    return page_address(state, page) + (uint64_t)slot * heap_slot_bytes(class_index);
}

static void partial_remove(State *state, uint32_t page)
{
    uint32_t top = arena_top(state);
    PageInfo *info = page_info(state, page);
    if (info->prev && info->prev < top)
        page_info(state, info->prev)->next = info->next;
    else
        arena_head(state)->partial[info->class_index] = info->next;
    if (info->next && info->next < top)
        page_info(state, info->next)->prev = info->prev;
    info->next = info->prev = 0;
}

static void partial_insert(State *state, uint32_t page)
{
    ArenaHead *head = arena_head(state);
    PageInfo *info = page_info(state, page);
    info->prev = 0;
    info->next = head->partial[info->class_index];
    if (info->next && info->next < arena_top(state))
        page_info(state, info->next)->prev = page;
    head->partial[info->class_index] = page;
}

static uint32_t slab_new(State *state, uint32_t class_index)
{
    int zeroed;
    uint32_t pages = heap_slab_pages(class_index);
    uint32_t first = pages_take(state, pages, &zeroed);
    if (!first)
        return 0;
    for (uint32_t i = 1; i < pages; i++)
        *page_info(state, first + i) = (PageInfo){.kind = PAGE_SLAB_INNER, .first = first};
    *page_info(state, first) = (PageInfo){
        .kind = PAGE_SLAB, .class_index = (uint8_t)class_index, .pages = pages, .first = first};
    partial_insert(state, first);
    return first;
}

static uint8_t *slot_take(State *state, uint32_t class_index)
{
    uint32_t page = arena_head(state)->partial[class_index];
    if (!page)
        page = slab_new(state, class_index);
    if (!page)
        return NULL;
    PageInfo *info = page_info(state, page < state->data_pages ? page : 0);
    uint64_t slots = slots_in(class_index);
    if (page >= arena_top(state) || info->kind != PAGE_SLAB || info->class_index != class_index ||
        info->free_slot > slots || info->fresh > slots ||
        (!info->free_slot && info->fresh == slots)) {
        heap_damaged(info, "a slab");
        return NULL;
    }
    uint32_t slot;
    if (info->free_slot) {
        slot = info->free_slot - 1u;
        const ObjectHead *freed = (ObjectHead *)slot_address(state, page, class_index, slot);
        if (freed->mark != MARK_FREE || freed->count > slots) {
            heap_damaged(freed, "a freed object");
            return NULL;
        }
        info->free_slot = (uint16_t)freed->count;
    } else {
        slot = info->fresh++;
    }
    info->live++;
    if (!info->free_slot && info->fresh == slots)
        partial_remove(state, page);
    return slot_address(state, page, class_index, slot);
}

static void slot_give(State *state, uint32_t page, uint32_t slot)
{
    PageInfo *info = page_info(state, page);
    ObjectHead *head = (ObjectHead *)slot_address(state, page, info->class_index, slot);
    int was_full = !info->free_slot && info->fresh == slots_in(info->class_index);
    *head = (ObjectHead){.mark = MARK_FREE, .count = info->free_slot};
    info->free_slot = (uint16_t)(slot + 1);
    if (was_full)
        partial_insert(state, page);
    if (--info->live > 0)
        return;
    partial_remove(state, page);
    uint32_t pages = heap_slab_pages(info->class_index);
    if (pages > arena_top(state) - page) {
        heap_damaged(info, "a slab");
        return;
    }
    memset(info, 0, pages * sizeof *info);
    pages_give(state, page, pages);
}

static ObjectHead *take_small(State *state, uint64_t slot_bytes, uint64_t align)
{
    uint8_t *slot = slot_take(state, class_of(slot_bytes));
    if (!slot)
        return NULL;
    uintptr_t object = ((uintptr_t)slot + HEAD_BYTES + align - 1) & ~(uintptr_t)(align - 1);
    ObjectHead *head = (ObjectHead *)(object - HEAD_BYTES);
    if ((uint8_t *)head != slot)
        *(ObjectHead *)slot = (ObjectHead){.mark = MARK_SKIP, .count = object - (uintptr_t)slot};
    return head;
}

static ObjectHead *take_large(State *state, uint64_t bytes, uint64_t align, int *ret_zeroed)
{
    uint64_t pad = align > PAGE_BYTES ? align : align > HEAD_BYTES ? align : HEAD_BYTES;
    uint64_t pages = (large_bytes(bytes) + pad + PAGE_BYTES - 1) / PAGE_BYTES;
    if (pages >= state->data_pages)
        return NULL;
    uint32_t first = pages_take(state, (uint32_t)pages, ret_zeroed);
    if (!first)
        return NULL;
    uintptr_t start = (uintptr_t)page_address(state, first);
    uintptr_t object = (start + HEAD_BYTES + align - 1) & ~(uintptr_t)(align - 1);
    *page_info(state, first) = (PageInfo){.kind = PAGE_LARGE,
                                          .pages = (uint32_t)pages,
                                          .first = first,
                                          .object_offset = object - start};
    uint32_t inner = first + (uint32_t)((object - start) / PAGE_BYTES);
    if (inner != first)
        *page_info(state, inner) = (PageInfo){.kind = PAGE_LARGE_INNER, .first = first};
    return (ObjectHead *)(object - HEAD_BYTES);
}

void *heap_take(State *state, uint64_t bytes, uint64_t align, uint32_t type, uint64_t count,
                int zero)
{
    if (align < 16)
        align = 16;
    if ((align & (align - 1)) != 0 || align > state->max_bytes || bytes > state->max_bytes)
        return NULL;
    uint64_t need = bytes ? bytes : 1;
    uint64_t slot_bytes = need + HEAD_BYTES + (align > 16 ? align - 16 : 0);
    int zeroed = 0;
    ObjectHead *object = slot_bytes <= SMALL_MAX ? take_small(state, slot_bytes, align)
                                                 : take_large(state, need, align, &zeroed);
    if (!object)
        return NULL;
    *object = (ObjectHead){.type = type, .mark = MARK_LIVE, .count = count};
    if (type != TYPE_INTERNAL) {
        arena_head(state)->live_objects++;
        arena_head(state)->live_bytes += bytes;
    }
    if (zero && !zeroed)
        memset(object + 1, 0, bytes);
    return object + 1;
}

/* The head of the live object that starts at `object`, and how many bytes fit there; NULL if there
 * is none. */
ObjectHead *heap_find(const State *state, const void *object, uint64_t *ret_room)
{
    uintptr_t at = (uintptr_t)object;
    uintptr_t data = (uintptr_t)page_address(state, 0);
    const ArenaHead *arena = arena_head(state);
    if (at < data + PAGE_BYTES || at % 16 != 0 || arena->top > state->data_pages)
        return NULL;
    uint64_t page = (at - data) / PAGE_BYTES;
    if (page >= arena->top)
        return NULL;
    const PageInfo *info = page_info(state, (uint32_t)page);
    if (info->kind == PAGE_SLAB_INNER || info->kind == PAGE_LARGE_INNER) {
        page = info->first;
        if (page >= arena->top)
            return NULL;
        info = page_info(state, (uint32_t)page);
    }
    uintptr_t start = (uintptr_t)page_address(state, (uint32_t)page);
    ObjectHead *head = (ObjectHead *)(at - HEAD_BYTES);
    if (info->kind == PAGE_LARGE) {
        if (at - start != info->object_offset || info->pages > arena->top - page ||
            info->object_offset >= (uint64_t)info->pages * PAGE_BYTES || head->mark != MARK_LIVE)
            return NULL;
        *ret_room = (uint64_t)info->pages * PAGE_BYTES - info->object_offset;
        return head;
    }
    if (info->kind != PAGE_SLAB || info->class_index >= HEAP_CLASSES)
        return NULL;
    uint32_t slot_bytes = heap_slot_bytes(info->class_index);
    uintptr_t offset = at - HEAD_BYTES - start;
    uint64_t slot = offset / slot_bytes;
    if (at - HEAD_BYTES < start || slot >= info->fresh || slot >= slots_in(info->class_index))
        return NULL;
    uint64_t inside = offset % slot_bytes;
    const ObjectHead *first = (ObjectHead *)(start + slot * slot_bytes);
    if (inside != 0 && (first->mark != MARK_SKIP || first->count != inside + HEAD_BYTES))
        return NULL;
    if (head->mark != MARK_LIVE)
        return NULL;
    *ret_room = slot_bytes - inside - HEAD_BYTES;
    return head;
}

uint64_t heap_object_bytes(const State *state, const ObjectHead *head)
{
    if (head->type == TYPE_OPAQUE || head->type == TYPE_INTERNAL)
        return head->count;
    const TypeRecord *type = type_record(state, head->type);
    uint64_t bytes;
    if (!type)
        return 0;
    return __builtin_mul_overflow(type->bytes, head->count, &bytes) ? UINT64_MAX : bytes;
}

static void give(State *state, void *object, ObjectHead *head)
{
    ArenaHead *arena = arena_head(state);
    if (head->type != TYPE_INTERNAL) {
        arena->live_objects--;
        arena->live_bytes -= heap_object_bytes(state, head);
    }
    uint32_t page = (uint32_t)(((uint8_t *)object - page_address(state, 0)) / PAGE_BYTES);
    PageInfo *info = page_info(state, page);
    if (info->kind == PAGE_SLAB_INNER || info->kind == PAGE_LARGE_INNER) {
        page = info->first;
        info = page_info(state, page);
    }
    head->mark = MARK_FREE;
    if (info->kind == PAGE_SLAB) {
        uint64_t offset = (uint64_t)((uint8_t *)head - page_address(state, page));
        slot_give(state, page, (uint32_t)(offset / heap_slot_bytes(info->class_index)));
        return;
    }
    uint32_t pages = info->pages;
    uint32_t inner = page + (uint32_t)(info->object_offset / PAGE_BYTES);
    memset(page_info(state, inner), 0, sizeof *info);
    memset(info, 0, sizeof *info);
    pages_give(state, page, pages);
}

void *state_alloc_block(State *state, uint64_t bytes, uint64_t align)
{
    return heap_take(state, bytes, align, TYPE_OPAQUE, bytes, 0);
}

void *state_alloc(State *state, const char *type, const char *file, uint64_t bytes, uint64_t align,
                  uint64_t count)
{
    uint64_t total;
    uint32_t id;
    if (__builtin_mul_overflow(bytes, count, &total) || total > state->max_bytes ||
        type_find(state, type, file, bytes, align, &id) != 0)
        return NULL;
    return heap_take(state, total, align, id, count, 1);
}

void state_free(State *state, void *object)
{
    uint64_t room;
    if (!object)
        return;
    ObjectHead *head = heap_find(state, object, &room);
    if (head && head->type != TYPE_INTERNAL) {
        if ((uintptr_t)object == arena_head(state)->root)
            arena_head(state)->root = 0;
        give(state, object, head);
        return;
    }
    guard_raise(FAULT_MEMORY, KEEL_EFAULT,
                !state_contains(state, object)
                    ? "free of %p, which is no memory of this slot"
                    : "free of %p, where no object starts: freed twice, or not what an allocation "
                      "gave",
                object);
}

int state_resize_block(State *state, void *block, uint64_t bytes)
{
    uint64_t room;
    ObjectHead *head = block ? heap_find(state, block, &room) : NULL;
    if (!head || head->type != TYPE_OPAQUE)
        return KEEL_EINVAL;
    uint32_t page = (uint32_t)(((uint8_t *)block - page_address(state, 0)) / PAGE_BYTES);
    if (page_info(state, page)->kind == PAGE_LARGE_INNER)
        page = page_info(state, page)->first;
    PageInfo *info = page_info(state, page);
    if (bytes > state->max_bytes)
        return KEEL_ENOMEM;
    if (info->kind == PAGE_LARGE) {
        uint64_t want = bytes ? large_bytes(bytes) : 1;
        uint32_t pages = (uint32_t)((info->object_offset + want + PAGE_BYTES - 1) / PAGE_BYTES);
        if (bytes > room) {
            if (!pages_extend(state, page, info->pages, pages))
                return KEEL_ENOMEM;
            info->pages = pages;
        } else if (pages <= info->pages / 2) {
            uint32_t old = info->pages;
            info->pages = pages;
            pages_give(state, page + pages, old - pages);
        }
    } else if (bytes > room) {
        return KEEL_ENOMEM;
    }
    arena_head(state)->live_bytes += bytes - head->count;
    head->count = bytes;
    return 0;
}

uint64_t state_usable(const State *state, const void *object)
{
    uint64_t room;
    return object && heap_find(state, object, &room) ? room : 0;
}

uint64_t state_count(const State *state, const void *object)
{
    uint64_t room;
    const ObjectHead *head = object ? heap_find(state, object, &room) : NULL;
    return head && head->type != TYPE_INTERNAL ? head->count : 0;
}

int state_contains(const State *state, const void *address)
{
    return (uintptr_t)address - (uintptr_t)state->base < state->max_bytes;
}

void *state_kept(const State *state, uint64_t bytes)
{
    uint64_t room;
    void *block = (void *)(uintptr_t)arena_head(state)->kept;
    const ObjectHead *head =
        block && state_contains(state, block) ? heap_find(state, block, &room) : NULL;
    return head && head->type == TYPE_OPAQUE && head->count >= bytes ? block : NULL;
}

void state_keep(State *state, void *block)
{
    arena_head(state)->kept = (uintptr_t)block;
}

void state_reset(State *state)
{
    void *kept = state_kept(state, 1), *copy = NULL;
    uint64_t kept_bytes = kept ? state_count(state, kept) : 0;
    if (kept_bytes && kept_bytes <= KEPT_MAX && (copy = malloc(kept_bytes)) != NULL)
        memcpy(copy, kept, kept_bytes);
    uint32_t top = arena_head(state)->top, high = state->live_high;
    if (top > state->data_pages)
        top = state->data_pages;
    memset(page_info(state, 0), 0, (uint64_t)top * sizeof(PageInfo));
    pages_init(state);
    arena_head(state)->high = high;
    shim_begin_life(state);
    if (copy && (kept = state_alloc_block(state, kept_bytes, HEAD_BYTES)) != NULL) {
        memcpy(kept, copy, kept_bytes);
        state_keep(state, kept);
    }
    free(copy);
}
