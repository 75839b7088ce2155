/* state/: the allocator against a model, with commits, undos, pins and restores, in both tiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "amount.h"
#include "dice.h"
#include "state/internal.h"

static State *open_tier(StateTier tier, uint64_t copy_limit)
{
    State *state = NULL;
    Error err = {0};
    StateOptions options = {.tier = tier, .copy_limit_bytes = copy_limit};
    int code = state_open(&options, &state, &err);
    if (code == KEEL_EUNSUPPORTED && tier == STATE_TIER_TRACK)
        return NULL; /* this kernel can't: the tier's own test says so */
    if (code != 0)
        fail_msg("%s", err.text);
    return state;
}

#define ok(call)                                    \
    do {                                            \
        Error ok_err = {0};                         \
        if ((call) != 0)                            \
            fail_msg("%s: %s", #call, ok_err.text); \
    } while (0)

/* ---- the model ---- */

enum { OBJECTS = 400 };

typedef struct Entry {
    uint8_t *at;
    uint64_t bytes;
    uint8_t seed;
    int typed;
} Entry;

typedef struct Model {
    Entry entries[OBJECTS];
    uint8_t statics[9000];
} Model;

static void fill(const Entry *entry)
{
    for (uint64_t i = 0; i < entry->bytes; i++)
        entry->at[i] = (uint8_t)(entry->seed + i * 7 + (i >> 8));
}

static void expect(const Entry *entry)
{
    for (uint64_t i = 0; i < entry->bytes; i++)
        if (entry->at[i] != (uint8_t)(entry->seed + i * 7 + (i >> 8)))
            fail_msg("object %p of %llu bytes differs at %llu", (void *)entry->at,
                     (unsigned long long)entry->bytes, (unsigned long long)i);
}

static int count_visit(const StateObject *object, void *user)
{
    (void)object;
    ++*(uint64_t *)user;
    return 0;
}

static void expect_all(State *state, const Model *model, const uint8_t *statics)
{
    Error err = {0};
    uint64_t live = 0, seen = 0;
    for (int i = 0; i < OBJECTS; i++)
        if (model->entries[i].at) {
            expect(&model->entries[i]);
            live++;
        }
    if (state_check(state, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(state_each(state, count_visit, &seen), 0);
    assert_int_equal(seen, live);
    assert_memory_equal(statics, model->statics, sizeof model->statics);
}

static uint64_t some_size(void)
{
    switch (dice(8)) {
    case 0:
        return dice(3);
    case 1:
    case 2:
    case 3:
    case 4:
        return 1 + dice(300);
    case 5:
        return 1 + dice(4200);
    case 6:
        return 1 + dice(20000);
    default:
        return 1 + dice(200000);
    }
}

static void mutate(State *state, Model *model, uint8_t *statics)
{
    Entry *entry = &model->entries[dice(OBJECTS)];
    uint32_t what = dice(10);
    if (what == 0) {
        uint32_t at = dice(sizeof model->statics);
        statics[at] = model->statics[at] = (uint8_t)dice(256);
    } else if (!entry->at) {
        uint64_t align = UINT64_C(1) << (dice(4) ? 3 : dice(13));
        entry->typed = (int)dice(2);
        entry->seed = (uint8_t)dice(256);
        entry->bytes = some_size();
        if (entry->typed) {
            entry->at = state_alloc(state, "struct thing", "thing.c", 8, align, entry->bytes / 8);
            entry->bytes = entry->bytes / 8 * 8;
            for (uint64_t i = 0; i < entry->bytes; i++)
                assert_int_equal(entry->at[i], 0);
            assert_int_equal(state_count(state, entry->at), entry->bytes / 8);
        } else {
            entry->at = state_alloc_block(state, entry->bytes, align);
            assert_int_equal(state_count(state, entry->at), entry->bytes);
        }
        assert_non_null(entry->at);
        assert_int_equal((uintptr_t)entry->at % (align < 16 ? 16 : align), 0);
        assert_true(state_usable(state, entry->at) >= entry->bytes);
        fill(entry);
    } else if (what < 5) {
        expect(entry);
        state_free(state, entry->at);
        entry->at = NULL;
    } else if (what < 7 && !entry->typed) {
        uint64_t bytes = some_size();
        if (state_resize_block(state, entry->at, bytes) == 0) {
            Entry old = *entry;
            if (bytes < old.bytes)
                old.bytes = bytes;
            expect(&old);
            entry->bytes = bytes;
            fill(entry);
        }
    } else {
        entry->seed = (uint8_t)dice(256);
        fill(entry);
    }
}

static void play(StateTier tier, uint64_t seed)
{
    static uint8_t statics[9000];
    static Model now, kept, pinned[STATE_PINS];
    Pin *pins[STATE_PINS] = {NULL};
    State *state = open_tier(tier, UINT64_C(1) << 30);
    if (!state)
        skip();
    random_state = seed;
    memset(&now, 0, sizeof now);
    memset(statics, 0, sizeof statics);
    StateSpan spans[2] = {{statics, 5000}, {statics + 5000, 4000}};
    ok(state_set_statics(state, spans, 2, &ok_err));
    kept = now;
    int frames = amount(200, 800);
    for (int frame = 0; frame < frames; frame++) {
        Hash before = state_hash(state);
        int steps = (int)dice(dice(10) ? 20 : 300);
        for (int i = 0; i < steps; i++)
            mutate(state, &now, statics);
        if (frame % 160 == 50) {
            state_reset(state);
            memset(now.entries, 0, sizeof now.entries);
        }
        if (frame % 16 == 0)
            expect_all(state, &now, statics);
        if (dice(3) == 0) {
            ok(state_undo(state, &ok_err));
            now = kept;
            assert_true(hash_equal(before, state_hash(state)));
            if (frame % 16 == 0)
                expect_all(state, &now, statics);
        } else {
            ok(state_commit(state, &ok_err));
            kept = now;
        }
        uint32_t n = dice(STATE_PINS);
        switch (dice(16)) {
        case 0:
        case 1:
            if (!pins[n]) {
                ok(state_pin(state, &pins[n], &ok_err));
                pinned[n] = kept;
            }
            break;
        case 2:
            state_unpin(pins[n]);
            pins[n] = NULL;
            break;
        case 3:
            if (pins[n]) {
                ok(state_restore_pin(state, pins[n], &ok_err));
                now = pinned[n];
                expect_all(state, &now, statics);
                if (dice(3)) {
                    ok(state_commit(state, &ok_err));
                    kept = now;
                } else {
                    ok(state_undo(state, &ok_err));
                    now = kept;
                    expect_all(state, &now, statics);
                }
            }
            break;
        default:
            break;
        }
    }
    ok(state_undo(state, &ok_err));
    expect_all(state, &kept, statics);
    for (int n = 0; n < STATE_PINS; n++)
        state_unpin(pins[n]);
    state_close(state);
}

static void model_tracking(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1, last = (uint64_t)amount(1, 6); seed <= last; seed++)
        play(STATE_TIER_TRACK, seed * UINT64_C(0x9e3779b97f4a7c15));
}

static void model_copying(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1, last = (uint64_t)amount(1, 4); seed <= last; seed++)
        play(STATE_TIER_COPY, seed * UINT64_C(0xd1342543de82ef95));
}

/* Pages that are written in every frame beside others that change: protected run by run where few
 * are cold, else by the kernel's walk. No write may be lost in either, nor where one follows the
 * other. */
static void hot_and_cold_pages(void **unused)
{
    (void)unused;
    enum { PAGE = 4096, PAGES = 600, FRAMES = 120 };
    State *state = open_tier(STATE_TIER_TRACK, 0);
    if (!state)
        skip();
    random_state = 77;
    uint8_t *data = state_alloc_block(state, (uint64_t)PAGES * PAGE, PAGE);
    uint8_t *kept = malloc((size_t)PAGES * PAGE);
    assert_non_null(data);
    assert_non_null(kept);
    memset(data, 1, (size_t)PAGES * PAGE);
    ok(state_commit(state, &ok_err));
    for (uint32_t frame = 0; frame < FRAMES; frame++) {
        int few_cold = frame / 20 % 2;
        uint32_t hot = few_cold ? 60 : 4, cold = few_cold ? 3 : 80;
        for (uint32_t i = 0; i < hot; i++)
            data[i * 7 * PAGE + dice(PAGE)] = (uint8_t)dice(256);
        for (uint32_t i = 0; i < cold; i++)
            data[dice(PAGES) * PAGE + dice(PAGE)] = (uint8_t)dice(256);
        ok(state_commit(state, &ok_err));
        memcpy(kept, data, (size_t)PAGES * PAGE);
        for (uint32_t i = 0; i < 50; i++)
            data[dice(PAGES) * PAGE + dice(PAGE)] ^= 0x5a;
        data[0] ^= 0x5a; /* a hot one */
        ok(state_undo(state, &ok_err));
        if (memcmp(kept, data, (size_t)PAGES * PAGE) != 0)
            fail_msg("a write was missed in frame %u", frame);
    }
    free(kept);
    state_close(state);
}

/* Memory that isn't used any more goes back, a bounded part in each commit, and comes back zero. */
static void trims_a_bit_in_each_commit(StateTier tier)
{
    enum { PAGES = 12 * STATE_TRIM_PAGES, BYTES = PAGES * 4096 };
    State *state;
    Error err = {0};
    StateOptions options = {.tier = tier, .copy_limit_bytes = UINT64_C(1) << 30};
    if (state_open(&options, &state, &err)) {
        skip();
        return;
    }
    struct stat before, after;
    uint8_t *large = state_alloc(state, "char", "", 1, 1, BYTES);
    memset(large, 0x5a, BYTES);
    ok(state_commit(state, &ok_err));
    state_free(state, large);
    assert_int_equal(fstat(state->arena_fd, &before), 0);
    uint32_t first = arena_head(state)->high, high = first, commits = 0, trimmed = 1;
    for (; trimmed; commits++) {
        ok(state_commit(state, &ok_err));
        trimmed = high - arena_head(state)->high;
        assert_in_range(trimmed, 0, STATE_TRIM_PAGES);
        high -= trimmed;
        if (commits == 1) { /* a frame that never happened takes some of it */
            uint8_t *again = state_alloc(state, "char", "", 1, 1, BYTES / 2);
            memset(again, 0x33, BYTES / 2);
            ok(state_undo(state, &ok_err));
            assert_int_equal(arena_head(state)->high, high);
        }
    }
    assert_in_range(first - high, 10 * STATE_TRIM_PAGES, PAGES + 16);
    assert_in_range(commits, 11, 14);
    assert_int_equal(fstat(state->arena_fd, &after), 0);
    assert_true((before.st_blocks - after.st_blocks) * 512 >=
                (int64_t)10 * STATE_TRIM_PAGES * 4096);
    large = state_alloc(state, "char", "", 1, 1, BYTES);
    for (size_t i = 0; i < BYTES; i += 64)
        assert_int_equal(large[i], 0);
    ok(state_commit(state, &ok_err));
    state_close(state);
}

static void trims_tracking(void **unused)
{
    (void)unused;
    trims_a_bit_in_each_commit(STATE_TIER_TRACK);
}

static void trims_copying(void **unused)
{
    (void)unused;
    trims_a_bit_in_each_commit(STATE_TIER_COPY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_tracking),     cmocka_unit_test(model_copying),
        cmocka_unit_test(hot_and_cold_pages), cmocka_unit_test(trims_tracking),
        cmocka_unit_test(trims_copying),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
