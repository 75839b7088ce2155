/* host/input: what somebody does arrives as events and as state; an undone frame gets it again;
 * clipboard and wishes count when the frame does; scripts go frame by frame. */
#include "host_rig.h"

#include "../fixtures/input_part.h"

#include "host/host.h"

typedef struct Desk {
    Rig rig;
    struct input_part part;
} Desk;

static void desk_open(Desk *desk)
{
    memset(desk, 0, sizeof *desk);
    rig_open(&desk->rig, NULL);
    struct keel_slot_options options = {.size = sizeof options, .no_watch = 1, .user = &desk->part};
    if (keel_host_add(desk->rig.host, rig_file("fx_input"), &options, &desk->rig.slots[0]))
        fail_msg("%s", keel_host_error());
    rig_frames(&desk->rig, 25); /* probation is over */
}

static void give(Desk *desk, uint32_t what, uint32_t code, const char *text)
{
    const struct keel_input in = {
        .size = sizeof in, .what = what, .code = code, .x = 10, .y = 20, .dx = 3};
    assert_int_equal(keel_slot_input(desk->rig.slots[0], &in, text, text ? strlen(text) : 0), 0);
}

static void inputs_come_as_events_and_as_state(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    give(&desk, KEEL_INPUT_KEY_DOWN, KEEL_KEY_SPACE, NULL);
    give(&desk, KEEL_INPUT_MOVE, 0, NULL);
    give(&desk, KEEL_INPUT_BUTTON_DOWN, KEEL_BUTTON_LEFT, NULL);
    give(&desk, KEEL_INPUT_TEXT, 0, "\xe4\xbd\xa0");
    give(&desk, KEEL_INPUT_TEXT, 0, "\xe5\xa5\xbd");
    keel_slot_send(desk.rig.slots[0], 1, "no input", 8);
    rig_frame(&desk.rig);
    assert_true(desk.part.space_held && desk.part.space_pressed);
    assert_int_equal(desk.part.presses, 1 << KEEL_BUTTON_LEFT);
    assert_true(desk.part.x == 10 && desk.part.y == 20 && desk.part.dx == 3);
    assert_int_equal(desk.part.inputs, 5);
    assert_string_equal(desk.part.text, "\xe4\xbd\xa0\xe5\xa5\xbd");
    give(&desk, KEEL_INPUT_KEY_UP, KEEL_KEY_SPACE, NULL);
    rig_frame(&desk.rig);
    assert_false(desk.part.space_held);
    assert_true(desk.part.space_released);
    assert_int_equal(desk.part.buttons, 1 << KEEL_BUTTON_LEFT);
    assert_int_equal(desk.part.presses, 0);
    rig_close(&desk.rig);
}

static void what_is_no_input_is_refused(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    struct keel_input in = {.size = sizeof in, .what = KEEL_INPUT_MOVE};
    assert_int_equal(keel_host_input(desk.rig.host, &in, NULL, 0), KEEL_OK);
    in.what = 0;
    assert_int_equal(keel_host_input(desk.rig.host, &in, NULL, 0), KEEL_EINVAL);
    in.what = 1000;
    assert_int_equal(keel_host_input(desk.rig.host, &in, NULL, 0), KEEL_EINVAL);
    in.what = KEEL_INPUT_MOVE;
    in.size = 4;
    assert_int_equal(keel_host_input(desk.rig.host, &in, NULL, 0), KEEL_EABI);
    in.size = sizeof in;
    assert_int_equal(keel_host_input(desk.rig.host, &in, "x", UINT64_MAX), KEEL_ELIMIT);
    rig_close(&desk.rig);
}

