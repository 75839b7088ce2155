/* One slot's memory: the arena at a fixed address, its allocator, its checkpoint, its pins.
 *
 * The arena space (STATE_BASE, STATE_SPACE_BYTES) is reserved once a process without access; each State takes a
 * range of it, backed by a memfd, and keeps it at the same address for life. The checkpoint is a second memfd
 * that holds the arena and the registered statics as they were at the last boundary.
 *
 * Thread: the one that runs the slot's frames, but where [any] is said. Time and memory: a boundary costs what was
 * dirtied (tracking tier) or what is used (copy tier). */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include <stddef.h>
#include <stdint.h>

#include <keel/heap.h>

#include "base/err.h"
#include "base/hash.h"

#define STATE_BASE UINT64_C(0x550000000000)
#define STATE_SPACE_BYTES (UINT64_C(320) << 30)
#define STATE_GRAIN_BYTES (UINT64_C(2) << 30) /* ranges are multiples of this */

typedef struct State State;
typedef struct Pin Pin;

typedef enum StateTier {
    STATE_TIER_AUTO,  /* tracking where the kernel has it, else copying */
    STATE_TIER_TRACK, /* userfaultfd asynchronous write-protect + PAGEMAP_SCAN (Linux 6.7) */
    STATE_TIER_COPY,  /* copies all that is used at every boundary, up to copy_limit_bytes */
    STATE_TIER_OFF    /* no checkpoint: an undo is not possible */
} StateTier;

typedef struct StateOptions {
    uint64_t max_bytes;        /* 0: STATE_GRAIN_BYTES; rounded up to it */
    uint64_t copy_limit_bytes; /* 0: 8 MiB; above it the copy tier goes over to OFF, and says so */
    StateTier tier;
    uint64_t base; /* the address it must have, as a State told it; 0: any */
    /* NULL: the memory dies with the process. Else a folder of a memory file system (tmpfs), made
     * if need be, private to this user: arena and checkpoint lie there and outlive the process; a
     * State that is opened there again has the last boundary of the one before, whatever ended it,
     * at the same address, whatever `base` says.
     * KEEL_EBUSY: another process uses it. */
    const char *folder;
} StateOptions;

/* Reserves the arena space; called by the first state_open, or early by a program that maps much. [any] */
int state_space_init(Error *err);
/* 1: no State of this process has the grain at `base`. [any] */
int state_base_free(uint64_t base);

int state_open(const StateOptions *options, State **ret, Error *err);

/* What a killed process left in a state's folder wants to be at again; the folder is only looked at.
 * KEEL_ENOTFOUND: it holds nothing that was noted. [any] */
int state_kept_place(const char *folder, uint64_t *ret_base, uint64_t *ret_bytes);

/* 1: it was opened with what its folder held. [any] */
int state_resumed(const State *state);
/* Why not, where its folder held something; "" else. */
const char *state_kept_why(const State *state);
/* Given before a commit, kept with the boundary that it makes, together or not at all; at most 1
 * MiB. [frame] */
int state_note(State *state, const void *data, uint64_t bytes);
/* What the last boundary has; NULL: nothing. Valid until the next commit. */
const void *state_noted(const State *state, uint64_t *ret_bytes);
/* The statics of the last boundary before, as state_set_statics got them then, page by page: span
 * after span, each from a page on. NULL: none, or not those of the image that the note was about.
 * Valid until state_set_statics. */
const void *state_kept_statics(const State *state, uint64_t *ret_bytes);
/* Words in the arena that lie in [first, last) become as much larger as `to` is than `first`.
 * Returns how many. Counts with the next commit. [frame] */
uint64_t state_rebase(State *state, uint64_t first, uint64_t last, uint64_t to);
/* Between two frames: `bytes` bytes at `address`, when they still are `was`, become `is`, and count.
 * KEEL_ECHANGED: they are others by now; KEEL_EINVAL: no object is there. [frame] */
int state_exchange(State *state, uint64_t address, const void *was, const void *is, uint64_t bytes,
                   Error *err);
/* state_close leaves nothing in the folder. */
void state_forget(State *state);
void state_close(State *state);

/* ---- objects ([frame]) ---- */

/* The root, made zeroed if there is none. KEEL_ETYPE with a sentence naming both types if another is there.
 * Types are equal when spelling, size and alignment are. */
