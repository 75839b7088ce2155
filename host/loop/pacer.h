/* Frames at even intervals: absolute deadlines, sleep to shortly before, then a calibrated spin.
 *
 * The spin's length follows the machine's own wake-up error (an estimate of its upper quantile), so
 * that a quiet machine spins little; it is never above a sixteenth of the period (or 300 us, where
 * that is more). A late frame doesn't shift later deadlines; whole
 * missed periods are skipped and counted. One thread. */
#ifndef LOOP_PACER_H
#define LOOP_PACER_H

#include <stdint.h>

typedef struct Pacer {
    int64_t period_ns;   /* 0: as fast as it goes */
    int64_t deadline_ns; /* of the next frame */
    int lenient;         /* sleeps up to the deadline and wakes late rather than spins */
    int64_t spin_ns;     /* how long before the deadline to wake up */
    uint64_t frames, missed;
    int64_t error_sum_ns, error_max_ns; /* of wake-ups against their deadlines */
} Pacer;

void pacer_init(Pacer *pacer, double frames_per_second); /* 0: as fast as it goes */

/* Returns at the next deadline (or earlier when `*interrupt`, if not NULL, became nonzero while
 * sleeping) and gives the frame's nominal time. Interrupted: the time now; the deadline stays. */
int64_t pacer_wait(Pacer *pacer, const volatile int *interrupt);

/* The next frame is due now, and those after it follow at the usual distance. */
void pacer_hurry(Pacer *pacer);

/* Sets *interrupt and ends a sleep on it at once (a plain store is seen within 20 ms). The waiter
 * or its owner sets it back to 0. Async-signal-safe. [any] */
void pacer_interrupt(volatile int *interrupt);

#endif
