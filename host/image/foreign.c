/* What is this file, if it isn't ELF? So that the refusal can say what was given by mistake. Owns
 * nothing; any thread. */
#include <stdio.h>
#include <string.h>

#include "image/parts.h"

enum { QUOTE_BYTES = 24, TEXT_LOOK_BYTES = 512 };

typedef struct Magic {
    const char *bytes;
    size_t length;
    const char *what;
} Magic;

static const Magic MAGIC[] = {
    {"!<arch>\n", 8, "a static library (.a): link it into a shared library with -shared"},
    {"!<thin>\n", 8, "a thin static library (.a): link it into a shared library with -shared"},
    {"BC\xC0\xDE", 4, "LLVM bitcode: link it with -shared to make machine code of it"},
    {"MZ", 2, "a Windows program or DLL: build it on Linux with -shared -fPIC"},
    {"\0asm", 4, "WebAssembly: build it with -shared -fPIC for this machine"},
    {"PK\x03\x04", 4, "a ZIP archive: give the .so that is in it"},
    {"\x1f\x8b", 2, "compressed with gzip: decompress it first"},
    {"\x28\xb5\x2f\xfd", 4, "compressed with zstd: decompress it first"},
    {"\xfd"
     "7zXZ",
     5, "compressed with xz: decompress it first"},
};

static int is_text(const uint8_t *data, size_t bytes)
{
    size_t look = bytes < TEXT_LOOK_BYTES ? bytes : TEXT_LOOK_BYTES;
    for (size_t i = 0; i < look; i++)
        if (data[i] == 127 || (data[i] < 32 && !memchr("\t\n\r\f", data[i], 4)))
            return 0;
    return 1;
}

/* The first line that says something, cut to a few bytes. */
static void quote(const uint8_t *data, size_t bytes, char text[QUOTE_BYTES + 1])
{
    size_t at = 0, n = 0;
    while (at < bytes && (data[at] <= ' '))
        at++;
    while (at < bytes && n < QUOTE_BYTES && data[at] >= ' ' && data[at] < 127)
        text[n++] = (char)data[at++];
    while (n && text[n - 1] == ' ')
        n--;
    text[n] = 0;
}

static int all_zero(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i])
            return 0;
    return 1;
}

int foreign_refuse(const uint8_t *data, size_t bytes, Error *err)
{
    if (!bytes)
        return err_set(err, KEEL_EIMAGE, "it is empty: its build has not written anything yet");
    int rc = macho_refuse(data, bytes, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof MAGIC / sizeof *MAGIC; i++)
        if (bytes >= MAGIC[i].length && !memcmp(data, MAGIC[i].bytes, MAGIC[i].length))
            return err_set(err, KEEL_EIMAGE, "it is %s", MAGIC[i].what);
    char text[QUOTE_BYTES + 1];
    if (is_text(data, bytes)) {
        quote(data, bytes, text);
        if (!strncmp(text, "#!", 2))
            return err_set(err, KEEL_EIMAGE,
                           "it starts with \"%s\": this is a script, not a built module", text);
        if (*text)
            return err_set(err, KEEL_EIMAGE,
                           "it starts with \"%s\": this is source text, not a built module", text);
    }
    if (all_zero(data, bytes < 64 ? bytes : 64))
        return err_set(err, KEEL_EIMAGE,
                       "it starts with zeros: its build was interrupted or the disk lost it: build "
                       "it again");
    if (bytes < 4)
        return err_set(err, KEEL_EIMAGE, "it has %zu bytes, too few for a module", bytes);
    return err_set(err, KEEL_EIMAGE,
                   "it starts with the bytes %02x %02x %02x %02x: this is not a shared library",
                   data[0], data[1], data[2], data[3]);
}
