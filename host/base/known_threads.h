/* The threads whose stacks nobody needs to look at before an image is closed: the host's own, which
 * never run a module's code, and those that count their calls into modules (Generation.inside).
 * Every other thread's is scanned (module/quiet.h). */
#ifndef BASE_KNOWN_THREADS_H
#define BASE_KNOWN_THREADS_H

/* Counted, a thread. At most 256 threads; one that comes after isn't known. On a thread of a pool
 * that others use as well: only around one's own work. [any] */
void known_thread_begin(void);
void known_thread_end(void);

int known_thread_is(int tid); /* [any] */

#endif
