/* What does it cost to rewrite a state whose structs were edited? A flat array against a memcpy of
 * as many bytes into fresh pages, linked objects by the piece, and the plan: without a checkpoint,
 * whose share is bench_checkpoint's. And with one an array of 1 GiB that is converted before the
 * boundary, while frames write to it: what is left for the boundary, and for its commit. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIANT 1
#include "modules/shapes.h"

#include "bench.h"
#include "state/migrate.h"

enum { ROOM = 16 << 20, ROUNDS = 7, FLAT = 2000000, LINKED = 400000 };
enum { HUGE_BYTES = 1 << 30, CYCLES = 4, BOUNDARIES = 100 };
enum { FRAMES = 30 }; /* at 60 Hz, in the half second that filling takes */

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

/* ---- before the boundary ---- */

typedef struct Huge {
    State *state;
    struct flat *all;
    uint32_t count, turn;
    Samples fill, boundary, commit, floor;
} Huge;

static void must(int code, const Error *err)
{
    if (code)
        die(err->text);
}

/* A frame that writes to `pages` pages, all over the array. */
static void frame(Huge *h, uint32_t pages)
{
    Error err = {0};
    uint64_t step = h->count / pages;
    for (uint32_t i = 0; i < pages; i++)
        h->all[i * step + (uint64_t)h->turn % step].id++;
    h->turn += 1000;
    must(state_commit(h->state, &err), &err);
}

/* As many pages by hand, from where they are to others, which are there. */
static double by_hand_pages_us(const Huge *h, uint8_t *to, uint32_t pages)
{
    typedef struct Now {
        float x, y, mass, vx, vy;
        uint32_t colour, id;
    } Now;
    uint64_t step = h->count / pages, each = 4096 / sizeof(struct flat);
    int64_t before = bench_now_ns();
    for (uint32_t i = 0; i < pages; i++)
        for (uint64_t n = 0; n < each && i * step + n < h->count; n++) {
            const struct flat *was = &h->all[i * step + n];
            Now now = {was->x, was->y, 0, was->vx, was->vy, was->colour, was->id};
            memcpy(to + (i * each + n) * sizeof now, &now, sizeof now);
        }
    BENCH_KEEP(to[0]);
    return (double)(bench_now_ns() - before) / 1e3;
}

static void boundary(Huge *h, Migration *m, MigratePrecopy *p, Pin **ret_before)
{
    Error err = {0};
    MigrateResult result;
    MigrateAttic *attic = NULL;
    precopy_unpin(p);
    int64_t before = bench_now_ns();
    must(state_pin(h->state, ret_before, &err), &err);
    const MigrateRun how = {.precopy = p, .before = *ret_before, .ret_attic = &attic};
    must(migration_run(m, h->state, &how, &result, &err), &err);
    samples_add(&h->boundary, (double)(bench_now_ns() - before) / 1e3);
    if (result.ahead < (uint64_t)h->count * sizeof *h->all)
        die("it was not converted ahead");
    migrate_attic_free(attic);
}

static MigratePrecopy *filled(Huge *h, Migration *m)
{
    MigratePrecopy *p;
    if (precopy_begin(m, h->state, PRECOPY_BYTES, &p) || !p)
        die("nothing to convert ahead: does this kernel track?");
    int64_t before = bench_now_ns();
    if (precopy_fill(p))
        die("it could not be converted ahead");
    samples_add(&h->fill, (double)(bench_now_ns() - before) / 1e6);
    return p;
}

/* One more round, as frames go on. */
static void round_of(MigratePrecopy *p)
{
    if (precopy_next(p) || precopy_fill(p))
        die("a round failed");
}

/* The whole way, with the commit of the first frame, and back to the state before. */
static void cycle(Huge *h, Migration *m, uint32_t pages)
{
    Error err = {0};
    Pin *before;
    MigratePrecopy *p = filled(h, m);
    for (int i = 0; i < FRAMES; i++)
        frame(h, pages);
    round_of(p);
    frame(h, pages);
    boundary(h, m, p, &before);
    int64_t begin = bench_now_ns();
    must(state_commit(h->state, &err), &err);
    samples_add(&h->commit, (double)(bench_now_ns() - begin) / 1e3);
    precopy_end(p);
    must(state_restore_pin(h->state, before, &err), &err);
    state_unpin(before);
    for (int i = 0; i < 100; i++)
        frame(h, 1); /* versions that the pins needed are folded back */
}

/* Boundaries one after the other, each undone: the same work, many samples. */
static void many(Huge *h, Migration *m, uint32_t pages)
{
    Error err = {0};
    Pin *before;
    MigratePrecopy *p = filled(h, m);
    for (int i = 0; i < BOUNDARIES; i++) {
        frame(h, pages);
        h->all[0].id++; /* with the page that the object's head is on */
        round_of(p);
        frame(h, pages);
        boundary(h, m, p, &before);
        must(state_undo(h->state, &err), &err);
        state_unpin(before);
        h->all[0].id++;
        frame(h, pages);
        round_of(p);
    }
    precopy_end(p);
}

static void huge(const Schema *from, const Schema *to, uint32_t pages)
{
    Error err = {0};
    const StateOptions options = {.tier = STATE_TIER_TRACK, .max_bytes = UINT64_C(8) << 30};
    Migration *m;
    Huge h = {.count = HUGE_BYTES / sizeof(struct flat)};
    must(state_open(&options, &h.state, &err), &err);
    must(migration_new(from, to, &m, &err), &err);
    h.all = state_alloc(h.state, "struct flat", "", sizeof *h.all, 4, h.count);
    uint8_t *room = malloc((size_t)pages * 8192);
    if (!h.all || !room)
        die("no memory");
    memset(room, 1, (size_t)pages * 8192);
    for (uint32_t n = 0; n < h.count; n++)
        h.all[n].id = n;
    must(state_commit(h.state, &err), &err);
    for (int i = 0; i < BOUNDARIES; i++)
        samples_add(&h.floor, by_hand_pages_us(&h, room, pages));
    many(&h, m, pages);
    char metric[100];
    snprintf(metric, sizeof metric, "1 GiB, 24 → 28 bytes: boundary, %u pages changed last", pages);
    bench_report("migrate", metric, "µs", &h.boundary, samples_median(&h.floor));
    h.boundary.count = 0;
    for (int i = 0; i < CYCLES; i++)
        cycle(&h, m, pages);
    snprintf(metric, sizeof metric, "the same, never undone before (%d)", CYCLES);
    bench_report("migrate", metric, "µs", &h.boundary, samples_median(&h.floor));
    bench_report("migrate", "and the commit after it", "µs", &h.commit, 0);
    migration_free(m);
    state_close(h.state);
    Samples copies = {0};
    for (int i = 0; i < 3; i++)
        samples_add(&copies, copy_ns(HUGE_BYTES, (uint64_t)HUGE_BYTES / 24 * 28) / 1e6);
    bench_report("migrate", "the same, before the boundary, beside frames", "ms", &h.fill,
                 samples_median(&copies));
    samples_done(&copies);
    samples_done(&h.fill);
    samples_done(&h.boundary);
    samples_done(&h.commit);
    samples_done(&h.floor);
    free(room);
}

int main(void)
{
    Schema from = schema_of(BENCH_MODULES "/shapes-1.so"),
           to = schema_of(BENCH_MODULES "/shapes-2.so");
    plan(&from, &to);
    flat(&from, &to);
    linked(&from, &to, "struct node", "linked object, within its place");
    linked(&from, &to, "struct leaf", "linked object that moves");
    huge(&from, &to, 100);
    huge(&from, &to, 1000);
    return 0;
}
