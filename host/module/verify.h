/* Proof after dlopen that what is mapped is what was hashed, and that its table is one. [any] */
#ifndef MODULE_VERIFY_H
#define MODULE_VERIFY_H

#include "module/generation.h"

/* Fills load_bias, load_first, load_last and statics of a generation whose handle, staged name and
 * image are there. KEEL_ELOAD when the loader gave another object than the staged one. */
int verify_place(Generation *generation, Error *err);

/* The segments are private mappings of the sealed memfd at the right offsets, and the executable
 * ones hold its bytes. KEEL_ELOAD with a sentence when not. */
int verify_mapped(const Generation *generation, Error *err);

/* Finds the table inside the image and checks it and that its entries point into executable
 * segments. */
int verify_table(Generation *generation, Error *err);

/* 1 when `count` bytes at `address` lie in a segment with all of `flags` (PF_…). */
int verify_inside(const Generation *generation, uintptr_t address, uint64_t count, uint32_t flags);

#endif
