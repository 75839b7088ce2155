/* Lists into instances and commands, without OpenGL: what shares a command, what parts them, where
 * things come to lie, what is left out, and that a picture can't take more than its share. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "screen/batch.h"

static DrawList list;
static Batch batch;

static int begin(void **state)
{
    (void)state;
    memset(&list, 0, sizeof list);
    batch_init(&batch, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    draw_list_done(&list);
    batch_done(&batch);
    return 0;
}

static void make(float scale)
{
    batch_begin(&batch, 640, 480, scale, 0x010203ff);
    batch_add(&batch, &list, NULL);
}

static uint32_t commands(void)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < batch.command_count; i++)
        used += batch.commands[i].count > 0;
    return used;
}

static uint32_t kinds(uint32_t kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < batch.count; i++)
        count += (batch.instances[i].kind & 0xff) == kind;
    return count;
}

/* Every instance is in one command, in order. */
static void assert_whole(void)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < batch.command_count; i++) {
        assert_int_equal(batch.commands[i].first, next);
        next += batch.commands[i].count;
    }
    assert_int_equal(next, batch.count);
}

static void test_much_is_one_command(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        draw_rect(&list, (float)i, 2.5f, 3, 3, 0, 0, 255);
        draw_ellipse(&list, (float)i, 50, 3, 3, 1, 255);
        draw_line(&list, 0, 0, (float)i + 1, 9, 1, 0, 255);
        draw_push(&list);
        draw_transform(&list, (const float[6]){0, 1, -1, 0, 9, 9});
        draw_rect(&list, 1, 1, 3, 3, 1, 0, 255);
        draw_pop(&list);
    }
    make(1);
    assert_int_equal(commands(), 1);
    assert_true(batch.count >= 4000);
    assert_whole();
    batch.split = 1;
    make(1);
    assert_true(commands() >= 1);
    for (uint32_t i = 0; i < batch.command_count; i++) /* one kind each */
        assert_true(!batch.commands[i].count ||
                    __builtin_popcount(batch.commands[i].kinds & 0xff) == 1);
    assert_whole();
}

static void test_what_parts_commands(void **state)
{
    (void)state;
    draw_rect(&list, 0, 0, 10.5f, 10, 0, 0, 255);
    draw_push(&list);
    draw_clip(&list, 10, 20, 30, 40, 0);
    draw_rect(&list, 0, 0, 99.5f, 99, 0, 0, 255);
    draw_clip(&list, 0, 0, 20, 30, 0);
    draw_rect(&list, 0, 0, 99.5f, 99, 0, 0, 255);
    draw_pop(&list);
    draw_blend(&list, KEEL_BLEND_ADD);
    draw_rect(&list, 0, 0, 10.5f, 10, 0, 0, 255);
    make(2);
    assert_int_equal(commands(), 4);
    assert_whole();
    const BatchCommand *c = batch.commands;
    assert_int_equal(c[0].right, 640);
    assert_int_equal(c[1].left, 20);
    assert_int_equal(c[1].top, 40);
    assert_int_equal(c[1].right, 80);
    assert_int_equal(c[1].bottom, 120);
    assert_int_equal(c[2].left, 20); /* both clips */
    assert_int_equal(c[2].right, 40);
    assert_int_equal(c[2].bottom, 60);
    assert_int_equal(c[3].left, 0);
    assert_int_equal(c[3].blend, KEEL_BLEND_ADD);
}

static void test_clips_that_the_shader_does(void **state)
{
    (void)state;
    draw_clip(&list, 100, 100, 50, 50, 10);
    draw_rect(&list, 0, 0, 300, 300, 0, 0, 255);
    make(1);
    const BatchCommand *c = &batch.commands[batch.command_count - 1];
    assert_int_equal(c->clip_count, 1);
    const BatchClip *clip = &c->clips[0];
    float x = clip->x[0] * 125 + clip->x[1] * 125 + clip->x[2];
    assert_true(fabsf(x) < 1e-3f && clip->half[0] == 25 && clip->radius[1] == 10);
    draw_list_clear(&list);
    for (int i = 0; i < 20; i++)
        draw_clip(&list, 10, 10, 500, 400, (float)i + 1);
    draw_rect(&list, 0, 0, 300, 300, 0, 0, 255);
    make(1);
    assert_int_equal(batch.commands[batch.command_count - 1].clip_count, BATCH_CLIPS);
}

