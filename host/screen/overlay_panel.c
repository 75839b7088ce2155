/* The panel of tweaks: a slider, a switch or three sliders of a color each. Frame thread. */
#include <keel/input.h>
#include <keel/tweak.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "screen/overlay_parts.h"

enum { PAD = 14, HEAD = 42, FOOT = 44, TITLE_ROW = 28, ROW = 46, SWITCH_ROW = 36, COLOR_ROW = 78 };

static const OverlayFont head_font = {15, 700, 0, KEEL_ALIGN_LEFT};
static const OverlayFont name_font = {13, 400, 0, KEEL_ALIGN_LEFT};
static const OverlayFont value_font = {13, 400, KEEL_FONT_MONO, KEEL_ALIGN_RIGHT};
static const OverlayFont small_font = {11, 400, 0, KEEL_ALIGN_LEFT};
static const OverlayFont button_font = {12, 400, 0, KEEL_ALIGN_CENTER};

int panel_init(OverlayPanel *panel)
{
    panel->rows = calloc(OVERLAY_ROWS, sizeof *panel->rows);
    panel->hover = panel->drag = -1;
    return panel->rows ? KEEL_OK : KEEL_ENOMEM;
}

void panel_done(OverlayPanel *panel)
{
    free(panel->rows);
}

static float row_height(const OverlayRow *row)
{
    return row->title                             ? TITLE_ROW
           : row->tweak.kind == KEEL_TWEAK_SWITCH ? SWITCH_ROW
           : row->tweak.kind == KEEL_TWEAK_COLOR  ? COLOR_ROW
                                                  : ROW;
}

void panel_look(Overlay *overlay, const Host *host)
{
    static _Thread_local Tweak list[TWEAKS_MOST];
    OverlayPanel *panel = &overlay->panel;
    int slots = atomic_load(&host->slot_count), with = 0;
    float y = 0;
    panel->count = 0;
    for (int i = 0; i < slots; i++) {
        const Slot *slot = host->slots[i];
        uint32_t count = slot->running
                             ? tweaks_list(&slot->tweaks, slot->state, slot->running->number, list)
                             : 0;
        if (!count || panel->count == OVERLAY_ROWS)
            continue;
        if (slots > 1)
            panel->rows[panel->count++] = (OverlayRow){.slot = i, .title = 1};
        for (uint32_t t = 0; t < count && panel->count < OVERLAY_ROWS; t++)
            panel->rows[panel->count++] = (OverlayRow){.slot = i, .tweak = list[t]};
        with++;
    }
    for (int i = 0; i < panel->count; i++) {
        OverlayRow *row = &panel->rows[i];
        row->y = y;
        row->height = row_height(row);
        y += row->height;
        if (row->title)
            snprintf(row->tweak.name, sizeof row->tweak.name, "%.47s",
                     host->slots[row->slot]->name);
    }
    if (panel->hover >= panel->count)
        panel->hover = -1;
    if (panel->drag >= panel->count)
        panel->drag = -1;
    panel->content = y;
    panel->x = overlay->width - OVERLAY_PANEL - OVERLAY_MARGIN;
    panel->y = OVERLAY_MARGIN;
    float most = overlay->height - 2 * OVERLAY_MARGIN, foot = with ? FOOT : 0;
    panel->height = HEAD + (with ? y : 44) + foot;
    if (panel->height > most)
        panel->height = most;
    float hidden = y - (panel->height - HEAD - foot);
    if (panel->scroll > hidden)
        panel->scroll = hidden;
    if (panel->scroll < 0)
        panel->scroll = 0;
}

/* ---- drawing ---- */

static float part_of(const Tweak *tweak)
{
    double range = tweak->most - tweak->least;
    return range > 0 ? (float)((tweak->value - tweak->least) / range) : 0;
}

