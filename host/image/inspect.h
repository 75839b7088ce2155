/* What only a deep look tells: libraries, symbols, hazards. Runs libelf on bytes of unknown origin,
 * so it is called in the helper process under its limits; the result is plain data that the host
 * checks. A host without a helper has only itself to look with, before it loads. One thread. */
#ifndef IMAGE_INSPECT_H
#define IMAGE_INSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

enum { INSPECT_LIST = 64, INSPECT_TEXT = 128 };

/* A list that was cut says so by count > INSPECT_LIST. */
typedef struct InspectList {
    uint32_t count;
    char item[INSPECT_LIST][INSPECT_TEXT];
} InspectList;

typedef struct Inspection {
    InspectList needed;    /* DT_NEEDED */
    InspectList undefined; /* strong undefined symbols */
    InspectList exported;  /* defined dynamic symbols */
    InspectList unique;    /* STB_GNU_UNIQUE */
    char runpath[512];
    char compiler[INSPECT_TEXT]; /* .comment, the first */
    uint32_t constructors,
        destructors; /* entries of init_array, fini_array (and DT_INIT, DT_FINI) */
    uint32_t tls_bytes;
    uint32_t has_symtab, has_debug,
        has_relocs;          /* .symtab; .debug_info; SHT_RELA for .text (--emit-relocs) */
    uint32_t has_shim;       /* it has the malloc shim */
    uint32_t exports_module; /* `keel_module` is among the exported, also when that list was cut */
    uint32_t nodelete, text_relocations, executable_stack, writable_code, static_tls, bind_now;
    uint32_t sanitizer; /* needs a sanitizer's runtime: 1 address, 2 thread, 3 undefined, 4 memory,
                           5 other */
} Inspection;

/* KEEL_EIMAGE with a sentence when the tables contradict each other. What text there is in `*ret`
 * is printable: bytes below space or above '~' are '?'. */
int inspect_bytes(const void *data, size_t bytes, Inspection *ret, Error *err);

/* Is this, from another process, an Inspection whose every text has an end? Else KEEL_EFAULT. */
int inspection_check(const void *data, size_t bytes, Error *err);

/* inspect_bytes and inspect_refuse in one: 0 when this image can be a module here. */
int inspect_image(const Image *image, Error *err);

/* The first reason why such an image can't be a module here, as a sentence; 0 when there is none.
 */
int inspect_refuse(const Inspection *inspection, Error *err);

#endif
