/* The atlas: finds, rasterises and places glyphs. Owns the text engine, the pages and the fonts'
 * names. One thread. */
#include "screen/glyphs.h"

#include <stdlib.h>
#include <string.h>

enum { GAP = 1 }; /* between glyphs, so that smoothing takes nothing of the neighbour */

int glyphs_new(Glyphs **ret_glyphs, Error *err)
{
    Glyphs *glyphs = calloc(1, sizeof *glyphs);
    if (!glyphs)
        return err_set(err, KEEL_ENOMEM, "no memory for glyphs");
    int rc = text_new(&glyphs->text, err);
    if (rc) {
        free(glyphs);
        return rc;
    }
    *ret_glyphs = glyphs;
    return KEEL_OK;
}

void glyphs_free(Glyphs *glyphs)
{
    if (!glyphs)
        return;
    for (uint32_t i = 0; i < GLYPHS_PAGES; i++)
        free(glyphs->pages[i].pixels);
    text_free(glyphs->text);
    free(glyphs);
}

/* ---- fonts ---- */

static void forget_all(Glyphs *glyphs)
{
    memset(glyphs->table, 0, sizeof glyphs->table);
    glyphs->used = 0;
    for (uint32_t i = 0; i < glyphs->page_count; i++) {
        GlyphPage *page = &glyphs->pages[i];
        page->x = page->y = page->row = 0;
    }
    glyphs->epoch++;
}

static GlyphFile *file_of(Glyphs *glyphs, const char *family)
{
    for (int i = 0; i < GLYPHS_FILES; i++)
        if (glyphs->files[i].font && !strcmp(glyphs->files[i].family, family))
            return &glyphs->files[i];
    return NULL;
}

int glyphs_file(Glyphs *glyphs, const char *family, const void *data, size_t bytes, Error *err)
{
    if (strlen(family) > DRAW_FAMILY_BYTES)
        return err_set(err, KEEL_ELIMIT, "%s: the path of a font has at most %d bytes", family,
                       DRAW_FAMILY_BYTES);
    GlyphFile *file = file_of(glyphs, family);
    for (int i = 0; !file && i < GLYPHS_FILES; i++)
        file = glyphs->files[i].font ? NULL : &glyphs->files[i];
    if (!file)
        return err_set(err, KEEL_ELIMIT, "%s: more than %d fonts of files", family, GLYPHS_FILES);
    uint32_t font;
    int rc = text_font_bytes(glyphs->text, data, bytes, &font, err);
    if (rc)
        return err_wrap(err, "%s", family);
    text_font_close(glyphs->text, file->font);
    strcpy(file->family, family);
    file->font = font;
    memset(glyphs->fonts, 0, sizeof glyphs->fonts); /* the family may have meant another */
    glyphs->next_font = 0;
    forget_all(glyphs); /* faces have other numbers now */
    return KEEL_OK;
}

const GlyphFont *glyphs_font(Glyphs *glyphs, const DrawText *text)
{
    char family[DRAW_FAMILY_BYTES + 1];
    uint32_t italic = (text->flags & KEEL_FONT_ITALIC) != 0;
    memcpy(family, text->bytes, text->family_bytes);
    family[text->family_bytes] = 0;
    if (!family[0])
        strcpy(family, text->flags & KEEL_FONT_MONO ? "monospace" : "sans-serif");
    for (int i = 0; i < GLYPHS_FONTS && glyphs->fonts[i].font; i++) {
        const GlyphFont *font = &glyphs->fonts[i];
        if (font->weight == text->weight && font->italic == italic && !strcmp(font->family, family))
            return font;
    }
    GlyphFont font = {.weight = text->weight, .italic = italic};
    memcpy(font.family, family, sizeof family);
    const GlyphFile *file = file_of(glyphs, family);
    if (file)
        font.font = file->font;
    else if (text_font(glyphs->text, family, text->weight, (int)italic, &font.font,
                       &glyphs->failed))
        return NULL;
    if (text_metrics(glyphs->text, font.font, &font.metrics))
        return NULL;
    GlyphFont *place = &glyphs->fonts[glyphs->next_font++ % GLYPHS_FONTS];
    *place = font;
    return place;
}

/* ---- places ---- */

static uint32_t hash(uint32_t face, uint32_t glyph, uint32_t size, uint32_t subpixel)
{
    uint64_t key = ((uint64_t)face << 40 ^ (uint64_t)glyph << 20 ^ size << 2 ^ subpixel);
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40);
}

static int place_on(GlyphPage *page, uint32_t width, uint32_t height, Glyph *glyph)
{
    if (page->x + width > GLYPHS_SIDE) {
        page->x = 0;
        page->y = (uint16_t)(page->y + page->row);
        page->row = 0;
    }
    if (page->y + height > GLYPHS_SIDE || width > GLYPHS_SIDE)
        return 0;
    glyph->x = page->x;
    glyph->y = page->y;
    page->x = (uint16_t)(page->x + width);
    if (height > page->row)
        page->row = (uint16_t)height;
    return 1;
}

