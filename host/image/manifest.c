/* The frame of a manifest: its lines and signatures, without a look at the JSON in it. Owns the
 * copy of the file. Bytes of unknown origin; any thread. */
#include "image/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keyfile.h"

static const char HEAD[] = "keel-manifest 1\n";
static const char MARK[] = "signature ";
/* "signature ", the key, a blank, the signature, a newline. */
enum { LINE_BYTES = 10 + 2 * PUBLIC_KEY_BYTES + 1 + 2 * SIGNATURE_BYTES + 1 };

static int parse_signature(const char *line, ManifestSignature *ret)
{
    const char *key = line + sizeof MARK - 1, *signature = key + 2 * PUBLIC_KEY_BYTES + 1;
    return !memcmp(line, MARK, sizeof MARK - 1) &&
           !hex_parse(key, PUBLIC_KEY_BYTES, ret->key.byte) && signature[-1] == ' ' &&
           !hex_parse(signature, SIGNATURE_BYTES, ret->signature.byte) &&
           signature[2 * SIGNATURE_BYTES] == '\n';
}

static int take_signatures(Manifest *m, Error *err)
{
    size_t left = m->bytes;
    ManifestSignature found;
    while (left >= LINE_BYTES + sizeof HEAD && m->data[left - LINE_BYTES - 1] == '\n' &&
           parse_signature(m->data + left - LINE_BYTES, &found)) {
        if (m->signature_count == MANIFEST_SIGNATURES)
            return err_set(err, KEEL_EDATA, "it has more than %d signatures", MANIFEST_SIGNATURES);
        m->signatures[m->signature_count++] = found;
        left -= LINE_BYTES;
    }
    m->signed_bytes = left;
    return KEEL_OK;
}

static int take_lines(Manifest *m, Error *err)
{
    const char *at = m->data + sizeof HEAD - 1, *end = m->data + m->signed_bytes;
    const char *facts_end = memchr(at, '\n', (size_t)(end - at));
    if (!facts_end)
        return err_set(err, KEEL_EDATA, "it is cut short: make or copy it again");
    if (facts_end - at > MANIFEST_FACTS_MAX)
        return err_set(err, KEEL_EDATA, "its first line is too long for a manifest");
    m->facts_text = at;
    m->facts_bytes = (size_t)(facts_end - at);
    at = facts_end + 1;
    const char *details_end = memchr(at, '\n', (size_t)(end - at));
    if (!details_end)
        return err_set(err, KEEL_EDATA, "it is cut short: make or copy it again");
    if (details_end + 1 != end)
        return err_set(err, KEEL_EDATA,
                       "what stands at its end is no signature, or it was cut short: make or copy "
                       "it again");
    m->details_text = at;
    m->details_bytes = (size_t)(details_end - at);
    return KEEL_OK;
}

/* `m` owns its data already. */
static int frame(Manifest *m, Error *err)
{
    enum { KIND = sizeof HEAD - 3 }; /* without the number */
    size_t look = m->bytes < KIND ? m->bytes : KIND;
    if (!m->bytes)
        return err_set(err, KEEL_EDATA, "it is empty: make or copy it again");
    if (memcmp(m->data, HEAD, look))
        return err_set(err, KEEL_EDATA, "it is no manifest: `keel manifest` makes them");
    if (m->bytes < sizeof HEAD)
        return err_set(err, KEEL_EDATA, "it is cut short: make or copy it again");
    if (memcmp(m->data, HEAD, sizeof HEAD - 1))
        return err_set(err, KEEL_EDATA,
                       "it is a manifest of a form that this keel doesn't know: update keel, or "
                       "make it with this one");
    int rc = take_signatures(m, err);
    return rc ? rc : take_lines(m, err);
}

int manifest_take(const void *data, size_t bytes, Manifest *ret, Error *err)
{
    Manifest m = {.bytes = bytes};
    if (bytes > MANIFEST_BYTES_MAX)
        return err_set(err, KEEL_ELIMIT, "it has %zu bytes, a manifest has at most %d", bytes,
                       MANIFEST_BYTES_MAX);
    m.data = malloc(bytes + 1);
    if (!m.data)
        return err_set(err, KEEL_ENOMEM, "no memory to read it");
    if (bytes)
        memcpy(m.data, data, bytes);
    m.data[bytes] = 0;
    int rc = frame(&m, err);
    if (rc)
        manifest_done(&m);
    else
        *ret = m;
    return rc;
}

