/* screen/text: fonts are found, lines shaped and measured, missing glyphs come from other fonts,
 * any bytes are taken, pictures of glyphs are where they belong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"
#include "screen/text.h"

static Text *text;
static uint32_t sans;

static int open_text(void **unused)
{
    (void)unused;
    Error err = {0};
    if (text_new(&text, &err) || text_font(text, "DejaVu Sans", 400, 0, &sans, &err)) {
        printf("%s\n", err.text);
        return 1;
    }
    return 0;
}

static int close_text(void **unused)
{
    (void)unused;
    text_free(text);
    return 0;
}

static TextLine shape(const char *utf8)
{
    TextLine line = {0};
    Error err = {0};
    if (text_shape(text, sans, utf8, strlen(utf8), &line, &err))
        fail_msg("%s", err.text);
    return line;
}

static void bytes_become_characters(void **unused)
{
    (void)unused;
    static const struct {
        const char *bytes;
        uint32_t want[6];
    } rows[] = {
        {"a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", {'a', 0xe9, 0x4e2d, 0x1f600}},
        {"\xc0\xaf", {0xfffd, 0xfffd}},                         /* overlong */
        {"\xed\xa0\x80", {0xfffd, 0xfffd, 0xfffd}},             /* a surrogate */
        {"\xf4\x90\x80\x80", {0xfffd, 0xfffd, 0xfffd, 0xfffd}}, /* beyond U+10FFFF */
        {"\xe4\xb8z", {0xfffd, 'z'}},                           /* cut inside */
        {"\xff\xe4\xb8", {0xfffd, 0xfffd}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const char *at = rows[r].bytes, *end = at + strlen(at);
        for (int i = 0; at < end; i++) {
            size_t step;
            uint32_t c = utf8_next(at, (size_t)(end - at), &step);
            assert_int_equal(c, rows[r].want[i]);
            char back[4];
            if (c != UTF8_REPLACEMENT) {
                assert_int_equal(utf8_put(c, back), step);
                assert_memory_equal(back, at, step);
            }
            at += step;
        }
        assert_ptr_equal(at, end);
    }
    char out[4];
    assert_int_equal(utf8_put(0xd800, out), 0);
    assert_int_equal(utf8_put(0x110000, out), 0);
}

static void the_same_font_is_one(void **unused)
{
    (void)unused;
    uint32_t again = 0, bold = 0, unknown = 0;
    assert_int_equal(text_font(text, "DejaVu Sans", 400, 0, &again, NULL), KEEL_OK);
    assert_int_equal(again, sans);
    assert_int_equal(text_font(text, "DejaVu Sans", 700, 0, &bold, NULL), KEEL_OK);
    assert_int_not_equal(bold, sans);
    assert_int_equal(text_font(text, "No Such Family", 400, 0, &unknown, NULL), KEEL_OK);
    TextMetrics metrics;
    assert_int_equal(text_metrics(text, unknown, &metrics), KEEL_OK);
    assert_true(metrics.ascent > 0.5f && metrics.descent > 0.1f && metrics.line >= 1);
    assert_int_equal(text_metrics(text, 0, &metrics), KEEL_EINVAL);
    assert_int_equal(text_metrics(text, 60, &metrics), KEEL_EINVAL);
    TextLine line;
    Error err = {0};
    assert_int_equal(text_shape(text, 4000, "x", 1, &line, &err), KEEL_EINVAL);
}

static void a_line_is_as_wide_as_its_glyphs(void **unused)
{
    (void)unused;
    TextLine line = shape("Window");
    assert_int_equal(line.count, 6);
    float sum = 0;
    for (uint32_t i = 0; i < line.count; i++)
        sum += line.glyphs[i].advance;
    assert_true(fabsf(sum - line.width) < 1e-4f);
    float one = shape("mm").width, two = shape("mmmm").width;
    assert_true(fabsf(two - 2 * one) < 1e-4f);
    assert_true(shape("AV").width < shape("A").width + shape("V").width); /* kerning */
    assert_int_equal(shape("").count, 0);
    assert_true(shape("").width == 0);
}

static void what_the_font_lacks_comes_from_another(void **unused)
{
    (void)unused;
    TextLine line = shape("a\xe4\xb8\xad\xe6\x96\x87z"); /* a中文z */
    assert_int_equal(line.count, 4);
    assert_int_equal(line.glyphs[0].face, line.glyphs[3].face);
    assert_int_not_equal(line.glyphs[1].face, line.glyphs[0].face);
    assert_int_not_equal(line.glyphs[1].glyph, 0);
    assert_int_equal(line.glyphs[2].face, line.glyphs[1].face);
    assert_int_equal(line.glyphs[2].cluster, 4);
    assert_true(fabsf(line.glyphs[1].advance - 1) < 0.1f); /* as wide as high */
    /* No font has it: the box of the font itself. */
    line = shape("\xf4\x8f\xbf\xbd");
    assert_int_equal(line.count, 1);
    assert_int_equal(line.glyphs[0].glyph, 0);
}