static void slider(Overlay *overlay, float x, float y, float w, float part, float default_part,
                   uint32_t color, int hot)
{
    DrawList *list = &overlay->list;
    draw_rect(list, x, y - 2, w, 4, 2, 0, OVERLAY_TRACK);
    if (part > 0)
        draw_rect(list, x, y - 2, w * part < 4 ? 4 : w * part, 4, 2, 0, color);
    if (default_part >= 0) /* where the source has it */
        draw_rect(list, x + w * default_part - 1, y + 6, 2, 4, 1, 0, OVERLAY_DIM);
    draw_ellipse(list, x + w * part, y, hot ? 8 : 6.5f, hot ? 8 : 6.5f, 0, 0xf6f8fbff);
}

static void format(const Tweak *tweak, char room[32])
{
    double range = tweak->most - tweak->least;
    if (tweak->kind == KEEL_TWEAK_INT)
        snprintf(room, 32, "%.0f", tweak->value);
    else if (tweak->kind == KEEL_TWEAK_COLOR)
        snprintf(room, 32, "#%08x", (unsigned)tweak->value);
    else
        snprintf(room, 32, "%.*f",
                 range >= 200  ? 0
                 : range >= 20 ? 1
                 : range >= 2  ? 2
                               : 3,
                 tweak->value);
}

static void color_row(Overlay *overlay, const Tweak *tweak, float x, float y, float w, int hot)
{
    static const uint32_t parts[] = {0xff6f6fff, 0x6fdc8cff, 0x62a4ffff};
    uint32_t color = (uint32_t)tweak->value;
    draw_rect(&overlay->list, x + w - 22, y + 4, 22, 16, 4, 0, color | 255u);
    draw_rect(&overlay->list, x + w - 22, y + 4, 22, 16, 4, 1, OVERLAY_EDGE);
    for (int i = 0; i < 3; i++)
        slider(overlay, x, y + 34 + 15 * (float)i, w, (float)(color >> (24 - 8 * i) & 255) / 255,
               -1, parts[i], hot == i);
}

static void row(Overlay *overlay, const OverlayRow *r, int index, float y)
{
    const OverlayPanel *panel = &overlay->panel;
    const Tweak *tweak = &r->tweak;
    float x = panel->x + PAD, w = OVERLAY_PANEL - 2 * PAD;
    int hot = panel->drag >= 0 ? panel->drag == index : panel->hover == index;
    uint32_t name_color = tweak->value != tweak->initial ? OVERLAY_TEXT : 0xc9d0dbff;
    char text[32];
    if (r->title) {
        overlay_fitted(overlay, x, y + 8, w, &small_font, OVERLAY_BLUE, tweak->name);
        return;
    }
    overlay_fitted(overlay, x, y + 4, w - 90, &name_font, name_color, tweak->name);
    if (tweak->kind == KEEL_TWEAK_SWITCH) {
        int on = tweak->value != 0;
        draw_rect(&overlay->list, x + w - 36, y + 3, 36, 20, 10, 0,
                  on ? OVERLAY_BLUE : OVERLAY_TRACK);
        draw_ellipse(&overlay->list, x + w - (on ? 10 : 26), y + 13, 7.5f, 7.5f, 0, 0xf6f8fbff);
        return;
    }
    format(tweak, text);
    if (tweak->kind == KEEL_TWEAK_COLOR) {
        overlay_text(overlay, x + w - 30, y + 4, &value_font, OVERLAY_DIM, text);
        color_row(overlay, tweak, x, y, w, hot ? panel->part : -1);
        return;
    }
    overlay_text(overlay, x + w, y + 4, &value_font, OVERLAY_BLUE, text);
    Tweak first = *tweak;
    first.value = tweak->initial;
    slider(overlay, x, y + 32, w, part_of(tweak),
           tweak->value != tweak->initial ? part_of(&first) : -1, OVERLAY_BLUE, hot);
}

static void button(Overlay *overlay, float x, float y, float w, const char *text, int live)
{
    int hot = live && overlay->mouse_x >= x && overlay->mouse_x < x + w && overlay->mouse_y >= y &&
              overlay->mouse_y < y + 26;
    draw_rect(&overlay->list, x, y, w, 26, 6, 0, hot ? 0xffffff33 : live ? 0xffffff17 : 0xffffff08);
    overlay_text(overlay, x + w / 2, y + 6, &button_font, live ? OVERLAY_TEXT : 0x98a2b3b8, text);
}

