/* Finds and starts keel-trial. [loop thread] */
#ifndef MODULE_TRIAL_SPAWN_H
#define MODULE_TRIAL_SPAWN_H

#include <sys/types.h>

#include "base/err.h"

/* `program` or the first that can be executed of: $KEEL_TRIAL, keel-trial beside this program,
 * ../libexec/keel/ from it, the folder it was configured for. malloc'ed. */
int trial_find(const char *program, char **ret, Error *err);

/* The helper has its end of a socket pair as descriptor 3 and nothing else of this process but
 * standard error. `*ret_fd` is this end, close-on-exec and non-blocking. */
int trial_spawn(const char *program, pid_t *ret_pid, int *ret_fd, Error *err);

#endif
