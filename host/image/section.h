/* Where a section of an image lies, by its name; for bytes that have run here or are about to. Any
 * thread. */
#ifndef IMAGE_SECTION_H
#define IMAGE_SECTION_H

#include "image/image.h"

/* 1 and its place in the file's own addresses; 0 when there is none, or the table is damaged. */
int image_section(const Image *image, const char *name, uint64_t *ret_address, uint64_t *ret_bytes);

#endif
