/* Who reads which part of an image: the one list. For a process under limits; one thread. */
#include "image/anatomy_read.h"
#include "image/reading.h"

static int read_inspection(const void *data, size_t bytes, void *ret, size_t room,
                           size_t *ret_bytes, Error *err)
{
    if (room < sizeof(Inspection))
        return err_set(err, KEEL_ELIMIT, "there is no room for what is read of it");
    *ret_bytes = sizeof(Inspection);
    return inspect_bytes(data, bytes, ret, err);
}

static const ReadingRow ROWS[] = {{READING_ANATOMY, anatomy_read},
                                  {READING_SCHEMA, schema_read},
                                  {READING_INSPECTION, read_inspection}};

int reading_make(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    return reading_make_by(ROWS, sizeof ROWS / sizeof *ROWS, data, bytes, ret, room, ret_bytes,
                           err);
}
