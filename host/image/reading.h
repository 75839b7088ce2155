/* A reading: what the helper found out about an image beyond its headers, in tagged parts. The
 * helper fills one piece of memory; it is checked whole on arrival, since what was read is hostile
 * and may have taken the reader over. Immutable then; any thread.
 *
 * A new kind of part is one tag here, one row in dwarf_reading.c (who reads it) and one row in
 * reading.c (who checks it). A part that can't be read says why and spoils no other. */
#ifndef IMAGE_READING_H
#define IMAGE_READING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/anatomy.h"
#include "image/inspect.h"
#include "image/schema.h"
#include "image/sources.h"

enum {
    READING_ANATOMY = 1,    /* image/anatomy.h */
    READING_SCHEMA = 2,     /* image/schema.h */
    READING_INSPECTION = 3, /* image/inspect.h */
    READING_SOURCES = 4,    /* image/sources.h */
    READING_PARTS = 8,      /* the most that one has */
    READING_WHY_BYTES = 256
};

/* The most that a reading may take; the memory is only taken as it is filled. */
#define READING_ROOM ((size_t)512 << 20)

/* Fills at most `room` bytes of `ret`, which is aligned to 16; `*ret_bytes` says how many.
 * `shared` is what all readers of one image have in common. */
typedef int ReadingReader(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                          size_t *ret_bytes, Error *err);

typedef struct ReadingPart {
    uint32_t tag;
    int32_t code; /* 0, or KEEL_E…: then `data` is a sentence, ended by 0 */
    size_t bytes;
    const void *data;
} ReadingPart;

typedef struct Reading {
    uint32_t count;
    ReadingPart parts[READING_PARTS]; /* by tag */
    Anatomy anatomy;                  /* all 0 when that part is missing */
    Schema schema;                    /* the same */
    void *mapping;                    /* of reading_open */
    size_t mapped;
    int memfd;                   /* of reading_open: the same bytes, sealed */
    _Atomic uint32_t references; /* of reading_open */
} Reading;

/* ---- in the helper, in a process under limits ---- */

/* One part after the other; fails only when none could be read, with the first one's sentence. */
int reading_make(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err);

/* The same reading, begun from `before`, one of another image: what is the same in both for sure is
 * taken over. `before` is checked; when it is NULL or not one, it is as if there were none. */
int reading_make_after(const void *data, size_t bytes, const void *before, size_t before_bytes,
                       void *ret, size_t room, size_t *ret_bytes, Error *err);

typedef struct ReadingRow {
    uint32_t tag;
    ReadingReader *read;
} ReadingRow;

/* As reading_make, by these rows, in order of their tags. */
int reading_make_by(const ReadingRow *rows, size_t count, void *shared, const void *data,
                    size_t bytes, void *ret, size_t room, size_t *ret_bytes, Error *err);

/* ---- in the host ---- */

/* Checks every offset, and each part by its own rule. `*ret` points into `data`, which is aligned
 * to 16. KEEL_EFAULT when anything is wrong. */
int reading_check(const void *data, size_t bytes, Reading *ret, Error *err);

/* Takes over a memfd, which must be sealed, maps and checks it. The caller's reference. */
int reading_open(int memfd, Reading **ret, Error *err);
Reading *reading_ref(Reading *reading);
/* Gives a reference back; NULL is fine. */
void reading_free(Reading *reading);

/* The part, or NULL: then `*ret_why`, unless NULL, is a sentence. `reading` may be NULL. */
const ReadingPart *reading_part(const Reading *reading, uint32_t tag, const char **ret_why);

/* The anatomy, the schema, the inspection, or NULL as above. */
const Anatomy *reading_anatomy(const Reading *reading, const char **ret_why);
const Schema *reading_schema(const Reading *reading, const char **ret_why);
/* The sources, or NULL. */
const Sources *reading_sources(const Reading *reading);
const Inspection *reading_inspection(const Reading *reading, const char **ret_why);

#endif
