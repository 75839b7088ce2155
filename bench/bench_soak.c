/* What a process holds after many swaps beside what it held after the first hundred: resident
 * memory, descriptors, mappings, threads, files of the stage. KEEL_BENCH_SWAPS sets how many
 * (10,000). */
#include <dirent.h>
#include <unistd.h>

#include "paced.h"

static long entries(const char *folder)
{
    DIR *dir = opendir(folder);
    long n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static long lines(const char *path)
{
    FILE *file = fopen(path, "re");
    long n = 0;
    for (int c; file && (c = getc(file)) != EOF;)
        n += c == '\n';
    if (file)
        fclose(file);
    return n;
}

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

static void look(const char *when)
{
    char metric[96];
    const struct {
        const char *what, *unit;
        long value;
    } rows[] = {{"resident memory", "KiB", resident_kib()},
                {"descriptors", "count", entries("/proc/self/fd")},
                {"mappings", "count", lines("/proc/self/maps")},
                {"threads", "count", entries("/proc/self/task")}};
    for (int i = 0; i < 4; i++) {
        snprintf(metric, sizeof metric, "%s after %s", rows[i].what, when);
        bench_value("soak", metric, rows[i].unit, (double)rows[i].value);
    }
}

int main(void)
{
    static Paced paced;
    const char *given = getenv("KEEL_BENCH_SWAPS");
    long swaps = given ? atol(given) : 10000;
    paced_open(&paced, 20000, UINT64_C(1) << 20, 1, KEEL_TIER_AUTO, KEEL_TRIAL_OFF);
    for (long i = 0; i < 100; i++) {
        if (paced_swap(&paced))
            return 1;
        paced_frames(&paced, 40);
    }
    look("100 swaps");
    for (long i = 100; i < swaps; i++) {
        if (paced_swap(&paced))
            return 1;
        paced_frames(&paced, 40);
    }
    char when[40];
    snprintf(when, sizeof when, "%ld swaps", swaps);
    look(when);
    paced_close(&paced);
    return 0;
}
