/* All live objects of a state, found by any address inside of them in constant time. Owned by one
 * migration. [frame] */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "state/migrate_run.h"

/* From here on the table of pages is mapped: of a large array's run nothing is written in it, and
 * calloc would clear memory that it has had before. */
enum { MAPPED_BYTES = 1 << 20 };

static Object *add_object(Walk *w)
{
    if (w->count == w->room) {
        uint32_t room = w->room ? w->room * 2 : 1024;
        Object *more = realloc(w->objects, (size_t)room * sizeof *more);
        if (!more)
            return NULL;
        w->objects = more;
        w->room = room;
    }
    Object *object = &w->objects[w->count++];
    memset(object, 0, sizeof *object);
    return object;
}

/* The pair of an arena's type, asked for once. */
static uint32_t pair_of(Walk *w, uint32_t type)
{
    if (type == TYPE_OPAQUE || type > w->type_count)
        return 0;
    if (w->pair_of_type[type] == UINT32_MAX) {
        const TypeRecord *record = type_record(w->state, type);
        const char *spelled, *file;
        uint32_t pair = record && type_texts(w->state, record, &spelled, &file)
                            ? plan_learn(w->m, spelled, file)
                            : 0;
        if (pair && pair_at(w->m, pair)->from_bytes != record->bytes)
            pair = 0; /* the debug information is of another build */
        w->pair_of_type[type] = pair;
    }
    return w->pair_of_type[type];
}

/* The module can write there. */
static int damaged(Walk *w)
{
    return walk_refuse(w,
                       "the records of the state at %p are damaged: something wrote past an "
                       "object's end or through a stale pointer",
                       (void *)w->state->base);
}

/* `room`: bytes behind its head. */
static int take(Walk *w, ObjectHead *head, uint64_t room)
{
    Object *object = add_object(w);
    if (!object)
        return KEEL_ENOMEM;
    if (head->type == TYPE_INTERNAL)
        return 0;
    object->at = object->to = (uint8_t *)(head + 1);
    object->type = head->type;
    object->bytes = heap_object_bytes(w->state, head);
    if (object->bytes > room)
        return damaged(w);
    object->pair = pair_of(w, head->type);
    object->flags = head->reserved & 1 ? OBJECT_MARKED : 0;
    object->count = head->type == TYPE_OPAQUE ? 1 : head->count;
    w->loose += head->type == TYPE_OPAQUE ||
                (object->pair &&
                 w->m->from->types[pair_at(w->m, object->pair)->from].kind != SCHEMA_RECORD);
    return 0;
}

static int take_slab(Walk *w, uint32_t page)
{
    const PageInfo info = *page_info(w->state, page);
    uint32_t bytes = heap_slot_bytes(info.class_index), first = w->count;
    uint32_t pages = heap_slab_pages(info.class_index);
    if (pages > w->top - page || (uint64_t)info.fresh * bytes > (uint64_t)pages * PAGE_BYTES)
        return damaged(w);
    for (uint32_t slot = 0; slot < info.fresh; slot++) {
        ObjectHead *head = (ObjectHead *)(page_address(w->state, page) + (uint64_t)slot * bytes);
        uint64_t before = HEAD_BYTES;
        if (head->mark == MARK_SKIP && head->count % HEAD_BYTES == 0 && head->count >= HEAD_BYTES &&
            head->count < bytes) {
            before = head->count;
            head = (ObjectHead *)((uint8_t *)head + before - HEAD_BYTES);
        }
        int rc = head->mark == MARK_LIVE ? take(w, head, bytes - before)
                 : add_object(w)         ? 0
                                         : KEEL_ENOMEM;
        if (rc)
            return rc;
    }
    PageObjects here = {.first = first,
                        .count = info.fresh,
                        .run = page,
                        .slot_bytes = bytes,
                        .inverse = (uint32_t)((UINT64_C(1) << 32) / bytes + 1),
                        .pair = UINT32_MAX};
    for (uint32_t i = first; i < w->count; i++) {
        const Object *object = &w->objects[i];
        const uint8_t *slot = page_address(w->state, page) + (uint64_t)(i - first) * bytes;
        if (!object->at || object->type == TYPE_OPAQUE || object->at != slot + HEAD_BYTES)
            here.opaque = 1; /* free ones too: a stale pointer isn't followed */
        here.pair = i == first || here.pair == object->pair ? object->pair : UINT32_MAX;
    }
    for (uint32_t i = 0; i < pages; i++)
        w->pages[page + i] = here;
    return 0;
}

/* Exact while offset × slot_bytes is below 2^32: a slab has eight slots, or one page. */
static uint32_t slot_of(const PageObjects *here, uint32_t offset)
{
    if (here->slot_bytes > 16384)
        return offset / here->slot_bytes;
    return (uint32_t)((uint64_t)offset * here->inverse >> 32);
}

ObjectHead *index_room(const Walk *w, const Object *object, uint64_t *ret_room)
{
    uint64_t page = (uint64_t)(object->at - page_address(w->state, 0)) / PAGE_BYTES;
    const PageObjects *here = &w->pages[page < w->top ? page : 0];
    if (!here->count || here->opaque)
        return heap_find(w->state, object->at, ret_room);
    *ret_room = here->slot_bytes - HEAD_BYTES;
    return (ObjectHead *)(void *)object->at - 1;
}

