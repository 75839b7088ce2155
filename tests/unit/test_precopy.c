/* Arrays that are converted ahead of the boundary: rounds, what is refused, what is given back, and
 * that whatever goes wrong meanwhile the migration itself comes out right. */
#include "image_files.h"

#include <sys/stat.h>

#include "image/schema.h"
#include "state/ahead.h"
#include "state/migrate.h"

enum { ROOM = 16 << 20, CELLS = 30000, LEAST = 1 << 16 };

typedef struct OldCell {
    int32_t id;
    float value;
    char note[8];
    uint32_t writes;
} OldCell;

typedef struct NewCell {
    int64_t id;
    double more;
    float value;
    uint32_t writes;
} NewCell;

typedef struct OldWorld {
    int32_t first;
    OldCell cells[CELLS];
    int32_t last;
} OldWorld;

typedef struct NewWorld {
    int32_t first;
    double added;
    NewCell cells[CELLS];
    int32_t last;
} NewWorld;

#define ok(call)                                    \
    do {                                            \
        Error ok_err = {0};                         \
        if ((call) != 0)                            \
            fail_msg("%s: %s", #call, ok_err.text); \
    } while (0)

static Schema before, after;
static State *state;
static OldCell *cells;
static Migration *there, *back;
static MigrateAttic *attic;
static Pin *pin;
static MigrateResult result;

static void read_schema(const char *path, Schema *ret)
{
    Blob file = blob_read(path);
    size_t bytes = 0;
    void *packed = NULL;
    assert_int_equal(posix_memalign(&packed, 16, ROOM), 0);
    ok(schema_read(file.data, file.bytes, packed, ROOM, &bytes, &ok_err));
    ok(schema_check(packed, bytes, ret, &ok_err));
    free(file.data);
}

static int open_all(void **unused)
{
    (void)unused;
    Error err = {0};
    StateOptions options = {.tier = STATE_TIER_TRACK};
    if (state_open(&options, &state, &err))
        return 0; /* this kernel can't track: the tests skip */
    ok(migration_new(&before, &after, &there, &ok_err));
    ok(migration_new(&after, &before, &back, &ok_err));
    return 0;
}

static int close_all(void **unused)
{
    (void)unused;
    migration_free(there);
    migration_free(back);
    migrate_attic_free(attic);
    state_close(state);
    there = back = NULL;
    attic = NULL;
    state = NULL;
    pin = NULL;
    return 0;
}

static void fill_cell(OldCell *c, uint32_t i)
{
    c->id = (int32_t)i;
    c->value = (float)i / 2;
    c->writes = 0;
    if (i % 3 == 0)
        snprintf(c->note, sizeof c->note, "n%u", i % 1000);
}

/* Returns 0 where the kernel can't track. */
static int with_cells(void)
{
    if (!state) {
        skip();
        return 0;
    }
    cells = state_alloc(state, "struct cell", "", sizeof *cells, 4, CELLS);
    void *root;
    ok(state_root(state, "uint64_t", "", 8, 8, &root, &ok_err));
    for (uint32_t i = 0; i < CELLS; i++)
        fill_cell(&cells[i], i);
    ok(state_commit(state, &ok_err));
    ok(state_commit(state, &ok_err));
    return 1;
}

static void write_cell(uint32_t i)
{
    cells[i].writes++;
    ok(state_commit(state, &ok_err));
}

static int migrate(MigratePrecopy *precopy, Error *err)
{
    migrate_attic_free(attic);
    attic = NULL;
    ok(state_pin(state, &pin, &ok_err));
    MigrateRun run = {.ret_attic = &attic, .precopy = precopy, .before = pin};
    return migration_run(there, state, &run, &result, err);
}

/* The array as the new code finds it; there is one object of the type. */
static int visit(const StateObject *object, void *user)
{
    if (strcmp(object->type, "struct cell"))
        return 0;
    *(void **)user = object->address;
    return 1;
}

static void *array(void)
{
    void *found = NULL;
    state_each(state, visit, &found);
    assert_non_null(found);
    return found;
}

static void check_new(uint32_t written)
{
    const NewCell *now = array();
    for (uint32_t i = 0; i < CELLS; i++)
        if (now[i].id != (int64_t)i || now[i].value != (float)i / 2 || now[i].more != 0 ||
            now[i].writes != (i == written))
            fail_msg("element %u", i);
    ok(state_check(state, &ok_err));
}

static void check_old(const OldCell *now, uint32_t written)
{
    for (uint32_t i = 0; i < CELLS; i++) {
        OldCell must = {0};
        fill_cell(&must, i);
        must.writes = i == written;
        if (memcmp(&must, &now[i], sizeof must))
            fail_msg("element %u", i);
    }
    ok(state_check(state, &ok_err));
}

/* The checkpoint has what the arena has: an undo changes nothing, whatever was written. */
static void check_commit(uint32_t written)
{
    ok(state_commit(state, &ok_err));
    NewCell *now = array();
    for (uint32_t i = 0; i < CELLS; i += 50)
        now[i].id = -1;
    ok(state_undo(state, &ok_err));
    check_new(written);
    const Store *store = &state->store;
    for (uint64_t at = 0; at < CELLS * sizeof(NewCell); at += PAGE_BYTES) {
        uint64_t offset = (uint64_t)((uint8_t *)now + at - state->base);
        const uint8_t *page = store_page(store, (uint32_t)(offset / PAGE_BYTES));
        assert_memory_equal(page, state->base + offset / PAGE_BYTES * PAGE_BYTES, PAGE_BYTES);
    }
}

static MigratePrecopy *begun(void)
{
    MigratePrecopy *p;
    assert_int_equal(precopy_begin(there, state, LEAST, &p), 0);
    assert_non_null(p);
    assert_int_equal(precopy_bytes(p), CELLS * sizeof(OldCell));
    return p;
}

static void rounds(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    assert_int_equal(precopy_behind(p), 0);
    cells[7].writes = 5;
    ok(state_commit(state, &ok_err)); /* not in the pin */
    ok(precopy_fill(p));
    assert_int_equal(precopy_behind(p), 1);
    ok(precopy_next(p));
    assert_int_equal(precopy_behind(p), 0);
    cells[7].writes = 0;
    cells[20000].writes = 9;
    memset(cells[3].note, 0, 8); /* one less that is dropped */
    ok(state_commit(state, &ok_err));
    ok(precopy_fill(p));
    assert_int_equal(precopy_behind(p), 2);
    cells[20000].writes = 0;
    write_cell(11111);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, CELLS * sizeof(OldCell));
    assert_int_equal(result.objects, CELLS);
    assert_non_null(strstr(result.more, "dropped: note (char[8], 9,999 not empty"));
    check_new(11111);
    check_commit(11111);
    precopy_end(p);
    check_commit(11111);
    assert_null(state->ahead);
}

