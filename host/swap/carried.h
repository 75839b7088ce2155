/* Bytes that are read from their beginning, for what carry.c carries; nobody outside swap/ includes
 * it. */
#ifndef SWAP_CARRIED_H
#define SWAP_CARRIED_H

#include <keel/base.h>
#include <stdint.h>
#include <string.h>

typedef struct Carried {
    const uint8_t *data;
    size_t bytes;
} Carried;

/* The next `bytes` bytes, all or KEEL_EDATA. */
static inline int carried_take(Carried *in, void *to, size_t bytes)
{
    if (bytes > in->bytes)
        return KEEL_EDATA;
    memcpy(to, in->data, bytes);
    in->data += bytes;
    in->bytes -= bytes;
    return KEEL_OK;
}

#endif
