/* Hashes that another thread makes while frames write are those that one boundary would have made.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "state/internal.h"

enum { BLOCK_PAGES = 3000, ROUNDS = 12 };

static Error err;
static char image[3 * PAGE_BYTES]; /* where words may point */

#define ok(call)                                 \
    do {                                         \
        err = (Error){0};                        \
        if ((call) != 0)                         \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

typedef struct World {
    State *state;
    uint64_t *block, *more;
    uint32_t seed;
} World;

static uint32_t next(World *w)
{
    w->seed = w->seed * 1664525 + 1013904223;
    return w->seed >> 8;
}

static void open_world(World *w, StateTier tier, uint32_t seed)
{
    const StateOptions options = {.tier = tier, .copy_limit_bytes = UINT64_C(1) << 30};
    *w = (World){.seed = seed};
    ok(state_open(&options, &w->state, &err));
    w->block = state_alloc_block(w->state, (uint64_t)BLOCK_PAGES * PAGE_BYTES, 16);
    for (int i = 0; i < BLOCK_PAGES; i += 2) /* others stay zero, without memory */
        w->block[i * 512] = (uint64_t)i;
    ok(state_commit(w->state, &err));
}

static void frame(World *w)
{
    for (int i = 0; i < 20; i++) {
        uint64_t *word = &w->block[next(w) % (BLOCK_PAGES * 512)];
        uint32_t what = next(w) % 4;
        *word = what == 0   ? (uint64_t)(uintptr_t)&image[next(w) % sizeof image]
                : what == 1 ? 0
                            : next(w);
    }
    if (next(w) % 5 == 0) {
        state_free(w->state, w->more);
        uint64_t pages = next(w) % 400 + 1;
        w->more = state_alloc_block(w->state, pages * PAGE_BYTES, 16);
        memset(w->more, (int)next(w) % 3, pages * PAGE_BYTES);
    }
    if (next(w) % 7 == 0)
        ok(state_undo(w->state, &err));
    ok(state_commit(w->state, &err));
}

static void hashes_are_right(World *w, const char *when)
{
    StateHashes is, want;
    ok(state_hashes(w->state, &is));
    ok(state_hash_frames(w->state, 0, &err));
    ok(state_hash_frames(w->state, 1, &err));
    state_hash_image(w->state, (uintptr_t)image, (uintptr_t)image + sizeof image);
    ok(state_hashes(w->state, &want));
    if (memcmp(&is, &want, sizeof is) != 0)
        fail_msg("%s: %llx %llx, not %llx %llx", when, (unsigned long long)is.exact,
                 (unsigned long long)is.loose, (unsigned long long)want.exact,
                 (unsigned long long)want.loose);
}

static void *fill_it(void *fill)
{
    return (void *)(intptr_t)state_hash_fill(fill);
}

static HashFill *begin(World *w)
{
    HashFill *fill = NULL;
    ok(state_hash_begin(w->state, (uintptr_t)image, (uintptr_t)image + sizeof image, &fill, &err));
    assert_non_null(fill);
    return fill;
}

static void frames_while_it_fills(World *w, HashFill *fill, int frames)
{
    pthread_t thread;
    void *rc;
    assert_int_equal(pthread_create(&thread, NULL, fill_it, fill), 0);
    for (int i = 0; i < frames; i++)
        frame(w);
    pthread_join(thread, &rc);
    assert_int_equal((intptr_t)rc, KEEL_OK);
}

static void as_at_one_boundary(void **unused)
{
    (void)unused;
    const StateTier tiers[] = {STATE_TIER_AUTO, STATE_TIER_COPY};
    for (int round = 0; round < ROUNDS; round++) {
        World w;
        Pin *other = NULL;
        open_world(&w, tiers[round % 2], (uint32_t)round + 1);
        frame(&w);
        if (round % 3) { /* pages in the pool when it begins */
            ok(state_pin(w.state, &other, &err));
            frame(&w);
            frame(&w);
        }
        if (round % 3 == 2) {
            state_unpin(other);
            other = NULL;
        }
        HashFill *fill = begin(&w);
        frames_while_it_fills(&w, fill, 10);
        for (int again = 0; again < round % 4; again++) {
            ok(state_hash_again(fill, &err));
            frames_while_it_fills(&w, fill, 3);
        }
        ok(state_hash_join(fill, &err));
        hashes_are_right(&w, "when joined");
        for (int i = 0; i < 5; i++)
            frame(&w);
        hashes_are_right(&w, "some frames later");
        state_unpin(other);
        state_close(w.state);
    }
}

static void what_changed_meanwhile_is_known(void **unused)
{
    (void)unused;
    World w;
    open_world(&w, STATE_TIER_AUTO, 1);
    HashFill *fill = begin(&w);
    assert_int_equal(state_hash_fill(fill), KEEL_OK);
    ok(state_commit(w.state, &err));
    uint32_t none = state_hash_behind(fill);
    w.block[512 * 7] ^= 1;
    w.block[512 * 9] ^= 1;
    ok(state_commit(w.state, &err));
    assert_int_equal(state_hash_behind(fill), none + 2);
    ok(state_hash_again(fill, &err));
    assert_int_equal(state_hash_behind(fill), 0);
    assert_int_equal(state_hash_fill(fill), KEEL_OK);
    ok(state_hash_join(fill, &err));
    hashes_are_right(&w, "after two rounds");
    state_close(w.state);
}

static void pages_without_memory_get_none(void **unused)
{
    (void)unused;
    enum { MIB = 64 };
    World w;
    open_world(&w, STATE_TIER_AUTO, 1);
    struct stat before, after;
    uint64_t *large = state_alloc_block(w.state, (uint64_t)MIB << 20, 16);
    large[1000] = 1;
    ok(state_commit(w.state, &err));
    assert_int_equal(fstat(w.state->store.fd, &before), 0);
    HashFill *fill = begin(&w);
    assert_int_equal(state_hash_fill(fill), KEEL_OK);
    ok(state_hash_join(fill, &err));
    assert_int_equal(fstat(w.state->store.fd, &after), 0);
    assert_true((after.st_blocks - before.st_blocks) * 512 < 1 << 20);
    hashes_are_right(&w, "of a sparse state");
    state_close(w.state);
}

static void half_a_state_is_refused(void **unused)
{
    (void)unused;
    World w;
    StateHashes hashes;
    HashFill *second;
    open_world(&w, STATE_TIER_AUTO, 1);
    HashFill *fill = begin(&w);
    assert_int_equal(state_hash_begin(w.state, 1, 2, &second, &err), KEEL_EBUSY);
    assert_null(second);
    state_hash_stop(fill);
    assert_int_equal(state_hash_fill(fill), KEEL_ECANCELED);
    assert_int_equal(state_hash_join(fill, &err), KEEL_ECANCELED);
    assert_int_equal(state_hashes(w.state, &hashes), KEEL_EUNSUPPORTED);
    state_hash_drop(begin(&w));
    ok(state_hash_frames(w.state, 1, &err));
    ok(state_hash_begin(w.state, 1, 2, &second, &err));
    assert_null(second); /* they are kept already */
    ok(state_hash_frames(w.state, 0, &err));
    begin(&w);
    state_close(w.state); /* gives it back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_at_one_boundary),
        cmocka_unit_test(what_changed_meanwhile_is_known),
        cmocka_unit_test(pages_without_memory_get_none),
        cmocka_unit_test(half_a_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
