/* Shaping of lines, with a bounded cache, and the pictures of glyphs. Owns the cache; opens no
 * fonts. One thread at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "screen/text_parts.h"

/* ---- the cache: two generations; what is used of the older one moves to the younger ---- */

void text_forget_lines(Text *text)
{
    TextGeneration *both[] = {text->young, text->old};
    for (int i = 0; i < 2; i++) {
        memset(both[i]->places, 0, sizeof both[i]->places);
        both[i]->lines = both[i]->used = 0;
    }
}

/* Its place, or the free one where it would be. */
static TextCached *place_of(TextGeneration *generation, Hash hash)
{
    uint32_t at = (uint32_t)hash.low % TEXT_PLACES;
    while (generation->places[at].used && !hash_equal(generation->places[at].hash, hash))
        at = (at + 1) % TEXT_PLACES;
    return &generation->places[at];
}

/* Room for `count` glyphs in the young generation. */
static TextGlyph *reserve(Text *text, uint32_t count)
{
    TextGeneration *young = text->young;
    if (young->lines == TEXT_GENERATION_LINES || young->used + count > TEXT_GENERATION_GLYPHS) {
        text->young = text->old;
        text->old = young;
        young = text->young;
        memset(young->places, 0, sizeof young->places);
        young->lines = young->used = 0;
    }
    return young->glyphs + young->used;
}

static const TextCached *keep(Text *text, const TextCached *line)
{
    TextGeneration *young = text->young;
    TextCached *place = place_of(young, line->hash);
    *place = *line;
    place->first = young->used;
    place->used = 1;
    young->used += line->count;
    young->lines++;
    return place;
}

static const TextCached *find(Text *text, Hash hash)
{
    TextCached *young = place_of(text->young, hash);
    if (young->used)
        return young;
    const TextCached *old = place_of(text->old, hash);
    if (!old->used)
        return NULL;
    if (text->young->lines == TEXT_GENERATION_LINES ||
        text->young->used + old->count > TEXT_GENERATION_GLYPHS)
        return NULL; /* the old one is about to go: it is shaped again */
    memcpy(reserve(text, old->count), text->old->glyphs + old->first,
           old->count * sizeof(TextGlyph));
    return keep(text, old);
}

/* ---- one line into pieces of one face, script and direction ---- */

/* What belongs to the character before it, whatever its font. */
static int joins(hb_unicode_funcs_t *unicode, uint32_t c)
{
    if (c == 0x200c || c == 0x200d || (c >= 0xfe00 && c <= 0xfe0f) ||
        (c >= 0x1f3fb && c <= 0x1f3ff) || (c >= 0xe0020 && c <= 0xe007f))
        return 1;
    hb_unicode_general_category_t category = hb_unicode_general_category(unicode, c);
    return category == HB_UNICODE_GENERAL_CATEGORY_NON_SPACING_MARK ||
           category == HB_UNICODE_GENERAL_CATEGORY_ENCLOSING_MARK ||
           category == HB_UNICODE_GENERAL_CATEGORY_SPACING_MARK;
}

static uint32_t decode(Text *text, const char *utf8, size_t bytes, uint32_t *ret_bytes)
{
    uint32_t count = 0;
    size_t at = 0, step;
    while (at < bytes && at < TEXT_LINE_BYTES) {
        uint32_t c = utf8_next(utf8 + at, bytes - at, &step);
        if (at + step > TEXT_LINE_BYTES)
            break;
        if (c == '\t')
            c = ' ';
        if (c >= 0x20 && (c < 0x7f || c > 0x9f)) {
            text->characters[count] = c;
            text->clusters[count++] = (uint32_t)at;
        }
        at += step;
    }
    *ret_bytes = (uint32_t)at;
    return count;
}

static void choose_faces(Text *text, uint32_t font, uint32_t count)
{
    hb_unicode_funcs_t *unicode = hb_unicode_funcs_get_default();
    for (uint32_t i = 0; i < count; i++) {
        uint32_t c = text->characters[i];
        if (i && (joins(unicode, c) || text->characters[i - 1] == 0x200d))
            text->pieces[i] = text->pieces[i - 1];
        else
            text->pieces[i] = text_face_for(text, font, c);
    }
}

static int neutral(hb_script_t script)
{
    return script == HB_SCRIPT_COMMON || script == HB_SCRIPT_INHERITED ||
           script == HB_SCRIPT_UNKNOWN;
}

