/* Writing a journal. Owns the file and its mapping. The frame thread appends; one other thread
 * makes room ready, copies images and has the disk write. */
#include "state/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/journal_format.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { IMAGES = 64, CHUNK = 4 << 20, AHEAD = 8 << 20 };
#define DEFAULT_MOST (UINT64_C(1) << 30)
#define DEFAULT_SYNC_NS (INT64_C(1) * 1000 * 1000 * 1000)

/* An image whose record was reserved and waits for its bytes. */
typedef struct Pending {
    Image *image;
    uint64_t offset; /* 0: not reserved yet */
    uint64_t check;
} Pending;

struct Journal {
    int fd;
    char *path;
    uint8_t *map;
    uint64_t id, most;
    int64_t sync_ns, synced_ns;
    uint64_t synced;         /* bytes that the disk has been told to write */
    uint64_t lsn;            /* [frame] */
    _Atomic uint64_t at;     /* the next record's place; only the frame thread moves it */
    _Atomic uint64_t ready;  /* the file reaches this far */
    _Atomic uint64_t wanted; /* for an image: as much more */
    pthread_mutex_t lock;    /* of `images` and growing */
    Hash images[IMAGES];     /* [frame] */
    int image_count;         /* [frame] */
    Pending pending[IMAGES]; /* under the lock */
    int pending_count;       /* under the lock */
    _Atomic int waiting;     /* some pending image has no place yet */
    _Atomic int ended;
    char why[200]; /* before `ended` is set */
};

static void end(Journal *j, const char *why)
{
    if (atomic_load(&j->ended))
        return;
    snprintf(j->why, sizeof j->why, "%s", why);
    atomic_store(&j->ended, 1);
}

/* The file reaches to `to` at least, with its blocks, so that no write into the mapping can fail
 * for want of disk. */
static int grow(Journal *j, uint64_t to)
{
    uint64_t ready = atomic_load(&j->ready);
    if (to <= ready)
        return 1;
    to = (to + CHUNK - 1) / CHUNK * CHUNK;
    if (to > j->most)
        to = j->most;
    if (to <= ready)
        return 0;
    int rc = posix_fallocate(j->fd, (off_t)ready, (off_t)(to - ready));
    if (rc) {
        char why[200];
        snprintf(why, sizeof why, "the disk has no room for more of it: %s", strerror(rc));
        end(j, why);
        return 0;
    }
    madvise(j->map + ready, to - ready,
            MADV_POPULATE_WRITE); /* without it the first write faults */
    atomic_store(&j->ready, to);
    return 1;
}

/* What may be replaced at `path`: nothing, an empty file, a journal that nobody writes. */
static int replaceable(const char *path, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? KEEL_OK
                               : err_errno(err, KEEL_EIO, errno, "cannot look at %s", path);
    char magic[8] = "";
    struct stat st;
    ssize_t got = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? pread(fd, magic, 8, 0) : -1;
    int rc = KEEL_OK;
    if (got < 0 || (got > 0 && (got != 8 || memcmp(magic, JOURNAL_MAGIC, 8) != 0)))
        rc = err_set(err, KEEL_EBUSY, "%s is there and no journal: give another name", path);
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = err_set(err, KEEL_EBUSY, "another host writes %s: give another name", path);
    close(fd);
    return rc;
}

