/* `.keel.types`: an image's schema kept in a section of its own, for those whose debug information
 * is stripped off. Bytes of unknown origin; any thread. */
#ifndef IMAGE_TYPES_SECTION_H
#define IMAGE_TYPES_SECTION_H

#include "base/buf.h"
#include "image/schema.h"

/* The section's schema, unchecked, or NULL: there is none, or one of another build of Keel. */
const void *types_section_find(const void *data, size_t bytes, size_t *ret_bytes);

/* Appends to `ret` the whole file with such a section; one that it has already is replaced. Nothing
 * that runs is moved or changed. KEEL_EIMAGE, KEEL_ENOMEM. */
int types_section_add(const void *data, size_t bytes, const void *schema, size_t schema_bytes,
                      Buf *ret, Error *err);

#endif
