/* Heads of CBOR items. Pure. */
#include "base/cbor.h"

#include <string.h>

static size_t put(uint8_t *to, CborKind kind, uint32_t info, uint64_t value, int bytes)
{
    to[0] = (uint8_t)((uint32_t)kind << 5 | info);
    for (int i = 0; i < bytes; i++)
        to[1 + i] = (uint8_t)(value >> (bytes - 1 - i) * 8);
    return (size_t)bytes + 1;
}

size_t cbor_put(uint8_t to[CBOR_HEAD_MOST], CborKind kind, uint64_t argument)
{
    if (argument < 24)
        return put(to, kind, (uint32_t)argument, 0, 0);
    if (argument <= UINT8_MAX)
        return put(to, kind, 24, argument, 1);
    if (argument <= UINT16_MAX)
        return put(to, kind, 25, argument, 2);
    if (argument <= UINT32_MAX)
        return put(to, kind, 26, argument, 4);
    return put(to, kind, 27, argument, 8);
}

size_t cbor_put_unended(uint8_t to[CBOR_HEAD_MOST], CborKind kind)
{
    return put(to, kind, 31, 0, 0);
}

size_t cbor_put_double(uint8_t to[CBOR_HEAD_MOST], double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put(to, CBOR_SIMPLE, 27, bits, 8);
}

int cbor_get(const uint8_t *from, size_t bytes, CborHead *ret)
{
    if (!bytes)
        return 0;
    uint32_t info = from[0] & 31;
    CborKind kind = (CborKind)(from[0] >> 5);
    if (info == 31) {
        if (kind < CBOR_BYTES || kind == CBOR_TAG)
            return 0;
        *ret = (CborHead){kind, CBOR_UNENDED, 1, 1};
        return 1;
    }
    uint32_t more = info < 24 ? 0 : info < 28 ? 1u << (info - 24) : UINT32_MAX;
    if (more == UINT32_MAX || bytes - 1 < more)
        return 0;
    uint64_t value = info < 24 ? info : 0;
    for (uint32_t i = 0; i < more; i++)
        value = value << 8 | from[1 + i];
    *ret = (CborHead){kind, value, more + 1, 0};
    return 1;
}
