/* Answers of the frame thread to the engine thread, without waking it. Owns the timer that looks
 * for them. */
#include "swap/group.h"

enum { LOOK_MS = 1 };

void swap_answer(Swapper *swapper, SwapAnswer *answer, LoopFunction *function, void *user)
{
    answer->function = function;
    answer->user = user;
    answer->next = atomic_load_explicit(&swapper->answers, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&swapper->answers, &answer->next, answer,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

static void take_answers(Swapper *swapper)
{
    SwapAnswer *newest = atomic_exchange_explicit(&swapper->answers, NULL, memory_order_acquire);
    SwapAnswer *oldest = NULL;
    while (newest) {
        SwapAnswer *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        SwapAnswer *next = oldest->next; /* the function may free it */
        swapper->awaited--;
        oldest->function(oldest->user);
        oldest = next;
    }
}

static void look(uv_timer_t *timer)
{
    Swapper *swapper = timer->data;
    take_answers(swapper);
    if (!swapper->awaited)
        uv_timer_stop(timer);
}

void swap_await(Swapper *swapper)
{
    if (swapper->closing) { /* swap_finish takes them */
        swapper->awaited++;
        return;
    }
    if (!swapper->look_open) {
        uv_timer_init(loop_uv(swapper->loop), &swapper->look);
        swapper->look.data = swapper;
        swapper->look_open = 1;
    }
    if (!swapper->awaited++)
        uv_timer_start(&swapper->look, look, LOOK_MS, LOOK_MS);
}

void swap_close(Swapper *swapper)
{
    if (swapper->look_open)
        uv_close((uv_handle_t *)&swapper->look, NULL);
    swapper->look_open = 0;
    swapper->closing = 1;
    changes_forget(swapper);
}

void swap_finish(void *user)
{
    take_answers(user);
}
