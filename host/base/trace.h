/* Where the time of a start goes: marks with a name, each with the time since the one before.
 *
 * Marks cost a clock reading and are always taken; what comes after 48 of them is left out. Any
 * thread may mark; printing is for the end of the start. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdint.h>
#include <stdio.h>

enum { TRACE_MARKS = 48 };

/* Something has just been done. `name` is not copied. */
void trace_mark(const char *name);

/* Since the first mark, in milliseconds: one line a mark, and the whole. */
void trace_print(FILE *to);

#endif
