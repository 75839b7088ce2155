/* `keel manifest --check`: does a manifest fit its module, and if not, what differs? Main thread.
 */
#ifndef APP_MANIFEST_CHECK_H
#define APP_MANIFEST_CHECK_H

#include "app/apart.h"
#include "image/manifest.h"
#include "watch/settle.h"

/* A module as it lies there now. */
typedef struct SignedImage {
    const char *path;
    Image *image;
    Apart apart; /* holds the anatomy */
    Anatomy anatomy;
    int known; /* the anatomy is; else `why` not */
    char why[300];
    ManifestFacts facts;
} SignedImage;

/* The exit status. Without keys it tells who signed, and trusts nobody. */
int manifest_check(const SignedImage *s, const char *const *keys, int key_count);

#endif
