/* The leaves of a state: what each page counts for, and their sum. leaves.c keeps those of the last
 * boundary, fill.c makes some beside frames. Nobody outside this room includes it. Each belongs to
 * one thread at a time. */
#ifndef STATE_LEAVES_H
#define STATE_LEAVES_H

#include "state/internal.h"

enum { LEAVES_IMAGES = 16 };

typedef struct Leaf {
    uint64_t exact, loose;
} Leaf;

typedef struct Leaves {
    Leaf *leaf; /* by arena page: of the page as the checkpoint has it; zero pages have 0 */
    uint64_t pages;
    uint32_t top;         /* data pages that are counted */
    uint64_t first, span; /* around all images */
    int images;
    struct {
        uint64_t first, span;
    } image[LEAVES_IMAGES]; /* the running one last; those before it, whose addresses may still be
                               held */
    StateHashes sum;
} Leaves;

Leaves *leaves_new(const State *state); /* NULL: no memory */
void leaves_free(Leaves *leaves);       /* NULL is fine */
/* 1: it wasn't known. */
int leaves_image(Leaves *leaves, uintptr_t first, uintptr_t last);
void leaves_set(const State *state, Leaves *leaves, uint32_t id, const uint8_t *page);
/* Pages that came into use or went out of it. */
void leaves_reach(const State *state, Leaves *leaves, uint32_t top);

#endif
