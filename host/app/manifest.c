/* `keel manifest`: writes, signs and checks what hosts with --trust ask for. Owns the sealed copy
 * of the module; deep reading happens in a child. Main thread. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "app/apart.h"
#include "app/commands.h"
#include "app/manifest_check.h"
#include "app/text.h"
#include "base/file.h"
#include "base/keyfile.h"
#include "image/anatomy_read.h"
#include "image/trust.h"

static const char HELP[] =
    "usage: keel manifest MODULE.so [--sign KEY]… [OPTIONS]\n"
    "       keel manifest --check MODULE.so [--trust PUB]…\n"
    "\n"
    "Writes MODULE.so.manifest: SHA-256, name and version, what the module is made of, a counter\n"
    "and an expiry, signed. `keel run --trust PUB` runs no module without one.\n"
    "\n"
    "  --sign KEY       a private key (keel key new); several keys give several signatures\n"
    "  --counter N      a host takes no lower counter than it ran before; when not given, the\n"
    "                   seconds since 1970, which only grow\n"
    "  --expires WHEN   30d, 12h, 2027-06-30, 2027-06-30T12:00:00Z or never (365d)\n"
    "  -o FILE          another place than MODULE.so.manifest\n"
    "  --check          reads the manifest of a module and says whether it fits, and what differs\n"
    "  --trust PUB      a public key, as a file or as ed25519:…; without any, --check tells who\n"
    "                   signed and trusts nobody\n"
    "\n"
    "Exit status: 0 written, or it fits; 1 it does not fit; 2 it could not be done.\n"
    "\n"
    "example: keel manifest build/ball.so --sign release.key --expires 90d\n";

enum { DONE = 0, IMPOSSIBLE = 2, KEYS_MAX = 64, DAY_S = 86400 };
static const size_t ANATOMY_ROOM = (size_t)256 << 20;

typedef struct Order {
    const char *path, *out;
    const char *keys[KEYS_MAX];
    int key_count, check, has_counter;
    uint64_t counter;
    int64_t now_s, expires_s; /* 0: never */
    int expires_given;
} Order;

static int failed(const Error *err)
{
    fputs("keel manifest: ", stderr);
    text_print(stderr, err->text);
    fputc('\n', stderr);
    return IMPOSSIBLE;
}

/* ---- learning ---- */

static int learn(SignedImage *s, Error *err)
{
    Settled settled;
    int rc = settle_read(s->path, NULL, &settled, err);
    if (rc)
        return rc;
    rc = image_look(settled.memfd, settled.bytes, settled.hash, s->path, &s->image, err);
    if (rc)
        return rc;
    Error why;
    if (!apart_run(anatomy_read, s->image->data, s->image->bytes, ANATOMY_ROOM, &APART_AT_LEISURE,
                   &s->apart, &why) &&
        !anatomy_check(s->apart.data, s->apart.bytes, &s->anatomy, &why))
        s->known = 1;
    else
        snprintf(s->why, sizeof s->why, "%s", why.text);
    return manifest_facts_of(s->image, &s->facts, err);
}

/* ---- writing ---- */

static int read_keys(const Order *order, SigningKey **keys, Error *err)
{
    int rc = KEEL_OK, loose = 0;
    for (int i = 0; i < order->key_count && !rc; i++) {
        rc = keyfile_read_private(order->keys[i], &keys[i], &loose, err);
        if (!rc && loose) {
            fputs("keel manifest: others can read ", stderr);
            text_print(stderr, order->keys[i]);
            fputs(" and sign with it: chmod 600\n", stderr);
        }
    }
    return rc;
}

/* What a signature doesn't cover, and the signer may not know of. */
static void warn_of_paths(const SignedImage *s)
{
    Inspection *found = calloc(1, sizeof *found);
    Error err;
    if (found && !inspect_apart(s->image->data, s->image->bytes, found, &err)) {
        found->runpath[sizeof found->runpath - 1] = 0;
        if (*found->runpath) {
            fputs("keel manifest: it looks for libraries in ", stderr);
            text_print(stderr, found->runpath);
            fputs(": whoever can write there runs code in it, signed or not ($ORIGIN finds nothing "
                  "in a host with --trust)\n",
                  stderr);
        }
    }
    free(found);
}

static void print_written(const Order *order, const ManifestFacts *f, const char *out,
                          SigningKey *const *keys)
{
    char time_text[MANIFEST_TIME_BYTES], key_text[PUBLIC_KEY_BRIEF_BYTES];
    PublicKey key;
    text_print(stdout, out);
    printf(": %s %s, counter %llu, ", f->module, f->version, (unsigned long long)f->counter);
    if (f->expires_s)
        printf("expires %s, ", manifest_time_text(f->expires_s, time_text));
    else
        printf("never expires, ");
    if (!order->key_count)
        puts("not signed: a host with --trust refuses it (--sign KEY)");
    for (int i = 0; i < order->key_count; i++)
        if (!signing_key_public(keys[i], &key, NULL))
            printf("%s%s%s", i ? ", " : "signed by ", public_key_brief(&key, key_text),
                   i + 1 == order->key_count ? "\n" : "");
}

