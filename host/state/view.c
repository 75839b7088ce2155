/* A pin seen from another process: descriptors, and a plain description that the other side doesn't
 * trust. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/internal.h"

#define VIEW_MAGIC UINT64_C(0x6b65656c76696577) /* "keelview" */

typedef struct PlainView {
    uint64_t magic;
    uint64_t arena_base, arena_bytes;
    uint64_t base_offset;  /* of the arena's first page in fds[0] */
    uint64_t table_offset; /* in fds[1]: table_count × {uint32_t id, slot + 1} */
    uint64_t slots_offset; /* in fds[1] */
    uint32_t meta_pages, data_first, data_last;
    uint32_t table_count, slot_limit;
    uint32_t reserved;
} PlainView;
_Static_assert(sizeof(PlainView) <= STATE_VIEW_BYTES, "fits into a StateView");

int state_pin_view(const Pin *pin, StateView *ret, Error *err)
{
    if (!pin)
        return err_set(err, KEEL_EINVAL, "no pin");
    if (pin->place >= STATE_PINS)
        return err_set(err, KEEL_EINVAL, "this pin is for its own process only");
    const State *state = pin->state;
    const Store *store = &state->store;
    PlainView plain = {.magic = VIEW_MAGIC,
                       .arena_base = (uintptr_t)state->base,
                       .arena_bytes = state->max_bytes,
                       .base_offset = store->head->base_offset,
                       .table_offset = pin->table_offset,
                       .slots_offset = store->head->slots_offset,
                       .meta_pages = pin->meta_pages,
                       .data_first = state->data_first,
                       .data_last = pin->data_last,
                       .table_count = pin->table_count,
                       .slot_limit = store->slot_limit};
    *ret = (StateView){.fd_count = 2, .bytes = sizeof plain};
    ret->fds[0] = store->fd;
    ret->fds[1] = store->pool_fd;
    for (int i = 2; i < STATE_VIEW_FDS; i++)
        ret->fds[i] = -1;
    memcpy(ret->plain, &plain, sizeof plain);
    return 0;
}

/* [offset, offset + bytes) lies in the file, is page-aligned, and the file can't shrink. */
static int inside(int fd, uint64_t offset, uint64_t bytes, Error *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &st) != 0 || seals < 0)
        return err_errno(err, KEEL_EDATA, errno, "a descriptor of the view is no memfd");
    /* Files of a kept state can't be sealed; nobody but this user reaches them. */
    if (!(seals & F_SEAL_SHRINK) && (st.st_uid != geteuid() || (st.st_mode & 077) != 0))
        return err_set(err, KEEL_EDATA, "a memfd of the view could shrink under its reader");
    uint64_t size = (uint64_t)st.st_size;
    if (offset % PAGE_BYTES != 0 || offset > size || bytes > size - offset)
        return err_set(err, KEEL_EDATA, "the view reaches past the end of its memfd");
    return 0;
}

static int check_view(const StateView *view, PlainView *ret, Error *err)
{
    if (view->fd_count != 2 || view->bytes != sizeof *ret)
        return err_set(err, KEEL_EDATA, "a view of another form");
    memcpy(ret, view->plain, sizeof *ret);
    State shape;
    if (ret->magic != VIEW_MAGIC || ret->reserved != 0)
        return err_set(err, KEEL_EDATA, "not a view of a state");
    if (ret->arena_bytes == 0 || ret->arena_bytes % STATE_GRAIN_BYTES != 0 ||
        ret->arena_bytes > STATE_SPACE_BYTES || ret->arena_base < STATE_BASE ||
        (ret->arena_base - STATE_BASE) % STATE_GRAIN_BYTES != 0 ||
        ret->arena_base - STATE_BASE > STATE_SPACE_BYTES - ret->arena_bytes)
        return err_set(err, KEEL_EDATA, "the view's address range is not one of a state");
    state_layout(&shape, ret->arena_base, ret->arena_bytes);
    if (ret->data_first != shape.data_first || ret->data_last <= ret->data_first ||
        ret->data_last > ret->data_first + shape.data_pages ||
        ret->meta_pages != meta_pages(ret->data_last - ret->data_first))
        return err_set(err, KEEL_EDATA, "the view's extents don't fit together");
    int code = inside(view->fds[0], ret->base_offset, ret->arena_bytes, err);
    if (code == 0)
        code = inside(view->fds[1], ret->table_offset, (uint64_t)ret->table_count * 8, err);
    if (code == 0)
        code = inside(view->fds[1], ret->slots_offset, (uint64_t)ret->slot_limit * PAGE_BYTES, err);
    return code;
}

static int map_private(const State *state, int fd, uint64_t base_offset, uint64_t first,
                       uint64_t last, Error *err)
{
    if (last <= first)
        return 0;
    void *at = state->base + first * PAGE_BYTES;
    if (mmap(at, (last - first) * PAGE_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)(base_offset + first * PAGE_BYTES)) == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map the view");
    return 0;
}

