/* state/: a pin seen from another process stays exact while commits go on; a hostile view is
 * refused; a process killed anywhere in a commit leaves a boundary. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "amount.h"
#include "state/internal.h"

#define ok(call)                                    \
    do {                                            \
        Error ok_err = {0};                         \
        if ((call) != 0)                            \
            fail_msg("%s: %s", #call, ok_err.text); \
    } while (0)

enum { WORDS = 200000 };

typedef struct World {
    uint64_t frame;
    uint64_t *words;
    void *extra[64];
} World;

static World *world_of(State *state)
{
    void *root = NULL;
    ok(state_root(state, "World", "test.c", sizeof(World), 8, &root, &ok_err));
    return root;
}

/* One frame: some words, an allocation that grows and shrinks the arena. */
static void frame(State *state, uint64_t n)
{
    World *world = world_of(state);
    if (!world->words)
        world->words = state_alloc(state, "uint64_t", "test.c", 8, 8, WORDS);
    world->frame = n;
    for (uint64_t i = 0; i < 40; i++)
        world->words[(n * 7919 + i * 104729) % WORDS] = n + i;
    void **extra = &world->extra[n % 64];
    state_free(state, *extra);
    uint64_t bytes = 1 + n * 31337 % 60000;
    *extra = state_alloc_block(state, bytes, 16);
    memset(*extra, (int)n, bytes);
}

/* What is hashed at the cost of what was written is what all of it would give. */
static int loose_agrees(State *state)
{
    static uint64_t image[64];
    const StateSpan images[2] = {{image, sizeof image}, {(void *)(uintptr_t)0x7000000000, 4096}};
    LooseHash *loose = NULL;
    if (loose_new(state, images, 2, &loose))
        return 0;
    int good = loose_now(loose) == state_hash_loose(state, images, 2);
    for (uint64_t n = 0; n < 120 && good; n++) {
        frame(state, 777 + n);
        world_of(state)->extra[63 - n % 3] = NULL; /* lost; n % 64 is another */
        if (n % 5 == 0)
            world_of(state)->words[n * 997 % WORDS] = (uintptr_t)&image[n % 64];
        if (n % 17 == 0) /* the arena's end moves, far */
            state_free(state, state_alloc_block(state, 3 << 20, 16));
        good = loose_now(loose) == state_hash_loose(state, images, 2);
    }
    loose_free(loose);
    return good;
}

