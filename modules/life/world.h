/* A torus of cells, one bit each: 64 cells are stepped by one run of bitwise adders. Plain C that
 * knows nothing of Keel: the caller owns the memory. */
#ifndef LIFE_WORLD_H
#define LIFE_WORLD_H

#include <stdint.h>

enum {
    WORLD_WIDTH = 1024,
    WORLD_HEIGHT = 512,
    WORLD_ROW = WORLD_WIDTH / 64,          /* words in a row */
    WORLD_WORDS = WORLD_ROW * WORLD_HEIGHT /* words in a world: 64 KiB */
};

struct world_change {
    uint64_t births, deaths;
};

/* Writes the world that follows `now` into `next`, which is another one. */
struct world_change world_step(const uint64_t *now, uint64_t *next);

/* Any x and y will do: the world has no edge. */
int world_get(const uint64_t *world, int x, int y);
void world_set(uint64_t *world, int x, int y, int alive);

uint64_t world_population(const uint64_t *world);

#endif
