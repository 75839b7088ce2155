/* pthread_create inside a module: its threads get an alternate signal stack, so that the host can
 * catch a stack overflow on one and name the module; without it the kernel ends the process. Owns
 * that stack from the thread's start to its end. Threads that other libraries start, and C11's
 * thrd_create, have none. Any thread. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "shim.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

enum { STACK_BYTES = 64 * 1024, PAGE = 4096 };

/* A page without access, the stack, and this at its upper end. The slot's heap is no place for it:
 * a frame that is undone takes its memory back, but not its threads. */
typedef struct Start {
    void *(*function)(void *);
    void *user;
    void *mapping;
    size_t bytes;
    stack_t stack;
} Start;

static Start *start_new(void *(*function)(void *), void *user)
{
    size_t stack_bytes = (STACK_BYTES + getauxval(AT_MINSIGSTKSZ) + PAGE - 1) & ~(size_t)(PAGE - 1);
    size_t bytes = PAGE + stack_bytes;
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    Start *start = (Start *)(void *)(at + bytes - ((sizeof(Start) + 63) & ~(size_t)63));
    *start = (Start){.function = function, .user = user, .mapping = at, .bytes = bytes};
    start->stack.ss_sp = at + PAGE;
    start->stack.ss_size = (size_t)((uint8_t *)start - at - PAGE) & ~(size_t)63;
    if (mprotect(at, PAGE, PROT_NONE)) {
        munmap(at, bytes);
        return NULL;
    }
    return start;
}

static void start_free(void *user)
{
    Start start = *(Start *)user;
    stack_t none, now;
    memset(&none, 0, sizeof none);
    none.ss_flags = SS_DISABLE;
    /* The thread may have put another in its place. */
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == start.stack.ss_sp)
        sigaltstack(&none, NULL);
    munmap(start.mapping, start.bytes);
}

static void *run(void *user)
{
    Start *start = user;
    void *result;
    sigaltstack(&start->stack, NULL);
    pthread_cleanup_push(start_free, start); /* also for pthread_exit and cancellation */
    result = start->function(start->user);
    pthread_cleanup_pop(1);
    return result;
}

typedef int Create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

HIDDEN int pthread_create(pthread_t *ret, const pthread_attr_t *attributes,
                          void *(*function)(void *), void *user)
{
    Create *create = (Create *)dlsym(RTLD_DEFAULT, "pthread_create");
    if (!create) /* a program with a C library of its own, without threads */
        return ENOSYS;
    Start *start = keel_shim_heap() ? start_new(function, user) : NULL;
    if (!start) /* no host, or no memory: as everywhere else */
        return create(ret, attributes, function, user);
    int code = create(ret, attributes, run, start);
    if (code)
        munmap(start->mapping, start->bytes);
    return code;
}
