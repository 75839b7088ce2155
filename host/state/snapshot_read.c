/* Reading a snapshot, whose bytes are not trusted. Owns the parts it has read. Any thread, but
 * snapshot_load. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "state/internal.h"
#include "state/snapshot.h"

enum { WINDOW = 64 * 1024, CHUNK_MOST = 64 << 20 };

struct SnapshotReader {
    int fd, owned;
    uint64_t offset, size; /* of the next byte that is read into the window; of the file */
    uint8_t window[WINDOW];
    size_t at, have;
    Buf plain; /* what the last check covers */
    Snapshot parts;
    int failed;
};

static int damaged(SnapshotReader *r, Error *err, const char *what)
{
    r->failed = 1;
    return err_set(err, KEEL_EDATA, "the snapshot is damaged or cut short (%s): it is not used",
                   what);
}

static int read_at(SnapshotReader *r, void *to, size_t bytes)
{
    uint8_t *at = to;
    while (bytes) {
        ssize_t n = pread(r->fd, at, bytes, (off_t)r->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        r->offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* At least `bytes` of the window, where the file has them. */
static int fill(SnapshotReader *r, size_t bytes)
{
    if (r->have - r->at >= bytes)
        return 1;
    memmove(r->window, r->window + r->at, r->have - r->at);
    r->have -= r->at;
    r->at = 0;
    uint64_t left = r->size - r->offset;
    size_t more = WINDOW - r->have < left ? WINDOW - r->have : (size_t)left;
    if (!read_at(r, r->window + r->have, more))
        return 0;
    r->have += more;
    return r->have >= bytes;
}

/* Contents, from the window and then from the file. */
static int take(SnapshotReader *r, void *to, size_t bytes)
{
    size_t here = r->have - r->at < bytes ? r->have - r->at : bytes;
    memcpy(to, r->window + r->at, here);
    r->at += here;
    return here == bytes || read_at(r, (uint8_t *)to + here, bytes - here);
}

static int head(SnapshotReader *r, CborHead *ret)
{
    fill(r, CBOR_HEAD_MOST); /* near the end there are fewer */
    if (!cbor_get(r->window + r->at, r->have - r->at, ret) ||
        buf_add(&r->plain, r->window + r->at, ret->bytes))
        return 0;
    r->at += ret->bytes;
    return 1;
}

static int expect(SnapshotReader *r, CborKind kind, uint64_t *ret)
{
    CborHead h;
    if (!head(r, &h) || h.kind != kind || h.unended)
        return 0;
    *ret = h.argument;
    return 1;
}

/* What stands in `plain`, too: texts, note, schema. */
static int take_plain(SnapshotReader *r, void *to, size_t bytes)
{
    return take(r, to, bytes) && !buf_add(&r->plain, to, bytes);
}

static int text(SnapshotReader *r, char *to, size_t room)
{
    uint64_t bytes;
    if (!expect(r, CBOR_TEXT, &bytes) || bytes >= room || !take_plain(r, to, (size_t)bytes))
        return 0;
    to[bytes] = 0;
    return strlen(to) == bytes;
}

static int part(SnapshotReader *r, uint8_t **ret, size_t *ret_bytes)
{
    uint64_t bytes;
    if (!expect(r, CBOR_BYTES, &bytes) || bytes > SNAPSHOT_PART_MOST ||
        bytes > r->size - r->offset + (r->have - r->at))
        return 0;
    *ret = malloc(bytes ? (size_t)bytes : 1);
    *ret_bytes = (size_t)bytes;
    return *ret && take_plain(r, *ret, (size_t)bytes);
}

static int header(SnapshotReader *r)
{
    SnapshotInfo *info = &r->parts.info;
    uint64_t fields, page_bytes = 0, wall_ns = 0;
    const struct {
        const char *name;
        char *text;
        size_t room;
        uint64_t *number;
    } known[] = {{"slot", info->slot, sizeof info->slot, NULL},
                 {"module", info->module, sizeof info->module, NULL},
                 {"version", info->version, sizeof info->version, NULL},
                 {"build_id", info->build_id, sizeof info->build_id, NULL},
                 {"path", info->path, sizeof info->path, NULL},
                 {"host", info->host, sizeof info->host, NULL},
                 {"base", NULL, 0, &info->base},
                 {"bytes", NULL, 0, &info->bytes},
                 {"used", NULL, 0, &info->used_bytes},
                 {"lsn", NULL, 0, &info->lsn},
                 {"frames", NULL, 0, &info->frames},
                 {"wall_ns", NULL, 0, &wall_ns},
                 {"image_low", NULL, 0, &info->image_low},
                 {"image_high", NULL, 0, &info->image_high},
                 {"load_first", NULL, 0, &info->load_first},
                 {"load_last", NULL, 0, &info->load_last},
                 {"page_bytes", NULL, 0, &page_bytes},
                 {"edited", NULL, 0, &info->edited}}; /* the last may not be there */
    const size_t count = sizeof known / sizeof *known;
    if (!expect(r, CBOR_MAP, &fields) || (fields != count && fields != count - 1))
        return 0;
    for (size_t i = 0; i < fields; i++) {
        char name[32];
        if (!text(r, name, sizeof name) || strcmp(name, known[i].name) != 0 ||
            !(known[i].text ? text(r, known[i].text, known[i].room)
                            : expect(r, CBOR_UINT, known[i].number)))
            return 0;
    }
    info->wall_ns = (int64_t)(wall_ns & INT64_MAX);
    return page_bytes == PAGE_BYTES && info->bytes && info->bytes % STATE_GRAIN_BYTES == 0 &&
           info->bytes <= STATE_SPACE_BYTES && info->base >= STATE_BASE &&
           (info->base - STATE_BASE) % STATE_GRAIN_BYTES == 0 &&
           info->base - STATE_BASE <= STATE_SPACE_BYTES - info->bytes;
}

/* The head of the next chunk: 1; 0 after the last; -1: damaged. */
static int chunk(SnapshotReader *r, uint64_t *ret_place, uint64_t *ret_check, uint64_t *ret_bytes)
{
    CborHead h;
    if (!head(r, &h))
        return -1;
    if (h.kind == CBOR_SIMPLE && h.unended)
        return 0;
    if (h.kind != CBOR_ARRAY || h.unended || h.argument != 3 || !expect(r, CBOR_UINT, ret_place) ||
        !expect(r, CBOR_UINT, ret_check) || !expect(r, CBOR_BYTES, ret_bytes) || !*ret_bytes ||
        *ret_bytes > CHUNK_MOST || *ret_bytes > r->size)
        return -1;
    return 1;
}

/* Chunks that go on where the one before ended are one span. */
static int statics(SnapshotReader *r)
{
    CborHead h;
    uint64_t place, check, bytes;
    int got;
    if (!head(r, &h) || h.kind != CBOR_ARRAY || !h.unended)
        return 0;
    while ((got = chunk(r, &place, &check, &bytes)) > 0) {
        Snapshot *s = &r->parts;
        SnapshotSpan *last = s->span_count ? &s->spans[s->span_count - 1] : NULL;
        if (!last || last->address + last->bytes != place) {
            if (s->span_count == 16)
                return 0;
            last = &s->spans[s->span_count++];
            *last = (SnapshotSpan){.address = place};
        }
        uint8_t *grown = realloc(last->data, last->bytes + bytes);
        if (!grown)
            return 0;
        last->data = grown;
        if (!take(r, grown + last->bytes, (size_t)bytes) ||
            hash_bytes(grown + last->bytes, (size_t)bytes).low != check)
            return 0;
        last->bytes += bytes;
        if (last->bytes > (uint64_t)STATIC_PAGES_MAX * PAGE_BYTES)
            return 0;
    }
    return got == 0;
}

static int front(SnapshotReader *r, Error *err)
{
    CborHead h;
    char magic[16] = "";
    uint64_t count = 0, version = 0;
    if (!head(r, &h) || h.kind != CBOR_TAG || h.argument != CBOR_SELF_DESCRIBED ||
        !expect(r, CBOR_ARRAY, &count) || !text(r, magic, sizeof magic) ||
        strcmp(magic, "keel state") != 0)
        return err_set(err, KEEL_EDATA,
                       "not a snapshot of Keel: those come from keel ctl snapshot and, as "
                       "NAME.state, from keel run --state");
    if (!expect(r, CBOR_UINT, &version))
        return damaged(r, err, "its version");
    if (version < 1 || version > SNAPSHOT_VERSION)
        return err_set(err, KEEL_EDATA,
                       "a snapshot of format %llu; this Keel reads formats 1 to %d: use the Keel "
                       "that wrote it",
                       (unsigned long long)version, SNAPSHOT_VERSION);
    if (count != (version == 1 ? 8 : 9)) /* 1 had no image */
        return damaged(r, err, "its parts");
    if (!header(r))
        return damaged(r, err, "its header");
    if (!part(r, &r->parts.note, &r->parts.note_bytes) ||
        !part(r, &r->parts.schema, &r->parts.schema_bytes))
        return damaged(r, err, "its note or its types");
    if (version > 1 && !part(r, &r->parts.image, &r->parts.image_bytes))
        return damaged(r, err, "its module");
    if (!statics(r))
        return damaged(r, err, "its statics");
    return KEEL_OK;
}

static int begin(int fd, int owned, SnapshotReader **ret, Error *err)
{
    struct stat st;
    SnapshotReader *r = calloc(1, sizeof *r);
    int rc = r ? KEEL_OK : err_set(err, KEEL_ENOMEM, "no memory to read a snapshot");
    if (rc == KEEL_OK && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        rc = err_set(err, KEEL_EDATA, "a folder or a device, not a snapshot: name the file");
    if (rc == KEEL_OK) {
        *r = (SnapshotReader){.fd = fd, .size = (uint64_t)st.st_size};
        rc = front(r, err);
    }
    if (rc) {
        snapshot_close(r);
        return rc;
    }
    r->owned = owned;
    *ret = r;
    return KEEL_OK;
}

int snapshot_open_fd(int fd, SnapshotReader **ret, Error *err)
{
    return begin(fd, 0, ret, err);
}

int snapshot_open(const char *path, SnapshotReader **ret, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno == ENOENT ? KEEL_ENOTFOUND : KEEL_EIO, errno,
                         "cannot open the snapshot %s", path);
    int rc = begin(fd, 1, ret, err);
    if (rc) {
        close(fd);
        return err_wrap(err, "%s", path);
    }
    return KEEL_OK;
}

const Snapshot *snapshot_parts(const SnapshotReader *reader)
{
    return &reader->parts;
}

void snapshot_close(SnapshotReader *r)
{
    if (!r)
        return;
    if (r->owned)
        close(r->fd);
    for (int i = 0; i < r->parts.span_count; i++)
        free(r->parts.spans[i].data);
    free(r->parts.note);
    free(r->parts.schema);
    free(r->parts.image);
    buf_done(&r->plain);
    free(r);
}

int snapshot_pages(SnapshotReader *r, uint8_t *memory, Error *err)
{
    CborHead h;
    uint64_t place, check, bytes, end = 0;
    const uint64_t pages = r->parts.info.bytes / PAGE_BYTES;
    int got;
    if (r->failed || !head(r, &h) || h.kind != CBOR_ARRAY || !h.unended)
        return damaged(r, err, "its pages");
    while ((got = chunk(r, &place, &check, &bytes)) > 0) {
        if (bytes % PAGE_BYTES != 0 || place < end || place > pages ||
            bytes / PAGE_BYTES > pages - place)
            return damaged(r, err, "the place of a page");
        uint8_t *to = memory + place * PAGE_BYTES;
        if (!take(r, to, (size_t)bytes) || hash_bytes(to, (size_t)bytes).low != check)
            return damaged(r, err, "the contents of a page");
        end = place + bytes / PAGE_BYTES;
    }
    if (got < 0)
        return damaged(r, err, "its pages");
    uint64_t expected = hash_bytes(r->plain.data, r->plain.bytes).low, length, stored;
    if (!expect(r, CBOR_BYTES, &length) || length != sizeof stored ||
        !take(r, &stored, sizeof stored) || stored != expected)
        return damaged(r, err, "its check");
    r->failed = 1; /* only once */
    return r->at == r->have && r->offset == r->size ? KEEL_OK
                                                    : damaged(r, err, "what follows its end");
}

/* The type table is read by everybody and written by the host alone: its texts must end. */
static int types_end(const State *state)
{
    const char *spelling, *file;
    uint32_t count = type_count(state);
    for (uint32_t id = 1; id <= count; id++) {
        const TypeRecord *type = type_record(state, id);
        if (!type || !type_texts(state, type, &spelling, &file))
            return 0;
    }
    return count == arena_head(state)->type_count;
}

int snapshot_load(SnapshotReader *r, State *state, Error *err)
{
    const SnapshotInfo *info = &r->parts.info;
    if (info->base != (uintptr_t)state->base || info->bytes != state->max_bytes)
        return err_set(err, KEEL_EINVAL,
                       "the snapshot's state lives at 0x%llx (%llu MiB), this slot's at %p",
                       (unsigned long long)info->base, (unsigned long long)(info->bytes >> 20),
                       (void *)state->base);
    arena_punch(state, 0, state->max_bytes / PAGE_BYTES);
    int rc = snapshot_pages(r, state->base, err);
    ArenaHead *head = arena_head(state);
    uint32_t high = state->live_high;
    if (rc == KEEL_OK) {
        head->high = head->top;
        rc = state_check(state, err);
        if (rc == KEEL_OK && !types_end(state))
            rc = err_set(err, KEEL_EDATA, "its table of types is damaged");
        if (rc)
            err_wrap(err, "the snapshot's state isn't sound");
    }
    if (rc) {
        arena_punch(state, 0, state->max_bytes / PAGE_BYTES);
        pages_init(state);
    }
    /* What the checkpoint has in use must not be taken for zero by it. */
    if (head->high < high)
        head->high = high;
    state->live_high = head->high;
    return rc;
}
