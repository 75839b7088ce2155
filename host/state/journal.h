/* A journal: what one slot was given, record by record, in a file.
 *
 * The file is mapped. Appending is a copy into memory that another thread has made ready
 * (journal_tend), so the frame thread makes no system call, and what was appended survives the
 * process, however it ends. What survives the machine is what was synced last.
 *
 * Each record carries two checks, one of its head and place, one of its contents. A reader takes
 * what is whole from the beginning on and says why it stopped; it never gives a damaged record.
 * docs/formats.md has the layout. */
#ifndef STATE_JOURNAL_H
#define STATE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

enum { JOURNAL_VERSION = 1, JOURNAL_RECORD_MOST = 1 << 30 };

typedef enum JournalKind {
    JOURNAL_BEGIN = 1,      /* first: JournalBegin */
    JOURNAL_GENERATION = 2, /* which image runs from here on: JournalGeneration */
    JOURNAL_FRAME = 3,      /* one committed frame: JournalFrame and its events */
    JOURNAL_IMAGE = 4,      /* an image's hash (16 bytes), then its bytes */
    JOURNAL_BREAK = 5,      /* the state was changed from outside of frames: a sentence */
    JOURNAL_END = 6         /* closed on purpose; empty */
} JournalKind;

typedef struct JournalBegin {
    uint64_t arena_base, arena_bytes;
    int64_t wall_ns;
    uint64_t after_frames; /* that the state it begins with had had */
    uint32_t abi;
    uint32_t brought; /* 1: it begins with a state of before, which a replay must be given */
    char slot[64];
    char host[32]; /* its version */
} JournalBegin;

typedef enum JournalHow { JOURNAL_START, JOURNAL_KEEP, JOURNAL_HOOKS } JournalHow;

typedef struct JournalGeneration {
    uint64_t number;
    uint64_t image_low, image_high; /* hash of its bytes */
    uint64_t image_bytes;
    int64_t now_ns, wall_ns; /* the clocks while start or restore ran */
    uint64_t random[4];      /* before them */
    uint32_t how;            /* JournalHow */
    uint32_t reserved;
    char name[64], version[64], build_id[72], path[256];
} JournalGeneration;

/* What a frame's hashes cover, see state_hashes. Zero both: none was taken. */
typedef struct JournalFrame {
    uint64_t index;
    int64_t time_ns, wall_ns;
    double dt;
    uint64_t hash_exact, hash_loose;
    uint32_t flags; /* KEEL_FRAME_… */
    uint32_t events;
} JournalFrame;

/* Its data follow, filled up to 8 bytes. */
typedef struct JournalEvent {
    uint64_t seq, tag, handle;
    int64_t time_ns;
    uint64_t data_bytes;
    uint32_t kind, flags;
    int32_t result;
    uint32_t reserved;
} JournalEvent;

/* ---- writing ---- */

typedef struct Journal Journal;

typedef struct JournalOptions {
    uint64_t max_bytes; /* of the file; 0: 1 GiB. A journal that is full ends, and says so */
    int64_t sync_ns;    /* journal_tend has the disk write at most this often; 0: 1 s; < 0: never */
} JournalOptions;

/* Makes a new file at `path`; an old journal there is replaced, anything else is left alone and
 * refused (KEEL_EBUSY). [any] */
int journal_create(const char *path, const JournalOptions *options, Journal **ret, Error *err);

/* Appends one record of these parts, one after another, with the next number. Returns 0, or, once
 * the journal has ended (full, no space), KEEL_ENOSPACE: journal_ended says why. [frame] */
typedef struct JournalPart {
    const void *data;
    size_t bytes;
} JournalPart;
int journal_append(Journal *journal, JournalKind kind, const JournalPart *parts, int count);

/* Has the image's bytes kept in the journal, once for each hash; copied later by journal_tend.
 * [frame] */
void journal_keep_image(Journal *journal, Image *image);

/* Makes room ready, copies images, syncs. One thread at a time, not the frame thread: may block. */
void journal_tend(Journal *journal);

/* "" while it is being written, else why nothing more is. [any] */
const char *journal_ended(const Journal *journal);
uint64_t journal_lsn(const Journal *journal);   /* of the last record [frame] */
uint64_t journal_bytes(const Journal *journal); /* written so far [any] */
const char *journal_path(const Journal *journal);

/* Writes JOURNAL_END, cuts the file to what was written, syncs. NULL is fine. After the last call
 * of the others. */
void journal_close(Journal *journal);

/* ---- reading ---- */

typedef struct JournalReader JournalReader;

typedef struct JournalRecord {
    JournalKind kind;
    uint32_t bytes;
    uint64_t lsn;
    uint64_t offset;     /* in the file */
    const uint8_t *data; /* 8-byte aligned; valid until the next call */
} JournalRecord;

/* KEEL_EDATA: no journal, or of another version. [any] */
int journal_read_open(const char *path, JournalReader **ret, Error *err);
/* The same for bytes in memory, which stay the caller's and unchanged. */
int journal_read_bytes(const void *data, size_t bytes, JournalReader **ret, Error *err);
void journal_read_close(JournalReader *reader);

/* 1 and the next record, or 0 at the end. A JOURNAL_IMAGE that was never filled is left out. */
int journal_next(JournalReader *reader, JournalRecord *ret);

/* From the first record again. */
void journal_rewind(JournalReader *reader);

/* After the end: how it ended. */
typedef enum JournalEnding {
    JOURNAL_CLOSED, /* by JOURNAL_END */
    JOURNAL_OPEN,   /* after a whole record: its host was killed, or still writes */
    JOURNAL_TORN    /* what follows is damaged and was not used */
} JournalEnding;
JournalEnding journal_ending(const JournalReader *reader, char ret_text[160]);

/* ---- what is in records; each checks all sizes: KEEL_EDATA ---- */

int journal_begin_read(const JournalRecord *record, JournalBegin *ret);
int journal_generation_read(const JournalRecord *record, JournalGeneration *ret);
int journal_frame_read(const JournalRecord *record, JournalFrame *ret);
/* Walks a frame's events: *at is 0 at first; 1 and the next event with its data, 0 at the end. Only
 * for a record that journal_frame_read took. */
int journal_event_next(const JournalRecord *record, size_t *at, JournalEvent *ret,
                       const uint8_t **ret_data);

#endif
