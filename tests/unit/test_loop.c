/* loop/: posted functions run in order on the engine thread, calls wait, and an end leaves nothing
 * open. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "loop/loop.h"

enum { MANY = 20000, POSTERS = 4 };

typedef struct Order {
    Loop *loop;
    int seen, wrong, elsewhere;
} Order;

typedef struct Numbered {
    Order *order;
    int number;
} Numbered;

static Numbered numbered[MANY];

static void in_order(void *user)
{
    Numbered *n = user;
    n->order->wrong += n->order->seen++ != n->number;
    n->order->elsewhere += !loop_on_thread(n->order->loop);
}

static void nothing(void *user)
{
    (void)user;
}

static void posts_run_in_order_on_the_loop_thread(void **unused)
{
    (void)unused;
    Order order = {0};
    assert_int_equal(loop_new(&order.loop, NULL), 0);
    assert_false(loop_on_thread(order.loop));
    for (int i = 0; i < MANY; i++) {
        numbered[i] = (Numbered){&order, i};
        assert_int_equal(loop_post(order.loop, in_order, &numbered[i]), 0);
    }
    assert_int_equal(loop_call(order.loop, nothing, NULL), 0);
    assert_int_equal(order.seen, MANY);
    assert_int_equal(order.wrong, 0);
    assert_int_equal(order.elsewhere, 0);
    loop_free(order.loop);
}

static void what_was_queued_runs_before_the_end(void **unused)
{
    (void)unused;
    Order order = {0};
    assert_int_equal(loop_new(&order.loop, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        numbered[i] = (Numbered){&order, i};
        assert_int_equal(loop_post(order.loop, in_order, &numbered[i]), 0);
    }
    loop_free(order.loop);
    assert_int_equal(order.seen, MANY);
    loop_free(NULL);
}

typedef struct Inner {
    Loop *loop;
    int ran;
} Inner;

static void inner_body(void *user)
{
    ((Inner *)user)->ran++;
}

static void call_inside(void *user)
{
    Inner *inner = user;
    /* A call on the loop thread runs at once, else this would wait for ever. */
    if (loop_call(inner->loop, inner_body, inner) == 0 && inner->ran == 1)
        inner->ran = 10;
    loop_post(inner->loop, inner_body, inner);
}

static void calls_nest(void **unused)
{
    (void)unused;
    Inner inner = {0};
    assert_int_equal(loop_new(&inner.loop, NULL), 0);
    assert_int_equal(loop_call(inner.loop, call_inside, &inner), 0);
    assert_int_equal(loop_call(inner.loop, nothing, NULL), 0);
    assert_int_equal(inner.ran, 11);
    loop_free(inner.loop);
}

static void *call_much(void *user)
{
    Inner *inner = user;
    for (int i = 0; i < 500; i++)
        if (loop_call(inner->loop, inner_body, inner))
            return inner;
    return NULL;
}

static void calls_from_many_threads(void **unused)
{
    (void)unused;
    Inner inner = {0};
    pthread_t threads[POSTERS];
    assert_int_equal(loop_new(&inner.loop, NULL), 0);
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_much, &inner), 0);
    for (int i = 0; i < POSTERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(inner.ran, POSTERS * 500);
    loop_free(inner.loop);
}

static uv_timer_t timer;
static uv_poll_t poll_handle;
static int pipe_ends[2];

static void tick(uv_timer_t *handle)
{
    (void)handle;
}

static void readable(uv_poll_t *handle, int status, int events)
{
    (void)handle, (void)status, (void)events;
}

static void open_handles(void *user)
{
    Loop *loop = user;
    uv_timer_init(loop_uv(loop), &timer);
    uv_timer_start(&timer, tick, 1, 1);
    uv_poll_init(loop_uv(loop), &poll_handle, pipe_ends[0]);
    uv_poll_start(&poll_handle, UV_READABLE, readable);
}

static void an_end_closes_what_was_left_open(void **unused)
{
    (void)unused;
    Loop *loop;
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(loop_new(&loop, NULL), 0);
    assert_int_equal(loop_call(loop, open_handles, loop), 0);
    loop_free(loop);
    assert_true(uv_is_closing((uv_handle_t *)&timer));
    assert_true(uv_is_closing((uv_handle_t *)&poll_handle));
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static Loop *ending;
static int late_code = 1;

static void reopen(uv_handle_t *handle)
{
    uv_timer_init(handle->loop, &timer);
    late_code = loop_post(ending, nothing, NULL);
}

static uv_timer_t first_timer;

static void slow_end(void *user)
{
    (void)user;
    usleep(20000);
    uv_timer_init(loop_uv(ending), &first_timer);
    uv_close((uv_handle_t *)&first_timer, reopen);
}

static void posts_at_the_end_are_refused(void **unused)
{
    (void)unused;
    assert_int_equal(loop_new(&ending, NULL), 0);
    assert_int_equal(loop_post(ending, slow_end, NULL), 0);
    loop_free(ending);
    assert_int_equal(late_code, KEEL_ECANCELED);
    assert_true(uv_is_closing((uv_handle_t *)&timer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posts_run_in_order_on_the_loop_thread),
        cmocka_unit_test(what_was_queued_runs_before_the_end),
        cmocka_unit_test(calls_nest),
        cmocka_unit_test(calls_from_many_threads),
        cmocka_unit_test(an_end_closes_what_was_left_open),
        cmocka_unit_test(posts_at_the_end_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
