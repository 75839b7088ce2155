/* Writes and signs manifests. Owns nothing; any thread. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/manifest_parts.h"

json_t *manifest_text(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);
    for (char *c = copy; c && *c; c++)
        *c = *c & (char)0x80 ? '?' : *c;
    if (copy)
        value = json_string(copy);
    free(copy);
    return value;
}

static int add_piece(const char *data, size_t bytes, void *user)
{
    return buf_add(user, data, bytes) ? -1 : 0;
}

int manifest_dump(json_t *value, Buf *ret)
{
    int failed = !value || json_dump_callback(value, add_piece, ret, JSON_COMPACT);
    json_decref(value);
    return failed ? KEEL_ENOMEM : KEEL_OK;
}

static json_t *facts_json(const ManifestFacts *f)
{
    char abi[16], digest[DIGEST_TEXT_BYTES], made[MANIFEST_TIME_BYTES],
        expires[MANIFEST_TIME_BYTES];
    json_t *needs = json_array();
    for (int i = 0; i < f->needs_count; i++)
        json_array_append_new(needs, manifest_text(f->needs[i]));
    snprintf(abi, sizeof abi, "%u.%u", f->abi >> 16, f->abi & 0xffff);
    return json_pack("{s:o, s:o, s:s, s:I, s:o, s:s, s:I, s:s, s:I, s:s, s:s?}", "module",
                     manifest_text(f->module), "version", manifest_text(f->version), "abi", abi,
                     "table_bytes", (json_int_t)f->table_bytes, "needs", needs, "build_id",
                     f->build_id, "bytes", (json_int_t)f->bytes, "sha256",
                     digest_text(&f->digest, digest), "counter", (json_int_t)f->counter, "made",
                     manifest_time_text(f->made_s, made), "expires",
                     f->expires_s ? manifest_time_text(f->expires_s, expires) : NULL);
}

static int add_signature(const SigningKey *key, size_t signed_bytes, Buf *ret, Error *err)
{
    PublicKey public;
    Signature signature;
    char key_text[2 * PUBLIC_KEY_BYTES + 1], text[2 * SIGNATURE_BYTES + 1];
    int rc = signing_key_public(key, &public, err);
    rc = rc ? rc : signing_key_sign(key, ret->data, signed_bytes, &signature, err);
    if (!rc &&
        buf_printf(ret, "signature %s %s\n", hex_text(public.byte, PUBLIC_KEY_BYTES, key_text),
                   hex_text(signature.byte, SIGNATURE_BYTES, text)))
        rc = err_set(err, KEEL_ENOMEM, "no memory for a manifest");
    return rc;
}

int manifest_make(const ManifestFacts *facts, const Anatomy *anatomy, SigningKey *const *keys,
                  int key_count, Buf *ret, Error *err)
{
    Buf out = {0};
    if (key_count > MANIFEST_SIGNATURES)
        return err_set(err, KEEL_ELIMIT, "a manifest has at most %d signatures",
                       MANIFEST_SIGNATURES);
    int rc = buf_printf(&out, "keel-manifest 1\n");
    rc = rc ? rc : manifest_dump(facts_json(facts), &out);
    rc = rc ? rc : buf_add(&out, "\n", 1);
    rc = rc ? rc : anatomy ? manifest_make_details(anatomy, &out) : buf_add(&out, "{}", 2);
    rc = rc ? rc : buf_add(&out, "\n", 1);
    if (rc)
        err_set(err, rc, "no memory for a manifest");
    size_t signed_bytes = out.bytes;
    for (int i = 0; i < key_count && !rc; i++)
        rc = add_signature(keys[i], signed_bytes, &out, err);
    if (rc) {
        buf_done(&out);
        return rc;
    }
    buf_done(ret);
    *ret = out;
    return KEEL_OK;
}
