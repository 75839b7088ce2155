/* Trust as an embedding program has it: keys in the options, answers of add and swap, the status.
 * Swaps don't go through the helper here: what is refused is refused without it. */
#include "host_rig.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/keyfile.h"
#include "image/manifest.h"

static char folder[] = "/tmp/keel-test-host-trust-XXXXXX";
static char key_path[100], public_text[PUBLIC_KEY_TEXT_BYTES];

/* A copy of a fixture in the test's folder: `name`, signed with `counter`, or not at all (0). */
static const char *put(const char *fixture, const char *name, uint64_t counter)
{
    static char path[8][200];
    static int next;
    char *to = path[next++ % 8], command[900], at[220];
    snprintf(to, sizeof path[0], "%s/%s", folder, name);
    snprintf(at, sizeof at, "%s.manifest", to);
    snprintf(command, sizeof command, "cp %s %s", rig_file(fixture), to);
    unlink(at);
    assert_int_equal(system(command), 0);
    if (!counter)
        return to;
    Image *image;
    ManifestFacts facts;
    SigningKey *key;
    Buf text = {0};
    int loose;
    assert_int_equal(image_load_file(to, 0, &image, NULL), 0);
    assert_int_equal(manifest_facts_of(image, &facts, NULL), 0);
    facts.counter = counter;
    facts.made_s = 1700000000;
    assert_int_equal(keyfile_read_private(key_path, &key, &loose, NULL), 0);
    assert_int_equal(manifest_make(&facts, NULL, &key, 1, &text, NULL), 0);
    assert_int_equal(file_replace(at, 0644, text.data, text.bytes, NULL), 0);
    signing_key_free(key);
    buf_done(&text);
    image_unref(image);
    return to;
}

static struct keel_host_options trusting(const char *const *keys)
{
    struct keel_host_options options = rig_options();
    options.trust_keys = keys;
    options.trust_key_count = 1;
    options.trust_state = "";
    return options;
}

static void swap_to(Rig *rig, const char *path, int wanted, const char *part)
{
    RigAsk ask = {.rig = rig, .slots = {rig->slots[0]}, .paths = {path}, .count = 1};
    rig_ask(&ask);
    int rc = rig_answer(&ask);
    if (rc != wanted || (part && !strstr(ask.error, part)))
        fail_msg("%d %s", rc, ask.error);
}

static void keys_decide_what_runs(void **unused)
{
    (void)unused;
    Rig rig;
    const char *const keys[] = {public_text};
    struct keel_host_options options = trusting(keys);
    rig_open(&rig, &options);
    assert_int_equal(rig_add(&rig, 0, put("fx_part1", "a.so", 0)), KEEL_EUNTRUSTED);
    assert_non_null(strstr(keel_host_error(), "not trusted: it has no manifest"));
    struct keel_slot_status status = rig_status(&rig, 0);
    assert_int_equal(status.phase, KEEL_SLOT_WAITING);
    assert_int_equal(status.alarms, 1);
    assert_int_equal(rig.parts[0].starts, 0);
    swap_to(&rig, put("fx_part1", "a.so", 5), KEEL_OK, NULL);
    status = rig_status(&rig, 0);
    assert_int_equal(status.counter, 5);
    assert_string_equal(status.signer, public_text);
    swap_to(&rig, put("fx_part2", "b.so", 4), KEEL_EUNTRUSTED, "older build");
    swap_to(&rig, put("fx_part2", "b.so", 0), KEEL_EUNTRUSTED, "no manifest");
    assert_int_equal(rig.parts[0].version, 1);
    swap_to(&rig, put("fx_part2", "b.so", 6), KEEL_OK, NULL);
    rig_frames(&rig, 3);
    assert_int_equal(rig.parts[0].version, 2);
    /* Back, although it is older: it ran here. */
    RigAsk back = {.rig = &rig, .slots = {rig.slots[0]}, .rollback = 1};
    rig_ask(&back);
    assert_int_equal(rig_answer(&back), KEEL_OK);
    rig_frames(&rig, 3);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig_status(&rig, 0).counter, 5);
    assert_int_equal(rig_status(&rig, 0).alarms, 3);
    rig_close(&rig);
}

static void bad_keys_open_no_host(void **unused)
{
    (void)unused;
    static const char *const BAD[] = {"/nowhere/key.pub", "ed25519:xyz", ""};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const char *const keys[] = {BAD[i]};
        struct keel_host_options options = trusting(keys);
        keel_host *host = NULL;
        assert_true(keel_host_open(&options, &host) < 0);
        assert_null(host);
        assert_true(strlen(keel_host_error()) > 10);
    }
    const char *const keys[] = {key_path}; /* the private half */
    struct keel_host_options options = trusting(keys);
    keel_host *host = NULL;
    assert_int_equal(keel_host_open(&options, &host), KEEL_EDATA);
    const char *const good[] = {public_text};
    options = trusting(good);
    options.trust_key_count = 65;
    assert_int_equal(keel_host_open(&options, &host), KEEL_EINVAL);
}

/* A program built before there were keys passes a smaller size: what lies behind it is not read. */
static void older_programs_have_no_keys(void **unused)
{
    (void)unused;
    Rig rig;
    const char *const keys[] = {"/nowhere/key.pub"};
    struct keel_host_options options = trusting(keys);
    options.size = offsetof(struct keel_host_options, trust_keys);
    rig_open(&rig, &options);
    assert_int_equal(rig_add(&rig, 0, put("fx_part1", "c.so", 0)), KEEL_OK);
    assert_int_equal(rig_status(&rig, 0).counter, 0);
    assert_string_equal(rig_status(&rig, 0).signer, "");
    rig_close(&rig);
}

static int set_up(void **unused)
{
    (void)unused;
    PublicKey key;
    if (!mkdtemp(folder))
        return -1;
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    if (keyfile_make(key_path, &key, NULL))
        return -1;
    public_key_text(&key, public_text);
    return 0;
}

static int remove_all(void **unused)
{
    (void)unused;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    if (!crypto_version()) {
        puts("built without OpenSSL: nothing to test");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_decide_what_runs),
        cmocka_unit_test(bad_keys_open_no_host),
        cmocka_unit_test(older_programs_have_no_keys),
    };
    return cmocka_run_group_tests(tests, set_up, remove_all);
}
