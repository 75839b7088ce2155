/* exit and its kin: inside a call of the host they are the module's fault, never the process's end.
 * Elsewhere, and without a host, the real ones. Any thread. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "shim.h"

static void leave(int32_t kind, int32_t code)
{
    const struct keel_heap *heap = keel_shim_heap();
    if (heap && heap->leave(heap, kind, code))
        __builtin_trap(); /* on a thread of the module's own */
}

/* The program's function of this name; its absence is a broken program. */
static void *real(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found)
        __builtin_trap();
    return found;
}

static __attribute__((noreturn)) void call(const char *name, int code)
{
    ((void (*)(int))real(name))(code);
    __builtin_trap();
}

HIDDEN __attribute__((noreturn)) void exit(int code)
{
    leave(KEEL_LEAVE_EXIT, code);
    call("exit", code);
}

HIDDEN __attribute__((noreturn)) void _exit(int code)
{
    leave(KEEL_LEAVE_EXIT_NOW, code);
    call("_exit", code);
}

HIDDEN __attribute__((noreturn)) void _Exit(int code)
{
    leave(KEEL_LEAVE_EXIT_NOW, code);
    call("_Exit", code);
}

HIDDEN __attribute__((noreturn)) void quick_exit(int code)
{
    leave(KEEL_LEAVE_QUICK_EXIT, code);
    call("quick_exit", code);
}

HIDDEN __attribute__((noreturn)) void pthread_exit(void *value)
{
    leave(KEEL_LEAVE_THREAD_EXIT, 0);
    ((void (*)(void *))real("pthread_exit"))(value);
    __builtin_trap();
}

HIDDEN __attribute__((noreturn)) void abort(void)
{
    leave(KEEL_LEAVE_ABORT, 0);
    ((void (*)(void))real("abort"))();
    __builtin_trap();
}
