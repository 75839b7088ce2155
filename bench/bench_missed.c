/* Frames missed over swaps of prebuilt modules at 60 and 240 Hz, beside a control run without
 * swaps: a gap of more than one and a half periods is a missed frame. The file is watched and
 * replaced by rename; the trial is on. Also the time from the rename to the first frame of the new
 * generation. KEEL_BENCH_SWAPS sets how many (1,000). */
#include <limits.h>
#include <unistd.h>

#include "paced.h"

enum { MODULE_BYTES = 1000000 };

static long missed(Paced *paced, uint64_t from, double period_ns)
{
    long n = 0;
    for (uint64_t m = from + 1; m < paced->pace.count; m++) {
        double gap = (double)(paced->pace.marks[m % PACE_MARKS].at_ns -
                              paced->pace.marks[(m - 1) % PACE_MARKS].at_ns);
        if (gap > period_ns * 1.5)
            n++;
    }
    return n;
}

/* A hard link to a build, renamed over the watched file: complete at once. */
static void put(const char *build, const char *folder, const char *file)
{
    char fresh[PATH_MAX];
    snprintf(fresh, sizeof fresh, "%s/fresh", folder);
    if ((link(build, fresh) && symlink(build, fresh)) || rename(fresh, file)) {
        perror(file);
        exit(2);
    }
}

static void measure(double hz, int swaps)
{
    static Paced paced;
    static Samples ready;
    Pacer pacer;
    char folder[] = "/tmp/keel-bench-XXXXXX", file[64], build[3][512];
    if (!mkdtemp(folder))
        exit(2);
    snprintf(file, sizeof file, "%s/pace.so", folder);
    for (int v = 1; v <= 2; v++)
        snprintf(build[v], sizeof build[v], "%s/pace-%d-%d.so", BENCH_MODULES, MODULE_BYTES, v);
    put(build[1], folder, file);
    paced_open_at(&paced, file, MODULE_BYTES, UINT64_C(1) << 20, 1, KEEL_TIER_AUTO, KEEL_TRIAL_ON);
    pacer_init(&pacer, hz);
    for (int i = 0; i < 60; i++)
        paced_frame(&paced, &pacer);
    ready.count = 0;
    uint64_t from = paced.pace.count;
    for (int i = 0; i < swaps; i++) {
        uint32_t wanted = i % 2 ? 1 : 2;
        put(build[wanted], folder, file);
        int64_t complete = bench_now_ns();
        const PaceMark *last;
        int64_t give_up = complete + INT64_C(10000000000);
        do {
            paced_frame(&paced, &pacer);
            last = &paced.pace.marks[(paced.pace.count - 1) % PACE_MARKS];
        } while (last->variant != wanted && bench_now_ns() < give_up);
        if (last->variant != wanted) {
            fprintf(stderr, "swap %d did not take place\n", i);
            exit(1);
        }
        samples_add(&ready, (double)(last->at_ns - complete) / 1e6);
    }
    uint64_t frames = paced.pace.count - from;
    long with = missed(&paced, from, 1e9 / hz);
    from = paced.pace.count;
    for (uint64_t i = 0; i < frames; i++)
        paced_frame(&paced, &pacer);
    long without = missed(&paced, from, 1e9 / hz);
    char metric[96];
    snprintf(metric, sizeof metric, "missed frames in %d swaps at %.0f Hz (%llu frames)", swaps, hz,
             (unsigned long long)frames);
    bench_value("missed", metric, "frames", (double)with);
    snprintf(metric, sizeof metric, "missed frames without swaps at %.0f Hz", hz);
    bench_value("missed", metric, "frames", (double)without);
    snprintf(metric, sizeof metric, "complete file to first new frame, 1 MB, trial on, %.0f Hz",
             hz);
    bench_report("missed", metric, "ms", &ready, 1e3 / hz);
    paced_close(&paced);
    unlink(file);
    rmdir(folder);
}

int main(void)
{
    const char *given = getenv("KEEL_BENCH_SWAPS");
    int swaps = given ? atoi(given) : 1000;
    if (swaps < 1)
        swaps = 1;
    measure(60, swaps);
    measure(240, swaps);
    return 0;
}
