/* The host's log: a ring of the last 1,024 records and an optional sink. One record is one line for people.
 *
 * Writing is wait-free but for the sink: it takes a place in the ring by one atomic add, so it may be called
 * from any thread, and log_write_raw also from signal handlers. The ring lies in a mapping; log_map puts it
 * into a file so that it can be read after a kill. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#include "base/err.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

enum { LOG_RECORDS = 1024, LOG_TEXT_BYTES = 484 };

typedef struct LogRecord {
    uint64_t seq; /* from 1; 0 while it is being written */
    int64_t wall_ns;
    uint32_t level;
    char room[8]; /* "swap", "watch" …: who says it */
    char text[LOG_TEXT_BYTES];
} LogRecord;

void log_write(LogLevel level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(room, ...) log_write(LOG_DEBUG, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...) log_write(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_write(LOG_ERROR, room, __VA_ARGS__)

/* `text` as it is; async-signal-safe; doesn't call the sink. */
void log_write_raw(LogLevel level, const char *room, const char *text);

/* Where records go besides the ring: called on the writing thread, under no lock of the log. NULL: nowhere. */
typedef void LogSink(const LogRecord *record, void *user);
void log_set_sink(LogSink *sink, void *user);

/* The records after `seq`, oldest first, at most `max`; returns how many. Torn ones are left out. */
int log_read(uint64_t after_seq, LogRecord *ret_records, int max);

/* The number of the newest record. */
uint64_t log_newest(void);

/* Moves the ring into the file `path` (made or replaced, 0600): a header line, then LOG_RECORDS records. */
int log_map(const char *path, Error *err);

/* The records of such a file, oldest first, whoever wrote it and however that ended; torn ones are left
 * out. Returns how many (ret_records has room for LOG_RECORDS), or a negative KEEL_E…. */
int log_read_file(const char *path, LogRecord *ret_records, Error *err);

const char *log_level_name(uint32_t level);

#endif
