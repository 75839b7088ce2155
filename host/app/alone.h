/* One image loaded into this process alone, without a host: for `keel replay`. Owns the loaded
 * generations; they are never closed, the process ends. One thread. */
#ifndef APP_ALONE_H
#define APP_ALONE_H

#include "module/generation.h"
#include "watch/stage.h"

typedef struct Alone {
    Stage *stage;
    uint64_t count;
} Alone;

/* Guard and names; once a process. */
int alone_begin(Alone *alone, Error *err);

/* Loads `image` with `state` as its heap, proves it and makes a generation. Its constructors run:
 * what they do is not undone. */
int alone_load(Alone *alone, Image *image, State *state, Generation **ret, Error *err);

/* An image of bytes that lie in memory. */
int alone_image(const void *data, size_t bytes, const char *path, Image **ret, Error *err);

void alone_end(Alone *alone);

#endif
