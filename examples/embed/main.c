/* A program that isn't Keel's: its own loop, its own heap, and a plugin that may be rebuilt while
 * it runs. usage: embed plugin.so [FRAMES] */
#include <keel/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "world.h"

int main(int argc, char **argv)
{
    struct world *world = calloc(1, sizeof *world);
    struct keel_slot_options options = {.size = sizeof options, .user = world};
    long frames = argc > 2 ? atol(argv[2]) : 600;
    keel_host *host;
    keel_slot *slot;
    if (argc < 2 || !world || keel_host_open(NULL, &host) ||
        keel_host_add(host, argv[1], &options, &slot))
        return fprintf(stderr, "embed: %s\n", argc < 2 ? "which plugin?" : keel_host_error()), 1;
    while (world->ticks < frames && keel_host_frame(host) >= 0) {
        if (world->ticks % 30 == 0)
            printf("tick %ld, height %.2f\n", world->ticks, world->height), fflush(stdout);
        nanosleep(&(struct timespec){.tv_nsec = 16666667}, NULL);
    }
    keel_host_close(host);
    printf("%ld ticks\n", world->ticks);
    free(world);
    return 0;
}
