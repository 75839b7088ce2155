/* What the shim's files share. Every definition is hidden: it is the module's own and nobody
 * else's. */
#ifndef KEEL_SHIM_H
#define KEEL_SHIM_H

#include <keel/heap.h>

#define HIDDEN __attribute__((visibility("hidden")))

#ifdef __cplusplus
extern "C" {
#endif

/* The heap that this image was bound to while it was loaded, or NULL. */
HIDDEN const struct keel_heap *keel_shim_heap(void);

#ifdef __cplusplus
}
#endif

#endif
