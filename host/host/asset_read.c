/* Reads an asset's file and makes its event. Owns the decoder process and descriptors while it
 * reads. libuv's pool. */
#include "host/asset_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <keel/asset.h>

#include "base/utf8.h"
#include "host/asset_decode.h"
#include "host/asset_font.h"
#include "watch/beneath.h"
#include "watch/settle.h"

/* ---- events ---- */

static Input *error_event(const Error *err)
{
    const char *text = err->text;
    size_t bytes = strlen(text) + 1;
    const struct keel_event event = {.kind = KEEL_EVENT_ASSET, .result = err->code};
    Input *input = input_new(&event, bytes);
    if (input)
        memcpy(input + 1, text, bytes);
    return input;
}

/* Room for the content, and a 0 behind it. */
static Input *content_event(const struct keel_asset *asset)
{
    const struct keel_event event = {.kind = KEEL_EVENT_ASSET};
    Input *input = input_new(&event, sizeof *asset + (size_t)asset->bytes + 1);
    if (!input)
        return NULL;
    memcpy(input + 1, asset, sizeof *asset);
    char *content = (char *)(input + 1) + sizeof *asset;
    content[asset->bytes] = 0;
    return input;
}

static void *content_of(Input *input)
{
    return (char *)(input + 1) + sizeof(struct keel_asset);
}

static int read_all(int fd, void *to, size_t bytes, off_t at, Error *err)
{
    char *next = to;
    while (bytes) {
        ssize_t n = pread(fd, next, bytes, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, KEEL_EIO, "its copy can't be read");
        next += n;
        at += n;
        bytes -= (size_t)n;
    }
    return KEEL_OK;
}

/* ---- the file, settled ---- */

/* Names the file in the sentences of settle_read, which knows it as a descriptor. */
static int rename_in(Error *err, const char *path)
{
    char *behind = strstr(err->text, ": ");
    if (!strncmp(err->text, "/proc/self/fd/", 14) && behind)
        memmove(err->text, behind + 2, strlen(behind + 2) + 1);
    return err_wrap(err, "%s", path);
}

static int settle(const AssetRead *read, Settled *ret, Error *err)
{
    int fd;
    uint64_t bytes;
    int rc = beneath_open(read->folder, read->path, &fd, &bytes, err);
    if (rc)
        return rc;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    static const SettleOptions options = {.leases = 1, .max_bytes = ASSET_FILE_MOST};
    if (bytes > ASSET_FILE_MOST)
        rc = err_set(err, KEEL_ELIMIT, "%s: it has %llu bytes; files of assets have at most %d MiB",
                     read->path, (unsigned long long)bytes, ASSET_FILE_MOST >> 20);
    else if (!bytes && read->patient)
        rc = err_set(err, KEEL_EPARTIAL, "%s: it is empty", read->path);
    else if (!bytes)
        *ret = (Settled){.memfd = -1, .hash = hash_bytes("", 0)};
    else if ((rc = settle_read(path, &options, ret, err)))
        rename_in(err, read->path);
    close(fd);
    return rc;
}

/* ---- content ---- */

static int check_text(const char *text, size_t bytes, const char *path, Error *err)
{
    for (size_t at = 0, step; at < bytes; at += step) {
        uint32_t c = utf8_next(text + at, bytes - at, &step);
        if (c == UTF8_REPLACEMENT && (step != 3 || (uint8_t)text[at] != 0xef))
            return err_set(err, KEEL_EDATA, "%s: it is no UTF-8 text (byte %zu)", path, at);
    }
    return KEEL_OK;
}

static int take_plain(const AssetRead *read, const Settled *file, struct keel_asset *asset,
                      Input **ret, Error *err)
{
    asset->bytes = file->bytes;
    Input *input = content_event(asset);
    if (!input)
        return err_set(err, KEEL_ENOMEM, "%s: no memory for its %zu bytes", read->path,
                       file->bytes);
    int rc = read_all(file->memfd, content_of(input), file->bytes, 0, err);
    if (!rc && read->as == KEEL_ASSET_TEXT)
        rc = check_text(content_of(input), file->bytes, read->path, err);
    if (!rc && read->as == KEEL_ASSET_FONT)
        rc = asset_font_check(content_of(input), file->bytes, read->path, err);
    if (rc)
        free(input);
    else
        *ret = input;
    return rc;
}

