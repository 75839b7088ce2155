/* Can the process go on after a jump out of the middle of libc? A thread made beforehand tries the
 * locks that such a jump can have left taken; while it tries, the asking thread allocates nothing.
 * Owns that thread.
 *
 * malloc    it frees a block of the asking thread's arena, too large for the per-thread caches, and
 * allocates stdio     the three standard streams and the list of all streams loader dl_iterate_phdr
 * and dlopen(NULL)
 *
 * The probe is guarded itself: where it faults (a corrupted heap), the answer is no.
 *
 * A lock that a third thread holds is that thread's business and will be free again: for locks with
 * an owner that is looked up (the streams', the loader's; the futex the probe sleeps on is found in
 * /proc). After a failed probe the thread is stuck for good, and every further question gets the
 * same answer until it gets through. Not probed: libc's smaller locks (time zone, locale, resolver)
 * and other libraries'. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "fault/parts.h"

#pragma GCC poison exit abort

/* Of glibc, for fork: taken by fopen, fclose and fflush(NULL). */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));

enum { PROBE_BYTES = 8192, DEFAULT_TIMEOUT_NS = 20 * 1000 * 1000, STARVED_NS = 1000 * 1000 * 1000 };
enum { NO_OPTION = -1000 }; /* mallopt takes the main arena's lock, then knows no such option */
enum { PROBE_OWNER = 1 };   /* of its guarded calls: any number but 0 */

typedef enum Phase {
    PHASE_IDLE,
    PHASE_ARENA,
    PHASE_MAIN_ARENA,
    PHASE_MALLOC,
    PHASE_STREAMS,
    PHASE_STREAM_LIST,
    PHASE_LOADER_LIST,
    PHASE_LOADER
} Phase;

static const char *const phase_names[] = {
    [PHASE_IDLE] = "nothing",
    [PHASE_ARENA] = "malloc's lock (of the arena of the thread that faulted)",
    [PHASE_MAIN_ARENA] = "malloc's lock (of the main arena)",
    [PHASE_MALLOC] = "malloc's lock",
    [PHASE_STREAMS] = "the lock of stdin, stdout or stderr",
    [PHASE_STREAM_LIST] = "stdio's list of streams",
    [PHASE_LOADER_LIST] = "the loader's list of libraries",
    [PHASE_LOADER] = "the loader's lock"};

static pthread_t thread;
static int running;
static int probe_tid;
static pthread_mutex_t one_asks = PTHREAD_MUTEX_INITIALIZER;

/* The asking side counts `asked` up, the probe sets `answered` to it; both are futex words. */
static uint32_t asked, answered;
static int stopping;
static uint32_t phase;
static int damaged;      /* the probe itself faulted in this phase */
static void *canary;     /* handed over with the question */
static void *asker_self; /* the asking thread's, as stdio's locks name their owner */

static void enter(Phase next)
{
    GUARD_STORE(phase, (uint32_t)next);
}

#if defined(__GLIBC__)
/* glibc's stream lock since 2000: word, count, owner. */
typedef struct StreamLock {
    int word, count;
    void *owner;
} StreamLock;

static int held_by_asker(FILE *stream)
{
    const StreamLock *lock = (const StreamLock *)stream->_lock;
    return lock && __atomic_load_n(&lock->owner, __ATOMIC_RELAXED) == asker_self;
}
#else
static int held_by_asker(FILE *stream)
{
    (void)stream;
    return 1;
}
#endif

/* Another thread may wait in a stream for input for ever: only the asking thread's own are waited
 * for. */
static void try_streams(void)
{
    FILE *streams[] = {stdin, stdout, stderr};
    for (int i = 0; i < 3; i++) {
        if (!streams[i])
            continue;
        while (ftrylockfile(streams[i])) {
            if (!held_by_asker(streams[i]))
                goto next;
            struct timespec t = {.tv_nsec = 1000 * 1000};
            clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        }
        funlockfile(streams[i]);
    next:;
    }
}

static int no_object(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void)info, (void)bytes, (void)user;
    return 1;
}

static void try_all(void *unused)
{
    (void)unused;
    enter(PHASE_ARENA);
    free(canary);
    canary = NULL;
#if defined(__GLIBC__)
    enter(PHASE_MAIN_ARENA); /* whoever corrupts a block's header ends up there */
    mallopt(NO_OPTION, 0);
#endif
    enter(PHASE_MALLOC);
    void *volatile block = malloc(PROBE_BYTES);
    free(block);
    enter(PHASE_STREAMS);
    try_streams();
    enter(PHASE_STREAM_LIST);
    if (_IO_list_lock && _IO_list_unlock) {
        _IO_list_lock();
        _IO_list_unlock();
    }
    enter(PHASE_LOADER_LIST);
    dl_iterate_phdr(no_object, NULL);
    enter(PHASE_LOADER);
    void *self = dlopen(NULL, RTLD_LAZY);
    if (self)
        dlclose(self);
    enter(PHASE_IDLE);
}

static void futex_wait(uint32_t *word, uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 64, NULL, NULL, 0);
}

