/* Pointers of a state that lead out of it, by the names of their fields: what they point at was
 * never written down. Main thread. */
#ifndef APP_STATE_FOREIGN_H
#define APP_STATE_FOREIGN_H

#include "app/state_value.h"

enum { STATE_FOREIGN_NAMED = 6, STATE_FOREIGN_NAME_BYTES = 160 };

typedef struct StateForeign {
    uint64_t pointers; /* all of them */
    int count;         /* different fields that are named */
    struct StateForeignField {
        char name[STATE_FOREIGN_NAME_BYTES]; /* "struct desk.connection" */
        uint64_t times, value;               /* of the first */
    } fields[STATE_FOREIGN_NAMED];
    int more; /* there are fields beyond those */
} StateForeign;

/* Looks at all objects whose type is known, and at static variables. Into the arena or into the
 * module that ran is fine, and so is what can't be an address. Blocks of malloc, unions and
 * integers are not looked at: nobody knows what is a pointer there. */
void state_foreign_find(const StateLook *look, StateForeign *ret);

/* "3 pointers lead out of the state: struct desk.connection (2 times, 0x7f…), …" */
void state_foreign_text(const StateForeign *foreign, char *to, size_t room);

/* Of a snapshot's file: KEEL_EREFUSED with a sentence where pointers lead out of it. Where it has
 * no types nothing is known. */
int state_foreign_check(const char *file, Error *err);

#endif
