/* A slot: the place in the host that runs one module, with its state, inputs and effects.
 *
 * Everything here belongs to the frame thread but what is marked otherwise. A module's entries are
 * only called through slot_call, guarded. */
#ifndef SWAP_SLOT_H
#define SWAP_SLOT_H

#include <keel/module.h>
#include <pthread.h>
#include <time.h>

#include "fault/guard.h"
#include "module/generation.h"
#include "state/state.h"
#include "swap/breaker.h"
#include "swap/draw.h"
#include "swap/effects.h"
#include "swap/inputs.h"
#include "swap/tweaks.h"

typedef struct Group Group;
typedef struct keel_slot Slot;

/* Tells whether a file was touched between two readings. All bytes count. */
typedef struct FileMark {
    uint64_t device, inode;
    int64_t bytes;
    struct timespec modified, changed, born; /* born: where the file system knows */
} FileMark;

/* The first frames of a new generation. `group` is NULL outside. */
typedef struct Probation {
    Group *group;
    Generation *old;         /* ready to run again; NULL when there was none */
    Pin *before;             /* the state at the swap; NULL when there is none */
    struct Brought *brought; /* where it went on, when nothing ran before it; or NULL */
    uint32_t left;           /* frames */
    int by_hooks;            /* the state went through save and restore */
    int stopped;             /* the breaker stood open for the old one */
    int first;               /* its first frame has not been committed yet */
} Probation;

/* What the running generation found when it came in; for the journal. */
typedef struct SlotEntered {
    uint32_t how; /* JournalHow */
    int64_t now_ns, wall_ns;
    uint64_t random[4];
} SlotEntered;

struct Recorder;
struct Feed;
struct Brought;
struct LastPicture;

/* How long frames take: 64 buckets of a quarter of a doubling each; for deadlines. */
enum { DURATION_BUCKETS = 128 };
typedef struct Durations {
    uint32_t count[DURATION_BUCKETS];
    uint32_t total;
    int64_t p999_ns; /* refreshed every 256 frames */
} Durations;

enum { SLOT_SAID_BYTES = 512, SLOT_OUTWARD = 64 };

struct keel_slot {
    struct keel context; /* first: services find their slot by it */
    uint32_t number;
    char name[64];
    char *path;
    char *asset_folder; /* as the options named it, or NULL: found beside the module */
    void *host;         /* whose slot it is; nothing in swap/ looks inside */

    State *state;
    Inputs inputs;
    Effects effects;
    Draw draw;
    Tweaks tweaks;
    uint64_t random[4], random_before[4];
    struct keel_frame frame; /* the running or last one */
    int64_t wall_ns;
    int64_t last_time_ns; /* of the last committed frame */
    int redeliver;        /* the frame before was undone */

    FileMark file;         /* of the last reading [engine] */
    FileMark refused_file; /* the last one that was refused for what it is [engine] */

    Generation *running; /* NULL: nothing to run */
    SlotEntered entered;
    Hash equal;        /* the newest build, not swapped, since its code is the same as … */
    uint64_t equal_to; /* … that of this generation */
    struct Recorder *recorder; /* NULL: no journal is written */
    struct Brought *brought;   /* where it goes on, until its first frame is committed; or NULL */
    struct LastPicture *last_picture; /* what it showed in the process before, until its first frame
                                         is committed; or NULL */
    uint64_t picture_kept;            /* what the picture that was last written of it was made of */
    /* Fields that were told to lead out of its state, as hashes of their names [engine], at the
     * slot's end [frame] */
    uint64_t outward_told[SLOT_OUTWARD];
    int outward_count;
    /* Where its state outlives the process: keeps a build before any of its frames may count, since
     * without it the state can't be told to another one. [loader]; NULL: nobody does */
    void (*keep_image)(const struct keel_slot *slot, const Image *image);
    char *kept_modules; /* beginning of the names of such files */
    int kept;           /* its state outlives the process: each commit says what else it is */
    Buf keepsake;       /* room for that */
    struct Past *past;  /* NULL: it can't go back in time; the host's */
    Image *history;     /* the one before the running one, for a rollback after probation */
    struct Feed *feed;  /* NULL: nobody does the same beside it */
    Probation probation;
    Breaker breaker;

