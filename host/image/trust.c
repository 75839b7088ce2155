/* Judges images by their manifests. Owns the keys and what it remembers of counters; any thread. */
#include "image/trust.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/keyfile.h"
#include "image/counters.h"

enum { KEYS_MAX = 64, CLOCK_SLACK_S = 24 * 3600 };

/* What this process ran, so that a file of counters that can't be written loses nothing here. */
typedef struct Remembered {
    char module[IMAGE_NAME_BYTES];
    uint64_t counter;
} Remembered;

struct Trust {
    int key_count;
    PublicKey keys[KEYS_MAX];
    Buf keys_text;
    char state[PATH_MAX]; /* "": in memory only */
    int uncounted;
    pthread_mutex_t lock;
    Buf remembered; /* Remembered */
};

static int take_keys(Trust *trust, const char *const *keys, uint32_t count, Error *err)
{
    char text[PUBLIC_KEY_TEXT_BYTES];
    if (!count || count > KEYS_MAX)
        return err_set(err, KEEL_EINVAL, "a host trusts 1 to %d keys", KEYS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        int rc = keyfile_read_public(keys[i], &trust->keys[i], err);
        if (rc)
            return rc;
        if (buf_printf(&trust->keys_text, "%s%s", i ? ", " : "",
                       public_key_text(&trust->keys[i], text)))
            return err_set(err, KEEL_ENOMEM, "no memory for keys");
    }
    trust->key_count = (int)count;
    return KEEL_OK;
}

int trust_open(const char *const *keys, uint32_t count, const char *state, Trust **ret, Error *err)
{
    Digest probe;
    uint64_t counter;
    Trust *trust = calloc(1, sizeof *trust);
    if (!trust)
        return err_set(err, KEEL_ENOMEM, "no memory for keys");
    pthread_mutex_init(&trust->lock, NULL);
    int rc = digest_bytes("", 0, &probe, err); /* built without OpenSSL? */
    rc = rc ? rc : take_keys(trust, keys, count, err);
    if (!rc && !state)
        rc = counters_default_path(trust->state, sizeof trust->state, err);
    else if (!rc && !strcmp(state, "-"))
        trust->uncounted = 1;
    else if (!rc)
        snprintf(trust->state, sizeof trust->state, "%s", state);
    if (!rc && *trust->state)
        rc = counters_read(trust->state, "", &counter, err);
    if (rc) {
        trust_close(trust);
        return rc;
    }
    *ret = trust;
    return KEEL_OK;
}

void trust_close(Trust *trust)
{
    if (!trust)
        return;
    pthread_mutex_destroy(&trust->lock);
    buf_done(&trust->keys_text);
    buf_done(&trust->remembered);
    free(trust);
}

const char *trust_keys_text(const Trust *trust)
{
    return buf_text((Buf *)&trust->keys_text);
}

const char *trust_state_path(const Trust *trust)
{
    return trust->state;
}

const char *trust_fault_name(TrustFault fault)
{
    static const char *const NAMES[] = {"fits",        "missing",     "damaged",
                                        "unsigned",    "other bytes", "other module",
                                        "older build", "expired",     "counters unreadable"};
    return fault <= TRUST_IMPOSSIBLE ? NAMES[fault] : "?";
}

int trust_manifest_path(const char *path, char *ret, size_t room)
{
    char real[PATH_MAX];
    if ((size_t)snprintf(ret, room, "%s%s", realpath(path, real) ? real : path, MANIFEST_ENDING) >=
        room)
        return KEEL_ELIMIT;
    /* A link may have its manifest beside itself, too. */
    if (access(ret, F_OK)) {
        char beside[PATH_MAX];
        if ((size_t)snprintf(beside, sizeof beside, "%s%s", path, MANIFEST_ENDING) <
                sizeof beside &&
            !access(beside, F_OK))
            snprintf(ret, room, "%s", beside);
    }
    return KEEL_OK;
}

static TrustFault judge_bytes(const ManifestFacts *f, const Image *image, const Digest *digest,
                              Error *err)
{
    char said[DIGEST_TEXT_BYTES], is[DIGEST_TEXT_BYTES], size[80] = "";
    if (strcmp(f->module, image->name) != 0) {
        err_set(err, KEEL_EUNTRUSTED,
                "its manifest is of another module (\"%s\" %s): put the one that was made for it "
                "there",
                f->module, f->version);
        return TRUST_OTHER_MODULE;
    }
    if (f->bytes == image->bytes && digest_equal(&f->digest, digest))
        return TRUST_FITS;
    if (f->bytes != image->bytes)
        snprintf(size, sizeof size, ", %llu bytes instead of %llu",
                 (unsigned long long)image->bytes, (unsigned long long)f->bytes);
    err_set(err, KEEL_EUNTRUSTED,
            "these are not the bytes that were signed (SHA-256 %.12s… instead of %.12s…%s): the "
            "file was changed, or its manifest is of another build (version %s, counter %llu)",
            digest_text(digest, is), digest_text(&f->digest, said), size, f->version,
            (unsigned long long)f->counter);
    return TRUST_OTHER_BYTES;
}

