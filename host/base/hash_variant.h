/* The body of one instruction set's variant: included by hash_<variant>.c, which names the function and
 * is compiled with that instruction set's flags. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/hash.h"

Hash HASH_VARIANT(const void *data, size_t bytes);

Hash HASH_VARIANT(const void *data, size_t bytes)
{
    XXH128_hash_t h = XXH3_128bits(data, bytes);
    return (Hash){.low = h.low64, .high = h.high64};
}
