/* Fuzzes what reads a journal: no record is given that isn't whole, whatever the bytes are. The
 * seeds' checks are made to fit, so that what is behind them is reached. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "state/journal_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A journal around the bytes: their first ones say what kinds of records they are cut into. */
static uint8_t *wrap(const uint8_t *data, size_t bytes, size_t *ret_bytes)
{
    JournalHead head = {
        .magic = JOURNAL_MAGIC, .version = JOURNAL_VERSION, .head_bytes = sizeof head, .id = 42};
    uint8_t *to = calloc(1, sizeof head + bytes * (1 + RECORD_OVERHEAD) + 16 * RECORD_OVERHEAD);
    size_t at = sizeof head, from = 0;
    uint64_t lsn = 0;
    if (!to)
        abort();
    head.check = journal_head_check(&head);
    memcpy(to, &head, sizeof head);
    while (from + 2 < bytes) {
        uint32_t kind = 1 + data[from] % 6, size = data[from + 1] * 3u;
        from += 2;
        if (size > bytes - from)
            size = (uint32_t)(bytes - from);
        RecordHead record = {.bytes = size, .kind = kind, .lsn = ++lsn};
        record.check = journal_record_check(head.id, at, &record);
        memcpy(to + at, &record, sizeof record);
        memcpy(to + at + sizeof record, data + from, size);
        uint64_t check = journal_data_check(record.check, to + at + sizeof record, size);
        memcpy(to + at + sizeof record + journal_round(size), &check, sizeof check);
        at += RECORD_OVERHEAD + journal_round(size);
        from += size;
    }
    *ret_bytes = at;
    return to;
}

static void read_all(const uint8_t *data, size_t bytes)
{
    JournalReader *reader = NULL;
    Error err = {0};
    if (journal_read_bytes(data, bytes, &reader, &err)) {
        if (reader || !*err.text)
            abort();
        return;
    }
    JournalRecord record;
    char why[160];
    while (journal_next(reader, &record)) {
        JournalBegin begin;
        JournalGeneration generation;
        JournalFrame frame;
        JournalEvent event;
        const uint8_t *with;
        if (record.data < data || record.bytes > bytes ||
            (size_t)(record.data - data) > bytes - record.bytes)
            abort();
        if (journal_begin_read(&record, &begin) == KEEL_OK &&
            strlen(begin.slot) >= sizeof begin.slot)
            abort();
        if (journal_generation_read(&record, &generation) == KEEL_OK &&
            strlen(generation.path) >= sizeof generation.path)
            abort();
        if (journal_frame_read(&record, &frame) != KEEL_OK)
            continue;
        for (size_t at = 0; journal_event_next(&record, &at, &event, &with);)
            if (event.data_bytes &&
                (with < record.data || event.data_bytes > record.bytes ||
                 (size_t)(with - record.data) > record.bytes - event.data_bytes))
                abort();
    }
    journal_ending(reader, why);
    journal_read_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    size_t size;
    uint8_t *copy = malloc(bytes ? bytes : 1); /* aligned as a mapping is */
    uint8_t *journal = wrap(data, bytes < 60000 ? bytes : 60000, &size);
    if (!copy)
        abort();
    memcpy(copy, data, bytes);
    read_all(copy, bytes);
    read_all(journal, size);
    free(journal);
    free(copy);
    return 0;
}
