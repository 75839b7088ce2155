/* Runs one generation beside the one that runs live, on the frames that a feed brings: what the
 * child of a handover does.
 *
 * All effects stay in the given State. Runs until the feed ends or the module faults; `*result`
 * tells how far, as replay_run's does. The calling thread has begun its guard. */
#ifndef HOST_SHADOW_H
#define HOST_SHADOW_H

#include "host/replay.h"
#include "swap/feed.h"

typedef struct ShadowRequest {
    State *state;
    const struct keel_module *table;
    uint64_t owner;
    FeedReader *feed;
    const void *carried; /* as carry_save made it */
    size_t carried_bytes;
    StateSpan images[2]; /* the one that runs here, the one that ran */
    void *user;
} ShadowRequest;

FaultKind shadow_run(const ShadowRequest *request, ReplayResult *result);

#endif
