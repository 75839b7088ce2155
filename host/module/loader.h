/* The loader thread: dlopen, proof, prefault and dlclose, so that the frame thread never does.
 *
 * Load: bind the slot's heap, dlopen the staged name (RTLD_NOW | RTLD_LOCAL) under the guard, check
 * that the pages mapped are the pages of the sealed image and overlap no live or retired range,
 * check the table against the note, then touch text (populate for reading) and data (populate for
 * writing). Retire: wait until no host thread is inside and no thread's stack or registers point
 * into the range, run the destructors under a deadline, dlclose, check that the mapping is gone,
 * reserve the range without access in a bounded ring so that stale calls fault by name.
 *
 * A constructor that hangs keeps this thread and the dynamic loader's lock for ever: loads are then
 * refused with KEEL_EBUSY and the rest of the host goes on. */
#ifndef MODULE_LOADER_H
#define MODULE_LOADER_H

#include "fault/guard.h"
#include "module/generation.h"
#include "watch/stage.h"

typedef struct Loader Loader;

/* Called on the loader thread, under no lock. `generation` is NULL when it failed; err says why
 * (KEEL_ELOAD, KEEL_EABI, KEEL_EFAULT …). When a constructor hangs, loads that wait behind it are
 * refused (KEEL_EBUSY) on the thread that next calls loader_load or loader_status. */
typedef void LoaderDone(Generation *generation, const Error *err, void *user);

typedef struct LoaderStatus {
    uint64_t loaded, closed, waiting_to_close;
    uint64_t stuck; /* can't be unmapped, or tried for long; each is named in the log */
    uint64_t reserved_ranges;
    int busy_with;  /* a load has been running for over a second: a constructor hangs */
    char busy[512]; /* "" or the sentence why loads are refused now */
} LoaderStatus;

int loader_new(Loader **ret, Error *err);
/* The same, and the process's signal handlers stay as they are. */
int loader_new_plain(Loader **ret, Error *err);
/* Closes all that it can; what it can't stays mapped. Waiting loads are answered KEEL_ECANCELED. */
void loader_free(Loader *loader);

/* Nonzero when code of modules stayed mapped after loader_free: exit would run its destructors, and
 * one may crash or never return. A program then ends by _exit. [any] */
int loader_left(void);

/* As stage_alone, before the first load. [any] */
void loader_alone(Loader *loader);

/* Takes a reference to the image. Two loads of one image share nothing: the second gets a copy of
 * the bytes. KEEL_EBUSY, KEEL_ENOMEM and KEEL_ECANCELED come back at once, then `done` isn't
 * called. [any] */
int loader_load(Loader *loader, State *state, Image *image, LoaderDone *done, void *user);

/* Takes the generation over; closes it when nothing is in it any more. [any] */
void loader_retire(Loader *loader, Generation *generation);
void loader_status(Loader *loader, LoaderStatus *ret);
/* A fault on a thread that one of this loader's retired generations made; 1 if one was taken. [any]
 */
int loader_take_stray(Loader *loader, Fault *ret_fault);

/* Every thread of the host that runs modules says so at its start and end: it counts itself in
 * Generation.inside. Threads that don't are looked at conservatively before a generation is closed,
 * and one that never blocks keeps it. [any] */
void loader_thread_known(void);
void loader_thread_forget(void);

/* Checks a table against its note and the ABI; used by loader and trial. `name` and `version` of
 * the table must be readable. */
int table_check(const struct keel_module *table, const Image *image, Error *err);

#endif