static void the_way_back_brings_what_was_dropped(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    write_cell(4);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    ok(state_commit(state, &ok_err));
    precopy_end(p);
    NewCell *now = array();
    now[4].writes = 0;
    now[29999].writes = 1;
    for (int i = 0; i < 20; i++) /* what the pin needs stays, whatever takes its place */
        state_free(state, memset(state_alloc(state, "char", "", 1, 1, 100000), 1, 100000));
    ok(state_commit(state, &ok_err));
    MigrateRun run = {.attic = attic, .before = pin};
    ok(migration_run(back, state, &run, &result, &ok_err));
    check_old(array(), 29999);
}

static void without_the_pin_there_is_no_way_back(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    ok(state_commit(state, &ok_err));
    precopy_end(p);
    Error err = {0};
    MigrateRun run = {.attic = attic};
    assert_int_equal(migration_run(back, state, &run, &result, &err), KEEL_ETYPE);
    assert_non_null(strstr(err.text, "not at hand"));
}

static void an_undo_leaves_all_as_it_was(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    write_cell(77);
    ok(state_undo(state, &ok_err)); /* of a frame in between */
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, CELLS * sizeof(OldCell));
    ok(state_undo(state, &ok_err));
    state_unpin(pin);
    check_old(cells, 77);
    precopy_end(p);
    ok(state_commit(state, &ok_err));
    /* Its room is the allocator's: zero where it says so. */
    uint8_t *large = state_alloc(state, "char", "", 1, 1, 64 << 20);
    for (uint64_t i = 0; i < 64 << 20; i++)
        if (large[i])
            fail_msg("byte %lu of new memory", (unsigned long)i);
    ok(state_commit(state, &ok_err));
    uint32_t id = (uint32_t)((uint64_t)(large - state->base) / PAGE_BYTES) + 1;
    for (uint32_t n = 0; n < (64 << 20) / PAGE_BYTES - 1; n++)
        assert_memory_equal(store_page(&state->store, id + n),
                            state->base + (uint64_t)(id + n) * PAGE_BYTES, PAGE_BYTES);
    state_free(state, large);
    ok(state_commit(state, &ok_err));
    check_old(cells, 77);
    p = begun();
    ok(precopy_fill(p));
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_true(result.ahead > 0);
    check_commit(77);
    precopy_end(p);
}