/* Where the piece that begins at `first` ends; `*ret_script` is what it is written in. */
static uint32_t piece_end(const Text *text, uint32_t first, uint32_t count, hb_script_t *ret_script)
{
    hb_unicode_funcs_t *unicode = hb_unicode_funcs_get_default();
    hb_script_t script = HB_SCRIPT_COMMON;
    uint32_t end = first, settled = first;
    for (; end < count && text->pieces[end] == text->pieces[first]; end++) {
        hb_script_t here = hb_unicode_script(unicode, text->characters[end]);
        if (neutral(here))
            continue;
        if (!neutral(script) && here != script) {
            /* Blanks and marks between two scripts go with a left-to-right one. */
            if (hb_script_get_horizontal_direction(script) == HB_DIRECTION_RTL)
                end = settled;
            break;
        }
        script = here;
        settled = end + 1;
    }
    *ret_script = neutral(script) ? HB_SCRIPT_LATIN : script;
    return end;
}

static int shape(Text *text, uint32_t font, const char *utf8, size_t bytes, TextCached *line,
                 Error *err)
{
    uint32_t count = decode(text, utf8, bytes, &line->bytes);
    choose_faces(text, font, count);
    TextGlyph *glyphs = reserve(text, 4 * TEXT_LINE_BYTES);
    float pen = 0;
    for (uint32_t first = 0, end; first < count; first = end) {
        hb_script_t script;
        end = piece_end(text, first, count, &script);
        hb_buffer_t *buffer = text->buffer;
        hb_buffer_clear_contents(buffer);
        hb_buffer_set_content_type(buffer, HB_BUFFER_CONTENT_TYPE_UNICODE);
        for (uint32_t i = first; i < end; i++)
            hb_buffer_add(buffer, text->characters[i], text->clusters[i]);
        hb_direction_t direction = hb_script_get_horizontal_direction(script);
        hb_buffer_set_script(buffer, script);
        hb_buffer_set_direction(buffer,
                                direction == HB_DIRECTION_INVALID ? HB_DIRECTION_LTR : direction);
        hb_buffer_set_language(buffer, hb_language_get_default());
        uint32_t number = text->pieces[first];
        const TextFace *face = &text->faces[number];
        hb_shape(face->font, buffer, NULL, 0);
        unsigned shaped = 0;
        const hb_glyph_info_t *infos = hb_buffer_get_glyph_infos(buffer, &shaped);
        const hb_glyph_position_t *places = hb_buffer_get_glyph_positions(buffer, &shaped);
        if (!hb_buffer_allocation_successful(buffer))
            return err_set(err, KEEL_ENOMEM, "no memory to shape a line");
        float em = 1.0f / (float)face->units;
        for (unsigned i = 0; i < shaped && line->count < 4 * TEXT_LINE_BYTES; i++) {
            glyphs[line->count++] = (TextGlyph){.face = number,
                                                .glyph = infos[i].codepoint,
                                                .cluster = infos[i].cluster,
                                                .x = pen + (float)places[i].x_offset * em,
                                                .y = -(float)places[i].y_offset * em,
                                                .advance = (float)places[i].x_advance * em};
            pen += glyphs[line->count - 1].advance;
        }
    }
    line->width = pen;
    return KEEL_OK;
}

int text_shape(Text *text, uint32_t font, const char *utf8, size_t bytes, TextLine *ret_line,
               Error *err)
{
    if (!text_find_font(text, font))
        return err_set(err, KEEL_EINVAL, "there is no font %u", font);
    if (bytes > TEXT_LINE_BYTES + 4)
        bytes = TEXT_LINE_BYTES + 4; /* more is not looked at */
    Hash hash = hash_bytes(utf8, bytes);
    hash.high ^= font * UINT64_C(0x9e3779b97f4a7c15);
    const TextCached *line = find(text, hash);
    if (!line) {
        TextCached fresh = {.hash = hash};
        int rc = shape(text, font, utf8, bytes, &fresh, err);
        if (rc)
            return rc;
        line = keep(text, &fresh);
    }
    *ret_line = (TextLine){.glyphs = text->young->glyphs + line->first,
                           .count = line->count,
                           .bytes = line->bytes,
                           .width = line->width};
    return KEEL_OK;
}

