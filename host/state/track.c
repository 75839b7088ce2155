/* The tracking tier: which pages were written, as the kernel knows it (asynchronous write-protect
 * by userfaultfd, asked by PAGEMAP_SCAN; Linux 6.7). Owns the userfaultfd, whose close ends the
 * protection. [frame] */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/internal.h"
#include "state/kernel.h"

enum {
    REGIONS = 4096,
    /* Up to here comparing everything (about 60 ns a warm page) beats a system call and a fault a
       page. */
    COMPARE_PAGES = 48
};

static int refused(char *ret_reason, size_t bytes, const char *what, int number)
{
    snprintf(ret_reason, bytes, "%s: %s", what, strerror(number));
    return KEEL_EUNSUPPORTED;
}

static int scan(const State *state, uint64_t first, uint64_t last, uint64_t flags,
                PageRegion *regions, uint64_t room, uint64_t *ret_end)
{
    /* Mask and return mask of just this category take the kernel's short way: measured here 0.17 µs
     * a MiB, others 0.5. */
    PagemapScan ask = {.size = sizeof ask,
                       .flags = flags,
                       .start = (uintptr_t)state->base + first * PAGE_BYTES,
                       .end = (uintptr_t)state->base + last * PAGE_BYTES,
                       .vec = (uintptr_t)regions,
                       .vec_len = room,
                       .category_mask = SCAN_WRITTEN,
                       .return_mask = SCAN_WRITTEN};
    int count = ioctl(state->track.pagemap, PAGEMAP_SCAN_IOCTL, &ask);
    if (count >= 0)
        *ret_end = (ask.walk_end - (uintptr_t)state->base) / PAGE_BYTES;
    return count < 0 ? -errno : count;
}

/* Writes to a page that nobody uses yet, and asks. */
static int self_test(State *state, char *ret_reason, size_t bytes)
{
    PageRegion region[2];
    uint64_t end, page = state->data_first;
    volatile uint8_t *byte = state->base + page * PAGE_BYTES;
    for (int round = 0; round < 2; round++) {
        *byte = 0;
        int found =
            scan(state, page, page + 1, SCAN_FLAG_WP | SCAN_FLAG_CHECK_WPASYNC, region, 2, &end);
        if (found < 0)
            return refused(ret_reason, bytes,
                           "PAGEMAP_SCAN is refused (Linux before 6.7, or a filter)", -found);
        int still = scan(state, page, page + 1, 0, region, 2, &end);
        if (found != 1 || still != 0)
            return refused(ret_reason, bytes, "PAGEMAP_SCAN doesn't report writes here", ENOTSUP);
    }
    return 0;
}

int track_open(State *state, char *ret_reason, size_t bytes)
{
    Track *track = &state->track;
    *track = (Track){.uffd = -1, .pagemap = -1};
    /* User mode only suffices (asynchronous faults are never delivered) and needs no privilege. */
    track->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (track->uffd < 0 && errno == EINVAL)
        track->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (track->uffd < 0) {
        refused(ret_reason, bytes, "userfaultfd is denied (a container's filter?)", errno);
        goto fail;
    }
    struct uffdio_api api = {.api = UFFD_API,
                             .features = TRACK_FEATURE_WP_ASYNC | TRACK_FEATURE_WP_UNPOPULATED |
                                         TRACK_FEATURE_WP_HUGETLBFS_SHMEM};
    if (ioctl(track->uffd, UFFDIO_API, &api) != 0) {
        refused(ret_reason, bytes,
                "userfaultfd has no asynchronous write-protect (Linux before 6.7)", errno);
        goto fail;
    }
    track->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (track->pagemap < 0) {
        refused(ret_reason, bytes, "/proc/self/pagemap can't be opened", errno);
        goto fail;
    }
    struct uffdio_register reg = {.range = {(uintptr_t)state->base, state->max_bytes},
                                  .mode = UFFDIO_REGISTER_MODE_WP};
    if (ioctl(track->uffd, UFFDIO_REGISTER, &reg) != 0) {
        refused(ret_reason, bytes, "userfaultfd can't write-protect a memfd here", errno);
        goto fail;
    }
    track->regions = malloc(REGIONS * sizeof(PageRegion));
    if (!track->regions) {
        refused(ret_reason, bytes, "no memory for the tracking", ENOMEM);
        goto fail;
    }
    if (self_test(state, ret_reason, bytes) != 0)
        goto fail;
    return 0;
fail:
    track_close(state);
    return KEEL_EUNSUPPORTED;
}

void track_close(State *state)
{
    Track *track = &state->track;
    if (track->pagemap >= 0)
        close(track->pagemap);
    if (track->uffd >= 0)
        close(track->uffd);
    free(track->regions);
    *track = (Track){.uffd = -1, .pagemap = -1};
}

/* Adds the pages of [first, last) that were written since they were last asked for, and protects
 * them again. What can't be asked counts as written. */
static void collect_range(State *state, uint64_t first, uint64_t last)
{
    PageRegion *regions = state->track.regions;
    while (first < last) {
        uint64_t end = first;
        int count = scan(state, first, last, SCAN_FLAG_WP, regions, REGIONS, &end);
        if (count < 0 || end <= first) {
            store_list_add(&state->store, (uint32_t)first, (uint32_t)(last - first));
            return;
        }
        for (int i = 0; i < count; i++) {
            uint64_t from = (regions[i].start - (uintptr_t)state->base) / PAGE_BYTES;
            uint64_t to = (regions[i].end - (uintptr_t)state->base) / PAGE_BYTES;
            store_list_add(&state->store, (uint32_t)from, (uint32_t)(to - from));
        }
        first = end;
    }
}

int track_collect(State *state, int undo, Error *err)
{
    (void)err;
    uint64_t meta = undo ? checkpoint_meta_pages(state) : meta_pages(arena_head(state)->top);
    uint64_t last =
        undo ? checkpoint_data_last(state) : state->data_first + (uint64_t)arena_head(state)->top;
    if (state->track.meta_last < meta)
        state->track.meta_last = meta;
    if (state->track.data_last < last)
        state->track.data_last = last;
    collect_range(state, 0, meta);
    collect_range(state, state->data_first, last);
    return 0;
}

/* Pages of [first, last) count as written: their memory was given back, which leaves their
 * protection in place (a marker), although they read as zero now. */
void track_forget(State *state, uint64_t first, uint64_t last)
{
    Track *track = &state->track;
    uint64_t end = first < state->data_first ? track->meta_last : track->data_last;
    if (track->uffd < 0 || first >= end)
        return;
    if (last > end)
        last = end;
    struct uffdio_writeprotect open = {
        .range = {(uintptr_t)state->base + first * PAGE_BYTES, (last - first) * PAGE_BYTES}};
    ioctl(track->uffd, UFFDIO_WRITEPROTECT, &open);
}

void track_adapt(State *state)
{
    if (state->tier != STATE_TIER_TRACK)
        return;
    uint32_t top = arena_head(state)->top, used = meta_pages(top) + top;
    if (used > COMPARE_PAGES)
        state->track.protecting = 1;
    else if (used < COMPARE_PAGES / 2)
        state->track.protecting = 0;
}
