/* fault/watchdog: calls that take too long are ended, wherever they hang, and only those. The
 * deadlines are short; how late they are kept is bench_guard's question. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/sanitizer.h"
#include "fault/guard.h"

extern char __executable_start[], etext[];

enum { MODULE = 7, MS = 1000000 };

#if !UNDER_TSAN
static volatile int forever = 1;
#endif

static void install(void)
{
    Error err = {0};
    if (guard_install(&err) || guard_thread_begin(&err) ||
        guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE, "test.so", &err))
        fail_msg("%s", err.text);
}

static void guarded(void **test)
{
    install();
    ((void (*)(void **)) * test)(NULL);
    guard_range_remove(MODULE);
    guard_thread_end();
    guard_uninstall();
}

#define GUARDED(test)                              \
    {                                              \
#test, guarded, NULL, NULL, (void *)(test) \
    }

static void short_call(void *user)
{
    ++*(int *)user;
}

static void sleep_twice_as_long(void *user)
{
    (void)user;
    int64_t end = clock_now_ns() + 40 * MS;
    while (clock_now_ns() < end)
        usleep(1000);
}

static void short_calls_and_calls_without_deadline_are_let_be(void **unused)
{
    (void)unused;
    int ran = 0;
    int64_t end = clock_now_ns() + 800 * MS;
    /* Together longer than one deadline: only the same call counts. */
    while (clock_now_ns() < end)
        assert_int_equal(guard_run(MODULE, 500 * MS, short_call, &ran, NULL), FAULT_NONE);
    assert_true(ran > 0);
    assert_int_equal(guard_run(MODULE, 0, sleep_twice_as_long, NULL, NULL), FAULT_NONE);
}

/* Left out under ThreadSanitizer: it holds asynchronous signals back until a libc call of its
 * choice, so that a thread that hangs is never told. */
#if !UNDER_TSAN
static void is_deadline(FaultKind kind, const Fault *fault)
{
    assert_int_equal(kind, FAULT_DEADLINE);
    assert_int_equal(fault->kind, FAULT_DEADLINE);
    if (strncmp(fault->text, "took longer than 20 ms; was", 27) != 0)
        fail_msg("\"%s\" doesn't say how long", fault->text);
    Error err = {0};
    if (guard_recoverable(fault, 10000000000, &err))
        fail_msg("%s", err.text);
}

static void spin(void *user)
{
    (void)user;
    while (forever)
        ;
}

/* Left out under ThreadSanitizer: it hands an asynchronous signal over at the next libc call only.
 */
static void an_endless_loop_is_ended(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        Fault fault;
        FaultKind kind = guard_run(MODULE, 20 * MS, spin, NULL, &fault);
        is_deadline(kind, &fault);
        assert_int_equal(fault.foreign_pc, 0);
        assert_true(fault.pc >= (uintptr_t)spin && fault.pc < (uintptr_t)spin + 64);
        assert_non_null(strstr(fault.text, "was in test.so+0x"));
    }
}

static void spin_inside(void *user)
{
    (void)user;
    guard_run(MODULE + 1, 0, spin, NULL, NULL);
}

static void the_outer_calls_deadline_ends_the_inner(void **unused)
{
    (void)unused;
    Fault fault;
    FaultKind kind = guard_run(MODULE, 20 * MS, spin_inside, NULL, &fault);
    is_deadline(kind, &fault);
    assert_null(guard_state.frame);
}

static int inner_kind;

static void inner_is_late(void *user)
{
    inner_kind = (int)guard_run(MODULE + 1, 20 * MS, spin, NULL, user);
}

static void the_inner_calls_deadline_ends_only_it(void **unused)
{
    (void)unused;
    Fault inner = {0}, outer = {0};
    assert_int_equal(guard_run(MODULE, 3600000000000, inner_is_late, &inner, &outer), FAULT_NONE);
    is_deadline((FaultKind)inner_kind, &inner);
}

static void sleep_long(void *user)
{
    (void)user;
    while (forever)
        sleep(1000);
}

static int pipe_ends[2];

static void read_for_ever(void *user)
{
    (void)user;
    char byte;
    while (forever)
        if (read(pipe_ends[0], &byte, 1) == 1)
            break;
}

