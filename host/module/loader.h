/* The loader thread: dlopen, proof, prefault and dlclose, so that the frame thread never does.
 *
 * Load: bind the slot's heap, dlopen the staged name (RTLD_NOW | RTLD_LOCAL) under the guard, check that the pages
 * mapped are the pages of the sealed image and overlap no live or retired range, check the table against the note, then
 * touch text (populate for reading) and data (populate for writing). Retire: wait until no host thread is inside and no
 * thread's stack or registers point into the range, dlclose, check that the mapping is gone, reserve the range without access in
 * a bounded ring so that stale calls fault by name. */
#ifndef MODULE_LOADER_H
#define MODULE_LOADER_H

#include "module/generation.h"
#include "watch/stage.h"

typedef struct Loader Loader;

/* Called on the loader thread. `generation` is NULL when it failed; err says why (KEEL_ELOAD, KEEL_EABI, KEEL_EFAULT …). */
typedef void LoaderDone(Generation *generation, const Error *err, void *user);

typedef struct LoaderStatus {
    uint64_t loaded, closed, waiting_to_close, stuck; /* stuck: can't be unmapped; each is named in the log */
    uint64_t reserved_ranges;
    int busy_with; /* a load has been running for over a second: a constructor hangs */
} LoaderStatus;

int loader_new(Loader **ret, Error *err);
void loader_free(Loader *loader); /* closes all that it can */

/* Takes a reference to the image. [any] */
int loader_load(Loader *loader, State *state, Image *image, LoaderDone *done, void *user);

/* Takes the generation over; closes it when nothing is in it any more. [any] */
void loader_retire(Loader *loader, Generation *generation);
void loader_status(Loader *loader, LoaderStatus *ret);

/* Checks a table against its note and the ABI; used by loader and trial. */
int table_check(const struct keel_module *table, const Image *image, Error *err);

#endif
