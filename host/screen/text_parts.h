/* What the files of text share: faces and how they are found. Only text_*.c and text.c include it.
 */
#ifndef SCREEN_TEXT_PARTS_H
#define SCREEN_TEXT_PARTS_H

#include <fontconfig/fontconfig.h>
#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_OUTLINE_H
#include <hb.h>

#include "base/hash.h"
#include "screen/text.h"

/* One font file's face, in FreeType's and HarfBuzz's view of the same bytes. */
typedef struct TextFace {
    hb_blob_t *blob; /* NULL: the place is free */
    hb_font_t *font; /* scaled to its units */
    FT_Face ft;
    uint32_t units; /* of an em */
    float size_px;  /* what `ft` is set to, 0 for none */
    int embolden;   /* the file is lighter than what was asked for */
    int slant;      /* the file is upright, and a slanted one was asked for */
    char *path;     /* NULL: bytes of text_font_bytes */
    int index;
} TextFace;

typedef struct TextFont {
    int open;
    uint32_t face;
    FcPattern *wanted;  /* NULL: of bytes; falls back like sans-serif */
    FcFontSet *sorted;  /* all others, best first; made when a glyph is missing */
    uint8_t *sorted_as; /* face + 1 of each in `sorted`, 0: not opened yet, 255: can't be */
    TextMetrics metrics;
} TextFont;

enum { TEXT_GENERATION_LINES = 2048, TEXT_GENERATION_GLYPHS = 128 * 1024, TEXT_PLACES = 4096 };

typedef struct TextCached {
    Hash hash; /* of the bytes and the font */
    uint32_t first, count, bytes, used;
    float width;
} TextCached;

/* Half of the cache of lines: when one is full it becomes the older one, and the older one is
 * emptied. */
typedef struct TextGeneration {
    TextCached places[TEXT_PLACES]; /* open addressing; at most half full */
    TextGlyph *glyphs;              /* TEXT_GENERATION_GLYPHS */
    uint32_t lines, used;
} TextGeneration;

/* Characters whose fallback was looked for. */
enum { TEXT_MISSING = 1024 };
typedef struct TextMissing {
    uint32_t character, font;
    uint32_t face; /* UINT32_MAX: no font has it */
} TextMissing;

typedef struct TextPiece TextPiece;

struct Text {
    FcConfig *config; /* loaded with the first font */
    FT_Library freetype;
    hb_buffer_t *buffer;
    TextFont fonts[TEXT_FONTS];
    TextFace faces[TEXT_FACES];
    TextGeneration *young, *old;
    TextMissing missing[TEXT_MISSING];
    /* The line that is being shaped. */
    uint32_t *characters, *clusters; /* TEXT_LINE_BYTES each */
    uint32_t *pieces;                /* face of each character */
};

/* The open font, or NULL. */
TextFont *text_find_font(Text *text, uint32_t font);

/* The face that has `character` for this font: its own, a fallback, or its own for want of one. */
uint32_t text_face_for(Text *text, uint32_t font, uint32_t character);

/* Empties the cache of lines. */
void text_forget_lines(Text *text);

#endif