/* What the decoder says must fit together. */
static int check_wire(const AssetWire *wire, uint32_t as, uint64_t bytes)
{
    if (wire->bytes > ASSET_CONTENT_MOST || bytes != sizeof *wire + wire->bytes)
        return 0;
    if (as == KEEL_ASSET_IMAGE)
        return wire->width && wire->height && wire->width <= ASSET_SIDE_MOST &&
               wire->height <= ASSET_SIDE_MOST &&
               wire->bytes == (uint64_t)wire->width * wire->height * 4;
    return (wire->channels == 1 || wire->channels == 2) && wire->rate >= ASSET_RATE_LEAST &&
           wire->rate <= ASSET_RATE_MOST && wire->frames <= ASSET_CONTENT_MOST &&
           wire->bytes == wire->frames * wire->channels * sizeof(float);
}

static int take_decoded(const AssetRead *read, const Settled *file, struct keel_asset *asset,
                        Input **ret, Error *err)
{
    int out;
    int rc = asset_decode(read->decoder, read->as, file->memfd, read->stop, &out, err);
    if (rc)
        return err_wrap(err, "%s", read->path);
    AssetWire wire;
    struct stat st;
    Input *input = NULL;
    if (fstat(out, &st) || (size_t)st.st_size < sizeof wire ||
        read_all(out, &wire, sizeof wire, 0, NULL) || wire.magic != ASSET_WIRE_MAGIC)
        rc = err_set(err, KEEL_EFAULT, "%s: decoding it ended early: it is damaged or malicious",
                     read->path);
    else if (wire.code)
        rc = err_set(err, wire.code < 0 && wire.code >= KEEL_ERROR_FIRST ? wire.code : KEEL_EDATA,
                     "%s: %.*s", read->path, (int)sizeof wire.error - 1, wire.error);
    else if (!check_wire(&wire, read->as, (uint64_t)st.st_size))
        rc = err_set(err, KEEL_EFAULT, "%s: decoding it told nonsense: it is damaged or malicious",
                     read->path);
    if (!rc) {
        asset->width = wire.width;
        asset->height = wire.height;
        asset->channels = wire.channels;
        asset->rate = wire.rate;
        asset->frames = wire.frames;
        asset->bytes = wire.bytes;
        input = content_event(asset);
        rc = input ? read_all(out, content_of(input), (size_t)wire.bytes, sizeof wire, err)
                   : err_set(err, KEEL_ENOMEM, "%s: no memory for its content", read->path);
    }
    close(out);
    if (rc)
        free(input);
    else
        *ret = input;
    return rc;
}

static int read_file(AssetRead *read, Error *err)
{
    Settled file;
    int rc = settle(read, &file, err);
    if (rc)
        return rc;
    read->hash = file.hash;
    if (!read->force && hash_equal(read->hash, read->known)) {
        settled_done(&file);
        return KEEL_OK;
    }
    struct keel_asset asset = {
        .size = sizeof asset, .kind = read->as, .hash = {file.hash.low, file.hash.high}};
    if (read->as != KEEL_ASSET_IMAGE && read->as != KEEL_ASSET_SOUND)
        rc = take_plain(read, &file, &asset, &read->event, err);
    else if (!file.bytes)
        rc = err_set(err, KEEL_EDATA, "%s: it is empty", read->path);
    else
        rc = take_decoded(read, &file, &asset, &read->event, err);
    settled_done(&file);
    return rc;
}

int asset_read(AssetRead *read, Error *err)
{
    read->event = NULL;
    int rc = read_file(read, err);
    if (!rc || rc == KEEL_EBUSY || rc == KEEL_EPARTIAL)
        return rc;
    read->hash = hash_bytes(err->text, strlen(err->text)); /* the same trouble is told once */
    if (read->force || !hash_equal(read->hash, read->known))
        read->event = error_event(err);
    return KEEL_OK;
}
