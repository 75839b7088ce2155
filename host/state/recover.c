/* After the process that ran a slot was killed: makes arena and checkpoint the last boundary again.
 * Works on the memfds alone; the store's head is not trusted. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
        !fits(store, ret->base_offset,
              ((uint64_t)ret->page_count + STATIC_PAGES_MAX) * PAGE_BYTES) ||
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
        atomic_thread_fence(memory_order_release);
        slot_of[id] = 0;
    }
    return 0;
}

/* Pages of one memfd to another; what is a hole becomes one, where reading it would give it memory
 * for good. */
typedef struct Side {
    int fd;
    uint8_t *at;
    uint64_t offset; /* in the file */
} Side;

static void copy_pages(const Side *to, const Side *from, uint64_t first, uint64_t count)
{
    uint64_t end = first + count, data, hole;
    for (uint64_t at = first; at < end; at = hole) {
        data = checkpoint_next(from->fd, SEEK_DATA, at, end, from->offset);
        hole = data < end ? checkpoint_next(from->fd, SEEK_HOLE, data, end, from->offset) : end;
        if (data > at)
            fallocate(to->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      (off_t)(to->offset + at * PAGE_BYTES), (off_t)((data - at) * PAGE_BYTES));
        if (hole <= data && data < end)
            hole = data + 1;
        memcpy(to->at + data * PAGE_BYTES, from->at + data * PAGE_BYTES,
               (size_t)((data < end ? hole - data : 0) * PAGE_BYTES));
    }
}

static int finish_copy(const StoreHead *head, const Mapped *store, const Side *arena,
                       uint64_t arena_pages, const Side *base, Error *err)
{
    const PageRange *list = (PageRange *)(store->at + head->list_offset);
    for (uint32_t i = 0; i < head->list_count; i++) {
        PageRange range = list[i];
        if (range.first > arena_pages || range.count > arena_pages - range.first)
            return err_set(err, KEEL_EDATA, "the checkpoint's list of pages is damaged");
        copy_pages(base, arena, range.first, range.count);
    }
    const uint32_t *ids = (uint32_t *)(store->at + head->stage_offset);
    const uint8_t *pages = store->at + head->stage_offset + STATIC_PAGES_MAX * sizeof(uint32_t);
    for (uint32_t i = 0; i < head->stage_count; i++) {
        if (ids[i] < arena_pages || ids[i] >= head->page_count)
            return err_set(err, KEEL_EDATA, "the checkpoint's staged statics are damaged");
        memcpy(base->at + (uint64_t)ids[i] * PAGE_BYTES, pages + (uint64_t)i * PAGE_BYTES,
               PAGE_BYTES);
    }
    return 0;
}

static void punch(const Side *side, uint64_t first, uint64_t last)
{
    if (first < last)
        fallocate(side->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(side->offset + first * PAGE_BYTES), (off_t)((last - first) * PAGE_BYTES));
}

/* What is in use is copied; pages that the allocator takes for zero are zero, in the checkpoint as
 * well: what was converted ahead may be there, and what a commit didn't get to give back. */
static void recover_arena(const Side *arena, const Side *base, uint64_t pages)
{
    const ArenaHead *kept = (const ArenaHead *)(const void *)base->at;
    uint64_t meta = meta_pages(kept->top), data = kept->data_first;
    uint64_t high = data + (kept->high > kept->top ? kept->high : kept->top);
    copy_pages(arena, base, 0, meta);
    copy_pages(arena, base, data, kept->top);
    const Side *const sides[] = {arena, base};
    for (int i = 0; i < 2; i++) {
        punch(sides[i], meta, data);
        punch(sides[i], high, pages);
    }
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
    uint64_t pages = arena.bytes / PAGE_BYTES;
    const Side from = {arena_fd, arena.at, 0}, to = {store_fd, base, code ? 0 : head.base_offset};
    if (code == 0 && head.phase == STORE_COPYING)
        code = finish_copy(&head, &store, &from, pages, &to, err);
    if (code == 0) {
        StoreHead *live = (StoreHead *)store.at;
        if (head.phase == STORE_COPYING) {
            live->sequence++;
            live->statics_noted |= head.note_next != head.note_which;
            atomic_thread_fence(memory_order_release); /* this may be killed as well */
            live->note_which = head.note_next;
        }
        live->list_count = live->stage_count = 0;
        atomic_store(&live->phase, STORE_IDLE);
        /* The arena may hold half a frame: what is in use goes back to the boundary. */
        const ArenaHead *kept = (const ArenaHead *)base;
        if (kept->magic != ARENA_MAGIC || kept->data_first >= pages ||
            kept->top > pages - kept->data_first || kept->high > pages - kept->data_first ||
            meta_pages(kept->top) > kept->data_first)
            code = err_set(err, KEEL_EDATA, "the checkpoint doesn't hold a state");
    }
    if (code == 0)
        recover_arena(&from, &to, pages);
    if (arena.at)
        munmap(arena.at, arena.bytes);
    if (store.at)
        munmap(store.at, store.bytes);
    if (pool.at)
        munmap(pool.at, pool.bytes);
    return code;
}
