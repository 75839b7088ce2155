/* keel/ui.h: what is done with mouse and keyboard is told; text is edited whole character by whole
 * character and never beyond its room. Against a host made up here: letters are 10 wide, and
 * everything drawn is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <keel/keel.h>
#include <keel/ui.h>

/* ---- the host ---- */

enum { DONE_MOST = 64 };

typedef struct Typed {
    struct keel_input input; /* its text lies behind it */
    char text[64];
} Typed;

static struct keel_input_state state;
static Typed typed[DONE_MOST];
static int typed_count;
static char clipboard[256];
static int asked, text_areas;
static float caret_x;
static int64_t now;
static long drawn;

static const struct keel_input_state *host_state(keel *k)
{
    (void)k;
    return &state;
}

static const struct keel_input *host_next(keel *k, const struct keel_input *after)
{
    (void)k;
    int i = after ? (int)((const Typed *)after - typed) + 1 : 0;
    return i < typed_count ? &typed[i].input : NULL;
}

static int32_t host_area(keel *k, float x, float y, float w, float h)
{
    (void)k, (void)y, (void)w, (void)h;
    text_areas++;
    caret_x = x;
    return 0;
}

static int32_t host_cursor(keel *k, uint32_t shape)
{
    (void)k, (void)shape;
    return 0;
}

static int32_t host_put(keel *k, const char *text, uint64_t bytes)
{
    (void)k;
    snprintf(clipboard, sizeof clipboard, "%.*s", (int)bytes, text);
    return 0;
}

static int32_t host_ask(keel *k, uint64_t tag)
{
    (void)k, (void)tag;
    asked++;
    return 0;
}

static const struct keel_input_1 input_table = {
    sizeof input_table, 0, host_state, host_next, host_area, host_cursor, host_put, host_ask};

static int32_t text_size(keel *k, const char *text, uint64_t bytes, const struct keel_font *font,
                         struct keel_text_size *ret)
{
    (void)k, (void)font;
    ret->width = 0;
    for (uint64_t i = 0; i < bytes; i++)
        ret->width += ((unsigned char)text[i] & 0xc0) != 0x80 ? 10 : 0;
    ret->height = 16;
    return 0;
}

static int32_t draw_text(keel *k, float x, float y, const char *text, uint64_t bytes,
                         const struct keel_font *font, keel_paint paint)
{
    (void)k, (void)x, (void)y, (void)text, (void)bytes, (void)font, (void)paint;
    drawn++;
    return 0;
}

static int32_t rect(keel *k, float x, float y, float w, float h, float radius, float stroke,
                    keel_paint paint)
{
    (void)k, (void)x, (void)y, (void)w, (void)h, (void)radius, (void)stroke, (void)paint;
    drawn++;
    return 0;
}

static int32_t ellipse(keel *k, float x, float y, float rx, float ry, float stroke,
                       keel_paint paint)
{
    (void)k, (void)x, (void)y, (void)rx, (void)ry, (void)stroke, (void)paint;
    return 0;
}

static int32_t path(keel *k, const struct keel_point *points, uint32_t count,
                    const struct keel_path *style, keel_paint paint)
{
    (void)k, (void)style, (void)paint;
    for (uint32_t i = 0; i < count; i++) /* all of them are there, and are numbers */
        assert_true(points[i].x == points[i].x && points[i].y == points[i].y);
    return 0;
}

static keel_paint gradient(keel *k, uint32_t kind, const float where[4],
                           const struct keel_stop *stops, uint32_t count)
{
    (void)k, (void)kind, (void)where, (void)stops, (void)count;
    return 1;
}

static int depth;

static int32_t push(keel *k)
{
    (void)k;
    depth++;
    return 0;
}

static int32_t pop(keel *k)
{
    (void)k;
    depth--;
    return 0;
}

static int32_t clip(keel *k, float x, float y, float w, float h, float radius)
{
    (void)k, (void)x, (void)y, (void)w, (void)h, (void)radius;
    return 0;
}

static const struct keel_draw_1 draw_table = {.size = sizeof draw_table,
                                              .push = push,
                                              .pop = pop,
                                              .clip = clip,
                                              .gradient = gradient,
                                              .rect = rect,
                                              .ellipse = ellipse,
                                              .path = path,
                                              .text = draw_text,
                                              .text_size = text_size};

