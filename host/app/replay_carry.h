/* A recorded swap, replayed: the state goes to the next build by the rules of migration and by what
 * that build converts itself, as it did in the host. One thread. */
#ifndef APP_REPLAY_CARRY_H
#define APP_REPLAY_CARRY_H

#include "app/state_types.h"
#include "module/generation.h"
#include "swap/slot.h"

/* From the build that is, or was, at `from` to `fresh`, which is loaded. Builds that tell no types
 * keep their state as it is, as in a host. Else the state is as good as new or, with an error, of
 * no more use: KEEL_ETYPE when the rules refuse it, KEEL_EREFUSED when a KEEL_CONVERT does. */
int replay_carry(Slot *slot, const StateTypes *from_types, const Generation *from,
                 const StateTypes *to_types, Generation *fresh, Error *err);

#endif