static void an_accent_stays_with_its_letter(void **unused)
{
    (void)unused;
    TextLine line = shape("e\xcc\x81x"); /* e, combining acute, x */
    for (uint32_t i = 0; i < line.count; i++)
        assert_int_not_equal(line.glyphs[i].cluster, 1); /* nothing begins inside the cluster */
    float e = shape("e").width;
    assert_true(fabsf(shape("e\xcc\x81").width - e) < 1e-3f);
}

static void right_to_left_runs_backwards(void **unused)
{
    (void)unused;
    TextLine line = shape("\xd7\x90\xd7\x91\xd7\x92"); /* alef bet gimel */
    assert_int_equal(line.count, 3);
    assert_int_equal(line.glyphs[0].cluster, 4);
    assert_int_equal(line.glyphs[2].cluster, 0);
    assert_true(fabsf(text_caret(&line, "\xd7\x90\xd7\x91\xd7\x92", 0) - line.width) < 1e-3f);
}

static void the_caret_stands_before_its_byte(void **unused)
{
    (void)unused;
    const char *word = "fi\xc3\xa9m";
    TextLine line = shape(word);
    assert_true(text_caret(&line, word, 0) == 0);
    assert_true(text_caret(&line, word, 5) == line.width);
    assert_true(text_caret(&line, word, 400) == line.width);
    float before = -1;
    static const size_t carets[] = {0, 1, 2, 4, 5};
    for (int i = 0; i < 5; i++) {
        float x = text_caret(&line, word, carets[i]);
        assert_true(x > before);
        before = x;
    }
    assert_true(fabsf(text_caret(&line, word, 4) - shape("fi\xc3\xa9").width) < 1e-3f);
}

static void any_bytes_are_taken(void **unused)
{
    (void)unused;
    uint32_t seed = 12345;
    char *bytes = malloc(70000);
    for (int round = 0; round < 300; round++) {
        size_t length = 0;
        for (; length < 200; length++) {
            seed = seed * 1664525 + 1013904223;
            bytes[length] = (char)(seed >> 24);
        }
        TextLine line;
        Error err = {0};
        assert_int_equal(text_shape(text, sans, bytes, length, &line, &err), KEEL_OK);
        assert_int_equal(line.bytes, length);
        assert_true(isfinite(line.width));
        for (size_t byte = 0; byte <= length; byte += 7)
            assert_true(isfinite(text_caret(&line, bytes, byte)));
    }
    memset(bytes, 'x', 70000); /* longer than is shown */
    TextLine line;
    assert_int_equal(text_shape(text, sans, bytes, 70000, &line, NULL), KEEL_OK);
    assert_int_equal(line.count, TEXT_LINE_BYTES);
    assert_int_equal(line.bytes, TEXT_LINE_BYTES);
    free(bytes);
    line = shape("a\x01\x1b[2J\x7f\tb");
    assert_int_equal(line.count, 6); /* the control characters are gone, the tab is a blank */
}

static void the_cache_forgets_and_still_answers(void **unused)
{
    (void)unused;
    float first = shape("line 0 of many").width;
    char name[64];
    for (int round = 0; round < 20000; round++) {
        snprintf(name, sizeof name, "line %d of many", round % 9973);
        shape(name);
    }
    assert_true(shape("line 0 of many").width == first);
    uint32_t mono = 0;
    TextLine line;
    assert_int_equal(text_font(text, "monospace", 400, 0, &mono, NULL), KEEL_OK);
    assert_int_equal(text_shape(text, mono, "line 0 of many", 14, &line, NULL), KEEL_OK);
    assert_true(line.width != first); /* another font's line is another */
}

static long ink(const TextBitmap *bitmap)
{
    long sum = 0;
    for (int y = 0; y < bitmap->height; y++)
        for (int x = 0; x < bitmap->width; x++)
            sum += bitmap->pixels[y * bitmap->stride + x];
    return sum;
}

