/* Looking at the arena: every object, the allocator's invariants, the hash. Changes nothing.
 * [frame] */
#include <string.h>

#include "state/internal.h"

static int visit_object(State *state, ObjectHead *head, StateVisit *visit, void *user)
{
    if (head->type == TYPE_INTERNAL)
        return 0;
    const TypeRecord *type = type_record(state, head->type);
    const char *spelling = type ? (const char *)(uintptr_t)type->text : "";
    StateObject object = {.address = head + 1,
                          .bytes = heap_object_bytes(state, head),
                          .count = head->count,
                          .type = spelling,
                          .file = type ? spelling + type->spelling_bytes + 1 : ""};
    return visit(&object, user);
}

static int each_in_slab(State *state, uint32_t page, StateVisit *visit, void *user)
{
    const PageInfo info = *page_info(state, page);
    uint32_t bytes = heap_slot_bytes(info.class_index);
    for (uint32_t slot = 0; slot < info.fresh; slot++) {
        ObjectHead *head = (ObjectHead *)(page_address(state, page) + (uint64_t)slot * bytes);
        if (head->mark == MARK_SKIP && head->count >= HEAD_BYTES && head->count < bytes)
            head = (ObjectHead *)((uint8_t *)head + head->count - HEAD_BYTES);
        int code = head->mark == MARK_LIVE ? visit_object(state, head, visit, user) : 0;
        if (code != 0)
            return code;
    }
    return 0;
}

int state_each(State *state, StateVisit *visit, void *user)
{
    const ArenaHead *arena = arena_head(state);
    for (uint32_t page = 1; page < arena->top;) {
        const PageInfo *info = page_info(state, page);
        int code = 0;
        if (info->kind == PAGE_SLAB && info->class_index < HEAP_CLASSES)
            code = each_in_slab(state, page, visit, user);
        else if (info->kind == PAGE_LARGE)
            code = visit_object(
                state, (ObjectHead *)(page_address(state, page) + info->object_offset - HEAD_BYTES),
                visit, user);
        if (code != 0)
            return code;
        page += info->pages ? info->pages : 1;
    }
    return 0;
}

typedef struct Census {
    uint64_t objects, bytes, free_runs, partial;
} Census;

static int bad(Error *err, const State *state, uint32_t page, const char *what)
{
    return err_set(err, KEEL_EDATA, "page %u of the state at %p: %s", page, (void *)state->base,
                   what);
}

static void count_object(State *state, const ObjectHead *head, Census *census)
{
    if (head->type == TYPE_INTERNAL)
        return;
    census->objects++;
    census->bytes += heap_object_bytes(state, head);
}

static int check_slab(State *state, uint32_t page, Census *census, Error *err)
{
    const PageInfo *info = page_info(state, page);
    if (info->class_index >= HEAP_CLASSES || info->pages != heap_slab_pages(info->class_index))
        return bad(err, state, page, "a slab of no class");
    uint32_t bytes = heap_slot_bytes(info->class_index);
    uint32_t slots = info->pages * PAGE_BYTES / bytes, live = 0, freed = 0;
    if (info->fresh > slots || info->live == 0)
        return bad(err, state, page, "a slab's counters");
    for (uint32_t i = 1; i < info->pages; i++)
        if (page_info(state, page + i)->kind != PAGE_SLAB_INNER ||
            page_info(state, page + i)->first != page)
            return bad(err, state, page, "a slab's inner page");
    for (uint32_t slot = 0; slot < info->fresh; slot++) {
        uint8_t *at = page_address(state, page) + (uint64_t)slot * bytes;
        const ObjectHead *head = (ObjectHead *)at;
        if (head->mark == MARK_FREE) {
            freed++;
            continue;
        }
        uint64_t room, skip = head->mark == MARK_SKIP ? head->count : HEAD_BYTES;
        const ObjectHead *found = skip < bytes ? heap_find(state, at + skip, &room) : NULL;
        if (!found)
            return bad(err, state, page, "an object's head");
        if (found->type != TYPE_OPAQUE && found->type != TYPE_INTERNAL &&
            !type_record(state, found->type))
            return bad(err, state, page, "an object of no type");
        if (heap_object_bytes(state, found) > room)
            return bad(err, state, page, "an object larger than its slot");
        count_object(state, found, census);
        live++;
    }
    uint32_t listed = 0;
    for (uint32_t slot = info->free_slot; slot && listed <= slots; listed++) {
        const ObjectHead *head =
            (ObjectHead *)(page_address(state, page) + (uint64_t)(slot - 1) * bytes);
        if (slot > info->fresh || head->mark != MARK_FREE)
            return bad(err, state, page, "a slab's free list");
        slot = (uint32_t)head->count;
    }
    if (live != info->live || freed != listed)
        return bad(err, state, page, "a slab's live or free objects don't add up");
    census->partial += info->free_slot || info->fresh < slots;
    return 0;
}

