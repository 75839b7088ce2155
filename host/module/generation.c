/* Numbers and memory of generations. Owns the process-wide counter. Any thread. */
#include "module/generation.h"

#include <stdlib.h>

#include <keel/change.h>

#include "image/section.h"

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

uint64_t generation_converters(const Generation *g, const struct keel_convert **ret)
{
    uint64_t address = 0, bytes = 0;
    if (!g->image || !image_section(g->image, KEEL_CONVERT_SECTION, &address, &bytes) ||
        address + g->load_bias < g->load_first || address + g->load_bias > g->load_last ||
        bytes > g->load_last - (address + g->load_bias))
        return 0;
    *ret = (const struct keel_convert *)(uintptr_t)(address + g->load_bias);
    return bytes / sizeof **ret;
}