static int changed(const OverlayPanel *panel)
{
    for (int i = 0; i < panel->count; i++)
        if (!panel->rows[i].title && panel->rows[i].tweak.value != panel->rows[i].tweak.initial)
            return 1;
    return 0;
}

void panel_draw(Overlay *overlay)
{
    const OverlayPanel *panel = &overlay->panel;
    static const OverlayFont key_font = {11, 400, 0, KEEL_ALIGN_RIGHT};
    float right = panel->x + OVERLAY_PANEL - PAD;
    overlay_box(overlay, panel->x, panel->y, OVERLAY_PANEL, panel->height);
    overlay_text(overlay, panel->x + PAD, panel->y + 12, &head_font, OVERLAY_TEXT, "Tweaks");
    overlay_text(overlay, right, panel->y + 15, &key_font, OVERLAY_DIM, "F1 closes");
    if (!panel->count) {
        overlay_text(overlay, panel->x + PAD, panel->y + HEAD + 4, &small_font, OVERLAY_DIM,
                     "None yet. Write in a module's frame:\n"
                     "KEEL_TWEAK(k, gravity, 9.8, 0, 20)");
        return;
    }
    float inside = panel->height - HEAD - FOOT;
    draw_push(&overlay->list);
    draw_clip(&overlay->list, panel->x, panel->y + HEAD, OVERLAY_PANEL, inside, 0);
    for (int i = 0; i < panel->count; i++) {
        const OverlayRow *r = &panel->rows[i];
        float y = panel->y + HEAD + r->y - panel->scroll;
        if (y + r->height > panel->y + HEAD && y < panel->y + HEAD + inside)
            row(overlay, r, i, y);
    }
    draw_pop(&overlay->list);
    if (panel->content > inside)
        draw_rect(&overlay->list, panel->x + OVERLAY_PANEL - 6,
                  panel->y + HEAD + inside * panel->scroll / panel->content, 3,
                  inside * inside / panel->content, 1.5f, 0, OVERLAY_TRACK);
    float y = panel->y + panel->height - FOOT + 8, w = (OVERLAY_PANEL - 2 * PAD - 8) / 2.f;
    int live = changed(panel);
    button(overlay, panel->x + PAD, y, overlay->options.store ? w : 2 * w + 8, "Back to the source",
           live);
    if (overlay->options.store)
        button(overlay, panel->x + PAD + w + 8, y, w, "Store in the source", live);
}

/* ---- input ---- */

static void set(Overlay *overlay, Host *host, int index, double value)
{
    OverlayRow *r = &overlay->panel.rows[index];
    Slot *slot = host->slots[r->slot];
    Error err = {0};
    if (!slot->running || value == r->tweak.value)
        return;
    if (tweaks_set(&slot->tweaks, slot->running->number, r->tweak.name, value, &slot->inputs,
                   slot->effects.now_ns, &err))
        log_warn("tweak", "%s: %s", slot->name, err.text);
    else
        overlay->panel.moved = 1;
}

/* A step that is short to write: a 1, 2 or 5 with zeros, of which 200 to 500 fill the range. */
static double rounded(const Tweak *tweak, double value)
{
    double range = tweak->most - tweak->least, step = pow(10, floor(log10(range / 200)));
    if (range / step > 500)
        step *= range / step > 1000 ? 5 : 2;
    if (tweak->kind == KEEL_TWEAK_INT && step < 1)
        step = 1;
    value = floor(value / step + 0.5) * step;
    if (tweak->kind != KEEL_TWEAK_INT) { /* 0.30000000000000004 is 0.3 */
        char text[40];
        snprintf(text, sizeof text, "%.9g", value);
        value = strtod(text, NULL);
    }
    return value < tweak->least ? tweak->least : value > tweak->most ? tweak->most : value;
}

static void drag_to(Overlay *overlay, Host *host, float mouse_x)
{
    const OverlayPanel *panel = &overlay->panel;
    const Tweak *tweak = &panel->rows[panel->drag].tweak;
    float part = (mouse_x - panel->x - PAD) / (OVERLAY_PANEL - 2 * PAD);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    if (tweak->kind == KEEL_TWEAK_COLOR) {
        int shift = 24 - 8 * panel->part;
        uint32_t color = (uint32_t)tweak->value & ~(255u << shift);
        set(overlay, host, panel->drag, color | (uint32_t)(part * 255 + 0.5f) << shift);
    } else if (tweak->most > tweak->least) {
        set(overlay, host, panel->drag,
            rounded(tweak, tweak->least + (tweak->most - tweak->least) * (double)part));
    }
}

