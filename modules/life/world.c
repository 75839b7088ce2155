/* Conway's rule, 64 cells at a time. A word's neighbours are eight words, its own row and the two
 * beside it shifted by one; adders made of and, or and xor count them, a bit of the count in a
 * word. */
#include "world.h"

static void add3(uint64_t a, uint64_t b, uint64_t c, uint64_t *ones, uint64_t *twos)
{
    uint64_t half = a ^ b;
    *ones = half ^ c;
    *twos = (a & b) | (half & c);
}

/* Word `x` of a row with each cell replaced by its left or right neighbour. */
static uint64_t left_of(const uint64_t *row, int x)
{
    return row[x] << 1 | row[(x + WORLD_ROW - 1) % WORLD_ROW] >> 63;
}

static uint64_t right_of(const uint64_t *row, int x)
{
    return row[x] >> 1 | row[(x + 1) % WORLD_ROW] << 63;
}

static uint64_t step_word(const uint64_t *above, const uint64_t *here, const uint64_t *below, int x)
{
    uint64_t ones[3], twos[3], one, two, two_of_three, four;
    add3(left_of(above, x), above[x], right_of(above, x), &ones[0], &twos[0]);
    add3(left_of(here, x), 0, right_of(here, x), &ones[1], &twos[1]);
    add3(left_of(below, x), below[x], right_of(below, x), &ones[2], &twos[2]);
    add3(ones[0], ones[1], ones[2], &one, &two);
    add3(twos[0], twos[1], twos[2], &two_of_three, &four);
    /* Two or three neighbours: exactly one of the twos and no four. Three gives birth, two keep. */
    return (two ^ two_of_three) & ~four & (one | here[x]);
}

struct world_change world_step(const uint64_t *now, uint64_t *next)
{
    struct world_change change = {0, 0};
    for (int y = 0; y < WORLD_HEIGHT; y++) {
        const uint64_t *above = now + (y + WORLD_HEIGHT - 1) % WORLD_HEIGHT * WORLD_ROW;
        const uint64_t *here = now + y * WORLD_ROW;
        const uint64_t *below = now + (y + 1) % WORLD_HEIGHT * WORLD_ROW;
        for (int x = 0; x < WORLD_ROW; x++) {
            uint64_t cells = step_word(above, here, below, x);
            change.births += (uint64_t)__builtin_popcountll(cells & ~here[x]);
            change.deaths += (uint64_t)__builtin_popcountll(here[x] & ~cells);
            next[y * WORLD_ROW + x] = cells;
        }
    }
    return change;
}

/* The word of a cell; WORLD_WIDTH and WORLD_HEIGHT are powers of two, so that negative x and y wrap
 * as well. */
static uint64_t word_of(int x, int y)
{
    return (uint64_t)(y & (WORLD_HEIGHT - 1)) * WORLD_ROW + (uint64_t)(x & (WORLD_WIDTH - 1)) / 64;
}

int world_get(const uint64_t *world, int x, int y)
{
    return (int)(world[word_of(x, y)] >> (x & 63) & 1);
}

void world_set(uint64_t *world, int x, int y, int alive)
{
    uint64_t bit = UINT64_C(1) << (x & 63);
    if (alive)
        world[word_of(x, y)] |= bit;
    else
        world[word_of(x, y)] &= ~bit;
}

uint64_t world_population(const uint64_t *world)
{
    uint64_t alive = 0;
    for (int i = 0; i < WORLD_WORDS; i++)
        alive += (uint64_t)__builtin_popcountll(world[i]);
    return alive;
}
