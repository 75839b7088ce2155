/* Two layouts of the same structs, for bench_migrate: VARIANT 1 is how it fills the state. */
#include <keel/keel.h>

#include "shapes.h"

static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    keel_state(k, struct flat)->x += 1;
    keel_new(k, struct node);
    keel_new(k, struct leaf);
}

KEEL_MODULE("shapes", "1", KEEL_ON(frame, frame))
