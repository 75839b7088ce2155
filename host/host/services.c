/* Which services there are, and what every context can do. */
#include "host/services.h"

#include <keel/keel.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *id;
    const void *table;
} services[] = {
    {KEEL_STATE_1, &service_state_1},
    {KEEL_LOG_1, &service_log_1},
    {KEEL_TIME_1, &service_time_1},
    {KEEL_TASK_1, &service_task_1},
};
enum { SERVICES = sizeof services / sizeof *services };

static const char *const ids[] = {KEEL_STATE_1, KEEL_LOG_1, KEEL_TIME_1, KEEL_TASK_1, NULL};

const char *const *services_ids(void)
{
    return ids;
}

const void *services_find(const char *id, uint32_t min_size)
{
    for (int i = 0; i < SERVICES; i++)
        if (!strcmp(services[i].id, id)) /* tables begin with their size */
            return *(const uint32_t *)services[i].table >= min_size ? services[i].table : NULL;
    return NULL;
}

static const void *context_service(keel *k, const char *id, uint32_t min_size)
{
    (void)k;
    return services_find(id, min_size);
}

static int32_t context_fail(keel *k, int32_t code, const char *format, ...)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return code; /* from another thread: the code alone */
    va_list args;
    va_start(args, format);
    vsnprintf(slot->fail_text, sizeof slot->fail_text, format, args);
    va_end(args);
    slot->fail_code = code;
    return code;
}

void services_give(Slot *slot)
{
    slot->context.service = context_service;
    slot->context.fail = context_fail;
    slot->context.slot = slot->number;
}
