/* app/decode_png, app/decode_wav: what is whole is decoded right; what is damaged in any way is
 * refused with a sentence, and nothing is read or written where it shouldn't be. */
#include "app/decode_png.c"
#include "app/decode_wav.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static uint32_t seed = 4711;

static uint32_t random_bits(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

/* ---- pictures ---- */

typedef struct Bytes {
    uint8_t *data;
    size_t count;
} Bytes;

static Bytes make_png(uint32_t width, uint32_t height, uint32_t format, int colormap)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = format};
    uint8_t *pixels = calloc((size_t)width * height, 4);
    uint8_t colors[256 * 4];
    for (uint32_t i = 0; i < sizeof colors; i++)
        colors[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < (size_t)width * height * PNG_IMAGE_PIXEL_SIZE(format); i++)
        pixels[i] = (uint8_t)(i * 31);
    if (colormap)
        image.colormap_entries = 256;
    png_alloc_size_t bytes = 0;
    assert_true(
        png_image_write_to_memory(&image, NULL, &bytes, 0, pixels, 0, colormap ? colors : NULL));
    Bytes file = {malloc(bytes), bytes};
    assert_true(png_image_write_to_memory(&image, file.data, &bytes, 0, pixels, 0,
                                          colormap ? colors : NULL));
    file.count = bytes;
    free(pixels);
    return file;
}

static int png(const void *data, size_t bytes, AssetWire *wire, uint8_t **ret_pixels)
{
    Error err = {0};
    void *content = NULL;
    *wire = (AssetWire){0};
    /* Its own block, so that a sanitizer sees every byte too far. */
    void *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, data, bytes);
    int rc = decode_png(copy, bytes, wire, &content, &err);
    free(copy);
    assert_true(rc == 0 || (rc < 0 && err.text[0]));
    assert_true(rc == 0 || !content);
    if (ret_pixels)
        *ret_pixels = content;
    else
        free(content);
    return rc;
}

static void pictures_are_decoded(void **unused)
{
    (void)unused;
    AssetWire wire;
    uint8_t *pixels;
    Bytes file = make_png(3, 2, PNG_FORMAT_RGBA, 0);
    assert_int_equal(png(file.data, file.count, &wire, &pixels), KEEL_OK);
    assert_int_equal(wire.width, 3);
    assert_int_equal(wire.height, 2);
    assert_int_equal(wire.bytes, 24);
    for (int i = 0; i < 24; i++)
        assert_int_equal(pixels[i], (uint8_t)(i * 31));
    free(pixels);
    free(file.data);
    file = make_png(5, 5, PNG_FORMAT_GRAY, 0); /* gray becomes R = G = B, A = 255 */
    assert_int_equal(png(file.data, file.count, &wire, &pixels), KEEL_OK);
    assert_int_equal(pixels[4], pixels[5]);
    assert_int_equal(pixels[4], pixels[6]);
    assert_int_equal(pixels[7], 255);
    free(pixels);
    free(file.data);
    file = make_png(16, 16, PNG_FORMAT_RGB_COLORMAP, 1);
    assert_int_equal(png(file.data, file.count, &wire, NULL), KEEL_OK);
    free(file.data);
}

static void every_cut_of_a_picture_is_refused(void **unused)
{
    (void)unused;
    AssetWire wire;
    Bytes file = make_png(32, 32, PNG_FORMAT_RGBA, 0);
    for (size_t bytes = 0; bytes + 16 < file.count; bytes++) /* the last chunk says only "end" */
        assert_true(png(file.data, bytes, &wire, NULL) < 0);
    free(file.data);
}

static void damaged_pictures_do_no_harm(void **unused)
{
    (void)unused;
    AssetWire wire;
    Bytes file = make_png(32, 32, PNG_FORMAT_RGBA, 0);
    for (int round = 0; round < 4000; round++) {
        uint8_t *bad = malloc(file.count);
        memcpy(bad, file.data, file.count);
        for (uint32_t i = 0; i <= random_bits() % 8; i++)
            bad[random_bits() % (round % 2 ? 60 : file.count)] = (uint8_t)random_bits();
        png(bad, file.count, &wire, NULL);
        free(bad);
    }
    /* A head that promises more than can be had. Its check sum is right, so the size is believed.
     */
    static const uint32_t sizes[] = {8193, 100000, 0x7fffffff, 0xffffffff, 0};
    for (int i = 0; i < 5; i++) {
        uint8_t *huge = malloc(file.count);
        memcpy(huge, file.data, file.count);
        for (int n = 0; n < 4; n++)
            huge[16 + n] = huge[20 + n] = (uint8_t)(sizes[i] >> (24 - 8 * n));
        uint32_t sum = 0xffffffff;
        for (int n = 12; n < 29; n++) {
            sum ^= huge[n];
            for (int bit = 0; bit < 8; bit++)
                sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
        }
        sum = ~sum;
        for (int n = 0; n < 4; n++)
            huge[29 + n] = (uint8_t)(sum >> (24 - 8 * n));
        assert_true(png(huge, file.count, &wire, NULL) < 0);
        free(huge);
    }
    free(file.data);
}

/* ---- sounds ---- */

static size_t put(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
    return (size_t)bytes;
}

/* A WAV of these samples; `lie` is added to the size of its data. */
static size_t make_wav(uint8_t *to, uint32_t format, uint32_t channels, uint32_t bits,
                       const void *samples, uint32_t bytes, uint32_t lie)
{
    size_t at = 0;
    memcpy(to, "RIFF\0\0\0\0WAVEjunk\3\0\0\0xyz\0fmt ", 28);
    at = 28;
    at += put(to + at, 16, 4);
    at += put(to + at, format, 2);
    at += put(to + at, channels, 2);
    at += put(to + at, 48000, 4);
    at += put(to + at, 0, 6);
    at += put(to + at, bits, 2);
    memcpy(to + at, "data", 4);
    at += 4;
    at += put(to + at, bytes + lie, 4);
    memcpy(to + at, samples, bytes);
    return at + bytes;
}

