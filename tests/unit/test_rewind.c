/* host/rewinding and swap/past: what a slot is put back to is what it was. */
#include "host_rig.h"

#include <malloc.h>

#include "../fixtures/input_part.h"
#include "host/host.h"

enum { LATER = 3000 };

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

/* As a key does that is held for longer than there is a past, and let go. */
static void from_the_oldest_moment_it_plays_on(void **unused)
{
    (void)unused;
    Rig rig;
    Error err = {0};
    open_with_past(&rig);
    Host *host = (Host *)rig.host;
    uint64_t count = rig.parts[0].count;
    assert_int_equal(host_go_back(host, 0, 0, &err), KEEL_OK);
    assert_int_equal(host_go_back(host, host->module_ns, 1, &err), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(host->replaying, 1);
    assert_true(rig.parts[0].count < count);
    rig_frames(&rig, 200);
    assert_int_equal(host->replaying, 0);
    assert_true(rig.parts[0].count > count);
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
    rig_frames(&rig, LATER); /* more than run until the answer is here */
    assert_int_equal(rig_rollback(&rig, 1, NULL), KEEL_OK);
    assert_true(rig.parts[0].count < count + LATER);
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

/* Large events, as pictures that are loaded anew: the oldest go, and their memory with them. */
static void what_is_forgotten_takes_no_memory(void **unused)
{
    (void)unused;
    enum { BYTES = 256 * 1024, MOST = 48 << 20, FRAMES = 400 };
    Rig rig;
    open_with_past(&rig);
    char *data = calloc(1, BYTES);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < FRAMES; i++) {
        assert_int_equal(keel_slot_send(rig.slots[0], 1, data, BYTES), 0);
        rig_frame(&rig);
    }
    HostPast past;
    host_past_status(rig.host, &past);
    assert_in_range(past.bytes, BYTES, MOST); /* they are kept, and not all */
    struct mallinfo2 after = mallinfo2();
    size_t held = after.uordblks + after.hblkhd, had = before.uordblks + before.hblkhd;
    if (held > had + MOST)
        fail_msg("%zu bytes are held", held - had);
    free(data);
    rig_close(&rig);
}

static void key(keel_slot *slot, uint32_t what)
{
    const struct keel_input input = {.size = sizeof input, .what = what, .code = KEEL_KEY_SPACE};
    assert_int_equal(keel_slot_input(slot, &input, NULL, 0), KEEL_OK);
}

/* A key that was held then, and is held no more, stays up when another slot's new build takes the
 * frame back. */
static void inputs_of_then_are_not_those_of_now(void **unused)
{
    (void)unused;
    enum { HELD = 2000 };
    Rig rig;
    struct input_part part = {0};
    struct keel_host_options options = rig_options();
    struct keel_slot_options slot = {.size = sizeof slot, .no_watch = 1, .user = &part};
    options.probation_frames = 1000000;
    rig_open(&rig, &options);
    Host *host = (Host *)rig.host;
    host->past_span_ns = 10 * INT64_C(1000000000);
    assert_int_equal(keel_host_add(host, rig_file("fx_input"), &slot, &rig.slots[0]), KEEL_OK);
    assert_int_equal(rig_add(&rig, 1, rig_file("fx_part1")), KEEL_OK);
    rig_frames(&rig, 10);
    int64_t then_ns = host->module_ns;
    for (int i = 0; i < HELD; i++) {
        key(rig.slots[0], KEEL_INPUT_KEY_DOWN);
        rig_frame(&rig);
    }
    assert_int_equal(part.space_held, 1);
    key(rig.slots[0], KEEL_INPUT_KEY_UP);
    rig_frames(&rig, 5);
    assert_int_equal(part.space_held, 0);

    Error err = {0};
    assert_int_equal(host_go_back(host, then_ns, 1, &err), KEEL_OK);
    rig.parts[1].orders[2] = PART_CRASH;
    RigAsk ask = {.rig = &rig, .flags = KEEL_SWAP_SAME};
    rig_ask_slot(&ask, 0, "fx_input");
    rig_ask_slot(&ask, 1, "fx_part2");
    rig_ask(&ask);
    while (rig_status(&rig, 1).faults == 0 && !atomic_load(&ask.done)) {
        if (!host->replaying) /* played to its end before the swap came */
            host_go_back(host, then_ns, 1, &err);
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    assert_int_equal(host->replaying, 1);
    assert_int_equal(rig_answer(&ask), KEEL_EFAULT);
    assert_int_equal(part.redelivered, 0);
    rig_frames(&rig, HELD + 10);
    assert_int_equal(host->replaying, 0);
    assert_int_equal(part.space_held, 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_run_again_as_they_ran),
        cmocka_unit_test(from_the_oldest_moment_it_plays_on),
        cmocka_unit_test(a_rollback_to_the_state_of_then_cuts_it_off),
        cmocka_unit_test(one_that_keeps_what_happened_does_not),
        cmocka_unit_test(what_is_forgotten_takes_no_memory),
        cmocka_unit_test(inputs_of_then_are_not_those_of_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
