/* Inside control/: the clients of one server. Everything here is the loop thread's. */
#ifndef CONTROL_SESSION_H
#define CONTROL_SESSION_H

#include <uv.h>

#include "control/server.h"

typedef struct Session Session;
typedef struct Sessions Sessions;

/* Lies in the server, which fills in all but `first` and `count`. */
struct Sessions {
    const Command *commands;
    void *user;
    void (*slow)(Sessions *);   /* somebody must be looked after by sessions_sweep from now on */
    void (*closed)(Sessions *); /* the memory of one has gone; called once a session */
    Session *first;
    int count;
};

/* Takes the connected, non-blocking `fd`; after KEEL_ENOMEM it is still the caller's. */
int session_new(Sessions *all, uv_loop_t *uv, int fd);

/* Drops those that took nothing of their answers for too long. Nonzero: look again soon. */
int sessions_sweep(Sessions *all);

/* Sends what can be sent at once, then drops everybody. */
void sessions_close(Sessions *all);

#endif
