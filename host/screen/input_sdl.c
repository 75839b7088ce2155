/* From SDL_Event to keel_input; cursors, text input and clipboard back to SDL. Owns gamepads and
 * cursors. Frame thread. */
#include "screen/input_sdl.h"

#include <stdlib.h>
#include <string.h>

enum { PUMPS_BEFORE_PADS = 20, AREA_MOST = 32767 };

/* ---- clipboard ---- */

static void clipboard_put(const char *text, size_t bytes, void *user)
{
    (void)bytes; /* a 0 inside ends it: SDL has only strings */
    (void)user;
    SDL_SetClipboardText(text);
}

static char *clipboard_get(size_t *ret_bytes, void *user)
{
    (void)user;
    char *theirs = SDL_GetClipboardText();
    char *text = theirs ? strdup(theirs) : NULL;
    SDL_free(theirs);
    *ret_bytes = text ? strlen(text) : 0;
    return text;
}

/* ---- open, close ---- */

void input_sdl_open(InputSdl *input, SDL_Window *window)
{
    *input = (InputSdl){.window = window};
    SDL_SetHint(SDL_HINT_IME_SHOW_UI, "1");
    SDL_SetHint(SDL_HINT_IME_SUPPORT_EXTENDED_TEXT, "1");
    if (window)
        SDL_StopTextInput(); /* SDL begins with it on */
}

void input_sdl_close(InputSdl *input)
{
    for (int i = 0; i < KEEL_INPUT_PADS; i++)
        if (input->pads[i])
            SDL_GameControllerClose(input->pads[i]);
    for (int i = 0; i < KEEL_CURSOR_HIDDEN; i++)
        if (input->cursors[i])
            SDL_FreeCursor(input->cursors[i]);
    if (input->pads_open)
        SDL_QuitSubSystem(SDL_INIT_GAMECONTROLLER);
    if (input->host)
        input->host->window = (HostWindow){0};
    *input = (InputSdl){0};
}

void input_sdl_begin(InputSdl *input, Host *host, float width, float height, float scale)
{
    input->host = host;
    input->width = width;
    input->height = height;
    input->scale = scale;
    if (host && input->window)
        host->window = (HostWindow){clipboard_put, clipboard_get, input};
}

/* ---- events ---- */

static uint32_t mods_of(Uint16 mod)
{
    return (mod & KMOD_SHIFT ? KEEL_MOD_SHIFT : 0u) | (mod & KMOD_CTRL ? KEEL_MOD_CTRL : 0u) |
           (mod & KMOD_ALT ? KEEL_MOD_ALT : 0u) | (mod & KMOD_GUI ? KEEL_MOD_GUI : 0u) |
           (mod & KMOD_CAPS ? KEEL_MOD_CAPS : 0u) | (mod & KMOD_NUM ? KEEL_MOD_NUM : 0u);
}

static void give(InputSdl *input, struct keel_input *in, const char *text)
{
    in->size = sizeof *in;
    if (!in->mods)
        in->mods = mods_of((Uint16)SDL_GetModState());
    if (input->host)
        keel_host_input(input->host, in, text, text ? strlen(text) : 0);
}

static void give_plain(InputSdl *input, uint32_t what)
{
    struct keel_input in = {.what = what};
    give(input, &in, NULL);
}

/* Logical pixels a unit of the window's coordinates. */
static float unit(const InputSdl *input)
{
    int width = 0, height = 0;
    if (input->window)
        SDL_GetWindowSize(input->window, &width, &height);
    return width > 0 ? input->width / (float)width : 1;
}

static void key(InputSdl *input, const SDL_KeyboardEvent *event)
{
    if ((int)event->keysym.scancode >= KEEL_KEY_COUNT)
        return; /* media keys and their kin have no place in the keyboard's page */
    SDL_Keycode sym = event->keysym.sym;
    struct keel_input in = {.what = event->type == SDL_KEYDOWN ? KEEL_INPUT_KEY_DOWN
                                                               : KEEL_INPUT_KEY_UP,
                            .code = (uint32_t)event->keysym.scancode,
                            .mods = mods_of(event->keysym.mod),
                            .flags = event->repeat ? KEEL_INPUT_REPEAT : 0,
                            .symbol = sym > 0 && !(sym & SDLK_SCANCODE_MASK) ? (uint32_t)sym : 0};
    give(input, &in, NULL);
}

/* The byte at which character `count` of the text begins. */
static uint32_t byte_of(const char *text, int count)
{
    uint32_t at = 0;
    for (; text[at] && (count > 0 || ((uint8_t)text[at] & 0xc0) == 0x80); at++)
        if (((uint8_t)text[at] & 0xc0) != 0x80)
            count--;
    return at;
}

static void compose(InputSdl *input, const char *text, int start)
{
    struct keel_input in = {.what = KEEL_INPUT_COMPOSE, .code = byte_of(text, start)};
    give(input, &in, text);
}

