/* All that is known of what an image is made of, in the form in which processes pass it. Runs
 * libelf and a reader of DWARF on bytes of unknown origin, so it is called in a process under
 * limits; one thread. */
#ifndef IMAGE_ANATOMY_READ_H
#define IMAGE_ANATOMY_READ_H

#include "image/anatomy.h"

/* Writes at most `room` bytes to `ret`, for anatomy_check. KEEL_EIMAGE with a sentence when the
 * file contradicts itself; what is merely missing shows in the flags. */
int anatomy_read(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err);

#endif
