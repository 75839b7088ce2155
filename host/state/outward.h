/* Pointers of a state that lead out of it, by the names of their fields: what they point at is
 * never written down with it. Any one thread. */
#ifndef STATE_OUTWARD_H
#define STATE_OUTWARD_H

#include "image/schema.h"
#include "state/frozen.h"

enum { OUTWARD_NAMED = 16, OUTWARD_NAME_BYTES = 160 };

typedef struct Outward {
    uint64_t pointers; /* all of them */
    int count;         /* different fields that are named */
    struct OutwardField {
        char name[OUTWARD_NAME_BYTES]; /* "struct desk.connection" */
        uint64_t times, value;         /* of the first */
    } fields[OUTWARD_NAMED];
    int more; /* there are fields beyond those */
} Outward;

/* Looks at all objects whose type is known, and at static variables. Into the arena or into the
 * module that ran is fine, and so is what can't be an address. Blocks of malloc, unions and
 * integers are not looked at: nobody knows what is a pointer there. Without memory nothing is
 * found. */
void outward_find(const Frozen *frozen, const Schema *schema, Outward *ret);

/* "3 pointers lead out of the state: struct desk.connection (0x7f…, 2 times), …" */
void outward_text(const Outward *outward, char *to, size_t room);

#endif