static void frames_that_need_the_room_get_it(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    uint8_t *large = state_alloc(state, "char", "", 1, 1, 100 << 20);
    for (uint64_t i = 0; i < 100 << 20; i += 64)
        if (large[i])
            fail_msg("byte %lu of new memory", (unsigned long)i);
    memset(large, 5, 100 << 20);
    write_cell(9);
    ok(precopy_next(p));
    assert_int_equal(precopy_fill(p), KEEL_ECHANGED);
    for (uint64_t i = 0; i < 100 << 20; i += 64)
        assert_int_equal(large[i], 5);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, 0);
    check_commit(9);
    precopy_end(p);
}

static void a_stray_write_into_the_room_is_noticed(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    page_address(state, state->ahead->ranges[0].first)[5000] ^= 1;
    write_cell(2);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, 0);
    check_commit(2);
    precopy_end(p);
}

static void an_array_that_is_gone_is_not_there_afterwards(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    OldCell *other = state_alloc(state, "struct cell", "", sizeof *cells, 4, CELLS);
    ok(state_commit(state, &ok_err));
    MigratePrecopy *p;
    ok(precopy_begin(there, state, LEAST, &p));
    ok(precopy_fill(p));
    state_free(state, other);
    write_cell(1);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, CELLS * sizeof(OldCell));
    assert_int_equal(result.objects, CELLS);
    check_commit(1);
    precopy_end(p);
    check_commit(1);
}

static void between_other_runs(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    char *hole = state_alloc(state, "char", "", 1, 1, 4 << 20);
    state_alloc(state, "char", "", 1, 1, 8000);
    memset(hole, 7, 4 << 20);
    ok(state_commit(state, &ok_err));
    state_free(state, hole);
    ok(state_commit(state, &ok_err));
    uint32_t top = arena_head(state)->top;
    MigratePrecopy *p = begun();
    assert_true(state->ahead->ranges[0].first < top);
    ok(precopy_fill(p));
    write_cell(29998);
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_true(result.ahead > 0);
    assert_int_equal(arena_head(state)->top, top);
    check_commit(29998);
    precopy_end(p);
}

static void what_the_pool_still_has_is_gone_round(void **unused)
{
    (void)unused;
    enum { BYTES = 32 << 20 };
    if (!with_cells())
        return;
    char *large = state_alloc(state, "char", "", 1, 1, BYTES);
    memset(large, 1, BYTES);
    ok(state_commit(state, &ok_err));
    Pin *other;
    ok(state_pin(state, &other, &ok_err));
    for (int i = 0; i < BYTES; i += PAGE_BYTES)
        large[i] = 2;
    ok(state_commit(state, &ok_err));
    state_free(state, large);
    ok(state_commit(state, &ok_err));
    state_unpin(other);
    assert_true(state->store.pooled_count > 0);
    MigratePrecopy *p = begun();
    ok(precopy_fill(p));
    precopy_unpin(p);
    write_cell(5);
    ok(migrate(p, &ok_err));
    assert_true(result.ahead > 0);
    check_commit(5);
    precopy_end(p);
}

static void parts_of_one_large_struct(void **unused)
{
    (void)unused;
    if (!state) {
        skip();
        return;
    }
    void *root;
    ok(state_root(state, "struct world", "", sizeof(OldWorld), 4, &root, &ok_err));
    OldWorld *world = root;
    world->first = 1;
    world->last = 2;
    for (uint32_t i = 0; i < CELLS; i++)
        fill_cell(&world->cells[i], i);
    ok(state_commit(state, &ok_err));
    MigratePrecopy *p;
    ok(precopy_begin(there, state, LEAST, &p));
    assert_non_null(p);
    ok(precopy_fill(p));
    for (uint32_t i = 5; i < CELLS; i += 1000)
        world->cells[i].writes = i;
    ok(state_commit(state, &ok_err));
    ok(precopy_next(p));
    ok(precopy_fill(p));
    for (uint32_t i = 7; i < CELLS; i += 1000)
        world->cells[i].writes = i;
    world->last = 3;
    ok(state_commit(state, &ok_err));
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, sizeof(OldWorld));
    ok(state_commit(state, &ok_err));
    precopy_end(p);
    ok(state_root(state, "struct world", "", sizeof(NewWorld), 8, &root, &ok_err));
    const NewWorld *now = root;
    assert_int_equal(now->first, 1);
    assert_int_equal(now->last, 3);
    assert_true(now->added == 0);
    for (uint32_t i = 0; i < CELLS; i++) {
        const NewCell *c = &now->cells[i];
        uint32_t writes = i % 1000 == 5 || i % 1000 == 7 ? i : 0;
        if (c->id != (int64_t)i || c->value != (float)i / 2 || c->more != 0 || c->writes != writes)
            fail_msg("element %u", i);
    }
    ok(state_check(state, &ok_err));
}

