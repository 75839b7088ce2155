/* The deep look, in a child of its own: libelf on bytes of unknown origin under resource limits and
 * without any system call but memory's. One thread. */
#ifndef APP_APART_H
#define APP_APART_H

#include "image/inspect.h"

/* As inspect_bytes. KEEL_EFAULT: the look itself crashed; KEEL_ETIMEOUT: it took too long;
 * KEEL_EUNSUPPORTED: this system offers no sandbox. */
int inspect_apart(const void *data, size_t bytes, Inspection *ret, Error *err);

#endif