static int check_run(State *state, uint32_t page, Census *census, Error *err)
{
    const ArenaHead *arena = arena_head(state);
    const PageInfo *info = page_info(state, page);
    if (info->pages == 0 || info->pages > arena->top - page || info->first != page)
        return bad(err, state, page, "a run's size");
    uint64_t room;
    const ObjectHead *head;
    switch (info->kind) {
    case PAGE_SLAB:
        return check_slab(state, page, census, err);
    case PAGE_FREE:
        census->free_runs++;
        if (page + info->pages == arena->top)
            return bad(err, state, page, "a free run at the top was not given back");
        if (page_info(state, page + info->pages)->kind == PAGE_FREE)
            return bad(err, state, page, "two free runs side by side");
        return 0;
    case PAGE_LARGE:
        head = heap_find(state, page_address(state, page) + info->object_offset, &room);
        if (!head || heap_object_bytes(state, head) > room)
            return bad(err, state, page, "a large object's head");
        count_object(state, head, census);
        return 0;
    default:
        return bad(err, state, page, "not the start of a run");
    }
}

static int check_lists(State *state, const Census *census, Error *err)
{
    const ArenaHead *arena = arena_head(state);
    uint64_t runs = 0, slabs = 0;
    for (uint32_t bin = 0; bin < HEAP_BINS; bin++) {
        uint32_t before = 0;
        for (uint32_t at = arena->bins[bin]; at; at = page_info(state, at)->next) {
            if (at >= arena->top || page_info(state, at)->kind != PAGE_FREE ||
                page_info(state, at)->prev != before || runs++ > census->free_runs)
                return bad(err, state, at, "a list of free runs");
            before = at;
        }
        if (!!arena->bins[bin] != (arena->bin_mask[bin / 64] >> bin % 64 & 1))
            return bad(err, state, 0, "the mask of the free runs");
    }
    for (uint32_t c = 0; c < HEAP_CLASSES; c++) {
        uint32_t before = 0;
        for (uint32_t at = arena->partial[c]; at; at = page_info(state, at)->next) {
            if (at >= arena->top || page_info(state, at)->kind != PAGE_SLAB ||
                page_info(state, at)->class_index != c || page_info(state, at)->prev != before ||
                slabs++ > census->partial)
                return bad(err, state, at, "a list of slabs");
            before = at;
        }
    }
    if (runs != census->free_runs || slabs != census->partial)
        return bad(err, state, 0, "a free run or a slab with room is in no list");
    return 0;
}

int state_check(State *state, Error *err)
{
    const ArenaHead *arena = arena_head(state);
    Census census = {0};
    if (arena->magic != ARENA_MAGIC || arena->base != (uintptr_t)state->base ||
        arena->data_first != state->data_first || arena->data_pages != state->data_pages ||
        arena->top < 1 || arena->top > arena->high || arena->high > state->data_pages)
        return bad(err, state, 0, "the head");
    for (uint32_t page = 1; page < arena->top; page += page_info(state, page)->pages) {
        int code = check_run(state, page, &census, err);
        if (code != 0)
            return code;
    }
    if (census.objects != arena->live_objects || census.bytes != arena->live_bytes)
        return bad(err, state, 0, "the counters of live objects and bytes");
    uint64_t room;
    if (arena->root && !heap_find(state, (void *)(uintptr_t)arena->root, &room))
        return bad(err, state, 0, "the root is no object");
    return check_lists(state, &census, err);
}

Hash state_hash(State *state)
{
    uint32_t top = arena_top(state), data = top ? top - 1 : 0;
    Hash parts[2] = {hash_bytes(state->base, (uint64_t)meta_pages(top) * PAGE_BYTES),
                     hash_bytes(page_address(state, 1), (uint64_t)data * PAGE_BYTES)};
    return hash_bytes(parts, sizeof parts);
}