static void text(InputSdl *input, const char *typed)
{
    struct keel_input in = {.what = KEEL_INPUT_TEXT};
    give(input, &in, typed);
}

static void motion(InputSdl *input, const SDL_MouseMotionEvent *event)
{
    float one = unit(input);
    input->x = (float)event->x * one;
    input->y = (float)event->y * one;
    struct keel_input in = {.what = KEEL_INPUT_MOVE,
                            .x = input->x,
                            .y = input->y,
                            .dx = (float)event->xrel * one,
                            .dy = (float)event->yrel * one};
    give(input, &in, NULL);
}

static void button(InputSdl *input, const SDL_MouseButtonEvent *event)
{
    float one = unit(input);
    struct keel_input in = {.what = event->type == SDL_MOUSEBUTTONDOWN ? KEEL_INPUT_BUTTON_DOWN
                                                                       : KEEL_INPUT_BUTTON_UP,
                            .code = event->button,
                            .x = (float)event->x * one,
                            .y = (float)event->y * one,
                            .clicks = event->clicks};
    give(input, &in, NULL);
}

static void wheel(InputSdl *input, const SDL_MouseWheelEvent *event)
{
    float way = event->direction == SDL_MOUSEWHEEL_FLIPPED ? -1 : 1;
    struct keel_input in = {.what = KEEL_INPUT_WHEEL,
                            .x = input->x,
                            .y = input->y,
                            .dx = event->preciseX * way,
                            .dy = event->preciseY * way};
    give(input, &in, NULL);
}

static void finger(InputSdl *input, const SDL_TouchFingerEvent *event)
{
    struct keel_input in = {.what = event->type == SDL_FINGERDOWN ? KEEL_INPUT_TOUCH_DOWN
                                    : event->type == SDL_FINGERUP ? KEEL_INPUT_TOUCH_UP
                                                                  : KEEL_INPUT_TOUCH_MOVE,
                            .x = event->x * input->width,
                            .y = event->y * input->height,
                            .dx = event->dx * input->width,
                            .dy = event->dy * input->height,
                            .pressure = event->pressure,
                            .id = (uint64_t)event->fingerId};
    give(input, &in, NULL);
}

static void drop(InputSdl *input, const SDL_DropEvent *event)
{
    struct keel_input in = {.what = event->type == SDL_DROPFILE ? KEEL_INPUT_DROP_FILE
                                                                : KEEL_INPUT_DROP_TEXT,
                            .x = input->x,
                            .y = input->y};
    give(input, &in, event->file);
    SDL_free(event->file);
}

static void window(InputSdl *input, const SDL_WindowEvent *event)
{
    struct keel_input in = {
        .what = KEEL_INPUT_RESIZE, .x = input->width, .y = input->height, .dx = input->scale};
    switch (event->event) {
    case SDL_WINDOWEVENT_SIZE_CHANGED:
        give(input, &in, NULL);
        break;
    case SDL_WINDOWEVENT_LEAVE:
        give_plain(input, KEEL_INPUT_LEAVE);
        break;
    case SDL_WINDOWEVENT_FOCUS_GAINED:
        give_plain(input, KEEL_INPUT_FOCUS);
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        give_plain(input, KEEL_INPUT_BLUR);
        break;
    default:
        break;
    }
}

/* ---- gamepads ---- */

static int pad_number(const InputSdl *input, SDL_JoystickID id)
{
    for (int i = 0; i < KEEL_INPUT_PADS; i++)
        if (input->pads[i] && input->pad_ids[i] == id)
            return i;
    return -1;
}

static void pad_on(InputSdl *input, int which)
{
    int i = 0;
    while (i < KEEL_INPUT_PADS && input->pads[i])
        i++;
    if (i == KEEL_INPUT_PADS || !(input->pads[i] = SDL_GameControllerOpen(which)))
        return;
    SDL_Joystick *joystick = SDL_GameControllerGetJoystick(input->pads[i]);
    input->pad_ids[i] = SDL_JoystickInstanceID(joystick);
    struct keel_input in = {.what = KEEL_INPUT_PAD_ON, .device = (uint32_t)i};
    give(input, &in, SDL_GameControllerName(input->pads[i]));
}

static void pad_off(InputSdl *input, SDL_JoystickID id)
{
    int i = pad_number(input, id);
    if (i < 0)
        return;
    SDL_GameControllerClose(input->pads[i]);
    input->pads[i] = NULL;
    struct keel_input in = {.what = KEEL_INPUT_PAD_OFF, .device = (uint32_t)i};
    give(input, &in, NULL);
}

static void pad_button(InputSdl *input, const SDL_ControllerButtonEvent *event)
{
    int i = pad_number(input, event->which);
    struct keel_input in = {.what = event->type == SDL_CONTROLLERBUTTONDOWN ? KEEL_INPUT_PAD_DOWN
                                                                            : KEEL_INPUT_PAD_UP,
                            .code = event->button,
                            .device = (uint32_t)i};
    if (i >= 0)
        give(input, &in, NULL);
}

