/* A host under faults: frames are undone as a whole, groups return as a whole, what an old
 * generation does isn't laid at the new one's door. */
#include <signal.h>

#include "host_rig.h"

#include "swap/slot.h"

static void a_faulting_frame_never_happened(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    uint64_t before = rig.parts[0].count;
    keel_slot_send(rig.slots[0], 5, NULL, 0);
    rig.parts[0].orders[1] = PART_CRASH;
    rig_frame(&rig);
    assert_int_equal(rig_status(&rig, 0).faults, 1);
    assert_int_equal(rig_status(&rig, 0).undone, 1);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].count, before + 1);
    assert_int_equal(rig.parts[0].redelivered, 1);
    assert_int_equal(rig.parts[0].messages, 2); /* seen in both frames */
    rig_close(&rig);
}

static void a_module_that_leaves_ends_nothing(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_LEAVE;
    rig_frame(&rig);
    assert_int_equal(rig_status(&rig, 0).faults, 1);
    rig_frames(&rig, 3);
    assert_int_equal(rig.parts[0].count, 104);
    rig_close(&rig);
}

static void a_damaged_arena_is_a_fault_of_that_frame(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig_frames(&rig, 3);
    uint64_t count = rig.parts[0].count;
    rig.parts[0].orders[1] = PART_SCRIBBLE;
    rig_frame(&rig);
    assert_int_equal(rig_status(&rig, 0).faults, 1);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].count, count + 1);
    rig_close(&rig);
}

/* Both slots of a group fault in one frame of their probation. */
static void two_faults_in_one_frame_undo_both(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 2);
    assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part2", 0, NULL), KEEL_OK);
    uint64_t counts[2] = {rig.parts[0].count, rig.parts[1].count};
    rig.parts[0].orders[2] = rig.parts[1].orders[2] = PART_CRASH;
    rig_frame(&rig);
    rig_frame(&rig);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig.parts[i].version, 1);
        assert_int_equal(rig.parts[i].count, counts[i] + 1);
        assert_int_equal(rig_status(&rig, i).rolled_back, 1);
    }
    rig_close(&rig);
}

/* One slot of a group faults: the other's frame counts, then both go back. */
static void a_group_goes_back_as_a_whole(void **unused)
{
    (void)unused;
    for (int bad = 0; bad < 2; bad++) {
        Rig rig;
        rig_start(&rig, NULL, 2);
        assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part2", 0, NULL), KEEL_OK);
        uint64_t counts[2] = {rig.parts[0].count, rig.parts[1].count};
        rig.parts[bad].orders[2] = PART_CRASH;
        rig_frame(&rig);
        rig_frame(&rig);
        assert_int_equal(rig.parts[0].version, 1);
        assert_int_equal(rig.parts[1].version, 1);
        assert_int_equal(rig.parts[bad].count, counts[bad] + 1);
        assert_int_equal(rig.parts[!bad].count, counts[!bad] + 2);
        rig_close(&rig);
    }
}

/* In the last frame of probation too. */
static void the_last_frame_of_probation_is_no_exception(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 2);
    assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part2", 0, NULL), KEEL_OK);
    while (rig_status(&rig, 1).probation_left > 1)
        rig_frame(&rig);
    rig.parts[1].orders[2] = PART_CRASH;
    rig_frame(&rig);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[1].version, 1);
    rig_close(&rig);
}

static void a_first_frame_that_faults_takes_all_back(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 2);
    rig.parts[1].orders[2] = PART_CRASH;
    assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part2", 0, error), KEEL_EFAULT);
    assert_non_null(strstr(error, "first frame faulted"));
    rig_frame(&rig);
    for (int i = 0; i < 2; i++) {
        struct keel_slot_status status = rig_status(&rig, i);
        assert_int_equal(rig.parts[i].version, 1);
        assert_int_equal(rig.parts[i].count, 100 + status.frames);
        assert_int_equal(status.swaps, 1);
        assert_int_equal(status.refused, 1);
        assert_int_equal(status.phase, KEEL_SLOT_RUNNING);
    }
    rig_close(&rig);
}

/* Whose first frame did not fault gets what it was given as if for the first time, and all of it.
 */
static void the_others_of_a_group_are_not_to_blame(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 2);
    rig.parts[1].always = PART_CRASH;
    rig.parts[1].orders[2] = PART_CRASH;
    for (int times = 0; times < 2; times++) {
        RigAsk ask = {.rig = &rig, .flags = KEEL_SWAP_RETRY};
        rig_ask_slot(&ask, 0, "fx_part2");
        rig_ask_slot(&ask, 1, "fx_part2");
        rig_ask(&ask);
        while (!atomic_load(&ask.done)) {
            keel_slot_send(rig.slots[0], 5, NULL, 0);
            keel_slot_send(rig.slots[1], 5, NULL, 0);
            rig_frame(&rig);
        }
        assert_int_equal(rig_answer(&ask), KEEL_EFAULT);
    }
    rig_frames(&rig, 2);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].redelivered, 0);
    assert_true(rig.parts[1].redelivered >= 2);
    assert_int_equal(rig_status(&rig, 0).inputs_set_aside, 0);
    assert_int_equal(rig_status(&rig, 0).undone, 0);
    rig_close(&rig);
}

