/* After the process that ran a slot was killed: makes arena and checkpoint the last boundary again.
 * Works on the memfds alone; the store's head is not trusted. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "state/internal.h"

typedef struct Mapped {
    uint8_t *at;
    uint64_t bytes;
} Mapped;

static int map_whole(int fd, Mapped *ret, Error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(err, KEEL_EIO, errno, "cannot look at a memfd of the state");
    void *at =
        mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map a memfd of the state");
    *ret = (Mapped){at, (uint64_t)st.st_size};
    return 0;
}

static int fits(const Mapped *in, uint64_t offset, uint64_t bytes)
{
    return offset % PAGE_BYTES == 0 && offset <= in->bytes && bytes <= in->bytes - offset;
}

static int check_head(const Mapped *store, const Mapped *arena, StoreHead *ret, Error *err)
{
    if (store->bytes < PAGE_BYTES)
        return err_set(err, KEEL_EDATA, "not a checkpoint");
    memcpy(ret, store->at, sizeof *ret);
    uint64_t pages = arena->bytes / PAGE_BYTES;
    if (ret->magic != STORE_MAGIC || ret->arena_bytes != arena->bytes ||
        ret->page_count != pages + STATIC_PAGES_MAX ||
        !fits(store, ret->base_offset, (uint64_t)ret->page_count * PAGE_BYTES) ||
        !fits(store, ret->list_offset, (uint64_t)ret->list_room * sizeof(PageRange)) ||
        ret->list_count > ret->list_room || ret->stage_room != STATIC_PAGES_MAX ||
        ret->stage_count > ret->stage_room || ret->note_which > 1 || ret->note_next > 1 ||
        !fits(store, ret->note_offset, 2 * (uint64_t)NOTE_ROOM) ||
        !fits(store, ret->stage_offset,
              STATIC_PAGES_MAX * sizeof(uint32_t) + (uint64_t)STATIC_PAGES_MAX * PAGE_BYTES))
        return err_set(err, KEEL_EDATA, "the checkpoint's head is damaged");
    return 0;
}

/* Versions that the pool held for pins go to the base; nobody needs the older ones now. */
static int drain_pool(const StoreHead *head, const Mapped *pool, uint8_t *base, Error *err)
{
    if (!fits(pool, 0, (uint64_t)head->page_count * 4) || head->slots_offset > pool->bytes)
        return err_set(err, KEEL_EDATA, "the pool doesn't belong to the checkpoint");
    uint32_t *slot_of = (uint32_t *)pool->at;
    uint64_t slots = (pool->bytes - head->slots_offset) / PAGE_BYTES;
    for (uint32_t id = 0; id < head->page_count; id++) {
        if (!slot_of[id])
            continue;
        if (slot_of[id] > slots)
            return err_set(err, KEEL_EDATA, "the pool's map is damaged");
        memcpy(base + (uint64_t)id * PAGE_BYTES,
               pool->at + head->slots_offset + (uint64_t)(slot_of[id] - 1) * PAGE_BYTES,
               PAGE_BYTES);
        slot_of[id] = 0;
    }
    return 0;
}

static int finish_copy(const StoreHead *head, const Mapped *store, const Mapped *arena, Error *err)
{
    uint8_t *base = store->at + head->base_offset;
    uint64_t arena_pages = arena->bytes / PAGE_BYTES;
    const PageRange *list = (PageRange *)(store->at + head->list_offset);
    for (uint32_t i = 0; i < head->list_count; i++) {
        PageRange range = list[i];
        if (range.first > arena_pages || range.count > arena_pages - range.first)
            return err_set(err, KEEL_EDATA, "the checkpoint's list of pages is damaged");
        uint64_t at = (uint64_t)range.first * PAGE_BYTES;
        memcpy(base + at, arena->at + at, (uint64_t)range.count * PAGE_BYTES);
    }
    const uint32_t *ids = (uint32_t *)(store->at + head->stage_offset);
    const uint8_t *pages = store->at + head->stage_offset + STATIC_PAGES_MAX * sizeof(uint32_t);
    for (uint32_t i = 0; i < head->stage_count; i++) {
        if (ids[i] < arena_pages || ids[i] >= head->page_count)
            return err_set(err, KEEL_EDATA, "the checkpoint's staged statics are damaged");
        memcpy(base + (uint64_t)ids[i] * PAGE_BYTES, pages + (uint64_t)i * PAGE_BYTES, PAGE_BYTES);
    }
    return 0;
}

static void recover_arena(int fd, uint8_t *arena, const uint8_t *base, uint64_t bytes)
{
    const ArenaHead *kept = (const ArenaHead *)base;
    uint64_t meta = (uint64_t)meta_pages(kept->top) * PAGE_BYTES;
    uint64_t data = (uint64_t)kept->data_first * PAGE_BYTES;
    uint64_t high = data + (uint64_t)kept->high * PAGE_BYTES;
    memcpy(arena, base, meta);
    memcpy(arena + data, base + data, (uint64_t)kept->top * PAGE_BYTES);
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)meta, (off_t)(data - meta));
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)high, (off_t)(bytes - high));
}

int recover_store(int arena_fd, int store_fd, int pool_fd, Error *err)
{
    Mapped arena = {0}, store = {0}, pool = {0};
    StoreHead head;
    int code = map_whole(arena_fd, &arena, err);
    if (code == 0)
        code = map_whole(store_fd, &store, err);
    if (code == 0)
        code = check_head(&store, &arena, &head, err);
    if (code == 0 && pool_fd >= 0)
        code = map_whole(pool_fd, &pool, err);
    uint8_t *base = code == 0 ? store.at + head.base_offset : NULL;
    if (code == 0 && pool.at)
        code = drain_pool(&head, &pool, base, err);
    if (code == 0 && head.phase == STORE_COPYING)
        code = finish_copy(&head, &store, &arena, err);
    if (code == 0) {
        StoreHead *live = (StoreHead *)store.at;
        if (head.phase == STORE_COPYING) {
            live->sequence++;
            live->statics_noted |= head.note_next != head.note_which;
            live->note_which = head.note_next;
        }
        live->list_count = live->stage_count = 0;
        atomic_store(&live->phase, STORE_IDLE);
        /* The arena may hold half a frame: what is in use goes back to the boundary. */
        const ArenaHead *kept = (const ArenaHead *)base;
        uint64_t pages = arena.bytes / PAGE_BYTES;
        if (kept->magic != ARENA_MAGIC || kept->data_first >= pages ||
            kept->top > pages - kept->data_first || kept->high > pages - kept->data_first ||
            meta_pages(kept->top) > kept->data_first)
            code = err_set(err, KEEL_EDATA, "the checkpoint doesn't hold a state");
    }
    if (code == 0)
        recover_arena(arena_fd, arena.at, base, arena.bytes);
    if (arena.at)
        munmap(arena.at, arena.bytes);
    if (store.at)
        munmap(store.at, store.bytes);
    if (pool.at)
        munmap(pool.at, pool.bytes);
    return code;
}
