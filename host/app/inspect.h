/* What `keel inspect` learnt of an image, and its one description: text is printed from the JSON.
 * Main thread. */
#ifndef APP_INSPECT_H
#define APP_INSPECT_H

#include <jansson.h>
#include <stdio.h>

#include "app/apart.h"
#include "image/image.h"
#include "image/reading.h"

/* What is known; parts are missing when they could not be learnt. */
typedef struct Report {
    const char *path, *arch;
    int settled, inspected, detailed;
    size_t bytes;
    Hash hash;
    Image *image;
    Inspection inspection;
    Apart apart; /* holds what `details` points to */
    Reading details;
    int code; /* why it is refused, 0: accepted */
    Error err;
} Report;

/* All of it as one object; NULL: no memory. The caller's. */
json_t *inspect_facts(const Report *report);

void inspect_print(FILE *file, const json_t *facts);

#endif
