/* Frames to another process and its answers back. Owns the shared memory and what the host keeps to
 * compare with. */
#include "swap/feed.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "swap/recorder.h"

enum {
    RING_BYTES = 8 << 20, /* a power of two */
    ANSWERS = 1024,       /* frames that may be under way */
    FRAME_MOST = 1 << 20
};

#define FEED_MAGIC UINT64_C(0x64656566006c656b)

typedef struct Answer {
    uint64_t loose;
    int64_t at_ns;
    int32_t check;
    uint32_t by_check;
} Answer;

typedef struct Shared {
    uint64_t magic;
    _Atomic uint64_t put;   /* bytes, ever [host] */
    _Atomic uint64_t taken; /* bytes, ever [other] */
    _Atomic uint32_t stop;
    uint32_t reserved;
    _Atomic uint64_t answered; /* frames [other] */
    Answer answers[ANSWERS];
    uint8_t ring[RING_BYTES];
} Shared;

/* A frame as the host knows it. */
typedef struct Live {
    uint64_t index;
    uint64_t loose;
    int64_t at_ns, took_ns;
} Live;

struct Feed {
    int fd;
    Shared *shared;
    uint64_t put; /* what shared->put should be: it isn't read back */
    Buf events;
    uint32_t event_count;
    int64_t opened_ns;
    Live live[ANSWERS];
    _Atomic uint64_t fed;
    _Atomic uint64_t undone; /* frames, ever */
    _Atomic(const char *) broken;
    /* the engine's */
    uint64_t old_seen, old_undone, old_row;
    FeedState state;
};

struct FeedReader {
    Shared *shared;
    uint64_t taken;
    uint64_t frames;
    uint8_t *record; /* FRAME_MOST */
};

int feed_new(Feed **ret, Error *err)
{
    Feed *feed = calloc(1, sizeof *feed);
    if (!feed)
        return err_set(err, KEEL_ENOMEM, "no memory to feed a second generation");
    feed->fd = memfd_create("keel-feed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (feed->fd < 0 || ftruncate(feed->fd, sizeof(Shared)) ||
        fcntl(feed->fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW))
        goto failed;
    feed->shared =
        mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, feed->fd, 0);
    if (feed->shared == MAP_FAILED)
        goto failed;
    feed->shared->magic = FEED_MAGIC;
    *ret = feed;
    return KEEL_OK;
failed:
    if (feed->fd >= 0)
        close(feed->fd);
    free(feed);
    return err_set(err, KEEL_ENOMEM, "no memory to feed a second generation");
}

void feed_free(Feed *feed)
{
    if (!feed)
        return;
    munmap(feed->shared, sizeof(Shared));
    close(feed->fd);
    buf_done(&feed->events);
    free(feed);
}

int feed_fd(const Feed *feed)
{
    return feed->fd;
}

void feed_stop(Feed *feed)
{
    atomic_store(&feed->shared->stop, 1);
}

/* ---- the frame thread ---- */

void feed_opened(Feed *feed)
{
    if (feed)
        feed->opened_ns = clock_now_ns();
}

void feed_break(Feed *feed, const char *why)
{
    const char *none = NULL;
    if (feed)
        atomic_compare_exchange_strong(&feed->broken, &none, why);
}

void feed_undone(Feed *feed)
{
    if (feed)
        atomic_fetch_add(&feed->undone, 1);
}

void feed_gather(Feed *feed, const Slot *slot)
{
    if (feed && recorder_encode(slot, &feed->events, &feed->event_count))
        feed_break(feed, "there was no memory for a frame's events");
}

static void ring_write(Shared *shared, uint64_t at, const void *data, size_t bytes)
{
    size_t from = (size_t)(at % RING_BYTES);
    size_t first = bytes < RING_BYTES - from ? bytes : RING_BYTES - from;
    if (bytes) {
        memcpy(shared->ring + from, data, first);
        memcpy(shared->ring, (const uint8_t *)data + first, bytes - first);
    }
}

static void ring_read(const Shared *shared, uint64_t at, void *data, size_t bytes)
{
    size_t from = (size_t)(at % RING_BYTES);
    size_t first = bytes < RING_BYTES - from ? bytes : RING_BYTES - from;
    memcpy(data, shared->ring + from, first);
    memcpy((uint8_t *)data + first, shared->ring, bytes - first);
}

void feed_frame(Feed *feed, const Slot *slot)
{
    if (!feed || atomic_load_explicit(&feed->broken, memory_order_relaxed))
        return;
    JournalFrame frame = recorder_describe(slot, feed->event_count);
    uint64_t bytes = sizeof frame + feed->events.bytes, need = sizeof bytes + bytes;
    uint64_t taken = atomic_load_explicit(&feed->shared->taken, memory_order_acquire);
    uint64_t fed = atomic_load_explicit(&feed->fed, memory_order_relaxed);
    uint64_t answered = atomic_load_explicit(&feed->shared->answered, memory_order_acquire);
    if (bytes > FRAME_MOST || taken > feed->put || feed->put + need - taken > RING_BYTES ||
        answered > fed || fed - answered >= ANSWERS) {
        feed_break(feed, "it could not keep up with what came in");
        return;
    }
    Live *live = &feed->live[fed % ANSWERS];
    *live = (Live){.index = frame.index, .loose = frame.hash_loose, .at_ns = clock_now_ns()};
    live->took_ns = live->at_ns - feed->opened_ns;
    ring_write(feed->shared, feed->put, &bytes, sizeof bytes);
    ring_write(feed->shared, feed->put + sizeof bytes, &frame, sizeof frame);
    ring_write(feed->shared, feed->put + sizeof bytes + sizeof frame, feed->events.data,
               feed->events.bytes);
    feed->put += need;
    atomic_store_explicit(&feed->fed, fed + 1, memory_order_release);
    atomic_store_explicit(&feed->shared->put, feed->put, memory_order_release);
}