/* In a child: adopts the view and answers 0 when it is `want` from first to last. */
static int watch(const StateView *view, Hash want, int rounds)
{
    State *state = NULL;
    Error err = {0};
    if (state_adopt(view, &state, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (int i = 0; i < rounds; i++) {
        if (!hash_equal(state_hash(state), want) || state_check(state, &err) != 0)
            return 2;
        usleep(2000);
    }
    /* It is the child's own: written, allocated, committed as the trial does. */
    frame(state, 123456);
    if (state_commit(state, &err) != 0 || state_undo(state, &err) != KEEL_EUNSUPPORTED ||
        state_check(state, &err) != 0 || hash_equal(state_hash(state), want))
        return 3;
    if (!loose_agrees(state))
        return 4;
    state_close(state);
    return 0;
}

static pid_t spawn_watch(State *inherited, Pin *pin, Hash want, int rounds)
{
    StateView view;
    ok(state_pin_view(pin, &view, &ok_err));
    for (int i = 0; i < view.fd_count; i++)
        view.fds[i] = dup(view.fds[i]);
    pid_t child = fork();
    if (child == 0) {
        state_close(inherited); /* its copy of the address space: makes room at the address */
        _exit(watch(&view, want, rounds));
    }
    for (int i = 0; i < view.fd_count; i++)
        close(view.fds[i]);
    return child;
}

static void expect_clean(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void views_are_exact(StateTier tier)
{
    State *state = NULL;
    StateOptions options = {.tier = tier, .copy_limit_bytes = UINT64_C(1) << 30};
    ok(state_open(&options, &state, &ok_err));
    Pin *pins[STATE_PINS];
    pid_t children[STATE_PINS];
    uint64_t n = 0;
    int few = amount(30, 100), many = amount(300, 2000), looks = amount(10, 50);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < STATE_PINS; i++) {
            for (int k = 0; k < few; k++) {
                frame(state, n++);
                ok(state_commit(state, &ok_err));
            }
            Hash want = state_hash(state);
            frame(state, n++); /* a frame that has begun is not in the pin */
            ok(state_pin(state, &pins[i], &ok_err));
            children[i] = spawn_watch(state, pins[i], want, looks);
        }
        Pin *more = NULL;
        assert_int_equal(state_pin(state, &more, NULL), KEEL_ELIMIT);
        for (int k = 0; k < many; k++) {
            frame(state, n++);
            if (k % 5 == 0)
                ok(state_undo(state, &ok_err));
            else
                ok(state_commit(state, &ok_err));
        }
        /* Any order. */
        int order[] = {2, 0, 3, 1};
        for (int i = 0; i < STATE_PINS; i++) {
            expect_clean(children[order[i]]);
            state_unpin(pins[order[i]]);
            frame(state, n++);
            ok(state_commit(state, &ok_err));
        }
    }
    ok(state_undo(state, &ok_err));
    ok(state_check(state, &ok_err));
    /* What the pins left goes home, a little a commit. */
    for (int k = 0; k < 2000 && !store_plain(state); k++)
        ok(state_commit(state, &ok_err));
    assert_true(store_plain(state));
    state_close(state);
}

static int add_object(const StateObject *object, void *user)
{
    uint64_t *sum = user;
    uint64_t address = (uintptr_t)object->address;
    *sum = *sum * 31 + hash_bytes(object->address, (size_t)object->bytes).low + address;
    return 0;
}

/* Of all objects; the head also counts what was ever in use. */
static uint64_t objects_hash(State *state)
{
    uint64_t sum = 0;
    state_each(state, add_object, &sum);
    return sum;
}

/* Moments: as exact as pins, restored in any order, for their own process only; none is left over.
 */
static void moments_are_exact(void **unused)
{
    (void)unused;
    State *state = NULL;
    ok(state_open(NULL, &state, &ok_err));
    Pin *moments[STATE_MOMENTS], *more = NULL;
    uint64_t want[STATE_MOMENTS];
    uint64_t n = 0;
    for (int i = 0; i < STATE_MOMENTS; i++) {
        for (int k = 0; k < 5; k++) {
            frame(state, n++);
            ok(state_commit(state, &ok_err));
        }
        want[i] = objects_hash(state);
        ok(state_pin_moment(state, &moments[i], &ok_err));
    }
    assert_int_equal(state_pin_moment(state, &more, NULL), KEEL_ELIMIT);
    StateView view;
    assert_int_equal(state_pin_view(moments[0], &view, NULL), KEEL_EINVAL);
    ok(state_pin(state, &more, &ok_err)); /* the others' places are their own */
    assert_true(state_pinned_bytes(state) > 0);
    for (int i = 0; i < 2 * STATE_MOMENTS; i++) {
        int at = i * 37 % STATE_MOMENTS;
        frame(state, n++);
        ok(state_restore_pin(state, moments[at], &ok_err));
        ok(state_commit(state, &ok_err));
        assert_true(objects_hash(state) == want[at]);
        ok(state_check(state, &ok_err));
    }
    state_unpin(more);
    for (int i = 0; i < STATE_MOMENTS; i++)
        state_unpin(moments[i * 7 % STATE_MOMENTS]);
    for (int k = 0; k < 2000 && !store_plain(state); k++) {
        state_fold_pins(state);
        ok(state_commit(state, &ok_err));
    }
    assert_true(store_plain(state));
    assert_int_equal(state_pinned_bytes(state), 0);
    state_close(state);
}

static void views_tracking(void **unused)
{
    (void)unused;
    views_are_exact(STATE_TIER_AUTO);
}

static void views_copying(void **unused)
{
    (void)unused;
    views_are_exact(STATE_TIER_COPY);
}

static void hostile_views_are_refused(void **unused)
{
    (void)unused;
    State *state = NULL, *other = NULL;
    Pin *first = NULL, *pin = NULL;
    StateView view;
    ok(state_open(NULL, &state, &ok_err));
    frame(state, 1);
    ok(state_commit(state, &ok_err));
    ok(state_pin(state, &first, &ok_err)); /* so that the second's table is not empty */
    frame(state, 2);
    ok(state_commit(state, &ok_err));
    ok(state_pin(state, &pin, &ok_err));
    ok(state_pin_view(pin, &view, &ok_err));
    assert_true(pin->table_count > 0);
    for (int i = 0; i < 2; i++)
        view.fds[i] = dup(view.fds[i]);
    uint8_t bad_table[8] = {0, 0, 0, 0, 255, 255, 255, 255};
    uint64_t table = pin->table_offset;
    state_unpin(pin);
    state_unpin(first);
    int pool = dup(view.fds[1]);
    state_close(state);
    ok(state_adopt(&view, &other, &ok_err));
    state_close(other);
    Error err = {0};
    /* Every bit of the plain part, one at a time: refused or harmless, never a crash. */
    int refused = 0;
    for (unsigned bit = 0; bit < view.bytes * 8; bit++) {
        StateView bent = view;
        bent.plain[bit / 8] ^= (uint8_t)(1u << bit % 8);
        other = NULL;
        if (state_adopt(&bent, &other, &err) == 0)
            state_close(other);
        else
            refused++;
    }
    assert_true(refused > 200);
    StateView bent = view;
    bent.fd_count = 1;
    assert_int_equal(state_adopt(&bent, &other, &err), KEEL_EDATA);
    bent = view;
    bent.bytes--;
    assert_int_equal(state_adopt(&bent, &other, &err), KEEL_EDATA);
    bent = view;
    bent.fds[0] = open("/dev/null", O_RDONLY);
    assert_int_equal(state_adopt(&bent, &other, &err), KEEL_EDATA);
    close(bent.fds[0]);
    bent.fds[0] = memfd_create("small", MFD_ALLOW_SEALING);
    assert_int_equal(state_adopt(&bent, &other, &err), KEEL_EDATA);
    fcntl(bent.fds[0], F_ADD_SEALS, F_SEAL_SHRINK);
    assert_int_equal(state_adopt(&bent, &other, &err), KEEL_EDATA);
    close(bent.fds[0]);
    assert_int_equal(pwrite(pool, bad_table, 8, (off_t)table), 8);
    assert_int_equal(state_adopt(&view, &other, &err), KEEL_EDATA);
    close(pool);
    for (int i = 0; i < 2; i++)
        close(view.fds[i]);
}

/* ---- a kill in the middle of a commit ---- */

typedef struct Shared {
    int arena, store, pool; /* the child's descriptors */
    Hash before, after;
    _Atomic int ready;
} Shared;

static uint8_t statics[20000];

static _Noreturn void victim(Shared *shared, StateTier tier, int64_t kill_at, int pinned)
{
    State *state = NULL;
    Error err = {0};
    StateOptions options = {.tier = tier, .copy_limit_bytes = UINT64_C(1) << 30};
    StateSpan span = {statics, sizeof statics};
    if (state_open(&options, &state, &err) != 0 || state_set_statics(state, &span, 1, &err) != 0)
        _exit(90);
    Pin *pins[2] = {NULL};
    for (uint64_t n = 0; n < 30; n++) {
        frame(state, n);
        statics[n * 600] = (uint8_t)n;
        if (state_commit(state, &err) != 0)
            _exit(91);
        if (pinned && n >= 25 && n < 27 && state_pin(state, &pins[n - 25], &err) != 0)
            _exit(92);
    }
    if (pinned == 2)
        state_unpin(pins[0]);
    shared->arena = state->arena_fd;
    shared->store = state->store.fd;
    shared->pool = state->store.pool_fd;
    shared->before = state_hash(state);
    frame(state, 77);
    memset(statics, 77, sizeof statics);
    shared->after = state_hash(state);
    atomic_store(&shared->ready, 1);
    if (getppid() == 1 || raise(SIGSTOP) != 0) /* the parent opens the descriptors */
        _exit(93);
    state_kill_at = kill_at;
    if (state_commit(state, &err) != 0)
        _exit(94);
    _exit(0);
}

static int open_of(pid_t child, int fd)
{
    char path[64];
    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", child, fd);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    assert_true(opened >= 0);
    return opened;
}

/* Adopts what recovery left and gives its hash and the first byte of the statics. */
static Hash recovered(int arena, int store, uint8_t *ret_static)
{
    struct {
        StoreHead head;
    } *map = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, store, 0);
    assert_true(map != MAP_FAILED);
    StoreHead head = map->head;
    munmap(map, PAGE_BYTES);
    assert_int_equal(head.phase, STORE_IDLE);
    assert_int_equal(pread(store, ret_static, 1, (off_t)(head.base_offset + head.arena_bytes)), 1);
    Hash hashes[2];
    for (int i = 0; i < 2; i++) { /* arena and checkpoint must be the same boundary */
        uint64_t offset = i ? 0 : head.base_offset;
        int fd = i ? arena : store;
        State shape = {.arena_fd = -1};
        state_layout(&shape, head.arena_base, head.arena_bytes);
        void *at =
            mmap(NULL, head.arena_bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, (off_t)offset);
        assert_true(at != MAP_FAILED);
        shape.base = at;
        hashes[i] = state_hash(&shape);
        munmap(at, head.arena_bytes);
    }
    assert_true(hash_equal(hashes[0], hashes[1]));
    return hashes[0];
}

