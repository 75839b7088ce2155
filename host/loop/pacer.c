/* Frames at even intervals. Owns nothing but the calling thread's timer slack, which it sets to the
 * least once.
 *
 * A sleeping thread wakes late by an amount that depends on the machine and its load (50 to 200 us
 * on idle virtual machines). So it is told to wake `spin_ns` before the deadline and spins the
 * rest. spin_ns follows an upper quantile of the observed lateness by a stochastic approximation: a
 * step up for each wake-up later than it, a much smaller one down for each earlier, so that some
 * one in a hundred is late. Steps grow with the distance, so that it also follows when the
 * machine's mood changes: down from the limit within a few hundred frames.
 *
 * Spinning has a limit, a sixteenth of the period, so that a busy machine, where being late is
 * decided by others and no spin helps, isn't made busier: what comes later than the limit teaches
 * nothing. */
#include "loop/pacer.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#pragma GCC poison exit abort

enum {
    SPIN_MIN_NS = 50 * 1000,
    SPIN_START_NS = 300 * 1000,
    SPIN_MAX_NS = 1500 * 1000,
    SPIN_SHARE = 16, /* of the period; but SPIN_START_NS is always allowed */
    /* A plain store to *interrupt without pacer_interrupt is seen within this. */
    SLICE_NS = 20 * 1000 * 1000
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int is_set(const volatile int *interrupt)
{
    return interrupt && __atomic_load_n(interrupt, __ATOMIC_ACQUIRE);
}

static void least_slack(void)
{
    static _Thread_local int done;
    if (done)
        return;
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    done = 1;
}

/* Until `wake_ns` or *interrupt; nonzero when it was the latter. */
static int sleep_until(int64_t wake_ns, const volatile int *interrupt)
{
    for (;;) {
        if (is_set(interrupt))
            return 1;
        int64_t until = wake_ns;
        int64_t now = clock_now_ns();
        if (now >= wake_ns)
            return 0;
        if (!interrupt) {
            struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
            continue;
        }
        if (until - now > SLICE_NS)
            until = now + SLICE_NS;
        struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
        /* The bitset form takes an absolute time on the monotonic clock. */
        syscall(SYS_futex, interrupt, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL,
                FUTEX_BITSET_MATCH_ANY);
    }
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static int64_t spin_limit(const Pacer *pacer)
{
    return clamp(pacer->period_ns / SPIN_SHARE, SPIN_START_NS, SPIN_MAX_NS);
}

static void learn(Pacer *pacer, int64_t late_ns)
{
    int64_t limit = spin_limit(pacer), distance = late_ns - pacer->spin_ns;
    if (late_ns > limit)
        return;
    if (distance > 0)
        pacer->spin_ns += clamp(distance / 4, 4000, 100 * 1000);
    else
        pacer->spin_ns -= clamp(-distance / 256, 40, 4000);
    pacer->spin_ns = clamp(pacer->spin_ns, SPIN_MIN_NS, limit);
}

void pacer_init(Pacer *pacer, double frames_per_second)
{
    *pacer = (Pacer){.spin_ns = SPIN_START_NS};
    if (frames_per_second > 0)
        pacer->period_ns = frames_per_second < 1e9 ? (int64_t)(1e9 / frames_per_second) : 1;
}

void pacer_hurry(Pacer *pacer)
{
    pacer->deadline_ns = clock_now_ns();
}

void pacer_interrupt(volatile int *interrupt)
{
    __atomic_store_n(interrupt, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, interrupt, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The frame is due or late: its nominal time, and the next deadline on the same grid. */
static int64_t due(Pacer *pacer, int64_t now)
{
    int64_t behind = (now - pacer->deadline_ns) / pacer->period_ns;
    if (behind > 0) {
        pacer->missed += (uint64_t)behind;
        pacer->deadline_ns += behind * pacer->period_ns;
    }
    int64_t nominal = pacer->deadline_ns;
    pacer->deadline_ns += pacer->period_ns;
    pacer->frames++;
    return nominal;
}

int64_t pacer_wait(Pacer *pacer, const volatile int *interrupt)
{
    int64_t now = clock_now_ns();
    if (pacer->period_ns <= 0) {
        pacer->frames++;
        return now;
    }
    least_slack();
    if (!pacer->deadline_ns)
        pacer->deadline_ns = now;
    if (now >= pacer->deadline_ns)
        return due(pacer, now);

    int64_t wake_ns = pacer->deadline_ns - (pacer->lenient ? 0 : pacer->spin_ns);
    if (now < wake_ns) {
        if (sleep_until(wake_ns, interrupt))
            return clock_now_ns();
        if (!pacer->lenient)
            learn(pacer, clock_now_ns() - wake_ns);
    }
    while ((now = clock_now_ns()) < pacer->deadline_ns) {
        if (is_set(interrupt))
            return now;
        pause_cpu();
    }
    int64_t error_ns = now - pacer->deadline_ns;
    pacer->error_sum_ns += error_ns;
    if (error_ns > pacer->error_max_ns)
        pacer->error_max_ns = error_ns;
    return due(pacer, now);
}
