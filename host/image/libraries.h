/* Where the loader would find a library that an image needs: by the rules of ld.so(8), without
 * loading it. Reads folders and the loader's cache; any thread. */
#ifndef IMAGE_LIBRARIES_H
#define IMAGE_LIBRARIES_H

#include <stddef.h>

enum { LIBRARY_PATH_BYTES = 4096 };

/* How it was found. */
typedef enum LibraryHow {
    LIBRARY_MISSING,
    LIBRARY_HERE, /* this program has it loaded: its copy serves */
    LIBRARY_PATH, /* the name is a path */
    LIBRARY_RUNPATH,
    LIBRARY_ENVIRONMENT, /* LD_LIBRARY_PATH */
    LIBRARY_CACHE,       /* ld.so.cache */
    LIBRARY_FOLDER       /* a folder that is always searched */
} LibraryHow;

/* `origin` is the folder of the image, for $ORIGIN. `ret` holds LIBRARY_PATH_BYTES. */
LibraryHow library_find(const char *name, const char *runpath, const char *origin, char *ret);

#endif
