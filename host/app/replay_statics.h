/* The statics that a replay compares beside the state: those that both builds have with the same
 * type and initialiser, which are the ones that a swap carries as they are. Which they are comes
 * from the debug information of both; caches (KEEL_CACHE) and constants are none.
 *
 * A pointer counts by where in the arena it points; of pointers to anywhere else (the image, libc's
 * memory) only that they are there, since that differs between builds. One thread. */
#ifndef APP_REPLAY_STATICS_H
#define APP_REPLAY_STATICS_H

#include "app/replay_run.h"
#include "app/state_text.h"
#include "module/generation.h"

/* For one generation of the session. */
typedef struct ReplayStaticList {
    const StateTypes *was, *now;
    int count;
    struct ReplayStatic *list;
    uint8_t *pointers; /* a byte a word: is it one? static after static */
} ReplayStaticList;

typedef enum ReplaySide { REPLAY_WAS, REPLAY_NOW } ReplaySide;

/* For a whole session. Zeroed is none. */
typedef struct ReplayStatics {
    ReplayStaticList at[REPLAY_GENERATIONS];
    int most;      /* statics of the longest list */
    char why[400]; /* what isn't compared, and for which reason; "": all is */
} ReplayStatics;

/* Of which builds, by generation of the session. Types must stay. A static that isn't one of both
 * builds in an earlier generation isn't compared in later ones: it began at another frame. Without
 * types there are none, and `why` tells. KEEL_ENOMEM. */
int replay_statics_init(ReplayStatics *statics, int generations, const StateTypes *const *was,
                        const StateTypes *const *now, Error *err);
void replay_statics_done(ReplayStatics *statics);

/* Of the statics as they are in this process, where the generation is mapped; never 0. Looks at
 * nothing outside of its writable data. */
uint64_t replay_statics_hash(const ReplayStaticList *list, ReplaySide side, const Generation *g,
                             const State *state);

/* Two dumped states, each with the load bias of the build that ran: sentences about the statics
 * that differ, as "ball.c: static calls of frame: 1 → 2". */
typedef struct ReplayStaticsLook {
    StateLook look;
    uint64_t bias;
} ReplayStaticsLook;
void replay_statics_differences(const ReplayStaticList *list, const ReplayStaticsLook *was,
                                const ReplayStaticsLook *now, StateDifferences *ret);

#endif
