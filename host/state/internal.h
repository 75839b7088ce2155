/* What the files of this room share. Nobody outside includes it.
 *
 * A slot has three kinds of memory:
 *   arena   the memfd that the module writes. Its first pages hold the allocator's own records, so
 * that an undo takes them back too: ArenaHead, then one PageInfo a data page, then (from
 * data_first) the data pages. store   the checkpoint: a second memfd with a head, the dirty list, a
 * staging area for statics, and the base: one page for every page of the arena and of the statics
 * ("id" numbers both: arena offset / 4096, then arena_pages + n for the n-th page of the statics).
 *   pool    a third memfd, used only while there are pins: pages of the checkpoint that could not
 * be written to their place in the base because a pin still needs what is there. */
#ifndef STATE_INTERNAL_H
#define STATE_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "state/state.h"

enum {
    PAGE_BYTES = 4096,
    STATE_STATICS_MAX = 16,
    HEAP_CLASSES = 27,
    HEAP_BINS = 128,
    SMALL_MAX = 4096, /* the largest slot, its head included */
    HEAD_BYTES = 16,
    STATIC_PAGES_MAX = 65536 /* 256 MiB of writable data in one image */
};

/* ---- in the arena ---- */

#define ARENA_MAGIC UINT64_C(0x6b65656c61726e31) /* "keelarn1" */

typedef enum PageKind {
    PAGE_UNUSED,
    PAGE_FREE,
    PAGE_SLAB,
    PAGE_SLAB_INNER,
    PAGE_LARGE,
    PAGE_LARGE_INNER
} PageKind;

/* One a data page. Inside a run only the first page's is filled (slabs: all; large ones: also the
 * page of the object's start; free runs: also the last), all others are zero, so that any address
 * can be judged. */
typedef struct PageInfo {
    uint8_t kind;
    uint8_t class_index;    /* PAGE_SLAB */
    uint16_t live;          /* PAGE_SLAB: objects */
    uint32_t pages;         /* of the run; first and last page */
    uint32_t first;         /* …_INNER and last page of a free run: the run's first page */
    uint32_t next, prev;    /* slabs with room of one class; free runs of one bin. 0: none */
    uint16_t free_slot;     /* PAGE_SLAB: number + 1 of the first free slot, 0: none */
    uint16_t fresh;         /* PAGE_SLAB: slots from here on were never used */
    uint64_t object_offset; /* PAGE_LARGE: of the object from the run's start */
} PageInfo;
_Static_assert(sizeof(PageInfo) == 32, "128 records fill a page");

typedef struct ArenaHead {
    uint64_t magic;
    uint64_t base;
    uint32_t data_first; /* page number in the arena of data page 0 */
    uint32_t data_pages; /* how many there can be */
    uint32_t top;        /* data pages from here on are unused; data page 0 never is */
    uint32_t high;       /* data pages from here on are zero */
    uint64_t live_objects, live_bytes;
    uint64_t root;       /* address, or 0 */
    uint64_t types;      /* address of TypeRecord[type_room] */
    uint64_t type_index; /* address of uint32_t[2 * type_room]: id + 1 */
    uint32_t type_count, type_room;
    uint32_t partial[HEAP_CLASSES]; /* slabs with room */
    uint64_t bin_mask[HEAP_BINS / 64];
    uint32_t bins[HEAP_BINS]; /* free runs by size */
    uint64_t kept;            /* address of the host's own block, or 0 */
} ArenaHead;
_Static_assert(sizeof(ArenaHead) <= PAGE_BYTES, "the head is one page");

/* Before every object. */
typedef struct ObjectHead {
    uint32_t type; /* id, TYPE_OPAQUE, TYPE_INTERNAL */
    uint16_t mark; /* MARK_… */
    uint16_t reserved;
    uint64_t count; /* objects, or bytes of an opaque block; MARK_FREE: next free slot; MARK_SKIP:
                       distance */
} ObjectHead;
_Static_assert(sizeof(ObjectHead) == HEAD_BYTES, "16 bytes, so that 16-byte alignment stays");

enum { MARK_LIVE = 0x51AB, MARK_FREE = 0xDEAD, MARK_SKIP = 0x5C1D };
enum { TYPE_OPAQUE = 0 };
#define TYPE_INTERNAL UINT32_MAX

typedef struct TypeRecord {
    uint64_t hash, bytes;
    uint64_t text; /* address of "spelling\0file\0" */
    uint32_t align, spelling_bytes;
} TypeRecord;

/* ---- in the store ---- */

#define STORE_MAGIC UINT64_C(0x6b65656c73746f32) /* "keelsto2" */

enum { WARM_SLOTS = 64 }; /* slots of the pool that keep their memory */

enum { STORE_IDLE = 0, STORE_COPYING = 1 };

