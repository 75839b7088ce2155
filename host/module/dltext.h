/* The dynamic loader's sentences, said so that the cure is in them. [any] */
#ifndef MODULE_DLTEXT_H
#define MODULE_DLTEXT_H

#include "base/err.h"

/* Sets `err` (KEEL_ELOAD) from what dlerror said about `staged`, the staged name of `path`. */
int dltext_explain(const char *path, const char *staged, const char *said, Error *err);

#endif