    int64_t deadline_option_ns; /* as keel_host_options.deadline_ns */
    Durations durations;
    uint32_t probation_frames;

    uint32_t branch; /* how often its frames were counted anew from an earlier one */
    uint64_t frames, faults, undone, swaps, rolled_back;
    _Atomic uint64_t refused;    /* counted by the engine thread */
    _Atomic uint64_t taken_back; /* rollbacks, for the engine thread */
    _Atomic int trying;          /* in probation, for the engine thread */
    _Atomic uint64_t alarms;     /* of those, builds that no trusted key vouches for */
    Hash alarm;                  /* the last one's text, [engine] */
    int64_t alarm_ns;            /* and when it was said */
    int64_t pause_ns;
    int32_t fail_code; /* what the module said by keel_fail in this call */
    char fail_text[256];

    pthread_mutex_t last_lock; /* of `last`, which any thread reads */
    char last[SLOT_SAID_BYTES];
};

/* `mode` is KEEL_MODE_…; `workers` may be NULL: tasks then end at once, cancelled. The context's
 * functions are the caller's to fill. Takes nothing over. */
void slot_init(Slot *slot, State *state, Workers *workers, uint32_t mode, uint64_t seed);
void slot_done(Slot *slot);

/* The slot whose [frame] call runs on this thread, or NULL. */
extern _Thread_local Slot *slot_current;

/* Calls function(user) inside `generation` of the slot: counted, guarded, with its heap. */
FaultKind slot_call(Slot *slot, Generation *generation, int64_t deadline_ns,
                    GuardFunction *function, void *user, Fault *ret_fault);

/* The module's entries; absent ones do nothing and succeed, but save and restore: KEEL_EUNSUPPORTED
 * as FAULT_ERROR. An answer other than 0 is FAULT_ERROR. */
FaultKind slot_start(Slot *slot, Generation *generation, Fault *ret_fault);
FaultKind slot_stop(Slot *slot, Generation *generation, Fault *ret_fault);
FaultKind slot_save(Slot *slot, Generation *generation, Buf *out, uint32_t *ret_version,
                    Fault *ret_fault);
FaultKind slot_restore(Slot *slot, Generation *generation, const void *saved, size_t bytes,
                       uint32_t version, Fault *ret_fault);

/* Runs body(user, context) inside the generation, as its restore would be. */
FaultKind slot_convert(Slot *slot, Generation *generation,
                       int32_t (*body)(void *user, struct keel *k), void *user, Fault *ret_fault);

/* Prepares slot->frame for `time_ns`. */
void slot_frame_open(Slot *slot, int64_t time_ns);
/* Gives the taken events and the frame to the running generation. Nothing counts yet. */
FaultKind slot_frame_run(Slot *slot, Fault *ret_fault);
/* The next commit of the state leaves what the slot is now to a process that comes after this one.
 */
void slot_note(Slot *slot);
/* It counts: effects, inputs, state. Returns what state_commit says. */
int slot_frame_commit(Slot *slot, Error *err);
/* It never happened. What state_undo says, then the state is as the fault left it. */
int slot_frame_undo(Slot *slot, Error *err);
/* Not for a fault of its own: like undo, but nothing is counted and the inputs are as before. */
int slot_frame_retract(Slot *slot, Error *err);

/* It has nothing to run, or the breaker is open. */
static inline int slot_stands_still(const Slot *slot)
{
    return !slot->running || (slot->breaker.open && !slot->probation.first);
}

int64_t slot_deadline_ns(const Slot *slot);

/* Remembers the sentence about the last attempt. [any] */
void slot_say(Slot *slot, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copies that sentence. [any] */
void slot_said(Slot *slot, char ret_text[SLOT_SAID_BYTES]);

uint64_t slot_random(Slot *slot);

#endif
