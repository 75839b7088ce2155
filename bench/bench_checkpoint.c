/* What a boundary costs: commit and undo by size of the arena, pages dirtied in the frame and tier,
 * pin and unpin; beside the bare thing: memcpy of the same bytes, a raw PAGEMAP_SCAN of the same
 * range. The writes' faults count as part of the commit: "tax" is the frame's writes plus the
 * commit. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"
#include "state/kernel.h"
#include "state/state.h"

enum { PAGE = 4096 };

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t dice(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void must(int code, const Error *err)
{
    if (code != 0) {
        fprintf(stderr, "bench_checkpoint: %s\n", err->text);
        exit(2);
    }
}

static double since_us(int64_t begin)
{
    return (double)(bench_now_ns() - begin) / 1000;
}

static const char *size_text(uint64_t bytes, char *text)
{
    if (bytes >= UINT64_C(1) << 30)
        sprintf(text, "%lluGiB", (unsigned long long)(bytes >> 30));
    else if (bytes >= 1 << 20)
        sprintf(text, "%lluMiB", (unsigned long long)(bytes >> 20));
    else
        sprintf(text, "%lluKiB", (unsigned long long)(bytes >> 10));
    return text;
}

/* Median µs of copying `pages` pages picked as a frame picks them. */
static double copy_floor(uint8_t *data, uint8_t *shadow, uint64_t total, uint64_t pages,
                         int scattered)
{
    Samples samples = {0};
    for (int i = 0; i < 15; i++) {
        int64_t begin = bench_now_ns();
        if (pages == total) {
            memcpy(shadow, data, total * PAGE);
        } else {
            for (uint64_t n = 0; n < pages; n++) {
                uint64_t at = (scattered ? dice() % total : n % total) * PAGE;
                memcpy(shadow + at, data + at, PAGE);
            }
        }
        BENCH_KEEP(shadow);
        samples_add(&samples, since_us(begin));
    }
    double median = samples_median(&samples);
    samples_done(&samples);
    return median;
}

/* Median µs of one PAGEMAP_SCAN over the range, nothing written; 0 where the kernel hasn't it. */
static double scan_floor(const uint8_t *data, uint64_t bytes)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    PageRegion regions[8];
    Samples samples = {0};
    double median = 0;
    for (int i = 0; i < 31; i++) {
        PagemapScan ask = {.size = sizeof ask,
                           .start = (uintptr_t)data & ~(uintptr_t)(PAGE - 1),
                           .end = ((uintptr_t)data & ~(uintptr_t)(PAGE - 1)) + bytes,
                           .vec = (uintptr_t)regions,
                           .vec_len = 8,
                           .max_pages = 0,
                           .category_mask = SCAN_WRITTEN,
                           .return_mask = SCAN_WRITTEN};
        int64_t begin = bench_now_ns();
        int code = ioctl(pagemap, PAGEMAP_SCAN_IOCTL, &ask);
        if (code < 0)
            break;
        samples_add(&samples, since_us(begin));
    }
    if (samples.count)
        median = samples_median(&samples);
    samples_done(&samples);
    close(pagemap);
    return median;
}

typedef enum Pattern { SCATTERED, SAME_PAGES, ALL_PAGES } Pattern;

static uint64_t chosen[100000];

static void write_frame(uint8_t *data, uint64_t total, uint64_t dirty, Pattern pattern,
                        uint64_t frame)
{
    for (uint64_t n = 0; n < dirty; n++) {
        uint64_t page = pattern == ALL_PAGES    ? n
                        : pattern == SAME_PAGES ? chosen[n]
                                                : dice() % total;
        *(uint64_t *)(data + page * PAGE + 64) = frame + n + 1;
    }
}

