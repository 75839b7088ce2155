/* Draw lists and images: what is recorded, what is refused, and that they go with the frame. */
#include "host_rig.h"

#include <keel/input.h>
#include <math.h>

#include "../fixtures/draw_part.h"
#include "host/host.h"
#include "swap/draw.h"
#include "swap/pictures.h"

static uint32_t count_ops(const DrawList *list, DrawOp op)
{
    uint32_t found = 0;
    for (const DrawHead *at = draw_first(list); at; at = draw_next(list, at))
        found += at->op == op;
    return found;
}

/* ---- lists ---- */

static void test_records_in_order(void **state)
{
    (void)state;
    DrawList list = {0};
    assert_int_equal(draw_rect(&list, 1, 2, 3, 4, 5, 6, 0x11223344), KEEL_OK);
    assert_int_equal(draw_push(&list), KEEL_OK);
    const struct keel_font font = {.size = sizeof font, .px = 12, .family = "Serif"};
    assert_int_equal(draw_text(&list, 7, 8, "abc", 3, &font, 0xffffffff), KEEL_OK);
    assert_int_equal(draw_pop(&list), KEEL_OK);
    assert_int_equal(list.shapes, 2);

    const DrawHead *at = draw_first(&list);
    const DrawShape *rect = (const void *)at;
    assert_int_equal(at->op, DRAW_RECT);
    const float numbers[6] = {1, 2, 3, 4, 5, 6};
    assert_memory_equal(rect->at, numbers, sizeof numbers);
    assert_true(rect->paint == 0x11223344);
    at = draw_next(&list, at);
    assert_int_equal(at->op, DRAW_PUSH);
    at = draw_next(&list, at);
    const DrawText *text = (const void *)at;
    assert_int_equal(at->op, DRAW_TEXT);
    assert_int_equal(text->family_bytes, 5);
    assert_int_equal(text->text_bytes, 3);
    assert_int_equal(text->weight, 400);
    assert_memory_equal(text->bytes, "Serifabc", 8);
    at = draw_next(&list, at);
    assert_int_equal(at->op, DRAW_POP);
    assert_null(draw_next(&list, at));
    draw_list_done(&list);
}

