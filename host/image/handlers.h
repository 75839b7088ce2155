/* Inside image/: which exceptions a function catches and where it goes then. The compiler writes
 * that beside the code (.eh_frame leads to .gcc_except_table), so that the code alone can be equal
 * where the behaviour is not. Bytes of unknown origin; one thread. */
#ifndef IMAGE_HANDLERS_H
#define IMAGE_HANDLERS_H

#include "image/relocs.h"

typedef struct Handler {
    uint64_t function, table; /* addresses */
} Handler;

typedef struct Handlers {
    const Symbols *symbols;
    Buf list; /* of Handler, by function */
} Handlers;

/* What can't be understood has no handlers. KEEL_ENOMEM. */
int handlers_open(const Symbols *s, Handlers *ret);
void handlers_done(Handlers *h);

/* Where this function's table lies; 0: it has none. */
uint64_t handlers_table(const Handlers *h, uint64_t function);

/* Appends what the function that begins at this address catches; nothing for most. */
void handlers_add(const Handlers *h, Contents *c, uint64_t function);

#endif
