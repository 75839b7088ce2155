/* A pool of threads that take jobs from a queue. Ordinary POSIX threads. */
#ifndef ORDINARY_POOL_H
#define ORDINARY_POOL_H

typedef struct pool pool;

/* NULL with errno set when no thread could be made. */
pool *pool_start(int threads);

/* Queues run(argument). 0, or -1 with errno set. */
int pool_submit(pool *p, void (*run)(void *argument), void *argument);

/* Until every queued job has been done. */
void pool_wait(pool *p);

/* Waits for all jobs, joins the threads, frees the pool. */
void pool_stop(pool *p);

#endif