static void what_does_not_fit_is_named_by_the_boundary(void **unused)
{
    (void)unused;
    if (!state) {
        skip();
        return;
    }
    int32_t *v = state_alloc(state, "struct narrow", "", 16, 4, CELLS);
    ok(state_commit(state, &ok_err));
    MigratePrecopy *p;
    ok(precopy_begin(there, state, LEAST, &p));
    assert_non_null(p);
    ok(precopy_fill(p));
    v[44444] = 70000;
    ok(state_commit(state, &ok_err));
    precopy_unpin(p);
    Error err = {0};
    assert_int_equal(migrate(p, &err), KEEL_ETYPE);
    assert_non_null(strstr(err.text, "70000 doesn't fit"));
    assert_non_null(strstr(err.text, "struct narrow.v"));
    ok(state_undo(state, &ok_err));
    precopy_end(p);
    assert_int_equal(v[44444], 70000);
    ok(precopy_begin(there, state, LEAST, &p));
    assert_int_equal(precopy_fill(p), KEEL_ETYPE);
    precopy_end(p);
    ok(state_check(state, &ok_err));
}

static void nothing_where_it_cannot_be(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    MigratePrecopy *p;
    ok(precopy_begin(there, state, CELLS * sizeof(OldCell) + 1, &p));
    assert_null(p); /* too small to be worth it */
    ok(state_hash_frames(state, 1, &ok_err));
    ok(precopy_begin(there, state, LEAST, &p));
    assert_null(p); /* a replay would place it elsewhere */
    ok(state_hash_frames(state, 0, &ok_err));
    p = begun();
    MigratePrecopy *second;
    ok(precopy_begin(there, state, LEAST, &second));
    assert_null(second);
    ok(precopy_fill(p));
    ok(state_hash_frames(state, 1, &ok_err)); /* meanwhile */
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_int_equal(result.ahead, 0);
    check_new(CELLS);
    precopy_end(p);
    state_reset(state);
    state_alloc(state, "struct linked", "", 16, 8, CELLS);
    ok(state_hash_frames(state, 0, &ok_err));
    ok(state_commit(state, &ok_err));
    ok(precopy_begin(there, state, LEAST, &p));
    assert_null(p); /* it has pointers */
}

/* All of the arena but for too little at its end. */
static void fill_up(void)
{
    uint64_t spare = CELLS * sizeof(NewCell) / 2, left;
    while ((left = (uint64_t)(state->data_pages - arena_head(state)->top) * PAGE_BYTES) > spare)
        assert_non_null(state_alloc(state, "char", "", 1, 1, left / 2));
    ok(state_commit(state, &ok_err));
}

static void without_room_it_is_said(void **unused)
{
    (void)unused;
    if (!with_cells())
        return;
    fill_up();
    MigratePrecopy *p;
    assert_int_equal(precopy_begin(there, state, LEAST, &p), KEEL_ENOSPACE);
    assert_null(p);
}

static void room_that_a_pin_holds_is_waited_for(void **unused)
{
    (void)unused;
    uint64_t bytes = CELLS * sizeof(NewCell) + 8 * PAGE_BYTES;
    uint8_t *hole = state ? state_alloc(state, "char", "", 1, 1, bytes) : NULL;
    if (!with_cells())
        return;
    fill_up();
    MigratePrecopy *p;
    Pin *held;
    ok(state_pin(state, &held, &ok_err));
    memset(hole, 1, bytes); /* to the pool */
    ok(state_commit(state, &ok_err));
    state_free(state, hole);
    ok(state_commit(state, &ok_err));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(precopy_begin(there, state, LEAST, &p), KEEL_EBUSY);
        assert_null(p);
        ok(state_commit(state, &ok_err));
    }
    state_unpin(held);
    int waited = 0;
    while (precopy_begin(there, state, LEAST, &p) == KEEL_EBUSY && ++waited < 100)
        ok(state_commit(state, &ok_err));
    assert_in_range(waited, 1, 99); /* a bounded part each time */
    assert_non_null(p);
    ok(precopy_fill(p));
    precopy_unpin(p);
    ok(migrate(p, &ok_err));
    assert_true(result.ahead >= CELLS * sizeof(OldCell));
    check_new(CELLS);
    check_commit(CELLS);
    precopy_end(p);
}

