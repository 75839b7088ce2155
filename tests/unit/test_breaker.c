/* swap/breaker: 3 faults in a row or a fifth of the window open it; bytes that faulted are known
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "swap/breaker.h"

static void three_in_a_row_open_it(void **unused)
{
    (void)unused;
    Breaker breaker;
    breaker_init(&breaker);
    assert_int_equal(breaker_frame(&breaker, 1), 0);
    assert_int_equal(breaker_frame(&breaker, 1), 0);
    assert_int_equal(breaker_frame(&breaker, 0), 0);
    assert_int_equal(breaker_frame(&breaker, 1), 0);
    assert_int_equal(breaker_frame(&breaker, 1), 0);
    assert_int_equal(breaker_frame(&breaker, 1), 1);
    assert_true(breaker.open);
    assert_int_equal(breaker_frame(&breaker, 1), 0); /* said once */
    breaker_reset(&breaker);
    assert_false(breaker.open);
    assert_int_equal(breaker_frame(&breaker, 1), 0);
    breaker_done(&breaker);
}

static void a_fifth_of_the_window_opens_it(void **unused)
{
    (void)unused;
    Breaker breaker;
    breaker_init(&breaker);
    int opened = 0, frames = 0;
    while (!opened && frames < 1000) /* every fifth frame */
        opened = breaker_frame(&breaker, ++frames % 5 == 0);
    assert_int_equal(frames, BREAKER_WINDOW);
    breaker_reset(&breaker);
    for (int i = 0; i < 1000; i++) /* every sixth */
        assert_int_equal(breaker_frame(&breaker, i % 6 == 0), 0);
    breaker_done(&breaker);
}

static void bytes_that_faulted_are_known(void **unused)
{
    (void)unused;
    Breaker breaker;
    char why[160] = "";
    breaker_init(&breaker);
    Hash bad = {1, 2}, good = {3, 4};
    breaker_remember(&breaker, bad, "division by zero");
    assert_true(breaker_knows(&breaker, bad, why));
    assert_string_equal(why, "division by zero");
    assert_false(breaker_knows(&breaker, good, why));
    breaker_forget(&breaker, bad);
    assert_false(breaker_knows(&breaker, bad, why));
    for (uint64_t i = 0; i < 3 * BREAKER_REMEMBERED; i++) /* bounded: the oldest go */
        breaker_remember(&breaker, (Hash){i, 9}, "x");
    assert_true(breaker_knows(&breaker, (Hash){3 * BREAKER_REMEMBERED - 1, 9}, why));
    assert_false(breaker_knows(&breaker, (Hash){0, 9}, why));
    breaker_done(&breaker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_in_a_row_open_it),
        cmocka_unit_test(a_fifth_of_the_window_opens_it),
        cmocka_unit_test(bytes_that_faulted_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
