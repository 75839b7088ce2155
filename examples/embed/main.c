/* A program that isn't Keel's: its own loop, its own heap, and a plugin that may be rebuilt while
 * it runs. usage: embed plugin.so [TICKS] */
#include <keel/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "world.h"

static void tell(uint32_t level, const char *room, const char *text, void *user)
{
    (void)user;
    if (level > 0) /* 0: details for debugging */
        fprintf(stderr, "%s: %s\n", room, text);
}

int main(int argc, char **argv)
{
    struct world *world = calloc(1, sizeof *world);
    struct keel_host_options host_options = {.size = sizeof host_options, .log = tell};
    struct keel_slot_options slot_options = {.size = sizeof slot_options, .user = world};
    long ticks = argc > 2 ? atol(argv[2]) : 600;
    keel_host *host;
    if (argc < 2 || !world || keel_host_open(&host_options, &host) ||
        keel_host_add(host, argv[1], &slot_options, NULL))
        return fprintf(stderr, "embed: %s\n", argc < 2 ? "which plugin?" : keel_host_error()), 1;
    while (world->ticks < ticks && keel_host_frame(host) >= 0) {
        if (world->ticks % 30 == 0)
            printf("tick %ld, height %.1f\n", world->ticks, world->height), fflush(stdout);
        nanosleep(&(struct timespec){.tv_nsec = 16666667}, NULL);
    }
    keel_host_close(host);
    free(world);
    return 0;
}
