/* What the files of the migration share. Nobody outside state/ includes it. */
#ifndef STATE_MIGRATE_PLAN_H
#define STATE_MIGRATE_PLAN_H

#include "state/migrate.h"

/* One step of rewriting an object. Offsets are from the object's, or an array element's, start. */
typedef enum OpKind {
    OP_COPY,    /* bytes */
    OP_NUMBER,  /* from one kind of number to another */
    OP_BITS,    /* the same, a bit field on one side at least */
    OP_ENUM,    /* by the enumerator's name */
    OP_POINTER, /* follows what it points to */
    OP_TABLE,   /* a class's functions */
    OP_ARRAY,   /* `count` times the `body` operations behind it */
    OP_EMPTY,   /* has no place in the new type: must be zero */
    OP_TEXT,    /* characters that get less room: must end within it */
    OP_WORDS,   /* copied; some word may be a pointer, which one isn't known: a union */
    OP_UNION,   /* `body` operations behind it, of which those of one case count */
    OP_CASE,    /* of an OP_UNION: `body` operations where the tag is `bytes` */
    OP_HOOK     /* a record of another version: `bytes` of the old one; `hook` */
} OpKind;

/* What brings a record to another version. */
enum { HOOK_NONE, HOOK_CALL /* the new build's function */, HOOK_ATTIC /* what it was before */ };

typedef struct Op {
    uint8_t kind;
    uint8_t from_bit, from_bits, to_bit, to_bits;
    uint8_t hook;      /* OP_HOOK: HOOK_… */
    uint8_t lenient;   /* what it can't convert a KEEL_CONVERT will */
    uint8_t wider;     /* OP_NUMBER: an integer to a longer one with room: its bytes; 0: another */
    uint8_t is_signed; /* then */
    uint64_t from, to, bytes;    /* OP_ARRAY: count */
    uint64_t from_step, to_step; /* OP_ARRAY; OP_UNION: where the old tag is, same type */
    uint32_t from_type, to_type; /* OP_POINTER: what it points to; OP_UNION: tag, union */
    uint32_t body;               /* how many operations */
    uint32_t path;               /* for people: "struct order.levels[].price" */
} Op;

/* A field that has a counterpart. */
typedef struct Match {
    uint64_t from, to;
    uint32_t from_type, to_type;
    uint32_t name; /* text */
    uint8_t from_bit, from_bits, to_bit, to_bits, is_table, reserved[3];
    uint32_t from_union, to_union; /* index in the schema's unions + 1; 0: no tag */
    uint64_t from_tag, to_tag;     /* from the record's start */
} Match;

/* One that has none. */
typedef struct Single {
    uint64_t at;
    uint32_t type, name, spelled; /* texts */
    uint8_t bit, bits, reserved[2];
} Single;

typedef struct Pair {
    uint32_t from, to;
    uint8_t kept;     /* the new image doesn't know it: `to` is of the old schema, the same type */
    uint8_t same;     /* of one layout */
    uint8_t state;    /* of planning */
    uint8_t pointers; /* has some, or words that may be */
    uint8_t walks;    /* must be looked at: it changes, or its pointers may lead to what does */
    uint8_t planned;  /* operations and what its pointers point to */
    uint8_t reached;  /* objects of the state may be of it: by their record, or a pointer to them */
    uint64_t from_bytes, to_bytes;
    uint32_t from_align, to_align;
    uint32_t first_match, matches, first_dropped, dropped, first_added, added;
    uint32_t first_op, ops;
    uint32_t name;               /* text */
    uint32_t from_tail, to_tail; /* types of the elements behind its end; 0: none */
    uint32_t next_of_type;       /* the next pair of the same old type; 0: none */
    uint32_t pointed_by;         /* in `pointings`; 0: nobody */
    uint32_t next_marked;        /* while `walks` spreads */
    uint64_t from_tail_at, to_tail_at;
} Pair;

/* A pair with a pointer to another one. */
typedef struct Pointing {
    uint32_t holder, next; /* next: of the same target; 0: none */
} Pointing;

/* Numbers from 1 on by a hash; zeroed is empty. What is equal only its user knows. */
typedef struct LookupSlot {
    uint32_t value, hash; /* value 0: free */
} LookupSlot;
typedef struct Lookup {
    LookupSlot *slots;
    uint32_t room, count; /* room: a power of two */
} Lookup;

