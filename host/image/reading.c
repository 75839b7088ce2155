/* The container of what the helper read: written there part by part, checked here before a byte of
 * it is believed. Owns the mapping of an opened one; any thread. */
#include "image/reading.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC = 0x4b52454c, ALIGN = 16 };

typedef struct PartHead {
    uint32_t tag;
    int32_t code;
    uint64_t offset, bytes;
} PartHead;

typedef struct Head {
    uint32_t magic, count;
    PartHead parts[READING_PARTS];
} Head;

static int check_anatomy(const ReadingPart *part, Reading *reading, Error *err)
{
    return anatomy_check(part->data, part->bytes, &reading->anatomy, err);
}

static int check_schema(const ReadingPart *part, Reading *reading, Error *err)
{
    return schema_check(part->data, part->bytes, &reading->schema, err);
}

static int check_inspection(const ReadingPart *part, Reading *reading, Error *err)
{
    (void)reading;
    return inspection_check(part->data, part->bytes, err);
}

static int check_sources(const ReadingPart *part, Reading *reading, Error *err)
{
    return sources_check(part->data, part->bytes, &reading->anatomy, err);
}

static const struct {
    uint32_t tag;
    int (*check)(const ReadingPart *part, Reading *reading, Error *err);
} CHECKS[] = {{READING_ANATOMY, check_anatomy},
              {READING_SCHEMA, check_schema},
              {READING_INSPECTION, check_inspection},
              {READING_SOURCES, check_sources}};

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* ---- in the helper ---- */

static size_t write_why(char *to, size_t room, const Error *err)
{
    size_t bytes = strnlen(err->text, READING_WHY_BYTES - 1);
    if (bytes >= room)
        return 0;
    memcpy(to, err->text, bytes);
    to[bytes] = 0;
    return bytes + 1;
}

int reading_make_by(const ReadingRow *rows, size_t count, void *shared, const void *data,
                    size_t bytes, void *ret, size_t room, size_t *ret_bytes, Error *err)
{
    Head head = {.magic = MAGIC};
    size_t at = round_up(sizeof head);
    int good = 0, rc = KEEL_OK;
    Error first = {0};
    if (room < at || count > READING_PARTS)
        return err_set(err, KEEL_ELIMIT, "there is no room for what is read of it");
    for (size_t i = 0; i < count; i++) {
        PartHead *part = &head.parts[head.count];
        Error why = {0};
        size_t part_bytes = 0;
        *part = (PartHead){.tag = rows[i].tag, .offset = at};
        part->code =
            rows[i].read(shared, data, bytes, (char *)ret + at, room - at, &part_bytes, &why);
        if (part->code) {
            rc = rc ? rc : part->code;
            first = *first.text ? first : why;
            part_bytes = write_why((char *)ret + at, room - at, &why);
            if (!part_bytes)
                continue; /* not even room to say so: it is missing */
        } else {
            good++;
        }
        part->bytes = part_bytes;
        at = round_up(at + part_bytes);
        at = at < room ? at : room;
        head.count++;
    }
    if (!good && rc)
        return err_set(err, rc, "%s", first.text);
    memcpy(ret, &head, sizeof head);
    *ret_bytes = at;
    return KEEL_OK;
}

/* ---- in the host ---- */

static int subverted(Error *err)
{
    return err_set(err, KEEL_EFAULT,
                   "what was read of it contradicts itself: it is damaged or malicious");
}

static int check_part(const ReadingPart *part, Reading *reading, Error *err)
{
    if (part->code) {
        const char *why = part->data;
        return part->code > 0 || !part->bytes || why[part->bytes - 1] ? subverted(err) : KEEL_OK;
    }
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        if (CHECKS[i].tag == part->tag)
            return CHECKS[i].check(part, reading, err);
    return subverted(err); /* host and helper are of one build */
}

