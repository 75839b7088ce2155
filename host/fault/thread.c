/* Begin and end: of the guard in a process, of a thread in it. Owns the records of threads and
 * their alternate stacks. Records are used again, never unmapped. */
#include "fault/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "fault/parts.h"

#if UNDER_ASAN
#include <sanitizer/lsan_interface.h>
#endif

#pragma GCC poison exit abort

enum { STACK_BYTES = 64 * 1024, PAGE = 4096 };

static GuardThread *records[GUARD_THREADS];
static int record_count;
static int installed; /* in any way */
static int handled;   /* with signals, watchdog and probe */
static pthread_key_t at_thread_exit;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all above */
static pid_t process;                                    /* that installed the guard */

GuardThread *thread_at(int i)
{
    return i < GUARD_LOAD(record_count) ? records[i] : NULL;
}

static size_t stack_bytes(void)
{
    size_t least = getauxval(AT_MINSIGSTKSZ);
    return (STACK_BYTES + least + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* A page without access, the stack, the record. It stays for another thread's use. */
static GuardThread *record_new(void)
{
    size_t record_bytes = (sizeof(GuardThread) + PAGE - 1) & ~(size_t)(PAGE - 1);
    size_t bytes = PAGE + stack_bytes() + record_bytes;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (mprotect(memory, PAGE, PROT_NONE)) {
        munmap(memory, bytes);
        return NULL;
    }
    GuardThread *thread = (GuardThread *)(memory + PAGE + stack_bytes());
    thread->alternate.ss_sp = memory + PAGE;
    thread->alternate.ss_size = stack_bytes();
#if UNDER_ASAN
    __lsan_register_root_region(thread, record_bytes); /* else its canary seems to be lost */
#endif
    return thread;
}

static GuardThread *record_take(void)
{
    GuardThread *thread = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < record_count && !thread; i++)
        if (!records[i]->in_use)
            thread = records[i];
    if (!thread && record_count < GUARD_THREADS && (thread = record_new()) != NULL) {
        records[record_count] = thread;
        GUARD_STORE(record_count, record_count + 1);
    }
    if (thread)
        GUARD_STORE(thread->in_use, 1);
    pthread_mutex_unlock(&lock);
    return thread;
}

static void record_give(GuardThread *thread)
{
    pthread_mutex_lock(&lock);
    GUARD_STORE(thread->in_use, 0);
    pthread_mutex_unlock(&lock);
}

static void find_stack(GuardThread *thread)
{
    pthread_attr_t attributes;
    void *first;
    size_t bytes;
    thread->stack_first = thread->stack_last = 0;
    if (pthread_getattr_np(pthread_self(), &attributes))
        return;
    if (!pthread_attr_getstack(&attributes, &first, &bytes)) {
        thread->stack_first = (uintptr_t)first;
        thread->stack_last = (uintptr_t)first + bytes;
    }
    pthread_attr_getguardsize(&attributes, &thread->stack_guard_bytes);
    pthread_attr_destroy(&attributes);
}

int guard_thread_begin(Error *err)
{
    if (!GUARD_LOAD(installed))
        return err_set(err, KEEL_EINVAL, "a thread can't be guarded before guard_install");
    return thread_begin(err);
}

int thread_begin(Error *err)
{
    if (guard_state.thread)
        return 0;
    int code;
    GuardThread *thread = record_take();
    if (!thread)
        return err_set(err, KEEL_ELIMIT,
                       "no room to guard one more thread: %d at most, or out of memory",
                       GUARD_THREADS);
    thread->tid = (int)syscall(SYS_gettid);
    GUARD_STORE(thread->depth, 0);
    GUARD_STORE(thread->late_sequence, 0);
    find_stack(thread);
    machine_save_float(thread);
    thread->canary = malloc(GUARD_CANARY_BYTES);
    if (!thread->canary) {
        code = err_set(err, KEEL_ENOMEM, "no memory to guard a thread");
        goto no_canary;
    }
    if (sigaltstack(&thread->alternate, &thread->alternate_before)) {
        code = err_errno(err, KEEL_EUNSUPPORTED, errno, "cannot give a thread an alternate stack");
        goto no_stack;
    }
    if (pthread_setspecific(at_thread_exit, thread)) {
        code = err_set(err, KEEL_ENOMEM, "no memory to guard a thread");
        goto no_key;
    }
    guard_state.thread = thread;
    signals_unblock();
    return 0;

no_key:
    sigaltstack(&thread->alternate_before, NULL);
no_stack:
    free(thread->canary);
    thread->canary = NULL;
no_canary:
    record_give(thread);
    return code;
}

static void thread_end(void *record)
{
    GuardThread *thread = record;
    guard_state = (GuardState){0};
    sigaltstack(&thread->alternate_before, NULL);
    free(thread->canary);
    thread->canary = NULL;
    record_give(thread);
}

void guard_thread_end(void)
{
    if (!guard_state.thread || guard_state.frame)
        return;
    pthread_setspecific(at_thread_exit, NULL);
    thread_end(guard_state.thread);
}

/* Only the forking thread lives on; its number is another one. */
static void in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    for (int i = 0; i < record_count; i++)
        if (records[i] != guard_state.thread)
            records[i]->in_use = 0;
    if (guard_state.thread) {
        guard_state.thread->tid = (int)syscall(SYS_gettid);
        GUARD_STORE(guard_state.thread->late_sequence, 0);
    }
    guard_state.pending = 0;
    guard_state.forked = guard_state.frame != NULL;
    watchdog_forked();
    probe_forked();
}

int guard_is_another_process(void)
{
    return getpid() != GUARD_LOAD(process);
}

static int first_time(Error *err)
{
    static int done;
    GUARD_STORE(process, getpid());
    if (done)
        return 0;
    if (pthread_key_create(&at_thread_exit, thread_end))
        return err_set(err, KEEL_ELIMIT, "no thread-specific key left for the guard");
    if (pthread_atfork(NULL, NULL, in_child)) {
        pthread_key_delete(at_thread_exit);
        return err_set(err, KEEL_ENOMEM, "no memory for the guard");
    }
    done = 1;
    return guard_exit_trap(err);
}

static pthread_mutex_t one_installs = PTHREAD_MUTEX_INITIALIZER;

int guard_install(Error *err)
{
    pthread_mutex_lock(&one_installs);
    int code = first_time(err);
    if (!handled) {
        if (!code)
            code = signals_install(err);
        if (code)
            goto out;
    }
    /* Also when they are installed: a forked child has lost its threads. */
    code = watchdog_start(err);
    if (!code)
        code = probe_start(err);
    if (code && !handled) {
        watchdog_stop();
        signals_uninstall();
    }
    if (!code) {
        handled++;
        GUARD_STORE(installed, installed + 1);
    }
out:
    pthread_mutex_unlock(&one_installs);
    return code;
}

void guard_uninstall(void)
{
    pthread_mutex_lock(&one_installs);
    if (handled) {
        GUARD_STORE(installed, installed - 1);
        if (!--handled) {
            watchdog_stop();
            probe_stop();
            signals_uninstall();
        }
    }
    pthread_mutex_unlock(&one_installs);
}

int guard_install_plain(Error *err)
{
    pthread_mutex_lock(&one_installs);
    int code = first_time(err);
    if (!code)
        GUARD_STORE(installed, installed + 1);
    pthread_mutex_unlock(&one_installs);
    return code;
}

void guard_uninstall_plain(void)
{
    pthread_mutex_lock(&one_installs);
    GUARD_STORE(installed, installed - 1);
    pthread_mutex_unlock(&one_installs);
}
