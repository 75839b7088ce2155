/* Draws the same picture in every frame, like a form that waits for somebody: 200 rows of a box and
 * a text. */
#include <keel/keel.h>

static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    keel_clear(k, 0x202428ff);
    for (int i = 0; i < 200; i++) {
        float x = 20 + (float)(i % 5) * 250, y = 16 + (float)(i / 5) * 17;
        keel_round(k, x, y, 240, 15, 4, 0x303840ff);
        keel_textf(k, x + 6, y + 1, 11, 0xd0d8e0ff, "row %d of 200", i);
    }
}

KEEL_MODULE("still", "1.0", KEEL_ON(frame, frame))
