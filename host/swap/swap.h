/* The swap as a transaction: one Group brings one or several slots to new images in one boundary,
 * all or none.
 *
 *     settle → pin → trial (→ save → trial again) (→ shadow) → load → ready → commit → probation →
 * done └────────┴─────────┴───────────────────────┴─────────┴──────────┴→ refused      └→ rolled
 * back
 *
 * group.c is what a Group holds and how it ends; settling.c reads its files; prepare.c walks
 * everything before the boundary on the engine thread; commit.c is what happens at the boundary and
 * in probation, on the frame thread. Every transition writes one log record. A failure at any step
 * frees only the new: the running generation never stops. */
#ifndef SWAP_SWAP_H
#define SWAP_SWAP_H

#include <stdatomic.h>

#include "image/reading.h"
#include "image/trust.h"
#include "loop/loop.h"
#include "module/loader.h"
#include "module/trial.h"
#include "state/migrate.h"
#include "swap/slot.h"
#include "watch/stage.h"

enum { GROUP_SLOTS = 16 };

typedef enum SwapPhase {
    SWAP_SETTLE,
    SWAP_PIN,
    SWAP_TRIAL,
    SWAP_SAVE,
    SWAP_SHADOW, /* runs beside the running generation, on the same frames */
    SWAP_LOAD,
    SWAP_READY,
    SWAP_COMMIT,
    SWAP_PROBATION,
    SWAP_DONE,
    SWAP_REFUSED,
    SWAP_ROLLED_BACK,
    SWAP_PHASES
} SwapPhase;

const char *swap_phase_name(SwapPhase phase);

/* Where the engine thread hands work to the frame thread: runs function(user) at the next boundary,
 * in order. After the host has closed it is not run. */
typedef void SwapAtBoundary(void *host, LoopFunction *function, void *user);

/* An answer of the frame thread to the engine thread. Putting one costs the frame thread an atomic
 * exchange; waking the other thread would cost it more than the whole commit, so the engine thread
 * looks for answers every millisecond while it waits for one. */
typedef struct SwapAnswer SwapAnswer;
struct SwapAnswer {
    SwapAnswer *next;
    LoopFunction *function;
    void *user;
};

typedef enum SwapTrialMode { SWAP_TRIAL_ON, SWAP_TRIAL_OFF, SWAP_TRIAL_STRICT } SwapTrialMode;

/* How long, how often and how soon two generations have to agree before one takes over. */
typedef struct Handover {
    int shadow; /* 0: only the trial decides */
    uint64_t old_frames, new_frames;
    int64_t old_lag_ns, new_lag_ns;
    int64_t old_patience_ns, new_patience_ns;
} Handover;

/* Readings of the last images, by their bytes: an edit taken back, a build touched or asked for
 * again need not be read again. */
enum { SWAP_READINGS = 4 };
typedef struct SwapReading {
    Hash hash;
    Hash place;       /* of its path, once the image has run; 0: no other reading begins from it */
    Reading *reading; /* NULL: a free place */
} SwapReading;

/* What all groups of a host share. Plain data; the host owns what it points to. */
typedef struct Swapper {
    Loop *loop;
    Loader *loader;
    Trial *trial;  /* NULL: candidates are not tried */
    Trial *reader; /* a second helper, which reads images beside the trial; NULL: nothing is read */
    Trial *shadow; /* a third one, for handovers; NULL: there are none */
    SwapReading readings[SWAP_READINGS]; /* [engine] */
    uint32_t readings_at;                /* the oldest */
    Stage *stage;                        /* names for the trial */
    Handover handover;
    SwapTrialMode trial_mode;
    Trust *trust;  /* NULL: whoever can write a module's file is trusted */
    int identical; /* swap also builds of the same code */
    SwapAtBoundary *at_boundary;
    int (*offers)(const char *service); /* nonzero when the host has this service */
    void *host;
    unsigned long staged;          /* counts names [engine] */
    _Atomic(SwapAnswer *) answers; /* newest first */
    uint32_t awaited;              /* answers that are to come [engine] */
    uv_timer_t look;
    int look_open;
    int leaving; /* swaps that wait for something end [engine] */
    int closing; /* loader and trial may be gone: groups end, nothing more is begun [engine] */
} Swapper;

