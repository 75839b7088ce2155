/* screen/input_sdl: SDL's events arrive in the module as keel.input/1 says. Without a window: the
 * events are made by hand, as SDL makes them. */
#include "host_rig.h"

#include "../fixtures/input_part.h"

#include "screen/input_sdl.h"
#include "host/host.h"

typedef struct Desk {
    Rig rig;
    struct input_part part;
    InputSdl input;
} Desk;

static void desk_open(Desk *desk)
{
    memset(desk, 0, sizeof *desk);
    rig_open(&desk->rig, NULL);
    struct keel_slot_options options = {.size = sizeof options, .no_watch = 1, .user = &desk->part};
    if (keel_host_add(desk->rig.host, rig_file("fx_input"), &options, &desk->rig.slots[0]))
        fail_msg("%s", keel_host_error());
    rig_frame(&desk->rig);
    input_sdl_open(&desk->input, NULL);
    input_sdl_begin(&desk->input, desk->rig.host, 800, 600, 2);
}

static void desk_close(Desk *desk)
{
    input_sdl_close(&desk->input);
    rig_close(&desk->rig);
}

/* The one input that `event` becomes, or NULL. */
static const struct keel_input *one(Desk *desk, SDL_Event event)
{
    static Input kept;
    static char data[1024];
    input_sdl_event(&desk->input, &event);
    keel_host_idle(desk->rig.host, 0);
    Slot *slot = desk->rig.slots[0];
    keel_host_pause(desk->rig.host, 1);
    rig_frame(&desk->rig); /* the boundary's mail comes in, no frame takes it */
    keel_host_pause(desk->rig.host, 0);
    const Input *waiting = slot->inputs.first;
    const struct keel_input *input = NULL;
    if (waiting) {
        assert_null(waiting->next);
        kept = *waiting;
        assert_true(kept.event.data_bytes <= sizeof data);
        memcpy(data, kept.event.data, kept.event.data_bytes);
        input = (const struct keel_input *)data;
        assert_non_null(input_of_event(&waiting->event));
    }
    rig_frame(&desk->rig);
    return input;
}

static void keys(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    SDL_Event event = {.key = {.type = SDL_KEYDOWN,
                               .repeat = 1,
                               .keysym = {.scancode = SDL_SCANCODE_Q,
                                          .sym = SDLK_a, /* a French keyboard */
                                          .mod = KMOD_RCTRL | KMOD_LSHIFT | KMOD_NUM}}};
    const struct keel_input *in = one(&desk, event);
    assert_non_null(in);
    assert_int_equal(in->what, KEEL_INPUT_KEY_DOWN);
    assert_int_equal(in->code, KEEL_KEY_Q);
    assert_int_equal(in->symbol, 'a');
    assert_int_equal(in->mods, KEEL_MOD_CTRL | KEEL_MOD_SHIFT | KEEL_MOD_NUM);
    assert_int_equal(in->flags, KEEL_INPUT_REPEAT);
    event.key.type = SDL_KEYUP;
    event.key.repeat = 0;
    event.key.keysym.scancode = SDL_SCANCODE_LEFT;
    event.key.keysym.sym = SDLK_LEFT;
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_KEY_UP);
    assert_int_equal(in->code, KEEL_KEY_LEFT);
    assert_int_equal(in->symbol, 0);
    event.key.keysym.scancode = SDL_SCANCODE_AUDIOPLAY; /* no key of the keyboard's page */
    assert_null(one(&desk, event));
    desk_close(&desk);
}

