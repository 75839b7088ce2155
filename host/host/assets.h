/* The engine's side of assets: which files slots have open, watching and reading them. */
#ifndef HOST_ASSETS_H
#define HOST_ASSETS_H

#include "host/host.h"

/* Makes the slot's orders arrive here. Before its first frame. [frame] */
void host_assets_join(Host *host, Slot *slot);

/* Nothing more is read; what is being read is let go. [engine] */
void host_assets_end(void *host);

/* After the loop has ended. [frame] */
void host_assets_free(Host *host);

#endif
