/* Is this a font that texts can be drawn with? Pure; any thread; bytes of unknown origin. */
#ifndef HOST_ASSET_FONT_H
#define HOST_ASSET_FONT_H

#include <stddef.h>

#include "base/err.h"

/* KEEL_EDATA with a sentence that begins with `path`: no TTF or OTF, cut short, without outlines.
 * What the tables hold isn't looked at. */
int asset_font_check(const void *data, size_t bytes, const char *path, Error *err);

#endif