typedef struct Learnt {
    uint32_t spelled, file; /* texts */
    uint32_t pair;          /* 0: not a known type, kept as it is */
} Learnt;

enum { STATIC_GONE = -1, STATIC_UNCLEAR = -2 };

/* What becomes of a static of the old image. */
typedef enum StaticFate {
    STATIC_NOTHING, /* constants, caches */
    STATIC_CARRIED,
    STATIC_ANEW,   /* its initialiser was edited */
    STATIC_OWNER,  /* its type has a destructor: starts anew */
    STATIC_DROPPED /* the new code hasn't it */
} StaticFate;

typedef struct StaticPlan {
    uint32_t from, to; /* statics */
    uint32_t pair;
    uint8_t fate;
} StaticPlan;

struct Migration {
    const Schema *from, *to;
    Buf pairs; /* Pair; the first is none */
    Buf matches, singles, ops;
    Buf texts;
    Buf learnt;         /* Learnt */
    Buf statics;        /* StaticPlan */
    Buf guards;         /* pairs of uint64_t: addresses of the old and the new one */
    int64_t *static_to; /* by static of `from`: of `to`, or STATIC_… */
    uint32_t *to_functions, *to_symbols, *from_symbols; /* sorted by name */
    uint32_t *to_shapes;                                /* types by hash and name */
    SchemaIndex from_index, to_index;
    Lookup pair_lookup, learnt_lookup;
    Buf pointings;        /* Pointing; the first is none */
    uint32_t *first_pair; /* by type of `from`; 0: none */
    uint8_t *is_part;     /* by type of `from`: a member of a record that changes */
    uint8_t *holds;       /* by type of `from`: pointers, by value; 0: not asked yet, 1: none */
    uint32_t looked;      /* pairs whose operations `walks` has been told of */
    uint32_t marked;      /* first of those whose `walks` is to spread; 0: none */
    uint64_t work;        /* steps that planning took */
    int64_t *unit_to;     /* by unit */
    uint8_t *hooked;    /* by type of `from`: holds a record of another version; 0: not asked yet */
    uint8_t *pointed;   /* by type of `from`: pointers to it may lead into the image */
    uint32_t *own_pair; /* by type of `from`: with its counterpart, once asked for */
    int failed;         /* KEEL_ENOMEM, KEEL_ELIMIT */
    Error why;          /* what refuses it whatever the memory holds */
    int closed;         /* Pair.walks is known */
};

static inline Pair *pair_at(const Migration *m, uint32_t index)
{
    return (Pair *)(void *)m->pairs.data + index;
}
static inline const Match *match_at(const Migration *m, uint32_t index)
{
    return (const Match *)(const void *)m->matches.data + index;
}
static inline const Single *single_at(const Migration *m, uint32_t index)
{
    return (const Single *)(const void *)m->singles.data + index;
}
static inline const Op *op_at(const Migration *m, uint32_t index)
{
    return (const Op *)(const void *)m->ops.data + index;
}
static inline const char *plan_text(const Migration *m, uint32_t at)
{
    return m->texts.data + at;
}
static inline const Schema *pair_schema(const Migration *m, const Pair *p)
{
    return p->kept ? m->from : m->to;
}

static inline int plan_is_record(const SchemaType *t)
{
    return t->kind == SCHEMA_RECORD && !(t->flags & SCHEMA_INCOMPLETE);
}

/* migrate_lookup.c */
void lookup_done(Lookup *table);
/* Candidates of one hash, until 0 comes. */
uint32_t lookup_first(const Lookup *table, uint64_t hash, uint32_t *ret_at);
uint32_t lookup_next(const Lookup *table, uint32_t *at);
int lookup_add(Lookup *table, uint64_t hash, uint32_t value);
uint64_t lookup_mix(uint64_t hash, uint64_t value);
uint64_t lookup_mix_text(uint64_t hash, const char *text);
int shapes_init(Migration *m);
/* The first type of the new image with this one's hash and name, or KEEL_ENOTFOUND. */
int shapes_find(const Migration *m, const SchemaType *type, uint32_t *ret);

