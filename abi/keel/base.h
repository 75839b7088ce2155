/* Keel ABI 1.0: versions, linkage and error codes that every other header of the contract stands
 * on.
 *
 * The contract is plain C11 and C++17. It has no `long`, no `bool`, no bit-fields and no enum-typed
 * members: every field has a fixed width, and the offsets are asserted by tests/abi. */
#ifndef KEEL_BASE_H
#define KEEL_BASE_H

#include <stddef.h>
#include <stdint.h>

/* The version of this contract. A host serves modules of its own major and of the one before, with
 * a minor not above its own; everything else is refused before any of the module's code runs. */
#define KEEL_ABI_MAJOR 1
#define KEEL_ABI_MINOR 1
#define KEEL_ABI ((uint32_t)KEEL_ABI_MAJOR << 16 | (uint32_t)KEEL_ABI_MINOR)

#ifdef __cplusplus
#define KEEL_BEGIN extern "C" {
#define KEEL_END }
#define KEEL_ALIGNOF(T) alignof(T)
#define KEEL_ASSERT(what, text) static_assert(what, text)
#else
#define KEEL_BEGIN
#define KEEL_END
#define KEEL_ALIGNOF(T) _Alignof(T)
#define KEEL_ASSERT(what, text) _Static_assert(what, text)
#endif

/* The one symbol that a module exports carries this. */
#define KEEL_EXPORT __attribute__((visibility("default")))
#define KEEL_KEPT __attribute__((used))

/* Errors are negative int32_t; zero is success. KEEL_ERRORS(X) lists each once: X(NAME, number,
 * text). */
#define KEEL_ERRORS(X)                                        \
    X(EINVAL, 1, "invalid argument")                          \
    X(ENOMEM, 2, "out of memory")                             \
    X(ENOTFOUND, 3, "not found")                              \
    X(EBUSY, 4, "busy")                                       \
    X(ELIMIT, 5, "a limit was reached")                       \
    X(ESTALE, 6, "the handle is no longer valid")             \
    X(ETHREAD, 7, "called on the wrong thread")               \
    X(ENOSERVICE, 8, "the host does not offer this service")  \
    X(ETYPE, 9, "the type does not fit what the state holds") \
    X(EABI, 10, "built for another ABI")                      \
    X(EIMAGE, 11, "not an acceptable image")                  \
    X(ELOAD, 12, "the loader refused the image")              \
    X(EREFUSED, 13, "refused")                                \
    X(EFAULT, 14, "the code faulted")                         \
    X(ETIMEOUT, 15, "the time limit passed")                  \
    X(EDENIED, 16, "permission denied")                       \
    X(EIO, 17, "input or output failed")                      \
    X(ECANCELED, 18, "cancelled")                             \
    X(ENOSPACE, 19, "no space left")                          \
    X(ESAME, 20, "nothing changed")                           \
    X(EUNSUPPORTED, 21, "not supported here")                 \
    X(ECHANGED, 22, "changed meanwhile")                      \
    X(EPARTIAL, 23, "not complete yet")                       \
    X(EPROTOCOL, 24, "not a valid message")                   \
    X(EDATA, 25, "the data are damaged or of another form")   \
    X(EUNTRUSTED, 26, "not signed by a trusted key")

#define KEEL_ERROR_NUMBER_(name, number, text) KEEL_##name = -(number),
enum { KEEL_OK = 0, KEEL_ERRORS(KEEL_ERROR_NUMBER_) KEEL_ERROR_FIRST = -26 };
#undef KEEL_ERROR_NUMBER_

/* Handles are generation and index, never pointers; zero is no handle. */
typedef uint64_t keel_handle;

/* True when the table `t`, as large as its maker said, reaches past member `m`. */
#define KEEL_HAS(t, m) \
    ((t) != NULL && (t)->size >= (uint32_t)((const char *)(&(t)->m + 1) - (const char *)(t)))

/* What caches pointers to the host's tables inside a module. Never carried to another generation.
 */
#if defined(__APPLE__)
#define KEEL_CACHE __attribute__((section("__DATA,__keel_cache")))
#else
#define KEEL_CACHE __attribute__((section(".keel.cache")))
#endif

#endif