static void test_where_a_rectangle_lies(void **state)
{
    (void)state;
    draw_transform(&list, (const float[6]){2, 0, 0, 2, 10, 20});
    draw_rect(&list, 1, 2, 10, 20, 0, 0, 0x11223344);
    make(2);
    assert_int_equal(batch.count, 1);
    const Instance *i = batch.instances;
    assert_int_equal(i->kind, INSTANCE_PLAIN); /* on whole pixels: nothing fades */
    assert_true(i->paint == 0x11223344);
    assert_true(i->right[0] == 24 && i->right[1] == 48 && i->down[0] == 64 && i->down[1] == 128);
}

static void test_large_shapes_are_taken_apart(void **state)
{
    (void)state;
    draw_rect(&list, 10, 10, 400, 300, 20, 0, 255);
    draw_rect(&list, 10, 10, 400, 300, 20, 3, 255); /* an outline: its inside is nobody's */
    make(1);
    assert_int_equal(kinds(INSTANCE_PLAIN), 1);
    assert_int_equal(kinds(INSTANCE_SHAPE), 8);
    double area = 0;
    for (uint32_t n = 0; n < batch.count; n++) {
        const Instance *i = &batch.instances[n];
        double own = (double)(i->down[0] - i->right[0]) * (double)(i->down[1] - i->right[1]);
        assert_true(own > 0);
        if (n < 5)
            area += own;
    }
    assert_true(area == 400 * 300); /* no gap, nothing twice */
    assert_whole();
}

static void test_a_full_clear_begins_anew(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        draw_rect(&list, (float)i, 2, 3, 3.5f, 0, 0, 255);
    draw_push(&list);
    draw_clip(&list, 0, 0, 1, 1, 0);
    draw_clear(&list, 0xabcdefff);
    draw_pop(&list);
    draw_rect(&list, 0, 0, 5, 5.5f, 0, 0, 255);
    make(1);
    assert_int_equal(batch.count, 1);
    assert_true(batch.background == 0xabcdefff);
    assert_whole();
    draw_list_clear(&list);
    draw_rect(&list, 0, 0, 5, 5.5f, 0, 0, 255);
    draw_clear(&list, 0x00000080); /* seen through */
    make(1);
    assert_true(batch.count >= 2 && batch.background == 0x010203ff);
}

static void test_nothing_of_what_is_flat(void **state)
{
    (void)state;
    draw_push(&list);
    draw_transform(&list, (const float[6]){1, 1, 1, 1, 0, 0});
    draw_rect(&list, 0, 0, 10, 10, 0, 0, 255);
    draw_clip(&list, 0, 0, 10, 10, 5);
    draw_ellipse(&list, 0, 0, 10, 10, 0, 255);
    draw_pop(&list);
    for (int i = 0; i < 10; i++) /* until it isn't a number any more */
        draw_transform(&list, (const float[6]){1e7f, 0, 0, 1e7f, 0, 0});
    draw_rect(&list, 0, 0, 10, 10, 0, 0, 255);
    draw_arc(&list, 0, 0, 10, 0, 1, 2, 0, 255);
    make(1);
    assert_int_equal(batch.count, 0);
}

static void assert_finite(void)
{
    for (uint32_t n = 0; n < batch.count; n++) {
        const Instance *i = &batch.instances[n];
        const float numbers[] = {i->at[0],     i->at[1],     i->right[0],  i->right[1],
                                 i->down[0],   i->down[1],   i->half[0],   i->half[1],
                                 i->radius[0], i->radius[1], i->stroke[0], i->stroke[1]};
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            assert_true(isfinite(numbers[k]));
    }
}

