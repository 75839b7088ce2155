/* `keel key`: makes the keys that manifests are signed with, and shows them. Owns nothing; main
 * thread. */
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/text.h"
#include "base/keyfile.h"

static const char HELP[] =
    "usage: keel key new FILE      make a key: FILE (private) and FILE.pub (public)\n"
    "       keel key show FILE     the public half of a key, in both forms\n"
    "\n"
    "A private key signs manifests (keel manifest --sign FILE); it is readable by its owner only\n"
    "and belongs on the machine that builds releases. The public one is what hosts are given\n"
    "(keel run --trust FILE.pub), as a file or as the one line ed25519:... .\n"
    "\n"
    "Exit status: 0 done, 2 it could not be.\n"
    "\n"
    "example: keel key new release.key\n";

enum { DONE = 0, IMPOSSIBLE = 2 };

static int failed(const Error *err)
{
    fputs("keel key: ", stderr);
    text_print(stderr, err->text);
    fputc('\n', stderr);
    return IMPOSSIBLE;
}

static int make(const char *path)
{
    Error err;
    PublicKey key;
    char text[PUBLIC_KEY_TEXT_BYTES];
    if (keyfile_make(path, &key, &err))
        return failed(&err);
    puts(public_key_text(&key, text));
    fputs("private: ", stdout);
    text_print(stdout, path);
    fputs("      sign with it: keel manifest MODULE.so --sign ", stdout);
    text_print(stdout, path);
    fputs("\npublic:  ", stdout);
    text_print(stdout, path);
    fputs(".pub  run with it:  keel run MODULE.so --trust ", stdout);
    text_print(stdout, path);
    fputs(".pub\n", stdout);
    return DONE;
}

static int show(const char *path)
{
    Error err;
    PublicKey key;
    char text[PUBLIC_KEY_TEXT_BYTES], pem[256];
    int is_private;
    int rc = keyfile_read_any(path, &key, &is_private, &err);
    rc = rc ? rc : public_key_pem(&key, pem, sizeof pem, &err);
    if (rc)
        return failed(&err);
    puts(public_key_text(&key, text));
    fputs(pem, stdout);
    if (is_private)
        fputs("keel key: this file holds the private half: keep it to yourself\n", stderr);
    return DONE;
}

int app_key(int argc, char **argv)
{
    crypto_ignore_config();
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(HELP, stdout);
            return DONE;
        }
    if (argc == 3 && *argv[2] && *argv[2] != '-') {
        if (!strcmp(argv[1], "new"))
            return make(argv[2]);
        if (!strcmp(argv[1], "show"))
            return show(argv[2]);
    }
    fputs("keel key: it is `keel key new FILE` or `keel key show FILE`; see keel key --help\n",
          stderr);
    return IMPOSSIBLE;
}
