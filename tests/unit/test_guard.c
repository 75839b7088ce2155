/* fault/guard: every kind of fault comes back as a value, with what and where, and the thread goes
 * on. This program's own text plays the module. */
#include <assert.h>
#include <dlfcn.h>
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#undef assert_true
#include <cmocka.h>

#include "base/sanitizer.h"
#include "fault/guard.h"

extern char __executable_start[], etext[];

enum { MODULE = 7 };

/* Code that is wrong on purpose: the sanitizers let it be. */
#define BAD __attribute__((no_sanitize("address", "undefined", "thread")))

static volatile int zero;
static volatile int sink;

static void install(void)
{
    Error err = {0};
    if (guard_install(&err) || guard_thread_begin(&err) ||
        guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE, "test.so", &err))
        fail_msg("%s", err.text);
}

/* cmocka sets its own handlers before each test: the guard's go on top of them, inside the test. */
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

static void says(const Fault *fault, const char *what)
{
    if (!strstr(fault->text, what))
        fail_msg("\"%s\" doesn't say \"%s\"", fault->text, what);
}

/* Runs it guarded and checks what every fault must have. */
static Fault run(FaultKind kind, int number, GuardFunction *function)
{
    Fault fault = {0};
    assert_int_equal(guard_run(MODULE, 0, function, NULL, &fault), kind);
    assert_int_equal(fault.kind, kind);
    assert_int_equal(fault.signal, number);
    assert_int_equal(fault.thread, gettid());
    assert_true(fault.wall_ns > 0);
    assert_false(guard_in_module());
    Error err = {0};
    if (guard_recoverable(&fault, 10000000000, &err))
        fail_msg("%s", err.text);
    return fault;
}

static void fine(void *user)
{
    ++*(int *)user;
}

static void a_good_call_just_returns(void **unused)
{
    (void)unused;
    int ran = 0;
    Fault fault = {.code = 12345};
    assert_int_equal(guard_run(MODULE, 0, fine, &ran, &fault), FAULT_NONE);
    assert_int_equal(ran, 1);
    assert_int_equal(fault.code, 12345);
}

static int *volatile null_pointer;

BAD static void write_null(void *user)
{
    (void)user;
    *null_pointer = 1;
}

static char *gone; /* was memory once */

BAD static void read_wild(void *user)
{
    (void)user;
    sink = *(volatile int *)gone;
}

BAD static void read_noncanonical(void *user)
{
    (void)user;
    sink = *(volatile int *)0x8000000000000000;
}

BAD static void call_null(void *user)
{
    (void)user;
    void (*volatile function)(void) = NULL;
    function();
}

BAD static void write_text(void *user)
{
    (void)user;
    *(volatile char *)(uintptr_t)write_null = 0;
}

static void memory_faults_come_back(void **unused)
{
    (void)unused;
    Fault fault = run(FAULT_MEMORY, SIGSEGV, write_null);
    assert_int_equal(fault.address, 0);
    assert_true(fault.pc >= (uintptr_t)write_null && fault.pc < (uintptr_t)write_null + 256);
    assert_int_equal(fault.foreign_pc, 0);
    assert_true(fault.frame_count > 1);
    says(&fault, "wrote to 0x0 (null pointer) in test.so+0x");
    gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(gone, MAP_FAILED);
    munmap(gone, 4096);
    fault = run(FAULT_MEMORY, SIGSEGV, read_wild);
    assert_int_equal(fault.address, (uintptr_t)gone);
    says(&fault, "read from 0x");
    says(&fault, " (no memory there) in test.so+0x");
    fault = run(FAULT_MEMORY, SIGSEGV, write_text);
    says(&fault, "wrote to 0x");
    says(&fault, "(test.so+0x");
    fault = run(FAULT_MEMORY, SIGSEGV, call_null);
    says(&fault, "called 0x0 (null pointer) from test.so+0x");
    assert_int_equal(fault.foreign_pc, 0);
#if defined(__x86_64__)
    fault = run(FAULT_MEMORY, SIGSEGV, read_noncanonical);
    says(&fault, "a wild pointer");
#endif
}

