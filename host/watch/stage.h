/* Names for images that exist only in memory: …/keel-<pid>-<random>/g<N>/<file> →
 * /proc/<pid>/fd/<M>, with symlinks to the libraries beside the original, so that $ORIGIN works and
 * every dlopen sees a name it has never seen.
 *
 * Owns the folder (0700, under $XDG_RUNTIME_DIR or /tmp) and removes it; folders of dead processes
 * are removed at start. No file is ever copied. Any one thread. */
#ifndef WATCH_STAGE_H
#define WATCH_STAGE_H

#include "base/err.h"

typedef struct Stage Stage;

int stage_new(Stage **ret, Error *err);
void stage_free(Stage *stage);
/* Removes all names and their folder; what is added later fails. For whoever may still use the
 * Stage when its owner leaves. [any] */
void stage_remove_all(const Stage *stage);

/* From now on names have nothing beside them: libraries next to the original are not found by
 * $ORIGIN, since nobody vouches for them. */
void stage_alone(Stage *stage);

/* Makes the name for generation `number` of the file at `original`, whose bytes are in `memfd`
 * (stays the caller's and must stay open while the name is used). `*ret_path` is malloc'ed. */
int stage_add(Stage *stage, unsigned long number, const char *original, int memfd, char **ret_path,
              Error *err);

/* Removes what stage_add made. */
void stage_remove(Stage *stage, const char *path);

#endif