static void test_numbers_that_are_none(void **state)
{
    (void)state;
    DrawList list = {0};
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    const struct keel_font font = {.size = sizeof font, .px = 12};
    for (int i = 0; i < 4; i++) {
        float v = bad[i];
        const struct keel_point points[3] = {{0, 0}, {1, v}, {2, 2}};
        const struct keel_path style = {.size = sizeof style, .width = 1};
        const struct keel_path wide = {.size = sizeof style, .width = v};
        const float m[6] = {1, 0, 0, 1, v, 0}, to[4] = {0, 0, v, 1};
        const struct keel_font huge = {.size = sizeof font, .px = v};
        assert_int_equal(draw_rect(&list, v, 0, 1, 1, 0, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_rect(&list, 0, 0, v, 1, 0, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_ellipse(&list, 0, 0, v, 1, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_arc(&list, 0, 0, 1, v, 1, 0, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_line(&list, 0, 0, 1, v, 1, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_triangle(&list, points, 255), KEEL_EINVAL);
        assert_int_equal(draw_path(&list, points, 3, &style, 255), KEEL_EINVAL);
        assert_int_equal(draw_path(&list, points, 1, &wide, 255), KEEL_EINVAL);
        assert_int_equal(draw_transform(&list, m), KEEL_EINVAL);
        assert_int_equal(draw_clip(&list, 0, 0, v, 1, 0), KEEL_EINVAL);
        assert_int_equal(draw_image(&list, 1, to, NULL, 0, 255), KEEL_EINVAL);
        assert_int_equal(draw_text(&list, v, 0, "a", 1, &font, 255), KEEL_EINVAL);
        assert_int_equal(draw_text(&list, 0, 0, "a", 1, &huge, 255), KEEL_EINVAL);
        const float where[4] = {0, v, 1, 1};
        const struct keel_stop stops[2] = {{0, 1}, {1, 2}}, off[2] = {{0, 1}, {v, 2}};
        assert_true(draw_gradient(&list, KEEL_GRADIENT_LINEAR, where, stops, 2) == 0);
        assert_true(draw_gradient(&list, KEEL_GRADIENT_LINEAR, m, off, 2) == 0);
    }
    assert_int_equal(list.used, 0);
    draw_list_done(&list);
}

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    DrawList list = {0};
    const struct keel_point points[2] = {{0, 0}, {1, 1}};
    const struct keel_path odd = {.size = sizeof odd, .width = 1, .join = 3};
    const struct keel_path plain = {.size = sizeof plain, .width = 1};
    const struct keel_path filled = {.size = sizeof plain, .flags = KEEL_PATH_FILLED};
    const struct keel_font font = {.size = sizeof font, .px = 12}, none = {.size = sizeof font};
    assert_int_equal(draw_pop(&list), KEEL_EINVAL);
    assert_int_equal(draw_blend(&list, 4), KEEL_EINVAL);
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, -1, 0, 255), KEEL_EINVAL);
    assert_int_equal(draw_line(&list, 0, 0, 1, 1, 1, 3, 255), KEEL_EINVAL);
    assert_int_equal(draw_path(&list, points, 2, &odd, 255), KEEL_EINVAL);
    assert_int_equal(draw_path(&list, points, UINT32_MAX, &plain, 255), KEEL_ELIMIT);
    assert_int_equal(draw_path(&list, points, DRAW_FILL_POINTS + 1, &filled, 255), KEEL_ELIMIT);
    assert_int_equal(draw_text(&list, 0, 0, "a", UINT64_MAX, &font, 255), KEEL_ELIMIT);
    assert_int_equal(draw_text(&list, 0, 0, "a", 1, &none, 255), KEEL_EINVAL);
    /* A gradient of no frame. */
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, 0, 0, UINT64_C(1) << 32), KEEL_EINVAL);
    const float where[4] = {0, 0, 1, 1};
    const struct keel_stop stops[2] = {{0, 1}, {1, 2}}, back[2] = {{1, 1}, {0, 2}};
    assert_true(draw_gradient(&list, 0, where, back, 2) == 0);
    assert_true(draw_gradient(&list, 2, where, stops, 2) == 0);
    assert_true(draw_gradient(&list, 0, where, stops, KEEL_GRADIENT_STOPS + 1) == 0);
    keel_paint paint = draw_gradient(&list, 0, where, stops, 2);
    assert_true(paint != 0);
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, 0, 0, paint), KEEL_OK);
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, 0, 0, paint + (UINT64_C(1) << 32)), KEEL_EINVAL);
    for (int i = 0; i < DRAW_DEPTH; i++)
        assert_int_equal(draw_push(&list), KEEL_OK);
    assert_int_equal(draw_push(&list), KEEL_ELIMIT);
    draw_list_done(&list);
}

static void test_a_list_has_an_end(void **state)
{
    (void)state;
    DrawList list = {0};
    uint32_t drawn = 0;
    while (draw_rect(&list, 0, 0, 1, 1, 0, 0, 255) == KEEL_OK)
        drawn++;
    assert_true(drawn > 1000000 && list.used <= DRAW_LIST_BYTES);
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, 0, 0, 255), KEEL_ELIMIT);
    assert_int_equal(list.refused, 2);
    assert_int_equal(count_ops(&list, DRAW_RECT), drawn);
    const float where[4] = {0, 0, 1, 1};
    const struct keel_stop stops[2] = {{0, 1}, {1, 2}};
    for (int i = 0; i < DRAW_GRADIENTS; i++)
        assert_true(draw_gradient(&list, 0, where, stops, 2) != 0);
    assert_true(draw_gradient(&list, 0, where, stops, 2) == 0);
    draw_list_clear(&list);
    assert_int_equal(draw_rect(&list, 0, 0, 1, 1, 0, 0, 255), KEEL_OK);
    draw_list_done(&list);
}

