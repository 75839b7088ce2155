/* Decodes pictures and sounds in keel-decode, a program without rights: its bugs stay its own.
 * Blocks; libuv's pool. */
#ifndef HOST_ASSET_DECODE_H
#define HOST_ASSET_DECODE_H

#include <stdatomic.h>

#include "base/err.h"
#include "host/asset_wire.h"

enum { ASSET_DECODE_MS = 10000 };

/* `*ret_fd` holds what the program wrote, an AssetWire if all went well; nobody writes there any
 * more. KEEL_EFAULT: it crashed; KEEL_ETIMEOUT; KEEL_ECANCELED: `*stop` was set. */
int asset_decode(const char *decoder, uint32_t as, int file, const _Atomic int *stop, int *ret_fd,
                 Error *err);

#endif
