/* fault/stray and signals: faults outside guarded calls. Threads of a module are parked and blamed
 * on it; what is the host's own or comes from outside ends the process, by the signal; earlier
 * handlers are heard. Each case runs in a child. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "fault/guard.h"

extern char __executable_start[], etext[];

enum { MODULE = 7 };

#define BAD __attribute__((no_sanitize("address", "undefined", "thread")))

static int *volatile null_pointer;

typedef int CaseFunction(void);

/* The wait status of `function` in a child, with the signals' usual actions and the guard on top;
 * `owned`: this program's text is a module's. */
static int in_child(CaseFunction *function, int owned)
{
    pid_t child = fork();
    if (!child) {
        static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
        struct rlimit none = {0, 0};
        alarm(50);
        setrlimit(RLIMIT_CORE, &none);
        for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
            signal(numbers[i], SIG_DFL);
        if (owned && guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE,
                                     "test.so", NULL))
            _exit(100);
        _exit(function());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void passes(CaseFunction *function, int owned)
{
    int status = in_child(function, owned);
    if (status)
        fail_msg("the child ended with status 0x%x", (unsigned)status);
}

static void dies_by(CaseFunction *function, int owned, int number)
{
    int status = in_child(function, owned);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != number)
        fail_msg("the child ended with status 0x%x instead of signal %d", (unsigned)status, number);
}

static int begin(void)
{
    return guard_install(NULL) || guard_thread_begin(NULL);
}

BAD static void write_null(void *user)
{
    (void)user;
    *null_pointer = 1;
}

static void *fall(void *user)
{
    write_null(user);
    return NULL;
}

/* ---- a module's threads ---- */

static int wait_stray(uint64_t *owner, Fault *fault)
{
    while (!guard_take_stray(owner, fault)) {
        struct timespec t = {.tv_nsec = 1000000};
        nanosleep(&t, NULL);
    }
    return *owner == MODULE;
}

static int three_fall(void)
{
    enum { THREADS = 3 };
    if (begin() || guard_parked(0))
        return 1;
    int tids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        uint64_t owner = 0;
        Fault fault = {0};
        if (pthread_create(&thread, NULL, fall, NULL) || !wait_stray(&owner, &fault))
            return 2;
        if (fault.kind != FAULT_MEMORY || fault.signal != SIGSEGV ||
            !strstr(fault.text, "null pointer") || !strstr(fault.text, "test.so+0x"))
            return 3;
        tids[i] = fault.thread;
        if (fault.thread == getpid() || (i && tids[i] == tids[i - 1]))
            return 4;
        if (guard_parked(MODULE) != i + 1 || guard_parked(0) != i + 1 || guard_parked(MODULE + 1))
            return 5;
    }
    uint64_t owner;
    Fault fault;
    if (guard_take_stray(&owner, &fault)) /* each is told once */
        return 6;
    /* This thread isn't touched by it. */
    return guard_run(MODULE, 0, write_null, NULL, &fault) == FAULT_MEMORY ? 0 : 7;
}

static void a_modules_thread_is_parked(void **unused)
{
    (void)unused;
    passes(three_fall, 1);
}

#if !UNDER_TSAN
static int abort_on_a_thread(void)
{
    pthread_t thread;
    uint64_t owner;
    Fault fault;
    if (begin() || pthread_create(&thread, NULL, (void *(*)(void *))(void (*)(void))abort, NULL))
        return 1;
    /* abort is the thread's first function: no address of the module is on its stack. */
    return wait_stray(&owner, &fault) ? 2 : 3;
}
#endif

static void *call_abort(void *unused)
{
    (void)unused;
    abort();
}

static int abort_in_libc(void)
{
    pthread_t thread;
    uint64_t owner;
    Fault fault;
    if (begin() || pthread_create(&thread, NULL, call_abort, NULL))
        return 1;
    if (!wait_stray(&owner, &fault) || fault.kind != FAULT_ABORT)
        return 2;
    return strstr(fault.text, "called from test.so+0x") ? 0 : 3;
}

static void libc_called_by_a_thread_is_blamed_on_its_module(void **unused)
{
    (void)unused;
    passes(abort_in_libc, 1);
#if !UNDER_TSAN /* its start of a thread leaves addresses of the program on the stack */
    dies_by(abort_on_a_thread, 1, SIGABRT);
#endif
}

/* ---- nobody's ---- */

static int host_falls(void)
{
    if (begin())
        return 1;
    write_null(NULL);
    return 2;
}

static void host_depth_then_fall(void *user)
{
    guard_host_enter();
    write_null(user);
}

static int falls_in_host_depth(void)
{
    Fault fault;
    if (begin())
        return 1;
    guard_run(MODULE, 0, host_depth_then_fall, NULL, &fault);
    return 2;
}

