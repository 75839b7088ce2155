/* The guard's signal handlers, and the ones that were there before. Owns the dispositions of seven
 * fault signals and of the deadline signal between install and uninstall.
 *
 * Handlers run with no signal blocked that was not blocked before (SA_NODEFER, empty mask), so that
 * a jump out of one leaves the mask as it was; a fault inside the handler itself is told by
 * `handling`. The kernel tells by the stack pointer whether the alternate stack is in use, so a
 * jump frees it too.
 *
 * A fault that isn't a module's, or happens in a child process that a module forked, goes to the
 * handler that was there before, or gets its default action with the faulting registers, so that a
 * core dump shows the place. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault/parts.h"
#include "fault/report.h"

#pragma GCC poison exit abort malloc free printf snprintf

static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
enum { SIGNALS = sizeof numbers / sizeof *numbers };

static struct sigaction before[SIGNALS + 1]; /* the last: the deadline signal's */

static int index_of(int number)
{
    int i = 0;
    while (i < SIGNALS && numbers[i] != number)
        i++;
    return i;
}

static void say(const char *who, const Fault *fault)
{
    char line[512];
    Text text = text_on(line, sizeof line);
    text_put(&text, "keel: ");
    text_put(&text, who);
    text_put(&text, fault->text);
    text_put(&text, "\n");
    ssize_t written = write(STDERR_FILENO, line, text.used);
    (void)written;
}

/* By the same siginfo, so that a core dump tells the same story. */
static void default_action(int number, const siginfo_t *info)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigaction(number, &usual, NULL);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    int by_instruction = info->si_code > 0 && (number == SIGSEGV || number == SIGBUS ||
                                               number == SIGFPE || number == SIGILL);
    if (by_instruction)
        return; /* it runs again and faults again */
    siginfo_t copy = *info;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, number, &copy))
        syscall(SYS_tgkill, getpid(), tid, number);
}

static void chain(int number, siginfo_t *info, void *context)
{
    struct sigaction *earlier = &before[index_of(number)];
    int sent = info->si_code <= 0;
    guard_state.handling = 0;
    if (earlier->sa_handler == SIG_IGN && sent)
        return;
    if (earlier->sa_handler == SIG_DFL || earlier->sa_handler == SIG_IGN) {
        default_action(number, info);
        return;
    }
    struct sigaction action = *earlier;
    if (action.sa_flags & SA_RESETHAND)
        earlier->sa_handler = SIG_DFL;
    if (!(action.sa_flags & SA_NODEFER))
        sigaddset(&action.sa_mask, number);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, &action.sa_mask, &mask);
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(number, info, context);
    else
        action.sa_handler(number);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* Whose code a thread that is in no guarded call runs: 0 for nobody's. */
static uint64_t stray_owner(const Fault *fault, const Machine *machine)
{
    uint64_t owner = guard_range_find(fault->pc, NULL, NULL);
    for (int i = 0; i < fault->frame_count && i < 8 && !owner; i++)
        owner = guard_range_find(fault->frames[i], NULL, NULL);
    /* A thread that the host made for modules may have old return addresses on its stack. */
    if (!owner && !guard_state.thread)
        owner = guard_range_find(walk_module_site(NULL, machine, fault), NULL, NULL);
    return owner;
}

/* Sent by kill and its kin from another process: nobody's code is to blame. */
static int from_outside(const siginfo_t *info)
{
    return info->si_code <= 0 && info->si_pid != getpid();
}

/* Nobody handled it before the guard came, so this is the end. A handler that was there may well
 * make its living of such signals: virtual machines do. */
static int ends_here(int number, const siginfo_t *info)
{
    const struct sigaction *earlier = &before[index_of(number)];
    int ignored = earlier->sa_handler == SIG_IGN && info->si_code <= 0;
    return !ignored && (earlier->sa_handler == SIG_DFL || earlier->sa_handler == SIG_IGN);
}

static void report_host(const Fault *fault)
{
    char path[REPORT_PATH_BYTES];
    Report report = {.fault = fault, .outcome = "the host's own fault: the process ends"};
    if (report_raw_file(&report, path))
        return;
    char line[REPORT_PATH_BYTES + 32];
    Text text = text_on(line, sizeof line);
    text_put(&text, "keel: report: ");
    text_put(&text, path);
    text_put(&text, "\n");
    ssize_t written = write(STDERR_FILENO, line, text.used);
    (void)written;
}

