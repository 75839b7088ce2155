/* The scenes of the picture tests. They show what goes wrong easily: edges between pixels, thin
 * things, joins of translucent lines, clips that are turned, text at small sizes. */
#include "scenes.h"

#include <math.h>
#include <string.h>

enum { WHITE = 0xffffffff, DARK = 0x181c24ff, GREY = 0x9aa4b2ff };

static void background(DrawList *list, uint32_t color)
{
    draw_clear(list, color);
}

static void rects(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    draw_rect(l, 10, 10, 60, 40, 0, 0, 0xff5544ff);
    draw_rect(l, 80.5f, 10.5f, 60, 40, 0, 0, 0x44cc66ff); /* half a pixel off */
    draw_rect(l, 150, 10, 60, 40, 10, 0, 0x5588ffff);
    draw_rect(l, 220, 10, 60, 40, 100, 0, 0xffcc33ff);
    draw_rect(l, 10, 60, 60, 40, 0, 1, WHITE);
    draw_rect(l, 80, 60, 60, 40, 0, 4, WHITE);
    draw_rect(l, 150, 60, 60, 40, 10, 1, WHITE);
    draw_rect(l, 220, 60, 60, 40, 12, 5, WHITE);
    for (int i = 0; i < 8; i++) /* from an eighth of a pixel on */
        draw_rect(l, 10 + (float)i * 16, 110, (float)(i + 1) / 8, 30, 0, 0, WHITE);
    for (int i = 0; i < 8; i++)
        draw_rect(l, 150, 110 + (float)i * 4.25f, 60, 1, 0, 0, WHITE);
    draw_rect(l, 220, 110, 60, 30, 6, 0, 0xffffff80);
    draw_rect(l, 250, 120, 60, 30, 6, 0, 0xff000080);
    draw_push(l);
    draw_transform(l, (const float[6]){0.9397f, 0.342f, -0.342f, 0.9397f, 50, 155});
    draw_rect(l, 0, 0, 80, 20, 0, 0, 0xcc66ffff);
    draw_rect(l, 100, -40, 80, 20, 6, 2, 0xcc66ffff);
    draw_pop(l);
    draw_push(l); /* askew */
    draw_transform(l, (const float[6]){1, 0, 0.5f, 1, 210, 165});
    draw_rect(l, 0, 0, 60, 25, 0, 0, 0x33cccfff);
    draw_pop(l);
}

static void rounds(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    draw_ellipse(l, 40, 40, 30, 30, 0, 0xff5544ff);
    draw_ellipse(l, 110, 40, 30, 30, 1, WHITE);
    draw_ellipse(l, 180, 40, 30, 30, 8, 0x44cc66ff);
    draw_ellipse(l, 260, 40, 45, 20, 0, 0x5588ffff);
    draw_ellipse(l, 260, 90, 45, 18, 2, WHITE);
    for (int i = 0; i < 10; i++)
        draw_ellipse(l, 15 + (float)i * 18, 90, 0.5f + (float)i * 0.75f, 0.5f + (float)i * 0.75f, 0,
                     WHITE);
    draw_arc(l, 40, 150, 28, 0, 1.5708f, 6, KEEL_CAP_BUTT, 0xffcc33ff);
    draw_arc(l, 40, 150, 28, 2.2f, 1.8f, 6, KEEL_CAP_ROUND, 0xff8844ff);
    draw_arc(l, 40, 150, 18, 0.4f, 5, 3, KEEL_CAP_SQUARE, 0x88ddffff);
    draw_arc(l, 110, 150, 28, -1.5708f, 4, 0, 0, 0xcc66ffff);
    draw_arc(l, 180, 150, 28, 0.3f, 0.6f, 0, 0, 0x44cc66ff);
    draw_arc(l, 180, 150, 28, 1.2f, 5.2f, 2, 0, 0x44cc66ff);
    draw_arc(l, 245, 150, 24, 0, 7, 5, 0, 0xff5544ff); /* more than all of it */
    draw_push(l);
    draw_transform(l, (const float[6]){1, 0, 0, 0.5f, 295, 150});
    draw_arc(l, 0, 0, 20, 0.5f, 4, 4, KEEL_CAP_ROUND, WHITE);
    draw_pop(l);
}

static void lines(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    for (int i = 0; i < 12; i++) {
        float a = (float)i * 0.5236f / 2;
        draw_line(l, 10, 10, 10 + cosf(a) * 80, 10 + sinf(a) * 80, 1, 0, WHITE);
    }
    for (int i = 0; i < 3; i++)
        draw_line(l, 110, 20 + (float)i * 24, 170, 20 + (float)i * 24, 12, (uint32_t)i, 0x5588ffff);
    for (int i = 0; i < 6; i++)
        draw_line(l, 190, 14 + (float)i * 12, 300, 20 + (float)i * 12, 0.25f * (float)(i + 1), 0,
                  WHITE);
    for (uint32_t join = 0; join < 3; join++) {
        float x = 10 + (float)join * 100;
        const struct keel_point zigzag[6] = {{x + 8, 180},  {x + 20, 110}, {x + 40, 175},
                                             {x + 48, 110}, {x + 80, 120}, {x + 62, 180}};
        const struct keel_path style = {
            .size = sizeof style, .width = 9, .join = join, .cap = join == 1};
        draw_path(l, zigzag, 6, &style, 0xffcc33a0); /* seen through: painted twice would show */
    }
}

