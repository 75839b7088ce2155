/* Frames missed over swaps of prebuilt modules at 60 and 240 Hz, beside a control run without
 * swaps: a gap of more than one and a half periods is a missed frame. The trial is on.
 * KEEL_BENCH_SWAPS sets how many (1,000). */
#include "loop/pacer.h"
#include "paced.h"

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

static void measure(double hz, int swaps)
{
    static Paced paced;
    static Samples ready;
    Pacer pacer;
    paced_open(&paced, 1000000, UINT64_C(1) << 20, 1, KEEL_TIER_AUTO, KEEL_TRIAL_ON);
    pacer_init(&pacer, hz);
    for (int i = 0; i < 60; i++) {
        pacer_wait(&pacer, NULL);
        keel_host_frame(paced.host);
    }
    ready.count = 0;
    uint64_t from = paced.pace.count;
    for (int i = 0; i < swaps; i++) {
        int64_t asked = bench_now_ns();
        atomic_store(&paced.asking, 1);
        pthread_create(&paced.thread, NULL, paced_ask_, &paced);
        while (atomic_load(&paced.asking)) {
            pacer_wait(&pacer, NULL);
            keel_host_frame(paced.host);
        }
        pthread_join(paced.thread, NULL);
        if (paced.rc)
            exit(1);
        paced.variant = 3 - paced.variant;
        /* the first frame of the new generation */
        uint64_t m = paced.pace.count - 1;
        while (m > from &&
               paced.pace.marks[(m - 1) % PACE_MARKS].variant == (uint32_t)paced.variant)
            m--;
        samples_add(&ready, (double)(paced.pace.marks[m % PACE_MARKS].at_ns - asked) / 1e6);
    }
    uint64_t frames = paced.pace.count - from;
    long with = missed(&paced, from, 1e9 / hz);
    from = paced.pace.count;
    for (uint64_t i = 0; i < frames; i++) {
        pacer_wait(&pacer, NULL);
        keel_host_frame(paced.host);
    }
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