static void on_fault(int number, siginfo_t *info, void *user_context)
{
    int saved_errno = errno;
    ucontext_t *context = user_context;
    if (guard_state.handling) {
        static const Fault again = {.text = "the fault handler itself faulted"};
        say("", &again);
        default_action(number, info);
        return;
    }
    guard_state.handling = 1;
    if (guard_is_another_process()) {
        chain(number, info, user_context);
        return;
    }
    GuardThread *thread = guard_state.thread;
    GuardFrame *frame = guard_state.frame;

    if (frame && !guard_state.host_depth && !from_outside(info)) {
        describe_signal(&thread->fault, thread, number, info, context);
        frame_leave_by_fault(frame);
    }

    Fault fault;
    describe_signal(&fault, thread, number, info, context);
    if (!frame && !from_outside(info)) {
        Machine machine = machine_of(context);
        uint64_t owner = stray_owner(&fault, &machine);
        if (owner)
            stray_park(owner, &fault);
    }
    if (from_outside(info)) {
        Text text = text_on(fault.text, sizeof fault.text);
        text_put(&text, "process ");
        text_integer(&text, info->si_pid);
        text_put(&text, " sent signal ");
        text_integer(&text, number);
    }
    if (ends_here(number, info)) {
        say(from_outside(info) ? "" : "the host itself failed: ", &fault);
        if (!from_outside(info))
            report_host(&fault);
    }
    errno = saved_errno;
    chain(number, info, user_context);
}

/* How often a late call is let go on when it is found in code that is not its module's (libc, which
 * may hold a lock), a watchdog's tick apart. */
enum { FOREIGN_TRIES = 20 };

static void on_deadline(int number, siginfo_t *info, void *user_context)
{
    int saved_errno = errno;
    GuardThread *thread = guard_state.thread;
    uint64_t sequence = thread ? GUARD_LOAD(thread->late_sequence) : 0;
    if (info->si_code != SI_TKILL || info->si_pid != getpid()) {
        struct sigaction *earlier = &before[SIGNALS];
        if (earlier->sa_handler != SIG_DFL && earlier->sa_handler != SIG_IGN)
            chain(number, info, user_context);
        return;
    }
    if (!sequence)
        return;
    GuardFrame *frame = frame_of_sequence(sequence);
    if (!frame || guard_state.handling) {
        GUARD_STORE(thread->late_sequence, 0);
    } else if (!frame_may_leave(frame)) {
        guard_state.pending = 1;
    } else if (!guard_range_find(machine_of(user_context).pc, NULL, NULL) &&
               __atomic_fetch_add(&thread->late_tries, 1, __ATOMIC_RELAXED) < FOREIGN_TRIES) {
        GUARD_STORE(thread->late_sequence, 0);
    } else {
        guard_state.handling = 1;
        describe_deadline(&thread->fault, thread, thread->late_after_ns, user_context);
        frame_leave_by_fault(frame);
    }
    errno = saved_errno;
}

int signals_install(Error *err)
{
    struct sigaction ours = {.sa_sigaction = on_fault,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&ours.sa_mask);
    int i = 0;
    for (; i < SIGNALS; i++)
        if (sigaction(numbers[i], &ours, &before[i]))
            goto failed;
    ours.sa_sigaction = on_deadline;
    ours.sa_flags |= SA_RESTART;
    if (sigaction(GUARD_DEADLINE_SIGNAL, &ours, &before[SIGNALS]))
        goto failed;
    return 0;

failed:
    err_errno(err, KEEL_EUNSUPPORTED, errno, "cannot handle signal %d",
              i < SIGNALS ? numbers[i] : GUARD_DEADLINE_SIGNAL);
    while (i-- > 0)
        sigaction(numbers[i], &before[i], NULL);
    return KEEL_EUNSUPPORTED;
}

/* Leaves alone what somebody else has put in place since. */
void signals_uninstall(void)
{
    for (int i = 0; i <= SIGNALS; i++) {
        int number = i < SIGNALS ? numbers[i] : GUARD_DEADLINE_SIGNAL;
        struct sigaction now;
        if (!sigaction(number, NULL, &now) &&
            (now.sa_sigaction == on_fault || now.sa_sigaction == on_deadline))
            sigaction(number, &before[i], NULL);
    }
}

/* A module may have blocked what the next fault needs. */
void signals_unblock(void)
{
    sigset_t ours;
    sigemptyset(&ours);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&ours, numbers[i]);
    sigaddset(&ours, GUARD_DEADLINE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}
