/* swap/input_state and what inputs do with it: state is what the inputs make of it, over undone
 * frames, inputs set aside, slots that stand still and the way to the trial; control/input_words
 * reads what it should. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "control/input_words.h"
#include "swap/inputs.h"

typedef struct Typed {
    struct keel_input input;
    char text[32];
} Typed;

static struct keel_event event_of(Typed *typed, const char *text)
{
    typed->input.size = sizeof typed->input;
    typed->input.text_bytes = (uint32_t)strlen(text);
    strcpy(typed->text, text);
    return (struct keel_event){.kind = KEEL_EVENT_INPUT,
                               .data = typed,
                               .data_bytes = sizeof typed->input + strlen(text) + 1};
}

static void put(Inputs *inputs, uint32_t what, uint32_t code, float x, float y)
{
    Typed typed = {.input = {.what = what, .code = code, .x = x, .y = y, .dx = 1}};
    struct keel_event event = event_of(&typed, "");
    assert_int_equal(inputs_put_input(inputs, &event), KEEL_OK);
}

static void frame(Inputs *inputs)
{
    static uint64_t index;
    const struct keel_frame f = {.size = sizeof f, .index = ++index};
    inputs_take(inputs);
    inputs_commit(inputs, &f);
}

static int held(const Inputs *inputs, uint32_t key)
{
    return keel_key_in(inputs->now.keys, key);
}

static void edges_last_a_frame(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_A, 0, 0);
    put(&inputs, KEEL_INPUT_BUTTON_DOWN, KEEL_BUTTON_LEFT, 5, 6);
    frame(&inputs);
    assert_true(held(&inputs, KEEL_KEY_A));
    assert_true(keel_key_in(inputs.now.keys_pressed, KEEL_KEY_A));
    assert_int_equal(inputs.now.pressed, 1 << KEEL_BUTTON_LEFT);
    assert_true(inputs.now.x == 5 && inputs.now.y == 6);
    frame(&inputs);
    assert_true(held(&inputs, KEEL_KEY_A));
    assert_false(keel_key_in(inputs.now.keys_pressed, KEEL_KEY_A));
    assert_int_equal(inputs.now.pressed, 0);
    put(&inputs, KEEL_INPUT_KEY_UP, KEEL_KEY_A, 0, 0);
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_B, 0, 0);
    put(&inputs, KEEL_INPUT_KEY_UP, KEEL_KEY_B, 0, 0); /* down and up within a frame */
    frame(&inputs);
    assert_false(held(&inputs, KEEL_KEY_A));
    assert_true(keel_key_in(inputs.now.keys_released, KEEL_KEY_A));
    assert_true(keel_key_in(inputs.now.keys_pressed, KEEL_KEY_B));
    assert_true(keel_key_in(inputs.now.keys_released, KEEL_KEY_B));
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_C, 0, 0);
    frame(&inputs);
    put(&inputs, KEEL_INPUT_BLUR, 0, 0, 0);
    frame(&inputs);
    assert_false(held(&inputs, KEEL_KEY_C));
    assert_int_equal(inputs.now.held, 0);
    assert_int_equal(inputs.now.released, 1 << KEEL_BUTTON_LEFT);
    inputs_done(&inputs);
}

