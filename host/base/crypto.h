/* Where trust is meant and not just identity: SHA-256 and Ed25519, by OpenSSL's libcrypto in a
 * library context of its own, so that the program's providers don't matter here, and its queue of
 * errors stays its own. Built without it (-DKEEL_TRUST=OFF) everything answers KEEL_EUNSUPPORTED.
 * Any thread. */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hex.h"

enum { DIGEST_BYTES = 32, PUBLIC_KEY_BYTES = 32, SIGNATURE_BYTES = 64 };
enum { DIGEST_TEXT_BYTES = 65 };

typedef struct Digest {
    uint8_t byte[DIGEST_BYTES];
} Digest;

typedef struct PublicKey {
    uint8_t byte[PUBLIC_KEY_BYTES];
} PublicKey;

typedef struct Signature {
    uint8_t byte[SIGNATURE_BYTES];
} Signature;

typedef struct SigningKey SigningKey; /* the private half */

/* "OpenSSL 3.0.19 27 Jan 2026", or NULL when this is built without. */
const char *crypto_version(void);

/* From now on this process's OpenSSL reads no configuration file, which could name providers to
 * load. For programs of Keel's own; in other people's programs OpenSSL is configured as they want
 * it. */
void crypto_ignore_config(void);

/* SHA-256. */
int digest_bytes(const void *data, size_t bytes, Digest *ret, Error *err);

static inline const char *digest_text(const Digest *digest, char text[DIGEST_TEXT_BYTES])
{
    return hex_text(digest->byte, DIGEST_BYTES, text);
}

static inline int digest_equal(const Digest *a, const Digest *b)
{
    uint8_t differs = 0;
    for (int i = 0; i < DIGEST_BYTES; i++)
        differs |= (uint8_t)(a->byte[i] ^ b->byte[i]);
    return !differs;
}

/* 0, or KEEL_EUNTRUSTED when the signature is not this key's of these bytes. */
int signature_check(const Signature *signature, const PublicKey *key, const void *data,
                    size_t bytes, Error *err);

int signing_key_make(SigningKey **ret, Error *err);
/* Private PEM (PKCS#8; an encrypted one asks for its password on the terminal). */
int signing_key_parse(const char *pem, size_t bytes, SigningKey **ret, Error *err);
/* PKCS#8 PEM; `room` 256 is enough for any. */
int signing_key_pem(const SigningKey *key, char *ret, size_t room, Error *err);
int signing_key_public(const SigningKey *key, PublicKey *ret, Error *err);
int signing_key_sign(const SigningKey *key, const void *data, size_t bytes, Signature *ret,
                     Error *err);
void signing_key_free(SigningKey *key);

/* Public PEM (SubjectPublicKeyInfo); `room` 128 is enough. */
int public_key_parse(const char *pem, size_t bytes, PublicKey *ret, Error *err);
int public_key_pem(const PublicKey *key, char *ret, size_t room, Error *err);

#endif
