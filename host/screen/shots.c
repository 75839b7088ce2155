/* Screenshots. Owns what waits and the threads that write. Frame thread, but for the writing. */
#include "screen/shots.h"

#include <stdlib.h>
#include <string.h>

#include "base/known_threads.h"
#include "screen/png.h"

struct Shot {
    Shot *next;
    Shots *shots;
    HostShotDone *done;
    void *user;
    uint8_t *pixels;
    uint32_t width, height;
    char path[];
};

void shots_init(Shots *shots)
{
    memset(shots, 0, sizeof *shots);
    pthread_mutex_init(&shots->lock, NULL);
    pthread_cond_init(&shots->fewer, NULL);
}

static void end(Shot *shot, const Error *err)
{
    if (shot->done)
        shot->done(err, shot->user);
    free(shot->pixels);
    free(shot);
}

void shots_done(Shots *shots)
{
    for (Shot *shot = shots->first, *next; shot; shot = next) {
        Error err = {0};
        next = shot->next;
        err_set(&err, KEEL_ECANCELED, "no picture: the window closed before it was drawn");
        end(shot, &err);
    }
    shots->first = NULL;
    pthread_mutex_lock(&shots->lock);
    while (shots->writing)
        pthread_cond_wait(&shots->fewer, &shots->lock);
    pthread_mutex_unlock(&shots->lock);
    pthread_cond_destroy(&shots->fewer);
    pthread_mutex_destroy(&shots->lock);
}

int shots_ask(Shots *shots, const char *path, HostShotDone *done, void *user, Error *err)
{
    pthread_mutex_lock(&shots->lock);
    int count = shots->waiting + shots->writing;
    pthread_mutex_unlock(&shots->lock);
    if (count >= SHOTS_MOST)
        return err_set(err, KEEL_EBUSY, "%d pictures are being written already", SHOTS_MOST);
    size_t bytes = strlen(path) + 1;
    Shot *shot = malloc(sizeof *shot + bytes);
    if (!shot)
        return err_set(err, KEEL_ENOMEM, "no memory for a picture");
    *shot = (Shot){.shots = shots, .done = done, .user = user};
    memcpy(shot->path, path, bytes);
    Shot **last = &shots->first;
    while (*last)
        last = &(*last)->next;
    *last = shot;
    shots->waiting++;
    return KEEL_OK;
}

static void *write_shot(void *user)
{
    Shot *shot = user;
    Shots *shots = shot->shots;
    Error err = {0};
    known_thread_begin();
    png_write_file(shot->path, shot->pixels, shot->width, shot->height, &err);
    end(shot, &err);
    pthread_mutex_lock(&shots->lock);
    shots->writing--;
    pthread_cond_signal(&shots->fewer);
    pthread_mutex_unlock(&shots->lock);
    known_thread_end();
    return NULL;
}

static int start(Shot *shot, Error *err)
{
    Shots *shots = shot->shots;
    pthread_t thread;
    pthread_mutex_lock(&shots->lock);
    shots->writing++;
    pthread_mutex_unlock(&shots->lock);
    if (pthread_create(&thread, NULL, write_shot, shot) == 0) {
        pthread_detach(thread);
        return KEEL_OK;
    }
    pthread_mutex_lock(&shots->lock);
    shots->writing--;
    pthread_mutex_unlock(&shots->lock);
    return err_set(err, KEEL_ELIMIT, "no thread to write the picture: too many threads");
}

void shots_take(Shots *shots, Player *player)
{
    Shot *all = shots->first;
    shots->first = NULL;
    shots->waiting = 0;
    for (Shot *shot = all, *next; shot; shot = next) {
        next = shot->next;
        Error err = {0};
        shot->width = player->width;
        shot->height = player->height;
        shot->pixels = malloc((size_t)shot->width * shot->height * 4);
        if (!shot->pixels)
            err_set(&err, KEEL_ENOMEM, "no memory for a picture");
        else if (player_read(player, shot->pixels, &err) == KEEL_OK)
            start(shot, &err);
        if (err.code)
            end(shot, &err);
    }
}