float text_caret(const TextLine *line, const char *utf8, size_t byte)
{
    if (!line->count || byte >= line->bytes)
        return line->width;
    /* The cluster that holds the byte: the greatest beginning that is not after it. */
    uint32_t begin = 0, end = line->bytes;
    int found = 0;
    for (uint32_t i = 0; i < line->count; i++) {
        uint32_t cluster = line->glyphs[i].cluster;
        if (cluster <= byte && (!found || cluster > begin)) {
            begin = cluster;
            found = 1;
        }
    }
    if (!found)
        return 0;
    float left = INFINITY, right = -INFINITY, pen = 0;
    int last = -1, rtl = 0;
    for (uint32_t i = 0; i < line->count; i++) {
        const TextGlyph *glyph = &line->glyphs[i];
        if (glyph->cluster > byte && glyph->cluster < end)
            end = glyph->cluster;
        if (glyph->cluster == begin) {
            left = pen < left ? pen : left;
            right = pen + glyph->advance > right ? pen + glyph->advance : right;
            last = (int)i;
        }
        pen += glyph->advance;
    }
    if (last >= 0 && (uint32_t)last + 1 < line->count)
        rtl = line->glyphs[last + 1].cluster < begin;
    else if (last > 0)
        rtl = line->glyphs[0].cluster > begin;
    uint32_t characters = 0, before = 0;
    for (uint32_t i = begin; i < end; i++)
        if (((uint8_t)utf8[i] & 0xc0) != 0x80) {
            characters++;
            before += i < byte;
        }
    float share = characters ? (float)before / (float)characters : 0;
    return rtl ? right - (right - left) * share : left + (right - left) * share;
}

/* ---- pictures ---- */

static int set_size(TextFace *face, float size_px)
{
    if (face->size_px == size_px)
        return KEEL_OK;
    if (FT_Set_Char_Size(face->ft, 0, (FT_F26Dot6)lrintf(size_px * 64), 72, 72))
        return KEEL_EUNSUPPORTED;
    face->size_px = size_px;
    return KEEL_OK;
}

int text_raster(Text *text, uint32_t number, uint32_t glyph, float size_px, uint32_t subpixel,
                TextBitmap *ret_bitmap, Error *err)
{
    if (number >= TEXT_FACES || !text->faces[number].blob)
        return err_set(err, KEEL_EINVAL, "there is no face %u", number);
    if (!(size_px >= 1 && size_px <= TEXT_SIZE_PX_MOST))
        return err_set(err, KEEL_EINVAL, "glyphs have pictures of 1 to %d px", TEXT_SIZE_PX_MOST);
    TextFace *face = &text->faces[number];
    /* Light hinting snaps to pixels only upwards: the advances of the shaping hold. */
    if (set_size(face, size_px) ||
        FT_Load_Glyph(face->ft, glyph, FT_LOAD_TARGET_LIGHT | FT_LOAD_NO_BITMAP))
        return err_set(err, KEEL_EDATA, "the font has no usable glyph %u", glyph);
    FT_GlyphSlot slot = face->ft->glyph;
    if (slot->format != FT_GLYPH_FORMAT_OUTLINE)
        return err_set(err, KEEL_EUNSUPPORTED, "glyph %u is no outline", glyph);
    if (face->slant) {
        FT_Matrix lean = {0x10000, 0x0366a, 0, 0x10000};
        FT_Outline_Transform(&slot->outline, &lean);
    }
    if (face->embolden)
        FT_Outline_Embolden(&slot->outline, (FT_Pos)lrintf(size_px * 64 / 28));
    FT_Outline_Translate(&slot->outline,
                         (FT_Pos)(subpixel % TEXT_SUBPIXELS * (64 / TEXT_SUBPIXELS)), 0);
    FT_BBox box;
    FT_Outline_Get_CBox(&slot->outline, &box);
    /* A damaged font may ask for a picture as large as it likes. */
    FT_Pos most = (FT_Pos)TEXT_SIZE_PX_MOST * 8 * 64;
    if (box.xMin < -most || box.yMin < -most || box.xMax > most || box.yMax > most)
        return err_set(err, KEEL_ELIMIT, "glyph %u is larger than its font says", glyph);
    if (FT_Render_Glyph(slot, FT_RENDER_MODE_NORMAL))
        return err_set(err, KEEL_EDATA, "glyph %u can't be drawn", glyph);
    *ret_bitmap = (TextBitmap){.pixels = slot->bitmap.buffer,
                               .stride = slot->bitmap.pitch,
                               .width = (int32_t)slot->bitmap.width,
                               .height = (int32_t)slot->bitmap.rows,
                               .left = slot->bitmap_left,
                               .top = slot->bitmap_top};
    return KEEL_OK;
}
