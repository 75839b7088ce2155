/* Fonts: found by fontconfig, opened for HarfBuzz and FreeType, fallbacks for what they lack. Owns
 * fonts and faces of a Text; never shapes or draws. One thread at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hb-ot.h>

#include "screen/text_parts.h"

enum { NO_FACE = UINT32_MAX, SORTED_FAILED = 255 };

TextFont *text_find_font(Text *text, uint32_t font)
{
    return font && font <= TEXT_FONTS && text->fonts[font - 1].open ? &text->fonts[font - 1] : NULL;
}

/* ---- faces ---- */

static void close_face(TextFace *face)
{
    if (face->ft)
        FT_Done_Face(face->ft);
    hb_font_destroy(face->font);
    hb_blob_destroy(face->blob);
    free(face->path);
    *face = (TextFace){0};
}

/* Takes the blob over, also on failure. */
static int open_face(Text *text, hb_blob_t *blob, int index, const char *path, uint32_t *ret_face,
                     Error *err)
{
    uint32_t number = 0;
    while (number < TEXT_FACES && text->faces[number].blob)
        number++;
    if (number == TEXT_FACES) {
        hb_blob_destroy(blob);
        return err_set(err, KEEL_ELIMIT, "more than %d font files are in use", TEXT_FACES);
    }
    TextFace *face = &text->faces[number];
    *face = (TextFace){.blob = blob, .index = index};
    unsigned bytes = 0;
    const char *data = hb_blob_get_data(blob, &bytes);
    int rc = KEEL_OK;
    if (!bytes ||
        FT_New_Memory_Face(text->freetype, (const FT_Byte *)data, (FT_Long)bytes, index, &face->ft))
        rc = err_set(err, KEEL_EDATA, "%s%snot a font that FreeType can read", path ? path : "",
                     path ? ": " : "");
    else if (!FT_IS_SCALABLE(face->ft) || !face->ft->units_per_EM)
        rc = err_set(err, KEEL_EUNSUPPORTED, "%s%sa font of fixed sizes; only outlines are shown",
                     path ? path : "", path ? ": " : "");
    if (!rc && path && !(face->path = strdup(path)))
        rc = err_set(err, KEEL_ENOMEM, "no memory for a font");
    if (rc) {
        close_face(face);
        return rc;
    }
    hb_face_t *hb = hb_face_create(blob, (unsigned)index);
    face->font = hb_font_create(hb);
    hb_face_destroy(hb);
    face->units = face->ft->units_per_EM;
    hb_font_set_scale(face->font, (int)face->units, (int)face->units);
    hb_ot_font_set_funcs(face->font);
    *ret_face = number;
    return KEEL_OK;
}

/* The face of a font that fontconfig knows, opened once. */
static int face_of_pattern(Text *text, const FcPattern *pattern, uint32_t *ret_face, Error *err)
{
    FcChar8 *path;
    int index = 0;
    FcBool embolden = FcFalse;
    if (FcPatternGetString(pattern, FC_FILE, 0, &path) != FcResultMatch)
        return err_set(err, KEEL_ENOTFOUND, "fontconfig names no file for the font");
    FcPatternGetInteger(pattern, FC_INDEX, 0, &index);
    FcPatternGetBool(pattern, FC_EMBOLDEN, 0, &embolden);
    FcMatrix *matrix = NULL;
    int slant = FcPatternGetMatrix(pattern, FC_MATRIX, 0, &matrix) == FcResultMatch && matrix &&
                fabs(matrix->xy) > 1e-3;
    index &= 0xffff; /* the upper half names an instance of a variable font */
    for (uint32_t i = 0; i < TEXT_FACES; i++) {
        const TextFace *face = &text->faces[i];
        if (face->blob && face->path && face->index == index && face->embolden == !!embolden &&
            face->slant == slant && !strcmp(face->path, (const char *)path)) {
            *ret_face = i;
            return KEEL_OK;
        }
    }
    hb_blob_t *blob = hb_blob_create_from_file((const char *)path);
    int rc = open_face(text, blob, index, (const char *)path, ret_face, err);
    if (!rc) {
        text->faces[*ret_face].embolden = !!embolden;
        text->faces[*ret_face].slant = slant;
    }
    return rc;
}

/* ---- fonts ---- */

static int load_config(Text *text, Error *err)
{
    if (text->config)
        return KEEL_OK;
    text->config = FcInitLoadConfigAndFonts();
    return text->config ? KEEL_OK
                        : err_set(err, KEEL_EIO,
                                  "fontconfig can't read its configuration: see "
                                  "/etc/fonts, or install fontconfig-config");
}

