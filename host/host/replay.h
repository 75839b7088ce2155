/* Runs one generation on a given state and recorded inputs, outside a live host: what the trial
 * child does.
 *
 * All effects stay in the given State; timers, tasks and messages go nowhere. Writes into `*result`
 * as it goes, so that a result in shared memory tells how far a killed run came. The calling thread
 * has begun its guard. */
#ifndef HOST_REPLAY_H
#define HOST_REPLAY_H

#include <keel/module.h>

#include "fault/guard.h"
#include "state/state.h"

typedef enum ReplayHow { REPLAY_START, REPLAY_KEEP, REPLAY_HOOKS } ReplayHow; /* as TrialState */

typedef struct ReplayRequest {
    State *state;
    const struct keel_module *table;
    uint64_t owner; /* the guard's number of the generation */
    uint32_t mode;  /* KEEL_MODE_… */
    ReplayHow how;
    const void *inputs; /* as inputs_encode made them; untrusted */
    size_t inputs_bytes;
    const void *saved;
    size_t saved_bytes;
    uint32_t saved_version;
    uint32_t frames;
    int64_t deadline_ns; /* a call's, 0: none */
    float screen[3];     /* width, height and scale of what is drawn on, 0: as without a screen */
    void *user;          /* what keel_user answers */
} ReplayRequest;

typedef struct ReplayResult {
    char phase[16]; /* "start", "restore", "event", "frame"; "done" at the end */
    uint32_t frames_run;
    int types_changed; /* keel_state asked for another type than the state holds */
    Fault fault;
    char text[512];
} ReplayResult;

/* FAULT_NONE and phase "done", or the fault that ended it. */
FaultKind replay_run(const ReplayRequest *request, ReplayResult *result);

/* Runs body(body_user, context) inside the request's module: what converts its state. */
FaultKind replay_convert(const ReplayRequest *request, int32_t (*body)(void *user, struct keel *k),
                         void *body_user, Fault *ret_fault);

#endif
