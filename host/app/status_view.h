/* The answer to "status" as a person reads it. The object comes from a host and is not trusted to
 * be complete. Main thread. */
#ifndef APP_STATUS_VIEW_H
#define APP_STATUS_VIEW_H

#include <jansson.h>
#include <stdio.h>

void status_view_print(FILE *file, const json_t *status);

#endif
