/* The smallest module: a ball in a box. */
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
}

KEEL_MODULE("ball", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
