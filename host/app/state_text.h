/* What two states differ in, told by object, for people and for scripts. Main thread. */
#ifndef APP_STATE_TEXT_H
#define APP_STATE_TEXT_H

#include <jansson.h>
#include <stdio.h>

#include "state/frozen.h"

enum { STATE_DIFFERENCES = 1000, STATE_DIFFERENCE_BYTES = 240 };

typedef struct StateDifferences {
    uint64_t objects;  /* that differ, all of them */
    uint64_t pointers; /* objects that differ only in pointers into code */
    int count, room;   /* sentences, at most STATE_DIFFERENCES */
    char (*text)[STATE_DIFFERENCE_BYTES];
} StateDifferences;

void state_differences(const Frozen *before, const Frozen *after, StateDifferences *ret);
void state_differences_print(FILE *to, const StateDifferences *differences, int most);
json_t *state_differences_json(const StateDifferences *differences);
void state_differences_done(StateDifferences *differences);

#endif
