/* loop/pacer: the grid of deadlines is kept, missed periods are counted, sleeps end when told.
 * Nothing here depends on how fast the machine is. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "loop/pacer.h"

static void frames_lie_on_one_grid(void **unused)
{
    (void)unused;
    Pacer pacer;
    pacer_init(&pacer, 500);
    assert_int_equal(pacer.period_ns, 2000000);
    int64_t first = pacer_wait(&pacer, NULL), last = first;
    for (int i = 1; i < 50; i++) {
        int64_t nominal = pacer_wait(&pacer, NULL);
        assert_true(clock_now_ns() >= nominal); /* never early */
        assert_true(nominal > last);
        assert_int_equal((nominal - first) % pacer.period_ns, 0);
        last = nominal;
    }
    assert_int_equal(pacer.frames, 50);
    assert_int_equal((uint64_t)((last - first) / pacer.period_ns), 49 + pacer.missed);
    assert_true(pacer.spin_ns >= 50000 && pacer.spin_ns <= 1500000);
    assert_true(pacer.error_max_ns >= 0 && pacer.error_sum_ns >= 0);
}

static void whole_missed_periods_are_skipped(void **unused)
{
    (void)unused;
    Pacer pacer;
    pacer_init(&pacer, 100);
    int64_t first = pacer_wait(&pacer, NULL);
    /* As if the frame had taken five and a half periods. */
    pacer.deadline_ns -= 6 * pacer.period_ns;
    first -= 6 * pacer.period_ns;
    usleep(5000);
    int64_t nominal = pacer_wait(&pacer, NULL);
    assert_true(pacer.missed >= 4);
    assert_int_equal((nominal - first) % pacer.period_ns, 0);
    assert_int_equal((uint64_t)((nominal - first) / pacer.period_ns), 1 + pacer.missed);
    int64_t now = clock_now_ns();
    assert_true(nominal <= now && pacer.deadline_ns > nominal);
}

static void as_fast_as_it_goes(void **unused)
{
    (void)unused;
    Pacer pacer;
    pacer_init(&pacer, 0);
    int64_t before = clock_now_ns();
    for (int i = 0; i < 1000; i++)
        assert_true(pacer_wait(&pacer, NULL) >= before);
    assert_int_equal(pacer.frames, 1000);
    assert_int_equal(pacer.missed, 0);
}

static volatile int interrupt;

static void *interrupt_soon(void *user)
{
    (void)user;
    usleep(20000);
    pacer_interrupt(&interrupt);
    return NULL;
}

static void a_sleep_ends_when_told(void **unused)
{
    (void)unused;
    Pacer pacer;
    pthread_t thread;
    pacer_init(&pacer, 0.001); /* a frame every 1,000 s: only an interrupt ends this test */
    pacer_wait(&pacer, &interrupt);
    int64_t deadline = pacer.deadline_ns;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
    assert_true(pacer_wait(&pacer, &interrupt) < deadline);
    assert_int_equal(interrupt, 1);
    assert_int_equal(pacer.deadline_ns, deadline);
    assert_int_equal(pacer.frames, 1);
    pthread_join(thread, NULL);
    /* Still set: it doesn't sleep at all. */
    assert_true(pacer_wait(&pacer, &interrupt) < deadline);
    interrupt = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_lie_on_one_grid),
        cmocka_unit_test(whole_missed_periods_are_skipped),
        cmocka_unit_test(as_fast_as_it_goes),
        cmocka_unit_test(a_sleep_ends_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
