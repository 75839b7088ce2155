/* The sign over a last picture. Owns its list. Frame thread. */
#include "screen/last_sign.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* A start that is over before says nothing: a sign that flashes up is only unrest. */
#define PATIENCE_NS (INT64_C(400) * 1000 * 1000)

#define VEIL 0x10141873u
#define BACK 0x12151bf4u
#define EDGE 0xffffff1au
#define WORDS 0xe9ecf1ffu

enum { PX = 14, PAD_X = 14, PAD_Y = 8, MARGIN = 16 };

/* "14:32", with the day where it is another one. */
static void time_text(int64_t wall_ns, char *to, size_t room)
{
    time_t then = (time_t)(wall_ns / 1000000000), now = time(NULL);
    struct tm then_tm = {0}, now_tm = {0};
    localtime_r(&then, &then_tm);
    localtime_r(&now, &now_tm);
    int today = then_tm.tm_year == now_tm.tm_year && then_tm.tm_yday == now_tm.tm_yday;
    if (!strftime(to, room, today ? "%H:%M" : "%H:%M on %e %B %Y", &then_tm))
        to[0] = 0;
}

static void make(LastSign *sign, int64_t wall_ns, const DrawScreen *screen)
{
    const struct keel_font font = {.size = sizeof font, .px = PX};
    struct keel_text_size size = {.size = sizeof size};
    char when[64], text[128];
    time_text(wall_ns, when, sizeof when);
    snprintf(text, sizeof text, "As it was at %s \u2013 not running yet", when);
    draw_list_clear(&sign->list);
    draw_rect(&sign->list, 0, 0, screen->width, screen->height, 0, 0, VEIL);
    draw_text_size(&sign->list, screen, text, strlen(text), &font, &size);
    float w = size.width + 2 * PAD_X, h = size.height + 2 * PAD_Y;
    float x = (screen->width - w) / 2, y = screen->height - h - MARGIN;
    draw_rect(&sign->list, x, y, w, h, h / 2, 0, BACK);
    draw_rect(&sign->list, x, y, w, h, h / 2, 1, EDGE);
    draw_text(&sign->list, x + PAD_X, y + PAD_Y, text, strlen(text), &font, WORDS);
    sign->width = screen->width;
    sign->height = screen->height;
}

void last_sign_look(LastSign *sign, int64_t wall_ns, const DrawScreen *screen, int64_t now_ns)
{
    if (!wall_ns) {
        sign->since_ns = 0;
        sign->shown = 0;
        return;
    }
    if (!sign->since_ns)
        sign->since_ns = now_ns;
    if (now_ns - sign->since_ns < PATIENCE_NS ||
        (sign->shown && sign->width == screen->width && sign->height == screen->height))
        return;
    make(sign, wall_ns, screen);
    sign->shown = 1;
}

void last_sign_done(LastSign *sign)
{
    draw_list_done(&sign->list);
}
