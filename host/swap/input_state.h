/* How keys, buttons and pointers stand: keel_input_state, as a pure function of the inputs so far.
 *
 * Plain data without pointers. Whoever keeps an older boundary of a slot (rewind, journal, trial)
 * keeps its `committed` too, as its random numbers. Frame thread. */
#ifndef SWAP_INPUT_STATE_H
#define SWAP_INPUT_STATE_H

#include <keel/input.h>

/* Forgets what happened only in the frame before: presses, releases, what moved. */
void input_state_next(struct keel_input_state *state);

/* Takes one input in. Any numbers are taken: what makes no sense changes nothing. */
void input_state_fold(struct keel_input_state *state, const struct keel_input *input);

/* Nonzero when all of it is as at the beginning. */
int input_state_plain(const struct keel_input_state *state);

/* What an event of inputs brings, NULL if its data can't be a struct keel_input with its text. */
const struct keel_input *input_of_event(const struct keel_event *event);

#endif
