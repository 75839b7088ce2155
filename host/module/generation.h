/* One loaded version of a module in one slot: the image mapped, proven, warmed, and later retired.
 *
 * A Generation is made on the loader thread and handed to the frame thread; it goes back to the
 * loader thread to be closed. It owns its reference to the image, its staged name and the dlopen
 * handle. The only pointer into the module that anybody keeps is `table`. */
#ifndef MODULE_GENERATION_H
#define MODULE_GENERATION_H

#include <stdatomic.h>
#include <stdint.h>

#include <keel/module.h>

#include "image/image.h"
#include "state/state.h"

enum {
    GENERATION_STATICS = 16, /* as many as state_set_statics takes */
    GENERATION_CHANGES = 256
};

typedef struct Generation Generation;
struct Generation {
    uint64_t number; /* from 1, unique in the process; also its owner number for the guard */
    Image *image;    /* of the same bytes as the one given; another when that one was in use */
    char *staged;    /* the name that dlopen was given */
    void *handle;
    const struct keel_module *table;
    uintptr_t load_first, load_last; /* [first, last) where it is mapped */
    uintptr_t load_bias;             /* added to the file's own addresses */
    int static_count;                /* writable data that frames change (RELRO left out) */
    StateSpan statics[GENERATION_STATICS];
    _Atomic uint64_t life;   /* of the state, when a frame of it last counted; 0: none did */
    _Atomic uint32_t inside; /* host threads that are in its code now */
    int64_t loaded_ns, retired_ns;
    int nodelete; /* can't be unmapped, and why */
    char stays[200];
    char changes[GENERATION_CHANGES]; /* against the one that it replaced: "changed: frame, step" */

    /* The loader's own. */
    Generation *next;
    int retiring, ended, attempts, stuck;
    int64_t retry_ns;
};

/* An entry of a module's table, NULL when the table ends before it. */
#define TABLE_ENTRY(table, entry) (KEEL_HAS(table, entry) ? (table)->entry : NULL)

/* The next number; never the same twice in a process. [any] */
uint64_t generation_next_number(void);

/* Frees what it owns besides the mapping and the staged name; NULL and half-made ones are fine. */
void generation_free(Generation *generation);

/* What KEEL_CONVERT left in it, where it is loaded; 0: nothing. */
struct keel_convert;
uint64_t generation_converters(const Generation *generation, const struct keel_convert **ret);

#endif
