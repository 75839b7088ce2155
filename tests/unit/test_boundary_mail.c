/* Mail to the frame thread: in order, swaps' a little later, and theirs also when there is no
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "host/boundary.h"

#define OWN_MALLOC (!UNDER_ASAN && !UNDER_TSAN)

static int no_memory;

#if OWN_MALLOC
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);

void *malloc(size_t bytes)
{
    return no_memory ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return no_memory ? NULL : __libc_calloc(count, bytes);
}
#endif

static int ran[2 * BOUNDARY_READY], count;

static void note(void *user)
{
    ran[count++] = (int)(intptr_t)user;
}

static void run_until(Boundary *boundary, int wanted)
{
    for (int i = 0; count < wanted && i < 10000; i++) {
        boundary_wait(boundary, 1000000);
        boundary_run(boundary);
    }
    assert_int_equal(count, wanted);
}

static void in_order(void **unused)
{
    (void)unused;
    Boundary boundary;
    boundary_init(&boundary);
    count = 0;
    boundary_post(&boundary, note, (void *)1);
    boundary_post_calm(&boundary, note, (void *)2);
    boundary_post(&boundary, note, (void *)3);
    run_until(&boundary, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ran[i], i + 1);
    assert_int_equal(atomic_load(&boundary.waiting), 0);
    boundary_post(&boundary, note, (void *)4); /* nothing is left that it could wait for */
    boundary_run(&boundary);
    assert_int_equal(count, 4);
    boundary_done(&boundary);
}

static void swaps_need_no_memory(void **unused)
{
    (void)unused;
    Boundary boundary;
    boundary_init(&boundary);
    for (int round = 0; round < 2; round++) {
        count = 0;
        no_memory = 1;
        for (int i = 0; i < BOUNDARY_READY; i++)
            boundary_post_calm(&boundary, note, (void *)(intptr_t)i);
        no_memory = 0;
        run_until(&boundary, BOUNDARY_READY);
        for (int i = 0; i < BOUNDARY_READY; i++)
            assert_int_equal(ran[i], i);
    }
    boundary_done(&boundary);
}

typedef struct Question {
    BoundaryErrand errand;
    Loop *loop;
    _Atomic int *answered;
} Question;

static void answer(void *user)
{
    Question *question = user;
    atomic_fetch_add(question->answered, 1);
    free(question);
}

static void ask(void *user)
{
    Question *question = user;
    assert_int_equal(loop_send(question->loop, &question->errand.back, answer, question), KEEL_OK);
}

static void questions_need_only_their_own(void **unused)
{
    (void)unused;
    enum { MANY = 500 };
    Boundary boundary;
    Loop *loop;
    Question *questions[MANY];
    _Atomic int answered = 0;
    boundary_init(&boundary);
    assert_int_equal(loop_new(&loop, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        questions[i] = calloc(1, sizeof *questions[i]);
        assert_non_null(questions[i]);
        questions[i]->loop = loop;
        questions[i]->answered = &answered;
    }
    no_memory = 1;
    for (int i = 0; i < MANY; i++)
        assert_int_equal(boundary_send(&boundary, &questions[i]->errand.there, ask, questions[i]),
                         KEEL_OK);
    boundary_run(&boundary);
    no_memory = 0;
    loop_free(loop); /* what was sent runs before */
    assert_int_equal(answered, MANY);
    boundary_close(&boundary);
    BoundaryMail late;
    assert_int_equal(boundary_send(&boundary, &late, note, NULL), KEEL_ECANCELED);
    boundary_done(&boundary);
}

static void the_last_waits_for_nothing(void **unused)
{
    (void)unused;
    Boundary boundary;
    boundary_init(&boundary);
    count = 0;
    boundary_post_calm(&boundary, note, NULL);
    boundary_post(&boundary, note, NULL);
    boundary_run_all(&boundary);
    assert_int_equal(count, 2);
    boundary_done(&boundary);
}

static void closed_takes_nothing(void **unused)
{
    (void)unused;
    Boundary boundary;
    boundary_init(&boundary);
    count = 0;
    boundary_post_calm(&boundary, note, NULL); /* dropped by boundary_done */
    boundary_close(&boundary);
    for (int i = 0; i < 2 * BOUNDARY_READY; i++)
        boundary_post_calm(&boundary, note, NULL);
    boundary_post(&boundary, note, NULL);
    boundary_done(&boundary);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order),
        cmocka_unit_test(swaps_need_no_memory),
        cmocka_unit_test(questions_need_only_their_own),
        cmocka_unit_test(the_last_waits_for_nothing),
        cmocka_unit_test(closed_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
