/* The part of the program that is edited while it runs: change GRAVITY and rebuild it. */
#include <keel/keel.h>

#include "world.h"

static const double GRAVITY = -9.8;

static void frame(keel *k, const struct keel_frame *f)
{
    struct world *world = (struct world *)keel_user(k); /* the program's own memory */
    world->ticks++;
    world->speed += GRAVITY * f->dt;
    world->height += world->speed * f->dt;
    if (world->height < 0 && world->speed < 0) {
        world->height = 0;
        world->speed = 12; /* up again */
        keel_info(k, "up at tick %ld, gravity %g", world->ticks, GRAVITY);
    }
}

KEEL_MODULE("plugin", "1.0", KEEL_ON(frame, frame))
