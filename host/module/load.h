/* One load, from image to proven generation. The loader's thread. */
#ifndef MODULE_LOAD_H
#define MODULE_LOAD_H

#include "module/generation.h"
#include "watch/stage.h"

typedef struct LoadTry {
    Generation *generation; /* in: number and image; out: all but the range's registration */
    State *state;           /* or NULL: the module's malloc is libc's */
    Stage *stage;
    int locked; /* out: a constructor faulted; the dynamic loader's lock is left held */
} LoadTry;

/* Stages, opens, proves and warms. On failure everything but the generation itself is undone, where
 * `locked` allows. */
int load_run(LoadTry *try, Error *err);

/* The same of a generation that load_run made. */
void load_undo(LoadTry *try);

/* A sealed copy of an image with a memfd of its own, so that the dynamic loader takes it for
 * another file. */
int load_copy_image(const Image *image, Image **ret, Error *err);

#endif
