/* Reading a journal, whose bytes are not trusted: what is whole from the beginning on, and why it
 * ends there. Owns a private copy of the file's bytes, so that nobody can change them meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/journal_format.h"

struct JournalReader {
    const uint8_t *data;
    uint8_t *owned; /* NULL: the caller's */
    uint64_t owned_bytes;
    uint64_t bytes, at, id;
    JournalEnding ending;
    char why[160];
};

static int check_head(const uint8_t *data, uint64_t bytes, JournalHead *ret, Error *err)
{
    if (bytes < sizeof *ret || memcmp(data, JOURNAL_MAGIC, 8) != 0)
        return err_set(err, KEEL_EDATA, "not a journal of Keel");
    memcpy(ret, data, sizeof *ret);
    if (ret->version != JOURNAL_VERSION)
        return err_set(
            err, KEEL_EDATA,
            "a journal of format %u; this Keel reads format %u: use the Keel that wrote it",
            ret->version, JOURNAL_VERSION);
    if (ret->head_bytes != sizeof *ret || ret->check != journal_head_check(ret))
        return err_set(err, KEEL_EDATA, "the journal's head is damaged");
    return KEEL_OK;
}

int journal_read_bytes(const void *data, size_t bytes, JournalReader **ret, Error *err)
{
    JournalHead head;
    int rc = check_head(data, bytes, &head, err);
    if (rc)
        return rc;
    JournalReader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return err_set(err, KEEL_ENOMEM, "no memory to read a journal");
    *reader = (JournalReader){.data = data, .bytes = bytes, .id = head.id};
    journal_rewind(reader);
    *ret = reader;
    return KEEL_OK;
}

/* Anonymous memory of the file's size; pages that hold zero only stay untouched. */
static int read_whole(int fd, uint64_t bytes, uint8_t **ret, Error *err)
{
    uint8_t *data = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "no memory to read a journal of %llu MiB",
                         (unsigned long long)(bytes >> 20));
    for (uint64_t at = 0; at < bytes;) {
        off_t next = lseek(fd, (off_t)at, SEEK_DATA);
        if (next < 0 && errno == ENXIO)
            break;
        if (next > (off_t)at)
            at = (uint64_t)next;
        uint64_t most = bytes - at < (8 << 20) ? bytes - at : 8 << 20;
        ssize_t got = at < bytes ? pread(fd, data + at, most, (off_t)at) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int number = errno;
            munmap(data, bytes ? bytes : 1);
            return err_errno(err, KEEL_EIO, number, "cannot read the journal");
        }
        if (got == 0)
            break; /* it became shorter: what is missing reads as zero, which ends it */
        at += (uint64_t)got;
    }
    *ret = data;
    return KEEL_OK;
}

int journal_read_open(const char *path, JournalReader **ret, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno == ENOENT ? KEEL_ENOTFOUND : KEEL_EIO, errno,
                         "cannot open the journal %s", path);
    struct stat st;
    uint8_t *data = NULL;
    int rc = KEEL_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = err_set(err, KEEL_EDATA, "%s is no file", path);
    uint64_t bytes = rc ? 0 : (uint64_t)st.st_size;
    if (rc == KEEL_OK)
        rc = read_whole(fd, bytes, &data, err);
    close(fd);
    if (rc == KEEL_OK && (rc = journal_read_bytes(data, bytes, ret, err)) != KEEL_OK)
        err_wrap(err, "%s", path);
    if (rc) {
        if (data)
            munmap(data, bytes ? bytes : 1);
        return rc;
    }
    (*ret)->owned = data;
    (*ret)->owned_bytes = bytes ? bytes : 1;
    return KEEL_OK;
}

void journal_read_close(JournalReader *reader)
{
    if (!reader)
        return;
    if (reader->owned)
        munmap(reader->owned, reader->owned_bytes);
    free(reader);
}

void journal_rewind(JournalReader *reader)
{
    reader->at = sizeof(JournalHead);
    reader->ending = JOURNAL_OPEN;
    reader->why[0] = 0;
}

static int ends(JournalReader *reader, JournalEnding ending, const char *what)
{
    reader->ending = ending;
    if (ending == JOURNAL_TORN)
        snprintf(reader->why, sizeof reader->why,
                 "%s at byte %llu; the %llu bytes from there on are not used", what,
                 (unsigned long long)reader->at, (unsigned long long)(reader->bytes - reader->at));
    return 0;
}

static int all_zero(const uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i])
            return 0;
    return 1;
}

