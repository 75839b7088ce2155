/* swap/last_picture: a picture comes back as it was, or not at all; it costs its slot nothing that
 * can be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/hash.h"
#include "swap/last_picture.h"

static char path[64];

static void must(int rc)
{
    assert_int_equal(rc, KEEL_OK);
}

/* Every kind of record, and an image. */
static void draw_all(Draw *draw, Pictures *pictures, keel_handle *ret_image)
{
    static const uint32_t pixels[3 * 5] = {0xff0000ff, 0xff00ff00, 0x80ff0000};
    int rc;
    DrawList *l = draw->recording;
    *ret_image = pictures_new(pictures, 3, 5, pixels, 3 * 4, &rc);
    must(rc);
    const struct keel_stop stops[2] = {{0, 0xff}, {1, 0xffffffff}};
    const float where[4] = {0, 0, 9, 9}, m[6] = {2, 0, 0, 2, 1, 1}, to[4] = {1, 2, 30, 50},
                from[4] = {1, 1, 2, 3};
    keel_paint paint = draw_gradient(l, KEEL_GRADIENT_LINEAR, where, stops, 2);
    assert_int_not_equal(paint, 0);
    const struct keel_point points[4] = {{0, 0}, {5, 0}, {5, 5}, {1, 4}};
    const struct keel_path style = {.size = sizeof style, .width = 2, .join = 1};
    const struct keel_font font = {
        .size = sizeof font, .px = 12, .weight = 700, .flags = KEEL_FONT_MONO, .family = "Serif"};
    must(draw_clear(l, 0x112233ff));
    must(draw_push(l));
    must(draw_transform(l, m));
    must(draw_clip(l, 0, 0, 100, 100, 4));
    must(draw_blend(l, 1));
    must(draw_rect(l, 1, 2, 3, 4, 1, 0, paint));
    must(draw_ellipse(l, 1, 2, 3, 4, 1, 0xff));
    must(draw_arc(l, 1, 2, 3, 0, 1, 1, 1, 0xff));
    must(draw_line(l, 1, 2, 3, 4, 1, 2, 0xff));
    must(draw_triangle(l, points, paint));
    must(draw_path(l, points, 4, &style, 0xff));
    must(draw_text(l, 3, 4, "written", 7, &font, 0xff));
    must(draw_pop(l));
    must(draw_image(l, *ret_image, to, from, KEEL_IMAGE_NEAREST, 0xffffffff));
    must(draw_image(l, *ret_image, to, NULL, 0, 0xffffffff));
    pictures_commit(pictures);
    draw_commit(draw);
}

static void a_picture_comes_back_as_it_was(void **unused)
{
    (void)unused;
    Draw draw;
    Pictures pictures;
    PictureTaken *taken;
    LastPicture *last;
    keel_handle image;
    Error err = {0};
    draw_init(&draw);
    pictures_init(&pictures);
    draw.screen.width = 900;
    draw.screen.height = 600;
    draw_all(&draw, &pictures, &image);
    draw.screen = draw_no_screen; /* the window closes; the picture was made for it */
    must(picture_take(&draw, &pictures, 77, &taken));
    /* What comes after isn't in it. */
    static const uint32_t black[3 * 5];
    must(pictures_write(&pictures, image, 0, 0, 3, 5, black, 12));
    pictures_commit(&pictures);
    must(picture_write_file(taken, path, &err));
    picture_drop(taken);
    must(last_picture_read(path, &last, &err));
    assert_true(last->width == 900 && last->height == 600 && last->wall_ns == 77);
    assert_int_equal(last->list.used, draw.good->used);
    assert_memory_equal(last->list.data, draw.good->data, draw.good->used);
    assert_int_equal(last->list.gradient_count, 1);
    assert_memory_equal(last->list.gradients, draw.good->gradients, sizeof(DrawGradient));
    const Picture *kept = pictures_find(&last->pictures, image);
    assert_non_null(kept);
    assert_int_equal(kept->width, 3);
    assert_int_equal(((const uint32_t *)(const void *)kept->pixels)[1], 0xff00ff00);
    assert_int_equal(((const uint32_t *)(const void *)pictures_find(&pictures, image)->pixels)[1],
                     0);
    last_picture_free(last);
    draw_done(&draw);
    pictures_done(&pictures);
}

static size_t read_back(uint8_t *to, size_t room)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t bytes = fread(to, 1, room, file);
    fclose(file);
    return bytes;
}

/* Every byte matters; a cut file is none. */
static void damage_is_refused(void **unused)
{
    (void)unused;
    static _Alignas(8) uint8_t good[8192], bad[8192];
    LastPicture *last = NULL;
    Error err = {0};
    size_t bytes = read_back(good, sizeof good);
    must(last_picture_decode(good, bytes, &last, &err));
    last_picture_free(last);
    for (size_t i = 0; i < bytes; i++) {
        memcpy(bad, good, bytes);
        bad[i] ^= (uint8_t)(1 << i % 8);
        /* What fills a record or an image to 8 bytes means nothing, but the checks cover most. */
        last = NULL;
        if (last_picture_decode(bad, bytes, &last, &err) == KEEL_OK) {
            assert_true(i >= bytes - 8);
            last_picture_free(last);
            continue;
        }
        assert_int_equal(err.code, KEEL_EDATA);
        assert_true(*err.text);
    }
    for (size_t cut = 0; cut < bytes; cut += 3)
        assert_int_equal(last_picture_decode(good, cut, &last, &err), KEEL_EDATA);
}

/* One that can compute checks gets no further than a module: what is out of range is refused. */
static void numbers_are_checked_though_the_checks_fit(void **unused)
{
    (void)unused;
    static _Alignas(8) uint8_t good[8192], bad[8192];
    LastPicture *last;
    Error err = {0};
    size_t bytes = read_back(good, sizeof good);
    LastPictureHead head;
    memcpy(&head, good, sizeof head);
    size_t body = head.list_bytes + head.gradients * sizeof(DrawGradient) +
                  head.images * sizeof(LastPictureImage);
    int refused = 0;
    for (size_t i = 0; i < body; i += 4)
        for (int k = 0; k < 2; k++) {
            const uint32_t word = k ? 0x7fc00000 /* no number */ : 0xffffffff;
            memcpy(bad, good, bytes);
            memcpy(bad + sizeof head + i, &word, 4);
            head.body_check = hash_bytes(bad + sizeof head, body).low;
            head.head_check = hash_bytes(&head, offsetof(LastPictureHead, head_check)).low;
            memcpy(bad, &head, sizeof head);
            if (last_picture_decode(bad, bytes, &last, &err) == KEEL_OK)
                last_picture_free(last);
            else
                refused++;
        }
    assert_true(refused > 100);
}

static void what_is_not_there_is_not_found(void **unused)
{
    (void)unused;
    LastPicture *last;
    Error err = {0};
    assert_int_equal(last_picture_read("/nowhere/at/all", &last, &err), KEEL_ENOTFOUND);
    assert_int_equal(last_picture_read("/", &last, &err), KEEL_EDATA);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/keel-last-picture-%d", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_comes_back_as_it_was),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(numbers_are_checked_though_the_checks_fit),
        cmocka_unit_test(what_is_not_there_is_not_found),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
