/* Worker threads: one mutex, one condition, three queues. Owns the threads and the links of waiting
 * jobs; a running or ended job's memory is never touched again. */
#include "loop/workers.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#pragma GCC poison exit abort

enum { PRIORITIES = 3, WAITING_MAX = 1024, THREADS_MAX = 256 };

typedef struct Queue {
    Job *first, **last;
} Queue;

struct Workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Queue queues[PRIORITIES]; /* under lock, as all below */
    int waiting;
    int stopping;
    int begun; /* threads that finished `begin` */
    int begin_code;
    int (*begin)(void);
    void (*end)(void);
    int count;
    pthread_t threads[];
};

/* Waits for a job; NULL when it is time to end. */
static Job *take(Workers *workers)
{
    Job *job = NULL;
    pthread_mutex_lock(&workers->lock);
    while (!workers->stopping && !workers->waiting)
        pthread_cond_wait(&workers->changed, &workers->lock);
    for (int i = 0; i < PRIORITIES && !workers->stopping && !job; i++) {
        Queue *queue = &workers->queues[i];
        job = queue->first;
        if (!job)
            continue;
        queue->first = job->next;
        if (!queue->first)
            queue->last = &queue->first;
        workers->waiting--;
    }
    pthread_mutex_unlock(&workers->lock);
    return job;
}

static void *work(void *user)
{
    Workers *workers = user;
    pthread_setname_np(pthread_self(), "keel-worker");
    int code = workers->begin ? workers->begin() : 0;
    pthread_mutex_lock(&workers->lock);
    workers->begun++;
    if (code && !workers->begin_code)
        workers->begin_code = code;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    if (code)
        return NULL;
    for (Job *job; (job = take(workers)) != NULL;)
        job->run(job);
    if (workers->end)
        workers->end();
    return NULL;
}

/* Process-wide signals that a program waits for must not end up on a thread that may be busy for
 * long. */
static int start_thread(Workers *workers, pthread_t *ret)
{
    sigset_t others, before;
    sigemptyset(&others);
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,  SIGUSR1, SIGUSR2,
                                  SIGALRM, SIGCHLD, SIGPIPE, SIGWINCH, SIGIO};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&others, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &others, &before);
    int failed = pthread_create(ret, NULL, work, workers);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int workers_new(int threads, int (*begin)(void), void (*end)(void), Workers **ret, Error *err)
{
    if (threads < 1 || threads > THREADS_MAX)
        return err_set(err, KEEL_EINVAL, "%d worker threads asked for: 1 to %d are possible",
                       threads, THREADS_MAX);
    Workers *workers = calloc(1, sizeof *workers + (size_t)threads * sizeof workers->threads[0]);
    if (!workers)
        return err_set(err, KEEL_ENOMEM, "no memory for %d worker threads", threads);
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->changed, NULL);
    for (int i = 0; i < PRIORITIES; i++)
        workers->queues[i].last = &workers->queues[i].first;
    workers->begin = begin;
    workers->end = end;

    int failed = 0;
    while (workers->count < threads && !failed) {
        failed = start_thread(workers, &workers->threads[workers->count]);
        workers->count += !failed;
    }
    pthread_mutex_lock(&workers->lock);
    while (workers->begun < workers->count)
        pthread_cond_wait(&workers->changed, &workers->lock);
    int begin_code = workers->begin_code;
    pthread_mutex_unlock(&workers->lock);
    if (!failed && !begin_code) {
        *ret = workers;
        return 0;
    }
    workers_free(workers);
    if (failed)
        return err_errno(err, KEEL_ELIMIT, failed, "cannot start %d worker threads", threads);
    return err_set(err, begin_code, "a worker thread could not begin: %s", err_text(begin_code));
}

void workers_free(Workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = 1;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    for (int i = 0; i < workers->count; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_cond_destroy(&workers->changed);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

int workers_put(Workers *workers, Job *job)
{
    if (job->priority >= PRIORITIES)
        return KEEL_EINVAL;
    int code = 0;
    pthread_mutex_lock(&workers->lock);
    if (workers->stopping) {
        code = KEEL_ECANCELED;
    } else if (workers->waiting == WAITING_MAX) {
        code = KEEL_ELIMIT;
    } else {
        Queue *queue = &workers->queues[job->priority];
        job->next = NULL;
        *queue->last = job;
        queue->last = &job->next;
        workers->waiting++;
        pthread_cond_signal(&workers->changed);
    }
    pthread_mutex_unlock(&workers->lock);
    return code;
}

/* Looks in every queue for the address: the job itself may be gone already and is not read. */
int workers_take_back(Workers *workers, Job *job)
{
    int found = 0;
    pthread_mutex_lock(&workers->lock);
    for (int i = 0; i < PRIORITIES && !found; i++) {
        Queue *queue = &workers->queues[i];
        for (Job **link = &queue->first; *link; link = &(*link)->next) {
            if (*link != job)
                continue;
            *link = job->next;
            if (!*link)
                queue->last = link;
            workers->waiting--;
            found = 1;
            break;
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return found;
}
