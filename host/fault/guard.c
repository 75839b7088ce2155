/* Guarded calls: entering, leaving, being thrown out. Owns the calling thread's chain of guarded
 * calls, which live on its stack; never touches another thread's.
 *
 * The entry path takes no lock, makes no system call and reads no clock: it numbers the call, and
 * the watchdog measures how long it sees the same number. Signal handlers of this thread may run
 * between any two instructions here, hence the fences. */
#include "fault/guard.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fault/parts.h"

#pragma GCC poison exit abort

_Thread_local GuardState guard_state __attribute__((tls_model("initial-exec")));

static FaultKind landed(GuardFrame *frame, Fault *ret_fault)
{
    GuardThread *thread = frame->thread;
    guard_state.frame = frame->outer;
    GUARD_STORE(thread->depth, frame->level);
    guard_state.host_depth = frame->host_depth;
    guard_state.handling = 0;
    /* A late call further out is found late again by the watchdog. */
    guard_state.pending = 0;
    GUARD_STORE(thread->late_sequence, 0);
    machine_load_float(thread);
    signals_unblock();
    if (ret_fault)
        *ret_fault = thread->fault;
    return thread->fault.kind;
}

/* What it would do now is run the host's frames a second time, on the same state. */
static _Noreturn void end_child(void)
{
    enum { STATUS_CAME_BACK = 70 };
    static const char text[] = "keel: a child process that a module forked came back from the "
                               "module's call: it ends\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(STATUS_CAME_BACK);
}

static FaultKind not_begun(Fault *ret_fault, const Error *err)
{
    if (ret_fault) {
        *ret_fault = (Fault){.kind = FAULT_ERROR, .code = err->code, .wall_ns = clock_wall_ns()};
        snprintf(ret_fault->text, sizeof ret_fault->text, "%.255s", err->text);
    }
    return FAULT_ERROR;
}

