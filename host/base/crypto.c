/* SHA-256 and Ed25519 by OpenSSL 3. Owns one library context for the life of the process, and no
 * secrets beyond a SigningKey's life. Any thread. */
#ifdef KEEL_TRUST

#include "base/crypto.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <string.h>

enum { PEM_BYTES_MAX = 16384 };

struct SigningKey {
    EVP_PKEY *pkey;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static OSSL_LIB_CTX *context;
static EVP_MD *sha256;

/* A context of its own has none of the providers that openssl.cnf names. (The file is read all the
 * same, once a process, unless crypto_ignore_config came first.) */
static void begin(void)
{
    context = OSSL_LIB_CTX_new();
    sha256 = context ? EVP_MD_fetch(context, "SHA256", "provider=default") : NULL;
}

static int ready(Error *err)
{
    ERR_set_mark();
    pthread_once(&once, begin);
    if (sha256)
        return KEEL_OK;
    return err_set(err, KEEL_EUNSUPPORTED,
                   "OpenSSL's libcrypto offers no SHA-256 here: its installation is damaged");
}

/* What failed stays out of the calling program's queue of errors. */
static int leave(int rc)
{
    ERR_pop_to_mark();
    return rc;
}

const char *crypto_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}

void crypto_ignore_config(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
}

int digest_bytes(const void *data, size_t bytes, Digest *ret, Error *err)
{
    Digest digest;
    unsigned length = 0;
    int rc = ready(err);
    if (!rc &&
        (!EVP_Digest(data, bytes, digest.byte, &length, sha256, NULL) || length != DIGEST_BYTES))
        rc = err_set(err, KEEL_ENOMEM, "SHA-256 could not be computed");
    if (!rc)
        *ret = digest;
    return leave(rc);
}

int signature_check(const Signature *signature, const PublicKey *key, const void *data,
                    size_t bytes, Error *err)
{
    int rc = ready(err);
    EVP_PKEY *pkey =
        rc ? NULL
           : EVP_PKEY_new_raw_public_key_ex(context, "ED25519", NULL, key->byte, sizeof key->byte);
    EVP_MD_CTX *md = pkey ? EVP_MD_CTX_new() : NULL;
    if (!rc && (!md || EVP_DigestVerifyInit_ex(md, NULL, NULL, context, NULL, pkey, NULL) != 1))
        rc = err_set(err, KEEL_EUNTRUSTED, "OpenSSL cannot use the key");
    if (!rc && EVP_DigestVerify(md, signature->byte, sizeof signature->byte, data, bytes) != 1)
        rc = err_set(err, KEEL_EUNTRUSTED, "the signature does not fit");
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(pkey);
    return leave(rc);
}

static int keep(EVP_PKEY *pkey, SigningKey **ret, Error *err)
{
    SigningKey *key = pkey ? OPENSSL_zalloc(sizeof *key) : NULL;
    if (!key) {
        EVP_PKEY_free(pkey);
        return err_set(err, KEEL_ENOMEM, "no memory for a key");
    }
    key->pkey = pkey;
    *ret = key;
    return KEEL_OK;
}

int signing_key_make(SigningKey **ret, Error *err)
{
    int rc = ready(err);
    EVP_PKEY *pkey = rc ? NULL : EVP_PKEY_Q_keygen(context, NULL, "ED25519");
    if (!rc && !pkey)
        rc = err_set(err, KEEL_EIO, "OpenSSL could not make a key: it got no random numbers");
    return leave(rc ? rc : keep(pkey, ret, err));
}

/* `selection` says which half; NULL when the text is something else. */
static EVP_PKEY *decode(const char *pem, size_t bytes, int selection)
{
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *decoder =
        OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", NULL, "ED25519", selection, context, NULL);
    BIO *bio = bytes <= PEM_BYTES_MAX ? BIO_new_mem_buf(pem, (int)bytes) : NULL;
    if (decoder && bio && selection == EVP_PKEY_KEYPAIR)
        OSSL_DECODER_CTX_set_pem_password_cb(decoder, PEM_def_callback, NULL);
    if (!decoder || !bio || OSSL_DECODER_from_bio(decoder, bio) != 1 ||
        !EVP_PKEY_is_a(pkey, "ED25519")) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    BIO_free(bio);
    OSSL_DECODER_CTX_free(decoder);
    return pkey;
}

