/* Inside fault/: text to a descriptor through a small buffer. Async-signal-safe. */
#ifndef FAULT_OUT_H
#define FAULT_OUT_H

#include <errno.h>
#include <unistd.h>

#include "fault/text.h"

typedef struct Out {
    int fd;
    int failed; /* something could not be written */
    Text text;
    char buffer[1024];
} Out;

static inline void out_begin(Out *out, int fd)
{
    out->fd = fd;
    out->failed = 0;
    out->text = text_on(out->buffer, sizeof out->buffer);
}

static inline void out_flush(Out *out)
{
    size_t at = 0;
    while (at < out->text.used && !out->failed) {
        ssize_t wrote = write(out->fd, out->buffer + at, out->text.used - at);
        if (wrote > 0)
            at += (size_t)wrote;
        else if (wrote == 0 || errno != EINTR)
            out->failed = 1;
    }
    out->text = text_on(out->buffer, sizeof out->buffer);
}

/* Room for at least `bytes`, at most the buffer's. */
static inline Text *out_room(Out *out, size_t bytes)
{
    if (out->text.room - out->text.used <= bytes)
        out_flush(out);
    return &out->text;
}

/* Any length; control characters other than tab become blanks, so that no string of a module can
 * look like a line of the report. */
static inline void out_put(Out *out, const char *string)
{
    for (; *string; string++) {
        Text *text = out_room(out, 1);
        unsigned char c = (unsigned char)*string;
        text->data[text->used++] = c < ' ' && c != '\t' ? ' ' : (char)c;
        text->data[text->used] = 0;
    }
}

static inline void out_line(Out *out)
{
    text_put(out_room(out, 1), "\n");
}

static inline void out_number(Out *out, uint64_t value, int width)
{
    text_number(out_room(out, 24), value, 10, width);
}

static inline void out_integer(Out *out, int64_t value)
{
    text_integer(out_room(out, 24), value);
}

static inline void out_hex(Out *out, uint64_t value)
{
    text_hex(out_room(out, 24), value);
}

#endif
