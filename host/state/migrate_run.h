/* Inside the migration: one execution of a plan on a State. Nobody outside state/ includes it. */
#ifndef STATE_MIGRATE_RUN_H
#define STATE_MIGRATE_RUN_H

#include "state/internal.h"
#include "state/migrate_plan.h"

enum {
    OBJECT_QUEUED = 1,
    OBJECT_MOVED = 2,
    OBJECT_NAMELESS = 4, /* reached by pointers that don't tell a type */
    OBJECT_MIDDLE = 8,   /* reached in its middle only */
    OBJECT_MARKED = 16,  /* the attic has something of it */
    OBJECT_AHEAD = 32    /* was copied ahead; `inner` says which it is there */
};

typedef struct Object {
    uint8_t *at; /* NULL: a free slot */
    uint8_t *to; /* where it will be */
    uint64_t bytes, count;
    uint32_t pair; /* 0: not known */
    uint32_t type; /* of the arena; TYPE_OPAQUE */
    uint32_t flags;
    uint32_t inner, inner_at; /* OBJECT_MIDDLE: what a pointer called its middle */
} Object;

/* Which objects a data page holds. */
typedef struct PageObjects {
    uint32_t first, count; /* objects; count 0: none, or a large one's */
    uint32_t run, slot_bytes;
    uint32_t
        inverse;    /* of slot_bytes: 2^32 / it, rounded up; a division costs more than all else */
    uint32_t pair;  /* of all of them, or UINT32_MAX */
    uint8_t opaque; /* one is opaque, or doesn't begin right behind its slot's head */
    uint8_t moved;  /* one has to move */
} PageObjects;

typedef struct KnownPointer {
    uint64_t from, to;
    uint32_t want;
} KnownPointer;

enum { KNOWN_POINTERS = 256 };

/* A migration that may be taken back: where its objects came from. Values that it dropped are
 * copied here, since what was their place is used. */
struct MigrateAttic {
    Buf entries; /* AtticEntry, by address */
    Buf bytes;
    Buf hooked, old_bytes; /* HookEntry, by `now`, and what they were */
    Buf arrays;            /* AtticArray */
};

/* A record that KEEL_CONVERT names. */
typedef struct HookEntry {
    uint64_t now, object; /* where it is since, and in which object; object 0: in a static */
    uint64_t at;          /* in the old bytes */
    uint32_t type, to_type, bytes, hook, path, reserved;
} HookEntry;

/* A dropped field of an array that was copied ahead: its old pages are pinned. */
typedef struct AtticArray {
    uint64_t object; /* where it is since */
    uint64_t from;   /* and was */
    uint64_t count, step;
    uint64_t offset, bytes; /* of the field */
} AtticArray;

typedef struct AtticEntry {
    uint64_t object; /* where it is since */
    uint64_t index;  /* element */
    uint64_t at;     /* in `bytes` */
    uint32_t type;   /* of the old schema */
    uint32_t bytes, offset, reserved;
} AtticEntry;

typedef struct Walk {
    Migration *m;
    State *state;
    const MigrateRun *run;
    MigrateResult *result;
    Error *err;
    int code; /* the first failure */

    Object *objects;
    uint32_t count, room;
    uint32_t
        loose; /* objects whose type pointers may tell: opaque ones, and such as aren't records */
    PageObjects *pages;
    uint32_t top;
    uint64_t
        *moved_to;    /* by object, once one moves: where to, or 0; close together, unlike those */
    uint32_t *larges; /* objects with a run of their own, by address */
    uint32_t large_count, large_room;
    uint32_t *pair_of_type; /* by arena type id; UINT32_MAX: not asked yet */
    uint32_t type_count;
    uint32_t *queue, queued, queue_room;
    KnownPointer known[KNOWN_POINTERS];
    uint32_t literal_room, literal_count;
    uint64_t *literal_at; /* addresses by content */
    struct {
        uint32_t type, pair, now;
    } retyped;             /* what new_type answered last */
    uint64_t *rewritten;   /* by pair: objects */
    uint64_t *not_empty;   /* by single: dropped values that weren't zero */
    uint64_t odd_words;    /* that look like pointers to what moved */
    Buf hooked, old_bytes; /* HookEntry, and copies of what they were */
    /* What apply_ops works on may be a copy of what it is about. */
    struct {
        const uint8_t *from, *to;
        uint64_t from_real, to_real, object;
        int is_marked;
    } here;
    char odd[200]; /* the first of what can only be reported */
    uint64_t odd_count;
    char outside[200]; /* the first that points to what is neither the state's nor the image's */
    uint64_t outside_count;
} Walk;

/* Remembers the first failure. */
int walk_refuse(Walk *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void walk_report(Walk *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* migrate_index.c */
int index_build(Walk *w);
void index_done(Walk *w);
Object *index_find(const Walk *w, uint64_t address); /* also one behind its end; NULL */
/* What can be said of an address without looking at its object, which would be another cache miss:
 * the pair of typed objects, if one begins there, and where that will be. UINT32_MAX: look. */
uint32_t index_start(const Walk *w, uint64_t address, uint64_t *ret_now);
int index_moved(Walk *w, const Object *object);
/* The allocator's head of an object and the bytes that its place has room for; NULL: damaged. */
ObjectHead *index_room(const Walk *w, const Object *object, uint64_t *ret_room);

/* migrate_typing.c: what opaque blocks hold, by the pointers that lead to them */
int typing_run(Walk *w);

/* migrate_point.c */
int point_translate(Walk *w, const Op *op, uint64_t value, uint64_t *ret);
int point_table(Walk *w, const Op *op, uint64_t value, uint64_t *ret);
int point_words(Walk *w, const Op *op, const uint8_t *from);

/* migrate_apply.c */
enum { APPLY_WRITE, APPLY_CHECK };
int apply_ops(Walk *w, const Pair *pair, uint32_t first, uint32_t count, const uint8_t *from,
              uint8_t *to, int mode);
int apply_objects(Walk *w);

/* migrate_hooks.c */
/* An OP_HOOK. */
int hooks_object(Walk *w, const Op *op, const uint8_t *from, uint8_t *to);
/* Runs the functions; for the way back. */
int hooks_run(Walk *w);
void hooks_keep(Walk *w, MigrateAttic *attic);
int apply_is_zero(const uint8_t *at, uint64_t bytes);
int apply_single_is_set(const Migration *m, const Single *single, const uint8_t *from);
int apply_fits_text(const Op *op, const uint8_t *from);
int apply_new_type(Walk *w, const Object *object, const Pair *pair, uint32_t *ret);

/* migrate_bulk.c: many elements without pointers at once; KEEL_ETYPE and no reason where there is
 * no rule for a value. What they leave out must be zero in `to`. [any thread] */
int bulk_can(const Migration *m, const Pair *pair);
int bulk_convert(const Migration *m, const Pair *pair, const uint8_t *from, uint8_t *to,
                 uint64_t count);
/* Of one element what lies in its bytes [first, last), and a little more. */
int bulk_part(const Migration *m, const Pair *pair, const uint8_t *from, uint8_t *to,
              uint64_t first, uint64_t last);
enum { BULK_MARGIN = 4096 }; /* how much more at each side */

/* migrate_precopy.c */
int precopy_claim(Walk *w);
int precopy_finish(Walk *w, const Object *object, const Pair *pair);

/* migrate_carry.c: statics */
int carry_statics(Walk *w);

/* migrate_say.c */
void say_result(Walk *w);

#endif
