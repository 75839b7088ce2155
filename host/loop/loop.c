/* The engine thread: owns the uv_loop_t, its thread and the queue of posted functions.
 *
 * What was queued before loop_free runs; what comes later is refused. Handles that their owners
 * left open are closed without a callback at the end, so that memory behind them may go as soon as
 * loop_free returns. Holds its lock only to link and unlink, never while a posted function runs. */
#include "loop/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

#include "base/known_threads.h"

#pragma GCC poison exit abort

struct Loop {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t lock;
    LoopPost *first, **last; /* under lock */
    int stopping;            /* under lock */
};

static _Thread_local const Loop *loop_of_thread;

/* Takes the whole queue at once: what a function posts runs in the next round, after the loop had
 * its turn. */
static LoopPost *take_posts(Loop *loop, int *ret_stopping)
{
    pthread_mutex_lock(&loop->lock);
    LoopPost *posts = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    *ret_stopping = loop->stopping;
    pthread_mutex_unlock(&loop->lock);
    return posts;
}

static void close_left(uv_handle_t *handle, void *user)
{
    (void)user;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_wake(uv_async_t *async)
{
    Loop *loop = async->data;
    int stopping;
    LoopPost *post = take_posts(loop, &stopping);
    while (post) {
        LoopPost *next = post->next; /* what was sent may be freed by its function */
        sem_t *done = post->done;
        int sent = post->sent;
        post->function(post->user);
        if (done)
            sem_post(done);
        else if (!sent)
            free(post);
        post = next;
    }
    /* Nothing can be queued any more, and what was queued has run. */
    if (stopping)
        uv_stop(&loop->uv);
}

static void *run(void *user)
{
    Loop *loop = user;
    loop_of_thread = loop;
    pthread_setname_np(pthread_self(), "keel-loop");
    known_thread_begin();
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    /* Close callbacks may open handles again: until none is left. */
    do
        uv_walk(&loop->uv, close_left, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) || uv_loop_close(&loop->uv) == UV_EBUSY);
    known_thread_end();
    return NULL;
}

/* The terminal's and a supervisor's signals belong to the program's own threads. */
static int start_thread(Loop *loop)
{
    sigset_t others, before;
    sigemptyset(&others);
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&others, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &others, &before);
    int failed = pthread_create(&loop->thread, NULL, run, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int loop_new(Loop **ret, Error *err)
{
    int code;
    Loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return err_set(err, KEEL_ENOMEM, "no memory for the engine thread");
    loop->last = &loop->first;
    pthread_mutex_init(&loop->lock, NULL);
    int failed = uv_loop_init(&loop->uv);
    if (failed) {
        code = err_errno(err, KEEL_EIO, -failed, "cannot make the engine's event loop");
        goto no_loop;
    }
    failed = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (failed) {
        code = err_errno(err, KEEL_EIO, -failed, "cannot make the engine's wake-up");
        goto no_async;
    }
    loop->wake.data = loop;
    failed = start_thread(loop);
    if (failed) {
        code = err_errno(err, KEEL_ELIMIT, failed, "cannot start the engine thread");
        goto no_thread;
    }
    *ret = loop;
    return 0;

no_thread:
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
no_async:
    uv_loop_close(&loop->uv);
no_loop:
    pthread_mutex_destroy(&loop->lock);
    free(loop);
    return code;
}

void loop_free(Loop *loop)
{
    if (!loop)
        return;
    pthread_mutex_lock(&loop->lock);
    loop->stopping = 1;
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
    pthread_join(loop->thread, NULL);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

uv_loop_t *loop_uv(Loop *loop)
{
    return &loop->uv;
}

int loop_on_thread(const Loop *loop)
{
    return loop_of_thread == loop;
}

/* The wake-up is sent under the lock: after `stopping` is seen nobody touches the async handle. */
static int queue(Loop *loop, LoopPost *post)
{
    int code = 0;
    post->next = NULL;
    pthread_mutex_lock(&loop->lock);
    if (loop->stopping) {
        code = KEEL_ECANCELED;
    } else {
        *loop->last = post;
        loop->last = &post->next;
        uv_async_send(&loop->wake);
    }
    pthread_mutex_unlock(&loop->lock);
    return code;
}

int loop_post(Loop *loop, LoopFunction *function, void *user)
{
    LoopPost *post = malloc(sizeof *post);
    if (!post)
        return KEEL_ENOMEM;
    *post = (LoopPost){.function = function, .user = user};
    int code = queue(loop, post);
    if (code)
        free(post);
    return code;
}

int loop_send(Loop *loop, LoopPost *post, LoopFunction *function, void *user)
{
    *post = (LoopPost){.function = function, .user = user, .sent = 1};
    return queue(loop, post);
}

int loop_call(Loop *loop, LoopFunction *function, void *user)
{
    if (loop_on_thread(loop)) {
        function(user);
        return 0;
    }
    sem_t done;
    sem_init(&done, 0, 0);
    LoopPost post = {.function = function, .user = user, .done = &done};
    int code = queue(loop, &post);
    if (!code)
        while (sem_wait(&done)) /* interrupted by a signal */
            ;
    sem_destroy(&done);
    return code;
}