uint32_t index_start(const Walk *w, uint64_t address, uint64_t *ret_now)
{
    if (!w->pages) /* no index is made where all objects stay as they are */
        return UINT32_MAX;
    uint64_t page = (address - (uintptr_t)page_address(w->state, 0)) / PAGE_BYTES;
    const PageObjects *here = &w->pages[page < w->top ? page : 0];
    if (!here->count || here->opaque)
        return UINT32_MAX;
    uint32_t offset = (uint32_t)(address - (uintptr_t)page_address(w->state, here->run));
    uint32_t slot = slot_of(here, offset);
    if (offset - slot * here->slot_bytes != HEAD_BYTES || slot >= here->count)
        return UINT32_MAX;
    uint64_t moved = here->moved ? w->moved_to[here->first + slot] : 0;
    *ret_now = moved ? moved : address;
    return here->pair;
}

int index_moved(Walk *w, const Object *object)
{
    if (!w->moved_to && !(w->moved_to = calloc(w->count, sizeof *w->moved_to)))
        return KEEL_ENOMEM;
    w->moved_to[object - w->objects] = (uintptr_t)object->to;
    uint64_t page = (uint64_t)(object->at - page_address(w->state, 0)) / PAGE_BYTES;
    if (!w->pages[page].count)
        return KEEL_OK;
    uint32_t run = w->pages[page].run, pages = page_info(w->state, run)->pages;
    for (uint32_t i = 0; i < pages && run + i < w->top; i++)
        w->pages[run + i].moved = 1;
    return KEEL_OK;
}

static int take_large(Walk *w, uint32_t page)
{
    const PageInfo *info = page_info(w->state, page);
    uint64_t offset = info->object_offset, bytes = (uint64_t)info->pages * PAGE_BYTES;
    if (info->pages > w->top - page || offset < HEAD_BYTES || offset % HEAD_BYTES ||
        offset >= bytes)
        return damaged(w);
    if (w->large_count == w->large_room) {
        uint32_t room = w->large_room ? w->large_room * 2 : 64;
        uint32_t *more = realloc(w->larges, room * sizeof *more);
        if (!more)
            return KEEL_ENOMEM;
        w->larges = more;
        w->large_room = room;
    }
    w->larges[w->large_count++] = w->count;
    return take(w, (ObjectHead *)(page_address(w->state, page) + offset - HEAD_BYTES),
                bytes - offset);
}

static PageObjects *take_table(uint64_t bytes)
{
    if (bytes < MAPPED_BYTES)
        return calloc(1, bytes);
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

static void give_table(PageObjects *table, uint64_t bytes)
{
    if (bytes < MAPPED_BYTES)
        free(table);
    else if (table)
        munmap(table, bytes);
}

static uint64_t table_bytes(const Walk *w)
{
    return ((uint64_t)w->top + 1) * sizeof *w->pages;
}

int index_build(Walk *w)
{
    w->top = arena_top(w->state);
    w->type_count = type_count(w->state);
    w->pages = take_table(table_bytes(w));
    w->pair_of_type = malloc((w->type_count + 1) * sizeof *w->pair_of_type);
    if (!w->pages || !w->pair_of_type)
        return KEEL_ENOMEM;
    memset(w->pair_of_type, 0xff, (w->type_count + 1) * sizeof *w->pair_of_type);
    for (uint32_t page = 1; page < w->top;) {
        const PageInfo *info = page_info(w->state, page);
        int rc = 0;
        if (info->kind == PAGE_SLAB && info->class_index < HEAP_CLASSES)
            rc = take_slab(w, page);
        else if (info->kind == PAGE_LARGE)
            rc = take_large(w, page);
        if (rc)
            return rc;
        page += info->pages && info->pages <= w->top - page ? info->pages : 1;
    }
    return w->m->failed;
}

void index_done(Walk *w)
{
    free(w->objects);
    give_table(w->pages, table_bytes(w));
    free(w->larges);
    free(w->moved_to);
    free(w->pair_of_type);
    free(w->queue);
}

static Object *holds(Object *object, uint64_t address)
{
    uint64_t at = (uintptr_t)object->at;
    return at && address >= at && address - at <= object->bytes ? object : NULL;
}

static Object *find_large(const Walk *w, uint64_t address)
{
    uint32_t low = 0, high = w->large_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uintptr_t)w->objects[w->larges[middle]].at <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? holds(&w->objects[w->larges[low - 1]], address) : NULL;
}

static Object *find_at(const Walk *w, uint64_t look, uint64_t address)
{
    uint64_t page = (look - (uintptr_t)page_address(w->state, 0)) / PAGE_BYTES;
    if (page >= w->top)
        return NULL;
    const PageObjects *here = &w->pages[page];
    if (!here->count)
        return find_large(w, address);
    uint32_t offset = (uint32_t)(look - (uintptr_t)page_address(w->state, here->run));
    uint32_t slot = slot_of(here, offset);
    return slot < here->count ? holds(&w->objects[here->first + slot], address) : NULL;
}

Object *index_find(const Walk *w, uint64_t address)
{
    if (address < (uintptr_t)page_address(w->state, 1))
        return NULL;
    Object *found = find_at(w, address, address);
    return found ? found : find_at(w, address - 1, address);
}
