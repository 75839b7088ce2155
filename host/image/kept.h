/* What the fingerprints of one reading leave for the next, see keep.h. Plain data without pointers
 * while it crosses; checked on arrival. Any thread. */
#ifndef IMAGE_KEPT_H
#define IMAGE_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

enum { KEPT_SECTIONS = 64 };

typedef struct KeptFunction {
    Hash code;         /* its bytes, and where its handlers lie */
    Hash hash;         /* its part of a fingerprint */
    Hash but_lines;    /* the same with line numbers left out */
    uint64_t sections; /* those that were looked into for it */
    uint32_t bytes;    /* without padding */
    uint32_t target_count;
} KeptFunction;

typedef struct KeptHead {
    Hash layout, constants; /* layout 0: nothing is kept */
    Hash sections[KEPT_SECTIONS];
    uint32_t function_count, target_count;
    uint64_t reserved;
} KeptHead;

typedef struct Kept {
    KeptHead head;
    const KeptFunction *functions; /* by address */
    const uint64_t *targets;       /* of the first function, of the second, … */
} Kept;

/* Bytes of one whose counts are these. */
static inline size_t kept_bytes(const KeptHead *head)
{
    return sizeof *head + head->function_count * sizeof(KeptFunction) +
           head->target_count * sizeof(uint64_t);
}

/* `data` is aligned to 8; the lists stay in it. 0, or -1 when its counts contradict it. */
int kept_check(const void *data, size_t bytes, Kept *ret);

#endif