static int64_t now_ns(keel *k)
{
    (void)k;
    return now;
}

static const struct keel_time_1 time_table = {.size = sizeof time_table, .now_ns = now_ns};

static const void *service(keel *k, const char *id, uint32_t size)
{
    (void)k, (void)size;
    return !strcmp(id, KEEL_DRAW_1)    ? (const void *)&draw_table
           : !strcmp(id, KEEL_INPUT_1) ? (const void *)&input_table
           : !strcmp(id, KEEL_TIME_1)  ? (const void *)&time_table
                                       : NULL;
}

static keel context = {.size = sizeof context, .service = service};

/* ---- what somebody does ---- */

static void nothing(void)
{
    state.pressed = state.released = 0;
    memset(state.keys_pressed, 0, sizeof state.keys_pressed);
    typed_count = 0;
    state.wheel_y = 0;
    state.clicks = 1;
    now += 16000000;
}

static void point(float x, float y)
{
    state.flags = KEEL_STATE_INSIDE | KEEL_STATE_FOCUSED;
    state.x = x;
    state.y = y;
}

static void button(uint32_t what)
{
    Typed *one = &typed[typed_count++];
    *one = (Typed){.input = {.size = sizeof one->input,
                             .what = what,
                             .code = KEEL_BUTTON_LEFT,
                             .x = state.x,
                             .y = state.y}};
}

static void press(void)
{
    state.held = state.pressed = 1 << KEEL_BUTTON_LEFT;
    button(KEEL_INPUT_BUTTON_DOWN);
}

static void let_go(void)
{
    state.held = 0;
    state.released = 1 << KEEL_BUTTON_LEFT;
    button(KEEL_INPUT_BUTTON_UP);
}

static void add(uint32_t what, uint32_t code, uint32_t mods, const char *text)
{
    Typed *one = &typed[typed_count++];
    *one = (Typed){
        .input = {.size = sizeof one->input,
                  .what = what,
                  .code = code,
                  .mods = mods,
                  .symbol = code >= KEEL_KEY_A && code <= KEEL_KEY_Z ? 'a' + code - KEEL_KEY_A : 0,
                  .text_bytes = (uint32_t)strlen(text)}};
    strcpy(one->text, text);
    if (what == KEEL_INPUT_KEY_DOWN)
        state.keys_pressed[code / 64] |= UINT64_C(1) << code % 64;
    state.mods = mods;
}

/* ---- a form ---- */

typedef struct Form {
    struct keel_ui ui;
    float level;
    int32_t on, chosen;
    int pressed, changed, field;
    char name[16];
} Form;

