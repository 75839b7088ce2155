/* The log of a host in a terminal, as a file beside the reports of faults: readable while it runs
 * and after it was killed; a host that ends by itself removes it. */
#ifndef APP_LOG_FILES_H
#define APP_LOG_FILES_H

#include <stddef.h>

/* From now on the log lies in the folder of reports; what killed hosts left there is kept, but for
 * the oldest. Without such a folder nothing happens. [main] */
void log_files_begin(void);
void log_files_end(void);

/* The file of process `pid`, or the newest for 0; NULL: there is none. `room` bytes of `ret_path`.
 */
const char *log_files_find(long pid, char *ret_path, size_t room);

#endif
