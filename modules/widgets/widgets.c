/* Every widget of keel/ui.h in one place: a wave that is shaped by hand. */
#include <keel/keel.h>
#include <keel/ui.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { POINTS = 240 };

struct app {
    struct keel_ui ui;
    float frequency, level, phase, tone;
    int32_t running, heard, shape;
    uint32_t notes;
    char title[64], said[160];
};

static const char *const shapes[] = {"Sine", "Triangle", "Square", "Sawtooth", "Steps", "Pulse"};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void reset(struct app *a)
{
    a->frequency = 2;
    a->level = 0.8f;
    a->phase = 0;
    a->running = 1;
    a->shape = 0;
    strcpy(a->title, "Wave 波形");
    strcpy(a->said, "Tab goes from one to the next.");
}

static void say(keel *k, struct app *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->said, sizeof a->said, format, args);
    va_end(args);
    keel_info(k, "%s", a->said);
}

static int start(keel *k)
{
    reset(keel_state(k, struct app));
    return 0;
}

static float wave(int32_t shape, float turn)
{
    turn -= floorf(turn);
    switch (shape) {
    case 1:
        return 1 - 4 * fabsf(turn - 0.5f);
    case 2:
        return turn < 0.5f ? 1 : -1;
    case 3:
        return 2 * turn - 1;
    case 4:
        return floorf(turn * 8) / 3.5f - 1;
    case 5:
        return turn < 0.15f ? 1 : -1;
    default:
        return sinf(turn * 6.2831853f);
    }
}

static void controls(keel *k, struct app *a, float *values)
{
    struct keel_ui *ui = &a->ui;
    keel_ui_begin(k, ui);
    keel_ui_panel(ui, "Shape", 24, 24, 340);
    if (keel_ui_field(ui, "Title", a->title, sizeof a->title) & KEEL_UI_DONE)
        say(k, a, "Called %s from now on.", a->title);
    keel_ui_slider(ui, "Frequency", &a->frequency, 0.5f, 8);
    keel_ui_slider(ui, "Level", &a->level, 0, 1);
    keel_ui_row(ui, 2);
    keel_ui_checkbox(ui, "Running", &a->running);
    keel_ui_checkbox(ui, "Heard", &a->heard);
    keel_ui_list(ui, "Shapes", shapes, SHAPES, &a->shape, 4);
    keel_ui_row(ui, 2);
    if (keel_ui_button(ui, "Note it"))
        say(k, a, "%u: %s of %.2f Hz, %s", ++a->notes, shapes[a->shape % SHAPES],
            (double)a->frequency, a->title);
    if (keel_ui_button(ui, "Reset"))
        reset(a);
    keel_ui_label(ui, a->said);
    keel_ui_panel_end(ui);
    float width = keel_width(k) - 340 - 24 * 3;
    keel_ui_panel(ui, a->title[0] ? a->title : " ", 24 * 2 + 340, 24, width < 160 ? 160 : width);
    keel_ui_plot(ui, shapes[a->shape % SHAPES], values, POINTS, -1, 1, 220);
    keel_ui_panel_end(ui);
    keel_ui_end(ui);
}

/* The same wave, 110 times as fast. */
static void sound(keel *k, struct app *a)
{
    uint32_t frames;
    float *out = keel_audio_stream(k, &frames);
    for (uint32_t i = 0; i < frames; i++) {
        out[2 * i] = out[2 * i + 1] = 0.2f * a->level * wave(a->shape, a->tone);
        a->tone += 110 * a->frequency / KEEL_AUDIO_RATE;
    }
    a->tone -= floorf(a->tone);
}

static void frame(keel *k, const struct keel_frame *f)
{
    struct app *a = keel_state(k, struct app);
    float values[POINTS];
    if (a->running)
        a->phase += (float)f->dt * 0.25f;
    a->phase -= floorf(a->phase);
    for (int i = 0; i < POINTS; i++)
        values[i] = a->level * wave(a->shape, a->frequency * ((float)i / POINTS) + a->phase);
    keel_clear(k, 0x11141aff);
    controls(k, a, values);
    if (a->heard)
        sound(k, a);
}

KEEL_MODULE("widgets", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