static const char *const lines[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

static void run(Form *f)
{
    float values[3] = {0, 1e30f, 0.0f / 1};
    keel_ui_begin(&context, &f->ui);
    keel_ui_panel(&f->ui, "Form", 0, 0, 300);
    f->pressed = keel_ui_button(&f->ui, "Press");
    f->changed = keel_ui_slider(&f->ui, "Level", &f->level, 0, 10);
    keel_ui_checkbox(&f->ui, "On", &f->on);
    f->field = keel_ui_field(&f->ui, "Name", f->name, sizeof f->name);
    keel_ui_list(&f->ui, "Lines", lines, 8, &f->chosen, 3);
    keel_ui_plot(&f->ui, "Plot", values, 3, 0, 1, 50);
    keel_ui_panel_end(&f->ui);
    keel_ui_end(&f->ui);
    assert_int_equal(depth, 0);
    assert_null(f->ui.k); /* no address of the host stays in the state */
    assert_null(f->ui.in);
    nothing();
}

static Form fresh(void)
{
    memset(&state, 0, sizeof state);
    state.size = sizeof state;
    typed_count = asked = text_areas = 0;
    Form form = {.chosen = -1};
    run(&form);
    return form;
}

/* Middles of the rows: padding 16, title 18.2 and gap 10, rows of 28 with gaps of 10. */
enum { BUTTON_Y = 58, SLIDER_Y = 96, CHECK_Y = 134, FIELD_Y = 172, LIST_Y = 196, MIDDLE_X = 180 };

static void a_button_is_pressed_when_let_go_over_it(void **unused)
{
    (void)unused;
    Form f = fresh();
    point(MIDDLE_X, BUTTON_Y);
    press();
    run(&f);
    assert_false(f.pressed);
    assert_true(keel_ui_busy(&f.ui));
    let_go();
    run(&f);
    assert_true(f.pressed);
    press();
    run(&f);
    point(MIDDLE_X, 900); /* drawn away: not meant */
    let_go();
    run(&f);
    assert_false(f.pressed);
    point(MIDDLE_X, BUTTON_Y); /* pressed and let go within a frame */
    press();
    let_go();
    run(&f);
    assert_true(f.pressed);
    point(MIDDLE_X, BUTTON_Y); /* and quickly gone */
    press();
    let_go();
    point(MIDDLE_X, 700);
    run(&f);
    assert_true(f.pressed);
    point(MIDDLE_X, 900); /* beside all: the keyboard is nobody's */
    press();
    run(&f);
    let_go();
    run(&f);
    assert_false(keel_ui_busy(&f.ui));
}

static void a_slider_follows_also_outside(void **unused)
{
    (void)unused;
    Form f = fresh();
    point(MIDDLE_X, SLIDER_Y);
    press();
    run(&f);
    assert_true(f.changed && f.level > 3 && f.level < 7);
    float before = f.level;
    point(MIDDLE_X + 20, 700);
    run(&f);
    assert_true(f.level > before);
    point(9000, 700);
    run(&f);
    assert_true(f.level == 10);
    let_go();
    run(&f);
    point(MIDDLE_X, SLIDER_Y);
    run(&f);
    assert_true(f.level == 10);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_LEFT, 0, "");
    run(&f);
    assert_true(f.level > 9.85f && f.level < 9.95f);
    f.level = 0.0f / (float)(f.level < 0); /* a NaN in the state is put right */
    f.level = __builtin_nanf("");
    run(&f);
    assert_true(f.level == 0);
    f.level = 0;
    point(MIDDLE_X, SLIDER_Y); /* pressed, and off before the frame came */
    press();
    point(9000, 700);
    run(&f);
    assert_true(f.level == 10);
    let_go();
    run(&f);
    point(40, SLIDER_Y); /* its label isn't part of it */
    press();
    run(&f);
    assert_false(f.changed);
}

static void tab_goes_around(void **unused)
{
    (void)unused;
    Form f = fresh();
    uint64_t seen[6];
    for (int i = 0; i < 6; i++) {
        add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_TAB, 0, "");
        if (i == 0) { /* from nowhere: the first click gives the keyboard */
            nothing();
            point(MIDDLE_X, BUTTON_Y);
            press();
        }
        run(&f);
        if (i == 0) {
            let_go();
            run(&f);
        }
        seen[i] = f.ui.focus;
        for (int n = 0; n < i && n < 5; n++)
            if (i < 5)
                assert_int_not_equal(seen[n], seen[i]);
    }
    assert_int_equal(seen[5], seen[0]); /* five widgets take the keyboard */
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_TAB, 0, "");
    run(&f);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_TAB, KEEL_MOD_SHIFT, "");
    run(&f);
    assert_int_equal(f.ui.focus, seen[0]);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_ENTER, 0, "");
    run(&f);
    assert_true(f.pressed);
}

static void boxes_and_lists(void **unused)
{
    (void)unused;
    Form f = fresh();
    point(24, CHECK_Y);
    press();
    run(&f);
    let_go();
    run(&f);
    assert_int_equal(f.on, 1);
    point(60, LIST_Y + 4 + 24 + 12); /* the second row */
    press();
    run(&f);
    let_go();
    run(&f);
    assert_int_equal(f.chosen, 1);
    state.wheel_y = -1; /* 28 px: the row below moves under the pointer */
    run(&f);
    press();
    run(&f);
    let_go();
    run(&f);
    assert_int_equal(f.chosen, 2);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_END, 0, "");
    run(&f);
    assert_int_equal(f.chosen, 7);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_DOWN, 0, "");
    run(&f);
    assert_int_equal(f.chosen, 7);
    add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_PAGE_UP, 0, "");
    run(&f);
    assert_int_equal(f.chosen, 4);
    state.wheel_y = -1000;
    run(&f);
    assert_true(f.ui.list_scroll == 8 * 24 - 3 * 24);
}

