/* Who reads which part of an image: the one list. The debug information is read once for all of
 * them. For a process under limits; one thread. */
#include "image/dwarf_parts.h"
#include "image/reading.h"

typedef struct Shared {
    Dies dies;
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
    return rc ? rc : anatomy_read_with(data, bytes, &s->dies, ret, room, ret_bytes, err);
}

static int read_schema(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                       size_t *ret_bytes, Error *err)
{
    Shared *s = shared;
    int rc = failed(s, err);
    return rc ? rc : schema_read_with(data, bytes, &s->dies, ret, room, ret_bytes, err);
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

static const ReadingRow ROWS[] = {{READING_ANATOMY, read_anatomy},
                                  {READING_SCHEMA, read_schema},
                                  {READING_INSPECTION, read_inspection}};

int reading_make(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    Shared shared = {0};
    shared.failed = dies_open(data, bytes, &shared.dies);
    int rc = reading_make_by(ROWS, sizeof ROWS / sizeof *ROWS, &shared, data, bytes, ret, room,
                             ret_bytes, err);
    dies_done(&shared.dies);
    return rc;
}
