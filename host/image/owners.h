/* Inside image/: which function a static lives in, how its author calls it and what kind of number
 * it is, as debug information tells. Plain data. */
#ifndef IMAGE_OWNERS_H
#define IMAGE_OWNERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct Owner {
    uint64_t address;          /* of the static */
    uint64_t function;         /* stands for the enclosing function's name */
    uint32_t name, file, line; /* for people: offsets of strings, see anatomy.h */
    uint32_t pretty;           /* the static's own name in C++; 0: that of its symbol */
    uint32_t value;            /* VALUE_… */
    uint32_t reserved;         /* 0: no byte of it is left to chance */
} Owner;

typedef struct Owners {
    const Owner *list; /* by rising address */
    size_t count;
} Owners;

#endif