static volatile char *past_end;

BAD static void read_past_end(void *user)
{
    (void)user;
    sink = past_end[4096];
}

static void bus_errors_come_back(void **unused)
{
    (void)unused;
    int fd = memfd_create("short", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 10), 0);
    past_end = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(past_end, MAP_FAILED);
    Fault fault = run(FAULT_MEMORY, SIGBUS, read_past_end);
    assert_int_equal(fault.address, (uintptr_t)past_end + 4096);
    says(&fault, "past the end of a mapped file in test.so+0x");
    munmap((void *)past_end, 8192);
    close(fd);
}

BAD static void divide(void *user)
{
    (void)user;
    sink = sink / zero;
}

BAD static void divide_floats(void *user)
{
    (void)user;
    feenableexcept(FE_DIVBYZERO);
    volatile double a = 1, b = zero;
    sink = a / b > 3;
}

static void arithmetic_comes_back(void **unused)
{
    (void)unused;
    Fault fault = run(FAULT_ARITHMETIC, SIGFPE, divide);
    assert_int_equal(fault.code, FPE_INTDIV);
    says(&fault, "division by zero");
    says(&fault, " in test.so+0x");
    fesetround(FE_UPWARD);
    guard_thread_end();
    assert_int_equal(guard_thread_begin(NULL), 0);
    fault = run(FAULT_ARITHMETIC, SIGFPE, divide_floats);
    says(&fault, "floating-point division by zero");
    /* The thread's own settings are back: no traps, its rounding. */
    assert_int_equal(fegetexcept(), 0);
    assert_int_equal(fegetround(), FE_UPWARD);
    volatile double a = 1, b = zero;
    assert_true(a / b > 3);
    fesetround(FE_TONEAREST);
    guard_thread_end();
    assert_int_equal(guard_thread_begin(NULL), 0);
}

BAD static void trap(void *user)
{
    (void)user;
    __builtin_trap();
}

static void breakpoint(void *user)
{
    (void)user;
    raise(SIGTRAP);
}

#if defined(__x86_64__)
static void int3(void *user)
{
    (void)user;
    __asm__ volatile("int3");
}
#endif

static void traps_come_back(void **unused)
{
    (void)unused;
    Fault fault = run(FAULT_ILLEGAL, SIGILL, trap);
    says(&fault, " in test.so+0x");
#if defined(__x86_64__)
    says(&fault, "ran into a trap");
    fault = run(FAULT_TRAP, SIGTRAP, int3);
    says(&fault, "breakpoint in test.so+0x");
#endif
    fault = run(FAULT_TRAP, SIGTRAP, breakpoint);
    says(&fault, "sent itself signal 5");
}

static void call_abort(void *user)
{
    (void)user;
    abort();
}

static void fail_assert(void *user)
{
    (void)user;
    assert(zero == 1 && "expected by the test");
}

static void aborts_come_back(void **unused)
{
    (void)unused;
    Fault fault = run(FAULT_ABORT, SIGABRT, call_abort);
    assert_int_equal(fault.foreign_pc, 1);
    says(&fault, "abort() was called, called from test.so+0x");
    fault = run(FAULT_ABORT, SIGABRT, fail_assert);
    assert_int_equal(fault.foreign_pc, 1);
}

BAD __attribute__((noinline)) static int recurse(volatile char *outer, int depth)
{
    volatile char here[512];
    here[0] = outer ? outer[0] : 0;
    if (zero)
        return depth;
    int below = recurse(here, depth + 1);
    return below + here[0];
}

static void overflow(void *user)
{
    (void)user;
    sink = recurse(NULL, 0);
}

static void overflow_twice(void **unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        Fault fault = run(FAULT_STACK, SIGSEGV, overflow);
        says(&fault, "stack overflow in test.so+0x");
        assert_int_equal(fault.frame_count, FAULT_FRAMES);
    }
}

