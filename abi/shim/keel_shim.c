/* The malloc shim: hidden malloc, free, exit and their kin inside a module.
 *
 * Inside a [frame] call memory comes from the slot's arena, so that it is undone with the frame and
 * survives a swap; anywhere else (constructors, other threads, no host) from libc. Which is which
 * is told by address. The real functions are looked up by name in the program, where a sanitizer's
 * stand, too.
 *
 * Owns nothing but its caches, in .keel.cache. Any thread. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

/* Headers may make macros of these. */
#undef malloc
#undef calloc
#undef realloc
#undef free

extern const struct keel_heap *keel_heap_bind(void) __attribute__((weak));

static const struct keel_heap *shim_heap KEEL_CACHE = NULL;
static int shim_bound KEEL_CACHE = 0;

typedef struct Real {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    size_t (*malloc_usable_size)(void *);
} Real;

static Real shim_real KEEL_CACHE = {NULL, NULL, NULL, NULL, NULL, NULL};

/* Two threads may do it at once: both store the same. */
static const Real *real(void)
{
    if (__builtin_expect(__atomic_load_n(&shim_real.free, __ATOMIC_ACQUIRE) != NULL, 1))
        return &shim_real;
#define FIND(name) *(void **)&shim_real.name = dlsym(RTLD_DEFAULT, #name)
    FIND(malloc);
    FIND(calloc);
    FIND(realloc);
    FIND(posix_memalign);
    FIND(malloc_usable_size);
#undef FIND
    void *last = dlsym(RTLD_DEFAULT, "free");
    __atomic_store_n((void **)&shim_real.free, last, __ATOMIC_RELEASE);
    return &shim_real;
}

/* Runs inside dlopen, on the thread that the host bound. Before it (another library's constructor
 * can't call in here, but this image's IRELATIVE resolvers could) memory is libc's. */
__attribute__((constructor(101))) static void shim_bind(void)
{
    real();
    shim_heap = keel_heap_bind ? keel_heap_bind() : NULL;
    if (shim_heap && shim_heap->size < sizeof *shim_heap)
        shim_heap = NULL;
    shim_bound = 1;
}

/* libstdc++, linked statically into each C++ module, takes 72,704 bytes for exceptions in times
 * without memory, and keeps them: each swap would cost as much. This is its own function for memory
 * checkers. Hidden, so that that of the process's shared library is never meant. */
extern void shim_libstdcxx_end(void) __asm__("_ZN9__gnu_cxx9__freeresEv")
    __attribute__((weak, visibility("hidden")));

extern const char shim_image_start[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));

/* The last of the image's destructors. gold binds a function that is missing to the image's own
 * beginning, and not to nothing, as clang refers to it. */
__attribute__((destructor(101))) static void shim_unbind(void)
{
    if (shim_libstdcxx_end && (const char *)shim_libstdcxx_end != shim_image_start)
        shim_libstdcxx_end();
}

HIDDEN const struct keel_heap *keel_shim_heap(void)
{
    return shim_heap;
}

static const struct keel_heap *frame_heap(void)
{
    const struct keel_heap *heap = shim_heap;
    return heap && heap->in_frame(heap) ? heap : NULL;
}

static int in_arena(const void *p)
{
    const struct keel_heap *heap = shim_heap;
    return heap && (uintptr_t)p >= heap->arena_first && (uintptr_t)p < heap->arena_last;
}

static void *take(size_t bytes, size_t align)
{
    const struct keel_heap *heap = frame_heap();
    void *p;
    if (!heap) {
        if (align <= 16)
            return real()->malloc(bytes);
        int code = real()->posix_memalign(&p, align, bytes);
        if (code == 0)
            return p;
        errno = code;
        return NULL;
    }
    p = heap->alloc(heap, bytes, align < 16 ? 16 : align);
    if (!p)
        errno = ENOMEM;
    return p;
}

HIDDEN void *malloc(size_t bytes)
{
    return take(bytes, 16);
}

HIDDEN void free(void *p)
{
    const struct keel_heap *heap = shim_heap;
    if (!p)
        return;
    if (in_arena(p))
        heap->free(heap, p);
    else if (heap && heap->in_frame(heap))
        heap->free_foreign(heap, p);
    else
        real()->free(p);
}

HIDDEN void cfree(void *p);
void cfree(void *p)
{
    free(p);
}

HIDDEN void *calloc(size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (!frame_heap())
        return real()->calloc(count, each);
    void *p = take(bytes, 16);
    if (p)
        /* Through a pointer, or the compiler makes this function call itself. */
        ((void *(*volatile)(void *, int, size_t))memset)(p, 0, bytes);
    return p;
}

HIDDEN size_t malloc_usable_size(void *p);
size_t malloc_usable_size(void *p)
{
    if (!p)
        return 0;
    return in_arena(p) ? shim_heap->usable(shim_heap, p) : real()->malloc_usable_size(p);
}

HIDDEN void *realloc(void *p, size_t bytes)
{
    if (!p)
        return malloc(bytes);
    if (!in_arena(p) && !frame_heap())
        return real()->realloc(p, bytes);
    if (bytes == 0) { /* as glibc does it */
        free(p);
        return NULL;
    }
    size_t had = malloc_usable_size(p);
    if (in_arena(p) && frame_heap()) {
        if (shim_heap->resize(shim_heap, p, bytes) == 0)
            return p;
        if (had == 0) { /* no object: let free say so */
            free(p);
            return NULL;
        }
    }
    void *moved = malloc(bytes);
    if (!moved)
        return NULL;
    memcpy(moved, p, had < bytes ? had : bytes);
    free(p);
    return moved;
}

HIDDEN void *reallocarray(void *p, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, bytes);
}

static int good_align(size_t align)
{
    return align != 0 && (align & (align - 1)) == 0;
}

HIDDEN void *memalign(size_t align, size_t bytes);
void *memalign(size_t align, size_t bytes)
{
    if (!good_align(align)) { /* glibc rounds up */
        size_t up = 16;
        while (up < align && up <= SIZE_MAX / 4)
            up *= 2;
        align = up;
    }
    return take(bytes, align);
}

HIDDEN void *aligned_alloc(size_t align, size_t bytes)
{
    if (!good_align(align)) {
        errno = EINVAL;
        return NULL;
    }
    return take(bytes, align);
}

HIDDEN int posix_memalign(void **ret, size_t align, size_t bytes)
{
    if (!good_align(align) || align % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *p = take(bytes, align);
    errno = saved;
    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}

HIDDEN void *valloc(size_t bytes)
{
    return take(bytes, 4096);
}

HIDDEN void *pvalloc(size_t bytes);
void *pvalloc(size_t bytes)
{
    if (bytes > SIZE_MAX - 4095) {
        errno = ENOMEM;
        return NULL;
    }
    return take((bytes + 4095) & ~(size_t)4095, 4096);
}
