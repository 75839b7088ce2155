/* Trust without a host: what a manifest covers and until when, and the file of counters, shared,
 * damaged, or where others could exchange it. */
#include "image_files.h"

#include <sys/wait.h>

#include "base/keyfile.h"
#include "image/counters.h"
#include "image/trust.h"
#include "watch/settle.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

static char folder[] = "/tmp/keel-test-trust-XXXXXX";
static char module_path[128], key_path[128], state_path[128];

static const char *in_folder(const char *name, char room[128])
{
    snprintf(room, 128, "%s/%s", folder, name);
    return room;
}

static Image *ball(void)
{
    Image *image;
    Error err;
    if (image_load_file(module_path, 0, &image, &err))
        fail_msg("%s", err.text);
    return image;
}

/* A manifest of ball beside it, as somebody with the key would write it. */
static void sign(uint64_t counter, int64_t made_s, int64_t expires_s)
{
    char at[160];
    Image *image = ball();
    ManifestFacts facts;
    SigningKey *key;
    Buf text = {0};
    int loose;
    assert_int_equal(manifest_facts_of(image, &facts, NULL), 0);
    facts.counter = counter;
    facts.made_s = made_s;
    facts.expires_s = expires_s;
    assert_int_equal(keyfile_read_private(key_path, &key, &loose, NULL), 0);
    assert_int_equal(manifest_make(&facts, NULL, &key, 1, &text, NULL), 0);
    snprintf(at, sizeof at, "%s.manifest", module_path);
    write_file(at, text.data, text.bytes);
    signing_key_free(key);
    buf_done(&text);
    image_unref(image);
}

static Trust *open_trust(const char *state)
{
    char public[160];
    const char *keys[] = {public};
    Trust *trust;
    Error err;
    snprintf(public, sizeof public, "%s.pub", key_path);
    if (trust_open(keys, 1, state, &trust, &err))
        fail_msg("%s", err.text);
    return trust;
}

/* What the trust says of ball, and its proof. */
static TrustFault judge(Trust *trust, TrustProof *proof, Error *err)
{
    Manifest manifest = {0};
    TrustFault fault;
    TrustProof unused;
    if (trust_learn(trust, module_path, &manifest, &fault, err))
        return fault;
    Image *image = ball();
    Digest digest;
    assert_int_equal(digest_bytes(image->data, image->bytes, &digest, NULL), 0);
    trust_fit(trust, &manifest, image, &digest, proof ? proof : &unused, &fault, err);
    image_unref(image);
    manifest_done(&manifest);
    return fault;
}

static void time_decides(void **unused)
{
    (void)unused;
    Image *image = ball();
    ManifestFacts f;
    Error err;
    assert_int_equal(manifest_facts_of(image, &f, NULL), 0);
    const Digest digest = f.digest;
    f.made_s = 1000000;
    f.expires_s = 2000000;
    assert_int_equal(trust_judge(&f, image, &digest, 1500000, &err), TRUST_FITS);
    assert_int_equal(trust_judge(&f, image, &digest, 1999999, &err), TRUST_FITS);
    assert_int_equal(trust_judge(&f, image, &digest, 2000000, &err), TRUST_EXPIRED);
    assert_non_null(strstr(err.text, "expired 0 minutes ago"));
    assert_int_equal(trust_judge(&f, image, &digest, 2000000 + 10 * 86400, &err), TRUST_EXPIRED);
    assert_non_null(strstr(err.text, "expired 10 days ago (1970-01-24T03:33:20Z)"));
    assert_int_equal(trust_judge(&f, image, &digest, 1000000 - 86400, &err), TRUST_FITS);
    assert_int_equal(trust_judge(&f, image, &digest, 1000000 - 86401, &err), TRUST_EXPIRED);
    assert_non_null(strstr(err.text, "made in the future"));
    f.expires_s = 0;
    assert_int_equal(trust_judge(&f, image, &digest, INT64_MAX / 2, &err), TRUST_FITS);
    f.digest.byte[31] ^= 1;
    assert_int_equal(trust_judge(&f, image, &digest, 1500000, &err), TRUST_OTHER_BYTES);
    f.digest.byte[31] ^= 1;
    f.bytes++;
    assert_int_equal(trust_judge(&f, image, &digest, 1500000, &err), TRUST_OTHER_BYTES);
    assert_non_null(strstr(err.text, "bytes instead of"));
    f.bytes--;
    strcpy(f.module, "bal");
    assert_int_equal(trust_judge(&f, image, &digest, 1500000, &err), TRUST_OTHER_MODULE);
    image_unref(image);
}

