/* The overlay: what is shown when, its keys, and the list it is drawn into. Owns all of it. Frame
 * thread; notes and problems may come from any. */
#include "screen/overlay.h"

#include <keel/input.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "screen/overlay_parts.h"

#define NOTE_NS (INT64_C(6) * 1000 * 1000 * 1000)
#define FADE_NS (INT64_C(300) * 1000 * 1000)

static const OverlayFont note_font = {14, 400, 0, KEEL_ALIGN_LEFT};
static const OverlayFont strong_font = {14, 700, 0, KEEL_ALIGN_LEFT};
static const OverlayFont code_font = {14, 400, KEEL_FONT_MONO, KEEL_ALIGN_LEFT};
static const OverlayFont small_font = {12, 400, 0, KEEL_ALIGN_LEFT};

int overlay_new(const OverlayOptions *options, Overlay **ret, Error *err)
{
    Overlay *overlay = calloc(1, sizeof *overlay);
    if (!overlay || panel_init(&overlay->panel)) {
        free(overlay);
        return err_set(err, KEEL_ENOMEM, "no memory for the overlay");
    }
    pthread_mutex_init(&overlay->lock, NULL);
    overlay->options = *options;
    overlay->notes_shown = options->notes;
    snprintf(overlay->hint, sizeof overlay->hint, "%s", options->hint ? options->hint : "");
    *ret = overlay;
    return KEEL_OK;
}

void overlay_free(Overlay *overlay)
{
    if (!overlay)
        return;
    panel_done(&overlay->panel);
    draw_list_done(&overlay->list);
    pthread_mutex_destroy(&overlay->lock);
    free(overlay);
}

void overlay_show_tweaks(Overlay *overlay, int shown)
{
    overlay->panel.shown = shown;
    overlay->panel.drag = overlay->panel.hover = -1;
}

/* ---- from other threads ---- */

void overlay_note(Overlay *overlay, OverlayTone tone, const char *text)
{
    pthread_mutex_lock(&overlay->lock);
    if (overlay->posted_count == OVERLAY_NOTES)
        memmove(overlay->posted, overlay->posted + 1,
                (size_t)--overlay->posted_count * sizeof *overlay->posted);
    OverlayNote *note = &overlay->posted[overlay->posted_count++];
    *note = (OverlayNote){.tone = tone};
    snprintf(note->text, sizeof note->text, "%s", text);
    pthread_mutex_unlock(&overlay->lock);
}

void overlay_problems(Overlay *overlay, const OverlayProblem *problems, int count, int all,
                      const char *after)
{
    if (count > OVERLAY_PROBLEMS)
        count = OVERLAY_PROBLEMS;
    pthread_mutex_lock(&overlay->lock);
    for (int i = 0; i < count; i++)
        overlay->problems.list[i] = problems[i];
    overlay->problems.count = count;
    overlay->problems.all = all;
    overlay->problems.changed = 1;
    snprintf(overlay->problems.after, sizeof overlay->problems.after, "%s", after ? after : "");
    pthread_mutex_unlock(&overlay->lock);
}

static void take_posted(Overlay *overlay, int64_t now_ns)
{
    pthread_mutex_lock(&overlay->lock);
    for (int i = 0; i < overlay->posted_count; i++) {
        if (overlay->note_count == OVERLAY_NOTES)
            memmove(overlay->notes, overlay->notes + 1,
                    (size_t)--overlay->note_count * sizeof *overlay->notes);
        overlay->notes[overlay->note_count] = overlay->posted[i];
        overlay->notes[overlay->note_count++].begun_ns = now_ns;
        if (overlay->posted[i].tone == OVERLAY_GOOD)
            overlay->hinted = 1;
    }
    overlay->posted_count = 0;
    if (overlay->problems.changed) {
        memcpy(overlay->shown, overlay->problems.list, sizeof overlay->shown);
        memcpy(overlay->shown_after, overlay->problems.after, sizeof overlay->shown_after);
        overlay->shown_count = overlay->problems.count;
        overlay->shown_all = overlay->problems.all;
        overlay->problems.changed = 0;
    }
    pthread_mutex_unlock(&overlay->lock);
    while (overlay->note_count && now_ns - overlay->notes[0].begun_ns > NOTE_NS)
        memmove(overlay->notes, overlay->notes + 1,
                (size_t)--overlay->note_count * sizeof *overlay->notes);
}

/* ---- keys ---- */

