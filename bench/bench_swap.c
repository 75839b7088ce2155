/* What a swap adds to the gap between two frames, as the module itself sees it: unpaced frames; the
 * time from the last frame of the old generation to the second of the new one, less two median
 * gaps. The first new frame's page faults are in it. Beside it what a boundary costs without a
 * swap. */
#include <stdlib.h>
#include <string.h>

#include "paced.h"

enum { SWAPS = 200, CALM_NS = 30 * 1000 * 1000 };

static void measure(long module_bytes, uint64_t state_bytes, uint32_t tier, const char *tier_name)
{
    static Paced paced;
    static Samples pause, gap;
    char metric[96];
    snprintf(metric, sizeof metric, "pause, module %ld KB, state %llu MiB, %s", module_bytes / 1000,
             (unsigned long long)(state_bytes >> 20), tier_name);
    const char *only = getenv("KEEL_BENCH_ONLY"); /* a part of the row's name */
    if (only && !strstr(metric, only))
        return;
    paced_open(&paced, module_bytes, state_bytes, 1, tier, KEEL_TRIAL_OFF);
    samples_reserve(&pause, SWAPS);
    samples_reserve(&gap, PACE_MARKS);
    pause.count = gap.count = 0;
    paced_frames(&paced, 2000);
    for (int i = 0; i < SWAPS; i++) {
        uint64_t from = paced.pace.count;
        if (paced_swap(&paced))
            exit(1);
        for (int64_t until = bench_now_ns() + CALM_NS; bench_now_ns() < until;)
            paced_frames(&paced, 50); /* past probation: the old one is retired meanwhile */
        uint64_t to = paced.pace.count;
        if (to - from >= PACE_MARKS)
            from = to - PACE_MARKS + 1;
        Samples calm = {0};
        int64_t swapped = -1;
        for (uint64_t m = from + 2; m < to; m++) {
            const PaceMark *marks = paced.pace.marks;
            const PaceMark *a = &marks[(m - 2) % PACE_MARKS], *b = &marks[(m - 1) % PACE_MARKS],
                           *c = &marks[m % PACE_MARKS];
            if (a->variant != b->variant)
                swapped = c->at_ns - a->at_ns;
            else if (gap.count < PACE_MARKS)
                samples_add(&calm, (double)(b->at_ns - a->at_ns) / 1e3);
        }
        double median = samples_median(&calm);
        samples_add(&gap, median);
        if (swapped >= 0)
            samples_add(&pause, (double)swapped / 1e3 - 2 * median);
        samples_done(&calm);
    }
    bench_report("swap", metric, "us", &pause, 0);
    snprintf(metric, sizeof metric, "frame without a swap, state %llu MiB, %s",
             (unsigned long long)(state_bytes >> 20), tier_name);
    bench_report("swap", metric, "us", &gap, 0);
    paced_close(&paced);
}

int main(void)
{
    static const long modules[] = {20000, 1000000, 10000000};
    for (int m = 0; m < 3; m++)
        measure(modules[m], 0, KEEL_TIER_AUTO, "auto");
    static const uint64_t states[] = {UINT64_C(1) << 20, UINT64_C(64) << 20, UINT64_C(1) << 30};
    for (int s = 0; s < 3; s++)
        measure(1000000, states[s], KEEL_TIER_TRACK, "track");
    measure(1000000, UINT64_C(1) << 20, KEEL_TIER_COPY, "copy");
    measure(1000000, UINT64_C(4) << 20, KEEL_TIER_COPY, "copy");
    return 0;
}
