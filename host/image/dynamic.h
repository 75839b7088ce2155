/* Inside image/: what the dynamic section says, which is what the loader will believe (section
 * headers are only for people). Pure; bytes of unknown origin. */
#ifndef IMAGE_DYNAMIC_H
#define IMAGE_DYNAMIC_H

#include "image/inspect.h"

typedef struct Bytes {
    const uint8_t *data;
    size_t bytes;
    Error *err;
} Bytes;

/* Fills the parts of `ret` that the program headers and the dynamic section tell; `*ret_symbols` is
 * the address of the dynamic symbols. */
int dynamic_inspect(const Bytes *file, Inspection *ret, uint64_t *ret_symbols);

/* Printable copy of a string of at most `most` bytes. */
void inspect_copy(char *to, size_t room, const uint8_t *from, size_t most);

/* inspect_bytes of a Mach-O file. */
int inspect_macho(const void *data, size_t bytes, Inspection *ret, Error *err);

#endif
