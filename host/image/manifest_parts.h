/* Inside image/: JSON in manifests, for those who read and write them. Any thread. */
#ifndef IMAGE_MANIFEST_PARTS_H
#define IMAGE_MANIFEST_PARTS_H

#include <jansson.h>

#include "image/manifest.h"

enum { MANIFEST_DEPTH = 4 };

/* One object without names that come twice, at most MANIFEST_DEPTH deep. KEEL_EDATA. */
int manifest_json(const char *text, size_t bytes, json_t **ret, Error *err);

/* JSON must be UTF-8, names need not be: other bytes become '?'. NULL: no memory. */
json_t *manifest_text(const char *text);

/* Appends compact JSON; takes over `value`, NULL too (KEEL_ENOMEM). */
int manifest_dump(json_t *value, Buf *ret);

#endif
