/* Key files. Owns nothing after a call; what it read of a private key is wiped. Any thread. */
#include "base/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 16384 };
static const char NAME[] = "ed25519:";

const char *public_key_text(const PublicKey *key, char text[PUBLIC_KEY_TEXT_BYTES])
{
    memcpy(text, NAME, sizeof NAME - 1);
    hex_text(key->byte, sizeof key->byte, text + sizeof NAME - 1);
    return text;
}

const char *public_key_brief(const PublicKey *key, char text[PUBLIC_KEY_BRIEF_BYTES])
{
    memcpy(text, NAME, sizeof NAME - 1);
    hex_text(key->byte, 6, text + sizeof NAME - 1);
    return text;
}

static int parse_line(const char *text, size_t bytes, PublicKey *ret)
{
    while (bytes && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r'))
        bytes--;
    return bytes == PUBLIC_KEY_TEXT_BYTES - 1 && !memcmp(text, NAME, sizeof NAME - 1) &&
           !hex_parse(text + sizeof NAME - 1, sizeof ret->byte, ret->byte);
}

static int read_small(const char *path, char text[FILE_BYTES_MAX + 1], size_t *ret_bytes,
                      struct stat *ret_stat, Error *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_errno(err,
                         errno == ENOENT   ? KEEL_ENOTFOUND
                         : errno == EACCES ? KEEL_EDENIED
                                           : KEEL_EIO,
                         errno, "cannot open the key %s", path);
    size_t n = 0;
    ssize_t got = -1;
    int rc = KEEL_OK;
    if (fstat(fd, ret_stat) || !S_ISREG(ret_stat->st_mode))
        rc = err_set(err, KEEL_EDATA, "%s is not a file: give a key's file", path);
    while (!rc && n <= FILE_BYTES_MAX && (got = read(fd, text + n, FILE_BYTES_MAX + 1 - n)) > 0)
        n += (size_t)got;
    if (!rc && got < 0)
        rc = err_errno(err, KEEL_EIO, errno, "cannot read the key %s", path);
    if (!rc && n > FILE_BYTES_MAX)
        rc = err_set(err, KEEL_EDATA, "%s is too large for a key", path);
    close(fd);
    if (!rc)
        *ret_bytes = n;
    return rc;
}

static int read_private(const char *path, SigningKey **ret, struct stat *ret_stat, Error *err)
{
    char text[FILE_BYTES_MAX + 1];
    size_t bytes = 0;
    int rc = read_small(path, text, &bytes, ret_stat, err);
    if (!rc && (rc = signing_key_parse(text, bytes, ret, err)))
        err_wrap(err, "%s", path);
    explicit_bzero(text, sizeof text);
    return rc;
}

int keyfile_read_private(const char *path, SigningKey **ret, int *ret_loose, Error *err)
{
    struct stat st;
    int rc = read_private(path, ret, &st, err);
    if (!rc)
        *ret_loose = (st.st_mode & 077) != 0;
    return rc;
}

static int read_public(const char *path, PublicKey *ret, Error *err)
{
    char text[FILE_BYTES_MAX + 1];
    struct stat st;
    size_t bytes = 0;
    int rc = read_small(path, text, &bytes, &st, err);
    if (rc)
        return rc;
    if (parse_line(text, bytes, ret)) {
        rc = KEEL_OK;
    } else if (memmem(text, bytes, "PRIVATE KEY", 11)) {
        rc = err_set(err, KEEL_EDATA,
                     "%s is a private key: give its public half (%s.pub), and keep the private one "
                     "where modules are signed",
                     path, path);
    } else if ((rc = public_key_parse(text, bytes, ret, err))) {
        err_wrap(err, "%s", path);
    }
    explicit_bzero(text, sizeof text);
    return rc;
}

int keyfile_read_public(const char *given, PublicKey *ret, Error *err)
{
    PublicKey key;
    int rc = KEEL_OK;
    if (!strncmp(given, NAME, sizeof NAME - 1)) {
        if (!parse_line(given, strlen(given), &key))
            rc = err_set(err, KEEL_EDATA,
                         "%.80s is not a key: after ed25519: come 64 digits 0-9 and a-f", given);
    } else {
        rc = read_public(given, &key, err);
    }
    if (!rc)
        *ret = key;
    return rc;
}

int keyfile_read_any(const char *path, PublicKey *ret, int *ret_private, Error *err)
{
    Error why;
    int rc = keyfile_read_public(path, ret, err);
    if (!rc) {
        *ret_private = 0;
        return KEEL_OK;
    }
    struct stat st;
    SigningKey *key;
    if (rc != KEEL_EDATA || read_private(path, &key, &st, &why))
        return rc;
    rc = signing_key_public(key, ret, err);
    signing_key_free(key);
    if (!rc)
        *ret_private = 1;
    return rc;
}

/* A new file and never another: not where one is, nor through a link. */
static int write_new(const char *path, mode_t mode, const char *text, Error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST)
        return err_set(err, KEEL_EREFUSED,
                       "%s is there already: choose another name, or move it away first", path);
    if (fd < 0)
        return err_errno(err, errno == EACCES || errno == EROFS ? KEEL_EDENIED : KEEL_EIO, errno,
                         "cannot make %s", path);
    size_t bytes = strlen(text);
    ssize_t n = fchmod(fd, mode) ? -1 : write(fd, text, bytes);
    int number = n < 0 ? errno : ENOSPC;
    int good = n == (ssize_t)bytes;
    if (good && fsync(fd))
        number = errno, good = 0;
    close(fd);
    if (good)
        return KEEL_OK;
    unlink(path);
    return err_errno(err, number == ENOSPC ? KEEL_ENOSPACE : KEEL_EIO, number, "cannot write %s",
                     path);
}

int keyfile_make(const char *path, PublicKey *ret, Error *err)
{
    char public_path[PATH_MAX], secret[512], public[256];
    PublicKey key;
    SigningKey *pair = NULL;
    if ((size_t)snprintf(public_path, sizeof public_path, "%s.pub", path) >= sizeof public_path)
        return err_set(err, KEEL_EINVAL, "the name of the key is too long");
    int rc = signing_key_make(&pair, err);
    rc = rc ? rc : signing_key_public(pair, &key, err);
    rc = rc ? rc : signing_key_pem(pair, secret, sizeof secret, err);
    rc = rc ? rc : public_key_pem(&key, public, sizeof public, err);
    rc = rc ? rc : write_new(path, 0600, secret, err);
    if (!rc && (rc = write_new(public_path, 0644, public, err)))
        unlink(path); /* made just now, and no use without its other half */
    explicit_bzero(secret, sizeof secret);
    signing_key_free(pair);
    if (!rc)
        *ret = key;
    return rc;
}
