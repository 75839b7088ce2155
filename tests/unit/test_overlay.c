/* screen/overlay and app/notes: what is shown when, what input is taken. The list is looked at, no
 * screen is needed. */
#include "app/notes.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <keel/input.h>

#include "screen/overlay.h"

static Host host; /* without slots */
static Overlay *overlay;
static int64_t now_ns;
static uint64_t serial;

static const DrawList *look(void)
{
    static const DrawScreen screen = {.width = 1280, .height = 720, .scale = 1};
    return overlay_draw(overlay, &host, &screen, now_ns, &serial);
}

/* Is this text in the list? */
static int shows(const char *text)
{
    const DrawList *list = look();
    for (const DrawHead *head = list ? draw_first(list) : NULL; head;
         head = draw_next(list, head)) {
        const DrawText *t = (const DrawText *)(const void *)head;
        if (head->op == DRAW_TEXT &&
            memmem(t->bytes + t->family_bytes, t->text_bytes, text, strlen(text)))
            return 1;
    }
    return 0;
}

static int give(uint32_t what, uint32_t code)
{
    const struct keel_input input = {.size = sizeof input, .what = what, .code = code};
    return overlay_input(overlay, &host, &input);
}

static int press(uint32_t key)
{
    int taken = give(KEEL_INPUT_KEY_DOWN, key);
    assert_int_equal(give(KEEL_INPUT_KEY_UP, key), taken);
    return taken;
}

static int set_up(void **unused)
{
    (void)unused;
    const OverlayOptions options = {.notes = 1, .hint = "change GRAVITY"};
    memset(&host, 0, sizeof host);
    now_ns = 1000000000;
    return overlay_new(&options, &overlay, NULL);
}

static int take_down(void **unused)
{
    (void)unused;
    overlay_free(overlay);
    return 0;
}

static void notes_come_and_go(void **unused)
{
    (void)unused;
    assert_true(shows("change GRAVITY"));
    overlay_note(overlay, OVERLAY_WARN, "refused");
    assert_true(shows("refused"));
    assert_true(shows("change GRAVITY")); /* until a swap went well */
    overlay_note(overlay, OVERLAY_GOOD, "fish 1 to 2");
    assert_true(shows("fish 1 to 2"));
    assert_false(shows("change GRAVITY"));
    assert_int_equal(press(KEEL_KEY_F2), 1);
    assert_false(shows("fish 1 to 2"));
    press(KEEL_KEY_F2);
    assert_true(shows("fish 1 to 2"));
    now_ns += INT64_C(60) * 1000000000;
    assert_null(look());
    for (int i = 0; i < 9; i++) {
        char text[8];
        snprintf(text, sizeof text, "<%d>", i);
        overlay_note(overlay, OVERLAY_CALM, text);
    }
    assert_false(shows("<4>"));
    assert_true(shows("<5>") && shows("<8>"));
}

static void problems_stay_until_they_are_fixed(void **unused)
{
    (void)unused;
    OverlayProblem problem = {.line = 12, .column = 5, .from = 4, .to = 6};
    snprintf(problem.file, sizeof problem.file, "/home/x/fish.c");
    snprintf(problem.text, sizeof problem.text, "'qq' undeclared");
    snprintf(problem.source, sizeof problem.source, "    qq = 3;");
    overlay_problems(overlay, &problem, 1, 7, "the code before runs on");
    press(KEEL_KEY_F2); /* not a note */
    now_ns += INT64_C(600) * 1000000000;
    assert_true(shows("7 errors") && shows("fish.c:12:5") && shows("'qq' undeclared"));
    assert_true(shows("qq = 3;") && shows("the code before runs on"));
    overlay_problems(overlay, NULL, 0, 0, NULL);
    assert_null(look());
}

