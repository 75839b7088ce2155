/* Keel inside a program: the embedding API of libkeel-core.
 *
 * A host owns slots; each slot runs one module and keeps its state. The program keeps its own loop
 * and calls keel_host_frame once a frame, always on the same thread (the frame thread). Watching,
 * trying and loading happen on threads of the host; a swap takes effect inside keel_host_frame,
 * between two frames.
 *
 *     keel_host *host;
 *     keel_slot *slot;
 *     if (keel_host_open(NULL, &host) || keel_host_add(host, "plugin.so", NULL, &slot))
 *         return fprintf(stderr, "%s\n", keel_host_error()), 1;
 *     while (running)
 *         keel_host_frame(host);
 *     keel_host_close(host);
 *
 * Functions answer 0 or a negative KEEL_E…, and the sentence is in keel_host_error(). Thread tags:
 * [frame] the frame thread, [any] any thread. */
#ifndef KEEL_HOST_H
#define KEEL_HOST_H

#include <keel/base.h>
#include <keel/input.h>

KEEL_BEGIN

/* What libkeel-core exports, and no more. */
#pragma GCC visibility push(default)

typedef struct keel_host keel_host;
typedef struct keel_slot keel_slot;

enum {
    KEEL_TRIAL_ON = 0,  /* try candidates in the helper; inconclusive ones go on under probation */
    KEEL_TRIAL_OFF = 1, /* load candidates untried */
    KEEL_TRIAL_STRICT = 2 /* only candidates that passed */
};

/* How changed memory is found; see keel ctl status. */
enum { KEEL_TIER_AUTO = 0, KEEL_TIER_TRACK = 1, KEEL_TIER_COPY = 2, KEEL_TIER_OFF = 3 };

/* Zero means the default everywhere; fields past `size` count as zero. */
struct keel_host_options {
    uint32_t size;
    uint32_t trial;            /* KEEL_TRIAL_… */
    uint32_t tier;             /* KEEL_TIER_… */
    uint32_t probation_frames; /* 120 */
    uint32_t workers;          /* threads for keel.task/1; as many as CPUs, at most 8 */
    uint32_t no_signals; /* 1: install no fault handlers; a module's fault is then the program's */
    int64_t
        deadline_ns; /* of one call of a module; 0: 100 ms or ten times its slowest; < 0: none */
    const char *
        trial_program; /* path of keel-trial; NULL: beside the program, or where it was installed */
    /* One line of the log, on any thread. level: KEEL_LOG_… of keel/log.h */
    void (*log)(uint32_t level, const char *room, const char *text, void *user);
    void *log_user;
    /* Only images that one of these keys signed run (docs/security.md). Each is a file with a
     * public key, or ed25519:<64 digits>; copied. None: every image that can run does. */
    const char *const *trust_keys;
    uint32_t trust_key_count;
    uint32_t swap_identical; /* 1: swap also a rebuild whose code is the same */
    /* The file that keeps the highest counter of each module; NULL: $XDG_STATE_HOME/keel/trust or
     * ~/.local/state/keel/trust; "": in memory only; "-": none,
     * older builds are taken as well. Copied. */
    const char *trust_state;
    /* Of the slots that run the same file this many of a thousand take a new build first, at least
     * one; the others when its probation has ended well there. 0: all at once. */
    uint32_t canary_permille;
    uint32_t handover;          /* KEEL_HANDOVER_… */
    uint32_t handover_frames;   /* that must agree in a row; 0: 5 */
    uint32_t handover_lag_ms;   /* how soon each time; 0: 10 */
    uint32_t handover_wait_ms;  /* for so many in a row, before it is tried again; 0: 1,500 */
};

enum {
    KEEL_HANDOVER_NONE = 0,  /* the trial decides */
    KEEL_HANDOVER_SHADOW = 1 /* … and then frames beside the running generation, see the manual */
};

struct keel_slot_options {
    uint32_t size;
    uint32_t no_watch; /* 1: swap only when asked */
    void *user; /* keel_user(k) in the module: the program's own memory, never moved or undone */
    const char *name;     /* NULL: the file's name without its ending */
    uint64_t state_bytes; /* most that the state may take; 0: 2 GiB */
    const char *journal;  /* file to record what the slot is given into (keel replay); NULL: none */
    const char *assets; /* folder of keel.asset/1; NULL: NAME.assets or assets beside the module */
    /* Folder that keeps the slot's state, by its name, from one run to the next: written every
     * `state_every_ns` (0: 10 s) and at the end; where /dev/shm has room, also what a host that was
     * killed had after its last frame. NULL: the state ends with the host. */
    const char *state_folder;
    int64_t state_every_ns;
};

/* Opens a host. `options` NULL: the defaults. [any] */
int keel_host_open(const struct keel_host_options *options, keel_host **ret_host);

/* Takes everything down: modules are told to stop, threads joined, memory given back. NULL is fine.
 * [frame] */
