/* keel.state/1: the slot's memory. It lives in the host's arena at an address that no swap moves,
 * and is undone with the frame that faults. All [frame]. */
#ifndef KEEL_STATE_H
#define KEEL_STATE_H

#include "context.h"

KEEL_BEGIN

#define KEEL_STATE_1 "keel.state/1"

struct keel_state_1 {
    uint32_t size;
    uint32_t reserved;

    /* The root object, zeroed when it is new. When the slot's root has another spelling, size or
     * alignment, the call doesn't return: the swap is decided again by the save and restore hooks.
     */
    void *(*root)(keel *k, const char *type, const char *file, uint64_t bytes, uint64_t align);

    /* `count` zeroed objects, or NULL when the arena is full. */
    void *(*alloc)(keel *k, const char *type, const char *file, uint64_t bytes, uint64_t align,
                   uint64_t count);

    /* Takes back what alloc gave; NULL is allowed. */
    void (*free)(keel *k, void *object);

    /* The number of objects that `object` was made with, 0 for what alloc didn't give. */
    uint64_t (*count)(keel *k, const void *object);
};

static inline const struct keel_state_1 *keel_state_service_(keel *k)
{
    static const struct keel_state_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_state_1 *)k->service(k, KEEL_STATE_1, sizeof *table);
    return table;
}

/* The slot's one root object of type T, the same memory after every swap. */
#define keel_state(k, T) \
    ((T *)keel_state_service_(k)->root((k), #T, __FILE__, sizeof(T), KEEL_ALIGNOF(T)))

/* One object, n objects; zeroed; NULL when the arena is full. Freed by keel_free. */
#define keel_new(k, T) keel_new_array(k, T, 1)
#define keel_new_array(k, T, n) \
    ((T *)keel_state_service_(k)->alloc((k), #T, __FILE__, sizeof(T), KEEL_ALIGNOF(T), (n)))

static inline void keel_free(keel *k, void *object)
{
    keel_state_service_(k)->free(k, object);
}

static inline uint64_t keel_count(keel *k, const void *object)
{
    return keel_state_service_(k)->count(k, object);
}

KEEL_END

#endif