static void blocking_calls_are_ended(void **unused)
{
    (void)unused;
    assert_int_equal(pipe(pipe_ends), 0);
    Fault fault;
    FaultKind kind = guard_run(MODULE, 20 * MS, sleep_long, NULL, &fault);
    is_deadline(kind, &fault);
    kind = guard_run(MODULE, 20 * MS, read_for_ever, NULL, &fault);
    is_deadline(kind, &fault);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

typedef struct Hosted {
    int inside, after;
} Hosted;

static void late_in_host(void *user)
{
    Hosted *hosted = user;
    guard_host_enter();
    guard_host_enter();
    while (!guard_state.pending)
        usleep(1000);
    hosted->inside = 1;
    guard_host_leave(); /* still one deep: goes on */
    hosted->inside = 2;
    guard_host_leave();
    hosted->after = 1;
}

static void a_deadline_waits_for_the_host_to_be_left(void **unused)
{
    (void)unused;
    Hosted hosted = {0};
    Fault fault;
    assert_int_equal(guard_run(MODULE, 20 * MS, late_in_host, &hosted, &fault), FAULT_DEADLINE);
    assert_int_equal(hosted.inside, 2);
    assert_int_equal(hosted.after, 0);
    assert_int_equal(guard_state.host_depth, 0);
    assert_int_equal(guard_state.pending, 0);
    assert_non_null(strstr(fault.text, "when a call of the host ended"));
}

/* After more than a second without a call the watchdog sleeps without a period. */
static void it_wakes_up_again(void **unused)
{
    (void)unused;
    extern uint32_t watchdog_asleep;
    int tries = 0;
    while (!__atomic_load_n(&watchdog_asleep, __ATOMIC_ACQUIRE) && tries++ < 1000)
        usleep(10000);
    assert_int_equal(watchdog_asleep, 1);
    Fault fault;
    FaultKind kind = guard_run(MODULE, 20 * MS, sleep_long, NULL, &fault);
    is_deadline(kind, &fault);
}

static void *late_thread(void *user)
{
    Fault *fault = user;
    guard_run(MODULE, 20 * MS, sleep_long, NULL, fault);
    return NULL;
}

static void two_threads_are_late_at_once(void **unused)
{
    (void)unused;
    pthread_t threads[2];
    Fault faults[2] = {0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, late_thread, &faults[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    is_deadline(faults[0].kind, &faults[0]);
    is_deadline(faults[1].kind, &faults[1]);
}

/* The child is traced by this process: its deadline must not fire. */
static void a_debugger_turns_deadlines_off(void **unused)
{
    (void)unused;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        char byte;
        guard_install(NULL);
        if (read(ready[0], &byte, 1) != 1)
            _exit(2);
        int ok = guard_debugger() &&
                 guard_run(MODULE, 5 * MS, sleep_twice_as_long, NULL, NULL) == FAULT_NONE;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(ptrace(PTRACE_SEIZE, child, NULL, (void *)0), 0);
    assert_int_equal(write(ready[1], "x", 1), 1);
    int status;
    for (;;) {
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSTOPPED(status))
            break;
        ptrace(PTRACE_CONT, child, NULL, (void *)(uintptr_t)WSTOPSIG(status));
    }
    assert_int_equal(status, 0);
    assert_int_equal(guard_debugger(), 0);
    close(ready[0]);
    close(ready[1]);
}

/* fork takes only the calling thread: the guard is made whole in the child by another
 * guard_install. */
static void a_forked_child_has_deadlines_of_its_own(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (!child) {
        Fault fault;
        if (guard_install(NULL))
            _exit(2);
        FaultKind kind = guard_run(MODULE, 20 * MS, sleep_long, NULL, &fault);
        _exit(kind == FAULT_DEADLINE && fault.thread == getpid() &&
                      !guard_recoverable(&fault, 10000000000, NULL)
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if !UNDER_TSAN
        GUARDED(an_endless_loop_is_ended),
        GUARDED(the_outer_calls_deadline_ends_the_inner),
        GUARDED(the_inner_calls_deadline_ends_only_it),
        GUARDED(a_debugger_turns_deadlines_off),
        GUARDED(a_forked_child_has_deadlines_of_its_own),
        GUARDED(blocking_calls_are_ended),
        GUARDED(a_deadline_waits_for_the_host_to_be_left),
        GUARDED(it_wakes_up_again),
        GUARDED(two_threads_are_late_at_once),
#endif
        GUARDED(short_calls_and_calls_without_deadline_are_let_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
