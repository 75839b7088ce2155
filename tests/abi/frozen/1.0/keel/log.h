/* keel.log/1: lines for people. Written at once and kept even when the frame is undone, since they
 * tell why. The text is copied. */
#ifndef KEEL_LOG_H
#define KEEL_LOG_H

#include "context.h"

KEEL_BEGIN

#define KEEL_LOG_1 "keel.log/1"

enum { KEEL_LOG_DEBUG = 0, KEEL_LOG_INFO = 1, KEEL_LOG_WARN = 2, KEEL_LOG_ERROR = 3 };

struct keel_log_1 {
    uint32_t size;
    uint32_t reserved;
    /* One line of at most 480 bytes of UTF-8; what is longer is cut. [any] */
    void (*line)(keel *k, uint32_t level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
};

static inline const struct keel_log_1 *keel_log_service_(keel *k)
{
    static const struct keel_log_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_log_1 *)k->service(k, KEEL_LOG_1, sizeof *table);
    return table;
}

#define keel_debug(k, ...) (keel_log_service_(k)->line((k), KEEL_LOG_DEBUG, __VA_ARGS__))
#define keel_info(k, ...) (keel_log_service_(k)->line((k), KEEL_LOG_INFO, __VA_ARGS__))
#define keel_warn(k, ...) (keel_log_service_(k)->line((k), KEEL_LOG_WARN, __VA_ARGS__))
#define keel_error(k, ...) (keel_log_service_(k)->line((k), KEEL_LOG_ERROR, __VA_ARGS__))

KEEL_END

#endif
