/* Stands in for crypto.c where Keel is built without OpenSSL. Owns nothing. */
#ifndef KEEL_TRUST

#include "base/crypto.h"

#define OFF err_set(err, KEEL_EUNSUPPORTED, "this keel is built without OpenSSL (KEEL_TRUST=OFF)")

const char *crypto_version(void)
{
    return NULL;
}

void crypto_ignore_config(void) {}

int digest_bytes(const void *data, size_t bytes, Digest *ret, Error *err)
{
    (void)data, (void)bytes, (void)ret;
    return OFF;
}

int signature_check(const Signature *signature, const PublicKey *key, const void *data,
                    size_t bytes, Error *err)
{
    (void)signature, (void)key, (void)data, (void)bytes;
    return OFF;
}

int signing_key_make(SigningKey **ret, Error *err)
{
    (void)ret;
    return OFF;
}

int signing_key_parse(const char *pem, size_t bytes, SigningKey **ret, Error *err)
{
    (void)pem, (void)bytes, (void)ret;
    return OFF;
}

int signing_key_pem(const SigningKey *key, char *ret, size_t room, Error *err)
{
    (void)key, (void)ret, (void)room;
    return OFF;
}

int signing_key_public(const SigningKey *key, PublicKey *ret, Error *err)
{
    (void)key, (void)ret;
    return OFF;
}

int signing_key_sign(const SigningKey *key, const void *data, size_t bytes, Signature *ret,
                     Error *err)
{
    (void)key, (void)data, (void)bytes, (void)ret;
    return OFF;
}

void signing_key_free(SigningKey *key)
{
    (void)key;
}

int public_key_parse(const char *pem, size_t bytes, PublicKey *ret, Error *err)
{
    (void)pem, (void)bytes, (void)ret;
    return OFF;
}

int public_key_pem(const PublicKey *key, char *ret, size_t room, Error *err)
{
    (void)key, (void)ret, (void)room;
    return OFF;
}

#else
typedef int BaseCryptoOn; /* C wants one declaration a file */
#endif
