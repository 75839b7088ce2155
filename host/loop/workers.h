/* Worker threads with three priorities, for keel.task/1. First in, first out within a priority.
 *
 * Bounded: 1,024 waiting jobs. The jobs' memory is the caller's; `run` is called once on a worker
 * unless the job was taken back. */
#ifndef LOOP_WORKERS_H
#define LOOP_WORKERS_H

#include <stdint.h>

#include "base/err.h"

typedef struct Workers Workers;
typedef struct Job Job;
struct Job {
    Job *next;
    uint32_t priority; /* 0, 1, 2: lower first */
    void (*run)(Job *job);
};

/* `begin` and `end`, if not NULL, are called on each worker thread at its start and end. */
int workers_new(int threads, int (*begin)(void), void (*end)(void), Workers **ret, Error *err);
void workers_free(Workers *workers); /* waits for running jobs; waiting ones are dropped unrun */
int workers_put(Workers *workers, Job *job); /* KEEL_ELIMIT when full [any] */
int workers_take_back(Workers *workers,
                      Job *job); /* 1: it will not run; 0: it has started or ended [any] */

#endif
