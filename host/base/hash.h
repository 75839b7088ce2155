/* XXH3-128 for the fastest instruction set of this CPU. Content identity and change detection where no
 * adversary is meant; trust is SHA-256's business. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct Hash {
    uint64_t low, high;
} Hash;

enum { HASH_TEXT_BYTES = 33 }; /* 32 hexadecimal digits and the NUL */

Hash hash_bytes(const void *data, size_t bytes);

static inline int hash_equal(Hash a, Hash b)
{
    return a.low == b.low && a.high == b.high;
}

/* XXH128's canonical text: high then low, lower-case hexadecimal. Returns `text`. */
const char *hash_text(Hash hash, char text[HASH_TEXT_BYTES]);

#endif
