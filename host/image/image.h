/* An image: the bytes of one module, sealed, hashed and described without running or loading them.
 *
 * The host reads only the ELF header, the program headers and the notes here; everything deeper is
 * read in the helper process (image/inspect.h). Every refusal is one sentence with cause and cure.
 * Immutable after image_open; counted references; any thread. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "base/hash.h"

enum { IMAGE_NEEDS_MAX = 32, IMAGE_NAME_BYTES = 64, IMAGE_LOADS_MAX = 16 };

/* One PT_LOAD, in the file's own addresses. */
typedef struct ImageLoad {
    uint64_t address, memory_bytes, file_offset, file_bytes;
    uint32_t flags; /* PF_R, PF_W, PF_X */
} ImageLoad;

typedef struct Image {
    char *path;          /* where it came from, for people */
    int memfd;           /* sealed */
    const uint8_t *data; /* the bytes, mapped read-only */
    size_t bytes;
    Hash hash;
    char build_id[65]; /* hexadecimal, "" when there is none */

    uint32_t abi;         /* from the note */
    uint32_t table_bytes; /* from the note */
    char name[IMAGE_NAME_BYTES];
    char version[IMAGE_NAME_BYTES];
    int needs_count;
    char needs[IMAGE_NEEDS_MAX][IMAGE_NAME_BYTES];

    int load_count;
    ImageLoad loads[IMAGE_LOADS_MAX];
    uint64_t span_first, span_last; /* [first, last) of all loads, in pages, file's own addresses */
    uint64_t relro_first, relro_last; /* PT_GNU_RELRO or 0, 0 */
    int nodelete;                     /* DF_1_NODELETE in PT_DYNAMIC */
    char foreign[160]; /* why it can only be looked at, never loaded; "": it can be */
} Image;

/* Takes over `memfd` in every case. `path` is for messages. KEEL_EIMAGE (not an acceptable image),
 * KEEL_EABI (another ABI), KEEL_EUNSUPPORTED (another architecture): the sentence says all. */
int image_open(int memfd, size_t bytes, Hash hash, const char *path, Image **ret, Error *err);

/* The same, but also takes images of macOS, to look at: `foreign` then says why not to load. */
int image_look(int memfd, size_t bytes, Hash hash, const char *path, Image **ret, Error *err);

/* settle_read and image_open in one, retrying KEEL_EPARTIAL and KEEL_EBUSY for at most `wait_ns`.
 */
int image_load_file(const char *path, int64_t wait_ns, Image **ret, Error *err);

/* Of bytes that are there already, copied; `path` is for messages. (image_bytes.c) */
int image_of_bytes(const void *data, size_t bytes, const char *path, Image **ret, Error *err);

Image *image_ref(Image *image);
void image_unref(Image *image);

/* What the helper found out about these bytes (image/reading.h): their functions, statics, types.
 * NULL: not read, not yet, or it can't be. It lives as long as the image. [any] */
const struct Reading *image_reading(const Image *image);

/* Takes the reading over; where there is one already, that one stays. [any] */
void image_set_reading(const Image *image, struct Reading *reading);

/* What is known of these bytes' SHA-256 and signer. Written only before another thread than the
 * writer's knows the image. */
typedef struct ImageTrust {
    int digested, trusted; /* `digest` is filled; a trusted key signed it */
    Digest digest;
    PublicKey signer;
    uint64_t counter;
} ImageTrust;

ImageTrust *image_trust(const Image *image);

/* From now on two images of the same bytes have one reading, whichever it is set on. Before the
 * copy is seen by another thread. */
void image_share_reading(Image *copy, const Image *of);

#endif
