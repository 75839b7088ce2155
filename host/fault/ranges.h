/* Inside fault/: what describe and report need of the address ranges beyond guard.h. */
#ifndef FAULT_RANGES_H
#define FAULT_RANGES_H

#include "fault/text.h"

/* "ball.so+0x1a40", or "0x7f…" where nobody registered the address. Async-signal-safe. */
void ranges_put_place(Text *text, uintptr_t address);

#endif
