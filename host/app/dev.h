/* `keel dev`'s parts: where Keel's own files are, what builds a folder, what changed in it, the
 * build itself, and the thread that joins them.
 *
 * app/dev.c (main thread: options, frames) > dev_thread.c > dev_build.c, dev_watch.c, dev_plan.c >
 * dev_tree.c, dev_text.c. Everything but DevShared belongs to the builder's thread once it runs. */
#ifndef APP_DEV_H
#define APP_DEV_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "app/session.h"
#include "base/buf.h"
#include "base/err.h"

enum { DEV_ARGS = 160, DEV_STEPS = 3, DEV_MODULES = 16 };

/* A command line whose words it owns. */
typedef struct DevArgs {
    int count;
    char *word[DEV_ARGS + 1]; /* NULL at the end */
} DevArgs;

int dev_args_add(DevArgs *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Words parted by blanks, as in $CFLAGS. */
int dev_args_split(DevArgs *args, const char *text);
void dev_args_done(DevArgs *args);

/* ---- dev_tree.c: Keel's own files, beside the program: in a build folder or as installed ---- */

typedef struct DevTree {
    char include[4200]; /* the folder that has keel/keel.h */
    char shim[4200], map[4200];
    char package[4200]; /* the folder that has KeelConfig.cmake */
} DevTree;

int dev_tree_find(DevTree *ret, Error *err);

/* ---- dev_plan.c: what builds the folder ---- */

typedef enum DevKind { DEV_DIRECT, DEV_CMAKE, DEV_MAKE, DEV_COMMAND } DevKind;

typedef struct DevPlan {
    DevKind kind;
    int cxx;
    const char *command; /* DEV_COMMAND; the caller's */
    char *folder;        /* absolute: what is watched, where builds run */
    char *source;        /* DEV_DIRECT: the file */
    char *name;          /* DEV_DIRECT: its name without the ending */
    char *own;           /* the folder for what the build makes; NULL: it makes it where it likes */
    char *output;        /* DEV_DIRECT: the module's path */
    DevTree tree;
} DevPlan;

/* KEEL_EINVAL, KEEL_ENOTFOUND: the sentence says what is wrong with `path`. */
int dev_plan(const char *path, const char *command, DevPlan *ret, Error *err);
void dev_plan_done(DevPlan *plan);
/* "cmake in /x/fish/.keel/cmake": how it builds, for people. */
void dev_plan_tell(const DevPlan *plan, char *room, size_t bytes);

/* Keel's modules below the folder (and `own`), sorted by path: absolute paths, owned by the caller.
 * Returns how many; those beyond `most` are left out. */
int dev_plan_modules(const DevPlan *plan, char **ret_paths, int most);

/* ---- dev_watch.c: the sources ---- */

typedef struct DevWatch DevWatch;
/* Watches `folder` and what is below it, but for dotfiles, build folders and links. */
int dev_watch_new(const char *folder, DevWatch **ret, Error *err);
void dev_watch_free(DevWatch *watch);
int dev_watch_fd(const DevWatch *watch);
/* What the events since the last call say: DEV_WRITTEN: a source has new content; DEV_GONE: one is
 * no longer there (perhaps for an instant); else 0. With `again`, one that was written with the
 * content that it had counts, too. *ret_limited: not all folders can be watched (said once). */
enum { DEV_WRITTEN = 1, DEV_GONE = 2 };
int dev_watch_drain(DevWatch *watch, int again, const char **ret_limited);

/* ---- dev_precompile.c: keel/keel.h compiled ahead ---- */

typedef struct DevPrecompiled {
    char folder[4400]; /* for -I; "" : none can be had */
    int there, tried;
    pid_t pid; /* that makes it */
} DevPrecompiled;

/* `words`: the compiler's command without its source and output. */
void dev_precompile_find(DevPrecompiled *pre, const DevPlan *plan, const DevArgs *words);
void dev_precompile_begin(DevPrecompiled *pre, const DevPlan *plan, const DevArgs *words);
int dev_precompile_ready(DevPrecompiled *pre); /* 1: its folder can be used */
void dev_precompile_done(DevPrecompiled *pre);

/* ---- dev_build.c: one build: steps one after another, each a process group ---- */

typedef struct DevBuild {
    const DevPlan *plan;
    int colour;
    DevArgs link; /* DEV_DIRECT: the linker's own command, once known; empty: by the driver */
    int known;    /* the compiler was asked */
    int clang;
    DevPrecompiled pre;
    int fell_back; /* this build's link is the driver's, after the linker itself failed */

    int running;
    DevArgs step[DEV_STEPS];
    const char *what[DEV_STEPS]; /* "compile", "link" */
    int64_t spent_ns[DEV_STEPS];
    int steps, at;
    int64_t step_ns; /* when the step began */
    pid_t pid;
    int pid_fd, output_fd; /* -1: none */
    int status;            /* of the last step: 0 good */
    Buf output;            /* of all steps */
} DevBuild;

void dev_build_init(DevBuild *build, const DevPlan *plan, int colour);
void dev_build_done(DevBuild *build);
/* Ends the one that runs, then starts. An error: nothing runs. */
int dev_build_start(DevBuild *build, Error *err);
/* After poll: reads output, goes on to the next step. 1: the build has ended, `status` says how. */
int dev_build_step(DevBuild *build, Error *err);
/* A build went well and nobody waits: gets ready for the next. */
void dev_build_prepare(DevBuild *build);
/* Ends the process group and what it made; KEEL_OK when nothing runs. */
void dev_build_cancel(DevBuild *build);

/* ---- dev_text.c: what a compiler says ---- */

/* Lets through text, colours and line ends; nothing else that could command a terminal. Takes out
 * a build tool's own lines about commands when there are a compiler's. */
int dev_text_clean(const Buf *output, int colour, Buf *ret);
/* How many lines of `text` tell an error, how many a warning. */
void dev_text_count(const char *text, int *ret_errors, int *ret_warnings);

/* ---- dev_thread.c ---- */

/* A tweak's value that is to be its default in the source. */
typedef struct DevStore {
    char file[4400], name[48];
    uint32_t kind;
    double initial, value, precision;
} DevStore;
enum { DEV_STORES = 64 };

typedef struct DevShared {
    Session *session;
    DevPlan plan;
    int colour;
    int stop_fd;  /* eventfd: readable when the thread should end */
    int store_fd; /* eventfd: readable when there is something to store, or a crash to tell of */

    pthread_mutex_t lock;
    char *paths[DEV_MODULES]; /* builder to main, once: what to run */
    int path_count;
    keel_slot *slots[DEV_MODULES]; /* main to builder, once */
    int slot_count;
    int ended;                              /* the thread needs no more frames */
    uint64_t shown_generation[DEV_MODULES]; /* main to builder: of the last picture, */
    int64_t shown_ns[DEV_MODULES]; /* and when its first one was shown; without a window never */
    DevStore stores[DEV_STORES];   /* main to builder */
    int store_count;
    char crash[400]; /* any thread to builder: what the last fault said; "" none */
} DevShared;

void *dev_thread(void *shared);

#endif
