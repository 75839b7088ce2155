/* state/snapshot and state/frozen: a state comes back as it was, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/frozen.h"

struct node {
    struct node *next;
    uint64_t value;
};

static uint8_t statics[5000];
static const SnapshotInfo info = {.lsn = 7, .frames = 9, .wall_ns = 5, .slot = "s", .module = "m"};
static const SnapshotParts parts = {
    .note = "note", .note_bytes = 4, .schema = "types", .schema_bytes = 5};

static void must(int rc, const Error *err)
{
    if (rc)
        fail_msg("%s", err->text);
}

static State *filled(StateTier tier, uint64_t base)
{
    State *state;
    Error err;
    const StateOptions options = {.tier = tier, .base = base};
    must(state_open(&options, &state, &err), &err);
    if (base)
        return state;
    struct node *root;
    must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
    for (uint64_t i = 0; i < 500; i++) {
        struct node *node = state_alloc(state, "struct node", "a.c", sizeof *node, 8, 1);
        node->value = i;
        node->next = root->next;
        root->next = node;
    }
    uint8_t *block = state_alloc_block(state, 300000, 64);
    memset(block, 0x5A, 300000);
    state_free(state, state_alloc_block(state, 90000, 16));
    memset(statics, 3, sizeof statics);
    const StateSpan span = {statics, sizeof statics};
    must(state_set_statics(state, &span, 1, &err), &err);
    must(state_commit(state, &err), &err);
    return state;
}

static int write_to_memory(State *state)
{
    Pin *pin;
    Error err;
    must(state_pin(state, &pin, &err), &err);
    int fd = memfd_create("snapshot", MFD_CLOEXEC);
    must(snapshot_write(pin, &info, &parts, fd, &err), &err);
    state_unpin(pin);
    return fd;
}

static void a_state_comes_back_as_it_was(void **unused)
{
    (void)unused;
    const StateTier tiers[] = {STATE_TIER_AUTO, STATE_TIER_COPY};
    for (int t = 0; t < 2; t++) {
        State *state = filled(tiers[t], 0);
        StateStatus status;
        state_status(state, &status);
        StateHashes hash, again;
        Error err;
        must(state_hash_frames(state, 1, &err), &err);
        must(state_hashes(state, &hash), &err);
        int fd = write_to_memory(state);
        state_close(state);
        SnapshotReader *reader;
        must(snapshot_open_fd(fd, &reader, &err), &err);
        const Snapshot *s = snapshot_parts(reader);
        assert_int_equal(s->info.lsn, 7);
        assert_int_equal(s->info.frames, 9);
        assert_string_equal(s->info.slot, "s");
        assert_memory_equal(s->note, "note", 4);
        assert_memory_equal(s->schema, "types", 5);
        assert_int_equal(s->span_count, 1);
        assert_memory_equal(s->spans[0].data, statics, sizeof statics);
        state = filled(tiers[t], status.base);
        must(snapshot_load(reader, state, &err), &err);
        must(state_check(state, &err), &err);
        must(state_hash_frames(state, 1, &err), &err);
        must(state_commit(state, &err), &err);
        must(state_hashes(state, &again), &err);
        assert_memory_equal(&hash, &again, sizeof hash);
        struct node *root;
        must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
        uint64_t sum = 0;
        for (struct node *n = root->next; n; n = n->next)
            sum += n->value;
        assert_int_equal(sum, 499 * 250);
        root->value = 1; /* what comes after is undone to what was loaded */
        must(state_undo(state, &err), &err);
        must(state_commit(state, &err), &err);
        must(state_hashes(state, &again), &err);
        assert_memory_equal(&hash, &again, sizeof hash);
        snapshot_close(reader);
        state_close(state);
        close(fd);
    }
}