/* Points that are one, that turn back on themselves, that cross. */
static void test_odd_paths(void **state)
{
    (void)state;
    static const struct keel_point odd[][6] = {
        {{5, 5}, {5, 5}, {5, 5}, {5, 5}, {5, 5}, {5, 5}},
        {{0, 0}, {50, 0}, {0, 0}, {50, 0}, {0, 0}, {50, 0}},
        {{0, 0}, {50, 50}, {50, 0}, {0, 50}, {20, -10}, {20, 70}},
        {{0, 0}, {1e7f, 0}, {1e7f, 1e7f}, {-1e7f, 1e7f}, {0, -1e7f}, {3, 3}},
        {{0, 0}, {1e-6f, 0}, {2e-6f, 0}, {100, 1e-6f}, {100, 0}, {0, 1e-6f}}};
    for (size_t n = 0; n < sizeof odd / sizeof *odd; n++)
        for (uint32_t flags = 0; flags < 4; flags++)
            for (uint32_t join = 0; join < 3; join++) {
                const struct keel_path style = {
                    .size = sizeof style, .flags = flags, .cap = join, .join = join, .width = 8};
                assert_int_equal(draw_path(&list, odd[n], 6, &style, 255), KEEL_OK);
            }
    make(1);
    assert_true(batch.count > 100);
    assert_finite();
    assert_whole();
}

/* The area of what is painted, by the coverage of triangles. */
static double painted(void)
{
    double sum = 0;
    for (uint32_t n = 0; n < batch.count; n++) {
        const Instance *i = &batch.instances[n];
        double ax = i->right[0] - i->at[0], ay = i->right[1] - i->at[1];
        double bx = i->down[0] - i->at[0], by = i->down[1] - i->at[1];
        assert_int_equal(i->kind, INSTANCE_TRIANGLE);
        sum += fabs(ax * by - ay * bx) / 2 * (double)(i->half[0] + i->half[1] + i->radius[0]) / 3;
    }
    return sum;
}

static void test_paths_cover_what_they_should(void **state)
{
    (void)state;
    const struct keel_point square[4] = {{10, 10}, {110, 10}, {110, 110}, {10, 110}};
    const struct keel_point notch[5] = {{10, 10}, {110, 10}, {110, 110}, {60, 60}, {10, 110}};
    struct keel_path style = {.size = sizeof style, .flags = KEEL_PATH_FILLED};
    draw_path(&list, square, 4, &style, 255);
    make(1);
    assert_true(fabs(painted() - 10000) < 60);
    draw_list_clear(&list);
    draw_path(&list, notch, 5, &style, 255);
    make(1);
    assert_true(fabs(painted() - 7500) < 60);
    style = (struct keel_path){.size = sizeof style, .flags = KEEL_PATH_CLOSED, .width = 10};
    draw_list_clear(&list);
    draw_path(&list, square, 4, &style, 255);
    make(1); /* joins: nothing twice, nothing missing */
    assert_true(fabs(painted() - (110 * 110 - 90 * 90)) < 60);
    style = (struct keel_path){.size = sizeof style, .width = 0.25f};
    draw_list_clear(&list);
    draw_path(&list, square, 2, &style, 255);
    make(1);
    assert_true(fabs(painted() - 25) < 3);
}

static void test_a_picture_has_an_end(void **state)
{
    (void)state;
    enum { POINTS = 60000 };
    struct keel_point *points = malloc(POINTS * sizeof *points);
    for (int i = 0; i < POINTS; i++)
        points[i] = (struct keel_point){(float)(i % 2 * 600), (float)(i % 400)};
    const struct keel_path style = {.size = sizeof style, .width = 8, .join = KEEL_JOIN_ROUND};
    for (int i = 0; i < 4; i++)
        assert_int_equal(draw_path(&list, points, POINTS, &style, 255), KEEL_OK);
    free(points);
    make(1);
    assert_true(batch.count <= BATCH_INSTANCES_MOST && batch.refused > 0);
    assert_whole();
    draw_list_clear(&list);
    draw_rect(&list, 0, 0, 5, 5.5f, 0, 0, 255);
    make(1);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.refused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_much_is_one_command, begin, end),
        cmocka_unit_test_setup_teardown(test_what_parts_commands, begin, end),
        cmocka_unit_test_setup_teardown(test_clips_that_the_shader_does, begin, end),
        cmocka_unit_test_setup_teardown(test_where_a_rectangle_lies, begin, end),
        cmocka_unit_test_setup_teardown(test_large_shapes_are_taken_apart, begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_clear_begins_anew, begin, end),
        cmocka_unit_test_setup_teardown(test_nothing_of_what_is_flat, begin, end),
        cmocka_unit_test_setup_teardown(test_odd_paths, begin, end),
        cmocka_unit_test_setup_teardown(test_paths_cover_what_they_should, begin, end),
        cmocka_unit_test_setup_teardown(test_a_picture_has_an_end, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
