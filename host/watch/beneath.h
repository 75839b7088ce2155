/* Opens files below a folder and nowhere else: no "..", no absolute path, no link that leads out.
 * Any thread but the frame thread. */
#ifndef WATCH_BENEATH_H
#define WATCH_BENEATH_H

#include "base/err.h"

enum { BENEATH_PATH_BYTES = 255 };

/* 0, or KEEL_EINVAL for a path that isn't relative, plain and UTF-8. Pure. */
int beneath_check(const char *path, Error *err);

/* Opens the regular file `path` below `folder` for reading. KEEL_ENOTFOUND; KEEL_EDENIED: it leads
 * out of the folder; KEEL_EDATA: it is no file. `*ret_bytes` is its size now. */
int beneath_open(const char *folder, const char *path, int *ret_fd, uint64_t *ret_bytes,
                 Error *err);

#endif
