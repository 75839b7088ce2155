/* host/rewinding and swap/past: what a slot is put back to is what it was. */
#include "host_rig.h"

#include "host/host.h"

static void open_with_past(Rig *rig)
{
    struct keel_host_options options = rig_options();
    options.probation_frames = 1000000;
    rig_open(rig, &options);
    ((Host *)rig->host)->past_span_ns = 10 * INT64_C(1000000000);
    if (rig_add(rig, 0, rig_file("fx_part1")))
        fail_msg("%s", keel_host_error());
    rig_frames(rig, 100);
}

/* Back by one frame: as it was, or refused. */
static void goes_back_or_refuses(Rig *rig)
{
    Host *host = rig->host;
    Error err = {0};
    int64_t then_ns = host->module_ns;
    uint64_t then = rig->parts[0].count;
    rig_frame(rig);
    assert_int_equal(rig->parts[0].count, then + 1);
    if (host_go_back(host, then_ns, 0, &err) == KEEL_OK) {
        rig_frame(rig);
        assert_int_equal(rig->parts[0].count, then + 1);
    } else {
        assert_int_equal(err.code, KEEL_EREFUSED);
    }
}

static void frames_run_again_as_they_ran(void **unused)
{
    (void)unused;
    Rig rig;
    open_with_past(&rig);
    uint64_t before = rig.parts[0].began;
    goes_back_or_refuses(&rig);
    assert_true(rig.parts[0].began > before + 2); /* some ran again */
    rig_close(&rig);
}

/* What a rollback put in place of the state is in no frame's record. */
static void a_rollback_to_the_state_of_then_cuts_it_off(void **unused)
{
    (void)unused;
    Rig rig;
    open_with_past(&rig);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    uint64_t count = rig.parts[0].count;
    rig_frames(&rig, 5);
    assert_int_equal(rig_rollback(&rig, 1, NULL), KEEL_OK);
    assert_true(rig.parts[0].count < count + 5);
    goes_back_or_refuses(&rig);
    rig_frames(&rig, 3);
    goes_back_or_refuses(&rig);
    rig_close(&rig);
}

static void one_that_keeps_what_happened_does_not(void **unused)
{
    (void)unused;
    Rig rig;
    open_with_past(&rig);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frames(&rig, 5);
    assert_int_equal(rig_rollback(&rig, 0, NULL), KEEL_OK);
    uint64_t before = rig.parts[0].began;
    goes_back_or_refuses(&rig);
    assert_true(rig.parts[0].began > before + 2);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_run_again_as_they_ran),
        cmocka_unit_test(a_rollback_to_the_state_of_then_cuts_it_off),
        cmocka_unit_test(one_that_keeps_what_happened_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
