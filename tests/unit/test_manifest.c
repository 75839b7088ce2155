/* Manifests: written and read back; every cut, every changed byte, other keys, other forms. */
#include "image_files.h"

#include <time.h>

#include "base/keyfile.h"
#include "image/manifest.h"

static char folder[64];

static ManifestFacts facts(void)
{
    ManifestFacts f = {.abi = 0x10000,
                       .table_bytes = 80,
                       .needs_count = 1,
                       .bytes = 37072,
                       .counter = 7,
                       .made_s = 1700000000,
                       .expires_s = 1800000000};
    strcpy(f.module, "ball");
    strcpy(f.version, "1.0");
    strcpy(f.needs[0], "keel.task/1");
    strcpy(f.build_id, "00ff");
    memset(f.digest.byte, 0xa5, sizeof f.digest.byte);
    return f;
}

/* Two functions and one section. */
static void small_anatomy(Buf *packed, Anatomy *ret)
{
    AnatomyMaker maker = {.flags = ANATOMY_SYMBOLS | ANATOMY_RELOCS};
    AnatomyFunction f = {.id = {1, 2}, .hash = {3, 4}, .bytes = 11, .parts = 1};
    f.name = anatomy_text(&maker, "step", 4);
    f.unit = anatomy_text(&maker, "a\xff.c", 4); /* not UTF-8 */
    assert_int_equal(buf_add(&maker.functions, &f, sizeof f), 0);
    f.id = (Hash){9, 0};
    f.name = anatomy_text(&maker, "draw", 4);
    assert_int_equal(buf_add(&maker.functions, &f, sizeof f), 0);
    AnatomySection s = {.hash = {7, 7}, .bytes = 100, .is_code = 1};
    s.name = anatomy_text(&maker, ".text", 5);
    assert_int_equal(buf_add(&maker.sections, &s, sizeof s), 0);
    packed->data = malloc(4096);
    assert_non_null(packed->data);
    packed->room = 4096;
    assert_int_equal(anatomy_pack(&maker, packed->data, packed->room, &packed->bytes, NULL), 0);
    assert_int_equal(anatomy_check(packed->data, packed->bytes, ret, NULL), 0);
    anatomy_maker_done(&maker);
}

typedef struct Keys {
    SigningKey *one, *two;
    PublicKey public[2];
} Keys;

static void keys_open(Keys *k)
{
    assert_int_equal(signing_key_make(&k->one, NULL), 0);
    assert_int_equal(signing_key_make(&k->two, NULL), 0);
    assert_int_equal(signing_key_public(k->one, &k->public[0], NULL), 0);
    assert_int_equal(signing_key_public(k->two, &k->public[1], NULL), 0);
}

static void keys_done(Keys *k)
{
    signing_key_free(k->one);
    signing_key_free(k->two);
}

static void make(Buf *text, const Keys *k, int count)
{
    SigningKey *const keys[] = {k->one, k->two};
    Buf packed = {0};
    Anatomy a;
    const ManifestFacts f = facts();
    small_anatomy(&packed, &a);
    assert_int_equal(manifest_make(&f, &a, keys, count, text, NULL), 0);
    buf_done(&packed);
}

/* 0 when the host would believe what it says. */
static int believe(const void *data, size_t bytes, const PublicKey *keys, int count, Manifest *ret,
                   Error *err)
{
    int rc = manifest_take(data, bytes, ret, err);
    if (rc)
        return rc;
    rc = manifest_verify(ret, keys, count, err);
    rc = rc ? rc : manifest_parse(ret, err);
    if (rc)
        manifest_done(ret);
    return rc;
}

static void test_round_trip(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0}, packed = {0};
    Manifest m;
    Anatomy a;
    Error err;
    keys_open(&k);
    make(&text, &k, 1);
    assert_int_equal(believe(text.data, text.bytes, k.public, 1, &m, &err), 0);
    const ManifestFacts f = facts();
    assert_memory_equal(&m.facts, &f, sizeof f);
    assert_memory_equal(&m.signer, &k.public[0], sizeof m.signer);
    assert_int_equal(manifest_anatomy(&m, &packed, &err), 0);
    assert_int_equal(anatomy_check(packed.data, packed.bytes, &a, &err), 0);
    assert_int_equal(a.function_count, 2);
    assert_int_equal(a.flags, ANATOMY_SYMBOLS | ANATOMY_RELOCS);
    assert_string_equal(anatomy_string(&a, a.functions[0].name), "draw");
    assert_string_equal(anatomy_string(&a, a.functions[1].unit), "a?.c");
    assert_int_equal(a.functions[1].hash.high, 4);
    assert_int_equal(a.sections[0].hash.low, 7);
    manifest_done(&m);
    buf_done(&packed);
    buf_done(&text);
    keys_done(&k);
}

