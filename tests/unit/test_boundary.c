/* The boundary's wait: mail ends it, and another descriptor too when it was asked to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/boundary.h"

#define LONG_NS (INT64_C(600) * 1000000000) /* a wait that nothing ends is a test that hangs */

static void count(void *user)
{
    ++*(int *)user;
}

static int counted;

static void *post(void *boundary)
{
    usleep(20000);
    boundary_post(boundary, count, &counted);
    return NULL;
}

static void wait_for_post(Boundary *boundary)
{
    pthread_t thread;
    counted = 0;
    assert_int_equal(pthread_create(&thread, NULL, post, boundary), 0);
    while (!counted) {
        boundary_wait(boundary, LONG_NS);
        boundary_run(boundary);
    }
    pthread_join(thread, NULL);
}

static void test_mail_ends_the_wait(void **state)
{
    (void)state;
    int pipes[2];
    Boundary boundary;
    boundary_init(&boundary);
    wait_for_post(&boundary);
    assert_int_equal(pipe(pipes), 0);
    boundary_wait_also(&boundary, pipes[0]);
    wait_for_post(&boundary);
    wait_for_post(&boundary);
    boundary_wait_also(&boundary, -1);
    wait_for_post(&boundary);
    boundary_done(&boundary);
    close(pipes[0]);
    close(pipes[1]);
}

static void test_a_descriptor_ends_the_wait(void **state)
{
    (void)state;
    int pipes[2];
    Boundary boundary;
    boundary_init(&boundary);
    assert_int_equal(pipe(pipes), 0);
    boundary_wait_also(&boundary, pipes[0]);
    boundary_wait(&boundary, 1000000); /* nothing happens: its time ends it */
    assert_int_equal(write(pipes[1], "x", 1), 1);
    boundary_wait(&boundary, LONG_NS);
    boundary_wake(&boundary);
    char byte;
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    boundary_wait(&boundary, LONG_NS); /* by the wake */
    boundary_done(&boundary);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mail_ends_the_wait),
                                       cmocka_unit_test(test_a_descriptor_ends_the_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
