/* Scenes of keel/ui.h: the widgets as a module draws them, with a field that has the keyboard. A
 * made-up host writes into the list; texts are measured by the fonts that draw them. */
#include <keel/keel.h>
#include <keel/ui.h>
#include <math.h>
#include <string.h>

#include "scenes.h"
#include "screen/glyphs.h"

static DrawList *to;
static DrawScreen ruler = {.width = SCENE_WIDTH, .height = SCENE_HEIGHT, .scale = 1};

static int32_t push(keel *k)
{
    (void)k;
    return draw_push(to);
}

static int32_t pop(keel *k)
{
    (void)k;
    return draw_pop(to);
}

static int32_t clip(keel *k, float x, float y, float w, float h, float radius)
{
    (void)k;
    return draw_clip(to, x, y, w, h, radius);
}

static keel_paint gradient(keel *k, uint32_t kind, const float where[4],
                           const struct keel_stop *stops, uint32_t count)
{
    (void)k;
    return draw_gradient(to, kind, where, stops, count);
}

static int32_t rect(keel *k, float x, float y, float w, float h, float radius, float stroke,
                    keel_paint paint)
{
    (void)k;
    return draw_rect(to, x, y, w, h, radius, stroke, paint);
}

static int32_t ellipse(keel *k, float x, float y, float rx, float ry, float stroke,
                       keel_paint paint)
{
    (void)k;
    return draw_ellipse(to, x, y, rx, ry, stroke, paint);
}

static int32_t path(keel *k, const struct keel_point *points, uint32_t count,
                    const struct keel_path *style, keel_paint paint)
{
    (void)k;
    return draw_path(to, points, count, style, paint);
}

static int32_t text(keel *k, float x, float y, const char *line, uint64_t bytes,
                    const struct keel_font *font, keel_paint paint)
{
    (void)k;
    return draw_text(to, x, y, line, bytes, font, paint);
}

static int32_t text_size(keel *k, const char *line, uint64_t bytes, const struct keel_font *font,
                         struct keel_text_size *ret)
{
    (void)k;
    return draw_text_size(to, &ruler, line, bytes, font, ret);
}

static const struct keel_draw_1 draw_table = {.size = sizeof draw_table,
                                              .push = push,
                                              .pop = pop,
                                              .clip = clip,
                                              .gradient = gradient,
                                              .rect = rect,
                                              .ellipse = ellipse,
                                              .path = path,
                                              .text = text,
                                              .text_size = text_size};

static struct keel_input_state state = {.size = sizeof state, .flags = KEEL_STATE_INSIDE};

static const struct keel_input_state *now_state(keel *k)
{
    (void)k;
    return &state;
}

static const struct keel_input *no_input(keel *k, const struct keel_input *after)
{
    (void)k, (void)after;
    return NULL;
}

static int32_t no_area(keel *k, float x, float y, float w, float h)
{
    (void)k, (void)x, (void)y, (void)w, (void)h;
    return 0;
}

static int32_t no_cursor(keel *k, uint32_t shape)
{
    (void)k, (void)shape;
    return 0;
}

static const struct keel_input_1 input_table = {.size = sizeof input_table,
                                                .state = now_state,
                                                .next = no_input,
                                                .text_area = no_area,
                                                .cursor = no_cursor};

static int64_t no_time(keel *k)
{
    (void)k;
    return 0;
}

static const struct keel_time_1 time_table = {.size = sizeof time_table, .now_ns = no_time};

static const void *service(keel *k, const char *id, uint32_t size)
{
    (void)k, (void)size;
    return !strcmp(id, KEEL_DRAW_1)    ? (const void *)&draw_table
           : !strcmp(id, KEEL_INPUT_1) ? (const void *)&input_table
           : !strcmp(id, KEEL_TIME_1)  ? (const void *)&time_table
                                       : NULL;
}

static keel context = {.size = sizeof context, .service = service};

/* A panel is as high as it was in the frame before: everything is drawn twice. */
static void twice(DrawList *list, void (*frame)(struct keel_ui *ui))
{
    static Glyphs *glyphs;
    static struct keel_ui ui;
    if (!glyphs && !glyphs_new(&glyphs, NULL)) {
        ruler.measure = glyphs_measure;
        ruler.user = glyphs;
    }
    memset(&ui, 0, sizeof ui);
    to = list;
    for (int i = 0; i < 2; i++) {
        draw_list_clear(list);
        draw_clear(list, 0x11141aff);
        keel_ui_begin(&context, &ui);
        keel_ui_panel(&ui, "Panel 面板", 10, 10, 300);
        frame(&ui);
        keel_ui_panel_end(&ui);
        keel_ui_end(&ui);
    }
}

static void form(struct keel_ui *ui)
{
    static char name[32];
    float level = 0.7f;
    int32_t on = 1;
    strcpy(name, "Wave 水 fish");
    ui->focus = keel_ui_id(ui, "Name");
    ui->caret = 9; /* behind the character and its blank */
    ui->anchor = 5;
    keel_ui_field(ui, "Name", name, sizeof name);
    keel_ui_slider(ui, "Level", &level, 0, 1);
    keel_ui_row(ui, 2);
    keel_ui_checkbox(ui, "On", &on);
    keel_ui_button(ui, "Press");
}

static void many(struct keel_ui *ui)
{
    static const char *const lines[] = {"Sine", "A line that is longer than the list is wide", "c"};
    float values[64];
    int32_t chosen = 0;
    for (int i = 0; i < 64; i++)
        values[i] = 0.5f + 0.45f * sinf((float)i * 0.21f);
    keel_ui_list(ui, "Lines", lines, 3, &chosen, 2);
    keel_ui_plot(ui, "Values", values, 64, 0, 1, 58);
}

void scene_form(DrawList *list, Pictures *pictures)
{
    (void)pictures;
    state.x = 260; /* over the button */
    state.y = 144;
    twice(list, form);
}

void scene_many(DrawList *list, Pictures *pictures)
{
    (void)pictures;
    state.x = state.y = 0;
    twice(list, many);
}