typedef struct PageRange {
    uint32_t first, count;
} PageRange;

/* First page of the store's memfd; the dirty list follows at list_offset. A kill leaves either
 * STORE_IDLE, then the base (with the pool's pages over it) is the last boundary, or STORE_COPYING,
 * then the arena and the staged statics are, and recover_store finishes the copy. */
typedef struct StoreHead {
    uint64_t magic;
    uint64_t arena_base, arena_bytes;
    uint64_t list_offset, stage_offset, base_offset;
    uint64_t slots_offset; /* in the pool; at 0 stands uint32_t slot + 1 by id, 0: in the base */
    uint32_t page_count;   /* ids */
    uint32_t list_room;
    uint32_t stage_room; /* staged statics pages: uint32_t ids, then the pages */
    _Atomic uint32_t phase;
    uint32_t list_count, stage_count;
    uint64_t sequence; /* boundaries so far */
    uint32_t static_pages;
    uint32_t statics_noted;  /* the statics are those of the image that the note names; else */
    uint32_t statics_before; /* so many pages behind the base hold those, or 0 */
    /* What the host has to say of the boundary, twice: the one that counts is `note_which`; the
     * other is written before the phase word and counts after it. */
    uint64_t note_offset;
    uint64_t note_bytes[2], note_check[2];
    uint32_t note_which, note_next;
} StoreHead;

typedef struct PageMeta {
    uint32_t epoch;  /* the pin epoch in which the current version was written */
    uint32_t pooled; /* place in Store.pooled, while the current version is in the pool */
} PageMeta;

/* A version that is no longer current but that a pin needs: pins with epoch in [from, to). */
typedef struct OldVersion {
    uint32_t id, slot; /* slot + 1, 0: in the base */
    uint32_t from, to;
} OldVersion;

typedef struct Store {
    int fd, pool_fd;
    uint8_t *map, *pool;
    uint64_t map_bytes, pool_bytes;
    StoreHead *head;
    PageRange *list;
    uint32_t *stage_ids;
    uint8_t *stage_pages;
    uint8_t *base;
    uint8_t *before;   /* STATIC_PAGES_MAX pages, see statics_before */
    uint32_t *slot_of; /* in the pool, by id; NULL until the first pin */
    uint8_t *slots;    /* in the pool */
    uint32_t arena_pages, page_count;

    /* Only while there are pins or what they left: */
    PageMeta *meta;     /* by id */
    uint8_t *base_busy; /* by id: a pin needs what is in the base */
    uint32_t epoch;
    uint32_t *pooled;
    uint32_t pooled_count, pooled_room;
    OldVersion *old;
    uint32_t old_count, old_room, old_cursor;
    uint32_t *free_slots;
    uint32_t free_count, free_room, slot_count, slot_limit;
} Store;

struct Pin {
    State *state;
    uint32_t epoch;
    int place;
    uint32_t meta_pages, data_last; /* ids [0, meta_pages) and [data_first, data_last) */
    uint32_t static_pages;
    int span_count;
    StateSpan spans[STATE_STATICS_MAX];
    uint32_t
        table_count; /* pages that are in the pool: {id, slot + 1} in the pool at table_offset */
    uint64_t table_offset;
};

/* The tracking tier's own things; see track.c. */
typedef struct PageHeat {
    uint32_t last; /* the commit in which it was changed last */
    uint8_t run;   /* commits in a row that changed it */
    uint8_t idle;  /* commits in a row that didn't, while it is hot */
    uint8_t hot;   /* left unprotected, looked at by every commit */
    uint8_t reserved;
} PageHeat;

typedef struct Track {
    int uffd, pagemap;
    void *regions;
    uint64_t meta_last, data_last; /* no page from here on was ever protected */
    PageHeat *heat;                /* by arena page */
    uint32_t hot_pages;
    uint32_t hot_runs, cold_runs; /* among the written pages of the last commit */
    int protecting;               /* 0: the arena is so small that it is compared whole */
} Track;

typedef struct RemoteFree {
    struct RemoteFree *next;
    void *block;
    uint64_t life; /* in which it was the caller's */
} RemoteFree;

enum { STATE_TRIM_PAGES = 512 }; /* that a commit gives back at most */

struct State {
    /* First, so that heap.host leads here. */
    struct keel_heap heap;
    State *outer; /* the slot whose call this thread was in before this one's */
    uint32_t depth;

    uint8_t *base;
    uint64_t max_bytes, copy_limit;
    uint32_t data_first, data_pages;
    int arena_fd;
    int adopted;
    uint32_t
        live_high; /* the highest ArenaHead.high since the last boundary: a module can't lower it */
    int trimming;  /* commits give back what is above ArenaHead.top */