int signing_key_parse(const char *pem, size_t bytes, SigningKey **ret, Error *err)
{
    int rc = ready(err);
    EVP_PKEY *pkey = rc ? NULL : decode(pem, bytes, EVP_PKEY_KEYPAIR);
    uint8_t probe[PUBLIC_KEY_BYTES];
    size_t length = sizeof probe;
    if (pkey &&
        EVP_PKEY_get_raw_private_key(pkey, probe, &length) != 1) { /* only the public half */
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    OPENSSL_cleanse(probe, sizeof probe);
    if (!rc && !pkey)
        rc = err_set(err, KEEL_EDATA,
                     "it holds no private Ed25519 key that can be read (PEM, PKCS#8): make one "
                     "with `keel key new`");
    return leave(rc ? rc : keep(pkey, ret, err));
}

static int take_text(BIO *bio, char *ret, size_t room, Error *err)
{
    int n = BIO_read(bio, ret, (int)room - 1);
    ret[n > 0 ? n : 0] = 0;
    return n > 0 && BIO_pending(bio) == 0 ? KEEL_OK
                                          : err_set(err, KEEL_ENOMEM, "a key could not be written");
}

int signing_key_pem(const SigningKey *key, char *ret, size_t room, Error *err)
{
    int rc = ready(err);
    BIO *bio = rc ? NULL : BIO_new(BIO_s_secmem());
    if (!rc && (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL)))
        rc = err_set(err, KEEL_ENOMEM, "a key could not be written");
    rc = rc ? rc : take_text(bio, ret, room, err);
    BIO_free(bio);
    return leave(rc);
}

int signing_key_public(const SigningKey *key, PublicKey *ret, Error *err)
{
    PublicKey public;
    size_t length = sizeof public.byte;
    int rc = ready(err);
    if (!rc && (EVP_PKEY_get_raw_public_key(key->pkey, public.byte, &length) != 1 ||
                length != sizeof public.byte))
        rc = err_set(err, KEEL_EDATA, "the key has no public half");
    if (!rc)
        *ret = public;
    return leave(rc);
}

int signing_key_sign(const SigningKey *key, const void *data, size_t bytes, Signature *ret,
                     Error *err)
{
    Signature signature;
    size_t length = sizeof signature.byte;
    int rc = ready(err);
    EVP_MD_CTX *md = rc ? NULL : EVP_MD_CTX_new();
    if (!rc && (!md || EVP_DigestSignInit_ex(md, NULL, NULL, context, NULL, key->pkey, NULL) != 1 ||
                EVP_DigestSign(md, signature.byte, &length, data, bytes) != 1 ||
                length != sizeof signature.byte))
        rc = err_set(err, KEEL_EIO, "OpenSSL could not sign");
    EVP_MD_CTX_free(md);
    if (!rc)
        *ret = signature;
    return leave(rc);
}

void signing_key_free(SigningKey *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    OPENSSL_free(key);
}

int public_key_parse(const char *pem, size_t bytes, PublicKey *ret, Error *err)
{
    PublicKey key;
    size_t length = sizeof key.byte;
    int rc = ready(err);
    EVP_PKEY *pkey = rc ? NULL : decode(pem, bytes, EVP_PKEY_PUBLIC_KEY);
    if (!rc && (!pkey || EVP_PKEY_get_raw_public_key(pkey, key.byte, &length) != 1 ||
                length != sizeof key.byte))
        rc = err_set(err, KEEL_EDATA, "it holds no public Ed25519 key (PEM)");
    EVP_PKEY_free(pkey);
    if (!rc)
        *ret = key;
    return leave(rc);
}

int public_key_pem(const PublicKey *key, char *ret, size_t room, Error *err)
{
    int rc = ready(err);
    EVP_PKEY *pkey =
        rc ? NULL
           : EVP_PKEY_new_raw_public_key_ex(context, "ED25519", NULL, key->byte, sizeof key->byte);
    BIO *bio = pkey ? BIO_new(BIO_s_mem()) : NULL;
    if (!rc && (!bio || !PEM_write_bio_PUBKEY(bio, pkey)))
        rc = err_set(err, KEEL_ENOMEM, "a key could not be written");
    rc = rc ? rc : take_text(bio, ret, room, err);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return leave(rc);
}

#else
typedef int BaseCryptoOff; /* C wants one declaration a file */
#endif
