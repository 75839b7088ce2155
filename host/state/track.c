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

#include "state/ahead.h"
#include "state/internal.h"
#include "state/kernel.h"

enum {
    REGIONS = 4096,
    /* Up to here comparing everything (about 60 ns a warm page) beats a system call and a fault a
       page. */
    COMPARE_PAGES = 48,
    /* Changed in so many commits in a row, a page is hot; unchanged in so many comparisons, it
     * cools down. A hot page is compared every COMPARE_EVERY commits and copied unseen in the
     * others. */
    HOT_AFTER = 3,
    COOL_AFTER = 2,
    COMPARE_EVERY = 8
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

static uint64_t heat_bytes(const State *state)
{
    return state->max_bytes / PAGE_BYTES * sizeof(PageHeat);
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
    track->heat = mmap(NULL, heat_bytes(state), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (track->heat == MAP_FAILED) {
        track->heat = NULL;
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
    if (track->heat)
        munmap(track->heat, heat_bytes(state));
    *track = (Track){.uffd = -1, .pagemap = -1};
}

static void set_protection(const State *state, uint64_t first, uint64_t last, int on)
{
    struct uffdio_writeprotect how = {
        .range = {(uintptr_t)state->base + first * PAGE_BYTES, (last - first) * PAGE_BYTES},
        .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    ioctl(state->track.uffd, UFFDIO_WRITEPROTECT, &how); /* failed: it counts as written again */
}

/* Counts the runs of hot and of cold pages in the written pages [first, last), and protects the
 * cold ones, or no longer the hot ones: 1 µs a run. */
static void part(State *state, uint64_t first, uint64_t last, int protect_cold)
{
    Track *track = &state->track;
    const PageHeat *heat = track->heat;
    while (first < last) {
        int hot = heat[first].hot;
        uint64_t end = first + 1;
        while (end < last && heat[end].hot == hot)
            end++;
        if (hot != protect_cold)
            set_protection(state, first, end, !hot);
        *(hot ? &track->hot_runs : &track->cold_runs) += 1;
        first = end;
    }
}

/* Adds the pages of [first, last) that were written since they were last asked for, and protects
 * them again; what can't be asked counts as written. Hot pages stay unprotected: their writes cost
 * no fault (0.9 µs measured). The kernel's walk protects all that it reports, at 0.1 µs a page, or
 * nothing; so either the hot ones are opened again after it or, where `one_by_one`, the others are
 * protected run by run. */
static void collect_range(State *state, uint64_t first, uint64_t last, int spare_hot,
                          int one_by_one)
{
    PageRegion *regions = state->track.regions;
    while (first < last) {
        uint64_t end = first;
        int count = scan(state, first, last, one_by_one ? 0 : SCAN_FLAG_WP, regions, REGIONS, &end);
        if (count < 0 || end <= first) {
            store_list_add(&state->store, (uint32_t)first, (uint32_t)(last - first));
            return;
        }
        for (int i = 0; i < count; i++) {
            uint64_t from = (regions[i].start - (uintptr_t)state->base) / PAGE_BYTES;
            uint64_t to = (regions[i].end - (uintptr_t)state->base) / PAGE_BYTES;
            store_list_add(&state->store, (uint32_t)from, (uint32_t)(to - from));
            if (spare_hot)
                part(state, from, to, one_by_one);
        }
        first = end;
    }
}

/* How many pages from `first` on, at most `count`, are to be copied without a look. */
uint32_t track_blind(const State *state, uint32_t first, uint32_t count)
{
    uint32_t n = 0;
    while (n < count && state->track.heat[first + n].hot &&
           ((first + n) / 64 + state->commits) % COMPARE_EVERY != 0)
        n++;
    return n;
}

/* A page of the list was compared: did this commit change it? */
void track_note(State *state, uint32_t id, int changed)
{
    PageHeat *heat = &state->track.heat[id];
    uint32_t now = (uint32_t)state->commits;
    if (changed) {
        heat->run = heat->last + 1 == now ? (uint8_t)(heat->run + (heat->run < 255)) : 1;
        heat->last = now;
        heat->idle = 0;
        if (!heat->hot && heat->run >= HOT_AFTER) {
            heat->hot = 1;
            state->track.hot_pages++;
        }
    } else if (heat->hot && ++heat->idle >= COOL_AFTER) {
        heat->hot = heat->run = 0;
        state->track.hot_pages--;
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
    Track *track = &state->track;
    int spare_hot = !undo && track->hot_pages > 0;
    int one_by_one = spare_hot && track->cold_runs < track->hot_runs;
    track->hot_runs = track->cold_runs = 0;
    collect_range(state, 0, meta, spare_hot, one_by_one);
    uint64_t at = state->data_first;
    for (uint64_t end; end = ahead_piece(state, &at, last), at < last; at = end)
        collect_range(state, at, end, spare_hot, one_by_one);
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

void ahead_protect(const State *state, uint64_t first, uint64_t last)
{
    set_protection(state, first, last, 1);
}

int ahead_written(const State *state, uint64_t first, uint64_t last)
{
    PageRegion region;
    uint64_t end;
    return scan(state, first, last, 0, &region, 1, &end) != 0;
}