static void a_glyph_has_a_picture(void **unused)
{
    (void)unused;
    TextLine line = shape("H ");
    TextGlyph h = line.glyphs[0], blank = line.glyphs[1];
    TextBitmap bitmap;
    assert_int_equal(text_raster(text, h.face, h.glyph, 40, 0, &bitmap, NULL), KEEL_OK);
    assert_in_range(bitmap.height, 27, 31); /* the cap height of DejaVu Sans is 0.729 em */
    assert_int_equal(bitmap.top, bitmap.height);
    /* The middle row of an H is inked from side to side, the top row only in its stems. */
    const uint8_t *middle = bitmap.pixels + bitmap.height / 2 * bitmap.stride;
    const uint8_t *top = bitmap.pixels + 3 * bitmap.stride;
    assert_true(middle[bitmap.width / 2] > 200 || middle[bitmap.width / 2 + bitmap.stride] > 200 ||
                middle[bitmap.width / 2 - bitmap.stride] > 200);
    assert_int_equal(top[bitmap.width / 2], 0);
    long whole = ink(&bitmap);
    assert_int_equal(text_raster(text, h.face, h.glyph, 40, 2, &bitmap, NULL), KEEL_OK);
    long half = ink(&bitmap);
    assert_true(labs(whole - half) < whole / 20); /* the same ink, half a pixel to the right */
    assert_int_equal(text_raster(text, blank.face, blank.glyph, 40, 0, &bitmap, NULL), KEEL_OK);
    assert_int_equal(bitmap.width, 0);
    assert_int_equal(text_raster(text, h.face, 1000000, 40, 0, &bitmap, NULL), KEEL_EDATA);
    assert_int_equal(text_raster(text, 99, h.glyph, 40, 0, &bitmap, NULL), KEEL_EINVAL);
    assert_int_equal(text_raster(text, h.face, h.glyph, 0, 0, &bitmap, NULL), KEEL_EINVAL);
    assert_int_equal(text_raster(text, h.face, h.glyph, 1e9f, 0, &bitmap, NULL), KEEL_EINVAL);
    assert_int_equal(text_raster(text, h.face, h.glyph, NAN, 0, &bitmap, NULL), KEEL_EINVAL);
}

static char *read_font(size_t *ret_bytes)
{
    FILE *file = fopen("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *ret_bytes = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*ret_bytes);
    assert_int_equal(fread(data, 1, *ret_bytes, file), *ret_bytes);
    fclose(file);
    return data;
}

static void a_font_comes_from_bytes(void **unused)
{
    (void)unused;
    size_t bytes = 0;
    char *data = read_font(&bytes);
    if (!data)
        skip();
    uint32_t font = 0;
    Error err = {0};
    assert_int_equal(text_font_bytes(text, data, bytes, &font, &err), KEEL_OK);
    TextLine line;
    assert_int_equal(text_shape(text, font, "Window", 6, &line, NULL), KEEL_OK);
    float width = line.width;
    assert_true(fabsf(width - shape("Window").width) < 1e-4f);
    text_font_close(text, font);
    assert_int_equal(text_shape(text, font, "Window", 6, &line, NULL), KEEL_EINVAL);
    assert_int_equal(text_font_bytes(text, "nonsense", 8, &font, &err), KEEL_EDATA);
    assert_int_equal(text_font_bytes(text, data, 0, &font, &err), KEEL_ELIMIT);
    /* Damaged in many ways: refused, or shaped and drawn without harm. */
    uint32_t seed = 99;
    for (int round = 0; round < 60; round++) {
        char *bad = malloc(bytes);
        memcpy(bad, data, bytes);
        for (int i = 0; i < 200; i++) {
            seed = seed * 1664525 + 1013904223;
            bad[(seed >> 8) % (round % 2 ? 4096 : bytes)] = (char)seed;
        }
        size_t left = round % 3 ? bytes : bytes * (size_t)(round + 1) / 64;
        if (text_font_bytes(text, bad, left, &font, &err) == KEEL_OK) {
            if (text_shape(text, font, "Window \xd7\x90 fi", 12, &line, NULL) == KEEL_OK) {
                TextBitmap bitmap;
                TextGlyph glyphs[64];
                uint32_t count = line.count < 64 ? line.count : 64;
                memcpy(glyphs, line.glyphs, count * sizeof *glyphs);
                for (uint32_t i = 0; i < count; i++)
                    text_raster(text, glyphs[i].face, glyphs[i].glyph, 20, 0, &bitmap, NULL);
            }
            text_font_close(text, font);
        }
        free(bad);
    }
    free(data);
    assert_true(fabsf(shape("Window").width - width) < 1e-4f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_characters),
        cmocka_unit_test(the_same_font_is_one),
        cmocka_unit_test(a_line_is_as_wide_as_its_glyphs),
        cmocka_unit_test(what_the_font_lacks_comes_from_another),
        cmocka_unit_test(an_accent_stays_with_its_letter),
        cmocka_unit_test(right_to_left_runs_backwards),
        cmocka_unit_test(the_caret_stands_before_its_byte),
        cmocka_unit_test(any_bytes_are_taken),
        cmocka_unit_test(the_cache_forgets_and_still_answers),
        cmocka_unit_test(a_glyph_has_a_picture),
        cmocka_unit_test(a_font_comes_from_bytes),
    };
    return cmocka_run_group_tests(tests, open_text, close_text);
}
