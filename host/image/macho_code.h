/* Inside image/: walks the code of one function of a Mach-O image and tells what is only bytes and
 * what names a place. Bytes of unknown origin; one thread. */
#ifndef IMAGE_MACHO_CODE_H
#define IMAGE_MACHO_CODE_H

#include "image/macho_symbols.h"

typedef struct MachoWalk {
    void *user;
    void (*bytes)(void *user, const void *data, size_t bytes);
    /* `is_address`: the place's address is taken; `read`: at most so many bytes are read there. */
    void (*place)(void *user, uint64_t target, int is_address, unsigned read);
} MachoWalk;

/* The function's bytes without the padding behind it. */
uint64_t macho_solid(const Macho *m, const MachoName *function);

/* In the order of the code; places inside of the function are bytes. */
void macho_walk(const Macho *m, const MachoName *function, const MachoWalk *walk);

#endif
