/* Inside image/: the highest counter of each module that ran, in a file that several hosts share.
 * Each change is one atomic replacement under a lock. Blocks on the disk; any thread. */
#ifndef IMAGE_COUNTERS_H
#define IMAGE_COUNTERS_H

#include <stdint.h>

#include "base/err.h"

/* The highest counter that is kept for `module`, 0 when there is none. KEEL_EDATA when the file is
 * damaged or could have been written by others. Makes the folder when it isn't there. */
int counters_read(const char *path, const char *module, uint64_t *ret, Error *err);

/* Raises it to `counter`; a lower one changes nothing. */
int counters_raise(const char *path, const char *module, uint64_t counter, Error *err);

/* The place where a user's programs keep such things; KEEL_ENOTFOUND when nothing tells. */
int counters_default_path(char *ret, size_t room, Error *err);

#endif