static void hold(Overlay *overlay, Host *host)
{
    HostPast past;
    host_past_status(host, &past);
    if (!past.reach_ns) {
        char text[200];
        snprintf(text, sizeof text, "no way back: %s", past.why[0] ? past.why : "it just began");
        overlay_note(overlay, OVERLAY_WARN, text);
        return;
    }
    overlay->holding = 1;
    overlay->was_paused = (int)atomic_load(&host->paused);
    overlay->hold_ns = clock_now_ns();
    overlay->hold_from_ns = overlay->hold_at_ns = host->module_ns;
    overlay->hold_reach_ns = past.reach_ns;
    keel_host_pause(host, 1);
}

static void let_go(Overlay *overlay, Host *host)
{
    Error err = {0};
    overlay->holding = 0;
    if (host_go_back(host, host->module_ns, 1, &err))
        overlay_note(overlay, OVERLAY_WARN, err.text);
    keel_host_pause(host, (uint32_t)overlay->was_paused);
}

/* First as fast as time went by, then ever faster. */
void overlay_before_frame(Overlay *overlay, Host *host, int64_t now_ns)
{
    if (!overlay->holding)
        return;
    double held = (double)(now_ns - overlay->hold_ns) / 1e9;
    int64_t back_ns = (int64_t)((held + held * held * 0.5) * 1e9);
    if (back_ns > overlay->hold_reach_ns)
        back_ns = overlay->hold_reach_ns;
    int64_t at_ns = overlay->hold_from_ns - back_ns;
    Error err = {0};
    if (at_ns >= overlay->hold_at_ns)
        return;
    overlay->hold_at_ns = at_ns;
    if (host_go_back(host, at_ns, 0, &err))
        overlay_note(overlay, OVERLAY_WARN, err.text);
}

static int key(Overlay *overlay, Host *host, const struct keel_input *input)
{
    int down = input->what == KEEL_INPUT_KEY_DOWN && !(input->flags & KEEL_INPUT_REPEAT);
    int up = input->what == KEEL_INPUT_KEY_UP;
    switch (input->code) {
    case KEEL_KEY_F1:
        if (down)
            overlay_show_tweaks(overlay, !overlay->panel.shown);
        return 1;
    case KEEL_KEY_F2:
        if (down)
            overlay->notes_shown = !overlay->notes_shown;
        return 1;
    case KEEL_KEY_F3:
        if (down && !overlay->holding)
            hold(overlay, host);
        else if (up && overlay->holding)
            let_go(overlay, host);
        return 1;
    case KEEL_KEY_F5:
        if (down)
            keel_host_pause(host, !atomic_load(&host->paused));
        return 1;
    case KEEL_KEY_F6:
        if (input->what == KEEL_INPUT_KEY_DOWN) /* held: one after another */
            host_step(host, 1, NULL, NULL);
        return 1;
    default:
        return 0;
    }
}

/* What began on a module's picture goes on there, and what began on the panel ends there. */
static int pointer(Overlay *overlay, Host *host, const struct keel_input *input)
{
    int taken = 0;
    overlay->mouse_x = input->x;
    overlay->mouse_y = input->y;
    if (overlay->panel.shown && !overlay->below &&
        (input->what != KEEL_INPUT_BUTTON_UP || overlay->pressed))
        taken = panel_input(overlay, host, input);
    if (input->what == KEEL_INPUT_BUTTON_DOWN) {
        overlay->pressed |= taken;
        overlay->below |= !taken;
    } else if (input->what == KEEL_INPUT_BUTTON_UP) {
        taken = overlay->pressed;
        overlay->pressed = overlay->below = 0;
    }
    return taken || (overlay->pressed && input->what == KEEL_INPUT_MOVE);
}

int overlay_input(void *user, Host *host, const struct keel_input *input)
{
    Overlay *overlay = user;
    switch (input->what) {
    case KEEL_INPUT_KEY_DOWN:
    case KEEL_INPUT_KEY_UP:
        return key(overlay, host, input);
    case KEEL_INPUT_MOVE:
    case KEEL_INPUT_BUTTON_DOWN:
    case KEEL_INPUT_BUTTON_UP:
    case KEEL_INPUT_WHEEL:
        return pointer(overlay, host, input);
    case KEEL_INPUT_BLUR: /* keys and buttons are held no more */
        if (overlay->holding)
            let_go(overlay, host);
        overlay->pressed = overlay->below = 0;
        overlay->panel.drag = -1;
        return 0;
    default:
        return 0;
    }
}

/* ---- drawing ---- */

static uint32_t tone_color(OverlayTone tone)
{
    return tone == OVERLAY_GOOD   ? OVERLAY_GREEN
           : tone == OVERLAY_WARN ? OVERLAY_AMBER
           : tone == OVERLAY_BAD  ? OVERLAY_RED
                                  : OVERLAY_BLUE;
}

