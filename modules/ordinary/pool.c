/* A queue under one mutex; threads that sleep while it is empty. */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct job {
    struct job *next;
    void (*run)(void *argument);
    void *argument;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct job *first, **last;
    int busy, stopping, threads;
    pthread_t thread[];
};

static void *worker(void *user)
{
    pool *p = user;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *job = p->first;
        if (!job) {
            if (p->stopping)
                break;
            pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        p->first = job->next;
        if (!p->first)
            p->last = &p->first;
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        job->run(job->argument);
        free(job);
        pthread_mutex_lock(&p->lock);
        if (!--p->busy && !p->first)
            pthread_cond_broadcast(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

pool *pool_start(int threads)
{
    pool *p = calloc(1, sizeof *p + (size_t)threads * sizeof p->thread[0]);
    int error = 0;
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->last = &p->first;
    while (p->threads < threads && !error) {
        error = pthread_create(&p->thread[p->threads], NULL, worker, p);
        p->threads += !error;
    }
    if (p->threads)
        return p; /* fewer than asked for will do */
    pool_stop(p);
    errno = error;
    return NULL;
}

int pool_submit(pool *p, void (*run)(void *argument), void *argument)
{
    struct job *job = malloc(sizeof *job);
    if (!job)
        return -1;
    *job = (struct job){NULL, run, argument};
    pthread_mutex_lock(&p->lock);
    *p->last = job;
    p->last = &job->next;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

void pool_wait(pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->first || p->busy)
        pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_stop(pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->threads; i++)
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
