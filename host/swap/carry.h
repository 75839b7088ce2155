/* What a slot is outside its arena, as bytes: its clock, its random numbers, the tables behind its
 * handles. With the arena's contents and these another process goes on as the slot would.
 *
 * Between two frames only. What was drawn is not carried: images have their handles and sizes, and
 * no pixels. */
#ifndef SWAP_CARRY_H
#define SWAP_CARRY_H

#include "swap/slot.h"

/* Appends to `out`. KEEL_ENOMEM. [frame] */
int carry_save(const Slot *slot, Buf *out);

/* Into a slot that has run nothing. Its tasks wait for effects_settle or effects_release. Checks
 * every number: KEEL_EDATA. */
int carry_load(Slot *slot, const void *data, size_t bytes);

#endif
