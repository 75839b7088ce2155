/* Pictures as PNG files. Any thread. */
#ifndef SCREEN_PNG_H
#define SCREEN_PNG_H

#include <stdint.h>

#include "base/err.h"

/* Writes rows of R G B A from the top (alpha is left out: a screen has none). The file is there as
 * a whole or not at all. */
int png_write_file(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height,
                   Error *err);

#endif
