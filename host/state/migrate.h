/* From one generation's memory to the next one's: what the state and the statics hold is carried
 * over by the types of both images (image/schema.h), field by field, and every pointer follows.
 *
 * A Migration is the plan: made off the frame thread from two schemas, before the boundary. It
 * doesn't look at memory. migration_run executes it on a State, which is then as good as new or,
 * when it fails, half changed: the caller undoes the state.
 *
 * The rules: same layout, untouched. Fields by name (or KEEL_RENAMED); nested and split ones by the
 * name of the innermost. Numbers are converted and must fit; enumerators go by name; arrays grow
 * and shrink, what is lost must be empty; a pointer follows its object, also into the middle of it;
 * pointers to functions and statics go to what has that name now; literals of the old code are
 * copied into the state. What has no rule must be zero, else the whole migration is refused with
 * the type, the field and the reason. */
#ifndef STATE_MIGRATE_H
#define STATE_MIGRATE_H

#include "base/buf.h"
#include "image/schema.h"
#include "state/state.h"

typedef struct Migration Migration;
struct keel;
struct keel_convert;

/* Both schemas must stay. KEEL_EUNSUPPORTED when one of the images tells no types. [any thread] */
int migration_new(const Schema *from, const Schema *to, Migration **ret, Error *err);
void migration_free(Migration *migration);

/* A type that the state holds, as its record says. Planning is cheaper now than in migration_run,
 * which plans what it meets and hasn't been told of. */
int migration_learn(Migration *migration, const char *spelled, const char *file);
/* The types of a State, or those of a pinned one's list. [frame] */
int migration_learn_state(Migration *migration, State *state);
/* Their spellings and files, each ended by 0, for migration_learn elsewhere. [frame] */
int migration_list_types(const State *state, Buf *ret);

/* Nonzero when types that the state or the statics hold have another layout: hooks may be wanted.
 */
int migration_changes(const Migration *migration);

/* Steps that planning has taken so far: what a test bounds instead of time. */
uint64_t migration_work(const Migration *migration);

/* An image where it is mapped: [first, last), `bias` added to its own addresses. */
typedef struct MigratePlace {
    uint64_t first, last, bias;
} MigratePlace;

/* Values that were dropped by a migration that is being taken back: where to find them. */
typedef struct MigrateAttic MigrateAttic;

/* Large arrays whose type changes, converted into free pages of the state while frames go on, so
 * that the boundary has only the last changes to convert. Flat ones: what has pointers in it is
 * migrated at the boundary. Like the migration it is one thread's at a time. */
typedef struct MigratePrecopy MigratePrecopy;

enum { PRECOPY_BYTES = 1 << 20 }; /* from this size on it is worth it */

/* Pins the state and finds a place for each. NULL in *ret, and nothing done, where there is nothing
 * that could be copied ahead: no large array changes, no checkpoint that is tracked, hashes are
 * kept (whose replay knows only one way to place things). KEEL_ENOSPACE: no room for one.
 * KEEL_EBUSY: there is room for it that only pins hold, or what they left: a later boundary may
 * have it; a few such pages are given back by each call. [frame] */
int precopy_begin(Migration *migration, State *state, uint64_t least_bytes, MigratePrecopy **ret);
/* Converts what is pinned: all of it, the next time what changed since. KEEL_ETYPE: something has
 * no rule; KEEL_ECHANGED: the state needed the room; KEEL_ENOMEM. Then it is of no use: the
 * boundary finds out by itself. [any thread, beside frames] */
int precopy_fill(MigratePrecopy *precopy);
/* Pages that frames have changed since it was pinned. [frame] */
uint32_t precopy_behind(const MigratePrecopy *precopy);
/* Pins this boundary instead, to fill once more; not after that: lets go of the pin. [frame] */
int precopy_next(MigratePrecopy *precopy);
void precopy_unpin(MigratePrecopy *precopy);
uint64_t precopy_bytes(const MigratePrecopy *precopy);
/* After the migration or instead of it; NULL is fine. [frame] */
void precopy_end(MigratePrecopy *precopy);

typedef struct MigrateRun {
    MigratePlace from, to;    /* both mapped: `from` is read, the statics of `to` are written */
    int check_first;          /* look whether it can succeed before anything is changed: for a state
                                 without a checkpoint */
    MigrateAttic *attic;      /* NULL, or of the migration that this one takes back */
    MigrateAttic **ret_attic; /* NULL, or where to leave what was dropped */
    /* Of the image that comes: what KEEL_CONVERT left in it, and how to run `body` inside of it.
     * Without `call` a type that has one refuses. The sentence is about what failed. */
    struct {
        const struct keel_convert *list;
        uint64_t count;
    } converters;
    int (*call)(void *call_user, int32_t (*body)(void *user, struct keel *k), void *user,
                Error *err);
    void *call_user;
    MigratePrecopy *precopy; /* NULL, or what is to be used where it still fits */
    /* This boundary, pinned, with `ret_attic`; with `attic` the one that was given then: what
     * arrays that were copied ahead dropped is read from it. NULL: nothing copied ahead is used. */
    const Pin *before;
} MigrateRun;

typedef struct MigrateResult {
    uint64_t objects; /* rewritten */
    uint64_t moved, pointers, literals;
    uint64_t ahead;                 /* bytes that were converted before the boundary */
    uint64_t statics, statics_anew; /* carried; started from a changed initialiser */
    uint64_t converted;             /* by KEEL_CONVERT */
    char text[300];                 /* for the log: "12,480 × struct order", or nothing */
    char more[600];                 /* the same: " venue = 0 for all; dropped: …" */
} MigrateResult;

/* [frame], or alone on a private view */
int migration_run(Migration *migration, State *state, const MigrateRun *run, MigrateResult *ret,
                  Error *err);

/* Does it run functions of the new image? Those may refuse after objects were changed. */
int migration_calls(const Migration *migration);

void migrate_attic_free(MigrateAttic *attic);

/* What the rules would do, for people, without any state: a line for each struct that both images
 * name and that changed, and for each static that doesn't keep its value. `lines` gets them, each
 * ended by a newline. 0 or KEEL_ENOMEM. */
int migration_foretell(Migration *migration, Buf *lines);

/* The statics that keep their value and their layout, byte for byte: a list of these. 0 or
 * KEEL_ENOMEM. */
typedef struct MigrateKept {
    uint32_t from, to; /* statics of both schemas */
} MigrateKept;
int migration_kept_statics(const Migration *migration, Buf *list);

#endif