static int open_file(Journal *j, Error *err)
{
    char temporary[4200];
    int n = snprintf(temporary, sizeof temporary, "%s.%d.new", j->path, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return err_set(err, KEEL_EINVAL, "the journal's name is too long");
    j->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make the journal %s", j->path);
    flock(j->fd, LOCK_EX | LOCK_NB);
    j->map = mmap(NULL, j->most, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, j->fd, 0);
    int rc = KEEL_OK;
    if (j->map == MAP_FAILED) {
        j->map = NULL;
        rc = err_errno(err, KEEL_ENOMEM, errno, "cannot map the journal %s", j->path);
    } else if (!grow(j, AHEAD < j->most ? AHEAD : j->most)) {
        rc = err_set(err, KEEL_ENOSPACE, "cannot make the journal %s: %s", j->path, j->why);
    }
    if (rc == KEEL_OK) {
        JournalHead head = {.magic = JOURNAL_MAGIC,
                            .version = JOURNAL_VERSION,
                            .head_bytes = sizeof head,
                            .id = j->id};
        head.check = journal_head_check(&head);
        memcpy(j->map, &head, sizeof head);
        atomic_store(&j->at, sizeof head);
        if (rename(temporary, j->path) != 0)
            rc = err_errno(err, KEEL_EIO, errno, "cannot make the journal %s", j->path);
    }
    if (rc)
        unlink(temporary);
    return rc;
}

static void journal_free(Journal *j)
{
    if (j->map)
        munmap(j->map, j->most);
    if (j->fd >= 0)
        close(j->fd);
    for (int i = 0; i < j->pending_count; i++)
        image_unref(j->pending[i].image);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

int journal_create(const char *path, const JournalOptions *options, Journal **ret, Error *err)
{
    static const JournalOptions none;
    const JournalOptions *o = options ? options : &none;
    int rc = replaceable(path, err);
    if (rc)
        return rc;
    Journal *j = calloc(1, sizeof *j);
    char *copy = strdup(path);
    if (!j || !copy) {
        free(j);
        free(copy);
        return err_set(err, KEEL_ENOMEM, "no memory for a journal");
    }
    j->fd = -1;
    j->path = copy;
    j->most = o->max_bytes ? o->max_bytes : DEFAULT_MOST;
    j->most = (j->most + CHUNK - 1) / CHUNK * CHUNK;
    j->sync_ns = o->sync_ns ? o->sync_ns : DEFAULT_SYNC_NS;
    j->synced_ns = clock_now_ns();
    pthread_mutex_init(&j->lock, NULL);
    if (getrandom(&j->id, sizeof j->id, 0) != sizeof j->id)
        j->id = (uint64_t)clock_wall_ns() ^ (uint64_t)getpid() << 40;
    rc = open_file(j, err);
    if (rc) {
        journal_free(j);
        return rc;
    }
    *ret = j;
    return KEEL_OK;
}

/* ---- appending ---- */

/* Room for a record of `bytes`, or NULL. The last record leaves room for JOURNAL_END. */
static uint8_t *reserve(Journal *j, JournalKind kind, uint64_t bytes)
{
    uint64_t at = atomic_load_explicit(&j->at, memory_order_relaxed);
    uint64_t whole = RECORD_OVERHEAD + journal_round(bytes);
    uint64_t keep = kind == JOURNAL_END ? 0 : RECORD_OVERHEAD;
    if (whole + keep > j->most - at) {
        char why[200];
        snprintf(why, sizeof why, "it has reached its limit of %llu MiB",
                 (unsigned long long)(j->most >> 20));
        end(j, why);
        return NULL;
    }
    if (at + whole + keep > atomic_load_explicit(&j->ready, memory_order_acquire)) {
        /* The other thread didn't keep up: better a slow frame than a lost one. */
        pthread_mutex_lock(&j->lock);
        int grown = grow(j, at + whole + keep);
        pthread_mutex_unlock(&j->lock);
        if (!grown) {
            end(j, "it could not grow");
            return NULL;
        }
    }
    return j->map + at;
}

int journal_append(Journal *j, JournalKind kind, const JournalPart *parts, int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].bytes;
    if (atomic_load_explicit(&j->ended, memory_order_relaxed))
        return KEEL_ENOSPACE;
    if (bytes > JOURNAL_RECORD_MOST) {
        end(j, "a frame's inputs are more than 1 GiB");
        return KEEL_ENOSPACE;
    }
    uint8_t *record = reserve(j, kind, bytes);
    if (!record)
        return KEEL_ENOSPACE;
    uint64_t at = (uint64_t)(record - j->map);
    RecordHead head = {.bytes = (uint32_t)bytes, .kind = kind, .lsn = ++j->lsn};
    head.check = journal_record_check(j->id, at, &head);
    uint8_t *to = record + sizeof head;
    for (int i = 0; i < count; i++) {
        if (parts[i].bytes)
            memcpy(to, parts[i].data, parts[i].bytes);
        to += parts[i].bytes;
    }
    while ((uintptr_t)to % 8)
        *to++ = 0;
    uint64_t check = journal_data_check(head.check, record + sizeof head, (uint32_t)bytes);
    memcpy(to, &check, sizeof check);
    memcpy(record, &head, sizeof head);
    atomic_store_explicit(&j->at, at + RECORD_OVERHEAD + journal_round(bytes),
                          memory_order_release);
    if (atomic_load_explicit(&j->waiting, memory_order_relaxed))
        journal_keep_image(j, NULL);
    return KEEL_OK;
}

/* Gives the image a record without contents where there is room ready; else it is tried again
 * after a later record. */
static int reserve_image(Journal *j, Pending *pending)
{
    uint64_t bytes = 16 + pending->image->bytes, whole = RECORD_OVERHEAD + journal_round(bytes);
    uint64_t at = atomic_load(&j->at);
    if (whole + AHEAD > j->most - at || bytes > JOURNAL_RECORD_MOST)
        return -1; /* too large for this journal: its hash and path must do */
    if (at + whole + RECORD_OVERHEAD > atomic_load(&j->ready)) {
        atomic_store(&j->wanted, whole);
        return 0;
    }
    RecordHead head = {.bytes = (uint32_t)bytes, .kind = JOURNAL_IMAGE, .lsn = ++j->lsn};
    head.check = journal_record_check(j->id, at, &head);
    memcpy(j->map + at, &head, sizeof head);
    pending->offset = at;
    pending->check = head.check;
    atomic_store(&j->at, at + whole);
    return 1;
}

void journal_keep_image(Journal *j, Image *image)
{
    for (int i = 0; image && i < j->image_count; i++)
        if (hash_equal(j->images[i], image->hash))
            return;
    pthread_mutex_lock(&j->lock);
    if (image && j->image_count < IMAGES && j->pending_count < IMAGES) {
        j->images[j->image_count++] = image->hash;
        j->pending[j->pending_count++] = (Pending){.image = image_ref(image)};
    }
    int waiting = 0;
    for (int i = 0; i < j->pending_count; i++) {
        if (j->pending[i].offset)
            continue;
        int got = reserve_image(j, &j->pending[i]);
        waiting += got == 0;
        if (got < 0) {
            image_unref(j->pending[i].image);
            j->pending[i--] = j->pending[--j->pending_count];
        }
    }
    atomic_store(&j->waiting, waiting);
    pthread_mutex_unlock(&j->lock);
}

/* ---- the other thread ---- */

static int take_reserved(Journal *j, Pending *ret)
{
    int found = 0;
    pthread_mutex_lock(&j->lock);
    for (int i = 0; i < j->pending_count && !found; i++)
        if (j->pending[i].offset) {
            *ret = j->pending[i];
            j->pending[i] = j->pending[--j->pending_count];
            found = 1;
        }
    pthread_mutex_unlock(&j->lock);
    return found;
}

static void copy_images(Journal *j)
{
    Pending pending;
    while (take_reserved(j, &pending)) {
        const Image *image = pending.image;
        uint8_t *to = j->map + pending.offset + sizeof(RecordHead);
        const uint64_t hash[] = {image->hash.low, image->hash.high};
        uint32_t bytes = (uint32_t)(16 + image->bytes);
        memcpy(to, hash, 16);
        memcpy(to + 16, image->data, image->bytes);
        memset(to + bytes, 0, journal_round(bytes) - bytes);
        uint64_t check = journal_data_check(pending.check, to, bytes);
        memcpy(to + journal_round(bytes), &check, sizeof check);
        image_unref(pending.image);
    }
}

void journal_tend(Journal *j)
{
    if (!atomic_load(&j->ended)) {
        uint64_t to = atomic_load(&j->at) + AHEAD + atomic_exchange(&j->wanted, 0);
        pthread_mutex_lock(&j->lock);
        grow(j, to < j->most ? to : j->most);
        pthread_mutex_unlock(&j->lock);
    }
    copy_images(j);
    int64_t now = clock_now_ns();
    uint64_t at = atomic_load_explicit(&j->at, memory_order_acquire);
    if (j->sync_ns > 0 && at > j->synced && now - j->synced_ns >= j->sync_ns) {
        fdatasync(j->fd);
        j->synced = at;
        j->synced_ns = now;
    }
}

const char *journal_ended(const Journal *j)
{
    return atomic_load(&j->ended) ? j->why : "";
}

uint64_t journal_lsn(const Journal *j)
{
    return j->lsn;
}

uint64_t journal_bytes(const Journal *j)
{
    return atomic_load(&j->at);
}

const char *journal_path(const Journal *j)
{
    return j->path;
}

void journal_close(Journal *j)
{
    if (!j)
        return;
    journal_keep_image(j, NULL);
    journal_tend(j);
    journal_keep_image(j, NULL); /* one that waited for room has it now */
    copy_images(j);
    journal_append(j, JOURNAL_END, NULL, 0);
    if (ftruncate(j->fd, (off_t)atomic_load(&j->at)) == 0)
        fdatasync(j->fd);
    journal_free(j);
}