/* 1: a record; 0: the end; -1: an image that was never filled. */
static int read_record(JournalReader *reader, JournalRecord *ret)
{
    uint64_t left = reader->bytes - reader->at;
    const uint8_t *at = reader->data + reader->at;
    RecordHead head;
    if (left < RECORD_OVERHEAD)
        return all_zero(at, left) ? ends(reader, JOURNAL_OPEN, "")
                                  : ends(reader, JOURNAL_TORN, "a record is cut short");
    memcpy(&head, at, sizeof head);
    if (!head.check && !head.bytes && !head.kind && !head.lsn) {
        /* A host that was killed in the middle of an append leaves contents without a head. */
        return ends(reader, JOURNAL_OPEN, "");
    }
    if (head.check != journal_record_check(reader->id, reader->at, &head) ||
        head.kind < JOURNAL_BEGIN || head.kind > JOURNAL_END)
        return ends(reader, JOURNAL_TORN, "a record's head is damaged");
    uint64_t whole = RECORD_OVERHEAD + journal_round(head.bytes);
    if (whole > left)
        return ends(reader, JOURNAL_TORN, "a record is cut short");
    uint64_t check;
    memcpy(&check, at + whole - sizeof check, sizeof check);
    if (check != journal_data_check(head.check, at + sizeof head, head.bytes)) {
        if (head.kind != JOURNAL_IMAGE)
            return ends(reader, JOURNAL_TORN, "a record is damaged");
        reader->at += whole;
        return -1;
    }
    if (head.kind == JOURNAL_END)
        return ends(reader, JOURNAL_CLOSED, "");
    *ret = (JournalRecord){.kind = (JournalKind)head.kind,
                           .bytes = head.bytes,
                           .lsn = head.lsn,
                           .offset = reader->at,
                           .data = at + sizeof head};
    reader->at += whole;
    return 1;
}

int journal_next(JournalReader *reader, JournalRecord *ret)
{
    int got;
    while ((got = read_record(reader, ret)) < 0)
        ;
    return got;
}

JournalEnding journal_ending(const JournalReader *reader, char ret_text[160])
{
    snprintf(ret_text, 160, "%s", reader->why);
    return reader->ending;
}

/* ---- what is in records ---- */

static int ended(const char *text, size_t bytes)
{
    return memchr(text, 0, bytes) != NULL;
}

int journal_begin_read(const JournalRecord *record, JournalBegin *ret)
{
    if (record->kind != JOURNAL_BEGIN || record->bytes != sizeof *ret)
        return KEEL_EDATA;
    memcpy(ret, record->data, sizeof *ret);
    return ended(ret->slot, sizeof ret->slot) && ended(ret->host, sizeof ret->host) ? KEEL_OK
                                                                                    : KEEL_EDATA;
}

int journal_generation_read(const JournalRecord *record, JournalGeneration *ret)
{
    if (record->kind != JOURNAL_GENERATION || record->bytes != sizeof *ret)
        return KEEL_EDATA;
    memcpy(ret, record->data, sizeof *ret);
    return ret->how <= JOURNAL_HOOKS && ended(ret->name, sizeof ret->name) &&
                   ended(ret->version, sizeof ret->version) &&
                   ended(ret->build_id, sizeof ret->build_id) && ended(ret->path, sizeof ret->path)
               ? KEEL_OK
               : KEEL_EDATA;
}

int journal_event_next(const JournalRecord *record, size_t *at, JournalEvent *ret,
                       const uint8_t **ret_data)
{
    size_t from = *at ? *at : sizeof(JournalFrame);
    if (from >= record->bytes || record->bytes - from < sizeof *ret)
        return 0;
    memcpy(ret, record->data + from, sizeof *ret);
    from += sizeof *ret;
    if (ret->data_bytes > record->bytes - from)
        return 0;
    *ret_data = ret->data_bytes ? record->data + from : NULL;
    *at = from + (size_t)journal_round(ret->data_bytes);
    return 1;
}

int journal_frame_read(const JournalRecord *record, JournalFrame *ret)
{
    if (record->kind != JOURNAL_FRAME || record->bytes < sizeof *ret)
        return KEEL_EDATA;
    memcpy(ret, record->data, sizeof *ret);
    JournalEvent event;
    const uint8_t *data;
    size_t at = 0;
    uint32_t events = 0;
    while (journal_event_next(record, &at, &event, &data))
        events++;
    return events == ret->events && (events ? at : sizeof *ret) == record->bytes ? KEEL_OK
                                                                                 : KEEL_EDATA;
}
