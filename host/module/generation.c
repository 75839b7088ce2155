/* Numbers and memory of generations. Owns the process-wide counter. Any thread. */
#include "module/generation.h"

#include <stdlib.h>

static _Atomic uint64_t newest;

uint64_t generation_next_number(void)
{
    return atomic_fetch_add(&newest, 1) + 1;
}

void generation_free(Generation *generation)
{
    if (!generation)
        return;
    if (generation->image)
        image_unref(generation->image);
    free(generation->staged);
    free(generation);
}
