/* Finds guarded calls that last longer than they may, and tells their threads by a signal. Owns its
 * thread.
 *
 * It looks at every thread's call numbers once a tick and adds up the time for which it saw the
 * same number: the calls themselves read no clock. A call is stopped up to one tick (a quarter of
 * the shortest deadline, 1 to 25 ms) after its deadline. Time in which this thread itself didn't
 * run (process stopped, debugger) doesn't count.
 *
 * Cost: a wake-up a tick, some 10 us, while calls with deadlines come; none after a second without.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "fault/parts.h"

#pragma GCC poison exit abort malloc free

enum {
    MS = 1000 * 1000,
    TICK_MIN_NS = 1 * MS,
    TICK_MAX_NS = 25 * MS,
    TICK_IDLE_NS = 100 * MS, /* where the kernel has no membarrier */
    IDLE_AFTER_NS = 1000 * MS,
    DEBUGGER_AGE_NS = 1000 * MS
};

uint32_t watchdog_asleep; /* also the futex word: 1 while it sleeps without a period */

static pthread_t thread;
static int running;  /* between start and stop; start and stop are under guard_install's lock */
static int stopping; /* to the thread */
static int can_barrier;

static int read_tracer(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0)
        return 0;
    text[bytes] = 0;
    const char *line = strstr(text, "\nTracerPid:");
    return line && strtol(line + sizeof "\nTracerPid:" - 1, NULL, 10) > 0;
}

int guard_debugger(void)
{
    static int64_t asked_ns;
    static int traced;
    int64_t now = clock_now_ns();
    int64_t before = __atomic_load_n(&asked_ns, __ATOMIC_RELAXED);
    if (!before || now - before >= DEBUGGER_AGE_NS) {
        __atomic_store_n(&traced, read_tracer(), __ATOMIC_RELAXED);
        __atomic_store_n(&asked_ns, now, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&traced, __ATOMIC_RELAXED);
}

static void fire(GuardThread *late, uint64_t sequence, int64_t after_ns)
{
    __atomic_store_n(&late->late_after_ns, after_ns, __ATOMIC_RELAXED);
    GUARD_STORE(late->late_sequence, sequence);
    syscall(SYS_tgkill, getpid(), late->tid, GUARD_DEADLINE_SIGNAL);
}

typedef struct Look {
    int64_t least_deadline_ns; /* of live calls and those just ended; INT64_MAX: none */
    int changed;               /* some call began since the last look */
    int late;                  /* one is being stopped */
} Look;

static int is_live(const GuardThread *one, uint64_t sequence)
{
    uint32_t depth = GUARD_LOAD(one->depth);
    for (uint32_t i = 0; i < depth && i < GUARD_LEVELS; i++)
        if (GUARD_LOAD(one->levels[i].sequence) == sequence)
            return 1;
    return 0;
}

/* A call that was told and ended by itself leaves its number behind. */
static void forget_ended(GuardThread *one)
{
    uint64_t told = GUARD_LOAD(one->late_sequence);
    if (told && !is_live(one, told))
        __atomic_compare_exchange_n(&one->late_sequence, &told, 0, 0, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED);
}

static void look_at(GuardThread *one, int64_t step_ns, Look *look)
{
    forget_ended(one);
    uint32_t depth = GUARD_LOAD(one->depth);
    for (uint32_t i = 0; i < GUARD_LEVELS; i++) {
        uint64_t sequence = GUARD_LOAD(one->levels[i].sequence);
        int64_t deadline_ns = __atomic_load_n(&one->levels[i].deadline_ns, __ATOMIC_RELAXED);
        GuardSeen *seen = &one->seen[i];
        int fresh = seen->sequence != sequence;
        if (fresh) {
            *seen = (GuardSeen){.sequence = sequence};
            look->changed |= deadline_ns > 0;
        }
        if (deadline_ns <= 0 || (!fresh && i >= depth))
            continue;
        if (deadline_ns < look->least_deadline_ns)
            look->least_deadline_ns = deadline_ns;
        if (i >= depth)
            continue;
        look->changed = 1;
        if (!fresh)
            seen->elapsed_ns += step_ns;
        if (seen->elapsed_ns < deadline_ns)
            continue;
        look->late = 1;
        if (GUARD_LOAD(one->late_sequence))
            continue; /* told already, or another level is */
        if (!seen->fired && read_tracer()) {
            seen->elapsed_ns = 0;
            continue;
        }
        if (!seen->fired)
            __atomic_store_n(&one->late_tries, 0, __ATOMIC_RELAXED);
        seen->fired = 1;
        fire(one, sequence, deadline_ns);
    }
}

static Look look_around(int64_t step_ns)
{
    Look look = {.least_deadline_ns = INT64_MAX};
    GuardThread *one;
    for (int i = 0; (one = thread_at(i)) != NULL; i++)
        if (GUARD_LOAD(one->in_use))
            look_at(one, step_ns, &look);
    return look;
}

static void wait_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    syscall(SYS_futex, &watchdog_asleep, FUTEX_WAIT_PRIVATE, 1, ns == INT64_MAX ? NULL : &t, NULL,
            0);
}

