/* What every benchmark shares: samples, their quantiles, and one way to print them.
 *
 * A result is one line: name, metric, unit, p50, p99, max, n, floor, ratio. `floor` is what the
 * bare thing costs, measured in the same run and unit; `ratio` is p50 / floor. Both are empty when
 * there is no floor. Tab-separated with a header line; with KEEL_BENCH_JSON=1 one JSON object a
 * line instead. Header only, one thread; nothing here is timed by anybody. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Samples {
    double *values; /* in the metric's unit */
    size_t count, room;
} Samples;

static inline int64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Makes room ahead of a measurement, touched, so that samples_add neither allocates nor faults in
 * it. */
static inline void samples_reserve(Samples *samples, size_t count)
{
    if (count <= samples->room)
        return;
    double *values = realloc(samples->values, count * sizeof *values);
    if (!values) {
        fprintf(stderr, "out of memory for %zu samples\n", count);
        exit(2);
    }
    memset(values + samples->room, 0, (count - samples->room) * sizeof *values);
    samples->values = values;
    samples->room = count;
}

static inline void samples_add(Samples *samples, double value)
{
    if (samples->count == samples->room)
        samples_reserve(samples, samples->room ? samples->room * 2 : 1024);
    samples->values[samples->count++] = value;
}

static inline void samples_done(Samples *samples)
{
    free(samples->values);
    *samples = (Samples){0};
}

static inline int bench_order_(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The q-quantile (0 to 1) by nearest rank, 0 without samples. Sorts the samples. */
static inline double samples_quantile(Samples *samples, double q)
{
    if (!samples->count)
        return 0;
    qsort(samples->values, samples->count, sizeof *samples->values, bench_order_);
    double rank = q * (double)samples->count;
    size_t i = (size_t)rank;
    if ((double)i < rank)
        i++;
    i = i ? i - 1 : 0;
    return samples->values[i < samples->count ? i : samples->count - 1];
}

static inline double samples_median(Samples *samples)
{
    return samples_quantile(samples, 0.5);
}

static inline int bench_json_(void)
{
    const char *json = getenv("KEEL_BENCH_JSON");
    return json && !strcmp(json, "1");
}

/* Plain text inside quotes: what JSON can't hold as it is becomes a blank. */
static inline void bench_text_(const char *key, const char *text)
{
    printf("\"%s\":\"", key);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < ' ' ? ' ' : *text);
    putchar('"');
}

/* Prints one result. `floor` is 0 when there is none. Sorts the samples, keeps them. */
static inline void bench_report(const char *name, const char *metric, const char *unit,
                                Samples *samples, double floor)
{
    double p50 = samples_quantile(samples, 0.5), p99 = samples_quantile(samples, 0.99),
           max = samples_quantile(samples, 1);
    if (bench_json_()) {
        putchar('{');
        bench_text_("name", name), putchar(',');
        bench_text_("metric", metric), putchar(',');
        bench_text_("unit", unit);
        printf(",\"p50\":%.6g,\"p99\":%.6g,\"max\":%.6g,\"n\":%zu", p50, p99, max, samples->count);
        if (floor > 0)
            printf(",\"floor\":%.6g,\"ratio\":%.4g", floor, p50 / floor);
        puts("}");
    } else {
        static int header_done;
        const char *quiet = getenv("KEEL_BENCH_HEADER"); /* "0": whoever runs many prints it once */
        if (!header_done++ && !(quiet && !strcmp(quiet, "0")))
            puts("name\tmetric\tunit\tp50\tp99\tmax\tn\tfloor\tratio");
        printf("%s\t%s\t%s\t%.6g\t%.6g\t%.6g\t%zu\t", name, metric, unit, p50, p99, max,
               samples->count);
        if (floor > 0)
            printf("%.6g\t%.4g\n", floor, p50 / floor);
        else
            puts("\t");
    }
    fflush(stdout);
}

/* One number that was not sampled: a count, a size, a total. */
static inline void bench_value(const char *name, const char *metric, const char *unit, double value)
{
    Samples one = {&value, 1, 1};
    bench_report(name, metric, unit, &one, 0);
}

/* A line for people, on stderr: conditions, what was left out and why. */
__attribute__((format(printf, 1, 2))) static inline void bench_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("# ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* Keeps the compiler from dropping a computation whose result nobody reads. */
#define BENCH_KEEP(value) __asm__ volatile("" : : "g"(value) : "memory")

#endif
