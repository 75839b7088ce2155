/* A host for which something runs out in the middle of a swap: descriptors, memory. It runs on as
 * it was, says why, loses nothing, and swaps when there is enough again. */
#include <sys/resource.h>

#include "amount.h"
#include "base/sanitizer.h"
#include "host_rig.h"

enum { SAME = KEEL_SWAP_SAME | KEEL_SWAP_RETRY };

/* Sanitizers have a malloc of their own. */
#define MALLOC_IS_OURS (!UNDER_ASAN && !UNDER_TSAN)

#if MALLOC_IS_OURS
/* The program's, which every room and library here uses. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static _Atomic int armed, failed;
static _Atomic long left;

static int fails(void)
{
    if (!atomic_load(&armed) || atomic_fetch_sub(&left, 1) != 1)
        return 0;
    atomic_fetch_add(&failed, 1);
    return 1;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t each)
{
    return fails() ? NULL : __libc_calloc(count, each);
}

void *realloc(void *p, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(p, bytes);
}

static void arm(long n)
{
    atomic_store(&failed, 0);
    atomic_store(&left, n);
    atomic_store(&armed, 1);
}

static int disarm(void)
{
    atomic_store(&armed, 0);
    return atomic_load(&failed);
}

#endif

static void runs_on(Rig *rig)
{
    uint64_t count = rig->parts[0].count;
    rig_frame(rig);
    assert_int_equal(rig->parts[0].count, count + 1);
}

static void swaps(Rig *rig)
{
    char error[1024];
    if (rig_swap(rig, "fx_part1", SAME, error))
        fail_msg("with enough of everything: %s", error);
    runs_on(rig);
}

/* Nonzero: it was refused. */
static int swaps_or_not(Rig *rig)
{
    char error[1024];
    int rc = rig_swap(rig, "fx_part2", SAME, error);
    assert_true(!rc || error[0]);
    return rc != KEEL_OK;
}

/* Each number of free descriptors, until there are enough. */
static void without_descriptors(void **unused)
{
    (void)unused;
    enum { MOST = 24 };
    Rig rig;
    struct keel_host_options options = rig_options();
    options.trial = KEEL_TRIAL_ON;
    rig_start(&rig, &options, 1);
    struct rlimit usual;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    int refused = 0;
    for (int more = 0; more < MOST; more++) {
        int top = dup(0);
        close(top);
        struct rlimit few = {(rlim_t)(top + more), usual.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        refused += swaps_or_not(&rig);
        runs_on(&rig);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
        swaps(&rig);
    }
    assert_in_range(refused, 1, MOST - 1);
    rig_close(&rig);
}

#if MALLOC_IS_OURS
/* Each allocation of a swap fails once, until none is left to fail. */
static void without_memory(void **unused)
{
    (void)unused;
    Rig rig;
    int refused = 0, more = 1;
    rig_start(&rig, NULL, 1);
    for (long n = 1; more; n += amount(2, 1)) {
        arm(n);
        refused += swaps_or_not(&rig);
        more = disarm();
        runs_on(&rig);
        swaps(&rig);
    }
    assert_true(refused > 0);
    rig_close(&rig);
}

/* Each allocation of a host's whole life: it is refused or it runs, and it can be closed. */
static void a_host_without_memory(void **unused)
{
    (void)unused;
    int more = 1, good = 0;
    for (long n = 1; more; n += amount(4, 1)) {
        Rig rig = {.now_ns = 1000000000};
        struct keel_host_options options = rig_options();
        arm(n);
        int rc = keel_host_open(&options, &rig.host);
        if (rc == KEEL_OK) {
            rc = rig_add(&rig, 0, rig_file("fx_part1"));
            rig_frames(&rig, 3);
            keel_host_close(rig.host);
        }
        more = disarm();
        good = rc == KEEL_OK;
        assert_true(good || keel_host_error()[0]);
    }
    assert_true(good);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_descriptors),
#if MALLOC_IS_OURS
        cmocka_unit_test(without_memory),
        cmocka_unit_test(a_host_without_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
