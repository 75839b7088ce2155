/* Glyphs of texts in an atlas: pages of coverage that a graphics card can draw from.
 *
 * Owns the text engine and the pages. A glyph is rasterised when it is first asked for at a size.
 * When all pages are full they are emptied and `epoch` grows: places from before are void, and who
 * was in the middle of a picture begins it anew. One thread. */
#ifndef SCREEN_GLYPHS_H
#define SCREEN_GLYPHS_H

#include "screen/text.h"
#include "swap/draw.h"

enum { GLYPHS_SIDE = 1024, GLYPHS_PAGES = 12, GLYPHS_TABLE = 16384 };

typedef struct Glyph {
    uint32_t face, glyph;
    uint16_t size; /* quarters of a pixel; 0: the place in the table is free */
    uint8_t subpixel, page;
    uint16_t x, y, width, height; /* width 0: nothing to see */
    int16_t left, top;            /* from the pen */
} Glyph;

typedef struct GlyphPage {
    uint8_t *pixels;               /* GLYPHS_SIDE squared */
    uint16_t x, y, row;            /* where the next one goes; height of the row of glyphs */
    uint16_t dirty_top, dirty_end; /* rows that changed since glyphs_clean */
} GlyphPage;

enum { GLYPHS_FONTS = 64 };
typedef struct GlyphFont {
    char family[DRAW_FAMILY_BYTES + 1];
    uint32_t weight, italic, font; /* font 0: the place is free */
    TextMetrics metrics;
} GlyphFont;

/* A font of a file: its family is the file's name. */
enum { GLYPHS_FILES = 32 };
typedef struct GlyphFile {
    char family[DRAW_FAMILY_BYTES + 1];
    uint32_t font; /* 0: the place is free */
} GlyphFile;

typedef struct Glyphs {
    Text *text;
    GlyphFile files[GLYPHS_FILES];
    GlyphPage pages[GLYPHS_PAGES];
    uint32_t page_count;
    uint32_t epoch;
    Glyph table[GLYPHS_TABLE]; /* open addressing */
    uint32_t used;
    GlyphFont fonts[GLYPHS_FONTS];
    uint32_t next_font; /* which is forgotten next */
    Error failed;       /* why a text couldn't be shown, the last time */
} Glyphs;

int glyphs_new(Glyphs **ret_glyphs, Error *err);
void glyphs_free(Glyphs *glyphs);

/* From now on texts of this family are drawn with the font of these bytes, which are copied. An
 * error leaves the one before. Not in the middle of a picture. */
int glyphs_file(Glyphs *glyphs, const char *family, const void *data, size_t bytes, Error *err);

/* The font that a text asks for, or NULL, then `failed` says why. */
const GlyphFont *glyphs_font(Glyphs *glyphs, const DrawText *text);

/* The glyph's place, NULL when there is none to be had. Valid until the next call. */
const Glyph *glyphs_get(Glyphs *glyphs, uint32_t face, uint32_t glyph, uint32_t size_quarters,
                        uint32_t subpixel);

/* As DrawScreen.measure; `user` is a Glyphs. */
void glyphs_measure(void *user, const DrawText *text, struct keel_text_size *ret);

#endif
