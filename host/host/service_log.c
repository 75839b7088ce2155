/* keel.log/1 into the host's log. [any] */
#include <keel/log.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "host/services.h"

static void line(keel *k, uint32_t level, const char *format, ...)
{
    const Slot *slot = (const Slot *)k;
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format,
              args); /* reads the module's memory: its fault if that is bad */
    va_end(args);
    guard_host_enter();
    log_write(level > KEEL_LOG_ERROR ? LOG_ERROR : (LogLevel)level, "module", "%s: %s%s",
              slot->name, k->mode == KEEL_MODE_TRIAL ? "(trial) " : "", text);
    guard_host_leave();
}

const struct keel_log_1 service_log_1 = {.size = sizeof service_log_1, .line = line};
