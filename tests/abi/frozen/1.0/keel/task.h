/* keel.task/1: work on the host's threads. The host calls the module's `work` with a number that
 * the module chose and a copy of the input; the result comes back as an event. The running
 * generation at the time of the call does the work; a swap waits for none, a retired generation
 * stays loaded until its work is done. */
#ifndef KEEL_TASK_H
#define KEEL_TASK_H

#include "context.h"
#include "module.h"

KEEL_BEGIN

#define KEEL_TASK_1 "keel.task/1"

/* Taken in this order; equal ones in the order they came. */
enum { KEEL_TASK_INPUT = 0, KEEL_TASK_VISUAL = 1, KEEL_TASK_BACKGROUND = 2 };

struct keel_task_1 {
    uint32_t size;
    uint32_t reserved;

    /* Queues work(op, tag, input) at the end of the frame; the input is copied now. 0 when 1,024
     * are waiting, or the module has no `work`. [frame] */
    keel_handle (*start)(keel *k, uint32_t op, uint64_t tag, uint32_t priority, const void *input,
                         uint64_t input_bytes);
    /* No event of it comes after this frame; running work is told. [frame] */
    int32_t (*cancel)(keel *k, keel_handle task);
};

static inline const struct keel_task_1 *keel_task_service_(keel *k)
{
    static const struct keel_task_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_task_1 *)k->service(k, KEEL_TASK_1, sizeof *table);
    return table;
}

static inline keel_handle keel_task_start(keel *k, uint32_t op, uint64_t tag, uint32_t priority,
                                          const void *input, uint64_t input_bytes)
{
    return keel_task_service_(k)->start(k, op, tag, priority, input, input_bytes);
}

static inline int32_t keel_task_cancel(keel *k, keel_handle task)
{
    return keel_task_service_(k)->cancel(k, task);
}

KEEL_END

#endif
