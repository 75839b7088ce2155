/* Replaces a file as a whole: readers see the old or the new, also after a power cut. Blocks on the
 * disk; any thread. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Writes a new file beside `path`, brings it to the disk and renames it. A link at `path` is
 * replaced, not followed. */
int file_replace(const char *path, mode_t mode, const void *data, size_t bytes, Error *err);

#endif