static void *overflow_thread(void *user)
{
    Fault *fault = user;
    if (guard_thread_begin(NULL) == 0)
        guard_run(MODULE, 0, overflow, NULL, fault);
    return NULL;
}

static void stack_overflow_comes_back(void **unused)
{
    overflow_twice(unused);
    pthread_t thread;
    Fault fault = {0};
    assert_int_equal(pthread_create(&thread, NULL, overflow_thread, &fault), 0);
    pthread_join(thread, NULL);
    assert_int_equal(fault.kind, FAULT_STACK);
}

static void raise_exit(void *user)
{
    guard_host_enter();
    guard_raise(FAULT_EXIT, *(int *)user, "called exit(%d)", *(int *)user);
}

static void the_host_raises(void **unused)
{
    (void)unused;
    int status = 3;
    Fault fault = {0};
    assert_int_equal(guard_run(MODULE, 0, raise_exit, &status, &fault), FAULT_EXIT);
    assert_int_equal(fault.code, 3);
    assert_string_equal(fault.text, "called exit(3)");
    assert_int_equal(guard_state.host_depth, 0);
    /* Outside a guarded call there is nothing to end. */
    assert_int_equal(guard_raise(FAULT_EXIT, 1, "unused"), 0);
}

static int exits;

static void count_exit(void)
{
    exits++;
}

static void call_exit(void *user)
{
    (void)user;
    exit(3);
}

static void call_quick_exit(void *user)
{
    (void)user;
    quick_exit(4);
}

static void exit_without_the_shim(void **unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        Fault fault = run(FAULT_EXIT, 0, call_exit);
        assert_int_equal(fault.code, 3);
        assert_string_equal(fault.text, "called exit(3)");
        fault = run(FAULT_EXIT, 0, call_quick_exit);
        assert_string_equal(fault.text, "called quick_exit");
    }
    assert_int_equal(exits, 0); /* what was registered before the trap has not run */
}

typedef struct Nest {
    int inner_kind, after;
    Fault inner;
} Nest;

static void nest(void *user)
{
    Nest *nested = user;
    nested->inner_kind = (int)guard_run(MODULE + 1, 0, write_null, NULL, &nested->inner);
    nested->after = guard_in_module();
    trap(NULL);
}

static void nest_in_host(void *user)
{
    Nest *nested = user;
    guard_host_enter();
    nested->inner_kind = (int)guard_run(MODULE + 1, 0, write_null, NULL, &nested->inner);
    nested->after = (int)guard_state.host_depth;
    guard_host_leave();
}

static void calls_nest(void **unused)
{
    (void)unused;
    Nest nested = {0};
    Fault outer = {0};
    assert_int_equal(guard_run(MODULE, 0, nest, &nested, &outer), FAULT_ILLEGAL);
    assert_int_equal(nested.inner_kind, FAULT_MEMORY);
    assert_int_equal(nested.inner.kind, FAULT_MEMORY);
    assert_int_equal(nested.after, 1);
    memset(&nested, 0, sizeof nested);
    assert_int_equal(guard_run(MODULE, 0, nest_in_host, &nested, &outer), FAULT_NONE);
    assert_int_equal(nested.inner_kind, FAULT_MEMORY);
    assert_int_equal(nested.after, 1);
    assert_int_equal(guard_state.host_depth, 0);
}

enum { FAULTS = 10000 };

static void *fault_often(void *user)
{
    static GuardFunction *const kinds[] = {write_null, trap, call_abort, divide};
    static const FaultKind expected[] = {FAULT_MEMORY, FAULT_ILLEGAL, FAULT_ABORT,
                                         FAULT_ARITHMETIC};
    uintptr_t wrong = 0;
    Fault fault;
    if (guard_thread_begin(NULL))
        return (void *)1;
    for (int i = 0; i < FAULTS; i++)
        wrong += guard_run(MODULE, 0, kinds[i % 4], user, &fault) != expected[i % 4];
    return (void *)wrong;
}

/* Not from statm: its counters are summed up per CPU and may be a hundred pages off. */
static long resident_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    assert_non_null(file);
    while (kib < 0 && fgets(line, sizeof line, file))
        sscanf(line, "Rss: %ld", &kib);
    fclose(file);
    assert_true(kib > 0);
    return kib;
}

