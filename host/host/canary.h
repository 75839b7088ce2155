/* A new build first in a share of the slots that run the same file; the others take it when its
 * probation has ended well there, and stay as they are when it was refused or rolled back. Only for
 * swaps that a file began: who asks for a swap has decided. Engine thread. */
#ifndef HOST_CANARY_H
#define HOST_CANARY_H

#include "host/host.h"

/* The slot's file changed: nonzero when it waits for others. Else it is one of those that go first,
 * or there is no such wish. */
int canary_waits(Host *host, Watched *watched);

/* With the loop's timers. */
void canary_begin(Host *host);
void canary_end(Host *host);

#endif
