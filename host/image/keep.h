/* Inside image/: which fingerprints of an earlier reading hold for this image. A fingerprint is
 * taken over when all that it was made from is the same:
 *
 *   - the layout: headers of the sections in memory, the table of symbols, relocations, and which
 *     function a numbered static lives in. Nothing has moved then, and a place means what it meant;
 *   - the function's own bytes, and where its table of handlers lies;
 *   - the bytes of each section that was looked into for it: constants, texts, tables of jumps;
 *   - if there was one, where each nameless constant begins and ends, which all code decides.
 *
 * Only decoding and hashing are spared by that; names, lines and parts are told anew. Bytes of
 * unknown origin; one thread. */
#ifndef IMAGE_KEEP_H
#define IMAGE_KEEP_H

#include "base/buf.h"
#include "image/kept.h"
#include "image/symbols.h"

typedef struct Keep {
    const Kept *before;    /* NULL: there is nothing to take over; then neither has it a list */
    Kept kept;             /* of this image; its lists are the two below */
    KeptFunction *list;    /* by position in Symbols.functions; NULL: nothing is kept */
    Buf targets;           /* addresses of nameless constants, function by function */
    uint8_t *taken;        /* by position: this one's fingerprint is that of before */
    size_t *before_target; /* by position: the first of its targets in `before` */
    uint64_t changed;      /* sections that are others than before */
    uint32_t count;        /* of those taken */
} Keep;

struct Handlers;

/* `before` may be NULL. KEEL_ENOMEM; what is too large to look at has no keys. */
int keep_open(const Symbols *s, const struct Handlers *handlers, const Owners *owners,
              const Kept *before, uint64_t budget, Keep *ret);
void keep_done(Keep *k);

/* This section's bit in a set of them; those of high numbers share one. */
uint64_t keep_bit(const Symbols *s, const Section *in);

static inline int keep_has(const Keep *k, size_t nth)
{
    return k && k->taken && k->taken[nth];
}

/* The addresses that a function taken over names. */
const uint64_t *keep_targets(const Keep *k, size_t nth, uint32_t *ret_count);

/* All that is kept, in one piece, appended to `to`. KEEL_ENOMEM. */
int keep_pack(const Keep *k, Buf *to);

#endif
