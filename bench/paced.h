/* A host with the pace module in it, for benchmarks of swaps and faults: frames on this thread,
 * swaps asked for by another. Header only. */
#ifndef BENCH_PACED_H
#define BENCH_PACED_H

#include <keel/host.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"
#include "loop/pacer.h"
#include "modules/pace.h"

enum { PACE_MARKS = 1 << 20 };

typedef struct Paced {
    keel_host *host;
    keel_slot *slot;
    Pace pace;
    char path[3][512]; /* of variant 1 and 2 */
    int variant;       /* that runs */
    _Atomic int asking;
    int rc;
    pthread_t thread;
} Paced;

/* `path` NULL: the module's own; else a file that is watched. */
static inline void paced_open_at(Paced *paced, const char *path, long module_bytes,
                                 uint64_t state_bytes, uint64_t dirty_pages, uint32_t tier,
                                 uint32_t trial)
{
    memset(paced, 0, sizeof *paced);
    paced->pace.state_bytes = state_bytes;
    paced->pace.dirty_pages = dirty_pages;
    paced->pace.room = PACE_MARKS;
    paced->pace.marks = calloc(PACE_MARKS, sizeof *paced->pace.marks);
    memset(paced->pace.marks, 1, PACE_MARKS * sizeof *paced->pace.marks);
    for (int v = 1; v <= 2; v++)
        snprintf(paced->path[v], sizeof paced->path[v], "%s/pace-%ld-%d.so", BENCH_MODULES,
                 module_bytes, v);
    struct keel_host_options options = {.size = sizeof options,
                                        .trial = trial,
                                        .tier = tier,
                                        .probation_frames = 30,
                                        .trial_program = BENCH_TRIAL};
    struct keel_slot_options slot_options = {
        .size = sizeof slot_options, .no_watch = !path, .user = &paced->pace};
    if (keel_host_open(&options, &paced->host) ||
        keel_host_add(paced->host, path ? path : paced->path[1], &slot_options, &paced->slot)) {
        fprintf(stderr, "%s\n", keel_host_error());
        exit(2);
    }
    paced->variant = 1;
}

static inline void paced_open(Paced *paced, long module_bytes, uint64_t state_bytes,
                              uint64_t dirty_pages, uint32_t tier, uint32_t trial)
{
    paced_open_at(paced, NULL, module_bytes, state_bytes, dirty_pages, tier, trial);
}

static inline void paced_close(Paced *paced)
{
    keel_host_close(paced->host);
    free(paced->pace.marks);
}

static inline void paced_frames(Paced *paced, long count)
{
    for (long i = 0; i < count; i++)
        keel_host_frame(paced->host);
}

static inline void *paced_ask_(void *user)
{
    Paced *paced = user;
    const char *path = paced->path[3 - paced->variant];
    paced->rc =
        keel_host_swap(paced->host, &paced->slot, &path, 1, KEEL_SWAP_SAME | KEEL_SWAP_RETRY);
    if (paced->rc)
        fprintf(stderr, "%s\n", keel_host_error());
    atomic_store(&paced->asking, 0);
    return NULL;
}

/* One frame at the pacer's rate; what is left of the time goes to the boundary, as in `keel run`.
 */
static inline void paced_frame(Paced *paced, Pacer *pacer)
{
    keel_host_idle(paced->host, pacer->deadline_ns - pacer->spin_ns - 300 * 1000);
    pacer_wait(pacer, NULL);
    keel_host_frame(paced->host);
}

/* Swaps to the other variant while frames run as fast as they go; returns 0 when it took place. */
static inline int paced_swap(Paced *paced)
{
    atomic_store(&paced->asking, 1);
    if (pthread_create(&paced->thread, NULL, paced_ask_, paced))
        return -1;
    while (atomic_load(&paced->asking))
        keel_host_frame(paced->host);
    pthread_join(paced->thread, NULL);
    if (!paced->rc)
        paced->variant = 3 - paced->variant;
    return paced->rc;
}

#endif