static void measure(void *user, const DrawText *text, struct keel_text_size *ret)
{
    ret->width = (float)text->text_bytes * *(float *)user;
}

static void test_sizes_of_texts(void **state)
{
    (void)state;
    DrawList list = {0};
    float each = 3;
    DrawScreen screen = {.measure = measure, .user = &each};
    const struct keel_font font = {.size = sizeof font, .px = 10};
    struct keel_text_size size = {.size = sizeof size};
    assert_int_equal(draw_text_size(&list, &screen, "abcd", 4, &font, &size), KEEL_OK);
    assert_true(size.width == 12);
    screen.measure = NULL;
    assert_int_equal(draw_text_size(&list, &screen, "ab\ncde", 6, &font, &size), KEEL_OK);
    assert_int_equal(size.lines, 2);
    assert_true(fabsf(size.width - 18) < 0.01f && size.height == 24);
    /* A reader of an older form gets what it knows. */
    struct keel_text_size old = {.size = 8, .width = -1};
    assert_int_equal(draw_text_size(&list, &screen, "ab\ncde", 6, &font, &old), KEEL_OK);
    assert_int_equal(old.lines, 2);
    assert_true(old.width == -1);
    assert_int_equal(list.used, 0);
    draw_list_done(&list);
}

/* ---- images ---- */

static void test_images_count_with_the_frame(void **state)
{
    (void)state;
    Pictures pictures;
    pictures_init(&pictures);
    const uint32_t pixels[6] = {1, 2, 9, 3, 4, 9};
    int rc;
    keel_handle first = pictures_new(&pictures, 2, 2, pixels, 12, &rc);
    assert_int_equal(rc, KEEL_OK);
    assert_true(pictures_has(&pictures, first));
    pictures_undo(&pictures);
    assert_false(pictures_has(&pictures, first));
    assert_int_equal(pictures.bytes, 0);
    assert_true(pictures_new(&pictures, 2, 2, pixels, 12, &rc) == first);
    pictures_commit(&pictures);
    const Picture *picture = pictures_find(&pictures, first);
    const uint32_t want[4] = {1, 2, 3, 4};
    assert_memory_equal(picture->pixels, want, sizeof want);

    uint64_t version = picture->version;
    const uint32_t other = 7;
    assert_int_equal(pictures_write(&pictures, first, 1, 1, 1, 1, &other, 4), KEEL_OK);
    pictures_undo(&pictures);
    assert_memory_equal(picture->pixels, want, sizeof want);
    assert_true(picture->version == version);
    assert_int_equal(pictures_write(&pictures, first, 1, 1, 1, 1, &other, 4), KEEL_OK);
    pictures_commit(&pictures);
    assert_int_equal(((const uint32_t *)(const void *)picture->pixels)[3], 7);
    assert_true(picture->version != version);

    assert_int_equal(pictures_free(&pictures, first), KEEL_OK);
    pictures_undo(&pictures);
    assert_int_equal(pictures_free(&pictures, first), KEEL_OK);
    assert_true(pictures_has(&pictures, first)); /* until the frame ends */
    pictures_commit(&pictures);
    assert_false(pictures_has(&pictures, first));
    assert_non_null(pictures_find(&pictures, first)); /* the frame's picture shows it */
    pictures_commit(&pictures);
    assert_null(pictures_find(&pictures, first));
    assert_int_equal(pictures.bytes, 0);
    keel_handle next = pictures_new(&pictures, 2, 2, NULL, 0, &rc);
    assert_true(next != first && (uint32_t)next == (uint32_t)first);
    assert_int_equal(pictures_free(&pictures, first), KEEL_ESTALE);
    pictures_done(&pictures);
}