static void an_undone_frame_gets_its_inputs_again(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    give(&desk, KEEL_INPUT_KEY_DOWN, KEEL_KEY_SPACE, NULL);
    give(&desk, KEEL_INPUT_TEXT, 0, "a");
    desk.part.crash = 1;
    rig_frame(&desk.rig);
    assert_true(desk.part.space_pressed);
    assert_int_equal(rig_status(&desk.rig, 0).undone, 1);
    desk.part.space_pressed = 0;
    rig_frame(&desk.rig);
    assert_true(desk.part.space_pressed && desk.part.space_held);
    assert_string_equal(desk.part.text, "aa"); /* seen twice, by two frames; one counted */
    assert_int_equal(desk.part.redelivered, 2);
    rig_frame(&desk.rig);
    assert_int_equal(desk.part.presses_counted, 1);
    assert_false(desk.part.space_pressed);
    /* Given twice to frames that crash: set aside, and yet the key is known to be up. */
    give(&desk, KEEL_INPUT_KEY_UP, KEEL_KEY_SPACE, NULL);
    desk.part.crash = 2;
    rig_frames(&desk.rig, 2);
    assert_int_equal(rig_status(&desk.rig, 0).inputs_set_aside, 1);
    rig_frame(&desk.rig);
    assert_false(desk.part.space_held);
    rig_close(&desk.rig);
}

static void a_slot_that_stands_still_hears_no_clicks(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    desk.part.crash = 1000;
    for (int i = 0; i < 200 && rig_status(&desk.rig, 0).phase != KEEL_SLOT_STOPPED; i++)
        rig_frame(&desk.rig);
    assert_int_equal(rig_status(&desk.rig, 0).phase, KEEL_SLOT_STOPPED);
    give(&desk, KEEL_INPUT_KEY_DOWN, KEEL_KEY_SPACE, NULL);
    give(&desk, KEEL_INPUT_TEXT, 0, "lost");
    rig_frame(&desk.rig);
    desk.part.crash = 0;
    char error[1024];
    if (rig_swap(&desk.rig, "fx_input", KEEL_SWAP_SAME | KEEL_SWAP_RETRY, error))
        fail_msg("%s", error);
    assert_true(desk.part.space_held);
    assert_false(desk.part.space_pressed);
    assert_string_equal(desk.part.text, "");
    rig_close(&desk.rig);
}

static void the_clipboard_counts_with_the_frame(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    desk.part.copy = 1;
    desk.part.crash = 1;
    rig_frame(&desk.rig); /* undone: nothing was copied */
    desk.part.paste = 1;
    rig_frame(&desk.rig);
    rig_frame(&desk.rig);
    assert_int_equal(desk.part.paste_tag, 5);
    assert_string_equal(desk.part.pasted, "");
    desk.part.copy = desk.part.paste = 1;
    rig_frame(&desk.rig);
    assert_string_equal(desk.part.pasted, "");
    rig_frame(&desk.rig);
    assert_string_equal(desk.part.pasted, "from the module");
    rig_close(&desk.rig);
}

static char window_clipboard[64];

static void window_put(const char *text, size_t bytes, void *user)
{
    (void)user;
    snprintf(window_clipboard, sizeof window_clipboard, "%.*s", (int)bytes, text);
}

static char *window_get(size_t *ret_bytes, void *user)
{
    (void)user;
    *ret_bytes = 11;
    return strdup("from others");
}

static void a_window_has_the_clipboard_and_is_told_the_wishes(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    Host *host = desk.rig.host;
    host->window = (HostWindow){window_put, window_get, NULL};
    desk.part.copy = desk.part.paste = desk.part.area = 1;
    rig_frame(&desk.rig);
    rig_frame(&desk.rig);
    assert_string_equal(window_clipboard, "from the module");
    assert_string_equal(desk.part.pasted, "from others");
    HostWants wants;
    host_wants(host, &wants);
    assert_int_equal(wants.text, 1);
    assert_int_equal(wants.cursor, KEEL_CURSOR_TEXT);
    assert_true(wants.area[0] == 1 && wants.area[3] == 4);
    desk.part.area = 0; /* not asked again: over */
    rig_frame(&desk.rig);
    host_wants(host, &wants);
    assert_int_equal(wants.text, 0);
    assert_int_equal(wants.cursor, KEEL_CURSOR_ARROW);
    rig_close(&desk.rig);
}

