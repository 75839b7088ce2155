/* fault and state: a child that a module forks is a process of its own. It ends as it likes, its
 * faults and its memory are its own, and it never goes on as a second host. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "fault/guard.h"
#include "state/state.h"

extern char __executable_start[], etext[];

enum { MODULE = 7, ONE_MORE_HOST = 99, CAME_BACK = 70 };

#define BAD __attribute__((no_sanitize("address", "undefined", "thread")))

static int *volatile null_pointer;

typedef struct Fork {
    void (*child)(void);
    int status; /* of waitpid */
} Fork;

BAD static void crash(void)
{
    *null_pointer = 1;
}

static void leave(void)
{
    exit(5);
}

static void raise_and_leave(void)
{
    _exit(guard_raise(FAULT_ERROR, 0, "nobody's") == 0 ? 6 : 7);
}

static void come_back(void) {}

static void forks(void *user)
{
    Fork *call = user;
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(60);
        call->child();
        return;
    }
    while (waitpid(child, &call->status, 0) < 0)
        ;
}

static void install(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    const struct rlimit none = {0, 0};
    Error err = {0};
    setrlimit(RLIMIT_CORE, &none);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], SIG_DFL);
    if (guard_install(&err) || guard_thread_begin(&err) ||
        guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE, "test.so", &err))
        fail_msg("%s", err.text);
}

static void uninstall(void)
{
    guard_range_remove(MODULE);
    guard_thread_end();
    guard_uninstall();
}

static int status_of(void (*child)(void))
{
    Fork call = {.child = child};
    pid_t self = getpid();
    FaultKind kind = guard_run(MODULE, 0, forks, &call, NULL);
    if (getpid() != self)
        _exit(ONE_MORE_HOST);
    assert_int_equal(kind, FAULT_NONE);
    return call.status;
}

static void exits_with(int status, int code)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("the child ended with status 0x%x instead of %d", (unsigned)status, code);
}

static void dies_by(int status, int number)
{
    if (!WIFSIGNALED(status) || WTERMSIG(status) != number)
        fail_msg("the child ended with status 0x%x instead of signal %d", (unsigned)status, number);
}

static void a_child_ends_as_it_likes(void **unused)
{
    (void)unused;
    install();
    exits_with(status_of(leave), 5);
    exits_with(status_of(raise_and_leave), 6);
    dies_by(status_of(crash), SIGSEGV);
    dies_by(status_of(abort), SIGABRT);
    uninstall();
}

static void one_that_comes_back_from_its_call_ends(void **unused)
{
    (void)unused;
    install();
    exits_with(status_of(come_back), CAME_BACK);
    uninstall();
}

static void *fork_and_crash(void *user)
{
    forks(user);
    return NULL;
}

static void a_child_of_a_modules_thread_is_not_parked(void **unused)
{
    (void)unused;
    Fork call = {.child = crash};
    pthread_t thread;
    install();
    assert_int_equal(pthread_create(&thread, NULL, fork_and_crash, &call), 0);
    pthread_join(thread, NULL);
    dies_by(call.status, SIGSEGV);
    uninstall();
}

static void call_crash(void *unused)
{
    (void)unused;
    crash();
}

static void a_child_of_the_host_may_guard_again(void **unused)
{
    (void)unused;
    if (UNDER_TSAN)
        skip(); /* it lets no child that a process with threads forked start any */
    install();
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        int guards =
            !guard_install(NULL) && guard_run(MODULE, 0, call_crash, NULL, NULL) == FAULT_MEMORY;
        _exit(guards ? 8 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    exits_with(status, 8);
    uninstall();
}

/* ---- memory ---- */

static State *state;
static uint64_t *object;

static void write_state(void)
{
    *object = 999;
    for (int i = 0; i < 100; i++)
        state_alloc_block(state, 1000, 16);
    _exit(*object == 999 ? 0 : 1);
}

static void what_a_child_writes_is_its_own(void **unused)
{
    (void)unused;
    Error err = {0};
    StateStatus before, after;
    void *root;
    install();
    if (state_open(NULL, &state, &err) ||
        state_root(state, "uint64_t", "test_fork.c", sizeof *object, 8, &root, &err))
        fail_msg("%s", err.text);
    object = root;
    *object = 5;
    assert_int_equal(state_commit(state, &err), KEEL_OK);
    state_status(state, &before);
    state_enter(state);
    exits_with(status_of(write_state), 0);
    state_leave(state);
    assert_int_equal(*object, 5);
    state_status(state, &after);
    assert_int_equal(after.live_objects, before.live_objects);
    state_close(state);
    uninstall();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_ends_as_it_likes),
        cmocka_unit_test(one_that_comes_back_from_its_call_ends),
        cmocka_unit_test(a_child_of_a_modules_thread_is_not_parked),
        cmocka_unit_test(a_child_of_the_host_may_guard_again),
        cmocka_unit_test(what_a_child_writes_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