static void a_kill_in_a_commit_leaves_a_boundary(void **unused)
{
    (void)unused;
    Shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int old_ones = 0, new_ones = 0, rounds = amount(6, 6), step = 200 / amount(9, 40);
    for (int round = 0; round < rounds; round++) {
        StateTier tier = round % 2 ? STATE_TIER_COPY : STATE_TIER_AUTO;
        for (int64_t kill_at = 1; kill_at < 200; kill_at += kill_at < 6 ? 1 : step) {
            memset(shared, 0, sizeof *shared);
            pid_t child = fork();
            if (child == 0)
                victim(shared, tier, kill_at, round / 2);
            int status;
            assert_int_equal(waitpid(child, &status, WUNTRACED), child);
            assert_true(WIFSTOPPED(status));
            int arena = open_of(child, shared->arena), store = open_of(child, shared->store),
                pool = open_of(child, shared->pool);
            kill(child, SIGCONT);
            assert_int_equal(waitpid(child, &status, 0), child);
            int ended = WIFEXITED(status);
            assert_true(ended ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
            ok(recover_store(arena, store, pool, &ok_err));
            uint8_t byte;
            Hash hash = recovered(arena, store, &byte);
            int is_new = hash_equal(hash, shared->after);
            assert_true(is_new || hash_equal(hash, shared->before));
            assert_int_equal(byte, is_new ? 77 : 0);
            if (ended)
                assert_true(is_new);
            old_ones += !is_new;
            new_ones += is_new;
            close(arena);
            close(store);
            if (pool >= 0)
                close(pool);
            if (ended)
                break;
        }
    }
    assert_true(old_ones >= rounds); /* each round's first kill comes before the phase word */
    assert_true(new_ones > rounds);
    munmap(shared, sizeof *shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_exact),
        cmocka_unit_test(views_tracking),
        cmocka_unit_test(views_copying),
        cmocka_unit_test(hostile_views_are_refused),
        cmocka_unit_test(a_kill_in_a_commit_leaves_a_boundary),
    };
    return cmocka_run_group_tests_name("state_view", tests, NULL, NULL);
}
