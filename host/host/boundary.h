/* The boundary's mail: functions that other threads want run on the frame thread between two
 * frames.
 *
 * boundary_post may be called on any thread; boundary_run runs all that waits, in order, on the
 * frame thread, and costs one atomic load when there is nothing. */
#ifndef HOST_BOUNDARY_H
#define HOST_BOUNDARY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "loop/loop.h"

typedef struct BoundaryMail BoundaryMail;
struct BoundaryMail {
    BoundaryMail *next;
    LoopFunction *function;
    void *user;
    int64_t due_ns;     /* 0: at once */
    int sent;           /* the memory is whoever's sent it */
    _Atomic int in_use; /* of those that are kept ready */
};

/* Mails of swaps, kept ready so that none is lost for want of memory: each of 64 slots is in one
 * group at most, which has one step under way and one pin a slot to give back. */
enum { BOUNDARY_READY = 128 };

typedef struct Boundary {
    BoundaryMail ready[BOUNDARY_READY];
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    BoundaryMail *first, **last;
    _Atomic int waiting;
    _Atomic int64_t due_ns; /* of the first */
    int closed;
    int wake_fd;  /* an eventfd that tells of mail, -1: none */
    int other_fd; /* ends boundary_wait when it is readable, -1: none */
} Boundary;

void boundary_init(Boundary *boundary);
void boundary_done(Boundary *boundary);  /* drops what waits */
void boundary_close(Boundary *boundary); /* from now on nothing is taken */
void boundary_post(Boundary *boundary, LoopFunction *function, void *user);
/* The same in memory of the caller's, which stays until the function begins: never for want of
 * memory in vain. KEEL_ECANCELED once the boundary is closed. [any] */
int boundary_send(Boundary *boundary, BoundaryMail *mail, LoopFunction *function, void *user);

/* What a thread asks of the frame thread, and the answer's way back to the engine thread: for the
 * memory of the question, so that no answer is lost. */
typedef struct BoundaryErrand {
    BoundaryMail there; /* boundary_send */
    LoopPost back;      /* loop_send */
} BoundaryErrand;
/* The same a little later: until the posting thread sleeps again, each page of the state that is
 * protected anew interrupts its processor (tens of µs in a virtual machine), and the frame before
 * the function would be slow. */
enum { BOUNDARY_CALM_NS = 200 * 1000 };
/* Never fails while at most BOUNDARY_READY wait. */
void boundary_post_calm(Boundary *boundary, LoopFunction *function, void *user);
void boundary_run(Boundary *boundary);
/* Also what isn't due yet: there are no more frames. [frame] */
void boundary_run_all(Boundary *boundary);
/* From now on boundary_wait also ends when `fd` is readable; -1: no more. Where that can't be had
 * it goes on as before. [frame] */
void boundary_wait_also(Boundary *boundary, int fd);
/* Waits for mail that is due, for at most `ns`. [frame] */
void boundary_wait(Boundary *boundary, int64_t ns);
/* Wakes boundary_wait without mail. [any] */
void boundary_wake(Boundary *boundary);

#endif