static Form in_field(const char *text)
{
    Form f = fresh();
    strcpy(f.name, text);
    point(MIDDLE_X + 100, FIELD_Y);
    press();
    run(&f);
    let_go();
    run(&f);
    assert_int_equal(f.ui.caret, strlen(text));
    assert_int_equal(f.ui.anchor, f.ui.caret);
    return f;
}

static void key(Form *f, uint32_t code, uint32_t mods)
{
    add(KEEL_INPUT_KEY_DOWN, code, mods, "");
    run(f);
}

static void text_is_typed_and_removed_by_characters(void **unused)
{
    (void)unused;
    Form f = in_field("");
    add(KEEL_INPUT_TEXT, 0, 0, "a\xe4\xbd\xa0");
    add(KEEL_INPUT_TEXT, 0, 0, "\xe5\xa5\xbdz");
    run(&f);
    assert_string_equal(f.name, "a\xe4\xbd\xa0\xe5\xa5\xbdz");
    assert_int_equal(f.field, KEEL_UI_CHANGED);
    assert_true(text_areas > 0);
    key(&f, KEEL_KEY_LEFT, 0);
    key(&f, KEEL_KEY_LEFT, 0);
    assert_int_equal(f.ui.caret, 4);
    key(&f, KEEL_KEY_BACKSPACE, 0);
    assert_string_equal(f.name, "a\xe5\xa5\xbdz");
    key(&f, KEEL_KEY_DELETE, 0);
    assert_string_equal(f.name, "az");
    key(&f, KEEL_KEY_HOME, 0);
    key(&f, KEEL_KEY_BACKSPACE, 0); /* nothing there */
    assert_string_equal(f.name, "az");
    assert_int_equal(f.field, 0);
    key(&f, KEEL_KEY_ENTER, 0);
    assert_int_equal(f.field, KEEL_UI_DONE);
    /* A letter and its accent go together. */
    f = in_field("xe\xcc\x81");
    key(&f, KEEL_KEY_BACKSPACE, 0);
    assert_string_equal(f.name, "x");
}

static void nothing_goes_beyond_the_room(void **unused)
{
    (void)unused;
    Form f = in_field("0123456789");
    add(KEEL_INPUT_PASTE, 0, 0, "abcd\xe4\xbd\xa0");
    run(&f);
    assert_string_equal(f.name, "0123456789abcd"); /* 15 bytes and a half character don't fit */
    add(KEEL_INPUT_TEXT, 0, 0, "xyz");
    run(&f);
    assert_string_equal(f.name, "0123456789abcdx");
    add(KEEL_INPUT_TEXT, 0, 0, "y");
    run(&f);
    assert_string_equal(f.name, "0123456789abcdx");
    key(&f, KEEL_KEY_A, KEEL_MOD_CTRL);
    add(KEEL_INPUT_PASTE, 0, 0, "two\nlines\x1b");
    run(&f);
    assert_string_equal(f.name, "two lines ");
    /* The text changed behind the field's back. */
    strcpy(f.name, "k");
    run(&f);
    add(KEEL_INPUT_TEXT, 0, 0, "!");
    run(&f);
    assert_string_equal(f.name, "k!");
}