/* On the newest page, or on a new one. 0: none has room. */
static int place(Glyphs *glyphs, uint32_t width, uint32_t height, Glyph *glyph)
{
    for (uint32_t i = 0; i < glyphs->page_count; i++)
        if (place_on(&glyphs->pages[i], width, height, glyph)) {
            glyph->page = (uint8_t)i;
            return 1;
        }
    if (glyphs->page_count == GLYPHS_PAGES)
        return 0;
    GlyphPage *page = &glyphs->pages[glyphs->page_count];
    *page = (GlyphPage){.pixels = calloc(GLYPHS_SIDE, GLYPHS_SIDE)};
    if (!page->pixels)
        return 0;
    glyph->page = (uint8_t)glyphs->page_count++;
    return place_on(page, width, height, glyph);
}

/* Its gap is cleared with it: another glyph may have been there before. */
static void copy(Glyphs *glyphs, const TextBitmap *bitmap, const Glyph *glyph, uint32_t width,
                 uint32_t height)
{
    GlyphPage *page = &glyphs->pages[glyph->page];
    for (uint32_t y = 0; y < height; y++) {
        uint8_t *to = page->pixels + (size_t)(glyph->y + y) * GLYPHS_SIDE + glyph->x;
        memset(to, 0, width);
        if (y < glyph->height)
            memcpy(to, bitmap->pixels + (ptrdiff_t)y * bitmap->stride, glyph->width);
    }
    uint16_t end = (uint16_t)(glyph->y + height);
    if (page->dirty_top >= page->dirty_end) {
        page->dirty_top = glyph->y;
        page->dirty_end = end;
    } else {
        page->dirty_top = glyph->y < page->dirty_top ? glyph->y : page->dirty_top;
        page->dirty_end = end > page->dirty_end ? end : page->dirty_end;
    }
}

static int make(Glyphs *glyphs, Glyph *glyph)
{
    TextBitmap bitmap;
    if (text_raster(glyphs->text, glyph->face, glyph->glyph, (float)glyph->size / 4,
                    glyph->subpixel, &bitmap, &glyphs->failed))
        return 0;
    if (bitmap.width <= 0 || bitmap.height <= 0)
        return 1;
    if (bitmap.width > GLYPHS_SIDE - GAP || bitmap.height > GLYPHS_SIDE - GAP)
        return 0;
    glyph->width = (uint16_t)bitmap.width;
    glyph->height = (uint16_t)bitmap.height;
    glyph->left = (int16_t)bitmap.left;
    glyph->top = (int16_t)bitmap.top;
    uint32_t width = glyph->width + GAP, height = glyph->height + GAP;
    if (!place(glyphs, width, height, glyph)) {
        forget_all(glyphs);
        if (!place(glyphs, width, height, glyph))
            return 0;
    }
    copy(glyphs, &bitmap, glyph, width, height);
    return 1;
}

const Glyph *glyphs_get(Glyphs *glyphs, uint32_t face, uint32_t glyph, uint32_t size_quarters,
                        uint32_t subpixel)
{
    if (!size_quarters || size_quarters > TEXT_SIZE_PX_MOST * 4)
        return NULL;
    if (glyphs->used >= GLYPHS_TABLE * 3 / 4)
        forget_all(glyphs);
    uint32_t i = hash(face, glyph, size_quarters, subpixel) % GLYPHS_TABLE;
    for (; glyphs->table[i].size; i = (i + 1) % GLYPHS_TABLE) {
        const Glyph *at = &glyphs->table[i];
        if (at->glyph == glyph && at->face == face && at->size == size_quarters &&
            at->subpixel == subpixel)
            return at;
    }
    Glyph fresh = {.face = face,
                   .glyph = glyph,
                   .size = (uint16_t)size_quarters,
                   .subpixel = (uint8_t)subpixel};
    uint32_t epoch = glyphs->epoch;
    if (!make(glyphs, &fresh)) /* remembered as nothing to see: it would fail again */
        fresh.width = 0;
    if (epoch != glyphs->epoch) /* the table is empty now */
        i = hash(face, glyph, size_quarters, subpixel) % GLYPHS_TABLE;
    glyphs->table[i] = fresh;
    glyphs->used++;
    return &glyphs->table[i];
}

/* ---- sizes ---- */

void glyphs_measure(void *user, const DrawText *text, struct keel_text_size *ret)
{
    Glyphs *glyphs = user;
    const GlyphFont *font = glyphs_font(glyphs, text);
    if (!font)
        return;
    const char *at = text->bytes + text->family_bytes, *end = at + text->text_bytes;
    for (;;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t bytes = (size_t)((newline ? newline : end) - at);
        TextLine line;
        if (text_shape(glyphs->text, font->font, at, bytes, &line, &glyphs->failed) == KEEL_OK &&
            line.width * text->px > ret->width)
            ret->width = line.width * text->px;
        ret->lines++;
        if (!newline)
            break;
        at = newline + 1;
    }
    ret->height = (float)ret->lines * font->metrics.line * text->px;
    ret->ascent = font->metrics.ascent * text->px;
}