static TextMetrics measure(const TextFace *face)
{
    hb_font_extents_t extents = {0};
    float em = (float)face->units;
    TextMetrics metrics = {0.8f, 0.2f, 1.2f};
    if (hb_font_get_h_extents(face->font, &extents) && extents.ascender > extents.descender) {
        metrics.ascent = (float)extents.ascender / em;
        metrics.descent = (float)-extents.descender / em;
        metrics.line = metrics.ascent + metrics.descent + (float)extents.line_gap / em;
    }
    return metrics;
}

static FcPattern *pattern_for(Text *text, const char *family, uint32_t weight, int italic)
{
    FcPattern *pattern = FcPatternCreate();
    if (!pattern)
        return NULL;
    if (family && *family)
        FcPatternAddString(pattern, FC_FAMILY, (const FcChar8 *)family);
    FcPatternAddString(pattern, FC_FAMILY, (const FcChar8 *)"sans-serif");
    FcPatternAddInteger(pattern, FC_WEIGHT, FcWeightFromOpenType((int)weight));
    FcPatternAddInteger(pattern, FC_SLANT, italic ? FC_SLANT_ITALIC : FC_SLANT_ROMAN);
    FcPatternAddBool(pattern, FC_SCALABLE, FcTrue);
    FcPatternAddBool(pattern, FC_COLOR, FcFalse);
    FcConfigSubstitute(text->config, pattern, FcMatchPattern);
    FcDefaultSubstitute(pattern);
    return pattern;
}

static int free_font(Text *text, uint32_t *ret_index, Error *err)
{
    for (uint32_t i = 0; i < TEXT_FONTS; i++)
        if (!text->fonts[i].open) {
            *ret_index = i;
            return KEEL_OK;
        }
    return err_set(err, KEEL_ELIMIT, "more than %d fonts are open", TEXT_FONTS);
}

int text_font(Text *text, const char *family, uint32_t weight, int italic, uint32_t *ret_font,
              Error *err)
{
    uint32_t i;
    weight = weight == 0 ? 400 : weight < 100 ? 100 : weight > 900 ? 900 : weight;
    int rc = load_config(text, err);
    if (rc)
        return rc;
    FcPattern *wanted = pattern_for(text, family, weight, italic);
    if (!wanted)
        return err_set(err, KEEL_ENOMEM, "no memory for a font");
    for (i = 0; i < TEXT_FONTS; i++)
        if (text->fonts[i].open && text->fonts[i].wanted &&
            FcPatternEqual(text->fonts[i].wanted, wanted)) {
            FcPatternDestroy(wanted);
            *ret_font = i + 1;
            return KEEL_OK;
        }
    rc = free_font(text, &i, err);
    FcResult result;
    FcPattern *match = rc ? NULL : FcFontMatch(text->config, wanted, &result);
    uint32_t face = 0;
    if (!rc && !match)
        rc = err_set(err, KEEL_ENOTFOUND, "no font at all is installed: install fonts-dejavu-core");
    if (!rc)
        rc = face_of_pattern(text, match, &face, err);
    if (match)
        FcPatternDestroy(match);
    if (rc) {
        FcPatternDestroy(wanted);
        return rc;
    }
    text->fonts[i] = (TextFont){
        .open = 1, .face = face, .wanted = wanted, .metrics = measure(&text->faces[face])};
    *ret_font = i + 1;
    return KEEL_OK;
}

int text_font_bytes(Text *text, const void *data, size_t bytes, uint32_t *ret_font, Error *err)
{
    if (!bytes || bytes > TEXT_FONT_BYTES_MOST)
        return err_set(err, KEEL_ELIMIT, "a font file has 1 byte to %d MiB",
                       TEXT_FONT_BYTES_MOST >> 20);
    uint32_t i = 0, face;
    int rc = free_font(text, &i, err);
    if (rc)
        return rc;
    hb_blob_t *blob = hb_blob_create(data, (unsigned)bytes, HB_MEMORY_MODE_DUPLICATE, NULL, NULL);
    rc = open_face(text, blob, 0, NULL, &face, err);
    if (rc)
        return rc;
    text->fonts[i] = (TextFont){.open = 1, .face = face, .metrics = measure(&text->faces[face])};
    *ret_font = i + 1;
    return KEEL_OK;
}

static void drop_font(TextFont *font)
{
    if (font->wanted)
        FcPatternDestroy(font->wanted);
    if (font->sorted)
        FcFontSetDestroy(font->sorted);
    free(font->sorted_as);
    *font = (TextFont){0};
}

void text_font_close(Text *text, uint32_t number)
{
    TextFont *font = text_find_font(text, number);
    if (!font || font->wanted)
        return;
    close_face(&text->faces[font->face]);
    drop_font(font);
    text_forget_lines(text);
    memset(text->missing, 0, sizeof text->missing);
}

