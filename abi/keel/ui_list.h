/* The widgets of ui.h that show many things: a list to choose from, a plot. Included by ui.h. */
#ifndef KEEL_UI_LIST_H
#define KEEL_UI_LIST_H

#include "ui_core.h"

KEEL_BEGIN

/* Scrolls by wheel and by the bar at the right; returns by how much the rows are moved up. */
static inline float keel_ui_scrolled_(struct keel_ui *ui, uint64_t id, struct keel_ui_rect r,
                                      float content, uint32_t did)
{
    float most = content > r.h ? content - r.h : 0;
    if (ui->scrolled != id) {
        if (!keel_ui_inside(ui, r) && !(did & KEEL_UI_FOCUS))
            return 0;
        ui->scrolled = id;
        ui->list_scroll = 0;
    }
    if (keel_ui_inside(ui, r))
        ui->list_scroll -= ui->in->wheel_y * ui->style.row;
    ui->list_scroll = ui->list_scroll > most ? most : ui->list_scroll;
    ui->list_scroll = ui->list_scroll < 0 ? 0 : ui->list_scroll;
    return ui->list_scroll;
}

/* `count` lines of which `rows` are seen at once; 1 when another one was chosen. `*chosen` is one's
 * number or -1. Lists scroll one at a time: the one that has the pointer or the keyboard. */
static inline int keel_ui_list(struct keel_ui *ui, const char *name, const char *const *lines,
                               int32_t count, int32_t *chosen, uint32_t rows)
{
    const struct keel_ui_style *s = &ui->style;
    float line = s->row - 4, content = line * (float)count;
    struct keel_ui_rect r = keel_ui_place(ui, line * (float)rows + 8);
    uint64_t id = keel_ui_id(ui, name);
    uint32_t did = keel_ui_touch(ui, id, r);
    int32_t before = *chosen;
    struct keel_ui_rect in = {r.x + 4, r.y + 4, r.w - 8, r.h - 8};
    float scroll = keel_ui_scrolled_(ui, id, in, content, did);
    int32_t over = -1;
    if (did & KEEL_UI_HOT)
        over = (int32_t)((ui->in->y - in.y + scroll) / line);
    if (did & KEEL_UI_CLICKED && over >= 0 && over < count)
        *chosen = over;
    if (did & KEEL_UI_FOCUS && count > 0) {
        const struct keel_input *key = NULL;
        while ((key = keel_input_next(ui->k, key)) != NULL)
            if (key->what == KEEL_INPUT_KEY_DOWN) {
                int32_t by = key->code == KEEL_KEY_DOWN        ? 1
                             : key->code == KEEL_KEY_UP        ? -1
                             : key->code == KEEL_KEY_PAGE_DOWN ? (int32_t)rows
                             : key->code == KEEL_KEY_PAGE_UP   ? -(int32_t)rows
                             : key->code == KEEL_KEY_HOME      ? -count
                             : key->code == KEEL_KEY_END       ? count
                                                               : 0;
                if (!by)
                    continue;
                *chosen += by;
                *chosen = *chosen < 0 ? 0 : *chosen >= count ? count - 1 : *chosen;
                float top = line * (float)*chosen;
                ui->list_scroll = top < ui->list_scroll ? top : ui->list_scroll;
                if (top + line > ui->list_scroll + in.h)
                    ui->list_scroll = top + line - in.h;
                scroll = ui->list_scroll;
            }
    }
    keel_ui_body(ui, r, did & KEEL_UI_FOCUS);
    keel_push(ui->k);
    keel_clip(ui->k, in.x, in.y, in.w, in.h);
    int32_t first = (int32_t)(scroll / line);
    float wide = content > in.h ? in.w - 10 : in.w; /* beside the bar */
    for (int32_t i = first; i < count && line * (float)i < scroll + in.h; i++) {
        struct keel_ui_rect row = {in.x, in.y + line * (float)i - scroll, wide, line};
        if (i == *chosen)
            keel_round(ui->k, row.x, row.y, row.w, row.h, s->radius - 1, s->accent);
        else if (i == over)
            keel_round(ui->k, row.x, row.y, row.w, row.h, s->radius - 1, s->pressed);
        row.x += 8;
        row.w -= 16;
        keel_ui_write(ui, row, lines[i], __builtin_strlen(lines[i]), KEEL_ALIGN_LEFT, 0,
                      i == *chosen ? s->on_accent : s->text);
    }
    if (content > in.h) {
        float bar = in.h * in.h / content;
        bar = bar < 16 ? 16 : bar;
        keel_round(ui->k, in.x + in.w - 5, in.y + (in.h - bar) * scroll / (content - in.h), 4, bar,
                   2, keel_fade(s->dim, 0.7f));
    }
    keel_pop(ui->k);
    return *chosen != before;
}