static void *probe(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "keel-probe");
    known_thread_begin();
    GUARD_STORE(probe_tid, (int)syscall(SYS_gettid));
    thread_begin(NULL);
    while (!GUARD_LOAD(stopping)) {
        uint32_t question = GUARD_LOAD(asked);
        if (question == answered) {
            futex_wait(&asked, question, NULL);
            continue;
        }
        if (guard_run(PROBE_OWNER, 0, try_all, NULL, NULL))
            GUARD_STORE(damaged, 1);
        GUARD_STORE(answered, question);
        futex_wake(&answered);
    }
    known_thread_end();
    return NULL;
}

/* Waits until the last question is answered; nonzero when it was. */
static int wait_answer(int64_t timeout_ns)
{
    int64_t end = clock_now_ns() + timeout_ns;
    uint32_t question = GUARD_LOAD(asked), seen;
    while ((seen = GUARD_LOAD(answered)) != question) {
        int64_t left = end - clock_now_ns();
        if (left <= 0)
            return 0;
        struct timespec t = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        futex_wait(&answered, seen, &t);
    }
    return 1;
}

/* What the probe thread sleeps on: 0 when it isn't in futex(2), and then it waits for the CPU, not
 * for a lock. */
static uintptr_t probe_sleeps_on(void)
{
    char name[64], text[256];
    if (!GUARD_LOAD(probe_tid))
        return 0;
    Text path = text_on(name, sizeof name);
    text_put(&path, "/proc/self/task/");
    text_integer(&path, GUARD_LOAD(probe_tid));
    text_put(&path, "/syscall");
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINTPTR_MAX; /* not to be known */
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0)
        return UINTPTR_MAX;
    text[bytes] = 0;
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || number != SYS_futex)
        return 0;
    return (uintptr_t)strtoull(end, NULL, 16);
}

/* The loader's locks are recursive mutexes, which name their owner after word and count. */
static int third_party_holds(Phase where, uintptr_t word)
{
    if ((where != PHASE_LOADER && where != PHASE_LOADER_LIST) || word == UINTPTR_MAX)
        return 0;
    int owner = __atomic_load_n((const int *)(word + 2 * sizeof(int)), __ATOMIC_RELAXED);
    return owner > 0 && owner != (int)syscall(SYS_gettid);
}

static int judge(int64_t timeout_ns, Error *err)
{
    int64_t waited_ns = timeout_ns;
    for (;;) {
        Phase where = (Phase)GUARD_LOAD(phase);
        uintptr_t word = where == PHASE_STREAMS ? UINTPTR_MAX : probe_sleeps_on();
        if (word == (uintptr_t)&asked)
            word = 0; /* it sleeps over its work: not awake yet, or it has answered just now */
        if (third_party_holds(where, word))
            return 0;
        if (word || waited_ns >= STARVED_NS)
            return err_set(err, KEEL_ETIMEOUT,
                           "%s is still held after the fault: the process can't go on",
                           phase_names[where]);
        if (wait_answer(timeout_ns))
            return 0;
        waited_ns += timeout_ns;
    }
}

int guard_recoverable(const Fault *fault, int64_t timeout_ns, Error *err)
{
    (void)fault;
    GuardThread *self = guard_state.thread;
    if (!self || !running)
        return err_set(err, KEEL_EINVAL, "nothing can be said of a thread that isn't guarded");
    if (timeout_ns <= 0)
        timeout_ns = DEFAULT_TIMEOUT_NS;
    pthread_mutex_lock(&one_asks);
    int code = 0;
    /* A question before this one may still be open: answered late, or never. */
    if (!wait_answer(timeout_ns)) {
        code = judge(timeout_ns, err);
        goto out;
    }
    canary = self->canary;
    self->canary = NULL;
    asker_self = (void *)pthread_self();
    GUARD_STORE(asked, asked + 1);
    futex_wake(&asked);
    if (!wait_answer(timeout_ns))
        code = judge(timeout_ns, err);
    if (!code && GUARD_LOAD(damaged))
        code = err_set(err, KEEL_EFAULT,
                       "the fault damaged what stands behind %s: the process can't go on",
                       phase_names[GUARD_LOAD(phase)]);
    if (!code) {
        self->canary = malloc(GUARD_CANARY_BYTES);
        if (!self->canary)
            code = err_set(err, KEEL_ENOMEM, "no memory left after the fault");
    }
out:
    pthread_mutex_unlock(&one_asks);
    return code;
}

int probe_start(Error *err)
{
    if (running)
        return 0;
    stopping = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, probe, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return err_errno(err, KEEL_ELIMIT, failed, "cannot start the probe thread");
    running = 1;
    /* A first round: what libc sets up on first use is set up now. */
    GUARD_STORE(asked, asked + 1);
    futex_wake(&asked);
    wait_answer(STARVED_NS);
    return 0;
}

/* A stuck one is left behind. */
void probe_stop(void)
{
    if (!running)
        return;
    GUARD_STORE(stopping, 1);
    int idle = GUARD_LOAD(asked) == GUARD_LOAD(answered);
    __atomic_add_fetch(&asked, 1, __ATOMIC_ACQ_REL);
    futex_wake(&asked);
    if (idle)
        pthread_join(thread, NULL);
    else
        pthread_detach(thread);
    running = 0;
}

void probe_forked(void)
{
    running = 0;
    answered = asked;
    probe_tid = 0;
    pthread_mutex_init(&one_asks, NULL);
}