static void test_every_cut_is_refused(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0};
    Manifest m;
    Error err;
    keys_open(&k);
    make(&text, &k, 1);
    for (size_t n = 0; n < text.bytes; n++) {
        err = (Error){0};
        assert_int_not_equal(believe(text.data, n, k.public, 1, &m, &err), 0);
        assert_true(*err.text);
    }
    buf_done(&text);
    keys_done(&k);
}

static void test_every_changed_byte_is_refused(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0};
    Manifest m;
    Error err;
    keys_open(&k);
    make(&text, &k, 1);
    for (size_t i = 0; i < text.bytes; i++)
        for (int bit = 0; bit < 8; bit++) {
            text.data[i] ^= (char)(1 << bit);
            assert_int_not_equal(believe(text.data, text.bytes, k.public, 1, &m, &err), 0);
            text.data[i] ^= (char)(1 << bit);
        }
    assert_int_equal(believe(text.data, text.bytes, k.public, 1, &m, &err), 0);
    manifest_done(&m);
    assert_int_equal(buf_add(&text, "\n", 1), 0); /* and one too many */
    assert_int_not_equal(believe(text.data, text.bytes, k.public, 1, &m, &err), 0);
    buf_done(&text);
    keys_done(&k);
}

static void test_keys(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0};
    Manifest m;
    Error err;
    keys_open(&k);
    make(&text, &k, 0);
    assert_int_equal(believe(text.data, text.bytes, k.public, 2, &m, &err), KEEL_EUNTRUSTED);
    assert_non_null(strstr(err.text, "not signed"));
    make(&text, &k, 1);
    assert_int_equal(believe(text.data, text.bytes, &k.public[1], 1, &m, &err), KEEL_EUNTRUSTED);
    assert_non_null(strstr(err.text, "not trusted here"));
    assert_int_equal(believe(text.data, text.bytes, k.public, 2, &m, &err), 0);
    manifest_done(&m);
    make(&text, &k, 2); /* while keys are changed: either is enough */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(believe(text.data, text.bytes, &k.public[i], 1, &m, &err), 0);
        assert_memory_equal(&m.signer, &k.public[i], sizeof m.signer);
        manifest_done(&m);
    }
    /* A trusted key's signature that doesn't fit isn't outweighed by one that does. */
    char *last = text.data + text.bytes - 2;
    *last = *last == '0' ? '1' : '0';
    assert_int_equal(believe(text.data, text.bytes, k.public, 2, &m, &err), KEEL_EUNTRUSTED);
    assert_non_null(strstr(err.text, "does not fit"));
    buf_done(&text);
    keys_done(&k);
}

/* Signs any bytes as a manifest's. */
static void sign(Buf *text, const Keys *k)
{
    Signature s;
    char key[2 * PUBLIC_KEY_BYTES + 1], hex[2 * SIGNATURE_BYTES + 1];
    assert_int_equal(signing_key_sign(k->one, text->data, text->bytes, &s, NULL), 0);
    assert_int_equal(buf_printf(text, "signature %s %s\n",
                                hex_text(k->public[0].byte, PUBLIC_KEY_BYTES, key),
                                hex_text(s.byte, SIGNATURE_BYTES, hex)),
                     0);
}

/* The text of a manifest with `from` replaced, signed: what a signer's broken tool might write. */
static int signed_with(const Keys *k, const char *from, const char *to, Error *err)
{
    Buf whole = {0}, text = {0};
    Manifest m;
    make(&whole, k, 0);
    const char *all = buf_text(&whole), *at = strstr(all, from);
    assert_non_null(at);
    assert_int_equal(buf_printf(&text, "%.*s%s%s", (int)(at - all), all, to, at + strlen(from)), 0);
    sign(&text, k);
    int rc = believe(text.data, text.bytes, k->public, 1, &m, err);
    if (!rc)
        manifest_done(&m);
    buf_done(&whole);
    buf_done(&text);
    return rc;
}

