/* What the pace module writes into its program's memory: when its frames began. */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include <stdint.h>

typedef struct PaceMark {
    int64_t at_ns;
    uint32_t variant; /* which build ran this frame */
    uint32_t pad;
} PaceMark;

typedef struct Pace {
    uint64_t state_bytes; /* how much state the module makes at its start */
    uint64_t dirty_pages; /* how many of its pages each frame writes */
    PaceMark *marks;
    uint64_t room;
    volatile uint64_t count;
    volatile int fault;        /* 1: fault in the next frame */
    volatile int *nowhere;     /* where it writes then: NULL */
    volatile int64_t fault_ns; /* when it did */
    volatile int64_t calls;    /* above 0: time that many service calls, both ways */
    volatile int64_t through_table_ns, through_pointer_ns;
} Pace;

#endif