/* A call that began before it could see `asleep` is seen by the second look: the barrier runs on
 * every thread of this process between the two. Nonzero: go on ticking. */
static int fall_asleep(void)
{
    GUARD_STORE(watchdog_asleep, 1);
    if (can_barrier)
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    if (!look_around(0).changed && !GUARD_LOAD(stopping))
        wait_ns(can_barrier ? INT64_MAX : TICK_IDLE_NS);
    GUARD_STORE(watchdog_asleep, 0);
    return 1;
}

static int64_t tick_for(const Look *look)
{
    int64_t tick = look->least_deadline_ns / 4;
    if (look->late || tick < TICK_MIN_NS)
        return TICK_MIN_NS;
    return tick > TICK_MAX_NS ? TICK_MAX_NS : tick;
}

static void *watch(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "keel-watchdog");
    known_thread_begin();
    int64_t before = clock_now_ns(), quiet_since = before, tick = TICK_MIN_NS;
    while (!GUARD_LOAD(stopping)) {
        struct timespec t = {.tv_nsec = tick};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        int64_t now = clock_now_ns(), step = now - before;
        before = now;
        Look look = look_around(step > 2 * tick + 5 * MS ? 2 * tick + 5 * MS : step);
        if (look.changed)
            quiet_since = now;
        tick = tick_for(&look);
        if (now - quiet_since < IDLE_AFTER_NS)
            continue;
        fall_asleep();
        before = quiet_since = clock_now_ns();
        tick = TICK_MIN_NS;
    }
    known_thread_end();
    return NULL;
}

void guard_bound(uint64_t owner, int64_t deadline_ns)
{
    GuardThread *one;
    for (int i = 0; (one = thread_at(i)) != NULL; i++) {
        uint32_t depth = GUARD_LOAD(one->in_use) ? GUARD_LOAD(one->depth) : 0;
        for (uint32_t l = 0; l < depth && l < GUARD_LEVELS; l++) {
            int64_t none = 0;
            if (GUARD_LOAD(one->levels[l].owner) == owner)
                __atomic_compare_exchange_n(&one->levels[l].deadline_ns, &none, deadline_ns, 0,
                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }
    }
    watchdog_wake();
}

void watchdog_wake(void)
{
    if (__atomic_exchange_n(&watchdog_asleep, 0, __ATOMIC_ACQ_REL))
        syscall(SYS_futex, &watchdog_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void guard_prepare(void)
{
    can_barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

int watchdog_start(Error *err)
{
    if (running)
        return 0;
    guard_prepare();
    stopping = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return err_errno(err, KEEL_ELIMIT, failed, "cannot start the watchdog thread");
    running = 1;
    return 0;
}

void watchdog_stop(void)
{
    if (!running)
        return;
    GUARD_STORE(stopping, 1);
    watchdog_wake();
    pthread_join(thread, NULL);
    running = 0;
}

void watchdog_forked(void)
{
    running = 0;
    watchdog_asleep = 0;
}