static void the_boundary_leaves_the_commit_little(void **unused)
{
    (void)unused;
    MigratePrecopy *p;
    Error err = {0};
    StateStatus status;
    if (!with_cells())
        return;
    ok(precopy_begin(there, state, LEAST, &p));
    ok(precopy_fill(p));
    for (uint32_t i = 0; i < CELLS; i += 100)
        cells[i].writes = 1;
    ok(state_commit(state, &ok_err));
    assert_true(precopy_behind(p) > 100);
    precopy_unpin(p);
    assert_int_equal(migrate(p, &err), 0);
    assert_true(result.ahead >= CELLS * sizeof(OldCell)); /* so is every page of the new array */
    ok(state_commit(state, &ok_err));
    state_status(state, &status);
    assert_in_range(status.dirty_pages_last, 1, 30); /* records, and what else is small */
    const NewCell *now = array();
    for (uint32_t i = 0; i < CELLS; i++)
        assert_int_equal(now[i].writes, i % 100 == 0);
    precopy_end(p);
    state_unpin(pin);
}

static uint64_t memory_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* A commit of new pages that nobody touched, around some that somebody did. */
static void pages_without_memory_are_given_none(void **unused)
{
    (void)unused;
    enum { BYTES = 64 << 20, EACH = 4 << 20 };
    if (!with_cells())
        return;
    char *large = state_alloc(state, "char", "", 1, 1, BYTES);
    uint64_t arena = memory_of(state->arena_fd), kept = memory_of(state->store.fd);
    for (int at = 0; at < BYTES; at += EACH)
        large[at] = 1;
    ok(state_commit(state, &ok_err));
    assert_in_range(memory_of(state->arena_fd) - arena, 0, 64 * 4096);
    assert_in_range(memory_of(state->store.fd) - kept, 0, 64 * 4096);
    for (int at = 0; at < BYTES; at += EACH)
        large[at] = 2;
    ok(state_undo(state, &ok_err));
    for (int at = 0; at < BYTES; at += EACH)
        assert_int_equal(large[at], 1);
}

static void copying_states_have_none(void **unused)
{
    (void)unused;
    StateOptions options = {.tier = STATE_TIER_COPY};
    State *copied;
    MigratePrecopy *p;
    ok(state_open(&options, &copied, &ok_err));
    assert_non_null(state_alloc(copied, "struct cell", "", sizeof *cells, 4, CELLS));
    ok(state_commit(copied, &ok_err));
    Migration *plan;
    ok(migration_new(&before, &after, &plan, &ok_err));
    ok(precopy_begin(plan, copied, LEAST, &p));
    assert_null(p);
    migration_free(plan);
    state_close(copied);
}

int main(void)
{
    read_schema(KEEL_TEST_FIXTURES "/fx_cells_old.so", &before);
    read_schema(KEEL_TEST_FIXTURES "/fx_cells_new.so", &after);
#define EACH(test) cmocka_unit_test_setup_teardown(test, open_all, close_all)
    const struct CMUnitTest tests[] = {EACH(rounds),
                                       EACH(the_way_back_brings_what_was_dropped),
                                       EACH(without_the_pin_there_is_no_way_back),
                                       EACH(an_undo_leaves_all_as_it_was),
                                       EACH(frames_that_need_the_room_get_it),
                                       EACH(a_stray_write_into_the_room_is_noticed),
                                       EACH(an_array_that_is_gone_is_not_there_afterwards),
                                       EACH(between_other_runs),
                                       EACH(what_the_pool_still_has_is_gone_round),
                                       EACH(parts_of_one_large_struct),
                                       EACH(what_does_not_fit_is_named_by_the_boundary),
                                       EACH(nothing_where_it_cannot_be),
                                       EACH(without_room_it_is_said),
                                       EACH(room_that_a_pin_holds_is_waited_for),
                                       EACH(the_boundary_leaves_the_commit_little),
                                       EACH(pages_without_memory_are_given_none),
                                       cmocka_unit_test(copying_states_have_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
