/* The heads of CBOR items (RFC 8949), written and read; contents are the caller's business. Owns
 * nothing. Any thread. */
#ifndef BASE_CBOR_H
#define BASE_CBOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum CborKind {
    CBOR_UINT = 0,
    CBOR_NEGATIVE = 1, /* the value is -1 - argument */
    CBOR_BYTES = 2,
    CBOR_TEXT = 3,
    CBOR_ARRAY = 4,
    CBOR_MAP = 5,
    CBOR_TAG = 6,
    CBOR_SIMPLE = 7 /* false 20, true 21, null 22; 4- and 8-byte floats by `bytes` */
} CborKind;

enum { CBOR_HEAD_MOST = 9, CBOR_BREAK = 0xFF };
#define CBOR_SELF_DESCRIBED UINT64_C(55799)
#define CBOR_UNENDED UINT64_MAX /* argument of an array or map that ends by a break */

typedef struct CborHead {
    CborKind kind;
    uint64_t argument; /* CBOR_UNENDED only where additional information was 31 */
    uint32_t bytes;    /* of this head */
    int unended;       /* an item without a length, or (kind CBOR_SIMPLE) the break itself */
} CborHead;

/* Writes a head in its shortest form; returns its size. */
size_t cbor_put(uint8_t to[CBOR_HEAD_MOST], CborKind kind, uint64_t argument);
size_t cbor_put_unended(uint8_t to[CBOR_HEAD_MOST], CborKind kind);
size_t cbor_put_double(uint8_t to[CBOR_HEAD_MOST], double value);

/* Reads one head: 1; 0 when `bytes` are too few or it is not well-formed. */
int cbor_get(const uint8_t *from, size_t bytes, CborHead *ret);

#endif