/* SDL's scancodes are HID usages: the names must mean the same keys. */
static void the_names_of_keys_agree(void **unused)
{
    (void)unused;
    static const struct {
        int scancode, key;
    } rows[] = {{SDL_SCANCODE_A, KEEL_KEY_A},
                {SDL_SCANCODE_X, KEEL_KEY_X},
                {SDL_SCANCODE_0, KEEL_KEY_0},
                {SDL_SCANCODE_RETURN, KEEL_KEY_ENTER},
                {SDL_SCANCODE_SPACE, KEEL_KEY_SPACE},
                {SDL_SCANCODE_BACKSLASH, KEEL_KEY_BACKSLASH},
                {SDL_SCANCODE_SEMICOLON, KEEL_KEY_SEMICOLON},
                {SDL_SCANCODE_SLASH, KEEL_KEY_SLASH},
                {SDL_SCANCODE_F12, KEEL_KEY_F12},
                {SDL_SCANCODE_PAUSE, KEEL_KEY_PAUSE},
                {SDL_SCANCODE_DELETE, KEEL_KEY_DELETE},
                {SDL_SCANCODE_PAGEDOWN, KEEL_KEY_PAGE_DOWN},
                {SDL_SCANCODE_UP, KEEL_KEY_UP},
                {SDL_SCANCODE_KP_0, KEEL_KEY_PAD_0},
                {SDL_SCANCODE_NONUSBACKSLASH, KEEL_KEY_NON_US},
                {SDL_SCANCODE_APPLICATION, KEEL_KEY_MENU},
                {SDL_SCANCODE_LCTRL, KEEL_KEY_LEFT_CTRL},
                {SDL_SCANCODE_RGUI, KEEL_KEY_RIGHT_GUI}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(rows[i].scancode, rows[i].key);
    assert_int_equal(SDL_CONTROLLER_BUTTON_DPAD_RIGHT, KEEL_PAD_RIGHT);
    assert_int_equal(SDL_CONTROLLER_BUTTON_LEFTSTICK, KEEL_PAD_LEFT_STICK);
    assert_int_equal(SDL_CONTROLLER_AXIS_TRIGGERRIGHT, KEEL_AXIS_RIGHT_TRIGGER);
    assert_int_equal(SDL_BUTTON_RIGHT, KEEL_BUTTON_RIGHT);
    assert_int_equal(SDL_BUTTON_X1, KEEL_BUTTON_BACK);
}

static void text_and_composing(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    SDL_Event event = {.text = {.type = SDL_TEXTINPUT, .text = "\xe4\xbd\xa0\xe5\xa5\xbd"}};
    const struct keel_input *in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_TEXT);
    assert_string_equal(keel_input_text(in), "\xe4\xbd\xa0\xe5\xa5\xbd");
    event = (SDL_Event){
        .edit = {.type = SDL_TEXTEDITING, .text = "n\xc3\xad hao", .start = 2, .length = 0}};
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_COMPOSE);
    assert_int_equal(in->code, 3); /* two characters are three bytes */
    assert_string_equal(keel_input_text(in), "n\xc3\xad hao");
    event.edit.start = 100;
    assert_int_equal(one(&desk, event)->code, 7);
    event = (SDL_Event){.editExt = {.type = SDL_TEXTEDITING_EXT, .start = 0}};
    event.editExt.text = SDL_strdup("long");
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_COMPOSE);
    assert_string_equal(keel_input_text(in), "long");
    assert_string_equal(desk.part.text, "\xe4\xbd\xa0\xe5\xa5\xbd"); /* composing isn't typing */
    desk_close(&desk);
}

static void mouse(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    SDL_Event event = {
        .motion = {.type = SDL_MOUSEMOTION, .x = 30, .y = 40, .xrel = 3, .yrel = -4}};
    const struct keel_input *in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_MOVE);
    assert_true(in->x == 30 && in->y == 40 && in->dx == 3 && in->dy == -4);
    event = (SDL_Event){.button = {.type = SDL_MOUSEBUTTONDOWN,
                                   .button = SDL_BUTTON_RIGHT,
                                   .clicks = 2,
                                   .x = 31,
                                   .y = 41}};
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_BUTTON_DOWN);
    assert_int_equal(in->code, KEEL_BUTTON_RIGHT);
    assert_int_equal(in->clicks, 2);
    assert_int_equal(desk.part.buttons, 1 << KEEL_BUTTON_RIGHT);
    event = (SDL_Event){.wheel = {.type = SDL_MOUSEWHEEL,
                                  .preciseX = 0.5f,
                                  .preciseY = 1,
                                  .direction = SDL_MOUSEWHEEL_FLIPPED}};
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_WHEEL);
    assert_true(in->dx == -0.5f && in->dy == -1 && in->x == 30);
    event = (SDL_Event){
        .tfinger = {.type = SDL_FINGERDOWN, .fingerId = 77, .x = 0.5f, .y = 0.25f, .pressure = 1}};
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_TOUCH_DOWN);
    assert_true(in->x == 400 && in->y == 150 && in->id == 77);
    desk_close(&desk);
}

