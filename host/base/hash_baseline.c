/* XXH3-128 for any CPU of the architecture. */
#define HASH_VARIANT hash_bytes_baseline
#include "base/hash_variant.h"
