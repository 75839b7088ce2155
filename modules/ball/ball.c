/* The smallest module: a ball in a box. Where there is a screen it shows itself. */
#include <keel/keel.h>

struct ball {
    float x, y, vx, vy;
    uint64_t bounces;
};

static int start(keel *k)
{
    struct ball *b = keel_state(k, struct ball);
    b->vx = 120;
    b->vy = 90;
    return 0;
}

static void draw(keel *k, const struct ball *b)
{
    keel_clear(k, 0x101820ff);
    keel_round_line(k, 20, 20, 680, 400, 20, 2, 0x3a4858ff);
    keel_circle(k, 40 + b->x, 40 + b->y, 20, 0xff8800ff);
    keel_textf(k, 20, 432, 16, 0x8fa3b8ff, "%llu bounces", (unsigned long long)b->bounces);
}

static void frame(keel *k, const struct keel_frame *f)
{
    struct ball *b = keel_state(k, struct ball);
    b->x += b->vx * (float)f->dt;
    b->y += b->vy * (float)f->dt;
    if (b->x < 0 || b->x > 640) {
        b->vx = -b->vx;
        b->bounces++;
    }
    if (b->y < 0 || b->y > 360) {
        b->vy = -b->vy;
        b->bounces++;
    }
    draw(k, b);
}

KEEL_MODULE("ball", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