/* What the pin holds is written, however the state goes on. */
static void frames_go_on_while_it_is_written(void **unused)
{
    (void)unused;
    State *state = filled(STATE_TIER_AUTO, 0);
    Error err;
    Pin *older, *pin;
    must(state_pin(state, &older, &err), &err);
    struct node *root;
    must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
    root->value = 11;
    root->next->value = 12;
    must(state_commit(state, &err), &err);
    must(state_pin(state, &pin, &err), &err);
    root->value = 21;
    root->next->value = 22;
    must(state_commit(state, &err), &err);
    int fd = memfd_create("snapshot", MFD_CLOEXEC);
    must(snapshot_write(pin, &info, &parts, fd, &err), &err);
    Frozen *frozen;
    must(frozen_open_fd(fd, &frozen, &err), &err);
    FrozenObject object;
    assert_int_equal(frozen_at(frozen, frozen_root(frozen), &object), 1);
    assert_string_equal(object.type, "struct node");
    assert_string_equal(object.file, "a.c");
    assert_int_equal(((const struct node *)(const void *)object.data)->value, 11);
    uint64_t next = (uintptr_t)((const struct node *)(const void *)object.data)->next;
    assert_int_equal(frozen_around(frozen, next + 9, &object), 1);
    assert_int_equal(object.address, next);
    assert_int_equal(((const struct node *)(const void *)object.data)->value, 12);
    frozen_free(frozen);
    state_unpin(pin);
    state_unpin(older);
    state_close(state);
    close(fd);
}

static int count(const FrozenObject *object, void *user)
{
    uint64_t *n = user;
    n[*object->type == 0]++;
    return 0;
}

static void all_objects_are_seen(void **unused)
{
    (void)unused;
    State *state = filled(STATE_TIER_AUTO, 0);
    int fd = write_to_memory(state);
    Frozen *frozen;
    Error err;
    must(frozen_open_fd(fd, &frozen, &err), &err);
    uint64_t n[2] = {0};
    frozen_each(frozen, count, n);
    assert_int_equal(n[0], 501);
    assert_int_equal(n[1], 1);
    frozen_free(frozen);
    state_close(state);
    close(fd);
}

/* Also where its pages went to the pool before or while it is looked at. */
static void a_pinned_moment_is_seen_without_a_file(void **unused)
{
    (void)unused;
    const StateTier tiers[] = {STATE_TIER_AUTO, STATE_TIER_COPY};
    for (int t = 0; t < 2; t++) {
        State *state = filled(tiers[t], 0);
        Error err;
        Pin *older, *pin;
        Frozen *file, *seen;
        struct node *root;
        must(state_pin(state, &older, &err), &err);
        must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
        for (struct node *n = root; n; n = n->next)
            n->value += 1000;
        statics[4500] = 17;
        must(state_commit(state, &err), &err);
        must(state_pin(state, &pin, &err), &err);
        int fd = memfd_create("snapshot", MFD_CLOEXEC);
        must(snapshot_write(pin, &info, &parts, fd, &err), &err);
        must(frozen_of_pin(pin, &info, &seen, &err), &err);
        for (int round = 0; round < 3; round++) {
            for (struct node *n = root; n; n = n->next)
                n->value += 7;
            state_alloc_block(state, 400000, 16);
            statics[4500]++;
            must(state_commit(state, &err), &err);
        }
        must(frozen_open_fd(fd, &file, &err), &err);
        assert_int_equal(frozen_compare(file, seen, NULL, NULL, NULL), 0);
        uint64_t n[2] = {0};
        frozen_each(seen, count, n);
        assert_int_equal(n[0], 501);
        assert_int_equal(n[1], 1);
        assert_int_equal(frozen_root(seen), frozen_root(file));
        const Snapshot *a = frozen_snapshot(file), *b = frozen_snapshot(seen);
        assert_int_equal(a->info.base, b->info.base);
        assert_int_equal(b->span_count, 1);
        assert_memory_equal(a->spans[0].data, b->spans[0].data, sizeof statics);
        assert_int_equal(b->spans[0].data[4500], 17);
        frozen_free(seen);
        frozen_free(file);
        state_unpin(pin);
        state_unpin(older);
        state_close(state);
        close(fd);
    }
}

typedef struct Told {
    int count[4];
    uint64_t first;
} Told;

static void tell(const FrozenDifference *d, void *user)
{
    Told *told = user;
    told->count[d->change]++;
    if (d->change == FROZEN_BYTES)
        told->first = d->first;
}

