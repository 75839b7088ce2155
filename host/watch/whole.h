/* Do the tables that a file's header names lie inside the file? What a truncated or half-written
 * build fails.
 *
 * Reads ELF 64 little-endian and Mach-O 64; of everything else there is nothing to check and it
 * counts as whole. Pure; bytes of unknown origin; any thread. */
#ifndef WATCH_WHOLE_H
#define WATCH_WHOLE_H

#include <stddef.h>

#include "base/err.h"

/* 0, or KEEL_EPARTIAL with a sentence that says what is missing ("it is cut short: …"). */
int whole_check(const void *data, size_t bytes, Error *err);

#endif
