/* keel.input/1: what people do with mouse, keyboard, touch screen and gamepad; text from keyboards
 * and input methods; clipboard; things dropped on the window.
 *
 * It comes in two forms, which say the same: events (KEEL_EVENT_INPUT, in the order things
 * happened) and the state of this frame. Both are made of the slot's recorded inputs: an undone
 * frame gets them once more, a trial or a replay gets what was recorded.
 *
 *     if (keel_key_pressed(k, KEEL_KEY_SPACE))
 *         jump(game);
 *     if (keel_button_held(k, KEEL_BUTTON_LEFT))
 *         paint(game, keel_mouse(k)->x, keel_mouse(k)->y);
 *
 * Coordinates are those of keel.draw/1: logical pixels, origin top left, y downward. All slots that
 * share a window get all of its input. Without a window nothing comes, unless the embedding program
 * or `keel ctl input` gives some. All [frame]. */
#ifndef KEEL_INPUT_H
#define KEEL_INPUT_H

#include "context.h"

KEEL_BEGIN

#define KEEL_INPUT_1 "keel.input/1"

/* What happened; which members it sets stands beside it. `mods` is set wherever a keyboard is
 * known; what isn't set is 0. */
enum {
    KEEL_INPUT_KEY_DOWN = 1, /* code: the key; symbol; flags: REPEAT */
    KEEL_INPUT_KEY_UP = 2,   /* code; symbol */
    KEEL_INPUT_TEXT = 3,     /* text: what was typed, whole characters */
    KEEL_INPUT_COMPOSE = 4,  /* text: what an input method is composing, not typed yet, "" when it
                                ended; code: the caret's byte in it */
    KEEL_INPUT_MOVE = 5,     /* x, y: where the pointer is; dx, dy: moved by */
    KEEL_INPUT_BUTTON_DOWN = 6, /* code: KEEL_BUTTON_…; x, y; clicks: 2 for a double click */
    KEEL_INPUT_BUTTON_UP = 7,   /* code; x, y; clicks */
    KEEL_INPUT_WHEEL = 8, /* dx, dy: steps, to the right and away from the user; x, y: pointer */
    KEEL_INPUT_LEAVE = 9, /* the pointer has left the window */
    KEEL_INPUT_TOUCH_DOWN = 10, /* id: the finger; x, y; pressure */
    KEEL_INPUT_TOUCH_MOVE = 11, /* id; x, y; dx, dy; pressure */
    KEEL_INPUT_TOUCH_UP = 12,   /* id; x, y */
    KEEL_INPUT_PAD_ON = 13,     /* device: a gamepad's number, 0 to 3; text: its name */
    KEEL_INPUT_PAD_OFF = 14,    /* device */
    KEEL_INPUT_PAD_DOWN = 15,   /* device; code: KEEL_PAD_… */
    KEEL_INPUT_PAD_UP = 16,     /* device; code */
    KEEL_INPUT_PAD_AXIS = 17,   /* device; code: KEEL_AXIS_…; x: -1 to 1, triggers 0 to 1 */
    KEEL_INPUT_DROP_FILE = 18,  /* text: a path; x, y */
    KEEL_INPUT_DROP_TEXT = 19,  /* text; x, y */
    KEEL_INPUT_PASTE = 20,      /* text: the clipboard's, asked for by this slot; the event's tag */
    KEEL_INPUT_FOCUS = 21,      /* the window gets the keyboard */
    KEEL_INPUT_BLUR = 22,       /* it lost the keyboard: no key or button is held any more */
    KEEL_INPUT_RESIZE = 23      /* x, y: the window's width and height; dx: its scale */
};

/* KEEL_INPUT_KEY_DOWN comes from a key that is held. */
#define KEEL_INPUT_REPEAT 1u

enum {
    KEEL_MOD_SHIFT = 1,
    KEEL_MOD_CTRL = 2,
    KEEL_MOD_ALT = 4,
    KEEL_MOD_GUI = 8, /* the key with a window, or Command */
    KEEL_MOD_CAPS = 16,
    KEEL_MOD_NUM = 32
};

