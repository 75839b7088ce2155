/* The host's inside: what its threads share, and who may touch what.
 *
 * [frame] fields belong to the frame thread, [engine] fields to the loop thread, the rest is
 * constant after open or has its own lock. */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <keel/host.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host/boundary.h"
#include "host/mixer.h"
#include "loop/loop.h"
#include "loop/workers.h"
#include "module/loader.h"
#include "module/trial.h"
#include "swap/swap.h"
#include "watch/stage.h"
#include "watch/watcher.h"

enum { HOST_SLOTS = 64 };

typedef struct keel_host Host;

/* The engine thread's side of a slot. */
typedef struct Watched {
    Slot *slot;
    char *path;
    int watch_id;    /* -1: not watched */
    int signed_id;   /* of its manifest; -1 the same */
    Group *active;   /* being prepared or waiting for its first frame */
    int again;       /* the file changed meanwhile */
    int shut_out;    /* its file waits until the loader loads again */
    int held;        /* its file waits until others have proven it, see canary.h */
    uint64_t unwell; /* of a slot that goes first: refusals and rollbacks before */
} Watched;

/* What the host asks of a window between frames. Without one the clipboard is the host's own. All
 * [frame]. */
typedef struct HostWindow {
    void (*clipboard_put)(const char *text, size_t bytes, void *user);
    /* The clipboard's text, for free(); NULL: none. */
    char *(*clipboard_get)(size_t *ret_bytes, void *user);
    void *user;
} HostWindow;

/* Has the next picture written to the file `path`. `done` comes on any thread, once, unless an
 * error is returned. [frame] */
typedef void HostShotDone(const Error *err, void *user);
typedef int HostShoot(void *screen, const char *path, HostShotDone *done, void *user, Error *err);

struct keel_host {
    struct keel_host_options options;
    Loop *loop;
    Loader *loader;
    Trial *trial, *reader, *shadow;
    Trust *trust; /* NULL: no keys were given */
    Stage *stage;
    Workers *workers;
    Swapper swapper;
    Boundary boundary;
    int guarded; /* guard_install was called */

    Watcher *watcher; /* [engine] */
    uv_poll_t watcher_poll, mounts_poll;
    int polling, mounts_polling;
    uv_timer_t loader_look;      /* runs while a slot is shut out */
    Watched watched[HOST_SLOTS]; /* [engine] */
    int watched_count;
    uv_timer_t canary_look; /* [engine] while `polling` */
    int closing;            /* [engine] no new swap begins */
    struct Asked *parked;   /* [engine] asked for; wait until their slots are free */

    Slot *slots[HOST_SLOTS]; /* [frame]; grows only */
    _Atomic int slot_count;
    struct Keeper *keepers[HOST_SLOTS]; /* [frame] by slot; NULL: nothing of it is kept on disk */
    int begun;                          /* [frame] the frame thread is known */
    _Atomic int frame_thread;
    _Atomic uintptr_t frame_self; /* the same as pthread_self, which costs no system call */
    _Atomic uint32_t paused;
    _Atomic int quit;
    DrawScreen screen; /* [frame] what slots draw on */
    void (*listen)(
        void *screen); /* [frame] a screen's: takes what waits at the boundary's other_fd */
    /* Called once, while the first module is being read and tried: what the frame thread has to do
     * anyway. NULL: nothing. [frame] */
    void (*meanwhile)(void *user);
    /* Called every few milliseconds while a module is being read and tried. NULL: nothing. [frame]
     */
    void (*waiting)(void *user);
    void *meanwhile_user;         /* of both */
    struct LastPicture *arriving; /* [frame] of the slot that is being made; NULL: none */
    HostShoot *shoot;             /* [frame] a screen's, NULL where there is none */
    void *shoot_user;
    uint64_t frames; /* [frame] */
    int eager;       /* [frame] idling ends when new code waits for its first frame */
    int64_t opened_ns;

    /* Modules' time stands still while they do. [frame] */
    int64_t shift_ns;  /* what the modules' clock is behind the frames' */
    int64_t module_ns; /* the modules' time of the last frame; 0: none ran */
    int64_t frame_ns;  /* from the frame before to that one */
    int stood;         /* the last frame didn't run */
    uint32_t steps;    /* frames to run though paused */
    LoopFunction *stepped;
    void *stepped_user;

    /* Hears what people do before the slots, on its way to all of them; 1: it is taken. [frame] */
    int (*over)(void *user, Host *host, const struct keel_input *input);
    void *over_user;

    int64_t past_span_ns; /* how far slots can go back in time, 0: not at all; set before slots */
    int replaying;        /* [frame] slots are given recorded frames */

    char sources[1024]; /* where the modules' sources are, "" where unknown; set before frames */
    Mixer *mixer;       /* [frame]; NULL: nothing was to be heard so far */
    void *audio;        /* [frame] the device's, closed by audio_close */
    void (*audio_close)(void *audio);
    struct HostAssets *assets; /* [engine]; made before the first slot */
    /* A font of a module's assets, to draw texts of this family with. [frame] */
    void (*font)(const char *family, const void *data, size_t bytes, void *user);
    void *font_user;
    HostWindow window;              /* [frame] */
    char *clipboard;                /* [frame] where there is no window */
    struct HostInputScript *script; /* [frame] inputs that wait for later frames */
    float script_x, script_y;       /* [frame] where they left the pointer */

