/* The host's side of the trial: a warm helper program that tries candidates in a process of its
 * own.
 *
 * The helper (keel-trial, exec'd, never a fork of the host) forks a child a candidate. The child
 * has no descriptors, no network, no writable files (seccomp), 250 ms and 512 MiB by default; it
 * loads the image at its staged name, adopts the pinned state and runs frames on the last inputs.
 * When the helper dies it is started again. All calls on the engine thread's loop; results come
 * there. */
#ifndef MODULE_TRIAL_H
#define MODULE_TRIAL_H

#include <keel/context.h>

#include "fault/guard.h"
#include "image/image.h"
#include "image/inspect.h"
#include "image/reading.h"
#include "image/reading.h"
#include "loop/loop.h"
#include "state/migrate.h"
#include "state/state.h"

typedef struct Trial Trial;

typedef enum TrialVerdict {
    TRIAL_PASS,
    TRIAL_FAIL,
    TRIAL_INCONCLUSIVE, /* it touched what only the host has; `text` names it */
    TRIAL_UNAVAILABLE   /* the helper could not run; `text` says why */
} TrialVerdict;

/* How the state gets into the new code. */
typedef enum TrialState {
    TRIAL_START, /* fresh arena, start */
    TRIAL_KEEP,  /* the pinned state as it is */
    TRIAL_HOOKS  /* the old code's save output, given to restore */
} TrialState;

/* One recorded frame, for replay in the trial: times and events as the slot had them. */
typedef struct TrialFrame {
    struct keel_frame frame;
    uint32_t event_count;
    /* struct keel_event follow in `inputs`, each with its data */
} TrialFrame;

#define TRIAL_TIME_LIMIT_NS (INT64_C(250) * 1000 * 1000)
#define TRIAL_MEMORY_LIMIT_BYTES (UINT64_C(512) << 20)

typedef struct TrialRequest {
    Image *image;
    const char *staged;
    StateView view; /* TRIAL_KEEP */
    TrialState how;
    const void *inputs; /* encoded by host/inputs; opaque here */
    size_t inputs_bytes;
    const void *saved; /* TRIAL_HOOKS: what save wrote */
    size_t saved_bytes;
    uint32_t saved_version;
    /* TRIAL_KEEP: with these the state is first migrated, from this image, where the host has it.
     */
    const ReadingPart *from_schema, *to_schema; /* NULL: it isn't */
    Image *from;
    MigratePlace from_place;
    StateSpan from_statics[STATE_SPANS];
    int from_static_count;
    int from_saves;        /* it has a save hook: a candidate with restore goes by hooks instead */
    uint32_t frames;       /* how many to run */
    float screen[3];       /* what it draws on: width, height, scale; 0: as without a screen */
    const void *user;      /* keel_user: only an address there, that of the host's own memory */
    int64_t time_limit_ns; /* 0: 250 ms */
    uint64_t memory_limit_bytes; /* 0: 512 MiB */
    /* Beside the live one instead of on what is past: a feed's descriptor, or 0. `inputs` are then
     * what the slot is outside its arena, and it passes when the feed ends. TRIAL_KEEP only. */
    int feed;
    uintptr_t live_first, live_last; /* where the host has the image that runs */
} TrialRequest;

typedef struct TrialResult {
    TrialVerdict verdict;
    char phase[16];    /* "inspect", "load", "start", "restore", "frame" … where it ended */
    char text[512];    /* one sentence; "" for pass */
    int types_changed; /* keel_state wanted another type: hooks are needed */
    uint32_t frames_run;
    int64_t run_ns; /* what the child took */
    Fault fault;    /* kind FAULT_NONE when there was none */
    Inspection inspection;
} TrialResult;

typedef void TrialDone(const TrialResult *result, void *user);

/* `program` NULL: found beside the running program, in the install's libexec, or by $KEEL_TRIAL. */
int trial_new(Loop *loop, const char *program, Trial **ret, Error *err);
/* The same, for trial_read: its helper is started with the first request. */
int trial_new_reader(Loop *loop, const char *program, Trial **ret, Error *err);
void trial_free(Trial *trial);
int trial_run(Trial *trial, const TrialRequest *request, TrialDone *done, void *user, Error *err);

/* `reading` is the receiver's, checked; NULL: it couldn't be read, and `err` says why. */
typedef void TrialReadDone(Reading *reading, const Error *err, void *user);

/* Has the helper read the image: in a child without any system call but memory's, with seconds of
 * time. `before`: what was read of the image that this one follows, or NULL; what is the same for
 * sure is taken from there. `done` is called once, later, unless this fails. */
int trial_read(Trial *trial, Image *image, Reading *before, TrialReadDone *done, void *user,
               Error *err);

#endif