static void paths(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    struct keel_point wave[200], star[10], square[4] = {{230, 20}, {290, 20}, {290, 80}, {230, 80}};
    const struct keel_path thin = {.size = sizeof thin, .width = 1.5f, .join = 1, .cap = 1};
    const struct keel_path closed = {
        .size = sizeof closed, .width = 6, .flags = KEEL_PATH_CLOSED, .join = 0};
    const struct keel_path filled = {.size = sizeof filled, .flags = KEEL_PATH_FILLED};
    background(l, WHITE);
    for (int i = 0; i < 200; i++)
        wave[i] = (struct keel_point){10 + (float)i * 1.5f, 165 + 22 * sinf((float)i * 0.11f)};
    draw_path(l, wave, 200, &thin, 0x2060c0ff);
    for (int i = 0; i < 10; i++) {
        float a = (float)i * 0.62832f - 1.5708f, r = i % 2 ? 18 : 45;
        star[i] = (struct keel_point){60 + cosf(a) * r, 65 + sinf(a) * r};
    }
    draw_path(l, star, 10, &filled, 0xe0a020ff);
    for (int i = 0; i < 10; i++)
        star[i].x += 100;
    draw_path(l, star, 10, &closed, 0xc03050a0);
    draw_path(l, square, 4, &closed, 0x208040ff);
    const struct keel_point hook[7] = {{225, 95},  {310, 95},  {310, 140}, {250, 140},
                                       {250, 120}, {290, 120}, {290, 108}};
    draw_path(l, hook, 7, &filled, 0x6040a0ff);
    draw_triangle(l, (const struct keel_point[3]){{240, 85}, {280, 30}, {282, 85}}, 0x404040c0);
    const struct keel_point sharp[4] = {{15, 120}, {110, 124}, {15, 128}, {100, 133}};
    draw_path(l, sharp, 4, &thin, 0x000000ff);
}

static void gradients(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    const float across[4] = {10, 0, 150, 0}, around[4] = {235, 50, 40, 0};
    const struct keel_stop two[2] = {{0, 0xff3300ff}, {1, 0x0044ffff}};
    const struct keel_stop fade[2] = {{0, 0xffffffff}, {1, 0xffffff00}};
    const struct keel_stop many[5] = {{0, 0xff0000ff},
                                      {0.25f, 0xffff00ff},
                                      {0.5f, 0x00ff00ff},
                                      {0.5f, 0x0000ffff},
                                      {1, 0xff00ffff}};
    draw_rect(l, 10, 10, 140, 30, 6, 0, draw_gradient(l, 0, across, two, 2));
    draw_rect(l, 10, 50, 140, 30, 0, 0, draw_gradient(l, 0, across, many, 5));
    draw_rect(l, 10, 90, 140, 30, 0, 0, draw_gradient(l, 0, across, fade, 2));
    draw_ellipse(l, 235, 50, 40, 40, 0, draw_gradient(l, 1, around, two, 2));
    draw_ellipse(l, 235, 50, 40, 40, 3, WHITE);
    keel_paint turned = draw_gradient(l, 0, (const float[4]){0, 0, 60, 0}, two, 2);
    draw_push(l);
    draw_transform(l, (const float[6]){0.7071f, 0.7071f, -0.7071f, 0.7071f, 60, 130});
    draw_rect(l, 0, 0, 60, 30, 0, 0, turned);
    draw_pop(l);
    const struct keel_font font = {.size = sizeof font, .px = 34, .weight = 700};
    draw_text(l, 130, 140, "Gradient", 8, &font,
              draw_gradient(l, 0, (const float[4]){130, 0, 300, 0}, many, 3));
    draw_line(l, 170, 110, 300, 125, 8, 1,
              draw_gradient(l, 0, (const float[4]){170, 0, 300, 0}, two, 2));
}

static void clips(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    draw_push(l);
    draw_clip(l, 10, 10, 90, 70, 0);
    draw_ellipse(l, 20, 20, 60, 60, 0, 0xff5544ff);
    draw_clip(l, 40, 30, 200, 20, 0);
    draw_rect(l, 0, 0, 320, 200, 0, 0, 0xffffff60);
    draw_pop(l);
    draw_push(l);
    draw_clip(l, 120, 10, 90, 70, 20);
    for (int i = 0; i < 12; i++)
        draw_rect(l, 110 + (float)i * 10, 0, 5, 100, 0, 0, 0x5588ffff);
    draw_pop(l);
    draw_push(l);
    draw_transform(l, (const float[6]){0.866f, 0.5f, -0.5f, 0.866f, 260, 15});
    draw_clip(l, 0, 0, 50, 50, 0);
    draw_rect(l, -100, -100, 300, 300, 0, 0, 0x44cc66ff);
    draw_clip(l, 10, 10, 100, 100, 15);
    draw_rect(l, -100, -100, 300, 300, 0, 0, 0xffcc33ff);
    draw_pop(l);
    /* How things meet. */
    draw_rect(l, 10, 110, 300, 80, 0, 0, 0x808080ff);
    for (uint32_t mode = 0; mode <= KEEL_BLEND_COPY; mode++) {
        draw_push(l);
        draw_blend(l, mode);
        draw_ellipse(l, 50 + (float)mode * 75, 150, 30, 30, 0, 0xff8040c0);
        draw_ellipse(l, 65 + (float)mode * 75, 160, 20, 20, 0, 0x4080ff80);
        draw_pop(l);
    }
}