TrustFault trust_judge(const ManifestFacts *f, const Image *image, const Digest *digest,
                       int64_t now_s, Error *err)
{
    char text[MANIFEST_TIME_BYTES];
    TrustFault fault = judge_bytes(f, image, digest, err);
    if (fault)
        return fault;
    if (f->expires_s && now_s >= f->expires_s) {
        int64_t since = now_s - f->expires_s;
        const char *unit = since < 7200 ? "minutes" : since < 172800 ? "hours" : "days";
        int64_t amount = since < 7200 ? since / 60 : since < 172800 ? since / 3600 : since / 86400;
        err_set(err, KEEL_EUNTRUSTED,
                "its manifest expired %lld %s ago (%s): sign the build again, or set this "
                "machine's clock",
                (long long)amount, unit, manifest_time_text(f->expires_s, text));
        return TRUST_EXPIRED;
    }
    if (f->made_s > now_s + CLOCK_SLACK_S) {
        err_set(err, KEEL_EUNTRUSTED,
                "its manifest was made in the future (%s): a clock is wrong, here or where it was "
                "signed",
                manifest_time_text(f->made_s, text));
        return TRUST_EXPIRED;
    }
    return TRUST_FITS;
}

static uint64_t remembered(Trust *trust, const char *module)
{
    uint64_t counter = 0;
    pthread_mutex_lock(&trust->lock);
    const Remembered *list = (const Remembered *)trust->remembered.data;
    for (size_t i = 0; i < trust->remembered.bytes / sizeof *list; i++)
        if (!strcmp(list[i].module, module))
            counter = list[i].counter;
    pthread_mutex_unlock(&trust->lock);
    return counter;
}

static TrustFault judge_counter(Trust *trust, const ManifestFacts *f, Error *err)
{
    uint64_t kept = 0, here = remembered(trust, f->module);
    if (trust->uncounted)
        return TRUST_FITS;
    if (*trust->state && counters_read(trust->state, f->module, &kept, err)) {
        err->code = KEEL_EUNTRUSTED;
        return TRUST_IMPOSSIBLE;
    }
    kept = here > kept ? here : kept;
    if (f->counter >= kept)
        return TRUST_FITS;
    err_set(err, KEEL_EUNTRUSTED,
            "it is an older build than one that ran here (counter %llu, %llu ran): build and sign "
            "what you want to go back to with a higher counter",
            (unsigned long long)f->counter, (unsigned long long)kept);
    return TRUST_OLDER;
}

static TrustFault learn(const Trust *trust, const char *path, Manifest *ret, Error *err)
{
    char at[PATH_MAX];
    int rc = trust_manifest_path(path, at, sizeof at);
    if (rc) {
        err_set(err, KEEL_EUNTRUSTED, "its path is too long to have a manifest");
        return TRUST_MISSING;
    }
    rc = manifest_read(at, ret, err);
    if (rc == KEEL_ENOTFOUND) {
        err_set(err, KEEL_EUNTRUSTED,
                "it has no manifest (%s): make one with `keel manifest %s --sign KEY`", at, path);
        return TRUST_MISSING;
    }
    if (rc)
        return TRUST_DAMAGED;
    if (manifest_verify(ret, trust->keys, trust->key_count, err)) {
        err_wrap(err, "%s", at);
        return TRUST_UNSIGNED;
    }
    if (manifest_parse(ret, err)) {
        err_wrap(err, "%s", at);
        return TRUST_DAMAGED;
    }
    return TRUST_FITS;
}

int trust_learn(const Trust *trust, const char *path, Manifest *ret, TrustFault *ret_fault,
                Error *err)
{
    Manifest manifest = {0};
    *ret_fault = learn(trust, path, &manifest, err);
    if (!*ret_fault) {
        *ret = manifest;
        return KEEL_OK;
    }
    manifest_done(&manifest);
    return err->code = KEEL_EUNTRUSTED;
}

int trust_fit(Trust *trust, const Manifest *manifest, const Image *image, const Digest *digest,
              TrustProof *ret, TrustFault *ret_fault, Error *err)
{
    const ManifestFacts *f = &manifest->facts;
    TrustFault fault = trust_judge(f, image, digest, (int64_t)time(NULL), err);
    if (!fault)
        fault = judge_counter(trust, f, err);
    *ret_fault = fault;
    if (fault)
        return err->code = KEEL_EUNTRUSTED;
    *ret = (TrustProof){.digest = *digest,
                        .counter = f->counter,
                        .expires_s = f->expires_s,
                        .signer = manifest->signer};
    memcpy(ret->module, f->module, sizeof ret->module);
    return KEEL_OK;
}

int trust_keep(Trust *trust, const TrustProof *proof, Error *err)
{
    int rc = KEEL_OK, known = 0;
    if (trust->uncounted)
        return KEEL_OK;
    pthread_mutex_lock(&trust->lock);
    Remembered *list = (Remembered *)trust->remembered.data;
    for (size_t i = 0; i < trust->remembered.bytes / sizeof *list && !known; i++)
        if (!strcmp(list[i].module, proof->module)) {
            known = 1;
            if (list[i].counter < proof->counter)
                list[i].counter = proof->counter;
        }
    if (!known) {
        Remembered fresh = {.counter = proof->counter};
        memcpy(fresh.module, proof->module, sizeof fresh.module);
        if (buf_add(&trust->remembered, &fresh, sizeof fresh))
            rc = err_set(err, KEEL_ENOMEM, "no memory for counters");
    }
    pthread_mutex_unlock(&trust->lock);
    if (!rc && *trust->state)
        rc = counters_raise(trust->state, proof->module, proof->counter, err);
    return rc;
}
