/* Inside image/: which function a static lives in, as debug information tells. Plain data. */
#ifndef IMAGE_OWNERS_H
#define IMAGE_OWNERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct Owner {
    uint64_t address;          /* of the static */
    uint64_t function;         /* stands for the enclosing function's name */
    uint32_t name, file, line; /* for people: offsets of strings, see anatomy.h */
} Owner;

typedef struct Owners {
    const Owner *list; /* by rising address */
    size_t count;
} Owners;

#endif
