/* What it costs to call a module's code so that its faults come back: entering and leaving, the
 * host's own depth, a fault, the question whether the process can go on. */
#include <setjmp.h>
#include <signal.h>

#include "bench.h"
#include "fault/guard.h"

extern char __executable_start[], etext[];

enum { CALLS = 1000, ROUNDS = 2000, FAULTS = 2000, OWNER = 7 };

static volatile int counter;

static __attribute__((noinline)) void nearly_nothing(void *user)
{
    (void)user;
    counter++;
}

static int *volatile nowhere;

static void fall(void *user)
{
    (void)user;
    *nowhere = 1;
}

/* Of one of CALLS calls, in ns. */
#define MEASURE(samples, statement)                                          \
    do {                                                                     \
        (samples)->count = 0;                                                \
        for (int round_ = 0; round_ < ROUNDS; round_++) {                    \
            int64_t begun_ = bench_now_ns();                                 \
            for (int call_ = 0; call_ < CALLS; call_++)                      \
                statement;                                                   \
            samples_add(samples, (double)(bench_now_ns() - begun_) / CALLS); \
        }                                                                    \
    } while (0)

static sigjmp_buf landing;

static void jump(int number)
{
    (void)number;
    siglongjmp(landing, 1);
}

/* The least that a fault can cost: a handler that jumps out. */
static double bare_fault_us(Samples *samples)
{
    struct sigaction ours = {.sa_handler = jump, .sa_flags = SA_NODEFER | SA_ONSTACK}, before;
    sigaction(SIGSEGV, &ours, &before);
    samples->count = 0;
    for (volatile int i = 0; i < FAULTS; i++) { /* outlives the jump */
        int64_t begun = bench_now_ns();
        if (!sigsetjmp(landing, 0))
            fall(NULL);
        samples_add(samples, (double)(bench_now_ns() - begun) / 1e3);
    }
    sigaction(SIGSEGV, &before, NULL);
    return samples_median(samples);
}

static inline void in_host_depth(void (*function)(void *))
{
    guard_host_enter();
    function(NULL);
    guard_host_leave();
}

static void calls(Samples *samples)
{
    void (*volatile function)(void *) = nearly_nothing;
    MEASURE(samples, function(NULL));
    double bare = samples_median(samples);
    MEASURE(samples, guard_run(OWNER, 0, function, NULL, NULL));
    bench_report("guard", "guarded call", "ns", samples, bare);
    bench_value("guard", "guarded call minus bare call", "ns", samples_median(samples) - bare);
    MEASURE(samples, guard_run(OWNER, 1000000000, function, NULL, NULL));
    bench_report("guard", "guarded call with a deadline", "ns", samples, bare);
    bench_value("guard", "guarded call with a deadline minus bare call", "ns",
                samples_median(samples) - bare);
    MEASURE(samples, in_host_depth(function));
    bench_report("guard", "host depth around a call", "ns", samples, bare);
    MEASURE(samples, BENCH_KEEP(guard_range_find((uintptr_t)fall, NULL, NULL)));
    bench_report("guard", "owner of an address", "ns", samples, 0);
}

static void faults(Samples *samples)
{
    double bare = bare_fault_us(samples);
    Fault fault = {0};
    samples->count = 0;
    for (int i = 0; i < FAULTS; i++) {
        int64_t begun = bench_now_ns();
        FaultKind kind = guard_run(OWNER, 0, fall, NULL, &fault);
        samples_add(samples, (double)(bench_now_ns() - begun) / 1e3);
        if (kind != FAULT_MEMORY) {
            fprintf(stderr, "the fault came back as %s\n", fault_kind_name(kind));
            exit(1);
        }
    }
    bench_report("guard", "fault and return, described", "us", samples, bare);
    Error err = {0};
    samples->count = 0;
    for (int i = 0; i < FAULTS; i++) {
        int64_t begun = bench_now_ns();
        if (guard_recoverable(&fault, 1000000000, &err)) {
            fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        samples_add(samples, (double)(bench_now_ns() - begun) / 1e3);
    }
    bench_report("guard", "probe of libc's locks", "us", samples, 0);
}

int main(void)
{
    static Samples samples;
    Error err = {0};
    samples_reserve(&samples, ROUNDS > FAULTS ? ROUNDS : FAULTS);
    if (guard_install(&err) || guard_thread_begin(&err) ||
        guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, OWNER, "bench", &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    calls(&samples);
    faults(&samples);
    guard_thread_end();
    guard_uninstall();
    return 0;
}