static int host_aborts(void)
{
    if (begin())
        return 1;
    abort();
}

static int host_divides(void)
{
    if (begin())
        return 1;
    raise(SIGFPE);
    return 2;
}

static void the_hosts_own_faults_end_the_process(void **unused)
{
    (void)unused;
    dies_by(host_falls, 0, SIGSEGV);
    dies_by(falls_in_host_depth, 1, SIGSEGV);
    dies_by(host_aborts, 0, SIGABRT);
    dies_by(host_divides, 0, SIGFPE);
}

static int killed_from_outside(void)
{
    static const struct timespec second = {.tv_sec = 1};
    if (begin())
        return 1;
    pid_t self = getpid(), child = fork();
    if (!child) {
        kill(self, SIGSEGV);
        _exit(0);
    }
    for (int i = 0; i < 40; i++)
        nanosleep(&second, NULL);
    return 2;
}

static void wait_to_be_killed(void *user)
{
    *(int *)user = killed_from_outside();
}

static int killed_in_a_module(void)
{
    int code = 0;
    if (begin())
        return 1;
    guard_run(MODULE, 0, wait_to_be_killed, &code, NULL);
    return 3;
}

static void a_kill_from_outside_kills(void **unused)
{
    (void)unused;
    dies_by(killed_from_outside, 0, SIGSEGV);
    dies_by(killed_in_a_module, 1, SIGSEGV);
}

/* ---- those who were there before ---- */

static volatile sig_atomic_t heard, heard_code;
static sigjmp_buf after;

static void hear(int number, siginfo_t *info, void *context)
{
    (void)context;
    heard = number;
    heard_code = info->si_code;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (sigismember(&now, SIGUSR1) != 1 || sigismember(&now, number) != 1)
        heard = -1;
    siglongjmp(after, 1);
}

static int earlier_handler(void)
{
    struct sigaction theirs = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO};
    sigemptyset(&theirs.sa_mask);
    sigaddset(&theirs.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &theirs, NULL);
    if (begin())
        return 1;
    Fault fault;
    for (int i = 0; i < 3; i++) {
        heard = 0;
        if (!sigsetjmp(after, 1)) {
            write_null(NULL); /* the embedding program's own way to find out something */
            return 2;
        }
        if (heard != SIGSEGV || heard_code != SEGV_MAPERR)
            return 3;
        /* A module's fault is not theirs. */
        heard = 0;
        if (guard_run(MODULE, 0, write_null, NULL, &fault) != FAULT_MEMORY || heard)
            return 4;
    }
    guard_thread_end();
    guard_uninstall();
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    return now.sa_sigaction == hear ? 0 : 5;
}

static volatile sig_atomic_t plain_heard;

static void hear_once(int number)
{
    plain_heard = number;
}

static int one_shot_handler(void)
{
    struct sigaction theirs = {.sa_handler = hear_once, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGTRAP, &theirs, NULL);
    if (begin())
        return 1;
    raise(SIGTRAP);
    if (plain_heard != SIGTRAP)
        return 2;
    raise(SIGTRAP); /* the second is deadly */
    return 3;
}

static int ignored_signal(void)
{
    signal(SIGTRAP, SIG_IGN);
    if (begin())
        return 1;
    return raise(SIGTRAP) ? 2 : 0;
}

static void earlier_handlers_are_heard(void **unused)
{
    (void)unused;
    passes(earlier_handler, 0);
    dies_by(one_shot_handler, 0, SIGTRAP);
    passes(ignored_signal, 0);
}

/* ---- the sandbox ---- */

static void forbidden_call(void *unused)
{
    (void)unused;
    syscall(SYS_acct, NULL);
}

static int sandboxed(void)
{
    if (begin())
        return 1;
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof rules / sizeof *rules, .filter = rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
        return 2;
    for (int i = 0; i < 3; i++) {
        Fault fault = {0};
        char number[64];
        snprintf(number, sizeof number, "made system call %d that the sandbox forbids, called",
                 (int)SYS_acct);
        if (guard_run(MODULE, 0, forbidden_call, NULL, &fault) != FAULT_SYSCALL ||
            fault.signal != SIGSYS)
            return 3;
        if (!strstr(fault.text, number) || !strstr(fault.text, "test.so+0x"))
            return 4;
    }
    return 0;
}

static void forbidden_calls_come_back(void **unused)
{
    (void)unused;
    passes(sandboxed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_modules_thread_is_parked),
        cmocka_unit_test(libc_called_by_a_thread_is_blamed_on_its_module),
        cmocka_unit_test(the_hosts_own_faults_end_the_process),
        cmocka_unit_test(a_kill_from_outside_kills),
        cmocka_unit_test(earlier_handlers_are_heard),
        cmocka_unit_test(forbidden_calls_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