int reading_check(const void *data, size_t bytes, Reading *ret, Error *err)
{
    Head head;
    Reading reading = {0};
    if (bytes < sizeof head)
        return subverted(err);
    memcpy(&head, data, sizeof head);
    if (head.magic != MAGIC || head.count > READING_PARTS)
        return subverted(err);
    uint64_t at = sizeof head;
    for (uint32_t i = 0; i < head.count; i++) {
        const PartHead *h = &head.parts[i];
        if (h->offset % ALIGN || h->offset < at || h->offset > bytes ||
            h->bytes > bytes - h->offset || (i && h->tag <= head.parts[i - 1].tag))
            return subverted(err);
        at = h->offset + h->bytes;
        reading.parts[i] =
            (ReadingPart){h->tag, h->code, (size_t)h->bytes, (const char *)data + h->offset};
        int rc = check_part(&reading.parts[i], &reading, err);
        if (rc)
            return rc;
    }
    reading.count = head.count;
    reading.references = 1;
    reading.memfd = -1;
    *ret = reading;
    return KEEL_OK;
}

int reading_open(int memfd, Reading **ret, Error *err)
{
    const int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(memfd, F_GET_SEALS), rc = KEEL_OK;
    void *mapping = MAP_FAILED;
    Reading *reading = calloc(1, sizeof *reading);
    struct stat st = {0};
    if (!reading)
        rc = err_set(err, KEEL_ENOMEM, "no memory for what was read of it");
    else if (seals < 0 || (seals & need) != need || fstat(memfd, &st) || st.st_size <= 0)
        rc = subverted(err);
    if (!rc) {
        mapping = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, memfd, 0);
        rc = mapping == MAP_FAILED
                 ? err_errno(err, KEEL_ENOMEM, errno, "what was read of it can't be mapped")
                 : reading_check(mapping, (size_t)st.st_size, reading, err);
    }
    if (rc) {
        close(memfd);
        if (mapping != MAP_FAILED)
            munmap(mapping, (size_t)st.st_size);
        free(reading);
        return rc;
    }
    atomic_init(&reading->references, 1);
    reading->mapping = mapping;
    reading->mapped = (size_t)st.st_size;
    reading->memfd = memfd;
    *ret = reading;
    return KEEL_OK;
}

Reading *reading_ref(Reading *reading)
{
    atomic_fetch_add_explicit(&reading->references, 1, memory_order_relaxed);
    return reading;
}

void reading_free(Reading *reading)
{
    if (!reading || atomic_fetch_sub_explicit(&reading->references, 1, memory_order_acq_rel) > 1)
        return;
    if (reading->mapping)
        munmap(reading->mapping, reading->mapped);
    if (reading->memfd >= 0)
        close(reading->memfd);
    free(reading);
}

const ReadingPart *reading_part(const Reading *reading, uint32_t tag, const char **ret_why)
{
    const char *why = reading ? "there is nothing of that kind to read in it" : "it was not read";
    for (uint32_t i = 0; reading && i < reading->count; i++) {
        if (reading->parts[i].tag != tag)
            continue;
        if (!reading->parts[i].code)
            return &reading->parts[i];
        why = reading->parts[i].data;
    }
    if (ret_why)
        *ret_why = why;
    return NULL;
}

const Anatomy *reading_anatomy(const Reading *reading, const char **ret_why)
{
    return reading_part(reading, READING_ANATOMY, ret_why) ? &reading->anatomy : NULL;
}

const Schema *reading_schema(const Reading *reading, const char **ret_why)
{
    return reading_part(reading, READING_SCHEMA, ret_why) ? &reading->schema : NULL;
}

const Sources *reading_sources(const Reading *reading)
{
    const ReadingPart *part = reading_part(reading, READING_SOURCES, NULL);
    return part ? part->data : NULL;
}

const Inspection *reading_inspection(const Reading *reading, const char **ret_why)
{
    const ReadingPart *part = reading_part(reading, READING_INSPECTION, ret_why);
    return part ? part->data : NULL;
}
