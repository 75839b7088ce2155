/* Inside fault/: what its files call of each other. */
#ifndef FAULT_PARTS_H
#define FAULT_PARTS_H

#include <ucontext.h>

#include "fault/text.h"
#include "fault/thread.h"

/* machine.c: what a signal's context says. */
typedef struct Machine {
    uintptr_t pc, sp, fp;
    int wrote, executed; /* of a memory fault, where the CPU tells; wrote = -1: it doesn't */
} Machine;
Machine machine_of(const ucontext_t *context);
int machine_after_syscall(const ucontext_t *context); /* the thread is inside or just out of one */
void machine_save_float(GuardThread *thread);
void machine_load_float(const GuardThread *thread);

/* walk.c. All async-signal-safe; memory is tested before it is read where `thread` doesn't vouch
 * for it. */
int walk_frames(const GuardThread *thread, uintptr_t fp, uintptr_t *ret_frames, int max);
/* The nearest address in a module: pc, the frames, else what lies on the stack; 0 when there is
 * none. */
uintptr_t walk_module_site(const GuardThread *thread, const Machine *machine, const Fault *fault);
int walk_readable(uintptr_t address);

/* thread.c: nonzero in a forked child that didn't install the guard for itself. Async-signal-safe.
 */
int guard_is_another_process(void);

/* describe.c: fills all of *fault for a signal; kind too. Async-signal-safe. */
void describe_signal(Fault *fault, const GuardThread *thread, int number, const siginfo_t *info,
                     const ucontext_t *context);
void describe_deadline(Fault *fault, const GuardThread *thread, int64_t after_ns,
                       const ucontext_t *context);

/* signals.c */
int signals_install(Error *err);
void signals_uninstall(void);
void signals_unblock(void);

/* watchdog.c, probe.c: their threads, started with all signals blocked. */
int watchdog_start(Error *err);
void watchdog_stop(void);
void watchdog_forked(void);
void watchdog_wake(void);
extern uint32_t watchdog_asleep;
int probe_start(Error *err);
void probe_stop(void);
void probe_forked(void);

/* stray.c: keeps the fault and never returns. */
void stray_park(uint64_t owner, const Fault *fault) __attribute__((noreturn));

#endif
