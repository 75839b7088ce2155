/* What loader.c and loader_live.c share; nobody else includes it. */
#ifndef MODULE_LOADER_PARTS_H
#define MODULE_LOADER_PARTS_H

#include <pthread.h>

#include "module/loader.h"
#include "module/retired.h"

typedef struct LoadJob LoadJob;
struct LoadJob {
    LoadJob *next;
    State *state;
    Image *image;
    LoaderDone *done;
    void *user;
};

struct Loader {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int stopping;
    int plain; /* without signal handlers */

    /* Under the mutex. */
    LoadJob *first, **end;
    Generation *all;       /* loaded and not closed */
    int64_t busy_since_ns; /* 0: no load runs */
    char busy_name[IMAGE_NAME_BYTES];
    int locked; /* the dynamic loader's lock is lost */
    int64_t calm_until_ns;
    LoaderStatus status;

    /* The loader thread's, in loader_live.c. */
    Stage *stage;
    Retired retired;
};

/* ---- loader_live.c; the loader thread, without the mutex unless said ---- */

/* The image is mapped, proven and guarded, but not in the list yet. *ret_locked: a constructor left
 * the dynamic loader locked; what it may still use is left to it. */
int live_load(Loader *loader, const LoadJob *job, Generation **ret, int *ret_locked, Error *err);
/* The retiring generation that is due first, or NULL; *ret_due when. The mutex is held. */
Generation *live_next(const Loader *loader, int64_t *ret_due);
/* Closes it, or says when to try again. */
void live_close(Loader *loader, Generation *g);
/* Closes what can be; the rest stays mapped, with its image, name and list entry: threads may be in
 * it. Returns how many stay. The thread has ended. */
int live_end(Loader *loader);
/* Counts for loader_left. [any] */
void live_left_behind(void);

#endif
