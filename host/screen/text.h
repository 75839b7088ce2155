/* Text: fonts by name, shaping, and pictures of single glyphs.
 *
 * Fonts are found by fontconfig, shaped by HarfBuzz, drawn by FreeType. Shaping knows no size: all
 * its lengths are in em, so that one shaping serves every size and scale. Glyphs that the font
 * lacks come from the system's other fonts, cluster by cluster, and at last are the font's empty
 * box. Lines of one direction are shaped right; a line that mixes directions has its pieces in
 * their own direction, laid from left to right.
 *
 * Nothing is read from disk until the first font is opened. All caches are bounded. One thread at a
 * time. Any bytes are taken: what is no UTF-8 is shown as U+FFFD, control characters as nothing. */
#ifndef SCREEN_TEXT_H
#define SCREEN_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct Text Text;

enum {
    TEXT_FONTS = 64,         /* open at once */
    TEXT_FACES = 128,        /* files that glyphs come from, fallbacks included */
    TEXT_LINE_BYTES = 16384, /* what a line has beyond is not shown */
    TEXT_SIZE_PX_MOST = 512, /* of a glyph's picture */
    TEXT_SUBPIXELS = 4,      /* pictures a glyph has, for pens between two pixels */
    TEXT_FONT_BYTES_MOST = 64 << 20
};

/* One glyph, placed from the line's start on its baseline; y grows downwards. In em. */
typedef struct TextGlyph {
    uint32_t face;    /* for text_raster */
    uint32_t glyph;   /* its number in the face */
    uint32_t cluster; /* the byte of the line that it begins to show */
    float x, y;
    float advance;
} TextGlyph;

/* A shaped line. Valid until the next text_shape with the same Text. In em. */
typedef struct TextLine {
    const TextGlyph *glyphs; /* in the order they are drawn, from left to right */
    uint32_t count;
    uint32_t bytes; /* of the line that were shaped */
    float width;
} TextLine;

/* In em, positive: above and below the baseline, and the distance of two baselines. */
typedef struct TextMetrics {
    float ascent, descent, line;
} TextMetrics;

/* Coverage of one glyph, a byte a pixel, 255 is full. The pixel (0, 0) lies `left` right of the
 * pen's whole pixel and `top` above the baseline. Valid until the next call with the same Text. */
typedef struct TextBitmap {
    const uint8_t *pixels;
    int32_t stride; /* bytes from a row to the one below */
    int32_t width, height, left, top;
} TextBitmap;

int text_new(Text **ret_text, Error *err);
void text_free(Text *text);

/* The font that fits best: there is always one, unless the system has none at all. `family` may be
 * a generic name: "sans-serif", "serif", "monospace". `weight` as CSS has it, 100 to 900; 0 is 400.
 * The same font asked for again is the same number; numbers begin at 1. */
int text_font(Text *text, const char *family, uint32_t weight, int italic, uint32_t *ret_font,
              Error *err);

/* A font of a file's bytes, which are copied. */
int text_font_bytes(Text *text, const void *data, size_t bytes, uint32_t *ret_font, Error *err);

/* Forgets a font of text_font_bytes; its number may come again. Fonts of the system stay. */
void text_font_close(Text *text, uint32_t font);

/* KEEL_EINVAL for a number that is no font. */
int text_metrics(Text *text, uint32_t font, TextMetrics *ret_metrics);

int text_shape(Text *text, uint32_t font, const char *utf8, size_t bytes, TextLine *ret_line,
               Error *err);

/* Where a caret before `byte` of a shaped line stands, in em: inside a cluster of several
 * characters its share of the width. */
float text_caret(const TextLine *line, const char *utf8, size_t byte);

/* The picture of a glyph at `size_px` with the pen `subpixel`/TEXT_SUBPIXELS of a pixel to the
 * right. An empty glyph has width 0. Not cached here: who draws keeps them. */
int text_raster(Text *text, uint32_t face, uint32_t glyph, float size_px, uint32_t subpixel,
                TextBitmap *ret_bitmap, Error *err);

#endif