static void selections_words_and_the_clipboard(void **unused)
{
    (void)unused;
    Form f = in_field("one two");
    key(&f, KEEL_KEY_LEFT, KEEL_MOD_SHIFT | KEEL_MOD_CTRL);
    assert_int_equal(f.ui.caret, 4);
    assert_int_equal(f.ui.anchor, 7);
    key(&f, KEEL_KEY_C, KEEL_MOD_CTRL);
    assert_string_equal(clipboard, "two");
    assert_string_equal(f.name, "one two");
    key(&f, KEEL_KEY_X, KEEL_MOD_CTRL);
    assert_string_equal(f.name, "one ");
    key(&f, KEEL_KEY_V, KEEL_MOD_CTRL);
    assert_int_equal(asked, 1);
    add(KEEL_INPUT_PASTE, 0, 0, "six");
    run(&f);
    assert_string_equal(f.name, "one six");
    key(&f, KEEL_KEY_BACKSPACE, KEEL_MOD_CTRL);
    assert_string_equal(f.name, "one ");
    /* A drag from the end to the front selects. */
    f = in_field("one two");
    press();
    run(&f);
    point(150, FIELD_Y);
    run(&f);
    let_go();
    run(&f);
    assert_true(f.ui.caret < f.ui.anchor);
    assert_int_equal(f.ui.anchor, 7);
    add(KEEL_INPUT_TEXT, 0, 0, "X");
    run(&f);
    assert_true(strlen(f.name) < 7);
    /* A double click takes a word. */
    f = in_field("one two");
    point(142, FIELD_Y); /* in its first letters */
    press();
    state.clicks = 2;
    run(&f);
    assert_int_equal(f.ui.anchor, 0);
    assert_int_equal(f.ui.caret, 4);
}

static void what_is_composed_is_shown_and_not_typed(void **unused)
{
    (void)unused;
    Form f = in_field("ab");
    add(KEEL_INPUT_COMPOSE, 3, 0, "nih");
    run(&f);
    assert_string_equal(f.name, "ab");
    assert_int_equal(f.ui.preedit_bytes, 3);
    float while_composing = caret_x;
    key(&f, KEEL_KEY_BACKSPACE, 0); /* the input method's, not the field's */
    assert_string_equal(f.name, "ab");
    add(KEEL_INPUT_COMPOSE, 0, 0, "");
    add(KEEL_INPUT_TEXT, 0, 0, "\xe4\xbd\xa0");
    run(&f);
    assert_string_equal(f.name, "ab\xe4\xbd\xa0");
    assert_int_equal(f.ui.preedit_bytes, 0);
    assert_true(while_composing == caret_x + 20); /* five letters then, three now */
    char huge[400];
    memset(huge, 'n', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    struct {
        struct keel_input input;
        char text[400];
    } one = {
        .input = {
            .size = sizeof one.input, .what = KEEL_INPUT_COMPOSE, .code = 900, .text_bytes = 399}};
    memcpy(one.text, huge, sizeof huge);
    memcpy(typed, &one, sizeof one); /* over several places; one is read */
    typed_count = 1;
    run(&f);
    assert_int_equal(f.ui.preedit_bytes, 0);
}

static void random_doings_break_nothing(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"a", "\xe4\xbd\xa0", "e\xcc\x81", "\xff\x80",
                                        " ", "long text"};
    Form f = in_field("");
    uint32_t seed = 5;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t bits = seed >> 8;
        if (bits % 5 == 0)
            point((float)(bits % 320), FIELD_Y + (float)(bits % 7 == 0 ? 40 : 0));
        if (bits % 11 == 0)
            press();
        if (bits % 13 == 0)
            let_go();
        if (bits % 3 == 0)
            add(bits & 64 ? KEEL_INPUT_TEXT : KEEL_INPUT_PASTE, 0, 0, texts[bits / 64 % 6]);
        else if (bits % 3 == 1)
            add(KEEL_INPUT_KEY_DOWN, KEEL_KEY_A + bits / 64 % 90, bits / 8192 % 4, "");
        run(&f);
        assert_true(strlen(f.name) < sizeof f.name);
        assert_true(f.ui.caret <= 15 && f.ui.anchor <= 15);
        assert_true(f.chosen >= -1 && f.chosen < 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_button_is_pressed_when_let_go_over_it),
        cmocka_unit_test(a_slider_follows_also_outside),
        cmocka_unit_test(tab_goes_around),
        cmocka_unit_test(boxes_and_lists),
        cmocka_unit_test(text_is_typed_and_removed_by_characters),
        cmocka_unit_test(nothing_goes_beyond_the_room),
        cmocka_unit_test(selections_words_and_the_clipboard),
        cmocka_unit_test(what_is_composed_is_shown_and_not_typed),
        cmocka_unit_test(random_doings_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
