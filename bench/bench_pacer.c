/* How evenly frames come, and what CPU time that takes, beside a sleep to the same deadlines. */
#include <errno.h>

#include "bench.h"
#include "loop/pacer.h"

enum { FRAMES = 1000, WARM_UP = 120 };

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double mean(const Samples *samples)
{
    double sum = 0;
    for (size_t i = 0; i < samples->count; i++)
        sum += samples->values[i];
    return samples->count ? sum / (double)samples->count : 0;
}

static void put(int fps, const char *what, Samples *samples, double floor, int64_t cpu,
                int64_t wall)
{
    char metric[96];
    double share = wall > 0 ? 100.0 * (double)cpu / (double)wall : 0, average = mean(samples);
    snprintf(metric, sizeof metric, "%s late, %d Hz", what, fps);
    bench_report("pacer", metric, "us", samples, floor);
    snprintf(metric, sizeof metric, "%s late on average, %d Hz", what, fps);
    bench_value("pacer", metric, "us", average);
    snprintf(metric, sizeof metric, "%s share of a CPU, %d Hz", what, fps);
    bench_value("pacer", metric, "%", share);
}

/* The floor: what everybody gets. Returns its median. */
static double sleeps(int fps, Samples *samples)
{
    int64_t period = 1000000000 / fps, deadline = bench_now_ns() + period, begun = 0, cpu = 0;
    samples->count = 0;
    for (int i = 0; i < WARM_UP + FRAMES; i++, deadline += period) {
        if (i == WARM_UP) {
            begun = bench_now_ns();
            cpu = cpu_ns();
        }
        struct timespec t = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
            ;
        if (i >= WARM_UP)
            samples_add(samples, (double)(bench_now_ns() - deadline) / 1e3);
    }
    put(fps, "clock_nanosleep", samples, 0, cpu_ns() - cpu, bench_now_ns() - begun);
    return samples_median(samples);
}

static void paces(int fps, Samples *samples, double floor)
{
    static volatile int interrupt;
    Pacer pacer;
    int64_t begun = 0, cpu = 0, spin_sum = 0;
    uint64_t missed = 0;
    pacer_init(&pacer, fps);
    samples->count = 0;
    for (int i = 0; i < WARM_UP + FRAMES; i++) {
        if (i == WARM_UP) {
            begun = bench_now_ns();
            cpu = cpu_ns();
            missed = pacer.missed;
        }
        int64_t nominal = pacer_wait(&pacer, &interrupt);
        if (i < WARM_UP)
            continue;
        samples_add(samples, (double)(bench_now_ns() - nominal) / 1e3);
        spin_sum += pacer.spin_ns;
    }
    put(fps, "pacer", samples, floor, cpu_ns() - cpu, bench_now_ns() - begun);
    char metric[96];
    snprintf(metric, sizeof metric, "pacer wakes ahead, %d Hz", fps);
    bench_value("pacer", metric, "us", (double)spin_sum / FRAMES / 1e3);
    snprintf(metric, sizeof metric, "pacer missed, %d Hz", fps);
    bench_value("pacer", metric, "frames", (double)(pacer.missed - missed));
}

int main(void)
{
    static const int rates[] = {60, 240};
    static Samples samples;
    samples_reserve(&samples, FRAMES);
    /* Before the pacer sets the thread's timer slack to the least. */
    double floors[2] = {0};
    for (int i = 0; i < 2; i++)
        floors[i] = sleeps(rates[i], &samples);
    for (int i = 0; i < 2; i++)
        paces(rates[i], &samples, floors[i]);
    return 0;
}
