/* What two states differ in, told by object and field, for people and for scripts. Main thread. */
#ifndef APP_STATE_TEXT_H
#define APP_STATE_TEXT_H

#include <jansson.h>
#include <stdio.h>

#include "app/state_value.h"

enum { STATE_DIFFERENCES = 1000, STATE_DIFFERENCE_BYTES = 320 };

typedef struct StateDifferences {
    const StateLook *before, *after; /* while they are compared */
    const char *noun;                /* of what is listed; NULL: objects */
    uint64_t objects;                /* that differ, all of them */
    uint64_t pointers;               /* objects that differ only in pointers into code */
    int count, room;                 /* sentences, at most STATE_DIFFERENCES */
    char (*text)[STATE_DIFFERENCE_BYTES];
} StateDifferences;

/* Types that aren't there make it bytes. */
void state_differences(const StateLook *before, const StateLook *after, StateDifferences *ret);
/* Room for one more sentence, which counts; NULL: there is none. */
char *state_differences_add(StateDifferences *differences);
void state_differences_print(FILE *to, const StateDifferences *differences, int most);
json_t *state_differences_json(const StateDifferences *differences);
void state_differences_done(StateDifferences *differences);

#endif