static int write_manifest(const Order *order, SignedImage *s, Error *err)
{
    SigningKey *keys[KEYS_MAX] = {0};
    Buf text = {0};
    char out[PATH_MAX];
    if ((size_t)snprintf(out, sizeof out, "%s%s", order->out ? order->out : s->path,
                         order->out ? "" : MANIFEST_ENDING) >= sizeof out)
        return err_set(err, KEEL_EINVAL, "the name of the manifest is too long");
    s->facts.counter = order->has_counter ? order->counter : (uint64_t)order->now_s;
    s->facts.made_s = order->now_s;
    s->facts.expires_s = order->expires_s;
    int rc = read_keys(order, keys, err);
    rc = rc ? rc
            : manifest_make(&s->facts, s->known ? &s->anatomy : NULL, keys, order->key_count, &text,
                            err);
    rc = rc ? rc : file_replace(out, 0644, text.data, text.bytes, err);
    if (!rc) {
        print_written(order, &s->facts, out, keys);
        warn_of_paths(s);
    }
    if (!rc && !s->known) {
        fputs("keel manifest: it does not tell what the module is made of: ", stderr);
        text_print(stderr, s->why);
        fputc('\n', stderr);
    }
    for (int i = 0; i < order->key_count; i++)
        signing_key_free(keys[i]);
    buf_done(&text);
    return rc;
}

/* ---- arguments ---- */

static int parse_number(const char *text, uint64_t most, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno || n > most)
        return 0;
    *ret = n;
    return !*end ? 1 : end[1] ? 0 : *end;
}

/* 30d, 12h, a date, a time, never. */
static int parse_expiry(Order *order, const char *text)
{
    char whole[64];
    uint64_t n;
    int unit = parse_number(text, 36500 * 24, &n);
    order->expires_given = 1;
    if (!strcmp(text, "never")) {
        order->expires_s = 0;
        return 1;
    }
    if (n && (unit == 'd' || unit == 'h')) {
        order->expires_s = order->now_s + (int64_t)n * (unit == 'd' ? DAY_S : 3600);
        return 1;
    }
    snprintf(whole, sizeof whole, "%.32s%s", text, strchr(text, 'T') ? "" : "T00:00:00Z");
    if (!unit && !manifest_time_parse(whole, &order->expires_s)) {
        if (order->expires_s > order->now_s)
            return 1;
        fprintf(stderr, "keel manifest: --expires %s is over already\n", text);
        return 0;
    }
    fprintf(stderr,
            "keel manifest: --expires takes 30d, 12h, 2027-06-30, 2027-06-30T12:00:00Z or never; "
            "not \"%s\"\n",
            text);
    return 0;
}

static int take_key(Order *order, const char *key)
{
    if (order->key_count == KEYS_MAX) {
        fprintf(stderr, "keel manifest: at most %d keys\n", KEYS_MAX);
        return 0;
    }
    order->keys[order->key_count++] = key;
    return 1;
}

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Order *order)
{
    static const struct option options[] = {{"sign", required_argument, NULL, 's'},
                                            {"counter", required_argument, NULL, 'c'},
                                            {"expires", required_argument, NULL, 'e'},
                                            {"check", no_argument, NULL, 'k'},
                                            {"trust", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int good = 1, signs = 0, trusts = 0;
    opterr = 0;
    for (int option; good && (option = getopt_long(argc, argv, ":o:h", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            signs = good = take_key(order, optarg);
            break;
        case 't':
            trusts = good = take_key(order, optarg);
            break;
        case 'c':
            order->has_counter = 1;
            if (parse_number(optarg, INT64_MAX, &order->counter) != 1) {
                fprintf(stderr, "keel manifest: --counter takes a number; not \"%s\"\n", optarg);
                good = 0;
            }
            break;
        case 'e':
            good = parse_expiry(order, optarg);
            break;
        case 'k':
            order->check = 1;
            break;
        case 'o':
            order->out = optarg;
            break;
        case 'h':
            fputs(HELP, stdout);
            return 1;
        default:
            fprintf(stderr, "keel manifest: %s%s; see keel manifest --help\n",
                    option == ':' ? "a value is missing for " : "there is no option ",
                    argv[optind - 1]);
            good = 0;
        }
    }
    if (!good)
        return 3;
    if (argc - optind != 1 || !*argv[optind]) {
        fputs("keel manifest: it takes one module; see keel manifest --help\n", stderr);
        return 3;
    }
    if (order->check ? signs || order->out || order->has_counter || order->expires_given : trusts) {
        fputs(order->check ? "keel manifest: --check only reads: leave the other options out\n"
                           : "keel manifest: --trust is for --check; --sign signs\n",
              stderr);
        return 3;
    }
    order->path = argv[optind];
    return 0;
}

int app_manifest(int argc, char **argv)
{
    Order order = {.now_s = (int64_t)time(NULL)};
    order.expires_s = order.now_s + (int64_t)365 * DAY_S;
    int rc = parse(argc, argv, &order);
    if (rc)
        return rc - 1;
    crypto_ignore_config();
    SignedImage *s = calloc(1, sizeof *s);
    Error err;
    if (!s)
        return IMPOSSIBLE;
    s->path = order.path;
    int status = DONE;
    rc = learn(s, &err);
    if (rc)
        status = failed(&err);
    else if (order.check)
        status = manifest_check(s, order.keys, order.key_count);
    else if (write_manifest(&order, s, &err))
        status = failed(&err);
    image_unref(s->image);
    apart_done(&s->apart);
    free(s);
    return status;
}
