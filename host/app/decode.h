/* keel-decode: a picture or a sound on standard input becomes an AssetWire and its content on
 * standard output. The process has no rights but to do this; whoever started it checks what it
 * wrote. */
#ifndef APP_DECODE_H
#define APP_DECODE_H

#include <stddef.h>

#include "base/err.h"
#include "host/asset_wire.h"

/* Each reads `bytes` bytes of unknown origin. `*ret_content` is of malloc, `wire` is filled but for
 * magic and code. KEEL_EDATA, KEEL_ELIMIT, KEEL_EUNSUPPORTED with a sentence. Pure. */
int decode_png(const void *data, size_t bytes, AssetWire *wire, void **ret_content, Error *err);
int decode_wav(const void *data, size_t bytes, AssetWire *wire, void **ret_content, Error *err);

#endif