int state_root(State *state, const char *type, const char *file, uint64_t bytes, uint64_t align,
               void **ret_root, Error *err);
void *state_alloc(State *state, const char *type, const char *file, uint64_t bytes, uint64_t align, uint64_t count);
void *state_alloc_block(State *state, uint64_t bytes, uint64_t align); /* opaque: the malloc shim's */
int state_resize_block(State *state, void *block, uint64_t bytes);
void state_free(State *state, void *object); /* NULL is fine; what isn't an object's start is a KEEL_EFAULT of the caller: see guard */
uint64_t state_usable(const State *state, const void *object);
uint64_t state_count(const State *state, const void *object);
int state_contains(const State *state, const void *address); /* [any] */

/* Every live object, in address order, for audits and tests. type is "" for opaque blocks. */
typedef struct StateObject {
    void *address;
    uint64_t bytes, count;
    const char *type, *file;
} StateObject;
typedef int StateVisit(const StateObject *object, void *user); /* nonzero ends the walk and is returned */
int state_each(State *state, StateVisit *visit, void *user);

/* The host's own block beside the module's objects (an opaque one): found again after every swap, undone
 * with the frame, carried over by state_reset. NULL: there is none of at least `bytes`. */
void *state_kept(const State *state, uint64_t bytes);
void state_keep(State *state, void *block);

/* Empties the arena: no objects, no root; what restore hooks start from. Undone like all else. */
void state_reset(State *state);

/* Checks the allocator's invariants; for tests and debug hosts. */
int state_check(State *state, Error *err);

/* XXH3-128 over the used part of the arena as it is now. */
Hash state_hash(State *state);

/* Keeps hashes of the state as of the last commit, at the cost of what each commit changed.
 * KEEL_EUNSUPPORTED where there is no checkpoint. [frame] */
int state_hash_frames(State *state, int on, Error *err);
/* The same where the state is large, beside frames: begun at a boundary, filled by any thread, joined
 * at a later boundary at the cost of the pages that frames changed since. While it goes on it holds a
 * pin. [first, last): where the running image is mapped. */
typedef struct HashFill HashFill;
/* KEEL_OK and NULL: hashes are kept already. [frame] */
int state_hash_begin(State *state, uintptr_t first, uintptr_t last, HashFill **ret, Error *err);
/* KEEL_ENOMEM; KEEL_ECANCELED after state_hash_stop. [any] */
int state_hash_fill(HashFill *fill);
void state_hash_stop(HashFill *fill); /* [any] */
/* While it isn't being filled: pages that changed since the pin; and another round, which fills those
 * from a new pin. [frame] */
uint32_t state_hash_behind(const HashFill *fill);
int state_hash_again(HashFill *fill, Error *err);
/* From here on hashes are kept. Frees `fill` in any case. [frame] */
int state_hash_join(HashFill *fill, Error *err);
void state_hash_drop(HashFill *fill); /* NULL is fine [frame] */
/* Where the running image is mapped: words that point there are hashed by what they mean. */
void state_hash_image(State *state, uintptr_t first, uintptr_t last);
/* Never 0, 0 for a state that holds anything. Equal `exact`: the same bytes, with pointers into the
 * image to the same place in it. Equal `loose`: the same but for where in the image they point. */
typedef struct StateHashes {
    uint64_t exact, loose;
} StateHashes;
int state_hashes(const State *state, StateHashes *ret); /* KEEL_EUNSUPPORTED: none are kept */
/* The same `loose` of the arena as it is now, at the cost of all of it; words that point into any of
 * `images` count by that alone. */
struct StateSpan;
uint64_t state_hash_loose(const State *state, const struct StateSpan *images, int count);
/* The same of an adopted state, whose memory only this process writes, again and again: at the cost
 * of the pages that were written since it was adopted. At most two images. KEEL_ENOMEM. */
typedef struct LooseHash LooseHash;
int loose_new(const State *state, const struct StateSpan *images, int count, LooseHash **ret);
uint64_t loose_now(LooseHash *loose);
void loose_free(LooseHash *loose); /* NULL is fine */

/* ---- frames ([frame]) ---- */

/* The writable data of the running image, checkpointed with the arena. Replaces what was registered;
 * captures it now. At most 16 spans. */
