/* Writing a snapshot from a pin. Owns the buffers of one writing. Any thread, while frames go on.
 */
#include "state/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "state/internal.h"

enum { CHUNK_PAGES = 256, HEADER_FIELDS = 17 };

typedef struct Sink {
    int fd;
    Buf plain;   /* every byte but the chunks' contents: what the last check covers */
    size_t sent; /* of `plain` */
    uint8_t *chunk;
    int number; /* errno */
} Sink;

static void send_all(Sink *sink, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes && !sink->number) {
        ssize_t n = write(sink->fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            sink->number = n < 0 ? errno : ENOSPC;
            return;
        }
        at += n;
        bytes -= (size_t)n;
    }
}

static void flush(Sink *sink)
{
    send_all(sink, sink->plain.data + sink->sent, sink->plain.bytes - sink->sent);
    sink->sent = sink->plain.bytes;
}

static void put_raw(Sink *sink, const void *data, size_t bytes)
{
    if (buf_add(&sink->plain, data, bytes))
        sink->number = ENOMEM;
}

static void put(Sink *sink, CborKind kind, uint64_t argument)
{
    uint8_t head[CBOR_HEAD_MOST];
    put_raw(sink, head, cbor_put(head, kind, argument));
}

static void put_text(Sink *sink, const char *text)
{
    size_t bytes = strlen(text);
    put(sink, CBOR_TEXT, bytes);
    put_raw(sink, text, bytes);
}

static void put_bytes(Sink *sink, const void *data, size_t bytes)
{
    put(sink, CBOR_BYTES, bytes);
    put_raw(sink, data, bytes);
}

static void field_number(Sink *sink, const char *name, uint64_t value)
{
    put_text(sink, name);
    put(sink, CBOR_UINT, value);
}

static void field_text(Sink *sink, const char *name, const char *value)
{
    put_text(sink, name);
    put_text(sink, value);
}

static void put_header(Sink *sink, const SnapshotInfo *info)
{
    put(sink, CBOR_MAP, HEADER_FIELDS + (info->edited != 0));
    field_text(sink, "slot", info->slot);
    field_text(sink, "module", info->module);
    field_text(sink, "version", info->version);
    field_text(sink, "build_id", info->build_id);
    field_text(sink, "path", info->path);
    field_text(sink, "host", info->host);
    field_number(sink, "base", info->base);
    field_number(sink, "bytes", info->bytes);
    field_number(sink, "used", info->used_bytes);
    field_number(sink, "lsn", info->lsn);
    field_number(sink, "frames", info->frames);
    field_number(sink, "wall_ns", info->wall_ns > 0 ? (uint64_t)info->wall_ns : 0);
    field_number(sink, "image_low", info->image_low);
    field_number(sink, "image_high", info->image_high);
    field_number(sink, "load_first", info->load_first);
    field_number(sink, "load_last", info->load_last);
    field_number(sink, "page_bytes", PAGE_BYTES);
    if (info->edited)
        field_number(sink, "edited", 1);
}

/* [place, check, bytes], the bytes past `plain`. */
static void put_chunk(Sink *sink, uint64_t place, const void *data, size_t bytes)
{
    put(sink, CBOR_ARRAY, 3);
    put(sink, CBOR_UINT, place);
    put(sink, CBOR_UINT, hash_bytes(data, bytes).low);
    put(sink, CBOR_BYTES, bytes);
    flush(sink);
    send_all(sink, data, bytes);
}

static void put_break(Sink *sink)
{
    const uint8_t end = CBOR_BREAK;
    put_raw(sink, &end, 1);
}

static void put_statics(Sink *sink, const PinReader *reader, const Pin *pin)
{
    uint8_t head[CBOR_HEAD_MOST];
    put_raw(sink, head, cbor_put_unended(head, CBOR_ARRAY));
    uint32_t id = pin->state->store.arena_pages;
    for (int i = 0; i < pin->span_count; i++) {
        uint64_t left = pin->spans[i].bytes, address = (uintptr_t)pin->spans[i].address;
        while (left && !sink->number) {
            size_t bytes = 0;
            for (int n = 0; n < CHUNK_PAGES && left; n++) {
                size_t part = left < PAGE_BYTES ? (size_t)left : PAGE_BYTES;
                memcpy(sink->chunk + bytes, pin_read(reader, id++), part);
                bytes += part;
                left -= part;
            }
            put_chunk(sink, address, sink->chunk, bytes);
            address += bytes;
        }
    }
    put_break(sink);
}

static void put_spans(Sink *sink, const SnapshotParts *parts)
{
    uint8_t head[CBOR_HEAD_MOST];
    put_raw(sink, head, cbor_put_unended(head, CBOR_ARRAY));
    for (int i = 0; i < parts->span_count; i++)
        put_chunk(sink, parts->spans[i].address, parts->spans[i].data, parts->spans[i].bytes);
    put_break(sink);
}