static void a_counter_never_falls(void **unused)
{
    (void)unused;
    Error err;
    TrustProof proof;
    Trust *trust = open_trust(state_path), *other = open_trust(state_path);
    sign(5, 1000, 0);
    assert_int_equal(judge(trust, &proof, &err), TRUST_FITS);
    assert_int_equal(proof.counter, 5);
    sign(4, 1000, 0);
    assert_int_equal(judge(trust, NULL, &err), TRUST_FITS); /* nothing ran yet */
    assert_int_equal(trust_keep(trust, &proof, &err), 0);
    assert_int_equal(judge(trust, NULL, &err), TRUST_OLDER);
    assert_int_equal(judge(other, NULL, &err), TRUST_OLDER); /* hosts share the file */
    sign(5, 1000, 0);
    assert_int_equal(judge(trust, NULL, &err), TRUST_FITS);
    proof.counter = 3;
    assert_int_equal(trust_keep(other, &proof, &err), 0); /* lowers nothing */
    sign(4, 1000, 0);
    assert_int_equal(judge(other, NULL, &err), TRUST_OLDER);
    /* The file is gone: this process still knows, the next one doesn't. */
    unlink(state_path);
    assert_int_equal(judge(trust, NULL, &err), TRUST_OLDER);
    Trust *next = open_trust(state_path), *memory = open_trust("");
    assert_int_equal(judge(next, NULL, &err), TRUST_FITS);
    proof.counter = 9;
    assert_int_equal(trust_keep(memory, &proof, &err), 0);
    assert_int_equal(judge(memory, NULL, &err), TRUST_OLDER);
    assert_int_equal(access(state_path, F_OK), -1);
    trust_close(trust);
    trust_close(other);
    trust_close(next);
    trust_close(memory);
    trust_close(NULL);
}

/* A counter that can't be kept is told, and holds in memory all the same. */
static void what_cant_be_kept_is_told(void **unused)
{
    (void)unused;
    char path[128], sub[128];
    Error err;
    TrustProof proof;
    mkdir(in_folder("state", sub), 0700);
    snprintf(path, sizeof path, "%.100s/trust", sub);
    Trust *trust = open_trust(path);
    sign(5, 1000, 0);
    assert_int_equal(judge(trust, &proof, &err), TRUST_FITS);
    char lock[160];
    snprintf(lock, sizeof lock, "%s.lock", path);
    unlink(lock);
    mkdir(lock, 0700); /* also root can't open this as a file */
    assert_int_not_equal(trust_keep(trust, &proof, &err), 0);
    assert_true(*err.text);
    sign(4, 1000, 0);
    assert_int_equal(judge(trust, NULL, &err), TRUST_IMPOSSIBLE);
    rmdir(lock);
    assert_int_equal(judge(trust, NULL, &err), TRUST_OLDER);
    trust_close(trust);
    unlink(lock);
    unlink(path);
    rmdir(sub);
}

static void a_place_that_others_can_change_is_refused(void **unused)
{
    (void)unused;
    char path[160], sub[128], lock[180];
    uint64_t counter;
    Error err;
    mkdir(in_folder("open", sub), 0700);
    snprintf(path, sizeof path, "%s/trust", sub);
    snprintf(lock, sizeof lock, "%s.lock", path);
    assert_int_equal(counters_raise(path, "ball", 7, &err), 0);
    assert_int_equal(counters_read(path, "ball", &counter, &err), 0);
    assert_int_equal(counter, 7);
    chmod(sub, 0777);
    assert_int_equal(counters_read(path, "ball", &counter, &err), KEEL_EDATA);
    assert_non_null(strstr(err.text, "can exchange files"));
    chmod(sub, 01777);
    assert_int_equal(counters_read(path, "ball", &counter, &err), 0);
    chmod(sub, 0700);
    chmod(path, 0620);
    assert_int_equal(counters_read(path, "ball", &counter, &err), KEEL_EDATA);
    chmod(path, 0600);
    if (!geteuid()) { /* only root can give a file away */
        assert_int_equal(chown(path, 1234, 1234), 0);
        assert_int_equal(counters_read(path, "ball", &counter, &err), KEEL_EDATA);
        assert_int_equal(chown(path, 0, 0), 0);
        assert_int_equal(chown(lock, 1234, 1234), 0);
        assert_int_equal(counters_read(path, "ball", &counter, &err), KEEL_EDATA);
        assert_int_equal(chown(lock, 0, 0), 0);
        assert_int_equal(chown(sub, 1234, 1234), 0);
        assert_int_equal(counters_read(path, "ball", &counter, &err), KEEL_EDATA);
        assert_int_equal(chown(sub, 0, 0), 0);
    }
    unlink(lock);
    assert_int_equal(mkfifo(lock, 0600), 0);
    assert_int_equal(counters_read(path, "ball", &counter, &err),
                     KEEL_EDATA); /* nor does it hang */
    unlink(lock);
    unlink(path);
    rmdir(sub);
}