static void put(DrawList *l, float x, float y, float px, uint32_t color, const char *text)
{
    const struct keel_font font = {.size = sizeof font, .px = px};
    draw_text(l, x, y, text, strlen(text), &font, color);
}

static void texts(DrawList *l, Pictures *pictures)
{
    (void)pictures;
    background(l, DARK);
    draw_rect(l, 160, 0, 160, 200, 0, 0, 0xf4f5f7ff);
    for (int i = 0; i < 6; i++) {
        float px = 9 + (float)i * 2, y = 6 + (float)i * 16 + (float)(i * i) * 0.8f;
        put(l, 8, y, px, 0xe8eaeeff, i < 3 ? "Hamburgefonstiv 123" : "Hamburg 12");
        put(l, 168, y, px, 0x202428ff, i < 3 ? "Hamburgefonstiv 123" : "Hamburg 12");
    }
    const struct keel_font mono = {
        .size = sizeof mono, .px = 12, .flags = KEEL_FONT_MONO | KEEL_FONT_BASELINE};
    const struct keel_font bold = {.size = sizeof bold, .px = 14, .weight = 700};
    const struct keel_font middle = {.size = sizeof middle, .px = 12, .align = KEEL_ALIGN_CENTER};
    draw_text(l, 8, 150, "x = 0xff; // mono", 17, &mono, 0x88ddaaff);
    const char umlauts[] = "Bold \xc3\xa4\xc3\xb6\xc3\xbc \xe2\x82\xac";
    draw_text(l, 168, 134, umlauts, sizeof umlauts - 1, &bold, 0x202428ff);
    draw_text(l, 80, 156, "in the\nmiddle", 13, &middle, 0xffcc66ff);
    draw_push(l);
    draw_transform(l, (const float[6]){0.9659f, -0.2588f, 0.2588f, 0.9659f, 180, 190});
    put(l, 0, -16, 15, 0x803020ff, "turned by 15\xc2\xb0");
    draw_pop(l);
}

static void images(DrawList *l, Pictures *pictures)
{
    enum { SIDE = 16 };
    uint8_t pixels[SIDE][SIDE][4];
    int rc;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int inside = (x - 8) * (x - 8) + (y - 8) * (y - 8) < 50;
            const uint8_t p[4] = {(uint8_t)(x * 16), (uint8_t)(y * 16), 128, inside ? 255 : 0};
            memcpy(pixels[y][x], p, 4);
        }
    keel_handle image = pictures_new(pictures, SIDE, SIDE, pixels, SIDE * 4, &rc);
    pictures_commit(pictures);
    background(l, 0x405060ff);
    draw_image(l, image, (const float[4]){10, 10, 16, 16}, NULL, 0, WHITE);
    draw_image(l, image, (const float[4]){40, 10, 96, 96}, NULL, 0, WHITE);
    draw_image(l, image, (const float[4]){150, 10, 96, 96}, NULL, KEEL_IMAGE_NEAREST, WHITE);
    draw_image(l, image, (const float[4]){260, 10, 48, 96}, (const float[4]){0, 0, 8, 16}, 0,
               WHITE);
    draw_image(l, image, (const float[4]){10, 30, 6, 6}, NULL, 0, WHITE);
    draw_image(l, image, (const float[4]){10, 120, 60, 60}, NULL, 0, 0xff8080ff);
    draw_image(l, image, (const float[4]){80, 120, 60, 60}, NULL, 0, 0xffffff60);
    draw_image(l, image, (const float[4]){210, 120, -60, 60}, NULL, 0, WHITE); /* mirrored */
    draw_push(l);
    draw_transform(l, (const float[6]){0.866f, 0.5f, -0.5f, 0.866f, 260, 115});
    draw_image(l, image, (const float[4]){0, 0, 50, 50}, NULL, KEEL_IMAGE_NEAREST, WHITE);
    draw_pop(l);
}

const Scene scenes[] = {{"rects", rects},    {"rounds", rounds},       {"lines", lines},
                        {"paths", paths},    {"gradients", gradients}, {"clips", clips},
                        {"texts", texts},    {"images", images},       {"form", scene_form},
                        {"many", scene_many}};
const int scene_count = sizeof scenes / sizeof *scenes;
