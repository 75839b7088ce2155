/* `keel smoke`: may NEW replace OLD in a running process? Runs a host of its own, swaps to and fro,
 * and looks at what stayed behind. Owns the host and the list of checks. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <keel/log.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/checks.h"
#include "app/commands.h"
#include "app/replay_run.h"
#include "app/text.h"
#include "app/trust_options.h"
#include "base/clock.h"
#include "base/sanitizer.h"
#include "host/host.h"

static const char help[] =
    "usage: keel smoke OLD.so NEW.so [OPTIONS]\n"
    "\n"
    "Says whether NEW may replace OLD in a running process: runs OLD, swaps to NEW and back,\n"
    "and looks at faults, state, pauses and what is left behind.\n"
    "\n"
    "  --frames N       frames between two swaps (60)\n"
    "  --swaps N        swaps in all (10)\n"
    "  --max-pause US   fail when a swap holds a frame up for longer\n"
    "  --trial MODE     on, off or strict (on)\n"
    "  --trust PUB      both must be signed by this key (keel manifest), NEW with no lower\n"
    "                   counter than OLD; several keys: give it several times\n"
    "  --replay FILE    also give both a recorded session (keel record) and compare their\n"
    "                   states and statics after every frame\n"
    "  --state SNAPSHOT the session begins with this state (keel ctl snapshot)\n"
    "  --tap            Test Anything Protocol\n"
    "  --junit FILE     also write a JUnit report to FILE\n"
    "  --json           one JSON object\n"
    "\n"
    "example: keel smoke released/chart.so build/chart.so --junit smoke.xml\n"
    "\n"
    "exit status: 0 NEW may replace OLD, 1 it may not and each line says why, 2 could not run\n";

enum { FRAME_NS = 16666667 };

typedef struct Smoke {
    const char *old_path, *new_path;
    long frames, swaps;
    double max_pause_us;
    uint32_t trial;
    int tap, json;
    const char *junit;
    TrustOptions trust;
    const char *journal, *snapshot;
    Checks checks;
    keel_host *host;
    keel_slot *slot;
    double pause_worst_us;
    int64_t time_ns; /* of the module's clock */
} Smoke;

/* ---- what a process holds ---- */

typedef struct Held {
    long descriptors, threads, mappings;
} Held;