static void count(void *user)
{
    ++*(int *)user;
}

static void a_script_goes_frame_by_frame(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    HostInputStep *steps = calloc(6, sizeof *steps);
    struct keel_input in = {.size = sizeof in, .what = KEEL_INPUT_MOVE, .x = 50, .y = 60};
    steps[0].input = in;
    steps[1].here = 1;
    in.what = KEEL_INPUT_BUTTON_DOWN;
    in.code = KEEL_BUTTON_LEFT;
    in.x = in.y = 0;
    steps[1].input = in;
    steps[2].frame = steps[3].frame = 1;
    in.what = KEEL_INPUT_TEXT;
    steps[4].input = in;
    steps[4].text = strdup("later");
    in.what = KEEL_INPUT_BUTTON_UP;
    steps[5].input = in;
    steps[5].here = 1;
    int done = 0;
    assert_int_equal(host_input_script(desk.rig.host, steps, 6, count, &done), KEEL_OK);
    rig_frame(&desk.rig);
    assert_true(desk.part.x == 50 && desk.part.y == 60);
    assert_int_equal(desk.part.buttons, 1 << KEEL_BUTTON_LEFT);
    rig_frame(&desk.rig);
    assert_string_equal(desk.part.text, "");
    assert_int_equal(done, 0);
    rig_frame(&desk.rig);
    assert_string_equal(desk.part.text, "later");
    assert_int_equal(desk.part.buttons, 0);
    assert_true(desk.part.x == 50);
    assert_int_equal(done, 1);
    /* One that never ends goes with its host. */
    steps = calloc(2, sizeof *steps);
    steps[0].frame = 1;
    steps[1].input = in;
    steps[1].text = strdup("never");
    assert_int_equal(host_input_script(desk.rig.host, steps, 2, NULL, NULL), KEEL_OK);
    rig_frame(&desk.rig);
    rig_close(&desk.rig);
}

/* Held since long before the moment that the slot is put back to. */
static void going_back_brings_the_keys_of_then(void **unused)
{
    (void)unused;
    Desk desk;
    memset(&desk, 0, sizeof desk);
    rig_open(&desk.rig, NULL);
    Host *host = desk.rig.host;
    host->past_span_ns = 10 * INT64_C(1000000000);
    struct keel_slot_options options = {.size = sizeof options, .no_watch = 1, .user = &desk.part};
    if (keel_host_add(host, rig_file("fx_input"), &options, &desk.rig.slots[0]))
        fail_msg("%s", keel_host_error());
    give(&desk, KEEL_INPUT_KEY_DOWN, KEEL_KEY_SPACE, NULL);
    rig_frames(&desk.rig, 500); /* moments are 0.1 s or more apart */
    int64_t then_ns = host->module_ns;
    rig_frames(&desk.rig, 500);
    give(&desk, KEEL_INPUT_KEY_UP, KEEL_KEY_SPACE, NULL);
    rig_frames(&desk.rig, 5);
    assert_false(desk.part.space_held);
    Error err = {0};
    if (host_go_back(host, then_ns, 1, &err))
        fail_msg("%s", err.text);
    assert_true(desk.part.space_held); /* the frame of then, run again */
    rig_frame(&desk.rig);
    assert_true(desk.part.space_held);
    assert_int_equal(desk.part.presses_counted, 1);
    rig_frames(&desk.rig, 1000); /* to the end of what is recorded, and beyond */
    assert_false(desk.part.space_held);
    rig_close(&desk.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_come_as_events_and_as_state),
        cmocka_unit_test(what_is_no_input_is_refused),
        cmocka_unit_test(an_undone_frame_gets_its_inputs_again),
        cmocka_unit_test(a_slot_that_stands_still_hears_no_clicks),
        cmocka_unit_test(the_clipboard_counts_with_the_frame),
        cmocka_unit_test(a_window_has_the_clipboard_and_is_told_the_wishes),
        cmocka_unit_test(a_script_goes_frame_by_frame),
        cmocka_unit_test(going_back_brings_the_keys_of_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