enum {
    KEEL_BUTTON_LEFT = 1,
    KEEL_BUTTON_MIDDLE = 2,
    KEEL_BUTTON_RIGHT = 3,
    KEEL_BUTTON_BACK = 4,
    KEEL_BUTTON_FORWARD = 5
};

/* Keys by their place on a US keyboard: usages of USB HID's keyboard page. ON(NAME, usage) */
/* clang-format off */
#define KEEL_KEYS(ON) \
    ON(A, 4) ON(B, 5) ON(C, 6) ON(D, 7) ON(E, 8) ON(F, 9) ON(G, 10) ON(H, 11) ON(I, 12) \
    ON(J, 13) ON(K, 14) ON(L, 15) ON(M, 16) ON(N, 17) ON(O, 18) ON(P, 19) ON(Q, 20) \
    ON(R, 21) ON(S, 22) ON(T, 23) ON(U, 24) ON(V, 25) ON(W, 26) ON(X, 27) ON(Y, 28) \
    ON(Z, 29) ON(1, 30) ON(2, 31) ON(3, 32) ON(4, 33) ON(5, 34) ON(6, 35) ON(7, 36) \
    ON(8, 37) ON(9, 38) ON(0, 39) ON(ENTER, 40) ON(ESCAPE, 41) ON(BACKSPACE, 42) \
    ON(TAB, 43) ON(SPACE, 44) ON(MINUS, 45) ON(EQUALS, 46) ON(LEFT_BRACKET, 47) \
    ON(RIGHT_BRACKET, 48) ON(BACKSLASH, 49) ON(SEMICOLON, 51) ON(APOSTROPHE, 52) \
    ON(GRAVE, 53) ON(COMMA, 54) ON(PERIOD, 55) ON(SLASH, 56) ON(CAPS_LOCK, 57) \
    ON(F1, 58) ON(F2, 59) ON(F3, 60) ON(F4, 61) ON(F5, 62) ON(F6, 63) ON(F7, 64) \
    ON(F8, 65) ON(F9, 66) ON(F10, 67) ON(F11, 68) ON(F12, 69) ON(PRINT_SCREEN, 70) \
    ON(SCROLL_LOCK, 71) ON(PAUSE, 72) ON(INSERT, 73) ON(HOME, 74) ON(PAGE_UP, 75) \
    ON(DELETE, 76) ON(END, 77) ON(PAGE_DOWN, 78) ON(RIGHT, 79) ON(LEFT, 80) ON(DOWN, 81) \
    ON(UP, 82) ON(NUM_LOCK, 83) ON(PAD_DIVIDE, 84) ON(PAD_MULTIPLY, 85) \
    ON(PAD_MINUS, 86) ON(PAD_PLUS, 87) ON(PAD_ENTER, 88) ON(PAD_1, 89) ON(PAD_2, 90) \
    ON(PAD_3, 91) ON(PAD_4, 92) ON(PAD_5, 93) ON(PAD_6, 94) ON(PAD_7, 95) ON(PAD_8, 96) \
    ON(PAD_9, 97) ON(PAD_0, 98) ON(PAD_PERIOD, 99) ON(NON_US, 100) ON(MENU, 101) \
    ON(LEFT_CTRL, 224) ON(LEFT_SHIFT, 225) ON(LEFT_ALT, 226) ON(LEFT_GUI, 227) \
    ON(RIGHT_CTRL, 228) ON(RIGHT_SHIFT, 229) ON(RIGHT_ALT, 230) ON(RIGHT_GUI, 231)
/* clang-format on */

#define KEEL_KEY_NUMBER_(name, usage) KEEL_KEY_##name = usage,
enum { KEEL_KEYS(KEEL_KEY_NUMBER_) KEEL_KEY_COUNT = 256 };
#undef KEEL_KEY_NUMBER_