static void test_images_have_limits(void **state)
{
    (void)state;
    Pictures pictures;
    pictures_init(&pictures);
    int rc;
    const uint32_t pixel = 1;
    assert_true(!pictures_new(&pictures, 0, 1, NULL, 0, &rc) && rc == KEEL_EINVAL);
    assert_true(!pictures_new(&pictures, PICTURE_SIDE + 1, 1, NULL, 0, &rc) && rc == KEEL_EINVAL);
    assert_true(!pictures_new(&pictures, 2, 1, &pixel, 4, &rc) && rc == KEEL_EINVAL);
    assert_true(!pictures_new(&pictures, 1, 2, &pixel, UINT64_MAX / 2, &rc) && rc == KEEL_EINVAL);
    keel_handle all = pictures_new(&pictures, PICTURE_SIDE, PICTURE_SIDE, NULL, 0, &rc);
    assert_true(all != 0);
    assert_true(!pictures_new(&pictures, 1, 1, NULL, 0, &rc) && rc == KEEL_ELIMIT);
    assert_int_equal(pictures_write(&pictures, all, 0, 0, 1, 1, &pixel, 4), KEEL_ELIMIT);
    assert_int_equal(pictures_write(&pictures, all, PICTURE_SIDE, 0, 1, 1, &pixel, 4), KEEL_EINVAL);
    assert_int_equal(pictures_write(&pictures, all, 1, 0, PICTURE_SIDE, 1, &pixel, 1 << 20),
                     KEEL_EINVAL);
    assert_int_equal(pictures_write(&pictures, all ^ UINT64_C(1) << 32, 0, 0, 1, 1, &pixel, 4),
                     KEEL_ESTALE);
    assert_int_equal(pictures_free(&pictures, 0), KEEL_ESTALE);
    pictures_undo(&pictures);
    for (uint32_t i = 0; i < PICTURES_MOST; i++)
        assert_true(pictures_new(&pictures, 1, 1, NULL, 0, &rc) != 0);
    assert_true(!pictures_new(&pictures, 1, 1, NULL, 0, &rc) && rc == KEEL_ELIMIT);
    pictures_done(&pictures);
}

/* ---- a module in a host ---- */

typedef struct Easel {
    Rig rig;
    struct draw_part part;
    Draw *draw;
} Easel;

static void easel_open(Easel *easel)
{
    memset(easel, 0, sizeof *easel);
    rig_open(&easel->rig, NULL);
    struct keel_slot_options options = {
        .size = sizeof options, .no_watch = 1, .user = &easel->part};
    if (keel_host_add(easel->rig.host, rig_file("fx_draw"), &options, &easel->rig.slots[0]))
        fail_msg("%s", keel_host_error());
    easel->draw = &((Slot *)easel->rig.slots[0])->draw;
    rig_frames(&easel->rig, 25); /* probation is over */
}

static void test_a_crashed_frame_leaves_the_last_picture(void **state)
{
    (void)state;
    Easel easel;
    easel_open(&easel);
    easel.part.rects = 3;
    rig_frame(&easel.rig);
    assert_int_equal(easel.part.said, KEEL_OK);
    assert_int_equal(count_ops(easel.draw->good, DRAW_RECT), 3);
    uint64_t serial = easel.draw->serial;
    rig_frame(&easel.rig); /* the same once more */
    assert_true(easel.draw->serial == serial);

    easel.part.rects = 5;
    easel.part.crash = 1;
    rig_frame(&easel.rig);
    assert_int_equal(rig_status(&easel.rig, 0).undone, 1);
    assert_int_equal(count_ops(easel.draw->good, DRAW_RECT), 3);
    assert_true(easel.draw->serial == serial);

    easel.part.crash = 0;
    rig_frame(&easel.rig);
    assert_int_equal(count_ops(easel.draw->good, DRAW_RECT), 5);
    assert_true(easel.draw->serial != serial);
    rig_close(&easel.rig);
}

