/* Runs a module's code so that its faults come back as values.
 *
 * guard_install puts handlers for SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS and the deadline signal in
 * place and keeps those that were there: a fault that is not a module's goes on to them. Each
 * thread that calls modules begins with guard_thread_begin (alternate stack). A fault inside
 * guard_run comes back from it; the caller undoes the frame and must ask guard_recoverable before
 * it allocates.
 *
 * Depth is counted per thread: "in module" by guard_run, "in host" by guard_host_enter/leave around
 * the part of a service that holds locks or changes the host. A fault in host depth is the host's
 * own and not papered over; a deadline in host depth stays pending until the host is left.
 *
 * Threads that a module makes by pthread_create get an alternate stack from its shim. On others
 * (a module without the shim, thrd_create, a library's own) a stack overflow ends the process. */
#ifndef FAULT_GUARD_H
#define FAULT_GUARD_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#include "base/err.h"

typedef enum FaultKind {
    FAULT_NONE,
    FAULT_MEMORY,     /* SEGV, BUS */
    FAULT_STACK,      /* stack overflow */
    FAULT_ARITHMETIC, /* FPE */
    FAULT_ILLEGAL,    /* ILL */
    FAULT_ABORT,      /* ABRT */
    FAULT_TRAP,       /* TRAP */
    FAULT_SYSCALL,    /* SYS */
    FAULT_DEADLINE,   /* took longer than allowed */
    FAULT_EXIT,       /* exit, _exit, quick_exit, pthread_exit */
    FAULT_TYPES,      /* keel_state with another type than the state holds: raised by the host */
    FAULT_ERROR       /* start, restore … answered an error: raised by the host */
} FaultKind;

enum { FAULT_FRAMES = 32 };

typedef struct Fault {
    FaultKind kind;
    int signal;        /* or 0 */
    int code;          /* si_code, exit status, KEEL_E… */
    int thread;        /* kernel thread id */
    uintptr_t address; /* the address that was touched */
    uintptr_t pc;
    int64_t wall_ns;
    int foreign_pc; /* pc was not in a module's image (libc, a driver …) when it faulted */
    int frame_count;
    uintptr_t frames[FAULT_FRAMES]; /* return addresses, innermost first, by frame pointers */
    char text[256];                 /* one sentence: "division by zero in ball.so+0x1a40" */
} Fault;

/* Sent to a thread whose guarded call passed its deadline; modules and embedding programs leave it
 * alone. */
#define GUARD_DEADLINE_SIGNAL (SIGRTMIN + 6)

/* Process-wide; counted. Signal handlers, the watchdog and the probe thread. In a forked child the
 * two threads are gone, and its faults are its own: call it there once more. A child that was
 * forked in a guarded call is its module's, and ends where it would come back from that call. Not
 * undone by dlclose: the library that holds this must stay loaded. */
int guard_install(Error *err);
void guard_uninstall(void);

/* Asks the kernel for what guard_install needs. A program that does it before its first thread gets
 * it at once; with threads the kernel lets all processors pass first, which takes some 10 ms. */
void guard_prepare(void);

/* The same without handlers, watchdog and probe: only what a guarded call raises itself (exit, an
 * error) comes back from it; faults are the program's. Counted by itself. */
int guard_install_plain(Error *err);
void guard_uninstall_plain(void);

/* Alternate stack and records of this thread. guard_run does it on demand, but not as early and not
 * with an error's sentence. The thread that fell out of a guarded call by a fault stays begun. */
int guard_thread_begin(Error *err);
void guard_thread_end(void);

/* A module that is linked without the shim and calls exit or quick_exit: makes that FAULT_EXIT of
 * its guarded call. guard_install does it; a second call changes nothing. exit runs its handlers
 * newest first: what was registered after this has run by then, thread_local destructors of the
 * thread too. _exit and pthread_exit are the shim's. */
int guard_exit_trap(Error *err);

/* An address range that belongs to module `owner` (a number its caller chose, not 0), so that
 * faults anywhere, also on threads that the module made, are blamed on the right generation.
 * Lock-free for readers. `name` is copied (63 bytes). [any] */
int guard_range_add(uintptr_t first, uintptr_t last, uint64_t owner, const char *name, Error *err);
void guard_range_remove(uint64_t owner);
/* The owner at `address`, or 0. Async-signal-safe. `ret_name`, `ret_offset` may be NULL. */
uint64_t guard_range_find(uintptr_t address, const char **ret_name, uintptr_t *ret_offset);

/* Calls function(user) for `owner`, with a deadline (0: none). FAULT_NONE, or what went wrong, then
 * *ret_fault is filled. Nests. Costs a sigsetjmp without mask and a few thread-local stores. */
typedef void GuardFunction(void *user);
FaultKind guard_run(uint64_t owner, int64_t deadline_ns, GuardFunction *function, void *user,
                    Fault *ret_fault);

/* From inside guard_run, by the host on the module's behalf: ends the guarded call with this fault.
 * Returns only when there is no guarded call of this process on this thread (then it returns 0). */
int guard_raise(FaultKind kind, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What the inline functions below need of this thread. Nobody else touches it. */
typedef struct GuardState {
    struct GuardFrame *frame;   /* the innermost guarded call, or NULL */
    struct GuardThread *thread; /* NULL before guard_thread_begin */
    uint32_t host_depth;
    uint32_t pending;  /* a deadline passed in host depth */
    uint32_t handling; /* in the guard's own signal handler */
    uint32_t forked;   /* in a child that was forked inside the innermost guarded call */
} GuardState;
extern _Thread_local GuardState guard_state __attribute__((tls_model("initial-exec")));

void guard_act_on_pending(void);

/* Nonzero inside a guarded call and not in host depth. [any] */
static inline int guard_in_module(void)
{
    return guard_state.frame && !guard_state.host_depth;
}

/* Around the part of a service that holds locks or changes the host. Nests. guard_host_leave
 * doesn't return when the deadline passed meanwhile: hold nothing when calling it. The fences are
 * for this thread's signal handlers. */
static inline void guard_host_enter(void)
{
    guard_state.host_depth++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void guard_host_leave(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guard_state.host_depth--;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(guard_state.pending, 0))
        guard_act_on_pending();
}

/* Calls of `owner` that run without a deadline have this one from now on. [any] */
void guard_bound(uint64_t owner, int64_t deadline_ns);

/* After a fault, on its thread: can this process go on? A probe thread made beforehand shows that
 * malloc (this thread's arena too), stdio and the loader's locks are free or some other thread's.
 * 0, or KEEL_ETIMEOUT naming the lock that is not, or KEEL_EFAULT when what it protects is damaged.
 * timeout_ns 0: 20 ms. Allocates only after it has proven that it may. */
int guard_recoverable(const Fault *fault, int64_t timeout_ns, Error *err);

/* Faults on threads that are in no guarded call but in a module's code: the thread is parked for
 * good and the fault kept here for the frame thread. 1 if one was taken. [any] */
int guard_take_stray(uint64_t *ret_owner, Fault *ret_fault);
/* The same of one owner's threads only: what other hosts of this process run is theirs to hear. */
int guard_take_stray_of(uint64_t owner, Fault *ret_fault);
/* Nonzero while some wait to be taken: one load. [any] */
int guard_strays(void);

/* How many threads are parked in the code of `owner`: it must stay mapped. 0 asks for all owners.
 * [any] */
int guard_parked(uint64_t owner);

/* True while a debugger traces this process; asked at most once a second. Deadlines are off then.
 */
int guard_debugger(void);

const char *fault_kind_name(FaultKind kind);

#endif
