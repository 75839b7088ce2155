/* Populates a loaded image's pages: MADV_POPULATE_… (Linux 5.14), else by touching. Owns nothing.
 * The loader's thread, before anybody else has the image. */
#include "module/prefault.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static void populate(uintptr_t first, uintptr_t last, int writable)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    first &= ~(page - 1);
    last = (last + page - 1) & ~(page - 1);
    if (first >= last)
        return;
    if (!madvise((void *)first, last - first, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
        return;
    for (uintptr_t at = first; at < last; at += page) {
        volatile uint8_t *byte = (volatile uint8_t *)at;
        uint8_t value = *byte;
        if (writable)
            *byte = value;
    }
}

void prefault_generation(const Generation *g)
{
    for (int i = 0; i < g->image->load_count; i++) {
        const ImageLoad *load = &g->image->loads[i];
        uintptr_t first = g->load_bias + load->address;
        if (load->flags & PF_R && !(load->flags & PF_W))
            populate(first, first + load->memory_bytes, 0);
    }
    for (int i = 0; i < g->static_count; i++) {
        uintptr_t first = (uintptr_t)g->statics[i].address;
        populate(first, first + g->statics[i].bytes, 1);
    }
}
