/* The layout of a journal's file, for its writer and its reader only. Everything is little-endian
 * and 8-byte aligned. */
#ifndef STATE_JOURNAL_FORMAT_H
#define STATE_JOURNAL_FORMAT_H

#include "base/hash.h"
#include "state/journal.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is the memory of this machine");

#define JOURNAL_MAGIC "KEELJNL1"

typedef struct JournalHead {
    char magic[8];
    uint32_t version, head_bytes;
    uint64_t id; /* random: a record of another journal never passes for one of this */
    uint64_t reserved[4];
    uint64_t check; /* of all before */
} JournalHead;
_Static_assert(sizeof(JournalHead) == 64, "records begin at 64");

/* Before each record's contents; after them, filled up to 8 bytes, stands their check. */
typedef struct RecordHead {
    uint32_t bytes, kind;
    uint64_t lsn;
    uint64_t check; /* of the above with the journal's id and the record's place */
} RecordHead;
_Static_assert(sizeof(RecordHead) == 24, "with the contents' check 32 bytes");

enum { RECORD_OVERHEAD = sizeof(RecordHead) + 8 };

static inline uint64_t journal_round(uint64_t bytes)
{
    return (bytes + 7) & ~UINT64_C(7);
}

static inline uint64_t journal_head_check(const JournalHead *head)
{
    return hash_bytes(head, offsetof(JournalHead, check)).low;
}

static inline uint64_t journal_record_check(uint64_t id, uint64_t offset, const RecordHead *head)
{
    const uint64_t words[] = {id, offset, (uint64_t)head->kind << 32 | head->bytes, head->lsn};
    return hash_bytes(words, sizeof words).low;
}

/* Of the contents with what fills them up, which is zero. */
static inline uint64_t journal_data_check(uint64_t head_check, const void *data, uint32_t bytes)
{
    return hash_bytes(data, (size_t)journal_round(bytes)).low ^ (head_check << 1 | 1);
}

#endif
