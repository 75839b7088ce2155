/* XXH3-128 for x86-64 CPUs with AVX2; compiled with -mavx2, called only after asking the CPU. */
#if defined(__x86_64__)
#define HASH_VARIANT hash_bytes_avx2
#include "base/hash_variant.h"
#else
typedef int hash_avx2_is_for_x86_64;
#endif