/* Pages whose pinned version is in the pool. */
static int apply_table(const State *state, const StateView *view, const PlainView *plain,
                       Error *err)
{
    uint32_t entries[512][2];
    for (uint32_t done = 0; done < plain->table_count;) {
        uint32_t n = plain->table_count - done < 512 ? plain->table_count - done : 512;
        ssize_t want = (ssize_t)n * 8;
        if (pread(view->fds[1], entries, (size_t)want,
                  (off_t)(plain->table_offset + (uint64_t)done * 8)) != want)
            return err_errno(err, KEEL_EIO, errno, "cannot read the view's table");
        for (uint32_t i = 0; i < n; i++) {
            uint32_t id = entries[i][0], slot = entries[i][1];
            if (slot == 0 || slot > plain->slot_limit)
                return err_set(err, KEEL_EDATA, "the view names a page that its pool hasn't");
            int in_use =
                id < plain->meta_pages || (id >= plain->data_first && id < plain->data_last);
            if (!in_use)
                continue; /* of the statics, or not in use at the pinned moment */
            if (pread(view->fds[1], state->base + (uint64_t)id * PAGE_BYTES, PAGE_BYTES,
                      (off_t)(plain->slots_offset + (uint64_t)(slot - 1) * PAGE_BYTES)) !=
                PAGE_BYTES)
                return err_errno(err, KEEL_EIO, errno, "cannot read a page of the view");
        }
        done += n;
    }
    return 0;
}

int state_adopt(const StateView *view, State **ret, Error *err)
{
    PlainView plain;
    uint64_t base;
    int code = check_view(view, &plain, err);
    if (code == 0)
        code = space_take(plain.arena_bytes, plain.arena_base, &base, err);
    if (code != 0)
        return code;
    State *state = calloc(1, sizeof *state);
    if (!state) {
        space_give(base, plain.arena_bytes);
        return err_set(err, KEEL_ENOMEM, "no memory for a state");
    }
    state->arena_fd = state->store.fd = state->store.pool_fd = state->kept_lock = -1;
    state->track.uffd = state->track.pagemap = -1;
    state_layout(state, base, plain.arena_bytes);
    state->adopted = 1;
    state->tier = STATE_TIER_OFF;
    snprintf(state->tier_reason, sizeof state->tier_reason,
             "a private view of another process's state");
    /* Anonymous all over, then what is in use over it. */
    if (mmap(state->base, state->max_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        code = err_errno(err, KEEL_ENOMEM, errno, "cannot map the view");
    if (code == 0)
        code = map_private(state, view->fds[0], plain.base_offset, 0, plain.meta_pages, err);
    if (code == 0)
        code = map_private(state, view->fds[0], plain.base_offset, plain.data_first,
                           plain.data_last, err);
    if (code == 0)
        code = apply_table(state, view, &plain, err);
    ArenaHead *head = arena_head(state);
    if (code == 0 &&
        (head->magic != ARENA_MAGIC || head->base != base ||
         head->data_first != state->data_first || head->data_pages != state->data_pages ||
         head->top != plain.data_last - plain.data_first || head->high < head->top ||
         head->high > state->data_pages))
        code = err_set(err, KEEL_EDATA, "the view doesn't hold a state");
    if (code == 0) {
        state->live_high = head->high;
        shim_init(state);
        *ret = state;
        return 0;
    }
    state_close(state);
    return code;
}

int state_view_statics(const StateView *view, const StateSpan *spans, int count, Error *err)
{
    PlainView plain;
    int code = check_view(view, &plain, err);
    if (code != 0)
        return code;
    uint32_t pages = (uint32_t)(plain.arena_bytes / PAGE_BYTES), n = 0;
    uint8_t page[PAGE_BYTES];
    for (int i = 0; i < count; i++)
        for (uint64_t at = 0; at < spans[i].bytes; at += PAGE_BYTES, n++) {
            uint64_t left = spans[i].bytes - at;
            off_t where = (off_t)(plain.base_offset + ((uint64_t)pages + n) * PAGE_BYTES);
            uint32_t entry[2];
            for (uint32_t k = 0; k < plain.table_count; k++) {
                if (pread(view->fds[1], entry, 8, (off_t)(plain.table_offset + k * UINT64_C(8))) !=
                    8)
                    return err_errno(err, KEEL_EIO, errno, "cannot read the view's table");
                if (entry[0] != pages + n || !entry[1] || entry[1] > plain.slot_limit)
                    continue;
                if (pread(view->fds[1], page, PAGE_BYTES,
                          (off_t)(plain.slots_offset + (uint64_t)(entry[1] - 1) * PAGE_BYTES)) !=
                    PAGE_BYTES)
                    return err_errno(err, KEEL_EIO, errno, "cannot read a page of the view");
                where = -1;
                break;
            }
            if (where >= 0 && pread(view->fds[0], page, PAGE_BYTES, where) != PAGE_BYTES)
                return err_errno(err, KEEL_EIO, errno, "cannot read a page of the view");
            memcpy((uint8_t *)spans[i].address + at, page, left < PAGE_BYTES ? left : PAGE_BYTES);
        }
    return 0;
}
