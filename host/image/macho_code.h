/* Inside image/: walks the code of one function of a Mach-O image and tells what is only bytes and
 * what names a place. Bytes of unknown origin; one thread. */
#ifndef IMAGE_MACHO_CODE_H
#define IMAGE_MACHO_CODE_H

#include "image/macho_symbols.h"

typedef enum MachoUse {
    MACHO_READ,    /* a few bytes are read or written there */
    MACHO_ADDRESS, /* its address is taken, or it is jumped to */
    MACHO_TABLE    /* of 32-bit distances from itself */
} MachoUse;

typedef struct MachoWalk {
    void *user;
    void (*bytes)(void *user, const void *data, size_t bytes);
    void (*place)(void *user, uint64_t target, MachoUse use);
    /* A number that is only the line of the source which an assert tells. */
    void (*line)(void *user, const void *data, size_t bytes);
    int (*is_assert)(void *user, uint64_t target); /* calls there tell lines */
} MachoWalk;

/* The function's bytes without the padding behind it. */
uint64_t macho_solid(const Macho *m, const MachoName *function);

/* In the order of the code; places inside of the function are bytes. */
void macho_walk(const Macho *m, const MachoName *function, const MachoWalk *walk);

#endif