    StateTier tier;
    char tier_reason[160];
    Store store;
    Track track;

    StateSpan spans[STATE_STATICS_MAX];
    int span_count;
    uint32_t static_pages;

    Pin *pins[STATE_PINS + STATE_MOMENTS]; /* those without a table are behind the others */
    int pin_top;                           /* no pin from here on */
    int pin_count;

    void **foreign; /* libc's memory to free when the frame counts */
    uint32_t foreign_count, foreign_room;
    _Atomic(RemoteFree *) remote;
    /* Another one where the whole arena has become another: a block of before is none of now. */
    _Atomic uint64_t life;
    uint64_t life_kept, life_newest; /* as of the last commit; ever */

    struct Leaves *leaves; /* NULL: no hashes are kept */
    struct HashFill *fill; /* NULL: none are being made beside frames */
    struct Ahead *ahead;   /* NULL: no pages are filled ahead of a migration */

    int kept_lock; /* of the folder that holds arena and store; -1: they are memfds */
    char *kept;    /* that folder */
    char kept_why[400];
    int resumed;    /* it held a state when it was opened */
    int note_fresh; /* for the next commit */
    int opening;    /* nothing has changed since the process before */

    uint64_t commits, dirty_pages_last, commit_ns_last;
};

static inline ArenaHead *arena_head(const State *state)
{
    return (ArenaHead *)state->base;
}

/* How many data pages are in use, as far as that can be true: 0 where the module wrote nonsense. */
static inline uint32_t arena_top(const State *state)
{
    uint32_t top = arena_head(state)->top;
    return top <= state->data_pages ? top : 0;
}

static inline PageInfo *page_info(const State *state, uint32_t page)
{
    return (PageInfo *)(state->base + PAGE_BYTES) + page;
}

static inline uint8_t *page_address(const State *state, uint32_t page)
{
    return state->base + ((uint64_t)state->data_first + page) * PAGE_BYTES;
}

/* Arena pages that hold records of `top` data pages, the head included. */
static inline uint32_t meta_pages(uint32_t top)
{
    return 1 + (uint32_t)(((uint64_t)top * sizeof(PageInfo) + PAGE_BYTES - 1) / PAGE_BYTES);
}

/* state.c */
void state_layout(State *state, uint64_t base, uint64_t max_bytes);

/* space.c */
int space_take(uint64_t bytes, uint64_t wanted, uint64_t *ret_base, Error *err);
void space_give(uint64_t base, uint64_t bytes);
int space_map_arena(uint64_t base, uint64_t bytes, int fd, Error *err);
int space_memfd(const char *name, uint64_t bytes, int *ret_fd, Error *err);

/* pages.c: runs of data pages */
void pages_init(State *state);
uint32_t pages_take(State *state, uint32_t count, int *ret_zeroed); /* 0: full */
void pages_give(State *state, uint32_t first, uint32_t count);
int pages_extend(State *state, uint32_t first, uint32_t old_count, uint32_t new_count);
/* The next run of at least `count` free pages; *past: 0, then left alone. 0: there is none. */
int pages_next_free(const State *state, uint32_t count, uint32_t *past, uint32_t *ret_first,
                    uint32_t *ret_count);
/* Just these, where they are free; KEEL_ECHANGED. */
int pages_claim(State *state, uint32_t first, uint32_t count);

/* heap.c */
void *heap_take(State *state, uint64_t bytes, uint64_t align, uint32_t type, uint64_t count,
                int zero);
ObjectHead *heap_find(const State *state, const void *object,
                      uint64_t *ret_room); /* NULL: no object starts there */
void heap_damaged(const void *address, const char *what);
uint32_t heap_slot_bytes(uint32_t class_index);
uint32_t heap_slab_pages(uint32_t class_index);
uint64_t heap_object_bytes(const State *state, const ObjectHead *head);

/* types.c */
int type_find(State *state, const char *spelling, const char *file, uint64_t bytes, uint64_t align,
              uint32_t *ret_id);
/* What the arena says of types is believed only as far as it lies inside of it. */
uint32_t type_count(const State *state); /* 0: none, or the table is damaged */
const TypeRecord *type_record(const State *state, uint32_t id);
/* 0: they don't end where they should. */
int type_texts(const State *state, const TypeRecord *record, const char **ret_spelling,
               const char **ret_file);

/* kept.c: arena and store in files of a memory file system, which outlive the process. */
enum { NOTE_ROOM = 1 << 20 };
typedef struct KeptFiles {
    int lock, arena, store, pool; /* -1: none */
    int there;                    /* they hold a boundary of `bytes` at `base` */
    uint64_t base, bytes;
    char why[400]; /* why not, where one might expect it, and where that is by now */
} KeptFiles;
/* `bytes`: of the arena. What is damaged or of another size is put aside as damaged-NAME beside the
 * folder, in place of what was there. */