static void pad_axis(InputSdl *input, const SDL_ControllerAxisEvent *event)
{
    int i = pad_number(input, event->which);
    float at = event->value < 0 ? (float)event->value / 32768 : (float)event->value / 32767;
    struct keel_input in = {
        .what = KEEL_INPUT_PAD_AXIS, .code = event->axis, .device = (uint32_t)i, .x = at};
    if (i >= 0)
        give(input, &in, NULL);
}

void input_sdl_event(InputSdl *input, const SDL_Event *event)
{
    switch (event->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        key(input, &event->key);
        break;
    case SDL_TEXTINPUT:
        text(input, event->text.text);
        break;
    case SDL_TEXTEDITING:
        compose(input, event->edit.text, event->edit.start);
        break;
    case SDL_TEXTEDITING_EXT:
        compose(input, event->editExt.text, event->editExt.start);
        SDL_free(event->editExt.text);
        break;
    case SDL_MOUSEMOTION:
        motion(input, &event->motion);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        button(input, &event->button);
        break;
    case SDL_MOUSEWHEEL:
        wheel(input, &event->wheel);
        break;
    case SDL_FINGERDOWN:
    case SDL_FINGERUP:
    case SDL_FINGERMOTION:
        finger(input, &event->tfinger);
        break;
    case SDL_DROPFILE:
    case SDL_DROPTEXT:
        drop(input, &event->drop);
        break;
    case SDL_WINDOWEVENT:
        window(input, &event->window);
        break;
    case SDL_CONTROLLERDEVICEADDED:
        pad_on(input, event->cdevice.which);
        break;
    case SDL_CONTROLLERDEVICEREMOVED:
        pad_off(input, event->cdevice.which);
        break;
    case SDL_CONTROLLERBUTTONDOWN:
    case SDL_CONTROLLERBUTTONUP:
        pad_button(input, &event->cbutton);
        break;
    case SDL_CONTROLLERAXISMOTION:
        pad_axis(input, &event->caxis);
        break;
    default:
        break;
    }
}

/* ---- wishes ---- */

static void show_cursor(InputSdl *input, uint32_t shape)
{
    static const SDL_SystemCursor systems[KEEL_CURSOR_HIDDEN] = {
        [KEEL_CURSOR_ARROW] = SDL_SYSTEM_CURSOR_ARROW,
        [KEEL_CURSOR_TEXT] = SDL_SYSTEM_CURSOR_IBEAM,
        [KEEL_CURSOR_HAND] = SDL_SYSTEM_CURSOR_HAND,
        [KEEL_CURSOR_CROSS] = SDL_SYSTEM_CURSOR_CROSSHAIR,
        [KEEL_CURSOR_SIZE_X] = SDL_SYSTEM_CURSOR_SIZEWE,
        [KEEL_CURSOR_SIZE_Y] = SDL_SYSTEM_CURSOR_SIZENS,
        [KEEL_CURSOR_SIZE_ALL] = SDL_SYSTEM_CURSOR_SIZEALL,
        [KEEL_CURSOR_NO] = SDL_SYSTEM_CURSOR_NO};
    if (shape == input->cursor)
        return;
    if (input->cursor == KEEL_CURSOR_HIDDEN)
        SDL_ShowCursor(SDL_ENABLE);
    input->cursor = shape;
    if (shape == KEEL_CURSOR_HIDDEN) {
        SDL_ShowCursor(SDL_DISABLE);
        return;
    }
    if (!input->cursors[shape])
        input->cursors[shape] = SDL_CreateSystemCursor(systems[shape]);
    if (input->cursors[shape])
        SDL_SetCursor(input->cursors[shape]);
}

void input_sdl_tick(InputSdl *input)
{
    HostWants wants;
    if (!input->host || !input->window)
        return;
    if (!input->pads_open && ++input->pumps == PUMPS_BEFORE_PADS)
        input->pads_open = SDL_InitSubSystem(SDL_INIT_GAMECONTROLLER) == 0;
    host_wants(input->host, &wants);
    show_cursor(input, wants.cursor);
    if (wants.text != input->texting) {
        input->texting = wants.text;
        if (wants.text)
            SDL_StartTextInput();
        else
            SDL_StopTextInput();
    }
    if (!wants.text)
        return;
    float one = unit(input);
    int at[4];
    for (int i = 0; i < 4; i++) {
        float place = wants.area[i] / one;
        at[i] = place > AREA_MOST ? AREA_MOST : place < -AREA_MOST ? -AREA_MOST : (int)place;
    }
    SDL_Rect area = {at[0], at[1], at[2], at[3]};
    if (memcmp(&area, &input->area, sizeof area)) {
        input->area = area;
        SDL_SetTextInputRect(&area);
    }
}
