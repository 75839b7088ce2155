/* Makes exit and its kin in a module that has no shim what they are in one that has. */
#ifndef MODULE_REDIRECT_H
#define MODULE_REDIRECT_H

#include "module/generation.h"

/* After verify_place and verify_mapped, before anything but constructors ran: calls that the image
 * makes through its relocations of exit, _exit, _Exit, quick_exit and pthread_exit go to the host,
 * which makes them a fault of the module (state_on_leave). Returns how many places it changed.
 * Calls that other libraries make on the module's behalf are not seen. Loader's thread. */
int redirect_leaving(const Generation *generation);

#endif