    Host *next_listener; /* of those with a log, under their lock */

    void *control; /* the control room's, closed by control_close */
    void (*control_close)(void *control);
};

/* Starts preparing a swap, once none of the slots is in another; `done` comes on the engine thread.
 * With `images` it doesn't wait: KEEL_EBUSY, since what they were to replace may be gone then.
 * [engine] */
int host_swap_begin(Host *host, Slot *const *slots, const char *const *paths, Image *const *images,
                    uint32_t count, uint32_t flags, GroupDone *done, void *user, Error *err);

/* Begins to watch the slot's file (unless `watch` is 0) and prepares its first generation. The
 * frame thread and the engine thread each hold a reference. [engine] */
typedef struct HostAdd {
    _Atomic int refs;
    Host *host;
    Slot *slot;
    const char *path;
    int watch;
    Group *group; /* holds a reference; NULL when it was refused at once */
    _Atomic int decided;
    Error err;
} HostAdd;
void host_watch_slot(void *host_add);
void host_add_unref(HostAdd *add);

/* Lets no new swap begin and counts those under way. [engine] */
typedef struct HostSwaps {
    Host *host;
    int active;
} HostSwaps;
void host_look_for_swaps(void *host_swaps);

/* Stops watching all. [engine] */
void host_watch_end(void *host);
/* Looks at the slot's file now. [engine] */
void host_begin_by_file(Host *host, Watched *watched);
int host_watch_begin(Host *host, Error *err);

/* Goes back to the generation before: in probation at once, else by a swap to the image before.
 * `done` comes on the engine thread, with group NULL for the first kind. [engine] */
int host_rollback_begin(Host *host, Slot *slot, int before, GroupDone *done, void *user,
                        Error *err);

/* Stands still, after `frames` more frames; then calls done(user), also when somebody lets it go on
 * before. [frame] */
void host_step(Host *host, uint32_t frames, LoopFunction *done, void *user);

/* ---- going back in time: rewinding.c; [frame], between two frames ---- */

/* Memory that the pages of earlier moments may take, a slot. */
#define HOST_PAST_BYTES (UINT64_C(256) << 20)

typedef struct HostPast {
    int64_t reach_ns; /* how far back all slots can go */
    uint64_t bytes;
    char why[160]; /* why not at all, "" if they can */
} HostPast;
void host_past_status(const Host *host, HostPast *ret);

/* Puts all slots back to `time_ns` of the modules' clock, or to the oldest that is kept; they have
 * drawn that frame again. `play`: from there they are given what they were given, then go on; else
 * they go on at once, or stand while the host is paused. KEEL_EREFUSED, KEEL_EBUSY: nothing was
 * done. KEEL_EFAULT: it was, and the code faulted on the way. */
int host_go_back(Host *host, int64_t time_ns, int play, Error *err);

/* Before slots run a frame: the time of the recorded frame that is due, or `time_ns`. */
int64_t host_past_time(Host *host, int64_t time_ns);

int host_stands(const Host *host);

/* New code waits for its first frame, and frames run. [frame] */
int host_has_news(const Host *host);

/* A frame at `module_ns` ran. */
void host_ran(Host *host, int64_t module_ns);

/* The modules' time of a frame at `time_ns`: it goes on where it stood still. [frame] */
int64_t host_module_time(Host *host, int64_t time_ns);
/* ---- sound [frame] ---- */

void host_audio_join(Slot *slot);
void host_audio_tick(Host *host); /* once a frame */
void host_audio_done(Host *host); /* closes the device, frees the mixer */

/* ---- input ---- */

/* A script's piece: an input, or the end of a frame. */
typedef struct HostInputStep {
    Slot *slot; /* NULL: all slots */
    int frame;  /* nonzero: what follows belongs to a later frame */
    int here;   /* nonzero: x and y are where the last script left the pointer */
    struct keel_input input;
    char *text; /* of malloc, or NULL */
} HostInputStep;

/* Gives the steps frame by frame, after those of earlier calls; takes them and their array (of
 * malloc) over. `done` (may be NULL) is called before the frame that gets the last one. [any] */
int host_input_script(Host *host, HostInputStep *steps, uint32_t count, LoopFunction *done,
                      void *user);
void host_input_steps_free(HostInputStep *steps, uint32_t count);

/* Frees scripts and clipboard. [frame] */
void host_input_done(Host *host);

/* Around the slots' frames. [frame] */
void host_input_before_frame(Host *host);
void host_input_after_frame(Host *host);

/* What the frame wants of the window: where text is typed (the last slot that asks), and the
 * pointer's shape. [frame] */
typedef struct HostWants {
    int text;
    float area[4];
    uint32_t cursor;
} HostWants;
void host_wants(const Host *host, HostWants *ret_wants);

/* The status as of now. [frame] */
void host_fill_status(Slot *slot, struct keel_slot_status *ret);

/* One slot's name → the slot, NULL when there is none; "" or NULL: the only one. [any] */
Slot *host_find_slot(Host *host, const char *name);

/* What keel_host_error answers on this thread; returns err->code. */
int host_failed(const Error *err);

/* KEEL_ETHREAD, with its sentence, on another thread than the frames'. [any] */
int host_on_frame_thread(const Host *host);

#endif