static long entries(const char *folder)
{
    DIR *dir = opendir(folder);
    long n = 0;
    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static long lines(const char *path)
{
    FILE *file = fopen(path, "re");
    long n = 0;
    if (!file)
        return -1;
    for (int c; (c = getc(file)) != EOF;)
        n += c == '\n';
    fclose(file);
    return n;
}

static Held held(const Smoke *smoke)
{
    LoaderStatus loader;
    loader_status(smoke->host->loader, &loader);
    return (Held){entries("/proc/self/fd"), entries("/proc/self/task"),
                  lines("/proc/self/maps") - (long)loader.reserved_ranges};
}

/* ---- running ---- */

/* One frame a sixtieth of a second after the last, by the module's clock; as fast as it goes by
 * ours. */
static int frame(Smoke *smoke)
{
    smoke->time_ns += FRAME_NS;
    return keel_host_frame_at(smoke->host, smoke->time_ns) >= 0;
}

static int frames(Smoke *smoke, long count)
{
    for (long i = 0; i < count; i++)
        if (!frame(smoke))
            return 0;
    return 1;
}

typedef struct Ask {
    Smoke *smoke;
    const char *path;
    int rc;
    char text[1000];
    _Atomic int over;
} Ask;

static void *ask(void *user)
{
    Ask *a = user;
    a->rc = keel_host_swap(a->smoke->host, &a->smoke->slot, &a->path, 1, KEEL_SWAP_SAME);
    if (a->rc)
        snprintf(a->text, sizeof a->text, "%s", keel_host_error());
    atomic_store(&a->over, 1);
    return NULL;
}

/* Swaps to `path` while frames go on. Returns 0, or the error with its sentence in `ret_text`. */
static int swap_to(Smoke *smoke, const char *path, char ret_text[1000])
{
    Ask a = {.smoke = smoke, .path = path};
    pthread_t thread;
    if (pthread_create(&thread, NULL, ask, &a))
        return KEEL_ENOMEM;
    while (!atomic_load(&a.over)) {
        frame(smoke);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    pthread_join(thread, NULL);
    snprintf(ret_text, 1000, "%s", a.text);
    return a.rc;
}

static struct keel_slot_status status_of(Smoke *smoke)
{
    struct keel_slot_status status = {.size = sizeof status};
    keel_slot_query(smoke->slot, &status);
    return status;
}

/* Until probation is over and the loader has closed what was retired, but at most two seconds. */
static LoaderStatus settle(Smoke *smoke)
{
    LoaderStatus status;
    uint32_t phase;
    int64_t until = clock_now_ns() + 2000000000;
    do {
        frame(smoke);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        phase = status_of(smoke).phase; /* first: its end is what hands over to the loader */
        loader_status(smoke->host->loader, &status);
    } while ((phase == KEEL_SLOT_PROBATION || status.waiting_to_close) && clock_now_ns() < until);
    return status;
}

/* What is held once the engine's thread has let go of the last swap, which may take a while on a
 * busy machine: what stays more than before for a second is a leak. */
static Held held_at_last(Smoke *smoke, const Held *before)
{
    int64_t until = clock_now_ns() + 1000000000;
    Held now = held(smoke);
    while ((now.descriptors > before->descriptors || now.threads > before->threads) &&
           clock_now_ns() < until) {
        frame(smoke);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        now = held(smoke);
    }
    return now;
}

/* After `count` frames of the generation that runs now: did it stay, did it fault? */
static int ran_well(Smoke *smoke, const char *which, long count)
{
    struct keel_slot_status before = status_of(smoke);
    int went = frames(smoke, count);
    struct keel_slot_status after = status_of(smoke);
    int good = went && after.generation == before.generation && after.faults == before.faults;
    checks_add(&smoke->checks, good, "%s runs %ld frames%s%s", which, count, good ? "" : ": ",
               good ? "" : after.last);
    return good;
}

static void measure_pause(Smoke *smoke)
{
    double us = (double)status_of(smoke).pause_ns / 1e3;
    if (us > smoke->pause_worst_us)
        smoke->pause_worst_us = us;
}

static void compare_held(Smoke *smoke, const char *what, long before, long after, long slack)
{
    checks_add(&smoke->checks, after <= before + slack, "%s: %ld before, %ld after the swaps", what,
               before, after);
}

/* A host that ran OLD would refuse a NEW with a lower one as a replay. */
static void compare_counters(Smoke *smoke, uint64_t old_counter)
{
    uint64_t counter = status_of(smoke).counter;
    if (smoke->trust.count)
        checks_add(&smoke->checks, counter >= old_counter,
                   "both are signed; NEW's counter is %llu, OLD's %llu",
                   (unsigned long long)counter, (unsigned long long)old_counter);
}

/* To and fro. The first round trip is not counted for what is held: libraries load, pools fill. */
static void shuttle(Smoke *smoke)
{
    char text[1000];
    Held before = {0};
    uint64_t old_counter = status_of(smoke).counter;
    long done = 0;
    for (; done < smoke->swaps; done++) {
        int to_new = done % 2 == 0;
        const char *path = to_new ? smoke->new_path : smoke->old_path;
        if (swap_to(smoke, path, text)) {
            checks_add(&smoke->checks, 0, "swap %ld, to %s: %s", done + 1, to_new ? "NEW" : "OLD",
                       text);
            return;
        }
        measure_pause(smoke);
        if (done == 0) {
            checks_add(&smoke->checks, 1, "NEW replaces OLD: %s", status_of(smoke).last);
            compare_counters(smoke, old_counter);
        }
        if (done < 2) {
            if (!ran_well(smoke, to_new ? "NEW" : "OLD, back again,", smoke->frames))
                return;
        } else {
            frames(smoke, smoke->frames);
        }
        if (done == 1) {
            settle(smoke);
            before = held(smoke);
        }
    }
    checks_add(&smoke->checks, 1, "%ld swaps to and fro", done);
    LoaderStatus loader = settle(smoke);
    checks_add(&smoke->checks, loader.stuck == 0,
               "retired generations are unloaded (%llu of %llu stay)",
               (unsigned long long)loader.stuck, (unsigned long long)loader.loaded);
    if (done > 3) {
        Held after = held_at_last(smoke, &before);
        compare_held(smoke, "descriptors", before.descriptors, after.descriptors, 0);
        compare_held(smoke, "threads", before.threads, after.threads, 0);
#if !UNDER_TSAN /* it maps its shadow piece by piece */
        compare_held(smoke, "mappings", before.mappings, after.mappings, 8);
#endif
    }
    struct keel_slot_status status = status_of(smoke);
    checks_add(&smoke->checks, status.faults == 0 && status.rolled_back == 0,
               "no faults (%llu), no rollbacks (%llu)", (unsigned long long)status.faults,
               (unsigned long long)status.rolled_back);
    if (smoke->max_pause_us > 0)
        checks_add(&smoke->checks, smoke->pause_worst_us <= smoke->max_pause_us,
                   "longest pause %.1f µs, allowed %.1f", smoke->pause_worst_us,
                   smoke->max_pause_us);
    else
        checks_add(&smoke->checks, 1, "longest pause %.1f µs", smoke->pause_worst_us);
}

/* ---- arguments ---- */

static int positive(const char *what, const char *given, long *ret)
{
    char *end;
    errno = 0;
    long value = strtol(given, &end, 10);
    if (end != given && !*end && !errno && value > 0 && value <= 100000000) {
        *ret = value;
        return 1;
    }
    text_line(stderr, "keel smoke: --%s takes a number from 1 to 100000000; not \"%s\"", what,
              given);
    return 0;
}

static int pause_limit(const char *given, double *ret)
{
    char *end;
    double value = strtod(given, &end);
    if (end != given && !*end && value > 0 && value < 1e9) {
        *ret = value;
        return 1;
    }
    text_line(stderr, "keel smoke: --max-pause takes microseconds above 0; not \"%s\"", given);
    return 0;
}

static int trial_mode(const char *given, uint32_t *ret)
{
    static const char *const names[] = {"on", "off", "strict"};
    for (uint32_t i = 0; i < 3; i++)
        if (!strcmp(given, names[i])) {
            *ret = i;
            return 1;
        }
    text_line(stderr, "keel smoke: --trial is on, off or strict; not \"%s\"", given);
    return 0;
}

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Smoke *smoke)
{
    static const struct option options[] = {{"frames", required_argument, NULL, 'n'},
                                            {"swaps", required_argument, NULL, 's'},
                                            {"max-pause", required_argument, NULL, 'p'},
                                            {"trial", required_argument, NULL, 't'},
                                            {"replay", required_argument, NULL, 'R'},
                                            {"state", required_argument, NULL, 'S'},
                                            {"tap", no_argument, NULL, 'a'},
                                            {"junit", required_argument, NULL, 'J'},
                                            {"json", no_argument, NULL, 'j'},
                                            TRUST_OPTION,
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int good = 1;
    opterr = 0;
    for (int option; good && (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            good = positive("frames", optarg, &smoke->frames);
            break;
        case 's':
            good = positive("swaps", optarg, &smoke->swaps);
            break;
        case 'p':
            good = pause_limit(optarg, &smoke->max_pause_us);
            break;
        case 't':
            good = trial_mode(optarg, &smoke->trial);
            break;
        case 'a':
            smoke->tap = 1;
            break;
        case 'J':
            smoke->junit = optarg;
            break;
        case 'j':
            smoke->json = 1;
            break;
        case 'T':
            trust_option(&smoke->trust, option, optarg);
            break;
        case 'R':
            smoke->journal = optarg;
            break;
        case 'S':
            smoke->snapshot = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return 1;
        default:
            text_line(stderr, "keel smoke: %s%s; see keel smoke --help",
                      option == ':' ? "a value is missing for " : "there is no option ",
                      argv[optind - 1]);
            good = 0;
        }
    }
    if (!good)
        return 3;
    if (argc - optind != 2) {
        fputs("keel smoke: two files are needed, OLD.so and NEW.so; see keel smoke --help\n",
              stderr);
        return 3;
    }
    if (smoke->snapshot && !smoke->journal) {
        fputs("keel smoke: --state is what a session begins with, and --replay gives the session; "
              "give both\n",
              stderr);
        return 3;
    }
    smoke->old_path = argv[optind];
    smoke->new_path = argv[optind + 1];
    return 0;
}

static int report(Smoke *smoke)
{
    if (smoke->tap)
        checks_tap(&smoke->checks, stdout);
    else if (smoke->json)
        checks_json(&smoke->checks, stdout, smoke->old_path, smoke->new_path);
    else
        checks_text(&smoke->checks, stdout);
    int failed = checks_failed(&smoke->checks) > 0;
    if (smoke->junit && checks_junit(&smoke->checks, smoke->junit)) {
        text_line(stderr, "keel smoke: cannot write %s: %s", smoke->junit, strerror(errno));
        return 2;
    }
    return failed ? 1 : 0;
}

int app_smoke(int argc, char **argv)
{
    Smoke smoke = {.frames = 60, .swaps = 10};
    int rc = parse(argc, argv, &smoke);
    if (rc)
        return rc - 1;
    struct keel_host_options options = {
        .size = sizeof options, .trial = smoke.trial, .probation_frames = 30};
    struct keel_slot_options slot_options = {.size = sizeof slot_options, .no_watch = 1};
    int status = 2;
    smoke.trust.state = smoke.trust.count ? "-" : NULL; /* to and fro: each is older once */
    if (!trust_apply(&smoke.trust, "smoke", &options))
        return 2;
    if (smoke.journal) {
        char text[1900];
        int verdict = replay_verdict(smoke.journal, smoke.snapshot, smoke.old_path, smoke.new_path,
                                     text, sizeof text);
        if (verdict == 2) {
            text_line(stderr, "keel smoke: --replay: %s", text);
            checks_done(&smoke.checks);
            return 2;
        }
        checks_add(&smoke.checks, verdict == 0, "NEW on %s: %s", smoke.journal, text);
    }
    smoke.time_ns = clock_now_ns();
    if (keel_host_open(&options, &smoke.host)) {
        text_line(stderr, "keel smoke: %s", keel_host_error());
        return 2;
    }
    if (keel_host_add(smoke.host, smoke.old_path, &slot_options, &smoke.slot)) {
        text_line(stderr, "keel smoke: OLD does not run: %s", keel_host_error());
    } else {
        if (ran_well(&smoke, "OLD", smoke.frames))
            shuttle(&smoke);
        status = report(&smoke);
    }
    keel_host_close(smoke.host);
    checks_done(&smoke.checks);
    return status;
}
