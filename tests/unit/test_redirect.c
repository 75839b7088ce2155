/* module/redirect: a module without the shim that leaves, by whatever name, faults; the process and
 * the thread go on. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <keel/heap.h>

#include "fault/guard.h"
#include "module/loader.h"

typedef struct Waiter {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int done;
    Generation *generation;
    Error err;
} Waiter;

static void loaded(Generation *generation, const Error *err, void *user)
{
    Waiter *waiter = user;
    pthread_mutex_lock(&waiter->mutex);
    waiter->generation = generation;
    waiter->err = *err;
    waiter->done = 1;
    pthread_cond_signal(&waiter->wake);
    pthread_mutex_unlock(&waiter->mutex);
}

static Generation *load(Loader *loader, const char *name)
{
    char path[512];
    Error err = {0};
    Image *image = NULL;
    Waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    snprintf(path, sizeof path, "%s/%s.so", KEEL_TEST_FIXTURES, name);
    if (image_load_file(path, INT64_C(2000000000), &image, &err))
        fail_msg("%s: %s", name, err.text);
    assert_int_equal(loader_load(loader, NULL, image, loaded, &waiter), KEEL_OK);
    pthread_mutex_lock(&waiter.mutex);
    while (!waiter.done)
        pthread_cond_wait(&waiter.wake, &waiter.mutex);
    pthread_mutex_unlock(&waiter.mutex);
    if (!waiter.generation)
        fail_msg("%s: %s", name, waiter.err.text);
    image_unref(image);
    return waiter.generation;
}

static int32_t raise_it(int32_t kind, int32_t code)
{
    guard_raise(FAULT_EXIT, kind * 100 + code, "left");
    return 0;
}

static void run_frame(void *user)
{
    const Generation *g = user;
    g->table->frame(NULL, NULL);
}

static void leaving_is_a_fault(const char *fixture)
{
    static const int expected[] = {KEEL_LEAVE_EXIT * 100 + 3, KEEL_LEAVE_EXIT_NOW * 100 + 4,
                                   KEEL_LEAVE_EXIT_NOW * 100 + 5, KEEL_LEAVE_QUICK_EXIT * 100 + 6,
                                   KEEL_LEAVE_THREAD_EXIT * 100};
    Error err = {0};
    Loader *loader = NULL;
    if (guard_install(&err) || guard_thread_begin(&err) || loader_new(&loader, &err))
        fail_msg("%s", err.text);
    state_on_leave(raise_it);
    Generation *g = load(loader, fixture);
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
        Fault fault = {0};
        assert_int_equal(guard_run(g->number, 0, run_frame, g, &fault), FAULT_EXIT);
        assert_int_equal(fault.code, expected[i]);
        assert_string_equal(fault.text, "left");
    }
    assert_int_equal(guard_run(g->number, 0, run_frame, g, NULL), FAULT_NONE);

    loader_retire(loader, g);
    loader_free(loader);
    guard_thread_end();
    guard_uninstall();
}

static void bound_at_once(void **unused)
{
    (void)unused;
    leaving_is_a_fault("bare_exit_now");
}

static void bound_on_first_call(void **unused)
{
    (void)unused;
    leaving_is_a_fault("bare_exit_lazy");
}

static void without_a_table_of_jumps(void **unused)
{
    (void)unused;
    leaving_is_a_fault("bare_exit_noplt");
}

/* The whole program on such a module: it lives on and says so. */
static void the_host_lives_on(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (!child) {
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, STDOUT_FILENO);
        dup2(quiet, STDERR_FILENO);
        execl(KEEL_TEST_PROGRAM, "keel", "run", KEEL_TEST_FIXTURES "/bare_exit_now.so",
              "--headless", "--frames", "5", "--trial=off", NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 0, 1); /* and not the 3 of its exit */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_at_once),
        cmocka_unit_test(bound_on_first_call),
        cmocka_unit_test(without_a_table_of_jumps),
        cmocka_unit_test(the_host_lives_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