static int wav(const void *data, size_t bytes, AssetWire *wire, float **ret_samples)
{
    Error err = {0};
    void *content = NULL;
    *wire = (AssetWire){0};
    void *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, data, bytes);
    int rc = decode_wav(copy, bytes, wire, &content, &err);
    free(copy);
    assert_true(rc == 0 || (rc < 0 && err.text[0] && !content));
    if (ret_samples)
        *ret_samples = content;
    else
        free(content);
    return rc;
}

static void sounds_are_decoded(void **unused)
{
    (void)unused;
    uint8_t file[512];
    AssetWire wire;
    float *out;
    static const int16_t pcm16[] = {0, 16384, -32768, 32767};
    size_t bytes = make_wav(file, 1, 2, 16, pcm16, sizeof pcm16, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_int_equal(wire.frames, 2);
    assert_int_equal(wire.channels, 2);
    assert_int_equal(wire.rate, 48000);
    assert_true(out[0] == 0 && out[1] == 0.5f && out[2] == -1 && out[3] > 0.9999f);
    free(out);
    static const uint8_t pcm8[] = {128, 0, 192};
    bytes = make_wav(file, 1, 1, 8, pcm8, sizeof pcm8, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_true(out[0] == 0 && out[1] == -1 && out[2] == 0.5f);
    free(out);
    static const uint8_t pcm24[] = {0, 0, 0x40, 0, 0, 0x80};
    bytes = make_wav(file, 1, 1, 24, pcm24, sizeof pcm24, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_true(out[0] == 0.5f && out[1] == -1);
    free(out);
    static const int32_t pcm32[] = {1 << 30, INT32_MIN};
    bytes = make_wav(file, 1, 1, 32, pcm32, sizeof pcm32, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_true(out[0] == 0.5f && out[1] == -1);
    free(out);
    static const float floats[] = {0.25f, NAN, INFINITY};
    bytes = make_wav(file, 3, 1, 32, floats, sizeof floats, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_true(out[0] == 0.25f && out[1] == 0 && out[2] == 0);
    free(out);
    static const double doubles[] = {-0.25, 1e300};
    bytes = make_wav(file, 3, 1, 64, doubles, sizeof doubles, 0);
    assert_int_equal(wav(file, bytes, &wire, &out), KEEL_OK);
    assert_true(out[0] == -0.25f && out[1] == 0);
    free(out);
    /* A recorder that was cut off leaves 0 there: all that is there counts. */
    bytes = make_wav(file, 1, 2, 16, pcm16, sizeof pcm16, (uint32_t) - sizeof pcm16);
    assert_int_equal(wav(file, bytes, &wire, NULL), KEEL_OK);
    assert_int_equal(wire.frames, 2);
}

static void what_is_no_sound_is_refused(void **unused)
{
    (void)unused;
    uint8_t file[512];
    AssetWire wire;
    static const int16_t pcm[] = {1, 2, 3, 4};
    size_t whole = make_wav(file, 1, 2, 16, pcm, sizeof pcm, 0);
    for (size_t bytes = 0; bytes < whole; bytes++)
        assert_true(wav(file, bytes, &wire, NULL) < 0);
    assert_true(wav(file, make_wav(file, 1, 2, 16, pcm, sizeof pcm, 1), &wire, NULL) < 0);
    assert_int_equal(wav(file, make_wav(file, 1, 3, 16, pcm, sizeof pcm, 0), &wire, NULL),
                     KEEL_EUNSUPPORTED);
    assert_int_equal(wav(file, make_wav(file, 1, 0, 16, pcm, sizeof pcm, 0), &wire, NULL),
                     KEEL_EUNSUPPORTED);
    assert_int_equal(wav(file, make_wav(file, 1, 1, 12, pcm, sizeof pcm, 0), &wire, NULL),
                     KEEL_EUNSUPPORTED);
    assert_int_equal(wav(file, make_wav(file, 2, 1, 4, pcm, sizeof pcm, 0), &wire, NULL),
                     KEEL_EUNSUPPORTED); /* ADPCM */
    make_wav(file, 1, 1, 16, pcm, sizeof pcm, 0);
    put(file + 36, 1, 4);
    assert_int_equal(wav(file, whole, &wire, NULL), KEEL_EUNSUPPORTED); /* a frame a second */
}

static void damaged_sounds_do_no_harm(void **unused)
{
    (void)unused;
    uint8_t file[512];
    AssetWire wire;
    static const int16_t pcm[100] = {1, 2, 3, 4};
    size_t whole = make_wav(file, 1, 2, 16, pcm, sizeof pcm, 0);
    for (int round = 0; round < 20000; round++) {
        uint8_t bad[512];
        memcpy(bad, file, whole);
        for (uint32_t i = 0; i <= random_bits() % 6; i++)
            bad[random_bits() % 60] = (uint8_t)(random_bits() % 3 ? random_bits() : 0xff);
        wav(bad, random_bits() % 4 ? whole : random_bits() % whole, &wire, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_decoded),
        cmocka_unit_test(every_cut_of_a_picture_is_refused),
        cmocka_unit_test(damaged_pictures_do_no_harm),
        cmocka_unit_test(sounds_are_decoded),
        cmocka_unit_test(what_is_no_sound_is_refused),
        cmocka_unit_test(damaged_sounds_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
