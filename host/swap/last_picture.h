/* The last picture of a slot: what its last frame drew, with the images that it shows, in a file;
 * so that the next host has something to show before the module has even been read.
 *
 * Taking one copies the list and holds the images; all else is done by whoever writes it, on any
 * thread. A file's bytes are not trusted: a list is recorded anew from them, number by number. */
#ifndef SWAP_LAST_PICTURE_H
#define SWAP_LAST_PICTURE_H

#include "swap/draw.h"
#include "swap/pictures.h"

#define LAST_PICTURE_LIST_BYTES ((size_t)8 << 20)    /* a longer list isn't kept */
#define LAST_PICTURE_IMAGES_BYTES ((size_t)64 << 20) /* of images; those beyond are left out */

/* ---- writing: picture_taken.c ---- */

typedef struct PictureTaken PictureTaken;

/* What the slot shows since its last committed frame. KEEL_ELIMIT: the list is too long.
 * [frame], between two frames */
int picture_take(const Draw *draw, const Pictures *pictures, int64_t wall_ns, PictureTaken **ret);
/* Written beside its place and renamed, not synced: it is worth nothing after a power failure that
 * the disk didn't get over. [any] */
int picture_write_file(const PictureTaken *taken, const char *path, Error *err);
void picture_drop(PictureTaken *taken); /* NULL is fine [any] */

/* ---- reading ---- */

typedef struct LastPicture {
    float width, height; /* of what it was drawn for, logical pixels */
    int64_t wall_ns;     /* when */
    DrawList list;
    Pictures pictures;
} LastPicture;

/* KEEL_ENOTFOUND: there is none. KEEL_EDATA with a sentence: it is damaged or no such file. */
int last_picture_read(const char *path, LastPicture **ret, Error *err);
/* The same of bytes in memory. */
int last_picture_decode(const void *data, size_t bytes, LastPicture **ret, Error *err);
void last_picture_free(LastPicture *picture); /* NULL is fine */

/* ---- the file, docs/formats.md ---- */

#define LAST_PICTURE_MAGIC "KEELPIC1"
enum { LAST_PICTURE_VERSION = 1 };

typedef struct LastPictureHead {
    char magic[8];
    uint32_t version, head_bytes;
    float width, height;
    int64_t wall_ns;
    uint64_t list_bytes;
    uint32_t gradients, images;
    uint64_t file_bytes;
    uint64_t body_check; /* of list, gradients and images' heads */
    uint64_t reserved;
    uint64_t head_check; /* of all before */
} LastPictureHead;

typedef struct LastPictureImage {
    keel_handle image;
    uint32_t width, height;
    uint64_t check; /* of its pixels */
} LastPictureImage;

#endif
