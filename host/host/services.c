/* Which services there are, and what every context can do. */
#include "host/services.h"

#include <keel/keel.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
#define SERVICES(ON)                  \
    ON(KEEL_STATE_1, service_state_1) \
    ON(KEEL_LOG_1, service_log_1)     \
    ON(KEEL_TIME_1, service_time_1)   \
    ON(KEEL_TASK_1, service_task_1)   \
    ON(KEEL_DRAW_1, service_draw_1)   \
    ON(KEEL_TWEAK_1, service_tweak_1) \
    ON(KEEL_INPUT_1, service_input_1) \
    ON(KEEL_ASSET_1, service_asset_1) \
    ON(KEEL_AUDIO_1, service_audio_1)
/* clang-format on */

#define SERVICE_ROW(id, table) {id, &table},
static const struct {
    const char *id;
    const void *table;
} services[] = {SERVICES(SERVICE_ROW)};
enum { SERVICES_COUNT = sizeof services / sizeof *services };

#define SERVICE_ID(id, table) id,
static const char *const ids[] = {SERVICES(SERVICE_ID) NULL};

const char *const *services_ids(void)
{
    return ids;
}

const void *services_find(const char *id, uint32_t min_size)
{
    for (int i = 0; i < SERVICES_COUNT; i++)
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

static _Atomic pid_t own_pid;

/* Doesn't return inside a guarded call. A thread that the module made may end itself but not the
 * process: the shim then traps, which is a fault of that thread. A child that the module forked
 * ends as it likes. */
static int32_t module_leaves(int32_t kind, int32_t code)
{
    static const char *const calls[] = {[KEEL_LEAVE_EXIT] = "exit",
                                        [KEEL_LEAVE_EXIT_NOW] = "_exit",
                                        [KEEL_LEAVE_QUICK_EXIT] = "quick_exit",
                                        [KEEL_LEAVE_THREAD_EXIT] = "pthread_exit"};
    if (getpid() != atomic_load(&own_pid))
        return 0;
    if (kind == KEEL_LEAVE_ABORT) {
        guard_raise(FAULT_ABORT, 0, "called abort()");
        return 1;
    }
    const char *call = kind > 0 && kind < KEEL_LEAVE_ABORT ? calls[kind] : "exit";
    if (kind == KEEL_LEAVE_THREAD_EXIT)
        guard_raise(FAULT_EXIT, code, "called %s()", call);
    else
        guard_raise(FAULT_EXIT, code, "called %s(%d)", call, code);
    return kind != KEEL_LEAVE_THREAD_EXIT;
}

void services_give(Slot *slot)
{
    atomic_store(&own_pid, getpid());
    state_on_leave(module_leaves);
    slot->context.service = context_service;
    slot->context.fail = context_fail;
    slot->context.slot = slot->number;
}