/* What is underlined lies below its text, whose indentation isn't shown. */
static void the_underline_is_where_the_text_is(void **unused)
{
    (void)unused;
    static const struct {
        const char *source, *seen;
        int from, to, letters;
    } all[] = {
        {"        qq = 3;", "qq = 3;", 8, 10, 0},
        {"\tp->x = qq;", "p->x = qq;", 8, 10, 7},
        {"    * p = 1;", "  * p = 1;", 2, 4, 0}, /* the blanks are meant */
        {"none is meant", "none is meant", 0, 0, -1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        OverlayProblem problem = {.line = 12, .from = all[i].from, .to = all[i].to};
        snprintf(problem.source, sizeof problem.source, "%s", all[i].source);
        overlay_problems(overlay, &problem, 1, 1, NULL);
        const DrawList *list = look();
        const DrawShape *line = NULL;
        const DrawText *text = NULL;
        for (const DrawHead *head = draw_first(list); head; head = draw_next(list, head)) {
            const DrawShape *shape = (const DrawShape *)(const void *)head;
            const DrawText *t = (const DrawText *)(const void *)head;
            if (head->op == DRAW_RECT && shape->at[3] == 2)
                line = shape;
            if (head->op == DRAW_TEXT && t->text_bytes == strlen(all[i].seen) &&
                !memcmp(t->bytes + t->family_bytes, all[i].seen, t->text_bytes))
                text = t;
        }
        assert_non_null(text);
        assert_int_equal(line != NULL, all[i].letters >= 0);
        if (!line)
            continue;
        float letter = line->at[2] / (float)(all[i].to - all[i].from);
        assert_float_equal(line->at[0], text->x + letter * (float)all[i].letters, 0.5f);
    }
}

static void the_serial_changes_with_the_picture_only(void **unused)
{
    (void)unused;
    look();
    uint64_t before = serial;
    look();
    assert_int_equal(serial, before);
    press(KEEL_KEY_F1);
    assert_true(shows("KEEL_TWEAK(k, gravity")); /* what to do when there are none */
    assert_int_not_equal(serial, before);
}

static void input_is_taken_only_where_it_is_meant(void **unused)
{
    (void)unused;
    const struct keel_input over = {.size = sizeof over,
                                    .what = KEEL_INPUT_BUTTON_DOWN,
                                    .code = KEEL_BUTTON_LEFT,
                                    .x = 1200,
                                    .y = 40};
    struct keel_input beside = over, up = over, move = over;
    beside.x = 100;
    up.what = KEEL_INPUT_BUTTON_UP;
    move.what = KEEL_INPUT_MOVE;
    assert_int_equal(press(KEEL_KEY_A), 0);
    assert_int_equal(overlay_input(overlay, &host, &over), 0); /* nothing is shown there */
    assert_int_equal(overlay_input(overlay, &host, &up), 0);
    press(KEEL_KEY_F1);
    look();
    assert_int_equal(overlay_input(overlay, &host, &over), 1);
    beside.what = KEEL_INPUT_MOVE;
    assert_int_equal(overlay_input(overlay, &host, &beside), 1); /* what began here ends here */
    assert_int_equal(overlay_input(overlay, &host, &up), 1);
    /* A drag that began on the picture isn't disturbed by the panel. */
    beside.what = KEEL_INPUT_BUTTON_DOWN;
    assert_int_equal(overlay_input(overlay, &host, &beside), 0);
    assert_int_equal(overlay_input(overlay, &host, &move), 0);
    assert_int_equal(overlay_input(overlay, &host, &up), 0);
    assert_int_equal(overlay_input(overlay, &host, &move), 1);
}

static void going_back_without_a_past_says_why(void **unused)
{
    (void)unused;
    assert_int_equal(give(KEEL_INPUT_KEY_DOWN, KEEL_KEY_F3), 1);
    assert_true(shows("no way back: it is off"));
    assert_int_equal(atomic_load(&host.paused), 0);
    assert_int_equal(press(KEEL_KEY_F5), 1);
    assert_int_equal(atomic_load(&host.paused), 1);
    assert_true(shows("Standing still"));
}

static void lines_of_the_log_become_notes(void **unused)
{
    (void)unused;
    char note[280];
    int tone;
    assert_int_equal(note_of(1, "swap",
                             "fish: generation 3 \xe2\x86\x92 4 in 14.0 ms (read 0.2, trial 5), "
                             "pause 21.5 \xc2\xb5s; changed: frame",
                             note, sizeof note, &tone),
                     1);
    assert_string_equal(note, "fish  3 \xe2\x86\x92 4  \xc2\xb7  pause 22 \xc2\xb5s  \xc2\xb7  "
                              "changed: frame");
    assert_int_equal(tone, OVERLAY_GOOD);
    assert_int_equal(note_of(1, "swap",
                             "fish: generation 3 \xe2\x86\x92 4 in 14.0 ms, pause 1125.8 \xc2\xb5s",
                             note, sizeof note, &tone),
                     1);
    assert_string_equal(note, "fish  3 \xe2\x86\x92 4  \xc2\xb7  pause 1.1 ms");
    assert_int_equal(note_of(2, "swap", "fish: refused: no", note, sizeof note, &tone), 1);
    assert_string_equal(note, "fish  refused  \xc2\xb7  no");
    assert_int_equal(tone, OVERLAY_WARN);
    note_of(2, "swap", "fish: refused: fish: failed in the trial: x", note, sizeof note, &tone);
    assert_string_equal(note, "fish  refused  \xc2\xb7  failed in the trial: x");
    assert_int_equal(
        note_of(2, "dev", "built (9 ms), but not swapped: x", note, sizeof note, &tone), 0);
    assert_int_equal(note_of(2, "swap",
                             "fish: generation 4 rolled back to 3: wrote; x; all is kept", note,
                             sizeof note, &tone),
                     1);
    assert_string_equal(note, "fish  back to 3  \xc2\xb7  all is kept");
    assert_int_equal(note_of(3, "fault", "fish: report: /tmp/x", note, sizeof note, &tone), 0);
    assert_int_equal(note_of(3, "fault", "fish: crashed", note, sizeof note, &tone), 1);
    assert_string_equal(note, "fish  fault  \xc2\xb7  crashed");
    assert_int_equal(tone, OVERLAY_BAD);
    note_of(3, "fault", "in a thread of a retired generation: x", note, sizeof note, &tone);
    assert_string_equal(note, "in a thread of a retired generation: x");
    assert_int_equal(note_of(1, "swap",
                             "bird: generation 1 \xe2\x86\x92 2 in 4 ms, pause 9.0 \xc2\xb5s; "
                             "changed: swim, draw; types: Bird",
                             note, sizeof note, &tone),
                     1);
    assert_non_null(strstr(note, "changed: swim, draw; types: Bird"));
    assert_int_equal(note_of(2, "asset", "fish: a.png: no", note, sizeof note, &tone), 1);
    assert_string_equal(note, "fish  asset  \xc2\xb7  a.png: no");
    assert_int_equal(tone, OVERLAY_WARN);
    assert_int_equal(note_of(0, "asset", "fish: a.png was read", note, sizeof note, &tone), 0);
    static const char *const none[] = {"", "fish: generation 1 in 14 ms, pause 3 \xc2\xb5s",
                                       "x: generation 3 \xe2\x86\x92 4", "pause \xe2\x86\x92 in"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(note_of(1, "swap", none[i], note, sizeof note, &tone), 0);
    assert_int_equal(note_of(1, "module", "hello", note, sizeof note, &tone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(notes_come_and_go, set_up, take_down),
        cmocka_unit_test_setup_teardown(problems_stay_until_they_are_fixed, set_up, take_down),
        cmocka_unit_test_setup_teardown(the_underline_is_where_the_text_is, set_up, take_down),
        cmocka_unit_test_setup_teardown(the_serial_changes_with_the_picture_only, set_up,
                                        take_down),
        cmocka_unit_test_setup_teardown(input_is_taken_only_where_it_is_meant, set_up, take_down),
        cmocka_unit_test_setup_teardown(going_back_without_a_past_says_why, set_up, take_down),
        cmocka_unit_test(lines_of_the_log_become_notes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
