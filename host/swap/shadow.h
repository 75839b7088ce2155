/* Handover: before a candidate takes over, it runs beside the generation that runs, in the helper,
 * on the same frames, until its state has been the same (or its check has been content) so many
 * times in a row, soon enough each time. Only then it is loaded; at the boundary it is looked at
 * once more.
 *
 * Engine thread but what is marked; nobody outside swap/ includes it. */
#ifndef SWAP_SHADOW_H
#define SWAP_SHADOW_H

#include "swap/swap.h"

/* Is there a generation to run beside, and is that wanted? Else `attempt->note` may say why not. */
int shadow_wanted(Attempt *attempt);

/* Runs it. Goes on with `proven`, or with the group refused. */
void shadow_begin(Attempt *attempt, AttemptThen *proven);

/* The moment before the commit: nonzero when it still agrees. 0: look again later. [frame] */
int shadow_stands(const Attempt *attempt);

/* It didn't stand: waits until it agrees again. */
void shadow_again(Attempt *attempt, AttemptThen *proven);

/* The candidate has taken over, or won't: the helper's child ends. Fine when there is none. */
void shadow_end(Attempt *attempt);

#endif