static void row(State *state, uint8_t *data, uint8_t *shadow, uint64_t bytes, uint64_t dirty,
                Pattern pattern, StateTier tier)
{
    static const char *const patterns[] = {"scattered", "same", "all"};
    uint64_t total = bytes / PAGE;
    if (dirty > total && pattern != SCATTERED)
        dirty = total;
    char size[32], name[64], metric[64];
    Samples commit = {0}, tax = {0}, undo = {0};
    Error err = {0};
    int rounds = bytes >= UINT64_C(1) << 30                ? 100
                 : pattern == ALL_PAGES && bytes > 1 << 20 ? 60
                                                           : 300;
    for (uint64_t n = 0; n < dirty && n < 100000; n++)
        chosen[n] = dice() % total;
    for (int i = 0; i < 40 + rounds; i++) {
        int64_t begin = bench_now_ns();
        write_frame(data, total, dirty, pattern, (uint64_t)i * 1000003);
        int64_t between = bench_now_ns();
        must(state_commit(state, &err), &err);
        if (i >= 40) {
            samples_add(&commit, since_us(between));
            samples_add(&tax, since_us(begin));
        }
    }
    for (int i = 0; i < 30; i++) {
        write_frame(data, total, dirty, pattern, (uint64_t)i * 7000003);
        int64_t begin = bench_now_ns();
        must(state_undo(state, &err), &err);
        samples_add(&undo, since_us(begin));
    }
    double floor = dirty ? copy_floor(data, shadow, total, dirty, pattern != ALL_PAGES) : 0;
    snprintf(name, sizeof name, "checkpoint/%s/%s", tier == STATE_TIER_TRACK ? "track" : "copy",
             size_text(bytes, size));
    snprintf(metric, sizeof metric, "commit, %llu dirty %s", (unsigned long long)dirty,
             patterns[pattern]);
    bench_report(name, metric, "us", &commit, dirty ? floor : scan_floor(data, bytes));
    snprintf(metric, sizeof metric, "writes+commit, %llu dirty %s", (unsigned long long)dirty,
             patterns[pattern]);
    bench_report(name, metric, "us", &tax, floor);
    snprintf(metric, sizeof metric, "undo, %llu dirty %s", (unsigned long long)dirty,
             patterns[pattern]);
    bench_report(name, metric, "us", &undo, floor);
    samples_done(&commit);
    samples_done(&tax);
    samples_done(&undo);
}

static void pins(State *state, uint8_t *data, uint64_t bytes)
{
    Samples pin_us = {0}, unpin_us = {0}, commit = {0}, after = {0};
    Error err = {0};
    char size[32], name[64];
    for (int i = 0; i < 30; i++) {
        Pin *pin = NULL;
        int64_t begin = bench_now_ns();
        must(state_pin(state, &pin, &err), &err);
        samples_add(&pin_us, since_us(begin));
        for (int k = 0; k < 10; k++) {
            write_frame(data, bytes / PAGE, 100, SCATTERED, (uint64_t)(i * 10 + k));
            begin = bench_now_ns();
            must(state_commit(state, &err), &err);
            samples_add(&commit, since_us(begin));
        }
        begin = bench_now_ns();
        state_unpin(pin);
        samples_add(&unpin_us, since_us(begin));
        for (int k = 0; k < 20; k++) {
            begin = bench_now_ns();
            must(state_commit(state, &err), &err);
            samples_add(&after, since_us(begin));
        }
    }
    snprintf(name, sizeof name, "pin/%s", size_text(bytes, size));
    bench_report(name, "pin", "us", &pin_us, 0);
    bench_report(name, "commit, 100 dirty scattered, pinned", "us", &commit, 0);
    bench_report(name, "unpin", "us", &unpin_us, 0);
    bench_report(name, "idle commit while folding back", "us", &after, 0);
    samples_done(&pin_us);
    samples_done(&unpin_us);
    samples_done(&commit);
    samples_done(&after);
}

static void measure(uint64_t bytes, StateTier tier)
{
    State *state = NULL;
    Error err = {0};
    StateOptions options = {
        .tier = tier, .max_bytes = UINT64_C(4) << 30, .copy_limit_bytes = bytes * 2 + (1 << 20)};
    if (state_open(&options, &state, &err) != 0) {
        bench_note("left out: %s", err.text);
        return;
    }
    uint8_t *data = state_alloc_block(state, bytes, PAGE), *shadow = malloc(bytes);
    if (!data || !shadow) {
        fprintf(stderr, "bench_checkpoint: no memory for %llu bytes\n", (unsigned long long)bytes);
        exit(2);
    }
    memset(data, 1, bytes);
    memset(shadow, 2, bytes);
    must(state_commit(state, &err), &err);
    uint64_t counts[] = {0, 1, 100, 1000};
    for (int i = 0; i < 4; i++)
        if (i < 2 || bytes > PAGE)
            row(state, data, shadow, bytes, counts[i], SCATTERED, tier);
    if (bytes > PAGE) {
        row(state, data, shadow, bytes, 100, SAME_PAGES, tier);
        row(state, data, shadow, bytes, 1000, SAME_PAGES, tier);
    }
    if (bytes <= 64 << 20)
        row(state, data, shadow, bytes, bytes / PAGE, ALL_PAGES, tier);
    if (tier == STATE_TIER_TRACK && bytes >= 64 << 20)
        pins(state, data, bytes);
    free(shadow);
    state_close(state);
}

int main(int argc, char **argv)
{
    uint64_t sizes[] = {PAGE, 1 << 20, 64 << 20, 256 << 20, UINT64_C(1) << 30};
    int quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    for (int i = 0; i < (quick ? 4 : 5); i++)
        measure(sizes[i], STATE_TIER_TRACK);
    for (int i = 0; i < (quick ? 2 : 3); i++)
        measure(sizes[i], STATE_TIER_COPY);
    return 0;
}
