/* Checks one manifest and names what differs. Owns nothing; main thread. */
#include "app/manifest_check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/text.h"
#include "base/keyfile.h"
#include "image/compare.h"
#include "image/trust.h"

enum { FITS = 0, DOES_NOT = 1, IMPOSSIBLE = 2, NAMED_MAX = 20 };

static int say(FILE *to, const char *before, const char *text, int status)
{
    fputs(before, to);
    text_print(to, text);
    fputc('\n', to);
    return status;
}

static void print_changes(const char *what, const ChangeList *list, const Anatomy *before,
                          const Anatomy *after,
                          const char *(*name)(const Anatomy *a, uint32_t index))
{
    static const char *const SIGNS[CHANGES] = {"+", "-", "~", "#", "="};
    for (uint32_t i = 0; i < list->count && i < NAMED_MAX; i++) {
        const Change *c = &list->list[i];
        printf("  %s %s ", SIGNS[c->what], what);
        text_print(stdout, c->after >= 0 ? name(after, (uint32_t)c->after)
                                         : name(before, (uint32_t)c->before));
        putchar('\n');
    }
    if (list->count > NAMED_MAX)
        printf("  … and %u more\n", list->count - NAMED_MAX);
}

static const char *function_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a,
                          a->functions[i].pretty ? a->functions[i].pretty : a->functions[i].name);
}

static const char *object_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a, a->objects[i].name);
}

static const char *type_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a, a->types[i].name);
}

static const char *section_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a, a->sections[i].name);
}

/* The manifest is genuine, the file isn't what it names. */
static void print_difference(const SignedImage *s, const Manifest *manifest)
{
    Buf packed = {0};
    Anatomy before;
    Difference d = {0};
    Error err;
    int rc = s->known ? manifest_anatomy(manifest, &packed, &err)
                      : err_set(&err, KEEL_ENOTFOUND, "%s", s->why);
    rc = rc ? rc : anatomy_check(packed.data, packed.bytes, &before, &err);
    rc = rc ? rc : compare_anatomies(&before, &s->anatomy, &d, &err);
    if (rc) {
        say(stdout, "  what differs can't be told: ", err.text, 0);
    } else {
        print_changes("function", &d.functions, &before, &s->anatomy, function_name);
        print_changes("static", &d.objects, &before, &s->anatomy, object_name);
        print_changes("type", &d.types, &before, &s->anatomy, type_name);
        if (!d.code_known || !(d.functions.count + d.objects.count + d.types.count))
            print_changes("section", &d.sections, &before, &s->anatomy, section_name);
        if (!(d.functions.count + d.objects.count + d.types.count + d.sections.count))
            puts("  nothing of what is loaded differs: debug information, headers or what is "
                 "behind them do");
    }
    difference_done(&d);
    buf_done(&packed);
}

static void print_facts(const Manifest *m, int trusted)
{
    const ManifestFacts *f = &m->facts;
    char text[MANIFEST_TIME_BYTES], key[PUBLIC_KEY_TEXT_BYTES];
    printf("  module    %s %s\n  counter   %llu\n", f->module, f->version,
           (unsigned long long)f->counter);
    printf("  made      %s\n", manifest_time_text(f->made_s, text));
    printf("  expires   %s\n", f->expires_s ? manifest_time_text(f->expires_s, text) : "never");
    for (int i = 0; i < m->signature_count; i++)
        printf("  signed by %s%s\n", public_key_text(&m->signatures[i].key, key),
               !trusted                                                       ? ""
               : !memcmp(&m->signatures[i].key, &m->signer, sizeof m->signer) ? " (trusted)"
                                                                              : "");
}

/* Its own keys when none is given: then the signatures only show that nobody changed it since. */
static int verify(Manifest *m, const char *const *given, int count, Error *err)
{
    PublicKey keys[64];
    int rc = KEEL_OK;
    for (int i = 0; i < count && !rc; i++)
        if ((rc = keyfile_read_public(given[i], &keys[i], err)))
            return KEEL_EINVAL;
    for (int i = 0; !count && i < m->signature_count; i++)
        keys[i] = m->signatures[i].key;
    return manifest_verify(m, keys, count ? count : m->signature_count, err);
}

int manifest_check(const SignedImage *s, const char *const *keys, int key_count)
{
    char path[PATH_MAX];
    Manifest m = {0};
    Error err;
    if (trust_manifest_path(s->path, path, sizeof path))
        return say(stderr, "keel manifest: the path is too long: ", s->path, IMPOSSIBLE);
    if (access(path, F_OK) && errno == ENOENT) {
        fputs("there is no manifest of it (", stdout);
        text_print(stdout, path);
        fputs("): write one with keel manifest MODULE.so --sign KEY\n", stdout);
        return DOES_NOT;
    }
    if (manifest_read(path, &m, &err))
        return say(stdout, "does not fit: ", err.text, DOES_NOT);
    int status = FITS;
    int rc = verify(&m, keys, key_count, &err);
    if (rc == KEEL_EINVAL || rc == KEEL_EUNSUPPORTED) {
        status = say(stderr, "keel manifest: ", err.text, IMPOSSIBLE);
    } else if (rc && !(m.signature_count == 0 && key_count == 0)) {
        status = say(stdout, "does not fit: ", err.text, DOES_NOT);
    } else if (manifest_parse(&m, &err)) {
        status = say(stdout, "does not fit: ", err.text, DOES_NOT);
    } else {
        TrustFault fault =
            trust_judge(&m.facts, s->image, &s->facts.digest, (int64_t)time(NULL), &err);
        if (fault)
            status = say(stdout, "does not fit: ", err.text, DOES_NOT);
        else if (rc)
            puts("fits, but it is not signed: a host with --trust refuses it");
        else
            puts(key_count ? "fits" : "fits; who signed is nobody that you named (--trust PUB)");
        print_facts(&m, key_count > 0);
        if (fault == TRUST_OTHER_BYTES)
            print_difference(s, &m);
    }
    manifest_done(&m);
    return status;
}
