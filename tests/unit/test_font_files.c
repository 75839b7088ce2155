/* screen/glyphs: a font of a file is drawn and measured by its family's name, may be replaced and
 * is refused when it is none; screen and host: a font among a module's assets arrives there. */
#include "host_rig.h"

#include <math.h>

#include "../fixtures/asset_part.h"

#include "host/asset_font.h"
#include "host/host.h"
#include "screen/glyphs.h"

static char *data_of(const char *name, size_t *ret_bytes)
{
    char path[256];
    snprintf(path, sizeof path, "/usr/share/fonts/truetype/dejavu/%s.ttf", name);
    FILE *file = fopen(path, "rb");
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

static float width(Glyphs *glyphs, const char *family, const char *text)
{
    DrawList list = {0};
    const DrawScreen screen = {
        .width = 100, .height = 100, .scale = 1, .measure = glyphs_measure, .user = glyphs};
    struct keel_font font = keel_font_px(20);
    font.family = family;
    struct keel_text_size size = {.size = sizeof size};
    assert_int_equal(draw_text_size(&list, &screen, text, strlen(text), &font, &size), KEEL_OK);
    draw_list_done(&list);
    return size.width;
}

static void a_file_is_a_family(void **unused)
{
    (void)unused;
    size_t mono_bytes = 0, sans_bytes = 0;
    char *mono = data_of("DejaVuSansMono", &mono_bytes), *sans = data_of("DejaVuSans", &sans_bytes);
    if (!mono || !sans)
        skip();
    Glyphs *glyphs;
    Error err = {0};
    assert_int_equal(glyphs_new(&glyphs, &err), KEEL_OK);
    float unknown = width(glyphs, "fonts/mine.ttf", "iiii");
    assert_true(unknown < width(glyphs, "fonts/mine.ttf", "mmmm")); /* the default so far */
    assert_int_equal(glyphs_file(glyphs, "fonts/mine.ttf", mono, mono_bytes, &err), KEEL_OK);
    float even = width(glyphs, "fonts/mine.ttf", "iiii");
    assert_true(fabsf(even - width(glyphs, "fonts/mine.ttf", "mmmm")) < 0.01f);
    assert_true(fabsf(width(glyphs, "sans-serif", "iiii") - unknown) < 0.01f);
    /* Damaged: the one before stays. */
    assert_int_equal(glyphs_file(glyphs, "fonts/mine.ttf", "nonsense", 8, &err), KEEL_EDATA);
    assert_non_null(strstr(err.text, "fonts/mine.ttf"));
    assert_true(fabsf(width(glyphs, "fonts/mine.ttf", "iiii") - even) < 0.01f);
    uint32_t epoch = glyphs->epoch;
    assert_int_equal(glyphs_file(glyphs, "fonts/mine.ttf", sans, sans_bytes, &err), KEEL_OK);
    assert_true(glyphs->epoch != epoch); /* glyphs of the old one aren't drawn any more */
    assert_true(fabsf(width(glyphs, "fonts/mine.ttf", "iiii") - unknown) < 0.01f);
    for (int i = 0; i < 100; i++) /* replaced as often as one likes */
        assert_int_equal(glyphs_file(glyphs, "fonts/mine.ttf", i & 1 ? sans : mono,
                                     i & 1 ? sans_bytes : mono_bytes, &err),
                         KEEL_OK);
    char name[100];
    memset(name, 'f', sizeof name);
    name[99] = 0;
    assert_int_equal(glyphs_file(glyphs, name, sans, sans_bytes, &err), KEEL_ELIMIT);
    for (int i = 1; i < GLYPHS_FILES; i++) {
        snprintf(name, sizeof name, "font %d", i);
        assert_int_equal(glyphs_file(glyphs, name, mono, mono_bytes, &err), KEEL_OK);
    }
    assert_int_equal(glyphs_file(glyphs, "one more", mono, mono_bytes, &err), KEEL_ELIMIT);
    glyphs_free(glyphs);
    free(mono);
    free(sans);
}

/* What would take the place of a good font must be one. */
static void damaged_fonts_are_refused(void **unused)
{
    (void)unused;
    Error err = {0};
    assert_int_equal(asset_font_check("", 0, "x", &err), KEEL_EDATA);
    assert_string_equal(err.text, "x: it is empty");
    assert_int_equal(asset_font_check("Dear reader, this is no font", 28, "x", &err), KEEL_EDATA);
    assert_string_equal(err.text, "x: it is no TTF or OTF font");
    assert_int_equal(asset_font_check("\0\1\0\0\0\0\0\0\0\0\0\0", 12, "x", &err), KEEL_EDATA);
    assert_string_equal(err.text, "x: it has no table head, which a font needs");
    assert_int_equal(asset_font_check("ttcf\0\1\0\0\0\0\0\1\xff\xff\xff\xff", 16, "x", &err),
                     KEEL_EDATA);
    assert_int_equal(asset_font_check("\0\1\0\0\xff\xff\0\0\0\0\0\0", 12, "x", &err), KEEL_EDATA);
    assert_string_equal(err.text, "x: it is cut short in its directory");
    size_t bytes = 0;
    char *font = data_of("DejaVuSans", &bytes);
    if (!font)
        return;
    assert_int_equal(asset_font_check(font, bytes, "x", &err), KEEL_OK);
    for (size_t cut = 1; cut < bytes - 3; cut = cut < 400 ? cut + 1 : cut + 997) {
        char *part = malloc(cut); /* exactly as long: what reads behind it is found */
        memcpy(part, font, cut);
        if (asset_font_check(part, cut, "x", &err) != KEEL_EDATA)
            fail_msg("%zu bytes of %zu were taken", cut, bytes);
        free(part);
    }
    for (size_t at = 0; at < 400; at++) { /* whatever it says, nothing outside of it is read */
        font[at] = (char)~font[at];
        asset_font_check(font, bytes, "x", NULL);
        font[at] = (char)~font[at];
    }
    free(font);
}

static char got[64];
static size_t got_bytes;

static void take(const char *family, const void *data, size_t bytes, void *user)
{
    (void)user;
    snprintf(got, sizeof got, "%s", family);
    got_bytes = data ? bytes : 0;
}

static void an_asset_arrives_as_a_font(void **unused)
{
    (void)unused;
    static struct asset_part part;
    Rig rig;
    rig_open(&rig, NULL);
    struct keel_slot_options options = {.size = sizeof options,
                                        .no_watch = 1,
                                        .user = &part,
                                        .assets = "/usr/share/fonts/truetype/dejavu"};
    assert_int_equal(keel_host_add(rig.host, rig_file("fx_asset"), &options, &rig.slots[0]), 0);
    ((Host *)rig.host)->font = take;
    snprintf(part.open, sizeof part.open, "DejaVuSans.ttf");
    part.kind = KEEL_ASSET_FONT;
    part.tag = 1;
    for (int i = 0; i < RIG_PATIENCE && !part.events[1]; i++) {
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(part.events[1], 1);
    if (part.result[1] == 0) { /* the font is installed here */
        assert_string_equal(got, "DejaVuSans.ttf");
        assert_int_equal(got_bytes, part.bytes);
    }
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_a_family),
        cmocka_unit_test(damaged_fonts_are_refused),
        cmocka_unit_test(an_asset_arrives_as_a_font),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
