/* fault/probe: a lock that a fault left taken is found and named, one that another thread holds is
 * not held against the fault. Each case runs in a child: what is broken there stays broken. */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "fault/guard.h"

extern char __executable_start[], etext[];

enum { MODULE = 7 };

#define BAD __attribute__((no_sanitize("address", "undefined", "thread")))

static int *volatile null_pointer;
static volatile int never;

static const int64_t patient_ns = 10000000000, short_ns = 50000000;

typedef int CaseFunction(void);

/* 0 from `function` in a child with the guard in place; anything else is said. */
static void in_child(CaseFunction *function)
{
    pid_t child = fork();
    if (!child) {
        Error err = {0};
        alarm(50);
        if (guard_install(&err) || guard_thread_begin(&err) ||
            guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE, "test.so",
                            &err))
            _exit(100);
        _exit(function());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status)
        fail_msg("the child ended with status 0x%x", (unsigned)status);
}

/* 0 when recoverable; 1 when not and the sentence names `lock`; 2 when it names another. */
static int verdict(const Fault *fault, int64_t timeout_ns, const char *lock)
{
    Error err = {0};
    int code = guard_recoverable(fault, timeout_ns, &err);

    if (!code)
        return 0;
    return code == KEEL_ETIMEOUT && strstr(err.text, lock) ? 1 : 2;
}

#if !UNDER_ASAN && !UNDER_TSAN
/* Blocks too large for the per-thread cache: libc finds the second free under its lock, and aborts.
 */
static void free_twice(void *user)
{
    char *volatile a = malloc(4000), *volatile b = malloc(4000);
    (void)user;
    free(a);
    free(b);
    char *volatile again = a;
    free(again);
}

/* Writes over the size of the block behind. */
static void smash_heap(void *user)
{
    (void)user;
    char *volatile a = malloc(2000), *volatile b = malloc(2000), *volatile c = malloc(2000);
    memset(a + 2000, 0x41, 24);
    free(c);
    free(b);
    free(a);
    while (!never)
        free(malloc(3000));
}

static int double_free(void)
{
    Fault fault;
    if (guard_run(MODULE, 0, free_twice, NULL, &fault) != FAULT_ABORT || !fault.foreign_pc)
        return 10;
    int first = verdict(&fault, short_ns, "malloc's lock");
    /* And again: the answer stays. */
    return first == 1 && verdict(&fault, short_ns, "malloc's lock") == 1 ? 0 : 20 + first;
}

static int smashed_heap(void)
{
    Fault fault;
    FaultKind kind = guard_run(MODULE, 0, smash_heap, NULL, &fault);
    if (kind != FAULT_ABORT && kind != FAULT_MEMORY)
        return 10;
    return verdict(&fault, short_ns, "malloc's lock") == 1 ? 0 : 11;
}

static void *free_twice_elsewhere(void *user)
{
    Fault fault;
    int *result = user;
    /* A thread of its own has an arena of its own. */
    *result = guard_run(MODULE, 0, free_twice, NULL, &fault) != FAULT_ABORT ? 10
              : verdict(&fault, short_ns, "malloc's lock") != 1             ? 11
                                                                            : 0;
    while (!never)
        pause();
    return NULL;
}

static int double_free_in_another_arena(void)
{
    int result = -1;
    pthread_t thread;
    pthread_create(&thread, NULL, free_twice_elsewhere, &result);
    while (__atomic_load_n(&result, __ATOMIC_ACQUIRE) < 0)
        usleep(1000);
    return result;
}

static void the_heaps_lock_is_seen(void **unused)
{
    (void)unused;
    in_child(double_free);
    in_child(smashed_heap);
    in_child(double_free_in_another_arena);
}
#endif

BAD static void fault_with_stdout(void *user)
{
    (void)user;
    flockfile(stdout);
    *null_pointer = 1;
}

static int stdout_left_locked(void)
{
    Fault fault;
    if (guard_run(MODULE, 0, fault_with_stdout, NULL, &fault) != FAULT_MEMORY)
        return 10;
    if (verdict(&fault, short_ns, "stdout") != 1)
        return 11;
    /* Open again: the probe gets through, and so do later questions. */
    funlockfile(stdout);
    return verdict(&fault, patient_ns, "");
}

