/* What prepare.c and group.c share; nobody outside swap/ includes it. Engine thread. */
#ifndef SWAP_GROUP_H
#define SWAP_GROUP_H

#include "image/compare.h"
#include "swap/swap.h"

/* Frees what the attempt owns but its pin, name and generation. */
void attempt_done(Attempt *attempt);

/* Gives back the state that the trial saw. */
void attempt_unpin(Attempt *attempt);
/* Gives back what the attempt holds of the running slot and of the stage. */
void attempt_let_go(Attempt *attempt);

/* Nothing to do when it was never opened. */
void group_close_timer(Group *group);

/* Asks the host's keys about the attempt's image; with an answer that may yet change for the better
 * group->err is KEEL_EPARTIAL. On a thread of the pool. */
void trusting_look(Attempt *attempt);
/* group->err is only that, and the waiting for it is over: the attempt goes on to its pin. */
int trusting_gave_up(const Attempt *attempt);
/* Says once that the manifest is awaited. */
void trusting_waits(Attempt *attempt);
/* 0, or KEEL_EUNTRUSTED in `err`. What runs already needs no key. [frame] */
int trusting_judge(const Attempt *attempt, const Generation *running, Error *err);
/* The group's err is of this attempt: names what differs from what was signed, then refuses. */
void trusting_refuse(Attempt *attempt);
/* The attempt's image runs: older builds are refused from now on. */
void trusting_keep(const Attempt *attempt);

/* Has the attempt's image read, unless it was: image_reading() has the result. */
void changes_ask(Attempt *attempt);

/* then(attempt) once what was asked for is known, or known not to come; at once if that is so
 * already. */
void changes_await(Attempt *attempt, AttemptThen *then);

/* Compares with the image that ran, by what was read of both, and says in attempt->changes what
 * changed. VERDICT_UNKNOWN when that isn't known. The attempt has a `from`. */
Verdict changes_find(Attempt *attempt);

/* The group ends without having run a frame that counts; group->err says why. */
void group_refuse(Group *group);

#endif