static void test_bad_pointers_are_the_modules_fault(void **state)
{
    (void)state;
    Easel easel;
    easel_open(&easel);
    easel.part.rects = 1;
    rig_frame(&easel.rig);
    easel.part.points = (const struct keel_point *)(uintptr_t)64;
    easel.part.points_bytes = 100;
    rig_frame(&easel.rig);
    assert_int_equal(rig_status(&easel.rig, 0).undone, 1);
    easel.part.points_bytes = 0;
    easel.part.text = (const char *)(uintptr_t)64;
    rig_frame(&easel.rig);
    assert_int_equal(rig_status(&easel.rig, 0).undone, 2);
    easel.part.text = "fine";
    rig_frame(&easel.rig);
    assert_int_equal(count_ops(easel.draw->good, DRAW_TEXT), 1);
    rig_close(&easel.rig);
}

static void test_images_of_a_module(void **state)
{
    (void)state;
    Easel easel;
    easel_open(&easel);
    const Pictures *pictures = &((Slot *)easel.rig.slots[0])->effects.pictures;
    easel.part.image_make = 1;
    easel.part.crash = 1;
    rig_frame(&easel.rig);
    assert_int_equal(pictures->count, 0);
    easel.part.crash = 0;
    rig_frame(&easel.rig);
    assert_int_equal(pictures->count, 1);
    easel.part.image_make = 0;
    easel.part.image_write = 77;
    easel.part.image_show = 1;
    rig_frame(&easel.rig);
    assert_int_equal(easel.part.said, KEEL_OK);
    assert_int_equal(count_ops(easel.draw->good, DRAW_IMAGE), 1);
    assert_int_equal(
        ((const uint32_t *)(const void *)pictures_find(pictures, easel.part.image)->pixels)[3], 77);
    easel.part.image_write = 0;
    easel.part.image_free = 1;
    rig_frame(&easel.rig);
    easel.part.image_free = 0;
    rig_frame(&easel.rig);
    assert_int_equal(easel.part.said, KEEL_ESTALE);
    assert_int_equal(pictures->count, 0);
    rig_close(&easel.rig);
}

static void test_the_view(void **state)
{
    (void)state;
    Easel easel;
    easel_open(&easel);
    easel.part.want_view = 1;
    rig_frame(&easel.rig);
    assert_true(easel.part.width == 1280 && easel.part.text_width == 60);
    easel.draw->screen.width = 99;
    rig_frame(&easel.rig);
    assert_true(easel.part.width == 99);
    struct keel_input size = {
        .size = sizeof size, .what = KEEL_INPUT_RESIZE, .x = 640, .y = 400, .dx = 2};
    assert_int_equal(keel_slot_input(easel.rig.slots[0], &size, NULL, 0), KEEL_OK);
    easel.part.crash = 1;
    rig_frame(&easel.rig); /* undone: it is told again */
    easel.part.crash = 0;
    rig_frame(&easel.rig);
    assert_true(easel.part.width == 640 && easel.draw->screen.scale == 2);
    draw_resize(easel.draw, (const float[3]){NAN, 400, 1});
    draw_resize(easel.draw, (const float[3]){640, -1, 1});
    assert_true(easel.draw->screen.width == 640 && easel.draw->screen.height == 400);
    rig_close(&easel.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_in_order),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_a_list_has_an_end),
        cmocka_unit_test(test_sizes_of_texts),
        cmocka_unit_test(test_images_count_with_the_frame),
        cmocka_unit_test(test_images_have_limits),
        cmocka_unit_test(test_a_crashed_frame_leaves_the_last_picture),
        cmocka_unit_test(test_bad_pointers_are_the_modules_fault),
        cmocka_unit_test(test_images_of_a_module),
        cmocka_unit_test(test_the_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
