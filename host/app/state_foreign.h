/* May a snapshot leave the process that wrote it? Main thread. */
#ifndef APP_STATE_FOREIGN_H
#define APP_STATE_FOREIGN_H

#include "base/err.h"

/* Of a snapshot's file: KEEL_EREFUSED with a sentence where pointers lead out of it. Where it has
 * no types nothing is known. */
int state_foreign_check(const char *file, Error *err);

#endif
