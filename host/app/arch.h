/* One processor's part of a universal file. Main thread. */
#ifndef APP_ARCH_H
#define APP_ARCH_H

#include "watch/settle.h"

/* `arch` as people write it ("arm64", "x86_64", "x86-64"); NULL, or a file that is not universal:
 * nothing is done. Else `settled` becomes a sealed copy of that part alone. KEEL_EINVAL for another
 * word, KEEL_EUNSUPPORTED when the file has no such part. */
int arch_pick(Settled *settled, const char *arch, Error *err);

/* Is it a word that arch_pick knows? */
int arch_known(const char *arch);

#endif
