/* Who reads which part of an image: the one list. The debug information is read once for all of
 * them. For a process under limits; one thread. */
#include <string.h>

#include "image/dwarf_parts.h"
#include "image/reading.h"

typedef struct Shared {
    Dies dies;
    Reuse reuse;
    int failed; /* KEEL_E…: then there are none */
} Shared;

static int failed(const Shared *shared, Error *err)
{
    return shared->failed
               ? err_set(err, shared->failed, "its debug information is more than can be read")
               : KEEL_OK;
}

static int read_anatomy(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                        size_t *ret_bytes, Error *err)
{
    Shared *s = shared;
    int rc = failed(s, err);
    return rc ? rc : anatomy_read_with(data, bytes, &s->dies, &s->reuse, ret, room, ret_bytes, err);
}

static int read_schema(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                       size_t *ret_bytes, Error *err)
{
    Shared *s = shared;
    int rc = failed(s, err);
    return rc ? rc : schema_read_with(data, bytes, &s->dies, &s->reuse, ret, room, ret_bytes, err);
}

static int read_inspection(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                           size_t *ret_bytes, Error *err)
{
    (void)shared;
    if (room < sizeof(Inspection))
        return err_set(err, KEEL_ELIMIT, "there is no room for what is read of it");
    *ret_bytes = sizeof(Inspection);
    return inspect_bytes(data, bytes, ret, err);
}

/* The last: it says what the others reused, and what the next may. */
static int read_sources(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                        size_t *ret_bytes, Error *err)
{
    const Reuse *reuse = &((Shared *)shared)->reuse;
    const Buf *from = &reuse->sources;
    (void)data;
    (void)bytes;
    if (!from->bytes)
        return err_set(err, KEEL_EUNSUPPORTED, "there is nothing to begin the next reading from");
    if (from->bytes > room)
        return err_set(err, KEEL_ELIMIT, "there is no room for what is read of it");
    memcpy(ret, from->data, from->bytes);
    Sources *head = ret;
    head->debug = reuse->debug;
    head->rest = reuse->reads_code ? (Hash){0} : reuse->rest;
    head->reused =
        (reuse->debug_from ? SOURCES_DEBUG : 0u) | (reuse->schema_from ? SOURCES_SCHEMA : 0u);
    *ret_bytes = from->bytes;
    return KEEL_OK;
}

static const ReadingRow ROWS[] = {{READING_ANATOMY, read_anatomy},
                                  {READING_SCHEMA, read_schema},
                                  {READING_INSPECTION, read_inspection},
                                  {READING_SOURCES, read_sources}};

int reading_make_after(const void *data, size_t bytes, const void *before, size_t before_bytes,
                       void *ret, size_t room, size_t *ret_bytes, Error *err)
{
    Shared shared = {0};
    Reading was;
    int has_before = before && !reading_check(before, before_bytes, &was, NULL);
    reuse_open(data, bytes, has_before ? &was : NULL, &shared.reuse);
    if (!shared.reuse.debug_from || !shared.reuse.schema_from)
        shared.failed = dies_open(data, bytes, &shared.dies);
    int rc = reading_make_by(ROWS, sizeof ROWS / sizeof *ROWS, &shared, data, bytes, ret, room,
                             ret_bytes, err);
    reuse_done(&shared.reuse);
    dies_done(&shared.dies);
    return rc;
}

int reading_make(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    return reading_make_after(data, bytes, NULL, 0, ret, room, ret_bytes, err);
}
