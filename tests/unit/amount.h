/* How much work a test does: as much as finds what breaks, or, where KEEL_LONG is set as it is in
 * the tests labelled long, as much as finds what breaks seldom. */
#ifndef TESTS_AMOUNT_H
#define TESTS_AMOUNT_H

#include <stdlib.h>

#include "base/sanitizer.h"

static inline int amount(int usual, int much)
{
    if (getenv("KEEL_LONG"))
        return much;
#if UNDER_TSAN /* 25 times slower, and finds nothing in what one thread does */
    return usual > 3 ? usual / 3 : 1;
#else
    return usual;
#endif
}

#endif
