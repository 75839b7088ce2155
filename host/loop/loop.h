/* The engine thread: one libuv loop, and a way to run functions on it from any thread.
 *
 * Everything that is not a frame and not dlopen happens here: watching, the control socket, talking
 * to the trial helper, timers of the swap. */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <uv.h>

#include "base/err.h"

typedef struct Loop Loop;
typedef void LoopFunction(void *user);

int loop_new(Loop **ret, Error *err); /* the thread runs when this returns */
void loop_free(Loop *loop);           /* stops, closes what is open, joins; NULL is fine */
uv_loop_t *loop_uv(Loop *loop);       /* [loop thread] */
int loop_on_thread(const Loop *loop);

/* Queues; runs in order on the loop thread. KEEL_ECANCELED once the loop is stopping. [any] */
int loop_post(Loop *loop, LoopFunction *function, void *user);
/* The same in memory of the caller's, which stays until the function begins: never for want of
 * memory in vain. [any] */
typedef struct LoopPost LoopPost;
struct LoopPost {
    LoopPost *next;
    LoopFunction *function;
    void *user;
    int sent;   /* the memory is whoever's sent it */
    void *done; /* of loop_call */
};
int loop_send(Loop *loop, LoopPost *post, LoopFunction *function, void *user);
/* Runs it there and waits for its end; direct when called on the loop thread. [any but frame calls]
 */
int loop_call(Loop *loop, LoopFunction *function, void *user);

#endif
