/* A snapshot in memory. Owns that memory; its allocator's records are read as the slot's own would
 * be, but with addresses of there. */
#include "state/frozen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "state/internal.h"

struct Frozen {
    SnapshotReader *reader; /* NULL: of a pin */
    Snapshot pinned;        /* then: info and statics */
    State shape;            /* base is the memory here; nothing but the layout is filled */
    uint64_t base;
};

/* `bytes` bytes at an address of there, or NULL. */
static const uint8_t *here(const Frozen *f, uint64_t address, uint64_t bytes)
{
    uint64_t at = address - f->base;
    if (address < f->base || at > f->shape.max_bytes || bytes > f->shape.max_bytes - at)
        return NULL;
    return f->shape.base + at;
}

/* 1: what lies there is an arena that was at `f->base`. */
static int is_arena(const Frozen *f)
{
    const ArenaHead *head = arena_head(&f->shape);
    return head->magic == ARENA_MAGIC && head->base == f->base &&
           head->data_first == f->shape.data_first && head->top <= f->shape.data_pages && head->top;
}

static int open_reader(SnapshotReader *reader, Frozen **ret, Error *err)
{
    const SnapshotInfo *info = &snapshot_parts(reader)->info;
    Frozen *f = calloc(1, sizeof *f);
    void *memory = mmap(NULL, info->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int rc = KEEL_OK;
    if (!f || memory == MAP_FAILED) {
        rc = err_set(err, KEEL_ENOMEM, "no memory for a snapshot of %llu MiB",
                     (unsigned long long)(info->used_bytes >> 20));
        if (memory != MAP_FAILED)
            munmap(memory, info->bytes);
        free(f);
        snapshot_close(reader);
        return rc;
    }
    f->reader = reader;
    f->base = info->base;
    state_layout(&f->shape, (uintptr_t)memory, info->bytes);
    rc = snapshot_pages(reader, memory, err);
    if (rc == KEEL_OK && !is_arena(f))
        rc = err_set(err, KEEL_EDATA, "the snapshot doesn't hold a state");
    if (rc) {
        frozen_free(f);
        return rc;
    }
    *ret = f;
    return KEEL_OK;
}

int frozen_open(const char *path, Frozen **ret, Error *err)
{
    SnapshotReader *reader;
    int rc = snapshot_open(path, &reader, err);
    if (rc)
        return rc;
    rc = open_reader(reader, ret, err);
    return rc ? err_wrap(err, "%s", path) : rc;
}

int frozen_open_fd(int fd, Frozen **ret, Error *err)
{
    SnapshotReader *reader;
    int rc = snapshot_open_fd(fd, &reader, err);
    return rc ? rc : open_reader(reader, ret, err);
}

/* Pages [first, last) as the checkpoint's base has them, which holds while they are pinned. */
static int map_base(const Frozen *f, const Store *store, uint64_t first, uint64_t last)
{
    uint64_t offset = (uint64_t)(store->base - store->map) + first * PAGE_BYTES;
    return last > first && mmap(f->shape.base + first * PAGE_BYTES, (last - first) * PAGE_BYTES,
                                PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                                store->fd, (off_t)offset) == MAP_FAILED;
}

static int take_statics(Frozen *f, const Pin *pin, const PinReader *reader)
{
    uint32_t id = pin->state->store.arena_pages;
    for (int i = 0; i < pin->span_count; i++) {
        uint64_t bytes = pin->spans[i].bytes;
        uint8_t *data = malloc(bytes ? bytes : 1);
        if (!data)
            return KEEL_ENOMEM;
        f->pinned.spans[f->pinned.span_count++] =
            (SnapshotSpan){(uintptr_t)pin->spans[i].address, bytes, data};
        for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
            memcpy(data + at, pin_read(reader, id++),
                   bytes - at < PAGE_BYTES ? bytes - at : PAGE_BYTES);
    }
    return KEEL_OK;
}

int frozen_of_pin(const Pin *pin, const SnapshotInfo *info, Frozen **ret, Error *err)
{
    const State *state = pin->state;
    const Store *store = &state->store;
    PinReader reader;
    Frozen *f = calloc(1, sizeof *f);
    void *memory = mmap(NULL, state->max_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!f || memory == MAP_FAILED || pin_read_begin(pin, &reader)) {
        if (memory != MAP_FAILED)
            munmap(memory, state->max_bytes);
        free(f);
        return err_set(err, KEEL_ENOMEM, "no memory to look at a state");
    }
    f->pinned.info = *info;
    f->pinned.info.base = f->base = (uintptr_t)state->base;
    f->pinned.info.bytes = state->max_bytes;
    state_layout(&f->shape, (uintptr_t)memory, state->max_bytes);
    int bad = map_base(f, store, 0, pin->meta_pages) ||
              map_base(f, store, state->data_first, pin->data_last);
    const PageRange *table = (const PageRange *)(const void *)(store->pool + pin->table_offset);
    for (uint32_t i = 0; !bad && i < pin->table_count; i++) {
        uint32_t id = table[i].first;
        if (id < pin->meta_pages || (id >= state->data_first && id < pin->data_last))
            memcpy(f->shape.base + (uint64_t)id * PAGE_BYTES, pin_read(&reader, id), PAGE_BYTES);
    }
    int rc = bad || take_statics(f, pin, &reader)
                 ? err_set(err, KEEL_ENOMEM, "no memory to look at a state")
             : is_arena(f) ? KEEL_OK
                           : err_set(err, KEEL_EDATA, "what is pinned isn't a state");
    pin_read_end(&reader);
    if (rc)
        frozen_free(f);
    else
        *ret = f;
    return rc;
}

void frozen_free(Frozen *f)
{
    if (!f)
        return;
    munmap(f->shape.base, f->shape.max_bytes);
    snapshot_close(f->reader);
    for (int i = 0; i < f->pinned.span_count; i++)
        free(f->pinned.spans[i].data);
    free(f);
}

const Snapshot *frozen_snapshot(const Frozen *f)
{
    return f->reader ? snapshot_parts(f->reader) : &f->pinned;
}

uint64_t frozen_root(const Frozen *f)
{
    return arena_head(&f->shape)->root;
}

/* ---- objects ---- */

static const TypeRecord *record_of(const Frozen *f, uint32_t id)
{
    const ArenaHead *head = arena_head(&f->shape);
    if (id == TYPE_OPAQUE || id > head->type_count)
        return NULL;
    return (const TypeRecord *)(const void *)here(
        f, head->types + (uint64_t)(id - 1) * sizeof(TypeRecord), sizeof(TypeRecord));
}

/* A text that ends inside the arena, or "". */
static const char *text_at(const Frozen *f, uint64_t address)
{
    const char *text = (const char *)here(f, address, 1);
    uint64_t left = f->base + f->shape.max_bytes - address;
    return text && memchr(text, 0, left < 8192 ? left : 8192) ? text : "";
}

/* Fills `ret` from an object's head (here) with `room` bytes behind it; 0 when it is the host's own
 * or doesn't fit. */
static int describe(const Frozen *f, const ObjectHead *head, uint64_t room, FrozenObject *ret)
{
    if (head->type == TYPE_INTERNAL)
        return 0;
    const TypeRecord *type = record_of(f, head->type);
    uint64_t bytes = head->count;
    *ret = (FrozenObject){.count = head->count, .type = "", .file = ""};
    if (type) {
        ret->type = text_at(f, type->text);
        ret->file = text_at(f, type->text + strlen(ret->type) + 1);
        if (__builtin_mul_overflow(type->bytes, head->count, &bytes))
            return 0;
    } else if (head->type != TYPE_OPAQUE) {
        return 0;
    }
    if (bytes > room)
        return 0;
    ret->bytes = bytes;
    ret->data = (const uint8_t *)(head + 1);
    ret->address = f->base + (uint64_t)(ret->data - f->shape.base);
    return 1;
}

int frozen_at(const Frozen *f, uint64_t address, FrozenObject *ret)
{
    const uint8_t *at = here(f, address, 1);
    uint64_t room;
    const ObjectHead *head = at ? heap_find(&f->shape, at, &room) : NULL;
    return head && describe(f, head, room, ret);
}

static int each_in_slab(const Frozen *f, uint32_t page, FrozenVisit *visit, void *user)
{
    const PageInfo *info = page_info(&f->shape, page);
    uint32_t bytes = heap_slot_bytes(info->class_index);
    uint64_t end = (uint64_t)heap_slab_pages(info->class_index) * PAGE_BYTES;
    for (uint32_t slot = 0; slot < info->fresh && (uint64_t)(slot + 1) * bytes <= end; slot++) {
        const uint8_t *at = page_address(&f->shape, page) + (uint64_t)slot * bytes;
        const ObjectHead *head = (const ObjectHead *)(const void *)at;
        uint64_t skip = head->mark == MARK_SKIP ? head->count : HEAD_BYTES, room;
        FrozenObject object;
        head = skip < bytes ? heap_find(&f->shape, at + skip, &room) : NULL;
        int rc = head && describe(f, head, room, &object) ? visit(&object, user) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int frozen_each(const Frozen *f, FrozenVisit *visit, void *user)
{
    uint32_t top = arena_head(&f->shape)->top;
    for (uint32_t page = 1; page < top;) {
        const PageInfo *info = page_info(&f->shape, page);
        int rc = 0;
        if (info->kind == PAGE_SLAB && info->class_index < HEAP_CLASSES &&
            heap_slab_pages(info->class_index) <= top - page) {
            rc = each_in_slab(f, page, visit, user);
        } else if (info->kind == PAGE_LARGE && info->pages && info->pages <= top - page &&
                   info->object_offset < (uint64_t)info->pages * PAGE_BYTES) {
            FrozenObject object;
            uint64_t room;
            const ObjectHead *head =
                heap_find(&f->shape, page_address(&f->shape, page) + info->object_offset, &room);
            rc = head && describe(f, head, room, &object) ? visit(&object, user) : 0;
        }
        if (rc)
            return rc;
        page += info->pages && info->pages <= top - page ? info->pages : 1;
    }
    return 0;
}

int frozen_around(const Frozen *f, uint64_t address, FrozenObject *ret)
{
    const uint8_t *at = here(f, address, 1);
    const State *shape = &f->shape;
    if (!at || at < page_address(shape, 1))
        return 0;
    uint64_t page = (uint64_t)(at - page_address(shape, 0)) / PAGE_BYTES;
    uint32_t top = arena_head(shape)->top;
    if (page >= top)
        return 0;
    /* Pages inside a large run have no record: its start is the last record before. */
    while (page > 1 && page_info(shape, (uint32_t)page)->kind == PAGE_UNUSED)
        page--;
    const PageInfo *info = page_info(shape, (uint32_t)page);
    if (info->kind == PAGE_SLAB_INNER || info->kind == PAGE_LARGE_INNER) {
        page = info->first;
        if (page >= top)
            return 0;
        info = page_info(shape, (uint32_t)page);
    }
    const uint8_t *start = page_address(shape, (uint32_t)page), *object;
    uint64_t room;
    if (start > at) /* damaged: a run begins behind its own page */
        return 0;
    if (info->kind == PAGE_LARGE) {
        if (info->object_offset >= (uint64_t)info->pages * PAGE_BYTES || info->pages > top - page)
            return 0;
        object = start + info->object_offset;
    } else if (info->kind == PAGE_SLAB && info->class_index < HEAP_CLASSES) {
        uint32_t bytes = heap_slot_bytes(info->class_index);
        const uint8_t *slot = start + (uint64_t)(at - start) / bytes * bytes;
        const ObjectHead *head = (const ObjectHead *)(const void *)slot;
        object = slot + (head->mark == MARK_SKIP && head->count < bytes ? head->count : HEAD_BYTES);
    } else {
        return 0;
    }
    const ObjectHead *head = here(f, f->base + (uint64_t)(object - shape->base), 1)
                                 ? heap_find(shape, object, &room)
                                 : NULL;
    return head && describe(f, head, room, ret) && address >= ret->address &&
           address - ret->address < ret->bytes;
}

/* ---- comparing ---- */

typedef struct Comparison {
    const Frozen *before, *after;
    FrozenTell *tell;
    void *user;
    uint64_t differing, only_pointers;
} Comparison;

static void told(Comparison *c, const FrozenDifference *difference)
{
    c->differing++;
    if (c->tell)
        c->tell(difference, c->user);
}

static int into_image(const Frozen *f, uint64_t word)
{
    const SnapshotInfo *info = &frozen_snapshot(f)->info;
    return word >= info->load_first && word < info->load_last;
}

static void compare_bytes(Comparison *c, const FrozenObject *a, const FrozenObject *b)
{
    FrozenDifference d = {.change = FROZEN_BYTES, .before = a, .after = b, .first = UINT64_MAX};
    int pointers = 0;
    for (uint64_t at = 0; at < a->bytes; at += 8) {
        uint64_t x = 0, y = 0, n = a->bytes - at < 8 ? a->bytes - at : 8;
        memcpy(&x, a->data + at, n);
        memcpy(&y, b->data + at, n);
        if (x == y)
            continue;
        if (into_image(c->before, x) && into_image(c->after, y)) {
            pointers = 1;
            continue;
        }
        if (!d.words++)
            for (d.first = at; a->data[d.first] == b->data[d.first];)
                d.first++;
    }
    if (d.words)
        told(c, &d);
    else
        c->only_pointers += (uint64_t)pointers;
}

static int see_before(const FrozenObject *a, void *user)
{
    Comparison *c = user;
    FrozenObject b;
    if (!frozen_at(c->after, a->address, &b)) {
        told(c, &(FrozenDifference){.change = FROZEN_ONLY_OLD, .before = a});
    } else if (strcmp(a->type, b.type) != 0 || a->bytes != b.bytes || a->count != b.count) {
        told(c, &(FrozenDifference){.change = FROZEN_TYPE, .before = a, .after = &b});
    } else {
        compare_bytes(c, a, &b);
    }
    return 0;
}

static int see_after(const FrozenObject *b, void *user)
{
    Comparison *c = user;
    FrozenObject a;
    if (!frozen_at(c->before, b->address, &a))
        told(c, &(FrozenDifference){.change = FROZEN_ONLY_NEW, .after = b});
    return 0;
}

uint64_t frozen_compare(const Frozen *before, const Frozen *after, FrozenTell *tell, void *user,
                        uint64_t *ret_only_pointers)
{
    Comparison c = {before, after, tell, user, 0, 0};
    frozen_each(before, see_before, &c);
    frozen_each(after, see_after, &c);
    if (ret_only_pointers)
        *ret_only_pointers = c.only_pointers;
    return c.differing;
}