/* Several hosts at once: no counter gets lost, and readers never see half a file. */
static void hosts_share_the_file(void **unused)
{
    (void)unused;
    enum { HOSTS = 4, ROUNDS = 25 };
    pid_t pids[HOSTS];
    char path[128];
    in_folder("shared", path);
    for (int h = 0; h < HOSTS; h++)
        if (!(pids[h] = fork())) {
            char name[16];
            uint64_t seen;
            snprintf(name, sizeof name, "module %d", h);
            for (uint64_t i = 1; i <= ROUNDS; i++)
                if (counters_raise(path, name, i, NULL) || counters_read(path, name, &seen, NULL) ||
                    seen != i)
                    _exit(1);
            _exit(0);
        }
    for (int h = 0; h < HOSTS; h++) {
        int status;
        assert_int_equal(waitpid(pids[h], &status, 0), pids[h]);
        assert_int_equal(status, 0);
    }
    for (int h = 0; h < HOSTS; h++) {
        char name[16];
        uint64_t seen;
        snprintf(name, sizeof name, "module %d", h);
        assert_int_equal(counters_read(path, name, &seen, NULL), 0);
        assert_int_equal(seen, ROUNDS);
    }
}

static void where_the_manifest_lies(void **unused)
{
    (void)unused;
    char link_path[128], beside[160], at[4200], wanted[160];
    snprintf(wanted, sizeof wanted, "%s.manifest", module_path);
    in_folder("link.so", link_path);
    assert_int_equal(symlink("ball.so", link_path), 0);
    sign(1, 1000, 0);
    assert_int_equal(trust_manifest_path(link_path, at, sizeof at), 0);
    assert_string_equal(at, wanted);
    unlink(wanted);
    snprintf(beside, sizeof beside, "%s.manifest", link_path);
    write_file(beside, "x", 1);
    assert_int_equal(trust_manifest_path(link_path, at, sizeof at), 0);
    assert_string_equal(at, beside);
    unlink(beside);
    unlink(link_path);
    assert_int_equal(trust_manifest_path("/nowhere/x.so", at, sizeof at), 0);
    assert_string_equal(at, "/nowhere/x.so.manifest");
    assert_int_equal(trust_manifest_path("/nowhere/x.so", at, 10), KEEL_ELIMIT);
}

static int remove_all(void **unused)
{
    (void)unused;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int set_up(void **unused)
{
    (void)unused;
    PublicKey key;
    if (!mkdtemp(folder))
        return -1;
    in_folder("ball.so", module_path);
    in_folder("k", key_path);
    in_folder("counters", state_path);
    Blob b = blob_read(BALL);
    write_file(module_path, b.data, b.bytes);
    free(b.data);
    return keyfile_make(key_path, &key, NULL);
}

int main(void)
{
    if (!crypto_version()) {
        puts("built without OpenSSL: nothing to test");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_decides),
        cmocka_unit_test(a_counter_never_falls),
        cmocka_unit_test(what_cant_be_kept_is_told),
        cmocka_unit_test(a_place_that_others_can_change_is_refused),
        cmocka_unit_test(hosts_share_the_file),
        cmocka_unit_test(where_the_manifest_lies),
    };
    return cmocka_run_group_tests(tests, set_up, remove_all);
}