static void an_undone_frame_sees_the_same_again(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    frame(&inputs);
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_A, 0, 0);
    put(&inputs, KEEL_INPUT_MOVE, 0, 7, 8);
    inputs_take(&inputs);
    struct keel_input_state first = inputs.now;
    inputs_undo(&inputs);
    inputs_take(&inputs);
    assert_memory_equal(&first, &inputs.now, sizeof first);
    /* Undone once more: the events are set aside, the key is known to be held all the same. */
    assert_int_equal(inputs_undo(&inputs), 2);
    const Input *told = inputs_take(&inputs);
    assert_int_equal(told->event.kind, INPUTS_STATE_EVENT); /* so that a recording knows, too */
    assert_null(told->next);
    assert_true(held(&inputs, KEEL_KEY_A));
    assert_false(keel_key_in(inputs.now.keys_pressed, KEEL_KEY_A));
    /* That it is told survives any number of undone frames. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(inputs_undo(&inputs), 0);
        told = inputs_take(&inputs);
        assert_int_equal(told->event.kind, INPUTS_STATE_EVENT);
    }
    const struct keel_frame f = {.size = sizeof f};
    inputs_commit(&inputs, &f);
    assert_null(inputs_take(&inputs));
    assert_true(held(&inputs, KEEL_KEY_A));
    inputs_done(&inputs);
}

static void what_is_skipped_is_known(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    Typed typed = {.input = {.what = KEEL_INPUT_KEY_DOWN, .code = KEEL_KEY_W}};
    struct keel_event event = event_of(&typed, "");
    inputs_skip(&inputs, &event);
    assert_int_equal(inputs.waiting, 0);
    inputs_take(&inputs);
    assert_true(held(&inputs, KEEL_KEY_W));
    inputs_done(&inputs);
}

static void fingers_and_pads(void **unused)
{
    (void)unused;
    struct keel_input_state state = {.size = sizeof state};
    struct keel_input in = {.size = sizeof in, .what = KEEL_INPUT_TOUCH_DOWN};
    for (uint64_t finger = 1; finger < 13; finger++) { /* more than there is room for */
        in.id = finger * 1000;
        in.x = (float)finger;
        input_state_fold(&state, &in);
    }
    assert_int_equal(state.touches[9].id, 10000);
    in.what = KEEL_INPUT_TOUCH_UP;
    in.id = 3000;
    input_state_fold(&state, &in);
    assert_int_equal(state.touches[2].flags, KEEL_TOUCH_PRESSED | KEEL_TOUCH_RELEASED);
    input_state_next(&state);
    assert_int_equal(state.touches[2].flags, 0);
    assert_int_equal(state.touches[0].flags, KEEL_TOUCH_HELD);
    in = (struct keel_input){.size = sizeof in, .what = KEEL_INPUT_PAD_ON, .device = 1};
    input_state_fold(&state, &in);
    in.what = KEEL_INPUT_PAD_DOWN;
    in.code = KEEL_PAD_A;
    input_state_fold(&state, &in);
    in.what = KEEL_INPUT_PAD_AXIS;
    in.code = KEEL_AXIS_LEFT_X;
    in.x = -0.5f;
    input_state_fold(&state, &in);
    assert_int_equal(state.pads[1].held, 1);
    assert_true(state.pads[1].axes[0] == -0.5f);
    in.what = KEEL_INPUT_PAD_OFF;
    input_state_fold(&state, &in);
    assert_int_equal(state.pads[1].connected, 0);
    assert_int_equal(state.pads[1].released, 1);
}

static void nonsense_changes_nothing(void **unused)
{
    (void)unused;
    struct keel_input_state state = {.size = sizeof state}, before = state;
    static const uint32_t huge[] = {256, 1000, UINT32_MAX};
    for (uint32_t what = 0; what < 40; what++)
        for (int i = 0; i < 3; i++) {
            if (what == KEEL_INPUT_FOCUS || what == KEEL_INPUT_LEAVE || what == KEEL_INPUT_BLUR)
                continue;
            struct keel_input in = {.size = sizeof in,
                                    .what = what,
                                    .code = huge[i],
                                    .device = huge[i],
                                    .x = NAN,
                                    .y = INFINITY,
                                    .dx = NAN,
                                    .dy = -INFINITY};
            input_state_fold(&state, &in);
        }
    state.touches[0] = (struct keel_touch){0}; /* a finger came down, nobody knows where */
    assert_memory_equal(&before, &state, sizeof state);
    /* Data that can't be an input are none. */
    Typed typed = {.input = {.what = KEEL_INPUT_KEY_DOWN, .code = 4}};
    struct keel_event event = event_of(&typed, "abc");
    assert_non_null(input_of_event(&event));
    event.data_bytes--;
    assert_null(input_of_event(&event)); /* its text has no end */
    event.data_bytes = 3;
    assert_null(input_of_event(&event));
    event = event_of(&typed, "abc");
    typed.input.size = 1000;
    assert_null(input_of_event(&event));
    typed.input.size = 8;
    assert_null(input_of_event(&event));
}

static void many_moves_become_one(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    for (int i = 0; i < 1000; i++)
        put(&inputs, KEEL_INPUT_MOVE, 0, (float)i, 0);
    assert_int_equal(inputs.waiting, INPUTS_MOVES);
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_A, 0, 0);
    put(&inputs, KEEL_INPUT_MOVE, 0, 2000, 0);
    assert_int_equal(inputs.waiting, INPUTS_MOVES + 2);
    inputs_take(&inputs);
    assert_true(inputs.now.x == 2000);
    assert_true(inputs.now.dx == 1001);
    inputs_done(&inputs);
}

static Inputs other;

static int to_other(const struct keel_event *event, void *unused)
{
    (void)unused;
    inputs_put(&other, event);
    return 0;
}