/* Buttons and axes of a gamepad, by place; the letters are those of an Xbox pad. */
enum {
    KEEL_PAD_A = 0,
    KEEL_PAD_B = 1,
    KEEL_PAD_X = 2,
    KEEL_PAD_Y = 3,
    KEEL_PAD_BACK = 4,
    KEEL_PAD_GUIDE = 5,
    KEEL_PAD_START = 6,
    KEEL_PAD_LEFT_STICK = 7,
    KEEL_PAD_RIGHT_STICK = 8,
    KEEL_PAD_LEFT_SHOULDER = 9,
    KEEL_PAD_RIGHT_SHOULDER = 10,
    KEEL_PAD_UP = 11,
    KEEL_PAD_DOWN = 12,
    KEEL_PAD_LEFT = 13,
    KEEL_PAD_RIGHT = 14
};
enum {
    KEEL_AXIS_LEFT_X = 0,
    KEEL_AXIS_LEFT_Y = 1, /* down is positive */
    KEEL_AXIS_RIGHT_X = 2,
    KEEL_AXIS_RIGHT_Y = 3,
    KEEL_AXIS_LEFT_TRIGGER = 4,
    KEEL_AXIS_RIGHT_TRIGGER = 5
};

/* The data of a KEEL_EVENT_INPUT. `text_bytes` bytes of UTF-8 lie behind its `size` bytes, and a 0
 * behind them. */
struct keel_input {
    uint32_t size;
    uint32_t what; /* KEEL_INPUT_… */
    uint32_t code;
    uint32_t mods; /* KEEL_MOD_… */
    uint32_t flags;
    uint32_t symbol; /* the character on the key in the user's layout, unshifted; for shortcuts */
    float x, y, dx, dy;
    float pressure; /* 0 to 1 */
    uint32_t device;
    uint32_t clicks;
    uint32_t text_bytes;
    uint64_t id;
};

enum { KEEL_INPUT_TOUCHES = 10, KEEL_INPUT_PADS = 4 };

struct keel_touch {
    uint64_t id;
    float x, y, pressure;
    uint32_t flags; /* KEEL_TOUCH_…; 0: no finger */
};

#define KEEL_TOUCH_HELD 1u
#define KEEL_TOUCH_PRESSED 2u  /* came down in this frame */
#define KEEL_TOUCH_RELEASED 4u /* lifted in this frame */

struct keel_pad {
    uint32_t connected;
    uint32_t held, pressed, released; /* a bit a button: 1 << KEEL_PAD_… */
    float axes[6];
};

/* How things stand in this frame, after all of its events. Pressed and released are what happened
 * since the frame before; both may be set, when it was fast. */
struct keel_input_state {
    uint32_t size;
    uint32_t flags;                   /* KEEL_STATE_… */
    float x, y;                       /* the pointer, where it was last */
    float dx, dy;                     /* moved since the frame before */
    float wheel_x, wheel_y;           /* steps since the frame before */
    uint32_t held, pressed, released; /* a bit a mouse button: 1 << KEEL_BUTTON_… */
    uint32_t mods;
    uint32_t clicks; /* of the last press */
    uint32_t reserved;
    uint64_t keys[4], keys_pressed[4], keys_released[4]; /* a bit a key, see keel_key_in */
    struct keel_touch touches[KEEL_INPUT_TOUCHES];
    struct keel_pad pads[KEEL_INPUT_PADS];
};

#define KEEL_STATE_FOCUSED 1u /* the window has the keyboard */
#define KEEL_STATE_INSIDE 2u  /* the pointer is over the window */

/* What the pointer looks like. */
enum {
    KEEL_CURSOR_ARROW = 0,
    KEEL_CURSOR_TEXT = 1,
    KEEL_CURSOR_HAND = 2,
    KEEL_CURSOR_CROSS = 3,
    KEEL_CURSOR_SIZE_X = 4, /* to drag an edge left and right */
    KEEL_CURSOR_SIZE_Y = 5,
    KEEL_CURSOR_SIZE_ALL = 6,
    KEEL_CURSOR_NO = 7,
    KEEL_CURSOR_HIDDEN = 8
};

enum { KEEL_CLIPBOARD_BYTES_MOST = 16 << 20 };

struct keel_input_1 {
    uint32_t size;
    uint32_t reserved;

    /* The state of this frame; lent until the module returns. NULL outside a frame's calls. */
    const struct keel_input_state *(*state)(keel *k);
    /* The inputs of this frame in order: the one after `after`, the first for NULL; NULL at the
     * end. Lent until the module returns. */
    const struct keel_input *(*next)(keel *k, const struct keel_input *after);

