/* Picks the XXH3-128 of this CPU once. Owns the choice and nothing else. */
#include "base/hash.h"

#include <stdio.h>

Hash hash_bytes_baseline(const void *data, size_t bytes);
#if defined(__x86_64__)
Hash hash_bytes_avx2(const void *data, size_t bytes);
#endif

Hash hash_bytes(const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return hash_bytes_avx2(data, bytes);
#endif
    return hash_bytes_baseline(data, bytes);
}

const char *hash_text(Hash hash, char text[HASH_TEXT_BYTES])
{
    snprintf(text, HASH_TEXT_BYTES, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
    return text;
}
