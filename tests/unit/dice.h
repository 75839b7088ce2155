/* Random numbers that are the same in every run: xorshift64. A test sets random_state, not to 0,
 * before it begins, so that a failure can be had again by the number it prints. */
#ifndef TESTS_DICE_H
#define TESTS_DICE_H

#include <stdint.h>

static uint64_t random_state;

/* 0 … sides - 1 */
static inline uint32_t dice(uint32_t sides)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % sides;
}

#endif