FaultKind guard_run(uint64_t owner, int64_t deadline_ns, GuardFunction *function, void *user,
                    Fault *ret_fault)
{
    if (__builtin_expect(!guard_state.thread, 0)) {
        Error err = {0};
        if (guard_thread_begin(&err))
            return not_begun(ret_fault, &err);
    }
    GuardThread *thread = guard_state.thread;
    GuardFrame frame;
    frame.outer = guard_state.frame;
    frame.thread = thread;
    frame.owner = owner;
    frame.sequence = thread->sequence + 1;
    frame.level = thread->depth;
    frame.host_depth = guard_state.host_depth;
    if (sigsetjmp(frame.jump, 0))
        return landed(&frame, ret_fault);

    __atomic_store_n(&thread->sequence, frame.sequence, __ATOMIC_RELAXED);
    if (frame.level < GUARD_LEVELS) {
        GuardLevel *level = &thread->levels[frame.level];
        __atomic_store_n(&level->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&level->owner, owner, __ATOMIC_RELAXED);
        __atomic_store_n(&level->sequence, frame.sequence, __ATOMIC_RELEASE);
    }
    guard_state.host_depth = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guard_state.frame = &frame;
    GUARD_STORE(thread->depth, frame.level + 1);
    /* The watchdog runs a barrier on all threads between falling asleep and a last look: no fence
     * here. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(&watchdog_asleep, __ATOMIC_RELAXED), 0) && deadline_ns > 0)
        watchdog_wake();

    function(user);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(guard_state.forked, 0))
        end_child();
    GUARD_STORE(thread->depth, frame.level);
    guard_state.frame = frame.outer;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guard_state.host_depth = frame.host_depth;
    return FAULT_NONE;
}

void frame_leave_by_fault(GuardFrame *frame)
{
    siglongjmp(frame->jump, 1);
}

GuardFrame *frame_of_sequence(uint64_t sequence)
{
    GuardFrame *frame = guard_state.frame;
    while (frame && frame->sequence != sequence)
        frame = frame->outer;
    return frame;
}

/* A call further in was begun in host depth: the host's code in between holds things that a jump
 * would lose. */
int frame_may_leave(const GuardFrame *target)
{
    if (guard_state.host_depth)
        return 0;
    for (const GuardFrame *frame = guard_state.frame; frame != target; frame = frame->outer)
        if (frame->host_depth)
            return 0;
    return 1;
}

/* The frames above the caller of guard_raise, in this thread's own words: no signal, no context. */
static void fill_here(GuardThread *thread, FaultKind kind, int code, uintptr_t pc, uintptr_t fp)
{
    Fault *fault = &thread->fault;
    memset(fault, 0, sizeof *fault);
    fault->kind = kind;
    fault->code = code;
    fault->thread = thread->tid;
    fault->wall_ns = clock_wall_ns();
    fault->pc = pc;
    fault->foreign_pc = !guard_range_find(pc, NULL, NULL);
    fault->frame_count = walk_frames(thread, fp, fault->frames, FAULT_FRAMES);
}

int guard_raise(FaultKind kind, int code, const char *format, ...)
{
    GuardFrame *frame = guard_state.frame;
    if (!frame || guard_is_another_process())
        return 0;
    /* From here on this is the host's own code, whatever depth it was called at. */
    guard_host_enter();
    GuardThread *thread = frame->thread;
    fill_here(thread, kind, code, (uintptr_t)__builtin_return_address(0),
              (uintptr_t)__builtin_frame_address(0));
    va_list args;
    va_start(args, format);
    vsnprintf(thread->fault.text, sizeof thread->fault.text, format, args);
    va_end(args);
    frame_leave_by_fault(frame);
}

/* The last host depth was left and a deadline passed meanwhile. */
void guard_act_on_pending(void)
{
    GuardThread *thread = guard_state.thread;
    if (guard_state.host_depth || !thread)
        return;
    GuardFrame *frame = frame_of_sequence(GUARD_LOAD(thread->late_sequence));
    if (frame && !frame_may_leave(frame))
        return;
    guard_state.pending = 0;
    GUARD_STORE(thread->late_sequence, 0);
    if (!frame)
        return;
    guard_host_enter();
    fill_here(thread, FAULT_DEADLINE, 0, (uintptr_t)__builtin_return_address(0),
              (uintptr_t)__builtin_frame_address(0));
    snprintf(thread->fault.text, sizeof thread->fault.text,
             "took longer than %lld ms; noticed when a call of the host ended",
             (long long)(thread->late_after_ns / 1000000));
    frame_leave_by_fault(frame);
}

/* exit runs handlers with no lock held (glibc below 2.41; above, a recursive one that this thread
 * keeps), and takes each off its list before the call: leaving by a jump keeps the list whole, and
 * the trap is set again. */
static void on_exit_called(int status, void *unused)
{
    (void)unused;
    if (!guard_in_module() || guard_is_another_process())
        return;
    on_exit(on_exit_called, NULL);
    guard_raise(FAULT_EXIT, status, "called exit(%d)", status);
}

static void on_quick_exit_called(void)
{
    if (!guard_in_module() || guard_is_another_process())
        return;
    at_quick_exit(on_quick_exit_called);
    guard_raise(FAULT_EXIT, 0, "called quick_exit");
}

int guard_exit_trap(Error *err)
{
    static int set;
    if (__atomic_exchange_n(&set, 1, __ATOMIC_ACQ_REL))
        return 0;
    if (!on_exit(on_exit_called, NULL) && !at_quick_exit(on_quick_exit_called))
        return 0;
    __atomic_store_n(&set, 0, __ATOMIC_RELEASE);
    return err_set(err, KEEL_ENOMEM, "no memory to watch for calls of exit");
}

const char *fault_kind_name(FaultKind kind)
{
    static const char *const names[] = {
        [FAULT_NONE] = "none",         [FAULT_MEMORY] = "memory",
        [FAULT_STACK] = "stack",       [FAULT_ARITHMETIC] = "arithmetic",
        [FAULT_ILLEGAL] = "illegal",   [FAULT_ABORT] = "abort",
        [FAULT_TRAP] = "trap",         [FAULT_SYSCALL] = "syscall",
        [FAULT_DEADLINE] = "deadline", [FAULT_EXIT] = "exit",
        [FAULT_TYPES] = "types",       [FAULT_ERROR] = "error"};
    unsigned i = (unsigned)kind;
    return i < sizeof names / sizeof *names ? names[i] : "unknown";
}
