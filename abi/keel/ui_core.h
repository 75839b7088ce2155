/* What all widgets of ui.h stand on: the frame, places, pointer and keyboard, looks; and the small
 * widgets. Included by ui.h. */
#ifndef KEEL_UI_CORE_H
#define KEEL_UI_CORE_H

#include "draw.h"
#include "input.h"
#include "time.h"

KEEL_BEGIN

enum { KEEL_UI_PANELS = 16, KEEL_UI_PREEDIT = 128 };

/* What it looks like; set by keel_ui_begin when `text_px` is 0, change it as you like. */
struct keel_ui_style {
    float text_px, row, gap, padding, radius; /* logical pixels */
    float label;                              /* part of a row that is its label, 0 to 1 */
    uint32_t panel, edge, text, dim, control, hover, pressed, accent, on_accent;
};

struct keel_ui_rect {
    float x, y, w, h;
};

/* All zero at first. The members are the widgets' own, but for `style`. */
struct keel_ui {
    keel *k; /* inside a frame only */
    const struct keel_input_state *in;
    struct keel_ui_style style;
    uint64_t hot, active, focus; /* widgets: under the pointer, held, with the keyboard */
    uint64_t panel, first, last; /* the panel's id; the first and last widget for Tab */
    struct keel_ui_rect box;     /* the panel's inside */
    struct keel_point down, up;  /* where the button was pressed and let go in this frame */
    float y, top, column;
    uint32_t columns, at_column, tab, take_next, taken, pressed_key;
    struct {
        uint64_t id;
        float height;
    } panels[KEEL_UI_PANELS];
    uint32_t panel_count;
    /* The field that has the keyboard. */
    uint32_t caret, anchor, preedit_bytes, preedit_caret;
    float scroll;
    int64_t typed_ns;
    char preedit[KEEL_UI_PREEDIT];
    /* The list that is scrolled. */
    uint64_t scrolled;
    float list_scroll, grabbed;
};

/* ---- the frame ---- */

static inline struct keel_ui_style keel_ui_dark(void)
{
    struct keel_ui_style style = {14,          28,          10,          16,          5,
                                  0.36f,       0x1b1f27f5u, 0x343b48ffu, 0xe8ebf1ffu, 0xa3acbaffu,
                                  0x2b313dffu, 0x363d4bffu, 0x434c5dffu, 0x3f7ff0ffu, 0xffffffffu};
    return style;
}

static inline void keel_ui_begin(keel *k, struct keel_ui *ui)
{
    if (ui->style.text_px <= 0)
        ui->style = keel_ui_dark();
    ui->k = k;
    ui->in = keel_input_now(k);
    ui->hot = ui->first = ui->last = ui->panel = 0;
    ui->taken = ui->take_next = ui->pressed_key = 0;
    /* Quick hands are elsewhere again when the frame comes. */
    for (const struct keel_input *did = NULL; (did = keel_input_next(k, did)) != NULL;) {
        struct keel_point at = {did->x, did->y};
        if (did->what == KEEL_INPUT_BUTTON_DOWN && did->code == KEEL_BUTTON_LEFT)
            ui->down = at;
        if (did->what == KEEL_INPUT_BUTTON_UP && did->code == KEEL_BUTTON_LEFT)
            ui->up = at;
    }
    ui->tab = keel_key_pressed(k, KEEL_KEY_TAB) ? (ui->in->mods & KEEL_MOD_SHIFT ? 2u : 1u) : 0u;
    if (keel_key_pressed(k, KEEL_KEY_ENTER) || keel_key_pressed(k, KEEL_KEY_PAD_ENTER) ||
        keel_key_pressed(k, KEEL_KEY_SPACE))
        ui->pressed_key = 1;
}

/* After the last widget: a click beside all of them takes the keyboard away from the one that has
 * it. */
static inline void keel_ui_end(struct keel_ui *ui)
{
    if (ui->take_next)
        ui->focus = ui->first;
    if (ui->in->pressed >> KEEL_BUTTON_LEFT & 1u && !ui->taken)
        ui->focus = 0;
    if (!(ui->in->held >> KEEL_BUTTON_LEFT & 1u))
        ui->active = 0;
    ui->k = NULL;
    ui->in = NULL;
}

/* Nonzero while the pointer or the keyboard is the widgets': what else listens should not. */
static inline int keel_ui_busy(const struct keel_ui *ui)
{
    return ui->hot || ui->active || ui->focus;
}

/* ---- for widgets of one's own ---- */

/* The bytes of a name that are shown. */
static inline uint64_t keel_ui_shown(const char *name)
{
    const char *mark = __builtin_strstr(name, "##");
    return mark ? (uint64_t)(mark - name) : __builtin_strlen(name);
}

