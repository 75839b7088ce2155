/* Texts into glyphs. Upright text is set on whole pixels with pens at quarters of one, so that it
 * is crisp; turned text is drawn from the same pictures by smoothing. One thread. */
#include <math.h>
#include <string.h>

#include "screen/batch_parts.h"

typedef struct Setting {
    BatchList *list;
    uint32_t kind, paint;
    uint32_t size;           /* of the glyphs' pictures, quarters of a pixel */
    float grow;              /* from a picture to what is shown */
    float right[2], down[2]; /* a shown pixel along the text's axes */
    int upright;
} Setting;

static void glyph_at(const Setting *setting, const TextGlyph *glyph, float x, float y)
{
    uint32_t subpixel = 0;
    float whole_x = x, whole_y = y;
    if (setting->upright) {
        float quarter = floorf(x * TEXT_SUBPIXELS + 0.5f);
        whole_x = floorf(quarter / TEXT_SUBPIXELS);
        subpixel = (uint32_t)(quarter - whole_x * TEXT_SUBPIXELS);
        whole_y = floorf(y + 0.5f);
    }
    Batch *batch = setting->list->batch;
    const Glyph *picture =
        glyphs_get(batch->glyphs, glyph->face, glyph->glyph, setting->size, subpixel);
    if (!picture || !picture->width)
        return;
    float w = (float)picture->width / 2, h = (float)picture->height / 2;
    float dx = ((float)picture->left + w) * setting->grow;
    float dy = ((float)-picture->top + h) * setting->grow;
    float at_x = whole_x + setting->right[0] * dx + setting->down[0] * dy;
    float at_y = whole_y + setting->right[1] * dx + setting->down[1] * dy;
    float reach = (w + h) * setting->grow * 2;
    const BatchState *state = &setting->list->state;
    if (at_x + reach < (float)state->left || at_x - reach > (float)state->right ||
        at_y + reach < (float)state->top || at_y - reach > (float)state->bottom)
        return;
    Instance *i = batch_instance(
        batch, INSTANCE_GLYPH | setting->kind | (uint32_t)picture->page << 16, setting->paint);
    if (!i)
        return;
    i->at[0] = at_x;
    i->at[1] = at_y;
    memcpy(i->right, setting->right, sizeof i->right);
    memcpy(i->down, setting->down, sizeof i->down);
    i->half[0] = w * setting->grow;
    i->half[1] = h * setting->grow;
    i->place[0] = picture->x;
    i->place[1] = picture->y;
    i->place[2] = picture->width;
    i->place[3] = picture->height;
}

static int prepare(Setting *setting, const DrawText *text)
{
    const BatchState *state = &setting->list->state;
    const float *m = state->m;
    float size = text->px * state->scale, most = TEXT_SIZE_PX_MOST;
    setting->upright = state->upright && state->similar && m[0] > 0 && m[3] > 0;
    float picture = fminf(size, most);
    setting->size = (uint32_t)(picture * 4 + 0.5f);
    if (!setting->size)
        return 0;
    setting->grow = size * 4 / (float)setting->size;
    if (setting->upright && size <= most)
        setting->grow = 1;
    float scale = state->scale;
    setting->right[0] = m[0] / scale;
    setting->right[1] = m[1] / scale;
    setting->down[0] = m[2] / scale;
    setting->down[1] = m[3] / scale;
    return 1;
}

static void set_line(const Setting *setting, const DrawText *text, const TextLine *line, float y)
{
    const float *m = setting->list->state.m;
    float x = text->x;
    if (text->align != KEEL_ALIGN_LEFT)
        x -= line->width * text->px * (text->align == KEEL_ALIGN_CENTER ? 0.5f : 1);
    for (uint32_t i = 0; i < line->count; i++) {
        const TextGlyph *glyph = &line->glyphs[i];
        BatchPoint pen = batch_point(m, x + glyph->x * text->px, y + glyph->y * text->px);
        glyph_at(setting, glyph, pen.x, pen.y);
    }
}

void batch_text(BatchList *list, const DrawText *text, uint32_t kind, uint32_t paint)
{
    Glyphs *glyphs = list->batch->glyphs;
    const GlyphFont *font = glyphs ? glyphs_font(glyphs, text) : NULL;
    Setting setting = {.list = list, .kind = kind, .paint = paint};
    if (!font || !prepare(&setting, text))
        return;
    float y = text->y;
    if (!(text->flags & KEEL_FONT_BASELINE))
        y += font->metrics.ascent * text->px;
    const char *at = text->bytes + text->family_bytes, *end = at + text->text_bytes;
    for (;; y += font->metrics.line * text->px) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        TextLine line;
        if (text_shape(glyphs->text, font->font, at, (size_t)((newline ? newline : end) - at),
                       &line, &glyphs->failed) == KEEL_OK)
            set_line(&setting, text, &line, y);
        if (!newline)
            return;
        at = newline + 1;
    }
}
