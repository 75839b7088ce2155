/* The log ring. Owns the ring's mapping and the sink; writing never allocates; any thread. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

enum { HEAD_BYTES = 4096 };

typedef struct Ring {
    char head[64]; /* "keel log 1 <record bytes> <records>\n" for whoever opens the file */
    _Atomic uint64_t next;
    char pad[HEAD_BYTES - 64 - 8];
    LogRecord records[LOG_RECORDS];
} Ring;

static Ring first_ring;
static _Atomic(Ring *) ring = &first_ring;
static _Atomic(LogSink *) sink_function;
static _Atomic(void *) sink_user;

static LogRecord *take(uint64_t *ret_seq)
{
    Ring *r = atomic_load(&ring);
    uint64_t seq = atomic_fetch_add(&r->next, 1) + 1;
    LogRecord *record = &r->records[(seq - 1) % LOG_RECORDS];
    atomic_store((_Atomic uint64_t *)&record->seq, 0);
    *ret_seq = seq;
    return record;
}

static void stamp(LogRecord *record, LogLevel level, const char *room)
{
    record->wall_ns = clock_wall_ns();
    record->level = (uint32_t)level;
    size_t n = strnlen(room, sizeof record->room - 1);
    memcpy(record->room, room, n);
    record->room[n] = 0;
}

static void publish(LogRecord *record, uint64_t seq)
{
    atomic_store_explicit((_Atomic uint64_t *)&record->seq, seq, memory_order_release);
}

void log_write(LogLevel level, const char *room, const char *format, ...)
{
    uint64_t seq;
    LogRecord *record = take(&seq);
    stamp(record, level, room);
    va_list args;
    va_start(args, format);
    vsnprintf(record->text, sizeof record->text, format, args);
    va_end(args);
    LogRecord copy = *record;
    copy.seq = seq;
    publish(record, seq);
    LogSink *sink = atomic_load(&sink_function);
    if (sink)
        sink(&copy, atomic_load(&sink_user));
}

void log_write_raw(LogLevel level, const char *room, const char *text)
{
    uint64_t seq;
    LogRecord *record = take(&seq);
    stamp(record, level, room);
    size_t n = strnlen(text, sizeof record->text - 1);
    memcpy(record->text, text, n);
    record->text[n] = 0;
    publish(record, seq);
}

void log_set_sink(LogSink *sink, void *user)
{
    atomic_store(&sink_function, NULL);
    atomic_store(&sink_user, user);
    atomic_store(&sink_function, sink);
}

uint64_t log_newest(void)
{
    return atomic_load(&atomic_load(&ring)->next);
}

int log_read(uint64_t after_seq, LogRecord *ret_records, int max)
{
    Ring *r = atomic_load(&ring);
    uint64_t newest = atomic_load(&r->next);
    uint64_t seq = newest > LOG_RECORDS ? newest - LOG_RECORDS + 1 : 1;
    if (seq <= after_seq)
        seq = after_seq + 1;
    int n = 0;
    for (; seq <= newest && n < max; seq++) {
        LogRecord *record = &r->records[(seq - 1) % LOG_RECORDS];
        _Atomic uint64_t *mark = (_Atomic uint64_t *)&record->seq;
        if (atomic_load_explicit(mark, memory_order_acquire) != seq)
            continue;
        ret_records[n] = *record;
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load(mark) == seq)
            n++;
    }
    return n;
}

static void head_text(char ret_head[64])
{
    snprintf(ret_head, 64, "keel log 1 %zu %d\n", sizeof(LogRecord), LOG_RECORDS);
}

int log_map(const char *path, Error *err)
{
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make the log %s", path);
    /* posix_fallocate, not ftruncate: a full disk must fail here and not at a later store. */
    int full = posix_fallocate(fd, 0, sizeof(Ring));
    Ring *mapped = full ? MAP_FAILED
                        : mmap(NULL, sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int number = full ? full : errno;
    close(fd);
    if (mapped == MAP_FAILED) {
        unlink(path);
        return err_errno(err, KEEL_EIO, number, "cannot map the log %s", path);
    }
    Ring *before = atomic_load(&ring);
    memcpy(mapped->records, before->records, sizeof mapped->records);
    head_text(mapped->head);
    atomic_store(&mapped->next, atomic_load(&before->next));
    atomic_store(&ring, mapped);
    return KEEL_OK;
}

static int older(const void *a, const void *b)
{
    const LogRecord *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int read_whole(int fd, Ring *found, const char *path, Error *err)
{
    char head[sizeof found->head] = {0};
    size_t at = 0;
    for (ssize_t n = 1; at < sizeof *found && n;) {
        n = read(fd, (char *)found + at, sizeof *found - at);
        if (n < 0 && errno != EINTR)
            return err_errno(err, KEEL_EIO, errno, "cannot read %s", path);
        at += n > 0 ? (size_t)n : 0;
    }
    head_text(head);
    if (at < sizeof *found || memcmp(found->head, head, sizeof head))
        return err_set(err, KEEL_EDATA, "%s is no log that this keel wrote", path);
    return KEEL_OK;
}

int log_read_file(const char *path, LogRecord *ret_records, Error *err)
{
    int count = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot open %s", path);
    Ring *found = malloc(sizeof *found);
    int rc = found ? read_whole(fd, found, path, err)
                   : err_set(err, KEEL_ENOMEM, "no memory to read %s", path);
    for (int i = 0; !rc && i < LOG_RECORDS; i++) {
        LogRecord *record = &found->records[i];
        if (!record->seq || record->seq % LOG_RECORDS != (uint64_t)(i + 1) % LOG_RECORDS)
            continue;
        record->room[sizeof record->room - 1] = 0;
        record->text[sizeof record->text - 1] = 0;
        ret_records[count++] = *record;
    }
    free(found);
    close(fd);
    if (rc)
        return rc;
    qsort(ret_records, (size_t)count, sizeof *ret_records, older);
    return count;
}

const char *log_level_name(uint32_t level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return level < 4 ? names[level] : "?";
}
