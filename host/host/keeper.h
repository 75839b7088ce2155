/* What a host keeps of one slot on disk: its journal. Made and ended on the frame thread; between,
 * libuv's pool does what may block, one piece at a time. */
#ifndef HOST_KEEPER_H
#define HOST_KEEPER_H

#include "host/host.h"
#include "swap/recorder.h"

typedef struct Keeper Keeper;

/* Records the slot's frames into a new file at `path`. [frame] */
int keeper_new(Host *host, Slot *slot, const char *path, Keeper **ret, Error *err);

/* Ends the journal; waits for what is being written. NULL is fine. [frame] */
void keeper_free(Keeper *keeper);

#endif