static void ten_thousand_in_a_row(void **unused)
{
    (void)unused;
    assert_null(fault_often(NULL));
    long before = resident_kib();
    assert_null(fault_often(NULL));
    /* Leaking eight bytes each would be 80 KiB; the sanitizers' own memory grows. */
#if !UNDER_ASAN && !UNDER_TSAN
    assert_in_range(resident_kib(), 0, before + 64);
#else
    (void)before;
#endif
}

static void on_two_threads_at_once(void **unused)
{
    (void)unused;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fault_often, NULL), 0);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

BAD static void block_signals_and_fault(void *user)
{
    (void)user;
    sigset_t some;
    sigemptyset(&some);
    sigaddset(&some, SIGILL);
    sigaddset(&some, GUARD_DEADLINE_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    *null_pointer = 1;
}

static void blocked_signals_are_opened(void **unused)
{
    (void)unused;
    run(FAULT_MEMORY, SIGSEGV, block_signals_and_fault);
    run(FAULT_ILLEGAL, SIGILL, trap);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_false(sigismember(&now, GUARD_DEADLINE_SIGNAL));
}

static void *end_without_saying_so(void *unused)
{
    (void)unused;
    return guard_thread_begin(NULL) ? (void *)1 : NULL;
}

static void threads_come_and_go(void **unused)
{
    (void)unused;
    for (int i = 0; i < 1200; i++) {
        pthread_t thread;
        void *failed;
        assert_int_equal(pthread_create(&thread, NULL, end_without_saying_so, NULL), 0);
        pthread_join(thread, &failed);
        assert_null(failed);
    }
}

static void ranges_answer_for_addresses(void **unused)
{
    (void)unused;
    Error err = {0};
    const char *name = NULL;
    uintptr_t offset = 0;
    assert_int_equal(guard_range_add(0x1000, 0x1000, 5, "empty", &err), KEEL_EINVAL);
    assert_int_equal(guard_range_add(0x1000, 0x2000, 0, "nobody", &err), KEEL_EINVAL);
    assert_int_equal(guard_range_add(0x1000, 0x2000, 5, "five", &err), 0);
    assert_int_equal(guard_range_add(0x3000, 0x4000, 5, "five", &err), 0);
    assert_int_equal(guard_range_find(0xfff, NULL, NULL), 0);
    assert_int_equal(guard_range_find(0x2000, NULL, NULL), 0);
    assert_int_equal(guard_range_find(0x3010, &name, &offset), 5);
    assert_string_equal(name, "five");
    assert_int_equal(offset, 0x10);
    guard_range_remove(5);
    assert_int_equal(guard_range_find(0x1000, NULL, NULL), 0);
    assert_int_equal(guard_range_find(0x3010, NULL, NULL), 0);
    int added = 0;
    while (added < 5000 && !guard_range_add(0x1000, 0x2000, 5, "many", &err))
        added++;
    assert_int_equal(added, 1023); /* one is this program's */
    guard_range_remove(5);
    assert_string_equal(fault_kind_name(FAULT_STACK), "stack");
    assert_string_equal(fault_kind_name((FaultKind)99), "unknown");
}

int main(void)
{
    atexit(count_exit);
    const struct CMUnitTest tests[] = {
        GUARDED(a_good_call_just_returns),
        GUARDED(memory_faults_come_back),
        GUARDED(bus_errors_come_back),
        GUARDED(arithmetic_comes_back),
        GUARDED(traps_come_back),
        GUARDED(aborts_come_back),
        GUARDED(stack_overflow_comes_back),
        GUARDED(the_host_raises),
        GUARDED(exit_without_the_shim),
        GUARDED(calls_nest),
        GUARDED(ten_thousand_in_a_row),
        GUARDED(on_two_threads_at_once),
        GUARDED(blocked_signals_are_opened),
        GUARDED(threads_come_and_go),
        GUARDED(ranges_answer_for_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