int kept_open(const char *folder, uint64_t bytes, KeptFiles *ret, Error *err);
/* Sized anew and empty, but for what is `there`. */
int kept_size(int fd, uint64_t bytes, int there, Error *err);
void kept_close(KeptFiles *files);
void kept_remove(const char *folder);

/* store.c; `fd`: -1, or a file to use (taken over); `there`: with what it holds */
int store_open(Store *store, uint64_t arena_base, uint64_t arena_bytes, int fd, int there,
               Error *err);
void store_close(Store *store);
int store_open_pool(Store *store, Error *err);
int store_use_pool(Store *store, int fd, Error *err); /* a file for it, taken over */
/* Opens the pool ahead of the first pin and touches what the first swap needs of it: fresh pages at
 * a boundary would cost more than the swap. */
void store_warm_pool(Store *store, uint32_t data_first);
uint64_t store_table_offset(const Store *store, int pin);
int store_remember(Store *store, uint32_t id, uint32_t slot, uint32_t from);
const uint8_t *store_page(const Store *store, uint32_t id);
void store_put(State *state, uint32_t id, const void *data, uint32_t count); /* pages */
void store_put_bytes(State *state, uint32_t id, const void *data,
                     uint32_t bytes); /* part of one page */
int store_plain(
    const State *state); /* all current versions are in the base and no pin needs them */
void store_list_add(Store *store, uint32_t first, uint32_t count);
void store_fold(State *state, uint32_t budget);
int store_needed(const State *state, uint32_t id, uint32_t epoch);

/* recover.c: makes base and arena the last boundary, after its process was killed anywhere. */
int recover_store(int arena_fd, int store_fd, int pool_fd, Error *err);

/* pins.c: pages of a pinned moment, for another thread beside frames. Ids as above. */
typedef struct PinReader {
    const Pin *pin;
    const uint8_t *base, *slots;
    uint32_t *slot; /* by id, of those in the pool: slot + 1 */
    uint32_t count;
} PinReader;
int pin_read_begin(const Pin *pin, PinReader *ret); /* KEEL_ENOMEM */
void pin_read_end(PinReader *reader);
static inline const uint8_t *pin_read(const PinReader *reader, uint32_t id)
{
    uint32_t slot = reader->slot ? reader->slot[id] : 0;
    return slot ? reader->slots + (uint64_t)(slot - 1) * PAGE_BYTES
                : reader->base + (uint64_t)id * PAGE_BYTES;
}

/* track.c */
int track_open(State *state, char *ret_reason, size_t reason_bytes);
void track_close(State *state);
int track_collect(State *state, int undo, Error *err);
void track_adapt(State *state);
uint32_t track_blind(const State *state, uint32_t first, uint32_t count);
void track_note(State *state, uint32_t id, int changed);
void track_forget(State *state, uint64_t first, uint64_t last);

/* leaves.c; but for leaves_close only while hashes are kept. `page`: what the checkpoint has now.
 */
void leaves_put(State *state, uint32_t id, const uint8_t *page);
void leaves_clear(State *state, uint32_t first, uint32_t last); /* the checkpoint has zeros there */
void leaves_top(State *state, uint32_t top);
void leaves_close(State *state);

/* fill.c: pages that a commit changed, while hashes are made beside frames. */
void fill_note(State *state, uint32_t id, uint32_t count);

/* statics.c */
uint32_t statics_stage(State *state);
void statics_put_staged(State *state);
void statics_undo(State *state);
void statics_write(void *address, const void *from, uint64_t bytes);

/* shimheap.c */
/* A lock of a folder, which a child that is forked lets go of. 0 of the second: it did. */
void shim_lock_held(int fd);
int shim_lock_free(int fd);
void shim_init(State *state);
void shim_done(State *state);
void shim_commit_remote(State *state);
void shim_commit_foreign(State *state);
void shim_begin_life(State *state);
void shim_undo(State *state);

/* checkpoint.c */
uint32_t checkpoint_meta_pages(const State *state); /* of the last boundary */
uint32_t checkpoint_data_last(const State *state);
/* The first page from `at` on that has memory in `fd` (SEEK_DATA), or hasn't (SEEK_HOLE); `end` if
 * there is none before it. Any thread. */
uint64_t checkpoint_next(int fd, int what, uint64_t at, uint64_t end, uint64_t offset);

void arena_punch(State *state, uint64_t first, uint64_t last);

/* Tests kill the process at the n-th of these; 0: never. */
extern int64_t state_kill_at;
void state_kill_now(void);
static inline void kill_point(void)
{
    if (__builtin_expect(state_kill_at != 0, 0) && --state_kill_at == 0)
        state_kill_now();
}

#endif