static int frame_of_other(const struct keel_frame *f, void *user)
{
    if (++*(int *)user > 1)
        frame(&other);
    (void)f;
    return 0;
}

static void the_trial_knows_what_is_held(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    put(&inputs, KEEL_INPUT_KEY_DOWN, KEEL_KEY_SPACE, 0, 0);
    put(&inputs, KEEL_INPUT_MOVE, 0, 30, 40);
    for (int i = 0; i < INPUTS_FRAMES + 10; i++)
        frame(&inputs); /* the press itself is no longer remembered */
    Buf bytes = {0};
    assert_int_equal(inputs_encode(&inputs, &bytes), KEEL_OK);
    inputs_init(&other);
    int frames = 0;
    const InputsReader reader = {frame_of_other, to_other, &frames};
    assert_int_equal(inputs_decode(bytes.data, bytes.bytes, &reader), KEEL_OK);
    frame(&other);
    assert_int_equal(frames, INPUTS_FRAMES);
    assert_memory_equal(&other.now, &inputs.now, sizeof inputs.now);
    assert_true(held(&other, KEEL_KEY_SPACE));
    buf_done(&bytes);
    inputs_done(&inputs);
    inputs_done(&other);
}

static void words_are_read(void **unused)
{
    (void)unused;
    json_t *json =
        json_pack("[s,s,s,s,s,s]", "click 10 20.5 right", "wheel 0 -1", "key ctrl+Shift+a",
                  "text h\xc3\xa9llo world", "frame 3", "resize 800 600");
    HostInputStep *steps;
    uint32_t count;
    Error err = {0};
    assert_int_equal(input_words_read(json, NULL, &steps, &count, &err), KEEL_OK);
    assert_int_equal(count, 3 + 1 + 2 + 1 + 3 + 1);
    assert_int_equal(steps[0].input.what, KEEL_INPUT_MOVE);
    assert_true(steps[0].input.y == 20.5f);
    assert_int_equal(steps[1].input.code, KEEL_BUTTON_RIGHT);
    assert_true(steps[1].here);
    assert_true(steps[3].input.dy == -1);
    assert_int_equal(steps[4].input.code, KEEL_KEY_A);
    assert_int_equal(steps[4].input.mods, KEEL_MOD_CTRL | KEEL_MOD_SHIFT);
    assert_int_equal(steps[4].input.symbol, 'a');
    assert_int_equal(steps[5].input.what, KEEL_INPUT_KEY_UP);
    assert_string_equal(steps[6].text, "h\xc3\xa9llo world");
    assert_true(steps[7].frame && steps[9].frame);
    assert_true(steps[10].input.dx == 1);
    host_input_steps_free(steps, count);
    json_decref(json);
}

static void wrong_words_are_refused(void **unused)
{
    (void)unused;
    static const char *const wrong[] = {"",           "jump",        "move",           "move 1",
                                        "move 1 2 3", "move a b",    "move nan 1",     "move 1e9 0",
                                        "down nose",  "click 1",     "click 1 2 nose", "key",
                                        "key ctrl+",  "key hyper+a", "resize 0 10",    "resize 10",
                                        "frame 0",    "frame x",     "frame 1000000",  "leave now",
                                        "wheel 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = json_pack("[s,s]", "text kept until refused", wrong[i]);
        HostInputStep *steps = NULL;
        uint32_t count;
        Error err = {0};
        if (input_words_read(json, NULL, &steps, &count, &err) == KEEL_OK)
            fail_msg("\"%s\" was taken", wrong[i]);
        assert_non_null(strstr(err.text, i == 20 ? "wheel" : " "));
        json_decref(json);
    }
    HostInputStep *steps;
    uint32_t count;
    json_t *number = json_pack("[i]", 3);
    assert_int_equal(input_words_read(NULL, NULL, &steps, &count, NULL), KEEL_EINVAL);
    assert_int_equal(input_words_read(number, NULL, &steps, &count, NULL), KEEL_EINVAL);
    json_decref(number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_last_a_frame),
        cmocka_unit_test(an_undone_frame_sees_the_same_again),
        cmocka_unit_test(what_is_skipped_is_known),
        cmocka_unit_test(fingers_and_pads),
        cmocka_unit_test(nonsense_changes_nothing),
        cmocka_unit_test(many_moves_become_one),
        cmocka_unit_test(the_trial_knows_what_is_held),
        cmocka_unit_test(words_are_read),
        cmocka_unit_test(wrong_words_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
