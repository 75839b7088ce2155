/* Text and boxes of the overlay. Frame thread. */
#include <stdio.h>
#include <string.h>

#include "screen/overlay_parts.h"

static struct keel_font font_of(const OverlayFont *font)
{
    return (struct keel_font){.size = sizeof(struct keel_font),
                              .flags = font->flags,
                              .px = font->px,
                              .weight = font->weight,
                              .align = font->align};
}

void overlay_text(Overlay *overlay, float x, float y, const OverlayFont *font, uint32_t color,
                  const char *text)
{
    const struct keel_font full = font_of(font);
    draw_text(&overlay->list, x, y, text, strlen(text), &full, color);
}

float overlay_width(Overlay *overlay, const OverlayFont *font, const char *text)
{
    const struct keel_font full = font_of(font);
    struct keel_text_size size = {.size = sizeof size};
    draw_text_size(&overlay->list, overlay->screen, text, strlen(text), &full, &size);
    return size.width;
}

void overlay_fitted(Overlay *overlay, float x, float y, float width, const OverlayFont *font,
                    uint32_t color, const char *text)
{
    char room[512];
    size_t bytes = strlen(text), low = 0, high;
    if (overlay_width(overlay, font, text) <= width) {
        overlay_text(overlay, x, y, font, color, text);
        return;
    }
    high = bytes < sizeof room - 4 ? bytes : sizeof room - 4;
    while (low < high) { /* the longest beginning that fits */
        size_t middle = (low + high + 1) / 2;
        snprintf(room, sizeof room, "%.*s\xe2\x80\xa6", (int)middle, text);
        if (overlay_width(overlay, font, room) <= width)
            low = middle;
        else
            high = middle - 1;
    }
    while (low && ((unsigned char)text[low] & 0xc0) == 0x80)
        low--;
    snprintf(room, sizeof room, "%.*s\xe2\x80\xa6", (int)low, text);
    overlay_text(overlay, x, y, font, color, room);
}

void overlay_box(Overlay *overlay, float x, float y, float w, float h)
{
    draw_rect(&overlay->list, x, y, w, h, 10, 0, OVERLAY_BACK);
    draw_rect(&overlay->list, x, y, w, h, 10, 1, OVERLAY_EDGE);
}

uint32_t overlay_faded(uint32_t color, float part)
{
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return (color & ~255u) | (uint32_t)((float)(color & 255u) * part + 0.5f);
}
