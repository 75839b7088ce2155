/* What a slot is besides its memory: clock, random numbers, timers, tasks that wait, and which
 * image ran where. As bytes beside the state, so that a slot can be brought back in another
 * process. Frame thread, but for decoding. */
#ifndef SWAP_KEEPSAKE_H
#define SWAP_KEEPSAKE_H

#include "swap/slot.h"

typedef struct KeepsakeHead {
    uint32_t version, bytes; /* of this head */
    uint64_t random[4];
    uint64_t frames, next_seq;
    int64_t last_time_ns, wall_ns;
    uint64_t image_low, image_high; /* of the generation that ran */
    uint64_t load_first, load_last;
    uint32_t timers, tasks;      /* entries that follow */
    uint32_t span_count, branch; /* how often its past was replaced: of two, more is newer */
    uint64_t span_address[GENERATION_STATICS], span_bytes[GENERATION_STATICS]; /* its statics */
    char module[64], module_version[64], build_id[72], path[256];
} KeepsakeHead;

typedef struct Keepsake {
    KeepsakeHead head;
    EffectsPast effects;
} Keepsake;

/* Replaces what `out` holds. KEEL_ENOMEM. */
int keepsake_encode(const Slot *slot, Buf *out);

/* Checks every number. KEEL_EDATA. */
int keepsake_decode(const void *data, size_t bytes, Keepsake *ret);
void keepsake_done(Keepsake *keepsake);

/* The branch of bytes that may be none of a keepsake: then 0. */
uint32_t keepsake_branch(const void *data, size_t bytes);

/* The slot goes on from there at `now_ns`: timers keep what they had left to wait, tasks are held
 * (effects_release lets them end as cancelled), the first frame's dt is 0. */
void keepsake_apply(const Keepsake *keepsake, Slot *slot, int64_t now_ns);

#endif
