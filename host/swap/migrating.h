/* Carries what the running generation keeps over to the next one by the rules of migration, and
 * back when that one is taken out. Part of a group's attempt; never decides about generations. */
#ifndef SWAP_MIGRATING_H
#define SWAP_MIGRATING_H

#include "swap/swap.h"

/* What the state holds, for the plan. [frame] */
void migrating_look(Attempt *attempt);

/* Makes the plan there and back once both images have been read. Without debug information there is
 * none, and the state is kept as it is. KEEL_ETYPE: the rules refuse it whatever the state holds.
 * [engine] */
int migrating_plan(Attempt *attempt, Error *err);

/* For the trial: the same plan on the view of the state. */
void migrating_ask(const Attempt *attempt, TrialRequest *request);

/* Would hooks be used rather than the rules? Types changed, and both generations have theirs. */
int migrating_by_hooks(const Attempt *attempt, const Generation *old, const Generation *fresh);

/* Migrates state and statics from `old` to the attempt's generation; the caller undoes the state
 * when it fails. [frame] */
int migrating_over(Attempt *attempt, const Generation *old, Error *err);

/* The way back, with what has happened since. KEEL_EUNSUPPORTED: there is no plan, and the state
 * fits as it is. [frame] */
int migrating_back(Attempt *attempt, const Generation *fresh, const Generation *old, Error *err);

/* Did it change anything in the state, so that earlier moments of it don't fit the code any more?
 * [frame] */
int migrating_changed(const Attempt *attempt);

/* Writes to the log what was done, once it counts. [engine] */
void migrating_say(const Attempt *attempt);

void migrating_done(Attempt *attempt);

#endif
