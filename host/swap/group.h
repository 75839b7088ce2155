/* What prepare.c and group.c share; nobody outside swap/ includes it. Engine thread. */
#ifndef SWAP_GROUP_H
#define SWAP_GROUP_H

#include "swap/swap.h"

/* Frees what the attempt owns but its pin, name and generation. */
void attempt_done(Attempt *attempt);

/* Gives back what the attempt holds of the running slot and of the stage. */
void attempt_let_go(Attempt *attempt);

/* Nothing to do when it was never opened. */
void group_close_timer(Group *group);

/* Has the attempt's image read, unless it was: image_reading() has the result. */
void changes_ask(Attempt *attempt);

/* then(attempt) once what was asked for is known, or known not to come; at once if that is so
 * already. */
void changes_await(Attempt *attempt, AttemptThen *then);

/* The group ends without having run a frame that counts; group->err says why. */
void group_refuse(Group *group);

#endif