/* Puts an answer that the engine thread awaits; `answer` stays the caller's until its function runs
 * there. [frame] */
void swap_answer(Swapper *swapper, SwapAnswer *answer, LoopFunction *function, void *user);
/* One more answer is to come. [engine] */
void swap_await(Swapper *swapper);
/* Closes the timer and lets no group go on. [engine] */
void swap_close(Swapper *swapper);
/* After it, and after each boundary that follows: takes the answers of that boundary. `user` is the
 * Swapper. [engine] */
void swap_finish(void *user);

typedef struct Attempt Attempt;
typedef void AttemptThen(Attempt *attempt);

/* What the host's keys say of a candidate. */
typedef struct AttemptTrust {
    TrustFault fault; /* TRUST_FITS also where no keys are asked */
    Error why;
    TrustProof proof;
    Manifest manifest; /* signed by a trusted key; else empty */
    int waited;        /* it was said that its manifest is awaited */
} AttemptTrust;

/* Large arrays that are converted before the boundary; precopying.c's. */
typedef struct Precopying {
    MigratePrecopy *precopy; /* NULL: there are none */
    int asked, fill, failed, ready;
    int waited, no_room;            /* boundaries, for room; and there was none */
    uint32_t rounds, stuck, before; /* before: pages that the last round left */
    int64_t since_ns, spent_ns;
} Precopying;

/* How what the running generation keeps gets to the new one; migrating.c's. */
typedef struct Migrating {
    Buf types;               /* what the state holds */
    MigratePlace from_place; /* of the running generation */
    StateSpan from_statics[GENERATION_STATICS];
    int from_static_count, saves; /* saves: it has the hook */
    uint64_t used_bytes;          /* of the state */
    Migration *there, *back;      /* NULL: without rules */
    MigrateAttic *attic;
    MigrateResult result;
    Precopying ahead;
    const Pin *before; /* the boundary of the migration, while the group holds it */
    int64_t spent_ns;
    int done;                         /* the state went by the rules */
    char no_rules[READING_WHY_BYTES]; /* why `there` is NULL, or "" */
} Migrating;

/* One slot's part of a group. */
struct Attempt {
    Group *group;
    Slot *slot;
    FileMark file;          /* when it was read */
    struct timespec still;  /* when it was last changed, if it is being written over, */
    int64_t still_since_ns; /* and since when it was seen so */
    int untouched;          /* since the slot's file was read before */
    int lines_differ;       /* it differs from what runs only in the lines that asserts tell */
    char *path;             /* read this file, or … */
    Image *image;           /* … take this image (a rollback after probation) */
    Image *from;            /* the one that ran when the state was pinned, or NULL */
    char unread[READING_WHY_BYTES];   /* why one of the images couldn't be read, or "" */
    int ran;                          /* `image` is the slot's, or was */
    int asked;                        /* its reading is awaited, */
    AttemptThen *then;                /* and this waits for it */
    char changes[GENERATION_CHANGES]; /* what it changes, or "" */
    char *staged;
    Pin *pin;
    StateView view;
    Buf inputs, saved;
    float screen[3]; /* what the slot drew on when the state was pinned */
    uint32_t saved_version;
    TrialState how;
    int proven;         /* these bytes ran on this state in the process before: no trial */
    uint64_t expected;  /* number of the generation that ran when the state was pinned; 0: none */
    Generation *fresh;  /* until it runs for good or is retired */
    uint64_t number;    /* of fresh */
    Fault fault;        /* of a save that failed */
    uint64_t random[4]; /* the slot's numbers before fresh was installed */
    int emptied;        /* its slot's state was reset for the hooks and doesn't count yet */
    char note[512];     /* why the trial was inconclusive or didn't run */
    TrialResult tried;
    AttemptTrust trust;
    struct Shadow *shadow; /* it runs beside the running generation, or NULL */
    Migrating migrating;
    SwapAnswer answer;
};