static void bytes_that_faulted_are_not_tried_again(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[2] = PART_CRASH;
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_EFAULT);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, error), KEEL_EREFUSED);
    assert_non_null(strstr(error, "faulted before"));
    assert_int_equal(rig_swap(&rig, "fx_part2", KEEL_SWAP_RETRY, NULL), KEEL_OK);
    rig_frames(&rig, 25); /* through probation: they are good bytes now */
    assert_int_equal(rig_swap(&rig, "fx_part1", 0, NULL), KEEL_OK);
    rig_frames(&rig, 25);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, error), KEEL_OK);
    rig_close(&rig);
}

/* Tasks of the generation before fault when the new one runs: it isn't sent back for them. */
static void old_tasks_do_not_send_the_new_one_back(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].always = PART_TASK_CRASH;
    rig.parts[0].orders[1] = PART_TASK_CRASH;
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part2");
    rig_ask(&ask);
    assert_int_equal(rig_answer(&ask), KEEL_OK);
    rig_frames(&rig, 5);
    assert_true(rig_status(&rig, 0).faults > 0);
    assert_int_equal(rig.parts[0].version, 2);
    assert_int_equal(rig_status(&rig, 0).rolled_back, 0);
    rig_close(&rig);
}

static void a_stray_thread_sends_its_generation_back(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig.parts[0].orders[2] = PART_THREAD_CRASH;
    for (int i = 0; i < RIG_PATIENCE && !rig_status(&rig, 0).rolled_back; i++) {
        if (rig_status(&rig, 0).phase != KEEL_SLOT_PROBATION)
            fail_msg("probation ended without it");
        keel_host_pause(rig.host, rig.parts[0].orders[2] == 0);
        rig_frame(&rig);
    }
    keel_host_pause(rig.host, 0);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    rig_close(&rig);
}

/* The breaker: three faults in a row after probation, then the image before; none left: it stands
 * still and its timers with it. */
static void the_breaker_goes_back_to_the_image_before(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frames(&rig, 25);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_RUNNING);
    rig.parts[0].always = PART_CRASH;
    rig.parts[0].orders[2] = PART_CRASH;
    rig_frames(&rig, 3);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_STOPPED);
    for (int i = 0; i < RIG_PATIENCE && rig.parts[0].version != 1; i++) {
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    assert_int_equal(rig.parts[0].version, 1);
    rig_close(&rig);
}

static void a_stopped_slot_waits_for_a_better_build(void **unused)
{
    (void)unused;
    Rig rig;
    struct keel_host_options options = rig_options();
    options.probation_frames = 100000; /* frames go on until the answer is here */
    rig_start(&rig, &options, 1);
    rig_frames(&rig, 25);
    rig.parts[0].orders[1] = PART_TIMER;
    rig_frame(&rig);
    rig.parts[0].always = PART_CRASH;
    rig.parts[0].orders[1] = PART_CRASH;
    rig_frames(&rig, 3);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_STOPPED);
    rig_frames(&rig, 100);
    assert_int_equal(rig_status(&rig, 0).faults, 3);
    /* A worse build changes nothing: it stays stopped. */
    rig.parts[0].orders[2] = PART_CRASH;
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_EFAULT);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_STOPPED);
    rig_frames(&rig, 5);
    assert_int_equal(rig_status(&rig, 0).faults, 4);
    rig.parts[0].orders[2] = rig.parts[0].always = 0;
    rig.parts[0].timers = 0;
    int64_t before_ns = rig.now_ns;
    assert_int_equal(rig_swap(&rig, "fx_part2", KEEL_SWAP_RETRY, NULL), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_PROBATION);
    assert_true(rig.parts[0].timers > 0);
    /* Each millisecond since, and one event for all firings that nobody took. */
    assert_true(rig.parts[0].timers <= (uint64_t)(rig.now_ns - before_ns) / 1000000 + 1);
    rig_close(&rig);
}

/* Another frame's inputs are given again once, also when that frame was a look at the types. */
static void a_look_at_the_types_costs_no_input(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[3] = PART_CRASH; /* after the types and through the hooks */
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part3");
    rig_ask(&ask);
    keel_host_pause(rig.host, 0);
    while (!rig.parts[0].restores && !atomic_load(&ask.done)) {
        keel_slot_send(rig.slots[0], 5, NULL, 0);
        rig_frame(&rig);
    }
    assert_int_equal(rig_answer(&ask), KEEL_EFAULT);
    rig_frames(&rig, 2);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig_status(&rig, 0).inputs_set_aside, 0);
    rig_close(&rig);
}

static void a_save_that_crashes_refuses(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_SAVE_CRASH;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, error), KEEL_EFAULT);
    assert_non_null(strstr(error, "save failed"));
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
    assert_int_equal(rig_swap(&rig, "fx_part3", KEEL_SWAP_RETRY, error), KEEL_OK);
    rig_close(&rig);
}

