/* What does keeping a slot cost? One record of the journal; hashes of the state beside what was
 * dirtied; writing and reading a snapshot beside a plain copy. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "state/journal.h"
#include "state/snapshot.h"

enum { RECORDS = 200000, ROUNDS = 9, COMMITS = 301, STATE_MIB = 256, HASHED_MIB = 64 };

static void die(const Error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(2);
}

/* A state with one committed block of ones. */
static uint8_t *open_filled(State **ret, size_t bytes)
{
    Error err;
    if (state_open(NULL, ret, &err))
        die(&err);
    uint8_t *block = state_alloc_block(*ret, bytes, 4096);
    memset(block, 1, bytes);
    if (state_commit(*ret, &err))
        die(&err);
    return block;
}

/* Two readings of the clock and a copy of as much. */
static double append_floor(void)
{
    static uint8_t buffer[1 << 20];
    uint8_t record[160] = {1};
    Samples samples = {0};
    samples_reserve(&samples, RECORDS);
    for (int i = 0; i < RECORDS; i++) {
        int64_t before = bench_now_ns();
        memcpy(buffer + (size_t)i % 6000 * sizeof record, record, sizeof record);
        BENCH_KEEP(buffer);
        samples_add(&samples, (double)(bench_now_ns() - before));
    }
    double floor = samples_median(&samples);
    samples_done(&samples);
    return floor;
}

static void append(void)
{
    char path[] = "/tmp/keel-bench-XXXXXX";
    const JournalFrame frame = {.dt = 1};
    const JournalEvent event = {.data_bytes = 0};
    const JournalPart parts[] = {{&frame, sizeof frame}, {&event, sizeof event}};
    Journal *journal;
    Error err;
    Samples samples = {0};
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    if (journal_create(path, NULL, &journal, &err))
        die(&err);
    samples_reserve(&samples, RECORDS);
    for (int i = 0; i < RECORDS; i++) {
        if (i % 1000 == 0)
            journal_tend(journal); /* as another thread does every 20 ms */
        int64_t before = bench_now_ns();
        journal_append(journal, JOURNAL_FRAME, parts, 2);
        samples_add(&samples, (double)(bench_now_ns() - before));
    }
    bench_report("journal", "append", "ns", &samples, append_floor());
    samples_done(&samples);
    journal_close(journal);
    unlink(path);
}

/* Commits that dirtied so many pages, with and without hashes. */
static void hashes(void)
{
    static const int dirty[] = {1, 10, 100, 1000};
    double floor[4] = {0};
    for (int hashed = 0; hashed < 2; hashed++) {
        State *state;
        Error err;
        uint8_t *block = open_filled(&state, (size_t)HASHED_MIB << 20);
        if (hashed && state_hash_frames(state, 1, &err))
            die(&err);
        for (int d = 0; d < 4; d++) {
            char metric[40];
            Samples samples = {0};
            samples_reserve(&samples, COMMITS);
            for (int round = 0; round < COMMITS; round++) {
                for (int i = 0; i < dirty[d]; i++)
                    block[(size_t)(i * 13 + round % 3) % 16000 * 4096] = (uint8_t)(round + i);
                int64_t before = bench_now_ns();
                if (state_commit(state, &err))
                    die(&err);
                samples_add(&samples, (double)(bench_now_ns() - before) / 1e3);
            }
            if (!hashed)
                floor[d] = samples_median(&samples);
            snprintf(metric, sizeof metric, "commit_hashed_%d_pages", dirty[d]);
            if (hashed)
                bench_report("journal", metric, "us", &samples, floor[d]);
            samples_done(&samples);
        }
        state_close(state);
    }
}

static double ms_since(int64_t before)
{
    return (double)(bench_now_ns() - before) / 1e6;
}

/* Hashes that begin in the middle of a session: the longest boundary where another thread makes
 * them, beside the one boundary that would make all of them. */
