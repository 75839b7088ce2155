/* A process's mappings, as /proc/…/maps lists them. [any] */
#ifndef MODULE_MAPS_H
#define MODULE_MAPS_H

#include <stdint.h>

#include "base/err.h"

typedef struct MapEntry {
    uintptr_t first, last; /* [first, last) */
    uint64_t file_offset, inode;
    unsigned major, minor;
    char access[5]; /* "r-xp" */
} MapEntry;

/* Nonzero ends the walk and is returned. */
typedef int MapVisit(const MapEntry *entry, void *user);

/* In address order, from one reading of the whole list. KEEL_EIO when it can't be read. */
int maps_each(MapVisit *visit, void *user, Error *err);

#endif
