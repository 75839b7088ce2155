/* The deep look, in a child of its own: libelf on bytes of unknown origin under resource limits and
 * without any system call but memory's. One thread. */
#ifndef APP_APART_H
#define APP_APART_H

#include "image/inspect.h"

/* As inspect_bytes. KEEL_EFAULT: the look itself crashed; KEEL_ETIMEOUT: it took too long;
 * KEEL_EUNSUPPORTED: this system offers no sandbox. */
int inspect_apart(const void *data, size_t bytes, Inspection *ret, Error *err);

/* Fills at most `room` bytes of `ret`; `*ret_bytes` says how many. Runs in the child. */
typedef int (*ApartWork)(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                         Error *err);

/* What a child found, sealed: no later child can write there. It is as hostile as the file. */
typedef struct Apart {
    const void *data;
    size_t bytes;
    int memfd; /* of just these bytes */
    void *mapping;
    size_t mapped;
} Apart;

/* How long the child may compute and how much memory it may have; it may last APART_LAST_TIMES as
 * long. */
enum { APART_LAST_TIMES = 2 };
typedef struct ApartLimits {
    uint32_t cpu_seconds;
    uint64_t memory_bytes;
} ApartLimits;

extern const ApartLimits APART_AT_LEISURE; /* for a command that somebody waits for */

/* Runs `work` in a child of its own. Errors as inspect_apart, and those of `work`. */
int apart_run(ApartWork work, const void *data, size_t bytes, size_t room,
              const ApartLimits *limits, Apart *ret, Error *err);

/* Gives away the memfd; `apart` has nothing more then. */
int apart_give(Apart *apart);
void apart_done(Apart *apart);

#endif