static void begin_late(void)
{
    enum { CHANGED = 100 };
    Samples whole = {0}, boundary = {0}, beside = {0};
    State *state;
    Error err;
    uint8_t *block = open_filled(&state, (size_t)STATE_MIB << 20);
    for (int round = 0; round < ROUNDS; round++) {
        HashFill *fill;
        int64_t before = bench_now_ns();
        if (state_hash_frames(state, 1, &err))
            die(&err);
        samples_add(&whole, ms_since(before));
        state_hash_frames(state, 0, NULL);
        before = bench_now_ns();
        if (state_hash_begin(state, 1, 2, &fill, &err))
            die(&err);
        double longest = ms_since(before);
        before = bench_now_ns();
        state_hash_fill(fill);
        samples_add(&beside, ms_since(before));
        for (int i = 0; i < CHANGED; i++)
            block[(size_t)(i * 613 + round) * 4096] ^= 1;
        if (state_commit(state, &err))
            die(&err);
        before = bench_now_ns();
        if (state_hash_join(fill, &err))
            die(&err);
        double join = ms_since(before);
        samples_add(&boundary, join > longest ? join : longest);
        state_hash_frames(state, 0, NULL);
    }
    double floor = samples_median(&whole);
    bench_report("journal", "hash_256MiB_longest_boundary", "ms", &boundary, floor);
    bench_report("journal", "hash_256MiB_beside_frames", "ms", &beside, floor);
    samples_done(&whole);
    samples_done(&boundary);
    samples_done(&beside);
    state_close(state);
}

static void read_back(int fd, uint64_t base, double floor)
{
    const StateOptions options = {.base = base};
    Samples samples = {0};
    for (int i = 0; i < ROUNDS; i++) {
        SnapshotReader *reader;
        State *state;
        Error err;
        if (state_open(&options, &state, &err))
            die(&err);
        int64_t before = bench_now_ns();
        if (snapshot_open_fd(fd, &reader, &err) || snapshot_load(reader, state, &err))
            die(&err);
        samples_add(&samples, ms_since(before));
        snapshot_close(reader);
        state_close(state);
    }
    bench_report("journal", "snapshot_read_256MiB", "ms", &samples, floor);
    bench_value("journal", "snapshot_read", "MB/s",
                STATE_MIB * 1.048576 * 1e3 / samples_median(&samples));
    samples_done(&samples);
}

static void snapshots(void)
{
    const size_t bytes = (size_t)STATE_MIB << 20;
    const SnapshotInfo info = {.slot = "bench"};
    const SnapshotParts none = {0};
    Samples wrote = {0}, copied = {0};
    State *state;
    Pin *pin;
    Error err;
    if (state_open(NULL, &state, &err))
        die(&err);
    uint64_t *block = state_alloc_block(state, bytes, 4096);
    for (size_t i = 0; i < bytes / 8; i++)
        block[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    if (state_commit(state, &err) || state_pin(state, &pin, &err))
        die(&err);
    int fd = memfd_create("bench", MFD_CLOEXEC);
    for (int i = 0; i < ROUNDS; i++) {
        if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
            exit(2);
        int64_t before = bench_now_ns();
        if (snapshot_write(pin, &info, &none, fd, &err))
            die(&err);
        samples_add(&wrote, ms_since(before));
        uint8_t *fresh =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        before = bench_now_ns();
        memcpy(fresh, block, bytes);
        BENCH_KEEP(fresh);
        samples_add(&copied, ms_since(before));
        munmap(fresh, bytes);
    }
    double floor = samples_median(&copied);
    bench_report("journal", "snapshot_write_256MiB", "ms", &wrote, floor);
    bench_value("journal", "snapshot_write", "MB/s",
                STATE_MIB * 1.048576 * 1e3 / samples_median(&wrote));
    StateStatus status;
    state_status(state, &status);
    state_unpin(pin);
    state_close(state);
    read_back(fd, status.base, floor);
    samples_done(&wrote);
    samples_done(&copied);
    close(fd);
}

int main(void)
{
    append();
    hashes();
    begin_late();
    snapshots();
    return 0;
}