static float pill(Overlay *overlay, float bottom, uint32_t dot, float visible, const char *text)
{
    enum { HEIGHT = 34, LEFT = 32, RIGHT = 16 };
    float most = overlay->width - 2 * OVERLAY_MARGIN - LEFT - RIGHT;
    if (overlay->panel.shown)
        most -= OVERLAY_PANEL + OVERLAY_MARGIN;
    float width = overlay_width(overlay, &note_font, text);
    width = width < most ? width : most;
    float x = OVERLAY_MARGIN, y = bottom - HEIGHT;
    draw_rect(&overlay->list, x, y, width + LEFT + RIGHT, HEIGHT, 17, 0,
              overlay_faded(OVERLAY_BACK, visible));
    draw_ellipse(&overlay->list, x + 18, y + HEIGHT / 2.f, 4, 4, 0, overlay_faded(dot, visible));
    overlay_fitted(overlay, x + LEFT, y + 8.5f, width + 1, &note_font,
                   overlay_faded(OVERLAY_TEXT, visible), text);
    return y - 8;
}

static float visible(const OverlayNote *note, int64_t now_ns)
{
    int64_t age = now_ns - note->begun_ns, left = NOTE_NS - age;
    if (age < FADE_NS / 2)
        return (float)age / (float)(FADE_NS / 2);
    return left < FADE_NS ? (float)left / (float)FADE_NS : 1;
}

static float notes(Overlay *overlay, float bottom, int64_t now_ns)
{
    if (!overlay->notes_shown)
        return bottom;
    if (overlay->hint[0] && !overlay->hinted)
        bottom = pill(overlay, bottom, OVERLAY_BLUE, 1, overlay->hint);
    for (int i = overlay->note_count - 1; i >= 0; i--)
        bottom = pill(overlay, bottom, tone_color(overlay->notes[i].tone),
                      visible(&overlay->notes[i], now_ns), overlay->notes[i].text);
    return bottom;
}

/* The source line with its number; what is meant is underlined. Returns its height. */
static float source(Overlay *overlay, const OverlayProblem *problem, float x, float y, float width)
{
    char number[16];
    snprintf(number, sizeof number, "%d", problem->line);
    float gutter = overlay_width(overlay, &code_font, number) + 14;
    float letter = overlay_width(overlay, &code_font, "0000000000") / 10;
    draw_rect(&overlay->list, x, y, width, 32, 6, 0, 0x00000052);
    overlay_text(overlay, x + 10, y + 7, &code_font, 0x6b7686ff, number);
    /* Without its indentation; what stands far to the right comes into view. */
    int shift = (int)strspn(problem->source, " \t");
    int most = (int)((width - gutter - 24) / (letter > 1 ? letter : 1));
    if (problem->to > problem->from && shift > problem->from)
        shift = problem->from;
    if (problem->to - shift > most && problem->from - 12 > shift)
        shift = problem->from - 12;
    const char *text = problem->source;
    for (int i = 0; i < shift && *text; i++)
        do
            text++;
        while (((unsigned char)*text & 0xc0) == 0x80);
    float left = x + 10 + gutter;
    overlay_fitted(overlay, left, y + 7, width - gutter - 20, &code_font, OVERLAY_TEXT, text);
    float from = left + letter * (float)(problem->from - shift);
    float to = left + letter * (float)(problem->to - shift);
    if (problem->to > problem->from && from < x + width)
        draw_rect(&overlay->list, from, y + 26, to - from, 2, 1, 0,
                  problem->warning == OVERLAY_WARNING ? OVERLAY_AMBER : OVERLAY_RED);
    return 32;
}

static float problem_height(const OverlayProblem *problem)
{
    return 24 + (problem->source[0] ? 38 : 0) + 8;
}

