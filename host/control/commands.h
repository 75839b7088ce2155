/* Inside control/: the commands of a live session, and what they share with the others. Engine
 * thread. */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

#include "control/server.h"
#include "host/host.h"

/* The slot that a request names, or the only one. NULL: the request was failed. */
Slot *control_named(Host *host, Request *request, const char *name);

void control_pause(Request *request, void *host);
void control_step(Request *request, void *host);
void control_tweak(Request *request, void *host);
void control_screenshot(Request *request, void *host);
void control_rewind(Request *request, void *host);
void control_snapshot(Request *request, void *host);
void control_set(Request *request, void *host);

#endif
