/* Large arrays of an attempt's state converted while frames go on, before the boundary that swaps.
 * Part of a group's attempt; never decides about generations. */
#ifndef SWAP_PRECOPYING_H
#define SWAP_PRECOPYING_H

#include "swap/swap.h"

/* Is there anything to convert before this group is committed? Asked in each boundary from which it
 * could be, until the answer is 0: then it is to be in this one. Else precopying_work is to be
 * called, and calls `then`. [frame] */
int precopying_on_frame(Group *group, void (*then)(Group *group));

/* Converts it, on a thread of libuv's pool. `user` is the Group. [engine] */
void precopying_work(void *user);

/* Gives back what was found for the attempt, used or not. [engine] */
void precopying_end(Attempt *attempt);

/* Says in the log how it went, if it did. [engine] */
void precopying_say(const Attempt *attempt);

#endif
