/* What this machine's kernel and container allow, for status and messages. Found out once. Any
 * thread. */
#ifndef CONTROL_LIMITS_H
#define CONTROL_LIMITS_H

#include <jansson.h>

/* {"kernel", "userfaultfd", "pagemap_scan", "landlock", "leases"}: each a string, "yes" or why not.
 */
json_t *limits_json(void);

#endif