/* Between two colours: `part` 0 is `a`. Opaque, so that what overlaps in a filled curve isn't seen.
 */
static inline uint32_t keel_ui_mix_(uint32_t a, uint32_t b, float part)
{
    float c[3];
    for (int i = 0; i < 3; i++) {
        float x = (float)(a >> (24 - 8 * i) & 255u), y = (float)(b >> (24 - 8 * i) & 255u);
        c[i] = x + (y - x) * part;
    }
    return keel_rgba((uint32_t)c[0], (uint32_t)c[1], (uint32_t)c[2], 255);
}

/* A text that is read well, whatever is drawn below it. */
static inline void keel_ui_above_(struct keel_ui *ui, struct keel_ui_rect r, const char *text,
                                  uint64_t bytes, uint32_t align, uint32_t color)
{
    float w = keel_ui_width_(ui, text, bytes);
    w = w < r.w ? w : r.w;
    float x = align == KEEL_ALIGN_RIGHT ? r.x + r.w - w : r.x;
    if (bytes)
        keel_round(ui->k, x - 4, r.y, w + 8, r.h, 4, keel_fade(ui->style.control, 0.75f));
    keel_ui_write(ui, r, text, bytes, align, 0, color);
}

/* A line through `count` values, from least (below) to most (above); the newest is the last. */
static inline void keel_ui_plot(struct keel_ui *ui, const char *name, const float *values,
                                uint32_t count, float least, float most, float height)
{
    const struct keel_ui_style *s = &ui->style;
    struct keel_ui_rect r = keel_ui_place(ui, height);
    struct keel_point points[258];
    float span = most > least ? most - least : 1;
    uint32_t shown = count < 256 ? count : 256;
    char text[32];
    keel_round(ui->k, r.x, r.y, r.w, r.h, s->radius, s->control);
    const struct keel_draw_1 *d = keel_draw_service_(ui->k);
    keel_push(ui->k);
    if (d)
        d->clip(ui->k, r.x, r.y, r.w, r.h, s->radius);
    for (uint32_t i = 0; i < shown; i++) {
        float value = values[(uint64_t)i * count / shown];
        float part = (value - least) / span;
        part = part > 1 ? 1 : part >= 0 ? part : 0; /* a NaN lies at the bottom */
        points[i].x = r.x + r.w * (float)i / (float)(shown > 1 ? shown - 1 : 1);
        points[i].y = r.y + r.h - 4 - part * (r.h - 8);
    }
    if (shown > 1) {
        points[shown].x = r.x + r.w;
        points[shown].y = points[shown + 1].y = r.y + r.h;
        points[shown + 1].x = r.x;
        keel_polygon(ui->k, points, shown + 2,
                     keel_linear(ui->k, 0, r.y, keel_ui_mix_(s->control, s->accent, 0.5f), 0,
                                 r.y + r.h, keel_ui_mix_(s->control, s->accent, 0.08f)));
    }
    for (int i = 1; i < 4; i++)
        keel_rect(ui->k, r.x, r.y + r.h * (float)i / 4, r.w, 1, keel_fade(s->dim, 0.1f));
    if (shown > 1)
        keel_polyline(ui->k, points, shown, 1.5f, s->accent);
    keel_pop(ui->k);
    keel_round_line(ui->k, r.x, r.y, r.w, r.h, s->radius, 1, s->edge);
    struct keel_ui_rect head = {r.x + 8, r.y + 5, r.w - 16, s->text_px * 1.3f};
    keel_ui_above_(ui, head, name, keel_ui_shown(name), KEEL_ALIGN_LEFT, s->dim);
    if (!count)
        return;
    __builtin_snprintf(text, sizeof text, span >= 100 ? "%.0f" : "%.2f", (double)values[count - 1]);
    keel_ui_above_(ui, head, text, __builtin_strlen(text), KEEL_ALIGN_RIGHT, s->text);
}

KEEL_END

#endif
