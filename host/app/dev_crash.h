/* A crash of new code as something to mend: the line of the source where it happened, as the
 * compiler's errors are told. The builder's thread. */
#ifndef APP_DEV_CRASH_H
#define APP_DEV_CRASH_H

#include "app/dev.h"
#include "app/dev_errors.h"

/* `text` is what a trial or a fault says ("… wrote to 0x0 (null pointer) in fish+0x1234"), `module`
 * the file whose code it was. 0: it tells no place, or the file has no line for it. */
int dev_crash_find(const DevPlan *plan, const char *module, const char *text, DevError *ret);

#endif
