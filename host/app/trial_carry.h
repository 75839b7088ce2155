/* In the trial's child: the state's way to the candidate by the rules of migration, as the host
 * will go it at the boundary, on the private view. One thread. */
#ifndef APP_TRIAL_CARRY_H
#define APP_TRIAL_CARRY_H

#include "app/trial_child.h"
#include "module/generation.h"
#include "state/migrate.h"

typedef struct TrialCarry {
    Schema from, to;
    Migration *migration; /* NULL: nothing to carry over by rules */
} TrialCarry;

/* Before the sandbox: maps the image that ran where the host has it, with the statics of the pinned
 * moment, and checks the schemas, which lie at `schemas`. */
int trial_carry_open(const TrialChild *child, const StateView *view, const uint8_t *schemas,
                     TrialCarry *ret, Error *err);

/* Once the candidate is loaded. */
int trial_carry_run(const TrialChild *child, TrialCarry *carry, State *state,
                    const Generation *fresh, Error *err);

#endif
