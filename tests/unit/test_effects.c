/* swap/effects: timers and tasks count when the frame does, and an undone frame leaves no trace of
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "swap/effects.h"

static int begin(void)
{
    return guard_thread_begin(NULL);
}

static int32_t double_it(struct keel_work *w)
{
    int value;
    memcpy(&value, w->input, sizeof value);
    value *= 2;
    w->give(w, &value, sizeof value);
    return (int32_t)w->op;
}

static const struct keel_module table = {.size = sizeof table, .work = double_it};

static int fired(Inputs *inputs, uint64_t tag)
{
    int n = 0;
    for (const Input *input = inputs_take(inputs); input; input = input->next)
        if (input->event.tag == tag)
            n += input->event.result;
    struct keel_frame frame = {.size = sizeof frame};
    inputs_commit(inputs, &frame);
    return n;
}

static void timers_fire_when_due(void **unused)
{
    (void)unused;
    Effects effects;
    Inputs inputs;
    Fault fault;
    uint64_t owner;
    effects_init(&effects, NULL);
    inputs_init(&inputs);
    effects.now_ns = 1000;
    keel_handle once = effects_timer_start(&effects, 50, 0, 7);
    keel_handle often = effects_timer_start(&effects, 10, 10, 8);
    assert_true(once && often && once != often);
    effects_collect(&effects, 2000, &inputs, &owner, &fault);
    assert_int_equal(fired(&inputs, 8), 0); /* not committed yet */
    effects_commit(&effects);
    effects_collect(&effects, 1049, &inputs, &owner, &fault);
    assert_int_equal(fired(&inputs, 8), 4); /* 1010, 1020, 1030, 1040 in one event */
    effects_collect(&effects, 1050, &inputs, &owner, &fault);
    assert_int_equal(fired(&inputs, 7), 1);
    effects_collect(&effects, 9000, &inputs, &owner, &fault);
    assert_int_equal(fired(&inputs, 7), 0); /* once */
    assert_int_equal(effects_timer_stop(&effects, once), KEEL_ESTALE);
    assert_int_equal(effects_timer_stop(&effects, often), KEEL_OK);
    assert_int_equal(effects_timer_stop(&effects, often), KEEL_ESTALE);
    effects_commit(&effects);
    effects_collect(&effects, 99000, &inputs, &owner, &fault);
    assert_int_equal(fired(&inputs, 8), 0);
    effects_done(&effects);
    inputs_done(&inputs);
}

static void an_undone_frame_gives_the_same_handles_again(void **unused)
{
    (void)unused;
    Effects effects;
    Inputs inputs;
    Fault fault;
    uint64_t owner;
    effects_init(&effects, NULL);
    inputs_init(&inputs);
    keel_handle kept = effects_timer_start(&effects, 10, 10, 1);
    effects_commit(&effects);
    keel_handle a = effects_timer_start(&effects, 1, 1, 2),
                b = effects_timer_start(&effects, 1, 1, 3);
    int value = 4;
    keel_handle t = effects_task_start(&effects, NULL, 1, 9, 0, &value, sizeof value);
    effects_timer_stop(&effects, kept);
    effects_undo(&effects);
    effects_collect(&effects, 10, &inputs, &owner, &fault);
    int kept_fired = 0, others = 0;
    for (const Input *input = inputs_take(&inputs); input; input = input->next)
        *(input->event.handle == kept ? &kept_fired : &others) += 1;
    assert_int_equal(kept_fired, 1); /* its stop never happened */
    assert_int_equal(others, 0);     /* nor did their starts */
    assert_int_equal(effects_timer_start(&effects, 1, 1, 2), a);
    assert_int_equal(effects_timer_start(&effects, 1, 1, 3), b);
    assert_int_equal(effects_task_start(&effects, NULL, 1, 9, 0, &value, sizeof value), t);
    effects_undo(&effects);
    effects_done(&effects);
    inputs_done(&inputs);
}

static void too_many_timers_give_no_handle(void **unused)
{
    (void)unused;
    Effects effects;
    effects_init(&effects, NULL);
    for (int i = 0; i < EFFECTS_TIMERS; i++)
        assert_int_not_equal(effects_timer_start(&effects, 1, 0, 0), 0);
    assert_int_equal(effects_timer_start(&effects, 1, 0, 0), 0);
    effects_undo(&effects);
    assert_int_not_equal(effects_timer_start(&effects, 1, 0, 0), 0);
    effects_done(&effects);
}

static void work_comes_back_as_an_event(void **unused)
{
    (void)unused;
    Effects effects;
    Inputs inputs;
    Workers *workers;
    Fault fault;
    uint64_t owner;
    Generation generation = {.number = 77, .table = &table};
    assert_int_equal(workers_new(2, begin, guard_thread_end, &workers, NULL), KEEL_OK);
    effects_init(&effects, workers);
    inputs_init(&inputs);
    int value = 21;
    keel_handle handle = effects_task_start(&effects, &generation, 5, 9, 0, &value, sizeof value);
    keel_handle dropped = effects_task_start(&effects, &generation, 6, 10, 2, &value, sizeof value);
    assert_int_equal(generation.inside, 2); /* held from the asking on */
    assert_int_equal(effects_task_cancel(&effects, dropped), KEEL_OK);
    value = 0; /* the input was copied */
    effects_commit(&effects);
    int got = 0;
    while (!got) {
        effects_collect(&effects, 1, &inputs, &owner, &fault);
        for (const Input *input = inputs_take(&inputs); input; input = input->next) {
            int doubled;
            assert_int_equal(input->event.handle, handle); /* never the cancelled one */
            assert_int_equal(input->event.tag, 9);
            assert_int_equal(input->event.result, 5);
            assert_int_equal(input->event.data_bytes, sizeof doubled);
            memcpy(&doubled, input->event.data, sizeof doubled);
            assert_int_equal(doubled, 42);
            got = 1;
        }
        struct keel_frame frame = {.size = sizeof frame};
        inputs_commit(&inputs, &frame);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    effects_done(&effects);
    assert_int_equal(generation.inside, 0);
    workers_free(workers);
    inputs_done(&inputs);
}

#if !UNDER_TSAN /* it holds the deadline's signal back until a libc call */
static _Atomic int spinning;

static int32_t spin(struct keel_work *w)
{
    (void)w;
    atomic_store(&spinning, 1);
    for (volatile int on = 1; on;)
        ;
    return 0;
}

static const struct keel_module spinner = {.size = sizeof spinner, .work = spin};

/* The slot has forgotten it, but it runs on and must end before its code can go. */
static void cancelled_work_without_end_is_ended(void **unused)
{
    (void)unused;
    Effects effects;
    Workers *workers;
    Generation generation = {.number = 78, .table = &spinner};
    assert_int_equal(workers_new(1, begin, guard_thread_end, &workers, NULL), KEEL_OK);
    effects_init(&effects, workers);
    keel_handle task = effects_task_start(&effects, &generation, 1, 1, 0, NULL, 0);
    effects_commit(&effects);
    while (!atomic_load(&spinning))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(effects_task_cancel(&effects, task), KEEL_OK);
    effects_commit(&effects);
    effects_done(&effects);
    assert_int_equal(generation.inside, 0);
    workers_free(workers);
}
#endif

int main(void)
{
    if (guard_install(NULL))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_when_due),
        cmocka_unit_test(an_undone_frame_gives_the_same_handles_again),
        cmocka_unit_test(too_many_timers_give_no_handle),
        cmocka_unit_test(work_comes_back_as_an_event),
#if !UNDER_TSAN
        cmocka_unit_test(cancelled_work_without_end_is_ended),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