void keel_host_close(keel_host *host);

/* Adds a slot for the module at `path`, and loads and starts it. When that fails the error says
 * why, and the slot is there all the same and waits for a better build. [frame] */
int keel_host_add(keel_host *host, const char *path, const struct keel_slot_options *options,
                  keel_slot **ret_slot);

/* One frame: what waits at the boundary is done, then every slot's events and frame run. Returns
 * the number of slots that ran, or a negative error when the host can't go on; KEEL_ETHREAD on
 * another thread than that of the first keel_host_add. [frame] */
int keel_host_frame(keel_host *host);

/* The same at a time of the program's own monotonic clock, which must not run backwards. [frame] */
int keel_host_frame_at(keel_host *host, int64_t time_ns);

/* Sleeps until `until_ns` of CLOCK_MONOTONIC, and does meanwhile what waits at the boundary. A
 * program that has time left before its next frame gets swaps sooner this way, and their work out
 * of its frames. [frame] */
void keel_host_idle(keel_host *host, int64_t until_ns);

enum {
    KEEL_SWAP_SAME = 1, /* also when the bytes or the code are the same */
    KEEL_SWAP_RETRY = 2 /* also bytes that faulted before */
};

/* Looks at the files of these slots now and swaps them in one boundary, all or none. `paths` may be
 * NULL or have NULL entries: then the slot's own path. Returns when it was decided. Frames must go
 * on meanwhile: call it from another thread than theirs. At most 16 slots. [any but frame] */
int keel_host_swap(keel_host *host, keel_slot *const *slots, const char *const *paths,
                   uint32_t count, uint32_t flags);

/* Back to the generation before. `before` 1: with the state of the moment of the swap, while
 * probation lasts. [any but frame] */
int keel_host_rollback(keel_host *host, keel_slot *slot, uint32_t before);

/* While paused, boundaries go on and modules don't run. [any] */
void keel_host_pause(keel_host *host, uint32_t paused);

/* Gives the slot's module a KEEL_EVENT_MESSAGE in its next frame; the data are copied. [any] */
int keel_slot_send(keel_slot *slot, uint64_t tag, const void *data, uint64_t bytes);

/* Gives the slot (`slot` of the first) or all slots what somebody did with mouse, keyboard … as a
 * KEEL_EVENT_INPUT of the next frame; `text` is UTF-8 of `bytes` bytes or NULL, both are copied. A
 * slot that stands still only hears how keys and buttons are. [any] */
int keel_slot_input(keel_slot *slot, const struct keel_input *input, const char *text,
                    uint64_t bytes);
int keel_host_input(keel_host *host, const struct keel_input *input, const char *text,
                    uint64_t bytes);

enum {
    KEEL_SLOT_WAITING = 0, /* nothing runs: no good build so far */
    KEEL_SLOT_RUNNING = 1,
    KEEL_SLOT_PROBATION = 2, /* runs; the generation before is ready to take over */
    KEEL_SLOT_STOPPED = 3    /* the breaker is open after faults in a row; a new build closes it */
};

struct keel_slot_status {
    uint32_t size;
    uint32_t phase;            /* KEEL_SLOT_… */
    uint64_t generation;       /* 0: none */
    uint64_t frames;           /* committed */
    uint64_t faults, undone;   /* faults of the module; frames undone for them */
    uint64_t inputs_set_aside; /* given twice, to frames that faulted both times */
    uint64_t swaps, refused, rolled_back;
    uint64_t load_address;
    uint64_t state_bytes, state_objects, state_dirty_pages;
    uint32_t state_tier;     /* KEEL_TIER_… in force */
    uint32_t probation_left; /* frames */
    int64_t pause_ns;        /* what the boundary of the last swap took */
    char build_id[72];
    char hash[40];
    char name[64];
    char version[64];
    char path[256];
    char tier_reason[160]; /* why memory isn't tracked; "" if it is */
    char last[512];        /* one sentence about the last attempt to swap */
    uint64_t alarms;       /* builds that no trusted key vouched for */
    uint64_t counter;      /* of the running build's manifest; 0 without trust_keys */
    char signer[80];       /* the key that signed it, or "" */
    char equal[40];    /* hash of the newest build, when it was not swapped as it's the same code */
    char changes[256]; /* what the running generation changed: "changed: frame, step" */
};

/* As of the last boundary. [any] */
int keel_slot_query(keel_slot *slot, struct keel_slot_status *ret_status);

/* The calling thread's last error, "" for none. Valid until its next call. [any] */
const char *keel_host_error(void);

/* Opens the control socket that `keel ctl` speaks to. `name` NULL: "default"; with a slash: a path.
 * It closes with the host. [any] */
int keel_host_serve(keel_host *host, const char *name);

/* 1 after `keel ctl quit`. [any] */
int keel_host_quit_asked(const keel_host *host);

#pragma GCC visibility pop

KEEL_END

#endif
