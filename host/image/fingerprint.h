/* Fingerprints of an image's functions and statics. Runs libelf and a decoder on bytes of unknown
 * origin, so it is called in a process under limits, never in the host; one thread. */
#ifndef IMAGE_FINGERPRINT_H
#define IMAGE_FINGERPRINT_H

#include "image/anatomy.h"
#include "image/kept.h"
#include "image/owners.h"

/* A function's place in the source, by its address. */
typedef struct Line {
    uint64_t address;
    uint32_t pretty, file, line; /* strings of the same maker */
    uint32_t reserved;           /* 0 */
} Line;

typedef struct Lines {
    const Line *list; /* by rising address */
    size_t count;
} Lines;

/* What an earlier reading left, and what this one leaves. */
typedef struct FingerprintReuse {
    const Kept *before; /* NULL: nothing */
    Buf kept;           /* a KeptHead and what belongs to it, or empty */
    uint32_t taken;     /* functions whose fingerprint wasn't made anew */
} FingerprintReuse;

/* Adds flags, functions, statics and sections. Owners, lines and `reuse` may be NULL; what comes
 * out is the same with and without, but where an image is at the very limit of what may be looked
 * at: it may be readable after another, which spares looking, and not alone. KEEL_EIMAGE with a
 * sentence when the file contradicts itself; what is merely missing shows in the flags. */
int fingerprint_bytes(const void *data, size_t bytes, const Owners *owners, const Lines *lines,
                      FingerprintReuse *reuse, AnatomyMaker *maker, Error *err);

#endif
