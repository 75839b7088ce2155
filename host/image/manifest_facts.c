/* The facts of a manifest: from JSON, as strictly as they were written, and of an image. Owns
 * nothing. Called for bytes whose signature fits; any thread. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "image/manifest_parts.h"

int manifest_json(const char *text, size_t bytes, json_t **ret, Error *err)
{
    /* jansson recurses as deep as the text nests: counted before it starts. */
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '[' || c == '{') {
            if (++depth > MANIFEST_DEPTH)
                return err_set(err, KEEL_EDATA, "it nests too deep for a manifest");
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(err, KEEL_EDATA, "it is damaged: %.150s", error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, KEEL_EDATA, "it is damaged: an object is missing");
    }
    *ret = root;
    return KEEL_OK;
}

const char *manifest_time_text(int64_t seconds, char text[MANIFEST_TIME_BYTES])
{
    time_t when = (time_t)seconds;
    struct tm utc;
    if (!gmtime_r(&when, &utc) || !strftime(text, MANIFEST_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc))
        snprintf(text, MANIFEST_TIME_BYTES, "?");
    return text;
}

static int digits(const char *text, int from, int count, int *ret)
{
    int value = 0;
    for (int i = from; i < from + count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        value = value * 10 + text[i] - '0';
    }
    *ret = value;
    return 1;
}

int manifest_time_parse(const char *text, int64_t *ret)
{
    struct tm utc = {0};
    char again[MANIFEST_TIME_BYTES];
    if (strlen(text) != sizeof "2026-11-22T07:41:04Z" - 1 || !digits(text, 0, 4, &utc.tm_year) ||
        !digits(text, 5, 2, &utc.tm_mon) || !digits(text, 8, 2, &utc.tm_mday) ||
        !digits(text, 11, 2, &utc.tm_hour) || !digits(text, 14, 2, &utc.tm_min) ||
        !digits(text, 17, 2, &utc.tm_sec))
        return KEEL_EDATA;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    int64_t seconds = timegm(&utc);
    if (strcmp(manifest_time_text(seconds, again), text) != 0) /* 31 June, or other letters */
        return KEEL_EDATA;
    *ret = seconds;
    return KEEL_OK;
}

/* What is read so far, and the name of what was wrong first. */
typedef struct Taker {
    const json_t *root;
    size_t taken;
    const char *wrong;
} Taker;

static const json_t *take(Taker *t, const char *name)
{
    const json_t *value = json_object_get(t->root, name);
    t->taken += value != NULL;
    if (!value && !t->wrong)
        t->wrong = name;
    return value;
}

static void wrong(Taker *t, const char *name)
{
    if (!t->wrong)
        t->wrong = name;
}

static int is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return 0;
    return 1;
}

static void take_text(Taker *t, const char *name, char *ret, size_t room)
{
    const char *text = json_string_value(take(t, name));
    if (!text || strlen(text) >= room || !is_plain(text))
        wrong(t, name);
    else
        memcpy(ret, text, strlen(text) + 1);
}

static void take_number(Taker *t, const char *name, uint64_t most, uint64_t *ret)
{
    const json_t *value = take(t, name);
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > most)
        wrong(t, name);
    else
        *ret = (uint64_t)n;
}

static void take_time(Taker *t, const char *name, int or_never, int64_t *ret)
{
    const json_t *value = take(t, name);
    const char *text = json_string_value(value);
    if (or_never && json_is_null(value))
        *ret = 0;
    else if (!text || manifest_time_parse(text, ret) || *ret <= 0)
        wrong(t, name);
}

static void take_abi(Taker *t, uint32_t *ret)
{
    char text[16] = "", again[32];
    unsigned major = 0, minor = 0;
    take_text(t, "abi", text, sizeof text);
    if (sscanf(text, "%5u.%5u", &major, &minor) != 2 || major > 0xffff || minor > 0xffff)
        wrong(t, "abi");
    snprintf(again, sizeof again, "%u.%u", major, minor);
    if (strcmp(text, again) != 0)
        wrong(t, "abi");
    *ret = major << 16 | minor;
}

static void take_needs(Taker *t, ManifestFacts *f)
{
    const json_t *list = take(t, "needs");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > IMAGE_NEEDS_MAX) {
        wrong(t, "needs");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || strlen(text) >= IMAGE_NAME_BYTES || !is_plain(text))
            wrong(t, "needs");
        else
            memcpy(f->needs[f->needs_count++], text, strlen(text) + 1);
    }
}

int manifest_parse(Manifest *m, Error *err)
{
    json_t *root = NULL;
    int rc = manifest_json(m->facts_text, m->facts_bytes, &root, err);
    if (rc)
        return rc;
    ManifestFacts f = {0};
    char digest[DIGEST_TEXT_BYTES] = "";
    uint64_t table_bytes = 0;
    Taker t = {.root = root};
    take_text(&t, "module", f.module, sizeof f.module);
    take_text(&t, "version", f.version, sizeof f.version);
    take_abi(&t, &f.abi);
    take_number(&t, "table_bytes", UINT32_MAX, &table_bytes);
    take_needs(&t, &f);
    take_text(&t, "build_id", f.build_id, sizeof f.build_id);
    take_number(&t, "bytes", INT64_MAX, &f.bytes);
    take_text(&t, "sha256", digest, sizeof digest);
    take_number(&t, "counter", INT64_MAX, &f.counter);
    take_time(&t, "made", 0, &f.made_s);
    take_time(&t, "expires", 1, &f.expires_s);
    f.table_bytes = (uint32_t)table_bytes;
    if (strlen(digest) != DIGEST_TEXT_BYTES - 1 || hex_parse(digest, DIGEST_BYTES, f.digest.byte))
        wrong(&t, "sha256");
    if (t.wrong)
        rc = err_set(err, KEEL_EDATA, "its \"%s\" is missing or not as `keel manifest` writes it",
                     t.wrong);
    else if (json_object_size(root) != t.taken)
        rc = err_set(err, KEEL_EDATA,
                     "it says something that this keel doesn't know: update keel, or make it with "
                     "this one");
    json_decref(root);
    if (!rc)
        m->facts = f;
    return rc;
}

int manifest_facts_of(const Image *image, ManifestFacts *ret, Error *err)
{
    ManifestFacts f = {.abi = image->abi,
                       .table_bytes = image->table_bytes,
                       .needs_count = image->needs_count,
                       .bytes = image->bytes};
    int rc = digest_bytes(image->data, image->bytes, &f.digest, err);
    if (rc)
        return rc;
    memcpy(f.module, image->name, sizeof f.module);
    memcpy(f.version, image->version, sizeof f.version);
    memcpy(f.needs, image->needs, sizeof f.needs);
    memcpy(f.build_id, image->build_id, sizeof f.build_id);
    *ret = f;
    return KEEL_OK;
}