/* FNV-1a (Fowler, Noll, Vo), never 0. */
static inline uint64_t keel_ui_id(const struct keel_ui *ui, const char *name)
{
    uint64_t id = UINT64_C(14695981039346656037) ^ ui->panel;
    for (; *name; name++)
        id = (id ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return id | 1;
}

/* The place of the next widget: a row of the panel, or a column of it after keel_ui_row. */
static inline struct keel_ui_rect keel_ui_place(struct keel_ui *ui, float height)
{
    struct keel_ui_rect r = {ui->box.x, ui->y, ui->box.w, height};
    if (ui->columns > 1) {
        float gaps = ui->style.gap * (float)(ui->columns - 1);
        r.w = (ui->box.w - gaps) / (float)ui->columns;
        r.x += (r.w + ui->style.gap) * (float)ui->at_column;
        if (++ui->at_column < ui->columns) {
            ui->column = height > ui->column ? height : ui->column;
            return r;
        }
        height = height > ui->column ? height : ui->column;
        ui->columns = ui->at_column = 0;
        ui->column = 0;
    }
    ui->y += height + ui->style.gap;
    return r;
}

static inline int keel_ui_holds(struct keel_ui_rect r, float x, float y)
{
    return x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h;
}

static inline int keel_ui_inside(const struct keel_ui *ui, struct keel_ui_rect r)
{
    return ui->in->flags & KEEL_STATE_INSIDE && keel_ui_holds(r, ui->in->x, ui->in->y);
}

#define KEEL_UI_HOT 1u     /* under the pointer */
#define KEEL_UI_HELD 2u    /* pressed there and still held */
#define KEEL_UI_PRESSED 4u /* pressed in this frame */
#define KEEL_UI_CLICKED 8u /* pressed and let go over it */
#define KEEL_UI_FOCUS 16u  /* has the keyboard */

/* What pointer and Tab do with a widget at `r`. */
static inline uint32_t keel_ui_touch(struct keel_ui *ui, uint64_t id, struct keel_ui_rect r)
{
    uint32_t did = 0, left = 1u << KEEL_BUTTON_LEFT;
    int mine = !ui->active || ui->active == id;
    if (!ui->first)
        ui->first = id;
    if (ui->take_next) {
        ui->focus = id;
        ui->take_next = 0;
    } else if (ui->focus == id && ui->tab) {
        if (ui->tab == 1)
            ui->take_next = 1;
        else if (ui->last)
            ui->focus = ui->last;
        ui->tab = 0;
    }
    ui->last = id;
    if (mine && keel_ui_inside(ui, r)) {
        ui->hot = id;
        did |= KEEL_UI_HOT;
    }
    if (mine && ui->in->pressed & left && !ui->taken && keel_ui_holds(r, ui->down.x, ui->down.y)) {
        ui->active = ui->focus = id;
        ui->taken = 1;
        did |= KEEL_UI_PRESSED;
    }
    if (ui->active == id) {
        did |= KEEL_UI_HELD;
        if (ui->in->released & left && keel_ui_holds(r, ui->up.x, ui->up.y))
            did |= KEEL_UI_CLICKED;
    }
    return did | (ui->focus == id ? KEEL_UI_FOCUS : 0u);
}

static inline float keel_ui_width_(struct keel_ui *ui, const char *text, uint64_t bytes)
{
    const struct keel_draw_1 *d = keel_draw_service_(ui->k);
    struct keel_font font = keel_font_px(ui->style.text_px);
    struct keel_text_size size = {sizeof(struct keel_text_size), 0, 0, 0, 0, 0};
    if (d && bytes)
        d->text_size(ui->k, text, bytes, &font, &size);
    return size.width;
}

/* A line of text in the middle of a rectangle's height; `align` as KEEL_ALIGN_…; what is longer is
 * cut off. */
static inline void keel_ui_write(struct keel_ui *ui, struct keel_ui_rect r, const char *text,
                                 uint64_t bytes, uint32_t align, uint32_t weight, uint32_t color)
{
    const struct keel_draw_1 *d = keel_draw_service_(ui->k);
    struct keel_font font = keel_font_px(ui->style.text_px);
    struct keel_text_size size = {sizeof(struct keel_text_size), 0, 0, 0, 0, 0};
    if (!d || !bytes)
        return;
    font.weight = weight;
    d->text_size(ui->k, text, bytes, &font, &size);
    int cut = size.width > r.w;
    font.align = cut ? (uint32_t)KEEL_ALIGN_LEFT : align;
    float x = cut || align == KEEL_ALIGN_LEFT ? r.x
              : align == KEEL_ALIGN_CENTER    ? r.x + r.w / 2
                                              : r.x + r.w;
    if (cut) {
        keel_push(ui->k);
        keel_clip(ui->k, r.x, r.y, r.w, r.h);
    }
    d->text(ui->k, x, r.y + (r.h - size.height) / 2, text, bytes, &font, color);
    if (cut)
        keel_pop(ui->k);
}

/* A control's body with its edge; brighter under the pointer, ringed with the keyboard. */
static inline void keel_ui_body(struct keel_ui *ui, struct keel_ui_rect r, uint32_t did)
{
    const struct keel_ui_style *s = &ui->style;
    uint32_t fill = did & KEEL_UI_HELD ? s->pressed : did & KEEL_UI_HOT ? s->hover : s->control;
    keel_round(ui->k, r.x, r.y, r.w, r.h, s->radius, fill);
    if (did & KEEL_UI_FOCUS)
        keel_round_line(ui->k, r.x - 1, r.y - 1, r.w + 2, r.h + 2, s->radius + 1, 1.5f, s->accent);
    else
        keel_round_line(ui->k, r.x, r.y, r.w, r.h, s->radius, 1, s->edge);
}

/* Writes a row's label; what is left of the row is its control's. */
static inline struct keel_ui_rect keel_ui_labelled(struct keel_ui *ui, struct keel_ui_rect r,
                                                   const char *name)
{
    uint64_t shown = keel_ui_shown(name);
    if (!shown)
        return r;
    struct keel_ui_rect label = r;
    label.w = r.w * ui->style.label - ui->style.gap;
    keel_ui_write(ui, label, name, shown, KEEL_ALIGN_LEFT, 0, ui->style.dim);
    r.x += r.w * ui->style.label;
    r.w -= r.w * ui->style.label;
    return r;
}

/* ---- panels and rows ---- */

/* A panel with a title, as high as what is in it; later calls put widgets below each other. */
static inline void keel_ui_panel(struct keel_ui *ui, const char *title, float x, float y, float w)
{
    const struct keel_ui_style *s = &ui->style;
    ui->panel = 0;
    ui->panel = keel_ui_id(ui, title);
    uint32_t n = 0;
    while (n < ui->panel_count && ui->panels[n].id != ui->panel)
        n++;
    float height = n < ui->panel_count ? ui->panels[n].height : 0;
    if (height > 0) {
        keel_round(ui->k, x, y, w, height, s->radius * 2, s->panel);
        keel_round_line(ui->k, x, y, w, height, s->radius * 2, 1, s->edge);
    }
    struct keel_ui_rect all = {x, y, w, height};
    if (keel_ui_inside(ui, all) && !ui->hot)
        ui->hot = ui->panel;
    ui->top = y;
    ui->box.x = x + s->padding;
    ui->box.w = w - 2 * s->padding;
    ui->y = y + s->padding;
    ui->columns = ui->at_column = 0;
    if (keel_ui_shown(title)) {
        struct keel_ui_rect r = {ui->box.x, ui->y, ui->box.w, s->text_px * 1.3f};
        keel_ui_write(ui, r, title, keel_ui_shown(title), KEEL_ALIGN_LEFT, 700, s->text);
        ui->y += r.h + s->gap;
    }
}

static inline void keel_ui_panel_end(struct keel_ui *ui)
{
    uint32_t n = 0;
    if (ui->at_column) /* a row that isn't full */
        ui->y += ui->column + ui->style.gap;
    ui->columns = ui->at_column = 0;
    ui->column = 0;
    while (n < ui->panel_count && ui->panels[n].id != ui->panel)
        n++;
    if (n == ui->panel_count && n < KEEL_UI_PANELS)
        ui->panel_count++;
    if (n < KEEL_UI_PANELS) {
        ui->panels[n].id = ui->panel;
        ui->panels[n].height = ui->y - ui->style.gap + ui->style.padding - ui->top;
    }
}

/* The next `columns` widgets stand side by side. */
static inline void keel_ui_row(struct keel_ui *ui, uint32_t columns)
{
    ui->columns = columns;
    ui->at_column = 0;
    ui->column = 0;
}

static inline void keel_ui_space(struct keel_ui *ui, float height)
{
    ui->y += height;
}

/* ---- widgets ---- */

static inline void keel_ui_label(struct keel_ui *ui, const char *text)
{
    struct keel_ui_rect r = keel_ui_place(ui, ui->style.text_px * 1.4f);
    keel_ui_write(ui, r, text, keel_ui_shown(text), KEEL_ALIGN_LEFT, 0, ui->style.dim);
}

/* 1 when it was pressed. */
static inline int keel_ui_button(struct keel_ui *ui, const char *name)
{
    struct keel_ui_rect r = keel_ui_place(ui, ui->style.row);
    uint32_t did = keel_ui_touch(ui, keel_ui_id(ui, name), r);
    int pressed = did & KEEL_UI_CLICKED || (did & KEEL_UI_FOCUS && ui->pressed_key);
    keel_ui_body(ui, r, did);
    keel_ui_write(ui, r, name, keel_ui_shown(name), KEEL_ALIGN_CENTER, 0, ui->style.text);
    return pressed != 0;
}

/* 1 when `*on` was changed. */
static inline int keel_ui_checkbox(struct keel_ui *ui, const char *name, int32_t *on)
{
    const struct keel_ui_style *s = &ui->style;
    struct keel_ui_rect r = keel_ui_place(ui, s->row), box, label;
    uint32_t did = keel_ui_touch(ui, keel_ui_id(ui, name), r);
    int changed = did & KEEL_UI_CLICKED || (did & KEEL_UI_FOCUS && ui->pressed_key);
    if (changed)
        *on = !*on;
    box.w = box.h = 18;
    box.x = r.x;
    box.y = r.y + (r.h - box.h) / 2;
    keel_ui_body(ui, box, did);
    if (*on) {
        const struct keel_point tick[3] = {{box.x + 4.5f, box.y + 9.5f},
                                           {box.x + 7.7f, box.y + 12.7f},
                                           {box.x + 13.5f, box.y + 5.6f}};
        keel_round(ui->k, box.x, box.y, box.w, box.h, s->radius, s->accent);
        keel_polyline(ui->k, tick, 3, 2, s->on_accent);
    }
    label = r;
    label.x += box.w + s->gap;
    label.w -= box.w + s->gap;
    keel_ui_write(ui, label, name, keel_ui_shown(name), KEEL_ALIGN_LEFT, 0, s->text);
    return changed != 0;
}

/* 1 when `*value` was changed. */
static inline int keel_ui_slider(struct keel_ui *ui, const char *name, float *value, float least,
                                 float most)
{
    const struct keel_ui_style *s = &ui->style;
    struct keel_ui_rect r = keel_ui_labelled(ui, keel_ui_place(ui, s->row), name), number;
    uint32_t did = 0;
    float before = *value, span = most - least, knob = 7, wide = s->text_px * 3.4f, part;
    char text[32];
    number = r;
    number.x = r.x + r.w - wide;
    number.w = wide;
    r.w -= wide + s->gap;
    did = keel_ui_touch(ui, keel_ui_id(ui, name), r);
    if (!(span > 0))
        span = 1;
    if (did & KEEL_UI_HELD && r.w > 2 * knob)
        *value = least + span * (ui->in->x - r.x - knob) / (r.w - 2 * knob);
    if (did & KEEL_UI_FOCUS) {
        float step = span / (ui->in->mods & KEEL_MOD_SHIFT ? 10 : 100);
        const struct keel_input *in = NULL;
        while ((in = keel_input_next(ui->k, in)) != NULL)
            if (in->what == KEEL_INPUT_KEY_DOWN)
                *value += in->code == KEEL_KEY_RIGHT || in->code == KEEL_KEY_UP    ? step
                          : in->code == KEEL_KEY_LEFT || in->code == KEEL_KEY_DOWN ? -step
                                                                                   : 0;
    }
    if (!(*value >= least)) /* a NaN, too */
        *value = least;
    if (*value > most)
        *value = most;
    part = (*value - least) / span;
    float x = r.x + knob + part * (r.w - 2 * knob), y = r.y + r.h / 2;
    keel_round(ui->k, r.x, y - 2, r.w, 4, 2, s->pressed);
    keel_round(ui->k, r.x, y - 2, x - r.x, 4, 2, s->accent);
    if (did & KEEL_UI_FOCUS)
        keel_circle(ui->k, x, y, knob + 3.5f, keel_fade(s->accent, 0.35f));
    keel_circle(ui->k, x, y, knob, did & (KEEL_UI_HOT | KEEL_UI_HELD) ? s->on_accent : s->text);
    __builtin_snprintf(text, sizeof text,
                       span >= 100  ? "%.0f"
                       : span >= 10 ? "%.1f"
                                    : "%.2f",
                       (double)*value);
    keel_ui_write(ui, number, text, __builtin_strlen(text), KEEL_ALIGN_RIGHT, 0, s->text);
    return *value != before;
}

KEEL_END

#endif
