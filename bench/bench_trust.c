/* What does it cost a host with keys to trust a build: the manifest read, its signature checked,
 * the image's SHA-256? Beside reading and opening the image, which is done in any case. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/keyfile.h"
#include "bench.h"
#include "image/anatomy_read.h"
#include "image/trust.h"

enum { ROUNDS = 60, WARM = 5 };
static const size_t ROOM = (size_t)64 << 20;

static void die(const char *what)
{
    fprintf(stderr, "bench_trust: %s\n", what);
    exit(2);
}

static void sign(const char *path, const char *manifest_path, SigningKey *key)
{
    Error err = {0};
    Image *image;
    ManifestFacts facts;
    Anatomy anatomy;
    Buf text = {0};
    size_t bytes;
    void *packed = malloc(ROOM);
    if (!packed || image_load_file(path, 0, &image, &err) ||
        anatomy_read(image->data, image->bytes, packed, ROOM, &bytes, &err) ||
        anatomy_check(packed, bytes, &anatomy, &err) || manifest_facts_of(image, &facts, &err))
        die(err.text);
    facts.counter = 1;
    facts.made_s = 1700000000;
    if (manifest_make(&facts, &anatomy, &key, 1, &text, &err) ||
        file_replace(manifest_path, 0600, text.data, text.bytes, &err))
        die(err.text);
    buf_done(&text);
    free(packed);
    image_unref(image);
}

static double us_since(int64_t start)
{
    return (double)(bench_now_ns() - start) / 1000;
}

static void measure(const char *name, const char *path, Trust *trust)
{
    Samples read = {0}, learn = {0}, digest = {0}, fit = {0};
    Error err;
    for (int i = 0; i < WARM + ROUNDS; i++) {
        Image *image;
        Manifest manifest;
        TrustFault fault;
        TrustProof proof;
        Digest sha;
        int64_t at = bench_now_ns();
        if (image_load_file(path, 0, &image, &err))
            die(err.text);
        double read_us = us_since(at);
        at = bench_now_ns();
        if (trust_learn(trust, path, &manifest, &fault, &err))
            die(err.text);
        double learn_us = us_since(at);
        at = bench_now_ns();
        if (digest_bytes(image->data, image->bytes, &sha, &err))
            die(err.text);
        double digest_us = us_since(at);
        at = bench_now_ns();
        if (trust_fit(trust, &manifest, image, &sha, &proof, &fault, &err))
            die(err.text);
        double fit_us = us_since(at);
        if (i >= WARM) {
            samples_add(&read, read_us);
            samples_add(&learn, learn_us);
            samples_add(&digest, digest_us);
            samples_add(&fit, fit_us);
        }
        manifest_done(&manifest);
        image_unref(image);
    }
    double floor = samples_median(&read);
    bench_report(name, "read and open", "us", &read, 0);
    bench_report(name, "manifest: read, verify, parse", "us", &learn, floor);
    bench_report(name, "SHA-256", "us", &digest, floor);
    bench_report(name, "judge, counters in memory", "us", &fit, floor);
    samples_done(&read);
    samples_done(&learn);
    samples_done(&digest);
    samples_done(&fit);
}

int main(void)
{
    static const char *const NAMES[] = {"20000", "1000000", "10000000"};
    char folder[] = "/tmp/keel-bench-trust-XXXXXX", public[PUBLIC_KEY_TEXT_BYTES];
    SigningKey *key;
    PublicKey half;
    Trust *trust;
    Error err;
    if (!crypto_version()) {
        bench_note("built without OpenSSL: nothing to measure");
        return 0;
    }
    if (!mkdtemp(folder) || signing_key_make(&key, &err) || signing_key_public(key, &half, &err))
        die("cannot make a key in /tmp");
    const char *const keys[] = {public_key_text(&half, public)};
    if (trust_open(keys, 1, "", &trust, &err))
        die(err.text);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char from[300], path[200], manifest[220], name[40];
        snprintf(from, sizeof from, "%s/pace-%s-1.so", BENCH_MODULES, NAMES[i]);
        snprintf(path, sizeof path, "%s/m.so", folder);
        snprintf(manifest, sizeof manifest, "%s%s", path, MANIFEST_ENDING);
        snprintf(name, sizeof name, "trust, %s bytes", NAMES[i]);
        if (symlink(from, path))
            die("cannot link the module");
        snprintf(manifest, sizeof manifest, "%s%s", from, MANIFEST_ENDING);
        sign(path, manifest, key);
        measure(name, path, trust);
        unlink(manifest);
        unlink(path);
    }
    rmdir(folder);
    trust_close(trust);
    signing_key_free(key);
    return 0;
}