static void windows_and_drops(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    SDL_Event event = {.window = {.type = SDL_WINDOWEVENT, .event = SDL_WINDOWEVENT_SIZE_CHANGED}};
    const struct keel_input *in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_RESIZE);
    assert_true(in->x == 800 && in->y == 600 && in->dx == 2);
    event.window.event = SDL_WINDOWEVENT_FOCUS_LOST;
    assert_int_equal(one(&desk, event)->what, KEEL_INPUT_BLUR);
    event.window.event = SDL_WINDOWEVENT_LEAVE;
    assert_int_equal(one(&desk, event)->what, KEEL_INPUT_LEAVE);
    event.window.event = SDL_WINDOWEVENT_EXPOSED;
    assert_null(one(&desk, event));
    event = (SDL_Event){.drop = {.type = SDL_DROPFILE, .file = SDL_strdup("/tmp/a b.png")}};
    in = one(&desk, event);
    assert_int_equal(in->what, KEEL_INPUT_DROP_FILE);
    assert_string_equal(keel_input_text(in), "/tmp/a b.png");
    event = (SDL_Event){.drop = {.type = SDL_DROPBEGIN}};
    assert_null(one(&desk, event));
    /* A gamepad that never came can't press anything. */
    event = (SDL_Event){.cbutton = {.type = SDL_CONTROLLERBUTTONDOWN, .which = 3, .button = 1}};
    assert_null(one(&desk, event));
    desk_close(&desk);
}

/* A gamepad that SDL makes up; everything goes the way of a real one. */
static void a_gamepad_comes_plays_and_goes(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    SDL_SetHint(SDL_HINT_JOYSTICK_ALLOW_BACKGROUND_EVENTS, "1");
    if (SDL_Init(SDL_INIT_GAMECONTROLLER))
        skip();
    int which = SDL_JoystickAttachVirtual(SDL_JOYSTICK_TYPE_GAMECONTROLLER, SDL_CONTROLLER_AXIS_MAX,
                                          SDL_CONTROLLER_BUTTON_MAX, 0);
    if (which < 0)
        skip();
    const struct keel_pad *pad = &((Slot *)desk.rig.slots[0])->inputs.now.pads[0];
    for (int step = 0; step < 4; step++) {
        SDL_Joystick *joystick = desk.input.pads[0] && step < 3
                                     ? SDL_GameControllerGetJoystick(desk.input.pads[0])
                                     : NULL;
        if (step == 1) {
            SDL_JoystickSetVirtualButton(joystick, SDL_CONTROLLER_BUTTON_START, 1);
            SDL_JoystickSetVirtualAxis(joystick, SDL_CONTROLLER_AXIS_LEFTY, 32767);
        }
        if (step == 2)
            SDL_JoystickSetVirtualButton(joystick, SDL_CONTROLLER_BUTTON_START, 0);
        if (step == 3)
            SDL_JoystickDetachVirtual(which);
        for (int round = 0; round < 3; round++) {
            SDL_Event event;
            SDL_PumpEvents();
            while (SDL_PollEvent(&event))
                input_sdl_event(&desk.input, &event);
        }
        rig_frame(&desk.rig);
        if (step == 0)
            assert_int_equal(pad->connected, 1);
        if (step == 1) {
            assert_int_equal(pad->held, 1 << KEEL_PAD_START);
            assert_int_equal(pad->pressed, 1 << KEEL_PAD_START);
            assert_true(pad->axes[KEEL_AXIS_LEFT_Y] == 1);
        }
        if (step == 2) {
            assert_int_equal(pad->held, 0);
            assert_int_equal(pad->released, 1 << KEEL_PAD_START);
        }
        if (step == 3)
            assert_int_equal(pad->connected, 0);
    }
    desk_close(&desk);
    SDL_Quit();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(the_names_of_keys_agree),
        cmocka_unit_test(text_and_composing),
        cmocka_unit_test(mouse),
        cmocka_unit_test(windows_and_drops),
        cmocka_unit_test(a_gamepad_comes_plays_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