static void restored(uint32_t tier)
{
    Rig rig;
    struct keel_host_options options = rig_options();
    options.tier = tier;
    rig_start(&rig, &options, 1);
    rig_frames(&rig, 3);
    rig.parts[0].orders[3] = PART_RESTORE_FAIL;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_EREFUSED);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
    rig.parts[0].orders[3] = PART_CRASH;
    int crashed = rig_swap(&rig, "fx_part3", 0, NULL);
    assert_int_equal(crashed, KEEL_EFAULT);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_RUNNING);
    assert_in_range(rig.parts[0].count, 100 + rig_status(&rig, 0).frames,
                    100 + rig_status(&rig, 0).frames);
    rig_close(&rig);
}

static void a_refused_restore_loses_nothing(void **unused)
{
    (void)unused;
    restored(KEEL_TIER_COPY);
    restored(KEEL_TIER_AUTO);
}

/* Nothing can be undone there: what save wrote is given back. */
static void nor_without_a_checkpoint(void **unused)
{
    (void)unused;
    restored(KEEL_TIER_OFF);
}

static void took(const Slot *slot, const uint64_t before[4], int numbers)
{
    Slot other = {0};
    memcpy(other.random, before, sizeof other.random);
    while (numbers-- > 0)
        slot_random(&other);
    assert_memory_equal(slot->random, other.random, sizeof other.random);
}

/* The random numbers that hooks take count as the swap does, or a replay would get others. */
static void hooks_that_count_for_nothing_take_no_random_numbers(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    const Slot *slot = rig.slots[0];
    uint64_t before[4];
    memcpy(before, slot->random, sizeof before);
    rig.parts[0].always = PART_HOOKS_RANDOM;
    rig.parts[0].orders[1] = PART_HOOKS_RANDOM;
    rig.parts[0].orders[3] = PART_HOOKS_RANDOM | PART_RESTORE_FAIL;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_EREFUSED);
    took(slot, before, 0);
    rig.parts[0].orders[3] = PART_HOOKS_RANDOM | PART_CRASH;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_EFAULT);
    assert_int_equal(rig.parts[0].saves, 2);
    assert_int_equal(rig.parts[0].restores, 2);
    took(slot, before, 0);
    rig_close(&rig);
}

static void nor_does_a_save_for_the_trial(void **unused)
{
    (void)unused;
    Rig rig;
    struct keel_host_options options = rig_options();
    options.trial = KEEL_TRIAL_ON;
    rig_start(&rig, &options, 1);
    uint64_t before[4];
    memcpy(before, ((const Slot *)rig.slots[0])->random, sizeof before);
    rig.parts[0].always = rig.parts[0].orders[1] = rig.parts[0].orders[3] = PART_HOOKS_RANDOM;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_OK);
    assert_int_equal(rig.parts[0].saves, 2); /* for the trial, then in earnest */
    assert_int_equal(rig.parts[0].restores, 1);
    took(rig.slots[0], before, 2);
    rig_close(&rig);
}

/* Where its first and its last page can be read, too. */
static void what_save_cannot_read_is_its_own_fault(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_SAVE_HOLE;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, error), KEEL_EFAULT);
    assert_non_null(strstr(error, "save failed"));
    rig_close(&rig);
}

/* Its writable data can't be kept, so it can't be undone: refused, not run half. */
static void too_much_writable_data_is_refused(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    assert_int_equal(rig_swap(&rig, "fx_part5", 0, error), KEEL_ELIMIT);
    assert_non_null(strstr(error, "writable data"));
    rig_frames(&rig, 30);
    assert_int_equal(rig.parts[0].version, 1);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_faulting_frame_never_happened),
        cmocka_unit_test(a_module_that_leaves_ends_nothing),
        cmocka_unit_test(a_damaged_arena_is_a_fault_of_that_frame),
        cmocka_unit_test(two_faults_in_one_frame_undo_both),
        cmocka_unit_test(a_group_goes_back_as_a_whole),
        cmocka_unit_test(the_last_frame_of_probation_is_no_exception),
        cmocka_unit_test(a_first_frame_that_faults_takes_all_back),
        cmocka_unit_test(the_others_of_a_group_are_not_to_blame),
        cmocka_unit_test(bytes_that_faulted_are_not_tried_again),
        cmocka_unit_test(old_tasks_do_not_send_the_new_one_back),
        cmocka_unit_test(a_stray_thread_sends_its_generation_back),
        cmocka_unit_test(the_breaker_goes_back_to_the_image_before),
        cmocka_unit_test(a_stopped_slot_waits_for_a_better_build),
        cmocka_unit_test(a_look_at_the_types_costs_no_input),
        cmocka_unit_test(a_save_that_crashes_refuses),
        cmocka_unit_test(a_refused_restore_loses_nothing),
        cmocka_unit_test(nor_without_a_checkpoint),
        cmocka_unit_test(hooks_that_count_for_nothing_take_no_random_numbers),
        cmocka_unit_test(nor_does_a_save_for_the_trial),
        cmocka_unit_test(what_save_cannot_read_is_its_own_fault),
        cmocka_unit_test(too_much_writable_data_is_refused),
    };
    cmocka_set_test_filter(getenv("KEEL_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
