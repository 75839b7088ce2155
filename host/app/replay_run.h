/* One run of a recorded session in a process of its own: which builds, how far, compared with what.
 * The child is forked from the command, loads what it is to run, and then may touch nothing but
 * memory and the file for its last state. */
#ifndef APP_REPLAY_RUN_H
#define APP_REPLAY_RUN_H

#include "app/state_types.h"
#include "app/trial_child.h"
#include "state/journal.h"
#include "state/snapshot.h"

enum { REPLAY_GENERATIONS = 64 };

typedef enum ReplayCompare { REPLAY_NOTHING, REPLAY_EXACT, REPLAY_LOOSE } ReplayCompare;

/* A session as it is in memory: the journal, and which images it names. */
typedef struct ReplaySession {
    JournalReader *reader;
    JournalBegin begin;
    uint64_t frames; /* that can be replayed: up to a break */
    int64_t first_ns, last_ns;
    int generations;
    JournalGeneration generation[REPLAY_GENERATIONS];
    Image *image[REPLAY_GENERATIONS];     /* by generation; NULL: the journal doesn't have it */
    StateTypes types[REPLAY_GENERATIONS]; /* where there is more than one, for what swaps carried */
    char ends[400];                       /* why it ends where it ends; "": closed on purpose */
    const char *snapshot;                 /* path of a state to begin with, or NULL */
} ReplaySession;

int replay_session_open(const char *path, ReplaySession *ret, Error *err);
/* Reads the types of its images: needed where it has swaps, or begins with a snapshot. Without
 * debug information there are none, and a swap carried nothing. */
void replay_session_types(ReplaySession *session);
void replay_session_close(ReplaySession *session);

typedef struct ReplayPlan {
    const ReplaySession *session;
    Image *instead;          /* runs all along; NULL: what ran then */
    const StateTypes *types; /* of `instead`; NULL: not known */
    uint64_t frames;         /* stop after so many; 0: all */
    ReplayCompare compare;   /* with the journal's hashes, or those of another run */
    const StateHashes *with;
    StateHashes *record; /* of each frame, for another run to compare with */
    const struct ReplayStatics *statics; /* NULL: none are compared */
    int statics_side;                    /* ReplaySide: which of the two builds this run is of */
    const uint64_t *statics_with;        /* of each frame; 0: none was taken. NULL: nothing */
    uint64_t *statics_record;
    int dump_fd;         /* where the state goes at the end */
    int sandbox;
} ReplayPlan;

typedef enum ReplayEnd {
    REPLAY_UNFINISHED, /* the child is gone without a word */
    REPLAY_DONE,
    REPLAY_DIFFERS, /* after the frame `frames - 1` */
    REPLAY_FAULTED, /* in the frame `frames`, or in start, restore */
    REPLAY_REFUSED  /* could not be loaded or begun */
} ReplayEnd;

/* In memory that the child shares. */
typedef struct ReplayOutcome {
    TrialShared sandbox;
    ReplayEnd end;
    uint64_t frames; /* that were committed */
    uint64_t index;  /* of the last one, as its module counted */
    int64_t time_ns;
    uint64_t lsn;
    uint64_t unmatched, unrecorded;
    StateHashes hashes;
    int generation;     /* of the session, that the last frame belongs to */
    uint64_t load_bias; /* of the build that ran then, once `dumped` */
    double seconds; /* spent in frames */
    int dumped;
    Fault fault;
    Error err;
} ReplayOutcome;

/* Forks, runs, waits. The outcome is the caller's to munmap (sizeof ReplayOutcome). */
int replay_run_apart(const ReplayPlan *plan, ReplayOutcome **ret, Error *err);

/* replay.c: does NEW leave the same state after every frame of a session as OLD does? 0, 1: it
 * doesn't, 2: it can't be told; `ret_text` has a sentence. `from` may be NULL. Before this process has
 * threads. */
int replay_verdict(const char *journal, const char *from, const char *old_path,
                   const char *new_path, char *ret_text, size_t room);

#endif
