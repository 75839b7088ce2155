/* Counts a slot's faults outside probation: 3 in a row, or 20 % of the last 50 frames, and the
 * breaker opens: the slot stands still until another image comes. Bytes that faulted are remembered
 * by hash, so that they aren't tried again unasked. Frame thread; breaker_knows also on others (the
 * list only grows under a lock). */
#ifndef SWAP_BREAKER_H
#define SWAP_BREAKER_H

#include <pthread.h>
#include <stdint.h>

#include "base/hash.h"

enum { BREAKER_ROW = 3, BREAKER_WINDOW = 50, BREAKER_SHARE = 10, BREAKER_REMEMBERED = 64 };

typedef struct Breaker {
    uint64_t window; /* the last 50 frames, a bit each, newest lowest: 1 faulted */
    uint32_t frames; /* in the window */
    uint32_t row;
    int open;
    pthread_mutex_t lock; /* of the remembered hashes */
    uint32_t remembered;
    Hash hashes[BREAKER_REMEMBERED];
    char why[BREAKER_REMEMBERED][160];
} Breaker;

void breaker_init(Breaker *breaker);
void breaker_done(Breaker *breaker);

/* A frame ended. Returns 1 when this opened the breaker. */
int breaker_frame(Breaker *breaker, int faulted);

/* Another image runs now: closed, nothing counted. */
void breaker_reset(Breaker *breaker);

/* These bytes faulted. [any] */
void breaker_remember(Breaker *breaker, Hash hash, const char *why);
/* 1 and the reason, if these bytes faulted before. [any] */
int breaker_knows(Breaker *breaker, Hash hash, char ret_why[160]);
void breaker_forget(Breaker *breaker, Hash hash);

#endif
