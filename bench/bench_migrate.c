/* What does it cost to rewrite a state whose structs were edited? A flat array against a memcpy of
 * as many bytes into fresh pages, linked objects by the piece, and the plan. The state has no
 * checkpoint here: what that adds is bench_checkpoint's. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIANT 1
#include "modules/shapes.h"

#include "bench.h"
#include "state/migrate.h"

enum { ROOM = 16 << 20, ROUNDS = 7, FLAT = 2000000, LINKED = 400000 };

static void die(const char *what)
{
    fprintf(stderr, "bench_migrate: %s\n", what);
    exit(2);
}

static Schema schema_of(const char *path)
{
    struct stat st;
    Error err;
    Schema schema;
    size_t bytes;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        die(path);
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    void *room = aligned_alloc(16, ROOM);
    if (data == MAP_FAILED || !room ||
        schema_read(data, (size_t)st.st_size, room, ROOM, &bytes, &err) ||
        schema_check(room, bytes, &schema, &err))
        die(err.text);
    close(fd);
    return schema;
}

static State *open_state(void)
{
    const StateOptions options = {.tier = STATE_TIER_OFF};
    State *state;
    Error err;
    if (state_open(&options, &state, &err))
        die(err.text);
    return state;
}

static double copy_ns(uint64_t from_bytes, uint64_t to_bytes)
{
    void *from = mmap(NULL, from_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    uint64_t most = from_bytes < to_bytes ? from_bytes : to_bytes;
    memset(from, 1, from_bytes);
    void *to = mmap(NULL, to_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED || to == MAP_FAILED)
        die("no memory");
    int64_t before = bench_now_ns();
    memcpy(to, from, most);
    memset((char *)to + most, 0, to_bytes - most);
    int64_t spent = bench_now_ns() - before;
    munmap(from, from_bytes);
    munmap(to, to_bytes);
    return (double)spent;
}

static double run(const Schema *from, const Schema *to, State *state, uint64_t expect)
{
    Migration *migration;
    MigrateResult result;
    Error err;
    const MigrateRun how = {0};
    if (migration_new(from, to, &migration, &err) || migration_learn_state(migration, state))
        die(err.text);
    int64_t before = bench_now_ns();
    if (migration_run(migration, state, &how, &result, &err))
        die(err.text);
    double spent = (double)(bench_now_ns() - before);
    if (result.objects != expect)
        die("other objects than expected were migrated");
    migration_free(migration);
    return spent;
}

static void flat(const Schema *from, const Schema *to)
{
    Samples samples = {0}, floors = {0};
    for (int i = 0; i < ROUNDS; i++) {
        State *state = open_state();
        struct flat *all = state_alloc(state, "struct flat", "", sizeof *all, 4, FLAT);
        for (uint32_t n = 0; n < FLAT; n++)
            all[n].id = n;
        samples_add(&samples, run(from, to, state, FLAT) / 1e6);
        samples_add(&floors, copy_ns(sizeof *all * FLAT, 28ull * FLAT) / 1e6);
        state_close(state);
    }
    bench_report("migrate", "flat array, 2 M × 24 → 28 bytes", "ms", &samples,
                 samples_median(&floors));
    samples_done(&samples);
    samples_done(&floors);
}

/* The same by hand, as a restore that knows all objects would. */
static double by_hand_ns(struct node **all)
{
    int64_t before = bench_now_ns();
    uint64_t seen = 0;
    for (uint32_t n = 0; n < LINKED; n++) {
        struct node was = *all[n];
        struct {
            int64_t value;
            struct node *next, *other;
        } is = {was.value, was.next, was.other};
        seen += (uintptr_t)is.next->next + (uintptr_t)is.other->next;
        memcpy(all[n], &is, sizeof is);
        memcpy(all[n], &was, sizeof was);
    }
    BENCH_KEEP(seen);
    return (double)(bench_now_ns() - before) / LINKED;
}

static void linked(const Schema *from, const Schema *to, const char *type, const char *metric)
{
    Samples samples = {0}, floors = {0};
    for (int i = 0; i < ROUNDS; i++) {
        State *state = open_state();
        struct node **all = malloc(LINKED * sizeof(struct node *));
        for (uint32_t n = 0; n < LINKED; n++)
            all[n] = state_alloc(state, type, "", sizeof **all, 8, 1);
        for (uint32_t n = 0; n < LINKED; n++) {
            all[n]->next = all[(n + 1) % LINKED];
            all[n]->other = all[(uint64_t)n * 7919 % LINKED];
        }
        samples_add(&floors, by_hand_ns(all));
        samples_add(&samples, run(from, to, state, LINKED) / LINKED);
        free(all);
        state_close(state);
    }
    bench_report("migrate", metric, "ns", &samples, samples_median(&floors));
    samples_done(&samples);
    samples_done(&floors);
}

static void plan(const Schema *from, const Schema *to)
{
    Samples samples = {0};
    for (int i = 0; i < 50; i++) {
        Migration *migration;
        Error err;
        int64_t before = bench_now_ns();
        if (migration_new(from, to, &migration, &err) ||
            migration_learn(migration, "struct flat", "") ||
            migration_learn(migration, "struct node", ""))
            die(err.text);
        samples_add(&samples, (double)(bench_now_ns() - before) / 1e3);
        migration_free(migration);
    }
    bench_report("migrate", "plan of a small module", "µs", &samples, 0);
    samples_done(&samples);
}

int main(void)
{
    Schema from = schema_of(BENCH_MODULES "/shapes-1.so"),
           to = schema_of(BENCH_MODULES "/shapes-2.so");
    plan(&from, &to);
    flat(&from, &to);
    linked(&from, &to, "struct node", "linked object, within its place");
    linked(&from, &to, "struct leaf", "linked object that moves");
    return 0;
}