/* What became of a group; `err` is KEEL_OK when its first frame was committed. Engine thread. */
typedef void GroupDone(Group *group, const Error *err, void *user);

struct Group {
    Swapper *swapper;
    uint32_t flags; /* SWAP_… */
    GroupDone *done;
    void *user;
    SwapPhase phase; /* engine thread until READY, then frame thread */
    Error err;
    uint32_t count, at; /* `at`: the attempt that is being prepared */
    Attempt attempts[GROUP_SLOTS];
    _Atomic uint32_t refs;
    _Atomic int stalled; /* a writer has had a file of it for long, and it goes on waiting */
    int64_t begun_ns, phase_ns, pause_ns;
    int64_t spent_ns[SWAP_PHASES];
    uv_timer_t timer; /* waits between two looks at a file that isn't complete */
    int timer_open;
    uv_work_t work;
    void (*settled)(Group *group);   /* what waits for the file */
    void (*converted)(Group *group); /* after precopying_work */
    int64_t partial_since_ns;
    SwapAnswer answer;
};

enum {
    SWAP_SAME = 1,  /* also the same code */
    SWAP_RETRY = 2, /* also bytes that faulted */
    SWAP_EVENT = 4  /* the file may have changed: nothing is said again of one that didn't */
};

/* ---- engine thread ---- */

/* `done` is called once, later. Add attempts with group_add, then group_begin. */
Group *group_new(Swapper *swapper, uint32_t flags, GroupDone *done, void *user);
/* Exactly one of path and image. */
int group_add(Group *group, Slot *slot, const char *path, Image *image);
void group_begin(Group *group);
/* The file has just changed: if the group waits for it to become whole, it waits no longer. */
void group_look_now(Group *group);

/* ---- frame thread ---- */

/* Puts the new generations into their slots: restore or start them. On failure everything is as
 * before. */
int group_commit(Group *group, Error *err);

/* Every slot of the group ran its first frame and it was committed. */
void group_first_frame_done(Group *group);

/* Before its first frame: takes back what restore or start of its slots did. */
void group_undo(Group *group);

/* A slot of the group faulted in its first frame; all its slots' frames have been undone. The old
 * generations run again, or the group is tried once more through save and restore. */
void group_first_frame_failed(Group *group, Slot *slot, const Fault *fault);

/* The slot ran one more frame of its probation well. */
void probation_frame(Slot *slot);

/* Ends the slot's probation well: the old generation is retired. */
void probation_end(Slot *slot);

/* A slot in probation faulted in a frame that has been undone, or was asked to go back: all slots
 * of its group return to their old generations. `before`: with the state at the swap. Sentences go
 * to slot_say and the log. */
void group_roll_back(Group *group, int before, const char *why);

/* Hands the group, with its err, back to the engine thread for the last time. */
void group_decided(Group *group);

/* After a fault: returns if this process can go on, else reports and ends it with status 70. */
void swap_recover(const Slot *slot, const Fault *fault);

/* The host closes before the group's first frame: every slot as before the commit. */
void group_cancel(Group *group);

/* After swap_recover, while the slot still holds the generation that faulted: has a report written
 * on the engine thread, which logs its path. `outcome` says what became of it and is copied. What a
 * module only answered (FAULT_ERROR, FAULT_TYPES) is none. */
void swap_report(Loop *loop, const Slot *slot, const Fault *fault, const char *outcome);

/* ---- both ---- */
void group_go(Group *group, SwapPhase phase, const char *detail);
void group_ref(Group *group);
void group_unref(Group *group);

#endif
