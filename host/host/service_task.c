/* keel.task/1: work as effects. [frame] */
#include <keel/task.h>

#include "host/services.h"

static keel_handle start(keel *k, uint32_t op, uint64_t tag, uint32_t priority, const void *input,
                         uint64_t input_bytes)
{
    Slot *slot = service_slot(k);
    if (!slot || !slot->running || !TABLE_ENTRY(slot->running->table, work))
        return 0;
    service_probe(input, input_bytes);
    guard_host_enter();
    keel_handle handle =
        effects_task_start(&slot->effects, slot->running, op, tag, priority, input, input_bytes);
    guard_host_leave();
    return handle;
}

static int32_t cancel(keel *k, keel_handle task)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = effects_task_cancel(&slot->effects, task);
    guard_host_leave();
    return rc;
}

const struct keel_task_1 service_task_1 = {
    .size = sizeof service_task_1, .start = start, .cancel = cancel};
