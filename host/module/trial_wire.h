/* What the host and keel-trial say to each other over their SOCK_SEQPACKET pair. Both come from one
 * build; `version` refuses a helper of another one. */
#ifndef MODULE_TRIAL_WIRE_H
#define MODULE_TRIAL_WIRE_H

#include <stdint.h>

#include "module/trial.h"

#define TRIAL_WIRE_MAGIC UINT64_C(0x3174736c65656b00)

enum {
    TRIAL_WIRE_FD = 3, /* the helper's end */
    TRIAL_WIRE_PATH_BYTES = 4096,
    /* image, payload, the view's, the feed, the image before */
    TRIAL_WIRE_FDS = 4 + STATE_VIEW_FDS
};

/* What the helper is asked for. To read needs the image, and
 * perhaps the reading of the one before; a shadow's `inputs` are what
 * carry_save made. */
enum { TRIAL_WIRE_TRY, TRIAL_WIRE_READ, TRIAL_WIRE_SHADOW };

/* On a busy machine a candidate may take so many times its limit, which is of time that it used. */
enum { TRIAL_STARVED_TIMES = 16 };

/* What a reading may take, in the helper: then the helper ends it and says so. */
enum { TRIAL_READ_CPU_SECONDS = 3, TRIAL_READ_LAST_MS = 6000 };

/* Addresses that the host has mapped, its arenas left out. */
typedef struct TrialRange {
    uint64_t first, last;
} TrialRange;

/* The payload's parts follow each other in this order: ranges, inputs, saved; each begins at a
 * multiple of 16. */
typedef struct TrialWireRequest {
    uint64_t magic;
    uint32_t version, fd_count;
    uint64_t id;
    uint64_t image_bytes;
    Hash hash;
    uint64_t range_count, inputs_bytes, saved_bytes;
    uint32_t what, how, frames, saved_version, view_fds, reserved;
    int64_t time_limit_ns;
    uint64_t memory_limit_bytes, view_bytes;
    uint64_t user;
    float screen[4]; /* the last is padding */
    TrialRange live; /* the image that runs in the host */
    /* To migrate: both schemas are parts of the payload, behind `saved`. */
    uint64_t from_schema_bytes, to_schema_bytes, from_bytes;
    MigratePlace from_place;
    uint64_t before_bytes; /* to read: of that reading, 0: there is none */
    uint32_t from_static_count, from_saves;
    StateSpan from_statics[STATE_SPANS];
    uint8_t view_plain[STATE_VIEW_BYTES];
    char path[TRIAL_WIRE_PATH_BYTES];   /* where the image came from, for sentences */
    char staged[TRIAL_WIRE_PATH_BYTES]; /* "": by the descriptor */
} TrialWireRequest;

/* Of TRIAL_WIRE_READ only `read_code` and `result.text`, or 0 and a descriptor: the reading. */
typedef struct TrialWireResult {
    uint64_t magic;
    uint32_t version;
    int32_t read_code;
    uint64_t id;
    TrialResult result;
} TrialWireResult;

#define TRIAL_WIRE_VERSION \
    ((uint32_t)(sizeof(TrialWireRequest) * 31 + sizeof(TrialWireResult) + 1000003 * KEEL_ABI))

static inline uint64_t trial_wire_round(uint64_t bytes)
{
    return (bytes + 15) & ~UINT64_C(15);
}

#endif
