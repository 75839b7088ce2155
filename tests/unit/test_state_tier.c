/* state/: tiers, forced and denied: each says in one sentence what was refused, and the copy tier
 * takes over. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <seccomp.h>
#include <cmocka.h>

#include "state/internal.h"
#include "state/kernel.h"

#define ok(call)                                    \
    do {                                            \
        Error ok_err = {0};                         \
        if ((call) != 0)                            \
            fail_msg("%s: %s", #call, ok_err.text); \
    } while (0)

/* In a child whose kernel refuses `what`: AUTO copies and says why, TRACK is refused, undo works.
 */
static int denied(int what)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int code = what == 0 ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(userfaultfd), 0)
                         : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
                                            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff,
                                                    (uint32_t)PAGEMAP_SCAN_IOCTL));
    if (code != 0 || seccomp_load(filter) != 0)
        return 10;
    State *state = NULL;
    Error err = {0};
    StateOptions force = {.tier = STATE_TIER_TRACK};
    if (state_open(&force, &state, &err) != KEEL_EUNSUPPORTED ||
        !strstr(err.text, what == 0 ? "userfaultfd" : "PAGEMAP_SCAN"))
        return 11;
    StateStatus status;
    if (state_open(NULL, &state, &err) != 0)
        return 12;
    state_status(state, &status);
    if (status.tier != STATE_TIER_COPY ||
        !strstr(status.tier_reason, what == 0 ? "userfaultfd" : "PAGEMAP_SCAN"))
        return 13;
    uint64_t *number = state_alloc(state, "uint64_t", "t.c", 8, 8, 1);
    *number = 1;
    if (state_commit(state, &err) != 0)
        return 14;
    *number = 2;
    if (state_undo(state, &err) != 0 || *number != 1)
        return 15;
    state_close(state);
    return 0;
}

static void a_filters_refusal_is_named(void **unused)
{
    (void)unused;
    for (int what = 0; what < 2; what++) {
        pid_t child = fork();
        if (child == 0)
            _exit(denied(what));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void copying_has_a_limit(void **unused)
{
    (void)unused;
    State *state = NULL;
    StateStatus status;
    StateOptions options = {.tier = STATE_TIER_COPY, .copy_limit_bytes = 1 << 20};
    ok(state_open(&options, &state, &ok_err));
    uint8_t *small = state_alloc_block(state, 1000, 16);
    ok(state_commit(state, &ok_err));
    *small = 9;
    ok(state_undo(state, &ok_err));
    assert_int_equal(*small, 0);
    Pin *pin = NULL;
    ok(state_pin(state, &pin, &ok_err));
    assert_non_null(state_alloc_block(state, 2 << 20, 16));
    ok(state_commit(state, &ok_err));
    state_status(state, &status);
    assert_int_equal(status.tier, STATE_TIER_OFF);
    assert_non_null(strstr(status.tier_reason, "limited to 1048576"));
    Error err = {0};
    assert_int_equal(state_undo(state, &err), KEEL_EUNSUPPORTED);
    assert_int_equal(state_restore_pin(state, pin, &err), KEEL_EUNSUPPORTED);
    ok(state_commit(state, &ok_err));
    state_unpin(pin);
    state_close(state);
}

static void off_is_off(void **unused)
{
    (void)unused;
    State *state = NULL;
    Pin *pin = NULL;
    Error err = {0};
    StateOptions options = {.tier = STATE_TIER_OFF};
    ok(state_open(&options, &state, &ok_err));
    assert_non_null(state_alloc_block(state, 100, 16));
    ok(state_commit(state, &ok_err));
    assert_int_equal(state_undo(state, &err), KEEL_EUNSUPPORTED);
    assert_int_equal(state_pin(state, &pin, &err), KEEL_EUNSUPPORTED);
    state_close(state);
}

static void a_taken_range_is_named(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        /* In a fork the reservation may be there from the tests before: look at a fresh one. */
        Error err = {0};
        munmap((void *)(uintptr_t)STATE_BASE, STATE_SPACE_BYTES);
        execl("/proc/self/exe", "test_state_tier", "--taken", (char *)NULL);
        (void)err;
        _exit(20);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int taken(void)
{
    Error err = {0};
    State *state = NULL;
    void *wanted = (void *)(uintptr_t)(STATE_BASE + (UINT64_C(5) << 30));
    void *got =
        mmap(wanted, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != wanted)
        return 21;
    if (state_open(NULL, &state, &err) != KEEL_ENOSPACE || !strstr(err.text, "550140000000"))
        return 22;
    munmap(got, 4096);
    if (state_open(NULL, &state, &err) != 0)
        return 23;
    state_close(state);
    return 0;
}

static void two_slots_share_nothing(void **unused)
{
    (void)unused;
    State *a = NULL, *b = NULL;
    ok(state_open(NULL, &a, &ok_err));
    ok(state_open(NULL, &b, &ok_err));
    void *x = state_alloc_block(a, 64, 16), *y = state_alloc_block(b, 64, 16);
    assert_true(state_contains(a, x) && !state_contains(b, x) && state_contains(b, y));
    Error err = {0};
    void *root = NULL;
    ok(state_root(a, "struct one", "a.c", 64, 8, &root, &ok_err));
    assert_int_equal(state_root(a, "struct two", "a.c", 64, 8, &root, &err), KEEL_ETYPE);
    assert_non_null(strstr(err.text, "struct one"));
    assert_non_null(strstr(err.text, "struct two"));
    assert_int_equal(state_root(a, "struct one", "a.c", 72, 8, &root, &err), KEEL_ETYPE);
    assert_int_equal(state_root(a, "struct one", "a.c", 64, 16, &root, &err), KEEL_ETYPE);
    ok(state_root(a, "struct one", "moved/a.c", 64, 8, &root, &ok_err));
    /* Overflow and absurd sizes are refused, not wrapped. */
    assert_null(state_alloc(a, "big", "a.c", UINT64_MAX / 2, 8, 3));
    assert_null(state_alloc(a, "big", "a.c", 1, 3, 3));
    assert_null(state_alloc_block(a, UINT64_MAX - 4, 16));
    assert_null(state_alloc_block(a, UINT64_C(3) << 30, 16));
    ok(state_check(a, &ok_err));
    state_close(a);
    state_close(b);
}

/* Allocated and never touched: neither memfd gets memory for it. */
static void untouched_pages_cost_nothing(void **unused)
{
    (void)unused;
    State *state = NULL;
    StateStatus status;
    ok(state_open(NULL, &state, &ok_err));
    state_status(state, &status);
    if (status.tier != STATE_TIER_TRACK) {
        state_close(state);
        skip();
    }
    uint8_t *big = state_alloc(state, "page", "t.c", 4096, 16, 100000);
    assert_non_null(big);
    big[200000000] = 7;
    for (int i = 0; i < 4; i++) {
        ok(state_commit(state, &ok_err));
        state_status(state, &status);
        assert_true(status.dirty_pages_last < 200);
    }
    big[200000000] = 8;
    big[300000000] = 9;
    ok(state_undo(state, &ok_err));
    assert_int_equal(big[200000000], 7);
    assert_int_equal(big[300000000], 0);
    state_close(state);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--taken") == 0)
        return taken();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filters_refusal_is_named),
        cmocka_unit_test(copying_has_a_limit),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(a_taken_range_is_named),
        cmocka_unit_test(two_slots_share_nothing),
        cmocka_unit_test(untouched_pages_cost_nothing),
    };
    return cmocka_run_group_tests_name("state_tier", tests, NULL, NULL);
}