static int open_file(const char *path, int *ret_fd, size_t *ret_bytes, Error *err)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    int rc = KEEL_OK;
    if (fd < 0 && errno == ELOOP)
        return err_set(err, KEEL_EUNTRUSTED,
                       "it is a symbolic link, which may lead anywhere: put the file itself there");
    if (fd < 0)
        return err_errno(err,
                         errno == ENOENT   ? KEEL_ENOTFOUND
                         : errno == EACCES ? KEEL_EDENIED
                         : errno == ENXIO  ? KEEL_EUNTRUSTED
                                           : KEEL_EIO,
                         errno, "it can't be opened");
    if (fstat(fd, &st))
        rc = err_errno(err, KEEL_EIO, errno, "it can't be looked at");
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, KEEL_EUNTRUSTED, "it is not a file");
    else if (st.st_size > MANIFEST_BYTES_MAX)
        rc = err_set(err, KEEL_ELIMIT, "it has %lld bytes, a manifest has at most %d",
                     (long long)st.st_size, MANIFEST_BYTES_MAX);
    if (rc) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    *ret_bytes = (size_t)st.st_size;
    return KEEL_OK;
}

int manifest_read(const char *path, Manifest *ret, Error *err)
{
    int fd = -1;
    size_t bytes = 0;
    Manifest m = {0};
    int rc = open_file(path, &fd, &bytes, err);
    if (rc)
        return err_wrap(err, "%s", path);
    m.data = malloc(bytes + 1);
    if (!m.data)
        rc = err_set(err, KEEL_ENOMEM, "no memory to read it");
    while (!rc) { /* at most what it had: what grows meanwhile is another file's beginning */
        ssize_t n = m.bytes < bytes ? read(fd, m.data + m.bytes, bytes - m.bytes) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_errno(err, KEEL_EIO, errno, "it can't be read");
        if (n <= 0)
            break;
        m.bytes += (size_t)n;
    }
    close(fd);
    if (!rc) {
        m.data[m.bytes] = 0;
        rc = frame(&m, err);
    }
    if (rc) {
        manifest_done(&m);
        return err_wrap(err, "%s", path);
    }
    *ret = m;
    return KEEL_OK;
}

void manifest_done(Manifest *manifest)
{
    if (!manifest)
        return;
    free(manifest->data);
    *manifest = (Manifest){0};
}

static int is_among(const PublicKey *key, const PublicKey *keys, int count)
{
    for (int i = 0; i < count; i++)
        if (!memcmp(key->byte, keys[i].byte, sizeof key->byte))
            return 1;
    return 0;
}

int manifest_verify(Manifest *m, const PublicKey *keys, int count, Error *err)
{
    char brief[PUBLIC_KEY_BRIEF_BYTES];
    int fits = 0;
    if (!m->signature_count)
        return err_set(err, KEEL_EUNTRUSTED,
                       "it is not signed: sign it with `keel manifest --sign KEY`");
    for (int i = 0; i < m->signature_count; i++) {
        const ManifestSignature *s = &m->signatures[i];
        if (!is_among(&s->key, keys, count))
            continue;
        Error why;
        int rc = signature_check(&s->signature, &s->key, m->data, m->signed_bytes, &why);
        if (rc)
            return err_set(err, rc,
                           "its signature by %s does not fit: it was changed after it was signed, "
                           "or the signature is forged (%s)",
                           public_key_brief(&s->key, brief), why.text);
        m->signer = s->key;
        fits = 1;
    }
    if (fits)
        return KEEL_OK;
    return err_set(err, KEEL_EUNTRUSTED,
                   "it is signed by %s%s, which is not trusted here: sign it with a trusted key, "
                   "or give its public key with --trust",
                   public_key_brief(&m->signatures[0].key, brief),
                   m->signature_count > 1 ? " and others" : "");
}