static void test_facts_are_read_strictly(void **state)
{
    (void)state;
    static const char *const BAD[][2] = {
        {"\"counter\":7", "\"counter\":7,\"counter\":8"},
        {"\"counter\":7", "\"counter\":7,\"more\":1"},
        {"\"counter\":7", "\"counter\":-1"},
        {"\"counter\":7", "\"counter\":7.0"},
        {"\"counter\":7", "\"counter\":\"7\""},
        {"\"counter\":7", "\"counter\":9223372036854775808"},
        {"\"counter\":7,", ""},
        {"\"module\":\"ball\"", "\"module\":7"},
        {"\"module\":\"ball\"", "\"module\":\"ba\\nll\""},
        {"\"module\":\"ball\"", "\"module\":\"ba\\u0000ll\""},
        {"\"module\":\"ball\"",
         "\"module\":\"0123456789012345678901234567890123456789012345678901234567890123\""},
        {"\"abi\":\"1.0\"", "\"abi\":\"1.00\""},
        {"\"abi\":\"1.0\"", "\"abi\":\"99999.0\""},
        {"a5a5", "A5a5"},
        {"a5a5", "a5"},
        {"2027-01-15T08:00:00Z", "2027-02-30T08:00:00Z"},
        {"2027-01-15T08:00:00Z", "2027-01-15 08:00:00 "},
        {"\"2027-01-15T08:00:00Z\"", "1800000000"},
        {"\"2023-11-14T22:13:20Z\"", "null"},
        {"[\"keel.task/1\"]", "[[[[[\"keel.task/1\"]]]]]"},
        {"[\"keel.task/1\"]", "[1]"},
        {"[\"keel.task/1\"]", "{}"},
        {"}\n{", "}}\n{"},
        {"keel-manifest 1", "keel-manifest 2"},
    };
    Keys k;
    Error err;
    keys_open(&k);
    assert_int_equal(signed_with(&k, "\"counter\":7", "\"counter\":8", &err), 0);
    assert_int_equal(signed_with(&k, "\"2027-01-15T08:00:00Z\"", "null", &err), 0);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        err = (Error){0};
        int rc = signed_with(&k, BAD[i][0], BAD[i][1], &err);
        if (rc != KEEL_EDATA)
            fail_msg("%s: %d %s", BAD[i][1], rc, err.text);
        assert_true(*err.text);
    }
    keys_done(&k);
}

static void test_details_are_read_strictly(void **state)
{
    (void)state;
    static const char *const BAD[][2] = {
        {"\"known\":3", "\"known\":-3"},
        {"\"known\":3", "\"known\":3,\"known\":3"},
        {"\"known\":3,", ""},
        {"\"data\":[]", "\"data\":{}"},
        {"\"data\":[]", "\"data\":[[]]"},
        {"\"data\":[]", "\"data\":[],\"x\":1"},
        {"[\".text\"", "[1"},
        {",100,1]", ",100,2]"},
        {",100,1]", ",100,1,1]"},
        {"0000000000000004", "000000000000000G"},
        {",100,1]", ",-1,1]"},
    };
    Keys k;
    keys_open(&k);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        Buf whole = {0}, text = {0}, packed = {0};
        Manifest m;
        Error err = {0};
        make(&whole, &k, 0);
        const char *all = buf_text(&whole), *at = strstr(all, BAD[i][0]);
        assert_non_null(at);
        buf_printf(&text, "%.*s%s%s", (int)(at - all), all, BAD[i][1], at + strlen(BAD[i][0]));
        assert_int_equal(manifest_take(text.data, text.bytes, &m, &err), 0);
        if (manifest_anatomy(&m, &packed, &err) != KEEL_EDATA)
            fail_msg("%s was taken", BAD[i][1]);
        manifest_done(&m);
        buf_done(&whole);
        buf_done(&text);
    }
    keys_done(&k);
}

static void test_limits(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0};
    Manifest m;
    Error err;
    keys_open(&k);
    /* Nine signatures. */
    make(&text, &k, 1);
    const size_t line = 204;
    char last[204];
    memcpy(last, text.data + text.bytes - line, line);
    for (int i = 0; i < 7; i++)
        buf_add(&text, last, line);
    assert_int_equal(believe(text.data, text.bytes, k.public, 1, &m, &err), 0);
    manifest_done(&m);
    buf_add(&text, last, line);
    assert_int_equal(manifest_take(text.data, text.bytes, &m, &err), KEEL_EDATA);
    /* A first line without end. */
    text.bytes = 0;
    buf_printf(&text, "keel-manifest 1\n{\"module\":\"");
    for (int i = 0; i < 17; i++)
        buf_printf(&text, "%01024d", 0);
    buf_printf(&text, "\"}\n{}\n");
    sign(&text, &k);
    assert_int_equal(manifest_take(text.data, text.bytes, &m, &err), KEEL_EDATA);
    /* Too large to be read at all, however it goes on. */
    char path[128];
    snprintf(path, sizeof path, "%s/huge.manifest", folder);
    write_file(path, "keel-manifest 1\n", 16);
    assert_int_equal(truncate(path, (off_t)MANIFEST_BYTES_MAX + 1), 0);
    assert_int_equal(manifest_read(path, &m, &err), KEEL_ELIMIT);
    assert_int_equal(truncate(path, MANIFEST_BYTES_MAX), 0);
    assert_int_equal(manifest_read(path, &m, &err), KEEL_EDATA);
    buf_done(&text);
    keys_done(&k);
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    Keys k;
    Buf text = {0};
    Manifest m;
    Error err;
    char path[128], link_path[128];
    keys_open(&k);
    make(&text, &k, 1);
    snprintf(path, sizeof path, "%s/real", folder);
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    write_file(path, text.data, text.bytes);
    assert_int_equal(symlink(path, link_path), 0);
    assert_int_equal(manifest_read(path, &m, &err), 0);
    manifest_done(&m);
    assert_int_equal(manifest_read(link_path, &m, &err), KEEL_EUNTRUSTED);
    assert_non_null(strstr(err.text, "symbolic link"));
    unlink(link_path);
    assert_int_equal(mkfifo(link_path, 0600), 0);
    assert_int_equal(manifest_read(link_path, &m, &err), KEEL_EUNTRUSTED); /* and doesn't hang */
    unlink(link_path);
    assert_int_equal(manifest_read(folder, &m, &err), KEEL_EUNTRUSTED);
    assert_int_equal(manifest_read(link_path, &m, &err), KEEL_ENOTFOUND);
    unlink(path);
    buf_done(&text);
    keys_done(&k);
}

