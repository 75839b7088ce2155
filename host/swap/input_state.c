/* Folds inputs into the state of keys, buttons, fingers and gamepads. Owns nothing. Frame thread.
 */
#include "swap/input_state.h"

#include <math.h>
#include <string.h>

const struct keel_input *input_of_event(const struct keel_event *event)
{
    const struct keel_input *input = event->data;
    if (event->kind != KEEL_EVENT_INPUT || event->data_bytes < sizeof *input ||
        input->size < sizeof *input || input->size > event->data_bytes ||
        input->text_bytes >= event->data_bytes - input->size)
        return NULL;
    return input;
}

int input_state_plain(const struct keel_input_state *state)
{
    struct keel_input_state plain = {.size = state->size};
    return !memcmp(&plain, state, sizeof plain);
}

void input_state_next(struct keel_input_state *state)
{
    state->size = sizeof *state;
    state->dx = state->dy = state->wheel_x = state->wheel_y = 0;
    state->pressed = state->released = 0;
    memset(state->keys_pressed, 0, sizeof state->keys_pressed);
    memset(state->keys_released, 0, sizeof state->keys_released);
    for (int i = 0; i < KEEL_INPUT_TOUCHES; i++) {
        struct keel_touch *touch = &state->touches[i];
        if (touch->flags & KEEL_TOUCH_HELD)
            touch->flags = KEEL_TOUCH_HELD;
        else
            *touch = (struct keel_touch){0};
    }
    for (int i = 0; i < KEEL_INPUT_PADS; i++)
        state->pads[i].pressed = state->pads[i].released = 0;
}

static void key(struct keel_input_state *state, uint32_t code, int down, int repeat)
{
    if (code >= KEEL_KEY_COUNT)
        return;
    uint64_t bit = UINT64_C(1) << code % 64;
    uint64_t *held = &state->keys[code / 64];
    if (down && !repeat)
        state->keys_pressed[code / 64] |= bit;
    if (!down && *held & bit)
        state->keys_released[code / 64] |= bit;
    *held = down ? *held | bit : *held & ~bit;
}

static void press(uint32_t *held, uint32_t *pressed, uint32_t *released, uint32_t code, int down)
{
    if (code >= 32)
        return;
    uint32_t bit = UINT32_C(1) << code;
    if (down)
        *pressed |= bit;
    else if (*held & bit)
        *released |= bit;
    *held = down ? *held | bit : *held & ~bit;
}

static void point(struct keel_input_state *state, const struct keel_input *input)
{
    if (!isfinite(input->x) || !isfinite(input->y))
        return;
    state->x = input->x;
    state->y = input->y;
    state->flags |= KEEL_STATE_INSIDE;
}

static float plus(float sum, float more)
{
    return isfinite(sum + more) ? sum + more : sum;
}

static void touch(struct keel_input_state *state, const struct keel_input *input)
{
    struct keel_touch *free_one = NULL, *its = NULL;
    for (int i = 0; i < KEEL_INPUT_TOUCHES && !its; i++) {
        struct keel_touch *one = &state->touches[i];
        if (one->flags & KEEL_TOUCH_HELD && one->id == input->id)
            its = one;
        else if (!one->flags && !free_one)
            free_one = one;
    }
    if (input->what == KEEL_INPUT_TOUCH_DOWN && !its && free_one) {
        its = free_one;
        *its = (struct keel_touch){.id = input->id, .flags = KEEL_TOUCH_HELD | KEEL_TOUCH_PRESSED};
    }
    if (!its || !isfinite(input->x) || !isfinite(input->y))
        return;
    its->x = input->x;
    its->y = input->y;
    its->pressure = isfinite(input->pressure) ? input->pressure : 0;
    if (input->what == KEEL_INPUT_TOUCH_UP)
        its->flags = (its->flags & ~KEEL_TOUCH_HELD) | KEEL_TOUCH_RELEASED;
}

static void pad(struct keel_input_state *state, const struct keel_input *input)
{
    if (input->device >= KEEL_INPUT_PADS)
        return;
    struct keel_pad *pad = &state->pads[input->device];
    switch (input->what) {
    case KEEL_INPUT_PAD_ON:
        *pad = (struct keel_pad){.connected = 1};
        break;
    case KEEL_INPUT_PAD_OFF:
        *pad = (struct keel_pad){.released = pad->held};
        break;
    case KEEL_INPUT_PAD_AXIS:
        if (input->code < sizeof pad->axes / sizeof *pad->axes && isfinite(input->x))
            pad->axes[input->code] = input->x;
        break;
    default:
        press(&pad->held, &pad->pressed, &pad->released, input->code,
              input->what == KEEL_INPUT_PAD_DOWN);
    }
}

static void blur(struct keel_input_state *state)
{
    state->flags &= ~KEEL_STATE_FOCUSED;
    state->released |= state->held;
    state->held = 0;
    state->mods = 0;
    for (int i = 0; i < 4; i++) {
        state->keys_released[i] |= state->keys[i];
        state->keys[i] = 0;
    }
}

void input_state_fold(struct keel_input_state *state, const struct keel_input *input)
{
    int down = input->what == KEEL_INPUT_KEY_DOWN || input->what == KEEL_INPUT_BUTTON_DOWN;
    switch (input->what) {
    case KEEL_INPUT_KEY_DOWN:
    case KEEL_INPUT_KEY_UP:
        state->mods = input->mods;
        key(state, input->code, down, (input->flags & KEEL_INPUT_REPEAT) != 0);
        break;
    case KEEL_INPUT_MOVE:
        point(state, input);
        state->dx = plus(state->dx, input->dx);
        state->dy = plus(state->dy, input->dy);
        break;
    case KEEL_INPUT_BUTTON_DOWN:
    case KEEL_INPUT_BUTTON_UP:
        point(state, input);
        state->mods = input->mods;
        press(&state->held, &state->pressed, &state->released, input->code, down);
        if (down)
            state->clicks = input->clicks;
        break;
    case KEEL_INPUT_WHEEL:
        state->wheel_x = plus(state->wheel_x, input->dx);
        state->wheel_y = plus(state->wheel_y, input->dy);
        break;
    case KEEL_INPUT_LEAVE:
        state->flags &= ~KEEL_STATE_INSIDE;
        break;
    case KEEL_INPUT_TOUCH_DOWN:
    case KEEL_INPUT_TOUCH_MOVE:
    case KEEL_INPUT_TOUCH_UP:
        touch(state, input);
        break;
    case KEEL_INPUT_PAD_ON:
    case KEEL_INPUT_PAD_OFF:
    case KEEL_INPUT_PAD_DOWN:
    case KEEL_INPUT_PAD_UP:
    case KEEL_INPUT_PAD_AXIS:
        pad(state, input);
        break;
    case KEEL_INPUT_FOCUS:
        state->flags |= KEEL_STATE_FOCUSED;
        break;
    case KEEL_INPUT_BLUR:
        blur(state);
        break;
    default:
        break;
    }
}
