/* keel.state/1 over the slot's arena. [frame] */
#include <keel/state.h>

#include "host/services.h"

static void *root(keel *k, const char *type, const char *file, uint64_t bytes, uint64_t align)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return NULL;
    void *object = NULL;
    Error err;
    int rc = state_root(slot->state, type, file, bytes, align, &object, &err);
    if (rc == KEEL_ETYPE)
        guard_raise(FAULT_TYPES, rc, "%s", err.text);
    else if (rc)
        guard_raise(FAULT_ERROR, rc, "keel_state(%s): %s", type, err.text);
    return object;
}

static void *alloc(keel *k, const char *type, const char *file, uint64_t bytes, uint64_t align,
                   uint64_t count)
{
    Slot *slot = service_slot(k);
    return slot ? state_alloc(slot->state, type, file, bytes, align, count) : NULL;
}

static void release(keel *k, void *object)
{
    Slot *slot = service_slot(k);
    if (slot)
        state_free(slot->state, object);
}

static uint64_t count(keel *k, const void *object)
{
    Slot *slot = service_slot(k);
    return slot ? state_count(slot->state, object) : 0;
}

const struct keel_state_1 service_state_1 = {
    .size = sizeof service_state_1, .root = root, .alloc = alloc, .free = release, .count = count};
