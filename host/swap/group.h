/* What prepare.c, group.c and their kin share; nobody outside swap/ includes it. Engine thread. */
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

/* Whether candidates are tried. */
int swap_tries(const Swapper *swapper);

/* Reads the file of the attempt that is being prepared, as soon as it is whole; then(group), with
 * group->err. */
void settling_read(Group *group, void (*then)(Group *group));
/* An event told of the very file that was refused for what it is, untouched since: 1, and
 * group->err is KEEL_ESAME. */
int settling_still_refused(Group *group);
/* What was read is the slot's file now; attempt->untouched: it was that before. */
void settling_keep(Attempt *attempt);

/* Reads the attempt's image, after its manifest where the host has keys: without one that a trusted
 * key signed the file isn't opened. What may yet change for the better is KEEL_EPARTIAL. On a
 * thread of the pool. */
int trusting_read(Attempt *attempt, Error *err);
/* The keys don't vouch for it, and group->err is only that it may yet change. */
int trusting_gave_up(const Attempt *attempt);
/* Says once that the manifest is awaited. */
void trusting_waits(Attempt *attempt);
/* 0, or KEEL_EUNTRUSTED in `err`. What runs already needs no key. [frame] */
int trusting_judge(const Attempt *attempt, const Generation *running, Error *err);
/* Raises the alarm, naming what differs from what was signed, and refuses the group. */
void trusting_refuse(Attempt *attempt);
/* The attempt's image runs: older builds are refused from now on. */
void trusting_keep(const Attempt *attempt);

/* Has the attempt's image read, unless it was: image_reading() has the result. */
void changes_ask(Attempt *attempt);

/* The same of its `from`, which never ran in this process. */
void changes_ask_from(Attempt *attempt);
/* The attempt's image runs: later readings of its place may begin from its own. What never ran may
 * be hostile and have taken its reader over, which would then answer for the images after it. */
void changes_ran(Attempt *attempt);
/* Lets go of what was read of earlier images. */
void changes_forget(Swapper *swapper);

/* then(attempt) once what was asked for is known, or known not to come; at once if that is so
 * already. */
void changes_await(Attempt *attempt, AttemptThen *then);

/* Compares with the image that ran, by what was read of both, and says in attempt->changes what
 * changed. VERDICT_UNKNOWN when that isn't known. The attempt has a `from`. */
Verdict changes_find(Attempt *attempt);

/* The group ends without having run a frame that counts; group->err says why. */
void group_refuse(Group *group);

#endif
