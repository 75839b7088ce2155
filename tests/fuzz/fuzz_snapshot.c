/* Fuzzes what reads a snapshot and shows it: bytes as they come, and the pages of a good file
 * filled with them, which every check then fits. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "state/frozen.h"

enum { DATA_FIRST = 4608 }; /* of a state of one grain: state_layout */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void put(Buf *to, CborKind kind, uint64_t argument)
{
    uint8_t head[CBOR_HEAD_MOST];
    buf_add(to, head, cbor_put(head, kind, argument));
}

static void text(Buf *to, const char *value)
{
    put(to, CBOR_TEXT, strlen(value));
    buf_add(to, value, strlen(value));
}

static void number(Buf *to, const char *name, uint64_t value)
{
    text(to, name);
    put(to, CBOR_UINT, value);
}

/* A file whose arena's first pages are these bytes. */
static void wrap(const uint8_t *data, size_t bytes, Buf *file)
{
    static const char *const texts[] = {"slot", "module", "version", "build_id", "path", "host"};
    static uint8_t page[4096 * 3];
    Buf plain = {0};
    uint8_t head[CBOR_HEAD_MOST];
    const uint8_t stop = CBOR_BREAK;
    put(&plain, CBOR_TAG, CBOR_SELF_DESCRIBED);
    int before = bytes % 2; /* format 1 had no image */
    put(&plain, CBOR_ARRAY, before ? 8 : 9);
    text(&plain, "keel state");
    put(&plain, CBOR_UINT, before ? 1 : SNAPSHOT_VERSION);
    put(&plain, CBOR_MAP, 17);
    for (int i = 0; i < 6; i++) {
        text(&plain, texts[i]);
        text(&plain, "x");
    }
    number(&plain, "base", STATE_BASE);
    number(&plain, "bytes", STATE_GRAIN_BYTES);
    number(&plain, "used", 0);
    number(&plain, "lsn", 0);
    number(&plain, "frames", 0);
    number(&plain, "wall_ns", 0);
    number(&plain, "image_low", 0);
    number(&plain, "image_high", 0);
    number(&plain, "load_first", 0);
    number(&plain, "load_last", 0);
    number(&plain, "page_bytes", 4096);
    for (int i = before; i < 3; i++)
        put(&plain, CBOR_BYTES, 0);
    buf_add(&plain, head, cbor_put_unended(head, CBOR_ARRAY));
    buf_add(&plain, &stop, 1);
    buf_add(&plain, head, cbor_put_unended(head, CBOR_ARRAY));
    buf_add(file, plain.data, plain.bytes);
    const uint64_t places[] = {0, DATA_FIRST}; /* records; the first data pages */
    for (int i = 0; i < 2; i++) {
        size_t half = bytes / 2, n = half < sizeof page ? half : sizeof page;
        memset(page, 0, sizeof page);
        memcpy(page, data + (size_t)i * half, n);
        if (i == 0) { /* the head must fit, or nothing is looked at */
            const uint64_t words[] = {UINT64_C(0x6b65656c61726e31), STATE_BASE};
            const uint32_t layout[] = {(uint32_t)places[1],
                                       (uint32_t)(STATE_GRAIN_BYTES / 4096 - places[1]), 3, 3};
            memcpy(page, words, sizeof words);
            memcpy(page + 16, layout, sizeof layout);
        }
        size_t begun = plain.bytes;
        put(&plain, CBOR_ARRAY, 3);
        put(&plain, CBOR_UINT, places[i]);
        put(&plain, CBOR_UINT, hash_bytes(page, sizeof page).low);
        put(&plain, CBOR_BYTES, sizeof page);
        buf_add(file, plain.data + begun, plain.bytes - begun);
        buf_add(file, page, sizeof page);
    }
    buf_add(&plain, &stop, 1);
    buf_add(file, &stop, 1);
    uint64_t check = hash_bytes(plain.data, plain.bytes).low;
    put(file, CBOR_BYTES, 8);
    buf_add(file, &check, 8);
    buf_done(&plain);
}

static int visit(const FrozenObject *object, void *user)
{
    uint64_t *sum = user;
    for (uint64_t i = 0; i < object->bytes; i++)
        *sum += object->data[i];
    *sum += strlen(object->type) + strlen(object->file);
    return 0;
}

static int look(const void *data, size_t bytes)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    Frozen *frozen = NULL;
    Error err = {0};
    uint64_t sum = 0;
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    int rc = frozen_open_fd(fd, &frozen, &err);
    if (rc && (frozen || !*err.text))
        abort();
    if (!rc) {
        FrozenObject object;
        frozen_each(frozen, visit, &sum);
        for (uint64_t at = 0; at < 4096 * 4; at += 48)
            if (frozen_around(frozen, STATE_BASE + (uint64_t)DATA_FIRST * 4096 + at, &object))
                visit(&object, &sum);
        frozen_compare(frozen, frozen, NULL, NULL, NULL);
    }
    frozen_free(frozen);
    close(fd);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Buf file = {0};
    look(data, bytes);
    wrap(data, bytes, &file);
    if (look(file.data, file.bytes) && bytes < 2)
        abort(); /* the frame around the bytes fits its checks */
    buf_done(&file);
    return 0;
}
