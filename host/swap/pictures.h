/* A slot's images: pixels that it draws with, as a transaction.
 *
 * A new image has its handle and pixels at once; it is kept, writes show and frees count when the
 * frame is committed. An undone frame leaves everything as before, and handles come again in the
 * same order. What was freed stays until the next commit, because the picture of this frame still
 * shows it. Owned by one slot; frame thread. Functions that take a module's pixels copy them before
 * they enter the host. */
#ifndef SWAP_PICTURES_H
#define SWAP_PICTURES_H

#include <keel/draw.h>
#include <stddef.h>

#include "base/buf.h"
#include "swap/carried.h"

enum { PICTURES_MOST = 1024, PICTURE_SIDE = 8192 };
#define PICTURES_BYTES ((size_t)256 << 20) /* of a slot, pending writes included */

typedef struct Picture {
    uint8_t *pixels; /* R G B A, rows without gaps */
    uint32_t width, height;
    uint32_t generation; /* of the handle */
    uint8_t state;       /* of pictures.c; 0: free */
    uint8_t freeing;     /* this frame asked for its end */
    uint64_t version;    /* a number that no other content of any image has */
} Picture;

typedef struct PictureWrite PictureWrite;

typedef struct Pictures {
    Picture *places; /* PICTURES_MOST, allocated at the first use */
    uint32_t top, count;
    size_t bytes;
    PictureWrite *first, **last; /* this frame's writes */
    uint64_t shown;              /* another number when what is shown of any image changed */
    int pending;                 /* something is to be committed or undone */
} Pictures;

void pictures_init(Pictures *pictures);
void pictures_done(Pictures *pictures);

/* 0 and no handle when refused; `ret_rc` says why. */
keel_handle pictures_new(Pictures *pictures, uint32_t width, uint32_t height, const void *pixels,
                         uint64_t stride_bytes, int *ret_rc);
int pictures_write(Pictures *pictures, keel_handle image, uint32_t x, uint32_t y, uint32_t width,
                   uint32_t height, const void *pixels, uint64_t stride_bytes);
int pictures_free(Pictures *pictures, keel_handle image);
/* Nonzero when this frame may draw with it. */
int pictures_has(const Pictures *pictures, keel_handle image);

void pictures_commit(Pictures *pictures);
void pictures_undo(Pictures *pictures);

/* What the last committed frame may show, or NULL. */
const Picture *pictures_find(const Pictures *pictures, keel_handle image);

/* The pixels of an image as they are, until they are let go; writes go elsewhere meanwhile. Between
 * two frames; pictures_let_go [any], NULL is fine. */
uint8_t *pictures_hold(const Picture *picture);
void pictures_let_go(uint8_t *pixels);

/* An image under a handle of before, with its pixels; for tables that no module has. KEEL_EDATA
 * where there can't be such a one. */
int pictures_put(Pictures *pictures, keel_handle image, uint32_t width, uint32_t height,
                 const void *pixels);

/* For carry.c: handles and sizes, and into an empty table: transparent images. KEEL_ENOMEM,
 * KEEL_EDATA. */
int pictures_save(const Pictures *pictures, Buf *out);
int pictures_load(Pictures *pictures, Carried *in);

#endif
