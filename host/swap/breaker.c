/* Fault counting of one slot. Owns its counters; decides nothing else. */
#include "swap/breaker.h"

#include <stdio.h>
#include <string.h>

void breaker_init(Breaker *breaker)
{
    memset(breaker, 0, sizeof *breaker);
    pthread_mutex_init(&breaker->lock, NULL);
}

void breaker_done(Breaker *breaker)
{
    pthread_mutex_destroy(&breaker->lock);
}

int breaker_frame(Breaker *breaker, int faulted)
{
    const uint64_t mask = (UINT64_C(1) << BREAKER_WINDOW) - 1;
    breaker->window = (breaker->window << 1 | (faulted ? 1 : 0)) & mask;
    if (breaker->frames < BREAKER_WINDOW)
        breaker->frames++;
    breaker->row = faulted ? breaker->row + 1 : 0;
    if (!faulted || breaker->open)
        return 0;
    int share =
        breaker->frames == BREAKER_WINDOW && __builtin_popcountll(breaker->window) >= BREAKER_SHARE;
    breaker->open = breaker->row >= BREAKER_ROW || share;
    return breaker->open;
}

void breaker_reset(Breaker *breaker)
{
    breaker->window = 0;
    breaker->frames = 0;
    breaker->row = 0;
    breaker->open = 0;
}

static int find(const Breaker *breaker, Hash hash)
{
    uint32_t count =
        breaker->remembered < BREAKER_REMEMBERED ? breaker->remembered : BREAKER_REMEMBERED;
    for (uint32_t i = 0; i < count; i++)
        if (hash_equal(breaker->hashes[i], hash) && breaker->why[i][0])
            return (int)i;
    return -1;
}

void breaker_remember(Breaker *breaker, Hash hash, const char *why)
{
    pthread_mutex_lock(&breaker->lock);
    if (find(breaker, hash) < 0) {
        uint32_t i = breaker->remembered++ % BREAKER_REMEMBERED;
        breaker->hashes[i] = hash;
        snprintf(breaker->why[i], sizeof breaker->why[i], "%s", *why ? why : "it faulted");
    }
    pthread_mutex_unlock(&breaker->lock);
}

int breaker_knows(Breaker *breaker, Hash hash, char ret_why[160])
{
    pthread_mutex_lock(&breaker->lock);
    int i = find(breaker, hash);
    if (i >= 0)
        memcpy(ret_why, breaker->why[i], sizeof breaker->why[i]);
    pthread_mutex_unlock(&breaker->lock);
    return i >= 0;
}

void breaker_forget(Breaker *breaker, Hash hash)
{
    pthread_mutex_lock(&breaker->lock);
    int i = find(breaker, hash);
    if (i >= 0)
        breaker->why[i][0] = 0;
    pthread_mutex_unlock(&breaker->lock);
}
