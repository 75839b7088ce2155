/* A byte buffer that grows by doubling. Any thread, one at a time. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keel/base.h>

static int reserve(Buf *buf, size_t more)
{
    if (more > SIZE_MAX / 2 - buf->bytes)
        return KEEL_ENOMEM;
    size_t need = buf->bytes + more;
    if (need <= buf->room)
        return KEEL_OK;
    size_t room = buf->room ? buf->room : 128;
    while (room < need)
        room *= 2;
    char *data = realloc(buf->data, room);
    if (!data)
        return KEEL_ENOMEM;
    buf->data = data;
    buf->room = room;
    return KEEL_OK;
}

int buf_add(Buf *buf, const void *data, size_t bytes)
{
    if (!bytes)
        return KEEL_OK;
    int rc = reserve(buf, bytes);
    if (rc)
        return rc;
    memcpy(buf->data + buf->bytes, data, bytes);
    buf->bytes += bytes;
    return KEEL_OK;
}

int buf_printf(Buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        return KEEL_EINVAL;
    int rc = reserve(buf, (size_t)n + 1);
    if (rc)
        return rc;
    va_start(args, format);
    vsnprintf(buf->data + buf->bytes, (size_t)n + 1, format, args);
    va_end(args);
    buf->bytes += (size_t)n;
    return KEEL_OK;
}

const char *buf_text(Buf *buf)
{
    if (reserve(buf, 1))
        return "";
    buf->data[buf->bytes] = 0;
    return buf->data;
}

void buf_drop(Buf *buf, size_t bytes)
{
    if (bytes >= buf->bytes) {
        buf->bytes = 0;
        return;
    }
    memmove(buf->data, buf->data + bytes, buf->bytes - bytes);
    buf->bytes -= bytes;
}

void buf_done(Buf *buf)
{
    free(buf->data);
    *buf = (Buf){0};
}
