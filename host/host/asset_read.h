/* One reading of an asset: below its folder, whole, decoded in another process, as the event that
 * brings it. Blocks on the disk and on that process: only for libuv's pool. */
#ifndef HOST_ASSET_READ_H
#define HOST_ASSET_READ_H

#include <stdatomic.h>

#include "base/hash.h"
#include "swap/inputs.h"

typedef struct AssetRead {
    /* In. */
    const char *folder, *path;
    const char *decoder; /* keel-decode, NULL: there is none */
    uint32_t as;         /* KEEL_ASSET_… */
    int force;           /* also content that is known */
    int patient;         /* an empty file may still be written */
    Hash known;          /* of the content that came last */
    const _Atomic int *stop;
    /* Out. */
    Hash hash;
    Input *event; /* NULL: nothing new. Handle and tag are the caller's to set */
} AssetRead;

/* KEEL_OK; KEEL_EBUSY, KEEL_EPARTIAL: not yet, look again soon. Everything else is an event, too:
 * an error with its sentence. */
int asset_read(AssetRead *read, Error *err);

/* The path of keel-decode beside this program, beside `near` (may be NULL) or where it was
 * installed; malloc'ed, NULL: none. */
char *asset_decoder_find(const char *near);

#endif