    /* Each holds for one frame, ask again in the next. Text is wanted, near this rectangle: only
     * then KEEL_INPUT_TEXT and KEEL_INPUT_COMPOSE come. */
    int32_t (*text_area)(keel *k, float x, float y, float w, float h);
    int32_t (*cursor)(keel *k, uint32_t shape); /* KEEL_CURSOR_… */

    /* Takes effect at the end of the frame; UTF-8, copied now. KEEL_ELIMIT above 16 MiB. */
    int32_t (*clipboard_put)(keel *k, const char *text, uint64_t bytes);
    /* The clipboard's text comes as KEEL_INPUT_PASTE in a later frame, with this tag. */
    int32_t (*clipboard_ask)(keel *k, uint64_t tag);
};

static inline const struct keel_input_1 *keel_input_service_(keel *k)
{
    static const struct keel_input_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_input_1 *)k->service(k, KEEL_INPUT_1, sizeof *table);
    return table;
}

/* Never NULL: all zero where there is none. */
static inline const struct keel_input_state *keel_input_now(keel *k)
{
    static struct keel_input_state none KEEL_CACHE;
    const struct keel_input_1 *table = keel_input_service_(k);
    const struct keel_input_state *state = table ? table->state(k) : NULL;
    return state ? state : &none;
}

/* The same, by what it is mostly asked for. */
static inline const struct keel_input_state *keel_mouse(keel *k)
{
    return keel_input_now(k);
}

static inline const struct keel_input *keel_input_next(keel *k, const struct keel_input *after)
{
    const struct keel_input_1 *table = keel_input_service_(k);
    return table ? table->next(k, after) : NULL;
}

/* The input that an event brings, or NULL for other events. */
static inline const struct keel_input *keel_event_input(const struct keel_event *e)
{
    return e->kind == KEEL_EVENT_INPUT && e->data_bytes >= sizeof(struct keel_input)
               ? (const struct keel_input *)e->data
               : NULL;
}

/* Its text, "" for none. */
static inline const char *keel_input_text(const struct keel_input *in)
{
    return (const char *)in + in->size;
}

static inline int keel_key_in(const uint64_t keys[4], uint32_t key)
{
    return key < KEEL_KEY_COUNT && (keys[key / 64] >> key % 64 & 1u) != 0;
}

static inline int keel_key_held(keel *k, uint32_t key)
{
    return keel_key_in(keel_input_now(k)->keys, key);
}

static inline int keel_key_pressed(keel *k, uint32_t key)
{
    return keel_key_in(keel_input_now(k)->keys_pressed, key);
}

static inline int keel_key_released(keel *k, uint32_t key)
{
    return keel_key_in(keel_input_now(k)->keys_released, key);
}

static inline int keel_button_held(keel *k, uint32_t button)
{
    return button < 32 && (keel_input_now(k)->held >> button & 1u) != 0;
}

static inline int keel_button_pressed(keel *k, uint32_t button)
{
    return button < 32 && (keel_input_now(k)->pressed >> button & 1u) != 0;
}

static inline int keel_button_released(keel *k, uint32_t button)
{
    return button < 32 && (keel_input_now(k)->released >> button & 1u) != 0;
}

static inline int32_t keel_text_area(keel *k, float x, float y, float w, float h)
{
    const struct keel_input_1 *table = keel_input_service_(k);
    return table ? table->text_area(k, x, y, w, h) : (int32_t)KEEL_ENOSERVICE;
}

static inline int32_t keel_cursor(keel *k, uint32_t shape)
{
    const struct keel_input_1 *table = keel_input_service_(k);
    return table ? table->cursor(k, shape) : (int32_t)KEEL_ENOSERVICE;
}

static inline int32_t keel_clipboard_put(keel *k, const char *text, uint64_t bytes)
{
    const struct keel_input_1 *table = keel_input_service_(k);
    return table ? table->clipboard_put(k, text, bytes) : (int32_t)KEEL_ENOSERVICE;
}

static inline int32_t keel_clipboard_ask(keel *k, uint64_t tag)
{
    const struct keel_input_1 *table = keel_input_service_(k);
    return table ? table->clipboard_ask(k, tag) : (int32_t)KEEL_ENOSERVICE;
}

KEEL_END

#endif