static void differences_are_found_by_object(void **unused)
{
    (void)unused;
    State *state = filled(STATE_TIER_AUTO, 0);
    Error err;
    int fd = write_to_memory(state), fd2;
    struct node *root;
    must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
    root->value = 77;
    struct node *gone = root->next->next;
    root->next->next = gone->next;
    state_free(state, gone);
    state_alloc_block(state, 5000, 16);
    must(state_commit(state, &err), &err);
    fd2 = write_to_memory(state);
    Frozen *a, *b;
    must(frozen_open_fd(fd, &a, &err), &err);
    must(frozen_open_fd(fd2, &b, &err), &err);
    Told told = {0};
    uint64_t pointers;
    assert_int_equal(frozen_compare(a, a, tell, &told, &pointers), 0);
    assert_int_equal(frozen_compare(a, b, tell, &told, &pointers), 4);
    assert_int_equal(told.count[FROZEN_BYTES], 2);
    assert_int_equal(told.count[FROZEN_ONLY_OLD], 1);
    assert_int_equal(told.count[FROZEN_ONLY_NEW], 1);
    frozen_free(a);
    frozen_free(b);
    state_close(state);
    close(fd);
    close(fd2);
}

/* Loads it, and says whether that went. */
static int loads(const uint8_t *data, size_t bytes, uint64_t base)
{
    int fd = memfd_create("copy", MFD_CLOEXEC);
    assert_int_equal(write(fd, data, bytes), bytes);
    SnapshotReader *reader = NULL;
    Error err = {0};
    int rc = snapshot_open_fd(fd, &reader, &err);
    if (rc == 0) {
        State *state = filled(STATE_TIER_COPY, base);
        rc = snapshot_load(reader, state, &err);
        StateStatus status;
        state_status(state, &status);
        if (rc)
            assert_int_equal(status.live_objects, 0);
        state_close(state);
        snapshot_close(reader);
    }
    if (rc)
        assert_true(*err.text != 0);
    close(fd);
    return rc == 0;
}

static void no_flipped_bit_is_loaded(void **unused)
{
    (void)unused;
    State *state;
    Error err;
    must(state_open(NULL, &state, &err), &err);
    struct node *root;
    must(state_root(state, "struct node", "a.c", sizeof *root, 8, (void **)&root, &err), &err);
    must(state_commit(state, &err), &err);
    StateStatus status;
    state_status(state, &status);
    int fd = write_to_memory(state);
    state_close(state);
    struct stat st;
    fstat(fd, &st);
    size_t bytes = (size_t)st.st_size;
    uint8_t *data = malloc(bytes);
    assert_int_equal(pread(fd, data, bytes, 0), bytes);
    close(fd);
    assert_true(loads(data, bytes, status.base));
    for (size_t at = 0; at < bytes; at += at < 1200 || at + 64 > bytes ? 1 : 41) {
        uint8_t bit = (uint8_t)(1u << at % 8);
        data[at] ^= bit;
        if (loads(data, bytes, status.base))
            fail_msg("byte %zu of %zu, bit %u flipped: it was loaded", at, bytes, bit);
        data[at] ^= bit;
    }
    for (size_t cut = 0; cut < bytes; cut += 97)
        assert_false(loads(data, cut, status.base));
    free(data);
}

static void a_file_is_replaced_whole_or_not_at_all(void **unused)
{
    (void)unused;
    char folder[] = "/tmp/keel-snapshot-XXXXXX", path[100];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    State *state = filled(STATE_TIER_AUTO, 0);
    Pin *pin;
    Error err;
    must(state_pin(state, &pin, &err), &err);
    must(snapshot_write_file(pin, &info, &parts, path, &err), &err);
    must(snapshot_write_file(pin, &info, &parts, path, &err), &err);
    Frozen *frozen;
    must(frozen_open(path, &frozen, &err), &err);
    frozen_free(frozen);
    SnapshotParts large = parts;
    large.note_bytes = SNAPSHOT_PART_MOST + 1;
    assert_int_equal(snapshot_write_file(pin, &info, &large, path, &err), KEEL_ELIMIT);
    must(frozen_open(path, &frozen, &err), &err);
    frozen_free(frozen);
    char beside[120];
    snprintf(beside, sizeof beside, "%s.new", path);
    assert_int_equal(access(beside, F_OK), -1);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(snapshot_write(pin, &info, &parts, full, &err), KEEL_ENOSPACE);
    close(full);
    state_unpin(pin);
    state_close(state);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_comes_back_as_it_was),
        cmocka_unit_test(frames_go_on_while_it_is_written),
        cmocka_unit_test(all_objects_are_seen),
        cmocka_unit_test(a_pinned_moment_is_seen_without_a_file),
        cmocka_unit_test(differences_are_found_by_object),
        cmocka_unit_test(no_flipped_bit_is_loaded),
        cmocka_unit_test(a_file_is_replaced_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
