/* A manifest: what a signer says of one image, as a file beside it (MODULE.so.manifest).
 *
 *     keel-manifest 1\n
 *     {"module":"ball","sha256":"…","counter":7, …}\n        the facts, at most 16 KiB
 *     {"functions":[…],"types":[…], …}\n                     what the image is made of
 *     signature <key, 64 digits> <signature, 128 digits>\n   none to 8 such lines
 *
 * A signature is Ed25519 over all bytes before the first signature line, exactly as they stand.
 * Nothing of the JSON is looked at before a trusted signature fits. Then it is read strictly: known
 * names only, each once, of the right kind, nothing behind. The second object is read only to say
 * what differs. Any thread; reading blocks on the disk. */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include "base/buf.h"
#include "base/crypto.h"
#include "image/anatomy.h"
#include "image/image.h"

enum {
    MANIFEST_BYTES_MAX = 16 << 20,
    MANIFEST_FACTS_MAX = 16 << 10,
    MANIFEST_SIGNATURES = 8,
};
#define MANIFEST_ENDING ".manifest"

typedef struct ManifestFacts {
    char module[IMAGE_NAME_BYTES], version[IMAGE_NAME_BYTES];
    uint32_t abi, table_bytes;
    int needs_count;
    char needs[IMAGE_NEEDS_MAX][IMAGE_NAME_BYTES];
    char build_id[65];
    uint64_t bytes;
    Digest digest; /* SHA-256 of the image */
    uint64_t counter;
    int64_t made_s, expires_s; /* seconds since 1970; expires 0: never */
} ManifestFacts;

typedef struct ManifestSignature {
    PublicKey key;
    Signature signature;
} ManifestSignature;

typedef struct Manifest {
    char *data;
    size_t bytes, signed_bytes;
    const char *facts_text, *details_text; /* into `data` */
    size_t facts_bytes, details_bytes;
    int signature_count;
    ManifestSignature signatures[MANIFEST_SIGNATURES];
    PublicKey signer;    /* after manifest_verify */
    ManifestFacts facts; /* after manifest_parse */
} Manifest;

/* Reads the file once. A link as its last name is not followed. KEEL_ENOTFOUND; KEEL_EDATA when it
 * is no manifest or cut short; KEEL_EUNTRUSTED for a link or what isn't a file; KEEL_ELIMIT. */
int manifest_read(const char *path, Manifest *ret, Error *err);

/* The same of bytes, which are copied. */
int manifest_take(const void *data, size_t bytes, Manifest *ret, Error *err);
void manifest_done(Manifest *manifest);

/* KEEL_EUNTRUSTED with a sentence unless one of the keys signed it. */
int manifest_verify(Manifest *manifest, const PublicKey *keys, int count, Error *err);

/* Fills `facts`. KEEL_EDATA. */
int manifest_parse(Manifest *manifest, Error *err);

/* What the image was made of when it was signed, for anatomy_check: `ret` is 8-byte aligned as
 * malloc aligns. KEEL_EDATA; KEEL_ENOTFOUND when the manifest doesn't tell. */
int manifest_anatomy(const Manifest *manifest, Buf *ret, Error *err);

/* Writes a manifest; unsigned without keys. `anatomy` may be NULL. */
int manifest_make(const ManifestFacts *facts, const Anatomy *anatomy, SigningKey *const *keys,
                  int key_count, Buf *ret, Error *err);

/* The object of what an image is made of; "{}" when that would be too large. */
int manifest_make_details(const Anatomy *anatomy, Buf *ret);

/* Facts of an image; its counter, made and expires stay 0. */
int manifest_facts_of(const Image *image, ManifestFacts *ret, Error *err);

/* "2026-11-22T07:41:04Z"; reading is as strict. */
enum { MANIFEST_TIME_BYTES = 32 };
const char *manifest_time_text(int64_t seconds, char text[MANIFEST_TIME_BYTES]);
int manifest_time_parse(const char *text, int64_t *ret);

#endif