static int inside_panel(const OverlayPanel *panel, float x, float y)
{
    return x >= panel->x && x < panel->x + OVERLAY_PANEL && y >= panel->y &&
           y < panel->y + panel->height;
}

/* The row below the pointer, -1: none. */
static int row_at(const OverlayPanel *panel, float y, int *ret_part)
{
    float top = panel->y + HEAD, bottom = panel->y + panel->height - FOOT;
    if (y < top || y >= bottom)
        return -1;
    y += panel->scroll - top;
    for (int i = 0; i < panel->count; i++) {
        const OverlayRow *r = &panel->rows[i];
        if (y < r->y || y >= r->y + r->height || r->title)
            continue;
        int part = (int)((y - r->y - 26) / 15);
        *ret_part = part < 0 ? 0 : part > 2 ? 2 : part;
        return i;
    }
    return -1;
}

static void store(Overlay *overlay, Host *host, int index)
{
    const OverlayRow *r = &overlay->panel.rows[index];
    if (overlay->options.store && !r->title && r->tweak.value != r->tweak.initial)
        overlay->options.store(overlay->options.user, host->slots[r->slot]->name, &r->tweak);
}

static void press_button(Overlay *overlay, Host *host, float x)
{
    OverlayPanel *panel = &overlay->panel;
    int right = overlay->options.store && x > panel->x + OVERLAY_PANEL / 2.f;
    for (int i = 0; i < panel->count; i++) {
        if (right)
            store(overlay, host, i);
        else if (!panel->rows[i].title)
            set(overlay, host, i, panel->rows[i].tweak.initial);
    }
}

static void press(Overlay *overlay, Host *host, const struct keel_input *input)
{
    OverlayPanel *panel = &overlay->panel;
    int part = 0, index = row_at(panel, input->y, &part);
    if (input->y >= panel->y + panel->height - FOOT) {
        press_button(overlay, host, input->x);
        return;
    }
    if (index < 0)
        return;
    const Tweak *tweak = &panel->rows[index].tweak;
    panel->moved = 0;
    if (input->clicks == 2)
        set(overlay, host, index, tweak->initial);
    else if (tweak->kind == KEEL_TWEAK_SWITCH)
        set(overlay, host, index, tweak->value == 0);
    if (input->clicks == 2 || tweak->kind == KEEL_TWEAK_SWITCH) {
        if (overlay->options.store_always && panel->moved) {
            panel_look(overlay, host);
            store(overlay, host, index);
        }
        return;
    }
    panel->drag = index;
    panel->part = part;
    drag_to(overlay, host, input->x);
}

int panel_input(Overlay *overlay, Host *host, const struct keel_input *input)
{
    OverlayPanel *panel = &overlay->panel;
    int over = inside_panel(panel, input->x, input->y), part = panel->part;
    panel_look(overlay, host);
    switch (input->what) {
    case KEEL_INPUT_MOVE:
        if (panel->drag >= 0) {
            drag_to(overlay, host, input->x);
            return 1;
        }
        panel->hover = over ? row_at(panel, input->y, &part) : -1;
        panel->part = part;
        return over;
    case KEEL_INPUT_BUTTON_DOWN:
        if (over && input->code == KEEL_BUTTON_LEFT)
            press(overlay, host, input);
        return over;
    case KEEL_INPUT_BUTTON_UP:
        if (panel->drag >= 0 && input->code == KEEL_BUTTON_LEFT) {
            if (overlay->options.store_always && panel->moved)
                store(overlay, host, panel->drag);
            panel->drag = -1;
        }
        return 1;
    case KEEL_INPUT_WHEEL:
        if (over)
            panel->scroll -= input->dy * 30; /* look() keeps it in bounds */
        return over;
    default:
        return 0;
    }
}