int feed_is_near(const Feed *feed, uint64_t number, int64_t slack_ns)
{
    uint64_t fed = atomic_load(&feed->fed);
    if (atomic_load(&feed->broken) || number >= fed || fed - number > ANSWERS)
        return 0;
    return number + 1 == fed ||
           feed->live[(fed - 1) % ANSWERS].at_ns - feed->live[number % ANSWERS].at_ns <= slack_ns;
}

/* ---- the engine thread ---- */

uint64_t feed_old_in_a_row(Feed *feed, int64_t most_ns)
{
    uint64_t fed = atomic_load_explicit(&feed->fed, memory_order_acquire);
    uint64_t undone = atomic_load(&feed->undone);
    if (undone != feed->old_undone)
        feed->old_row = 0;
    feed->old_undone = undone;
    for (; feed->old_seen < fed; feed->old_seen++)
        feed->old_row =
            feed->live[feed->old_seen % ANSWERS].took_ns <= most_ns ? feed->old_row + 1 : 0;
    return feed->old_row;
}

static int agrees(const Live *live, const Answer *answer)
{
    return answer->by_check ? answer->check == 0 : live->loose == answer->loose;
}

void feed_look(Feed *feed, int64_t most_lag_ns, FeedState *ret)
{
    FeedState *state = &feed->state;
    state->fed = atomic_load_explicit(&feed->fed, memory_order_acquire);
    uint64_t answered = atomic_load_explicit(&feed->shared->answered, memory_order_acquire);
    if (answered > state->fed || answered < state->answered)
        feed_break(feed, "it answered what it was not asked");
    else
        for (; state->answered < answered && !state->differs; state->answered++) {
            const Live *live = &feed->live[state->answered % ANSWERS];
            Answer answer = feed->shared->answers[state->answered % ANSWERS];
            if (!agrees(live, &answer)) {
                state->differs = 1;
                state->frame = live->index;
                state->by_check = answer.by_check != 0;
                state->check = answer.check;
                break;
            }
            state->agreed++;
            state->lag_ns = answer.at_ns > live->at_ns ? answer.at_ns - live->at_ns : 0;
            state->in_a_row = state->lag_ns <= most_lag_ns ? state->in_a_row + 1 : 0;
        }
    state->broken = atomic_load(&feed->broken);
    *ret = *state;
}

/* ---- the other process ---- */

int feed_open(int fd, FeedReader **ret, Error *err)
{
    struct stat st;
    FeedReader *reader = calloc(1, sizeof *reader);
    if (reader)
        reader->record = malloc(FRAME_MOST);
    if (!reader || !reader->record || fstat(fd, &st) || st.st_size < (off_t)sizeof(Shared))
        goto failed;
    reader->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (reader->shared == MAP_FAILED || reader->shared->magic != FEED_MAGIC)
        goto failed;
    *ret = reader;
    return KEEL_OK;
failed:
    if (reader)
        free(reader->record);
    free(reader);
    return err_set(err, KEEL_EPROTOCOL, "the feed of frames can't be read");
}

int feed_next(FeedReader *reader, JournalRecord *ret)
{
    Shared *shared = reader->shared;
    uint64_t put = atomic_load_explicit(&shared->put, memory_order_acquire);
    uint64_t bytes, have = put - reader->taken;
    if (atomic_load(&shared->stop))
        return KEEL_ECANCELED;
    if (!have)
        return 0;
    if (have < sizeof bytes || have > RING_BYTES)
        return KEEL_EDATA;
    ring_read(shared, reader->taken, &bytes, sizeof bytes);
    if (bytes > FRAME_MOST || bytes > have - sizeof bytes)
        return KEEL_EDATA;
    ring_read(shared, reader->taken + sizeof bytes, reader->record, (size_t)bytes);
    reader->taken += sizeof bytes + bytes;
    atomic_store_explicit(&shared->taken, reader->taken, memory_order_release);
    *ret = (JournalRecord){.kind = JOURNAL_FRAME,
                           .bytes = (uint32_t)bytes,
                           .lsn = reader->frames++,
                           .data = reader->record};
    JournalFrame frame;
    return journal_frame_read(ret, &frame) ? KEEL_EDATA : 1;
}

void feed_answer(FeedReader *reader, uint64_t loose, const int32_t *check)
{
    uint64_t number = reader->frames - 1;
    reader->shared->answers[number % ANSWERS] = (Answer){.loose = loose,
                                                         .at_ns = clock_now_ns(),
                                                         .check = check ? *check : 0,
                                                         .by_check = check != NULL};
    atomic_store_explicit(&reader->shared->answered, number + 1, memory_order_release);
}
