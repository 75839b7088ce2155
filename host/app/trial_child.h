/* keel-trial's parts: the child that runs one candidate, its sandbox, and what it leaves for the
 * helper to read. */
#ifndef APP_TRIAL_CHILD_H
#define APP_TRIAL_CHILD_H

#include <stdatomic.h>
#include <stdint.h>

#include "host/replay.h"
#include "module/trial_wire.h"

/* In memory shared by helper and child; the child writes, the helper distrusts. */
typedef struct TrialShared {
    char phase[16];   /* until the replay runs, then the replay's own counts */
    int64_t began_ns; /* when the module's own code came in; 0: not yet */
    uint32_t replaying;
    uint32_t finished; /* the child came to its own end */
    uint32_t trapped;  /* a call that the sandbox forbids ended it */
    int32_t trap_number;
    uint32_t host_pointer; /* a fault's address is mapped in the host and not here */
    uint32_t stray;        /* the fault was on a thread of the module's own */
    int32_t load_code;     /* KEEL_E… of inspect, load, check, state */
    char load_text[512];
    Fault fault; /* in load and unload */
    FaultKind kind;
    ReplayResult replay;
    Inspection inspection;
} TrialShared;

typedef struct TrialChild {
    const TrialWireRequest *request;
    int fds[TRIAL_WIRE_FDS]; /* image, payload, the view's */
    int output;              /* the module's standard output and error */
    int helper;              /* the helper's pid */
    TrialShared *shared;
} TrialChild;

/* Runs the candidate and ends the process. */
_Noreturn void trial_child_run(const TrialChild *child);

/* Limits that hold from here on: no core, no file growth, no new privileges. */
void trial_sandbox_limits(int64_t time_limit_ns);

/* Allows memory, threads, time, reading files, and writing to standard output and error; every
 * other call ends the process and notes its number in `shared`. KEEL_EUNSUPPORTED when the kernel
 * or a container denies filters. */
int trial_sandbox_enter(TrialShared *shared, Error *err);

/* The same, and `fd` may be written to, and holes be made in files that are open: for a run that
 * leaves its state behind. */
int trial_sandbox_enter_for(TrialShared *shared, int fd, Error *err);

/* "socket", or "call 1234". */
const char *trial_sandbox_name(int number, char *room, unsigned bytes);

#endif
