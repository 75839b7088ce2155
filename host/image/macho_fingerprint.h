/* Inside image/: what a Mach-O image is made of. Bytes of unknown origin, so it is called in a
 * process under limits; one thread. */
#ifndef IMAGE_MACHO_FINGERPRINT_H
#define IMAGE_MACHO_FINGERPRINT_H

#include "image/anatomy.h"
#include "image/macho.h"

/* Adds flags, functions, statics and sections. KEEL_EIMAGE, KEEL_EUNSUPPORTED, KEEL_ENOMEM. */
int macho_fingerprint(const void *data, size_t bytes, AnatomyMaker *maker, Error *err);

#endif