enum { STATE_SPANS = 16 };
typedef struct StateSpan {
    void *address;
    uint64_t bytes;
} StateSpan;
int state_set_statics(State *state, const StateSpan *spans, int count, Error *err);

/* What [frame] calls did is final: deferred frees are done, the checkpoint is brought up to now. */
int state_commit(State *state, Error *err);

/* Would state_commit take the arena as it is? KEEL_EDATA when the module wrote over its head. Costs a
 * few loads; 0 where there is no checkpoint. */
int state_sound(const State *state, Error *err);

/* Back to the last commit: arena, statics, allocator, deferred frees. KEEL_EUNSUPPORTED when the tier is off. */
int state_undo(State *state, Error *err);

typedef struct StateStatus {
    StateTier tier;          /* what is in force; never AUTO */
    char tier_reason[160];   /* why it isn't tracking, "" if it is */
    uint64_t base, max_bytes, used_bytes, live_objects, live_bytes;
    uint64_t dirty_pages_last, commit_ns_last, hot_pages;
} StateStatus;
void state_status(const State *state, StateStatus *ret);

/* ---- pins ---- */

/* Holds the last commit still while others read it; frames go on. At most STATE_PINS at once. [frame] */
enum { STATE_PINS = 4 };
int state_pin(State *state, Pin **ret, Error *err);
void state_unpin(Pin *pin); /* [frame] */

/* The same, cheaper, for this process only: state_pin_view refuses it. At most STATE_MOMENTS more. [frame] */
enum { STATE_MOMENTS = 60 };
int state_pin_moment(State *state, Pin **ret, Error *err);
/* What pages cost that only pins need, roughly: those whose pins are gone are given back by and by. */
uint64_t state_pinned_bytes(const State *state);
/* Gives them back now: a few nanoseconds a page. [frame] */
void state_fold_pins(State *state);

/* Puts arena and statics back to the pinned moment (rollback --state=before). Counts with the next
 * commit, and an undo takes it back. [frame] */
int state_restore_pin(State *state, Pin *pin, Error *err);

/* What another process needs to see the pinned arena: descriptors to pass and plain bytes that
 * state_adopt takes. `fds` are the State's and stay open until unpin. [any while pinned] */
enum { STATE_VIEW_FDS = 2 + STATE_PINS, STATE_VIEW_BYTES = 512 };
typedef struct StateView {
    int fd_count;
    int fds[STATE_VIEW_FDS];
    uint64_t bytes;
    uint8_t plain[STATE_VIEW_BYTES];
} StateView;
int state_pin_view(const Pin *pin, StateView *ret, Error *err);

/* In the other process: a private, writable State at the same address, content as pinned; nothing written
 * here is ever seen by anybody else. Checks every field of the view. `fds` stay the caller's. */
int state_adopt(const StateView *view, State **ret, Error *err);

/* What the pinned statics held, written to where these spans are here. Checks the view as
 * state_adopt does. */
int state_view_statics(const StateView *view, const StateSpan *spans, int count, Error *err);

/* ---- the malloc shim's side ---- */

/* The heap table that the shim of an image loaded for this slot binds to. [any] */
const struct keel_heap *state_heap(State *state);

/* Marks that this thread is inside a [frame] call of the slot (counted). Inline work: a thread-local
 * store. Only then the shim allocates in the arena. [frame] */
void state_enter(State *state);
void state_leave(State *state);

/* keel_heap_bind answers this State's heap on this thread until called with NULL: around dlopen. [any] */
void state_bind_for_load(State *state);

/* Which life of the state this is: another one begins where all of it becomes another (state_reset,
 * state_restore_pin), and that is undone with it. Never 0. [any] */
uint64_t state_life(const State *state);
/* What the calling thread frees outside of calls was allocated in this life, and counts for nothing
 * in another; 0: in that of now. [any] */
void state_free_in(uint64_t life);

/* What to do when a module calls exit and its kin inside the slot's calls; set by whoever runs modules.
 * Shouldn't return when it can recover. Process-wide. */
typedef int32_t StateLeave(int32_t kind, int32_t code);
void state_on_leave(StateLeave *leave);
/* Calls it; 0 when none is set. [any] */
int32_t state_module_leaves(int32_t kind, int32_t code);

#endif
