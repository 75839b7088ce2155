/* Reads the steps of `keel ctl input`. Owns what it has read until it is handed over. */
#include "control/input_words.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Words {
    Slot *slot;
    HostInputStep *steps;
    uint32_t count, room;
    Error *err;
    const char *step; /* being read */
} Words;

static int wrong(const Words *words, const char *usage)
{
    return err_set(words->err, KEEL_EINVAL, "can't read the step \"%.60s\": %s", words->step,
                   usage);
}

/* One more step, or NULL. */
static HostInputStep *add(Words *words, uint32_t what)
{
    if (words->count == INPUT_WORDS_MOST)
        return NULL;
    if (words->count == words->room) {
        uint32_t room = words->room ? words->room * 2 : 32;
        HostInputStep *grown = realloc(words->steps, room * sizeof *grown);
        if (!grown)
            return NULL;
        words->steps = grown;
        words->room = room;
    }
    HostInputStep *step = &words->steps[words->count++];
    *step =
        (HostInputStep){.slot = words->slot, .input = {.size = sizeof step->input, .what = what}};
    return step;
}

static int full(const Words *words)
{
    return err_set(words->err, KEEL_ELIMIT, "more than %d steps", INPUT_WORDS_MOST);
}

/* Reads up to `most` numbers; how many there were, -1 when something else is there. */
static int numbers(const char *text, float *ret, int most)
{
    int count = 0;
    for (;;) {
        while (*text == ' ')
            text++;
        if (!*text)
            return count;
        char *end;
        double value = strtod(text, &end);
        if (end == text || count == most || !isfinite(value) || fabs(value) > 1e6)
            return -1;
        ret[count++] = (float)value;
        text = end;
    }
}

static uint32_t button_of(const char *name)
{
    static const char *const names[] = {"left", "middle", "right", "back", "forward"};
    if (!*name)
        return KEEL_BUTTON_LEFT;
    for (uint32_t i = 0; i < 5; i++)
        if (!strcmp(name, names[i]))
            return i + 1;
    return 0;
}

static int move(Words *words, const char *rest)
{
    float at[2];
    if (numbers(rest, at, 2) != 2)
        return wrong(words, "move takes X and Y, as in 'move 10 20'");
    HostInputStep *step = add(words, KEEL_INPUT_MOVE);
    if (!step)
        return full(words);
    step->input.x = at[0];
    step->input.y = at[1];
    return KEEL_OK;
}

static int press(Words *words, uint32_t what, const char *button)
{
    uint32_t code = button_of(button);
    if (!code)
        return wrong(words, "buttons are left, middle, right, back and forward");
    HostInputStep *step = add(words, what);
    if (!step)
        return full(words);
    step->here = 1;
    step->input.code = code;
    step->input.clicks = 1;
    return KEEL_OK;
}

static int down(Words *words, const char *rest)
{
    return press(words, KEEL_INPUT_BUTTON_DOWN, rest);
}

static int up(Words *words, const char *rest)
{
    return press(words, KEEL_INPUT_BUTTON_UP, rest);
}

static int click(Words *words, const char *rest)
{
    char place[64];
    int letters = (int)strcspn(rest, "abcdefghijklmnopqrstuvwxyz");
    snprintf(place, sizeof place, "%.*s", letters, rest);
    int rc = move(words, place);
    if (!rc)
        rc = down(words, rest + letters);
    return rc ? rc : up(words, rest + letters);
}

static int wheel(Words *words, const char *rest)
{
    float by[2];
    if (numbers(rest, by, 2) != 2)
        return wrong(words, "wheel takes DX and DY, as in 'wheel 0 -1'");
    HostInputStep *step = add(words, KEEL_INPUT_WHEEL);
    if (!step)
        return full(words);
    step->here = 1;
    step->input.dx = by[0];
    step->input.dy = by[1];
    return KEEL_OK;
}

static const struct {
    const char *name;
    uint32_t usage;
} keys[] = {
#define KEY_ROW(name, usage) {#name, usage},
    KEEL_KEYS(KEY_ROW)
#undef KEY_ROW
};

static uint32_t key_of(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcasecmp(keys[i].name, name))
            return keys[i].usage;
    return 0;
}

static uint32_t symbol_of(uint32_t code)
{
    if (code >= KEEL_KEY_A && code <= KEEL_KEY_Z)
        return 'a' + code - KEEL_KEY_A;
    return code >= KEEL_KEY_1 && code <= KEEL_KEY_9 ? '1' + code - KEEL_KEY_1
           : code == KEEL_KEY_0                     ? '0'
                                                    : 0;
}

