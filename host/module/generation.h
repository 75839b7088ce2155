/* One loaded version of a module in one slot: the image mapped, proven, warmed, and later retired.
 *
 * A Generation is made on the loader thread and handed to the frame thread; it goes back to the loader thread to be closed.
 * It owns its reference to the image, its staged name and the dlopen handle. The only pointer into the module
 * that anybody keeps is `table`. */
#ifndef MODULE_GENERATION_H
#define MODULE_GENERATION_H

#include <stdatomic.h>
#include <stdint.h>

#include <keel/module.h>

#include "image/image.h"
#include "state/state.h"

typedef struct Generation {
    uint64_t number;  /* from 1, unique in the process; also its owner number for the guard */
    Image *image;
    char *staged;     /* the name that dlopen was given */
    void *handle;
    const struct keel_module *table;
    uintptr_t load_first, load_last; /* [first, last) where it is mapped */
    int static_count;                /* writable data that frames change (RELRO left out) */
    StateSpan statics[16];
    _Atomic uint32_t inside;         /* host threads that are in its code now */
    int64_t loaded_ns, retired_ns;
    int nodelete;                    /* can't be unmapped, and why */
    char stays[200];
} Generation;

#endif