static int is_zero(const uint8_t *page)
{
    const uint64_t *words = (const uint64_t *)(const void *)page;
    uint64_t any = 0;
    for (int i = 0; i < PAGE_BYTES / 8; i++)
        any |= words[i];
    return !any;
}

static void put_range(Sink *sink, const PinReader *reader, uint32_t first, uint32_t last)
{
    uint32_t from = first, count = 0;
    for (uint32_t id = first; id < last && !sink->number; id++) {
        const uint8_t *page = pin_read(reader, id);
        int zero = is_zero(page);
        if (!zero) {
            if (!count)
                from = id;
            memcpy(sink->chunk + (size_t)count++ * PAGE_BYTES, page, PAGE_BYTES);
        }
        if (count && (zero || count == CHUNK_PAGES || id + 1 == last)) {
            put_chunk(sink, from, sink->chunk, (size_t)count * PAGE_BYTES);
            count = 0;
        }
    }
}

static void put_pages(Sink *sink, const PinReader *reader, const Pin *pin)
{
    uint8_t head[CBOR_HEAD_MOST];
    put_raw(sink, head, cbor_put_unended(head, CBOR_ARRAY));
    put_range(sink, reader, 0, pin->meta_pages);
    put_range(sink, reader, pin->state->data_first, pin->data_last);
    put_break(sink);
}

int snapshot_write(const Pin *pin, const SnapshotInfo *given, const SnapshotParts *parts, int fd,
                   Error *err)
{
    const State *state = pin->state;
    if (parts->note_bytes > SNAPSHOT_PART_MOST || parts->schema_bytes > SNAPSHOT_PART_MOST ||
        parts->image_bytes > SNAPSHOT_PART_MOST)
        return err_set(err, KEEL_ELIMIT, "the types of the state are too many for a snapshot");
    SnapshotInfo info = *given;
    info.base = (uintptr_t)state->base;
    info.bytes = state->max_bytes;
    info.used_bytes = ((uint64_t)pin->meta_pages + pin->data_last - state->data_first) * PAGE_BYTES;
    Sink sink = {.fd = fd, .chunk = malloc((size_t)CHUNK_PAGES * PAGE_BYTES)};
    PinReader reader;
    int rc = sink.chunk ? pin_read_begin(pin, &reader) : KEEL_ENOMEM;
    if (rc) {
        free(sink.chunk);
        return err_set(err, rc, "no memory to write a snapshot");
    }
    put(&sink, CBOR_TAG, CBOR_SELF_DESCRIBED);
    put(&sink, CBOR_ARRAY, 9);
    put_text(&sink, "keel state");
    put(&sink, CBOR_UINT, SNAPSHOT_VERSION);
    put_header(&sink, &info);
    put_bytes(&sink, parts->note, parts->note_bytes);
    put_bytes(&sink, parts->schema, parts->schema_bytes);
    put_bytes(&sink, parts->image, parts->image_bytes);
    if (parts->spans)
        put_spans(&sink, parts);
    else
        put_statics(&sink, &reader, pin);
    put_pages(&sink, &reader, pin);
    uint64_t check = hash_bytes(sink.plain.data, sink.plain.bytes).low;
    put(&sink, CBOR_BYTES, sizeof check);
    put_raw(&sink, &check, sizeof check);
    flush(&sink);
    pin_read_end(&reader);
    buf_done(&sink.plain);
    free(sink.chunk);
    return sink.number ? err_errno(err, sink.number == ENOSPC ? KEEL_ENOSPACE : KEEL_EIO,
                                   sink.number, "cannot write the snapshot")
                       : KEEL_OK;
}

/* The folder's entry must be on the disk, too. */
static int sync_folder(const char *path)
{
    char folder[4200];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 ? fsync(fd) : -1;
    if (fd >= 0)
        close(fd);
    return rc;
}

int snapshot_write_file(const Pin *pin, const SnapshotInfo *info, const SnapshotParts *parts,
                        const char *path, Error *err)
{
    char temporary[4200];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return err_set(err, KEEL_EINVAL, "the snapshot's name is too long");
    unlink(temporary); /* of one that was cut off */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make the snapshot %s", path);
    int rc = snapshot_write(pin, info, parts, fd, err);
    if (rc)
        err_wrap(err, "%s", path);
    kill_point();
    if (rc == KEEL_OK && fsync(fd) != 0)
        rc = err_errno(err, KEEL_EIO, errno, "cannot write the snapshot %s", path);
    close(fd);
    kill_point();
    if (rc == KEEL_OK && (rename(temporary, path) != 0 || sync_folder(path) != 0))
        rc = err_errno(err, KEEL_EIO, errno, "cannot put the snapshot in its place %s", path);
    if (rc)
        unlink(temporary);
    return rc;
}