static int key(Words *words, const char *rest, int is_down, int is_up)
{
    static const struct {
        const char *name;
        uint32_t mod;
    } mods[] = {{"shift+", KEEL_MOD_SHIFT},
                {"ctrl+", KEEL_MOD_CTRL},
                {"alt+", KEEL_MOD_ALT},
                {"gui+", KEEL_MOD_GUI}};
    uint32_t held = 0;
    for (int i = 0; i < 4; i++)
        if (!strncasecmp(rest, mods[i].name, strlen(mods[i].name))) {
            held |= mods[i].mod;
            rest += strlen(mods[i].name);
            i = -1;
        }
    uint32_t code = key_of(rest);
    if (!code)
        return wrong(words, "keys are called a, 1, enter, left, f1, left_shift …, with shift+, "
                            "ctrl+, alt+ or gui+ before them");
    for (int n = 0; n < 2; n++) {
        if (!(n ? is_up : is_down))
            continue;
        HostInputStep *step = add(words, n ? KEEL_INPUT_KEY_UP : KEEL_INPUT_KEY_DOWN);
        if (!step)
            return full(words);
        step->input.code = code;
        step->input.symbol = symbol_of(code);
        step->input.mods = held;
    }
    return KEEL_OK;
}

static int key_both(Words *words, const char *rest)
{
    return key(words, rest, 1, 1);
}

static int key_down(Words *words, const char *rest)
{
    return key(words, rest, 1, 0);
}

static int key_up(Words *words, const char *rest)
{
    return key(words, rest, 0, 1);
}

static int text_of(Words *words, uint32_t what, const char *rest)
{
    HostInputStep *step = add(words, what);
    if (!step)
        return full(words);
    step->here = what == KEEL_INPUT_DROP_TEXT;
    step->text = strdup(rest);
    if (!step->text)
        return err_set(words->err, KEEL_ENOMEM, "no memory for a step");
    if (what == KEEL_INPUT_COMPOSE)
        step->input.code = (uint32_t)strlen(rest);
    return KEEL_OK;
}

static int text(Words *words, const char *rest)
{
    return text_of(words, KEEL_INPUT_TEXT, rest);
}

static int compose(Words *words, const char *rest)
{
    return text_of(words, KEEL_INPUT_COMPOSE, rest);
}

static int paste(Words *words, const char *rest)
{
    return text_of(words, KEEL_INPUT_PASTE, rest);
}

static int drop(Words *words, const char *rest)
{
    return text_of(words, KEEL_INPUT_DROP_TEXT, rest);
}

static int resize(Words *words, const char *rest)
{
    float to[3] = {0, 0, 1};
    if (numbers(rest, to, 3) < 2 || to[0] < 1 || to[1] < 1 || to[2] <= 0)
        return wrong(words, "resize takes WIDTH and HEIGHT and may have SCALE");
    HostInputStep *step = add(words, KEEL_INPUT_RESIZE);
    if (!step)
        return full(words);
    step->input.x = to[0];
    step->input.y = to[1];
    step->input.dx = to[2];
    return KEEL_OK;
}

static int plain(Words *words, uint32_t what, const char *rest)
{
    if (*rest)
        return wrong(words, "it takes nothing more");
    return add(words, what) ? KEEL_OK : full(words);
}

static int leave(Words *words, const char *rest)
{
    return plain(words, KEEL_INPUT_LEAVE, rest);
}

static int focus(Words *words, const char *rest)
{
    return plain(words, KEEL_INPUT_FOCUS, rest);
}

static int blur(Words *words, const char *rest)
{
    return plain(words, KEEL_INPUT_BLUR, rest);
}

static int frame(Words *words, const char *rest)
{
    float count = 1;
    if (numbers(rest, &count, 1) < 0 || count < 1)
        return wrong(words, "frame may have a number of frames, as in 'frame 10'");
    for (int i = 0; i < (int)count; i++) {
        HostInputStep *step = add(words, 0);
        if (!step)
            return full(words);
        step->frame = 1;
    }
    return KEEL_OK;
}

static int read_step(Words *words, const char *said)
{
    static const struct {
        const char *name;
        int (*read)(Words *words, const char *rest);
    } verbs[] = {{"move", move},        {"down", down},    {"up", up},
                 {"click", click},      {"wheel", wheel},  {"key", key_both},
                 {"keydown", key_down}, {"keyup", key_up}, {"text", text},
                 {"compose", compose},  {"paste", paste},  {"drop", drop},
                 {"resize", resize},    {"leave", leave},  {"focus", focus},
                 {"blur", blur},        {"frame", frame}};
    words->step = said;
    size_t length = strcspn(said, " ");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strlen(verbs[i].name) == length && !strncmp(said, verbs[i].name, length))
            return verbs[i].read(words, said[length] ? said + length + 1 : said + length);
    return wrong(words, "it begins with move, down, up, click, wheel, key, keydown, keyup, text, "
                        "compose, paste, drop, resize, leave, focus, blur or frame");
}

int input_words_read(const json_t *steps, Slot *slot, HostInputStep **ret_steps,
                     uint32_t *ret_count, Error *err)
{
    if (!json_array_size(steps))
        return err_set(err, KEEL_EINVAL, "input takes steps, a list of strings, and may have slot");
    Words words = {.slot = slot, .err = err};
    int rc = KEEL_OK;
    for (size_t i = 0; i < json_array_size(steps) && !rc; i++) {
        const char *text = json_string_value(json_array_get(steps, i));
        rc = text ? read_step(&words, text) : err_set(err, KEEL_EINVAL, "a step is a string");
    }
    if (rc) {
        host_input_steps_free(words.steps, words.count);
        return rc;
    }
    *ret_steps = words.steps;
    *ret_count = words.count;
    return KEEL_OK;
}