static void test_times(void **state)
{
    (void)state;
    char text[MANIFEST_TIME_BYTES];
    int64_t s;
    assert_string_equal(manifest_time_text(1700000000, text), "2023-11-14T22:13:20Z");
    assert_int_equal(manifest_time_parse(text, &s), 0);
    assert_int_equal(s, 1700000000);
    assert_int_equal(manifest_time_parse("2024-02-29T00:00:00Z", &s), 0);
    static const char *const BAD[] = {"",
                                      "2023-02-29T00:00:00Z",
                                      "2023-11-14T24:00:00Z",
                                      "2023-11-14T22:13:60Z",
                                      "2023-11-14T22:13:20",
                                      "2023-11-14T22:13:20z",
                                      "2023-11-14T22:13:20Z ",
                                      " 023-11-14T22:13:20Z",
                                      "-023-11-14T22:13:20Z"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(manifest_time_parse(BAD[i], &s), KEEL_EDATA);
}

static void test_key_files(void **state)
{
    (void)state;
    char path[100], public[110], text[PUBLIC_KEY_TEXT_BYTES];
    PublicKey made, read;
    SigningKey *key;
    Error err;
    struct stat st;
    int flag;
    snprintf(path, sizeof path, "%s/k", folder);
    snprintf(public, sizeof public, "%s.pub", path);
    assert_int_equal(keyfile_make(path, &made, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(keyfile_make(path, &read, &err), KEEL_EREFUSED); /* never over another */
    assert_int_equal(keyfile_read_public(public, &read, &err), 0);
    assert_memory_equal(&read, &made, sizeof made);
    assert_int_equal(keyfile_read_public(public_key_text(&made, text), &read, &err), 0);
    assert_memory_equal(&read, &made, sizeof made);
    assert_int_equal(keyfile_read_public(path, &read, &err), KEEL_EDATA);
    assert_non_null(strstr(err.text, "private key"));
    assert_int_equal(keyfile_read_any(path, &read, &flag, &err), 0);
    assert_int_equal(flag, 1);
    assert_int_equal(keyfile_read_private(path, &key, &flag, &err), 0);
    assert_int_equal(flag, 0);
    signing_key_free(key);
    chmod(path, 0640);
    assert_int_equal(keyfile_read_private(path, &key, &flag, &err), 0);
    assert_int_equal(flag, 1);
    signing_key_free(key);
    assert_int_equal(keyfile_read_private(public, &key, &flag, &err), KEEL_EDATA);
    text[20] = 'x';
    assert_int_equal(keyfile_read_public(text, &read, &err), KEEL_EDATA);
    assert_int_equal(keyfile_read_public("/nowhere/k.pub", &read, &err), KEEL_ENOTFOUND);
    unlink(path);
    /* The private one alone isn't left behind when the public one can't be made. */
    assert_int_equal(keyfile_make(path, &made, &err), KEEL_EREFUSED);
    assert_int_equal(access(path, F_OK), -1);
    unlink(public);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(keyfile_make(path, &made, &err), KEEL_EREFUSED);
    unlink(path);
}

int main(void)
{
    if (!crypto_version()) {
        puts("built without OpenSSL: nothing to test");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_every_changed_byte_is_refused),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_facts_are_read_strictly),
        cmocka_unit_test(test_details_are_read_strictly),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_key_files),
    };
    snprintf(folder, sizeof folder, "/tmp/keel-manifest-%d", (int)getpid());
    mkdir(folder, 0700);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char huge[128];
    snprintf(huge, sizeof huge, "%s/huge.manifest", folder);
    unlink(huge);
    rmdir(folder);
    return failed;
}