int text_metrics(Text *text, uint32_t number, TextMetrics *ret_metrics)
{
    const TextFont *font = text_find_font(text, number);
    if (!font)
        return KEEL_EINVAL;
    *ret_metrics = font->metrics;
    return KEEL_OK;
}

/* ---- fallback ---- */

static int has_glyph(const TextFace *face, uint32_t character)
{
    hb_codepoint_t glyph;
    return face->blob && hb_font_get_nominal_glyph(face->font, character, &glyph) && glyph;
}

/* The system's fonts by likeness to this one, without those of fixed sizes or colours. */
static void sort_others(Text *text, TextFont *font)
{
    if (load_config(text, NULL))
        return;
    FcPattern *wanted = font->wanted ? font->wanted : pattern_for(text, NULL, 400, 0);
    FcResult result;
    if (wanted)
        font->sorted = FcFontSort(text->config, wanted, FcTrue, NULL, &result);
    if (!font->wanted && wanted)
        FcPatternDestroy(wanted);
    if (!font->sorted)
        font->sorted = FcFontSetCreate();
    if (font->sorted)
        font->sorted_as = calloc((size_t)font->sorted->nfont + 1, 1);
}

static uint32_t look_for(Text *text, TextFont *font, uint32_t character)
{
    if (!font->sorted)
        sort_others(text, font);
    if (!font->sorted || !font->sorted_as)
        return NO_FACE;
    for (int i = 0; i < font->sorted->nfont; i++) {
        FcPattern *pattern = font->sorted->fonts[i];
        FcCharSet *set;
        FcBool scalable = FcTrue, color = FcFalse;
        if (font->sorted_as[i] == SORTED_FAILED ||
            FcPatternGetCharSet(pattern, FC_CHARSET, 0, &set) != FcResultMatch ||
            !FcCharSetHasChar(set, character))
            continue;
        FcPatternGetBool(pattern, FC_SCALABLE, 0, &scalable);
        FcPatternGetBool(pattern, FC_COLOR, 0, &color);
        if (!scalable || color)
            continue;
        if (!font->sorted_as[i]) {
            FcPattern *whole =
                font->wanted ? FcFontRenderPrepare(text->config, font->wanted, pattern) : NULL;
            uint32_t face;
            int rc = face_of_pattern(text, whole ? whole : pattern, &face, NULL);
            if (whole)
                FcPatternDestroy(whole);
            font->sorted_as[i] = rc ? SORTED_FAILED : (uint8_t)(face + 1);
            if (rc)
                continue;
        }
        uint32_t face = font->sorted_as[i] - 1u;
        if (has_glyph(&text->faces[face], character))
            return face;
    }
    return NO_FACE;
}

uint32_t text_face_for(Text *text, uint32_t number, uint32_t character)
{
    TextFont *font = text_find_font(text, number);
    if (has_glyph(&text->faces[font->face], character))
        return font->face;
    TextMissing *known = &text->missing[(character * 31 + number) % TEXT_MISSING];
    if (known->font != number || known->character != character)
        *known = (TextMissing){character, number, look_for(text, font, character)};
    return known->face == NO_FACE ? font->face : known->face;
}

/* ---- all of it ---- */

int text_new(Text **ret_text, Error *err)
{
    Text *text = calloc(1, sizeof *text);
    if (text) {
        text->young = calloc(1, sizeof *text->young);
        text->old = calloc(1, sizeof *text->old);
        text->characters = malloc(3 * TEXT_LINE_BYTES * sizeof *text->characters);
    }
    if (text && text->young && text->old) {
        text->young->glyphs = malloc(TEXT_GENERATION_GLYPHS * sizeof(TextGlyph));
        text->old->glyphs = malloc(TEXT_GENERATION_GLYPHS * sizeof(TextGlyph));
    }
    if (!text || !text->young || !text->old || !text->characters || !text->young->glyphs ||
        !text->old->glyphs || FT_Init_FreeType(&text->freetype)) {
        text_free(text);
        return err_set(err, KEEL_ENOMEM, "no memory for text");
    }
    text->clusters = text->characters + TEXT_LINE_BYTES;
    text->pieces = text->clusters + TEXT_LINE_BYTES;
    text->buffer = hb_buffer_create();
    *ret_text = text;
    return KEEL_OK;
}

void text_free(Text *text)
{
    if (!text)
        return;
    for (int i = 0; i < TEXT_FONTS; i++)
        drop_font(&text->fonts[i]);
    for (int i = 0; i < TEXT_FACES; i++)
        close_face(&text->faces[i]);
    hb_buffer_destroy(text->buffer);
    if (text->freetype)
        FT_Done_FreeType(text->freetype);
    if (text->config)
        FcConfigDestroy(text->config);
    if (text->young)
        free(text->young->glyphs);
    if (text->old)
        free(text->old->glyphs);
    free(text->young);
    free(text->old);
    free(text->characters);
    free(text);
}
