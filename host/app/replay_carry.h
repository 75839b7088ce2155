/* A recorded swap, replayed: the state goes to the next build by the rules of migration, as it did
 * in the host. One thread. */
#ifndef APP_REPLAY_CARRY_H
#define APP_REPLAY_CARRY_H

#include "module/generation.h"

/* Reads the debug information of both; builds without any keep their state as it is, as in a host.
 * KEEL_ETYPE: the rules refuse it. */
int replay_carry(State *state, const Generation *from, const Generation *to, Error *err);

#endif
