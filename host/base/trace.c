/* The marks of a start. Owns a fixed array. Any thread. */
#include "base/trace.h"

#include <stdatomic.h>

#include "base/clock.h"

static struct {
    const char *name;
    int64_t at_ns;
} marks[TRACE_MARKS];
static _Atomic int count;

void trace_mark(const char *name)
{
    int64_t now = clock_now_ns();
    int i = atomic_fetch_add(&count, 1);
    if (i >= TRACE_MARKS) {
        atomic_store(&count, TRACE_MARKS);
        return;
    }
    marks[i].at_ns = now;
    marks[i].name = name;
}

void trace_print(FILE *to)
{
    int n = atomic_load(&count);
    n = n < TRACE_MARKS ? n : TRACE_MARKS;
    for (int i = 0; i < n; i++) {
        int64_t before = i ? marks[i - 1].at_ns : marks[0].at_ns;
        fprintf(to, "%8.2f ms  +%7.2f  %s\n", (double)(marks[i].at_ns - marks[0].at_ns) / 1e6,
                (double)(marks[i].at_ns - before) / 1e6, marks[i].name);
    }
}