/* What the compiler says, along the bottom. Returns its top. */
static float problems(Overlay *overlay, float bottom)
{
    enum { PAD = 16, HEAD = 30 };
    if (!overlay->shown_count)
        return bottom;
    float width = overlay->width - 2 * OVERLAY_MARGIN;
    if (overlay->panel.shown)
        width -= OVERLAY_PANEL + OVERLAY_MARGIN;
    width = width < 860 ? width : 860;
    float height = PAD + HEAD + 4;
    int fit = 0;
    while (fit < overlay->shown_count &&
           (!fit || height + problem_height(&overlay->shown[fit]) < overlay->height * 0.55f))
        height += problem_height(&overlay->shown[fit++]);
    float x = OVERLAY_MARGIN, y = bottom - height;
    static const char *const kinds[] = {"error", "warning", "crash"};
    int kind = overlay->shown[0].warning;
    uint32_t color = kind == OVERLAY_WARNING ? OVERLAY_AMBER : OVERLAY_RED;
    overlay_box(overlay, x, y, width, height);
    draw_rect(&overlay->list, x + 10, y + PAD - 1, 3, 18, 1.5f, 0, color);
    char text[700];
    snprintf(text, sizeof text, overlay->shown_all == 1 ? "%d %s" : "%d %ss", overlay->shown_all,
             kinds[kind < 3 ? kind : 0]);
    overlay_text(overlay, x + 22, y + PAD - 1, &strong_font, OVERLAY_TEXT, text);
    overlay_text(overlay, x + 30 + overlay_width(overlay, &strong_font, text), y + PAD + 1,
                 &small_font, OVERLAY_DIM, overlay->shown_after);
    y += PAD + HEAD;
    for (int i = 0; i < fit; i++) {
        const OverlayProblem *problem = &overlay->shown[i];
        float at = x + 22, most = width - 22 - PAD;
        if (problem->file[0]) {
            const char *base = strrchr(problem->file, '/');
            snprintf(text, sizeof text, problem->column ? "%s:%d:%d" : "%s:%d",
                     base ? base + 1 : problem->file, problem->line, problem->column);
            overlay_text(overlay, at, y, &code_font, color, text);
            float used = overlay_width(overlay, &code_font, text) + 12;
            at += used;
            most -= used;
        }
        overlay_fitted(overlay, at, y, most, &note_font, OVERLAY_TEXT, problem->text);
        y += 24;
        if (problem->source[0])
            y += source(overlay, problem, x + 22, y, width - 22 - PAD) + 6;
        y += 8;
    }
    return bottom - height - 8;
}

/* What the panel leaves. */
static float free_width(const Overlay *overlay)
{
    return overlay->panel.shown ? overlay->width - OVERLAY_PANEL - OVERLAY_MARGIN : overlay->width;
}

/* Returns where what lies below it begins. */
static float timeline(Overlay *overlay, const Host *host)
{
    if (!overlay->holding && !host->replaying)
        return OVERLAY_MARGIN;
    static const OverlayFont font = {13, 400, KEEL_FONT_MONO, KEEL_ALIGN_CENTER};
    float all = free_width(overlay), w = all * 0.5f, x = (all - w) / 2, y = 34;
    double reach = (double)overlay->hold_reach_ns / 1e9;
    double back = (double)(overlay->hold_from_ns - host->module_ns) / 1e9;
    float part = reach > 0 ? 1 - (float)(back / reach) : 1;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    char text[80];
    if (overlay->holding)
        snprintf(text, sizeof text, "%.1f s back", back > 0 ? back : 0);
    else
        snprintf(text, sizeof text, "the same input again");
    overlay_box(overlay, x - 20, y - 18, w + 40, 56);
    draw_rect(&overlay->list, x, y, w, 4, 2, 0, OVERLAY_TRACK);
    if (reach > 0) {
        draw_rect(&overlay->list, x, y, w * part, 4, 2, 0, OVERLAY_BLUE);
        draw_ellipse(&overlay->list, x + w * part, y + 2, 6.5f, 6.5f, 0, 0xf6f8fbff);
    }
    overlay_text(overlay, all / 2, y + 14, &font, OVERLAY_TEXT, text);
    return y + 46;
}

static void still(Overlay *overlay, const Host *host, float y)
{
    if (!atomic_load(&host->paused) || overlay->holding)
        return;
    static const OverlayFont font = {13, 700, 0, KEEL_ALIGN_CENTER};
    float all = free_width(overlay), w = 290, x = (all - w) / 2;
    draw_rect(&overlay->list, x, y, w, 32, 16, 0, OVERLAY_BACK);
    overlay_text(overlay, all / 2, y + 8, &font, OVERLAY_TEXT,
                 "Standing still \xc2\xb7 F5 goes on, F6 steps");
}

const DrawList *overlay_draw(Overlay *overlay, Host *host, const DrawScreen *screen, int64_t now_ns,
                             uint64_t *ret_serial)
{
    overlay->screen = screen;
    overlay->width = screen->width;
    overlay->height = screen->height;
    take_posted(overlay, now_ns);
    draw_list_clear(&overlay->list);
    float bottom = problems(overlay, overlay->height - OVERLAY_MARGIN);
    notes(overlay, bottom, now_ns);
    still(overlay, host, timeline(overlay, host));
    if (overlay->panel.shown) {
        panel_look(overlay, host);
        panel_draw(overlay);
    }
    Hash hash = hash_bytes(overlay->list.data, overlay->list.used);
    if (!hash_equal(hash, overlay->made_of)) {
        overlay->made_of = hash;
        overlay->serial++;
    }
    *ret_serial = overlay->serial;
    return overlay->list.used ? &overlay->list : NULL;
}