/* migrate_walks.c */
/* Of a pair that is planned: does it lead on by itself? Makes the pairs its pointers lead to. */
void walks_look(Migration *m, uint32_t pair);
/* When all have been looked at. */
void walks_spread(Migration *m);

/* migrate_match.c: fills a pair of records' matches, dropped and added fields */
void plan_match(Migration *m, uint32_t pair);
/* The field's name before, when KEEL_RENAMED tells; `type` as the new schema calls it. */
const char *plan_name_before(const Migration *m, const char *type, const char *name);

/* migrate_plan.c */
uint32_t plan_add_text(Migration *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The pair of these types, made when there is none; 0: no memory. */
uint32_t plan_pair(Migration *m, uint32_t from, uint32_t to, int kept);
/* The type of the new image that has this one's name, 0 and *ret_none when there is none. */
uint32_t plan_counterpart(Migration *m, uint32_t from, int *ret_none);
/* The pair of a type with its counterpart. */
uint32_t plan_pair_of(Migration *m, uint32_t from);
/* Plans all pairs and what their pointers lead to; sets `walks`. */
void plan_close(Migration *m);
uint32_t plan_learn(Migration *m, const char *spelled, const char *file);

/* HOOK_…: what a record needs beside the rules. */
int plan_hook(const Migration *m, uint32_t from, uint32_t to, int kept);
/* Does the type hold such a record by value? */
int plan_hooked(Migration *m, uint32_t from);

/* migrate_place.c */
/* Where the part of an object at `offset`, which pointers call `want`, lies in the new one. Both
 * within one element. 0 or -1. */
int plan_place(const Migration *m, const Pair *pair, uint64_t offset, uint32_t want, uint64_t *ret);

/* migrate_ops.c */
void plan_ops(Migration *m, uint32_t pair);

/* migrate_union.c */
/* A union with a tag, as the plan's maker sees it: where the old tag is and what its values mean.
 */
typedef struct Tagged {
    const SchemaUnion *from, *to; /* NULL: that build says nothing */
    uint64_t tag;                 /* of the old build, from where the operations count */
    uint32_t type;
    uint8_t bit, bits;
} Tagged;
typedef struct TagCase {
    int64_t value;
    uint32_t from_field, to_field; /* of the unions; to_field UINT32_MAX: no longer there */
} TagCase;
/* The cases by the old tag's values; the list is the caller's to free. 0 or KEEL_ENOMEM. */
int plan_cases(const Migration *m, const Schema *to_schema, const Tagged *tagged, uint32_t from,
               uint32_t to, TagCase **ret, uint32_t *ret_count);
/* The integer of that name in a union, also in anonymous parts of it: sets tag, type, bit, bits. */
int plan_find_tag(const Schema *schema, uint32_t type, const char *name, Tagged *ret);
/* Of an OP_UNION at `at` in the list and the old bytes: the case that counts, or UINT32_MAX. */
uint32_t plan_case(const Migration *m, uint32_t at, const uint8_t *from);
/* KEEL_ETYPE in m->why when the new image says what isn't so. */
void plan_unions(Migration *m);

/* migrate_names.c: entities of the old image in the new one */
int names_init(Migration *m);
void names_done(Migration *m);
int names_units_agree(const Migration *m, uint32_t unit, uint32_t other);
/* Addresses are the files' own. KEEL_ENOTFOUND, KEEL_ECHANGED: unclear. */
int names_function(const Migration *m, uint64_t address, uint64_t *ret, const char **ret_name);
int names_symbol(const Migration *m, const SchemaSymbol *symbol, uint64_t offset, uint64_t *ret);
/* Of a list of symbols by name the first that isn't before it. */
uint32_t names_first_symbol(const Schema *schema, const uint32_t *by_name, const char *name);
/* What stands at an old address, for sentences. */
void names_describe(const Schema *schema, uint64_t address, char *ret, size_t room);

/* migrate_statics.c: what becomes of each static */
void plan_statics(Migration *m);

/* migrate_value.c */
/* A number from one place to another; KEEL_ETYPE and a reason when it doesn't fit. */
int value_convert(const Migration *m, const Pair *pair, const Op *op, const uint8_t *from,
                  uint8_t *to, char *ret_why, size_t room);
uint64_t value_bits(const uint8_t *at, unsigned bit, unsigned bits);

#endif