BAD static int fault_inside(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void)info, (void)bytes, (void)user;
    *null_pointer = 1;
    return 0;
}

static void fault_in_the_loader(void *user)
{
    dl_iterate_phdr(fault_inside, user);
}

__attribute__((unused)) /* under ThreadSanitizer */ static int loader_left_locked(void)
{
    Fault fault;
    if (guard_run(MODULE, 0, fault_in_the_loader, NULL, &fault) != FAULT_MEMORY)
        return 10;
    int first = verdict(&fault, short_ns, "the loader's");
    return first == 1 ? 0 : 20 + first;
}

static void locks_left_by_the_fault_are_named(void **unused)
{
    (void)unused;
    in_child(stdout_left_locked);
#if !UNDER_ASAN && !UNDER_TSAN
    in_child(loader_left_locked); /* the sanitizers' reports and jumps need that lock themselves */
#endif
}

BAD static void just_fault(void *user)
{
    (void)user;
    *null_pointer = 1;
}

static int holding, let_go;

static void *hold_stdin(void *user)
{
    (void)user;
    flockfile(stdin);
    __atomic_store_n(&holding, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&let_go, __ATOMIC_ACQUIRE))
        usleep(1000);
    funlockfile(stdin);
    return NULL;
}

static int hold_inside(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void)info, (void)bytes, (void)user;
    __atomic_store_n(&holding, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&let_go, __ATOMIC_ACQUIRE))
        usleep(1000);
    return 1;
}

static void *hold_loader(void *user)
{
    dl_iterate_phdr(hold_inside, user);
    return NULL;
}

static int with_holder(void *(*holder)(void *))
{
    pthread_t thread;
    Fault fault;
    pthread_create(&thread, NULL, holder, NULL);
    while (!__atomic_load_n(&holding, __ATOMIC_ACQUIRE))
        usleep(1000);
    if (guard_run(MODULE, 0, just_fault, NULL, &fault) != FAULT_MEMORY)
        return 10;
    /* Twice: the second question comes while the first may still be open. */
    int first = verdict(&fault, short_ns, ""), second = verdict(&fault, short_ns, "");
    __atomic_store_n(&let_go, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    return first || second ? 20 + first * 10 + second : verdict(&fault, patient_ns, "");
}

static int stdin_of_another_thread(void)
{
    return with_holder(hold_stdin);
}

__attribute__((unused)) /* under ThreadSanitizer */ static int loader_of_another_thread(void)
{
    return with_holder(hold_loader);
}

static void locks_of_other_threads_are_their_business(void **unused)
{
    (void)unused;
    in_child(stdin_of_another_thread);
#if !UNDER_TSAN
    in_child(loader_of_another_thread);
#endif
}

static int many_questions(void)
{
    Fault fault;
    for (int i = 0; i < 2000; i++)
        if (guard_run(MODULE, 0, just_fault, NULL, &fault) != FAULT_MEMORY ||
            verdict(&fault, patient_ns, ""))
            return 10;
    return 0;
}

static void *ask_much(void *user)
{
    *(int *)user = many_questions();
    return NULL;
}

static int many_askers(void)
{
    pthread_t threads[3];
    int results[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, ask_much, &results[i]);
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        sum += results[i];
    }
    return sum;
}

static void questions_from_many_threads(void **unused)
{
    (void)unused;
    in_child(many_questions);
    in_child(many_askers);
}

static void an_unguarded_thread_gets_no_answer(void **unused)
{
    (void)unused;
    Error err = {0};
    assert_int_equal(guard_recoverable(NULL, 0, &err), KEEL_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if !UNDER_ASAN && !UNDER_TSAN
        cmocka_unit_test(the_heaps_lock_is_seen),
#endif
        cmocka_unit_test(locks_left_by_the_fault_are_named),
        cmocka_unit_test(locks_of_other_threads_are_their_business),
        cmocka_unit_test(questions_from_many_threads),
        cmocka_unit_test(an_unguarded_thread_gets_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
