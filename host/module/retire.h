/* Closes one generation, or says what still holds it. The loader's thread. */
#ifndef MODULE_RETIRE_H
#define MODULE_RETIRE_H

#include "module/generation.h"

typedef enum RetireOutcome {
    RETIRE_CLOSED, /* the mapping is gone, and checked to be */
    RETIRE_BUSY,   /* something is in it: ask again later */
    RETIRE_STAYS,  /* it can't be unmapped, ever: generation->stays says why */
    RETIRE_LOCKED  /* the same, and the dynamic loader's lock was left held */
} RetireOutcome;

/* One attempt. After RETIRE_CLOSED only number, image and the range are meaningful. */
RetireOutcome retire_try(Generation *generation, Error *err);

#endif
