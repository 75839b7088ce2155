/* Screenshots: asked for on any frame, taken after the next picture, written by threads. [frame] */
#ifndef SCREEN_SHOTS_H
#define SCREEN_SHOTS_H

#include "screen/player.h"
#include "screen/screen.h"

enum { SHOTS_MOST = 64 }; /* waiting or being written */

typedef struct Shot Shot;

typedef struct Shots {
    Shot *first; /* wait for the picture */
    int waiting;
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    int writing; /* threads; under the lock */
} Shots;

void shots_init(Shots *shots);
/* Those that wait are told that the screen closes; those that are written come to their end. */
void shots_done(Shots *shots);

int shots_ask(Shots *shots, const char *path, HostShotDone *done, void *user, Error *err);

/* Takes all that wait from the player's picture. */
void shots_take(Shots *shots, Player *player);

#endif
