/* Errors: a code and a sentence. Owns nothing; never allocates, never logs; any thread. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(Error *err, int code, const char *format, va_list args)
{
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
}

int err_set(Error *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, format, args);
    va_end(args);
    return code;
}

int err_errno(Error *err, int code, int number, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, format, args);
    va_end(args);
    char reason[128];
    const char *said = strerror_r(number, reason, sizeof reason);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", said);
    return code;
}

int err_wrap(Error *err, const char *format, ...)
{
    if (!err)
        return KEEL_EINVAL;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    fill(err, err->code, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", inner);
    return err->code;
}

const char *err_text(int code)
{
    switch (code) {
    case KEEL_OK:
        return "success";
#define TEXT(name, number, text)                                                                   \
    case -(number):                                                                                \
        return text;
        KEEL_ERRORS(TEXT)
#undef TEXT
    default:
        return "unknown error";
    }
}

const char *err_name(int code)
{
    switch (code) {
    case KEEL_OK:
        return "OK";
#define NAME(name, number, text)                                                                   \
    case -(number):                                                                                \
        return #name;
        KEEL_ERRORS(NAME)
#undef NAME
    default:
        return "EUNKNOWN";
    }
}
