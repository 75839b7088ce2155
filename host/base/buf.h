/* A byte buffer that grows. Owned by one thread at a time; `done` takes a zeroed one. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

typedef struct Buf {
    char *data; /* NULL when empty; not NUL-terminated unless buf_text was called */
    size_t bytes;
    size_t room;
} Buf;

/* Both return 0 or KEEL_ENOMEM, then unchanged. */
int buf_add(Buf *buf, const void *data, size_t bytes);
int buf_printf(Buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The contents as a string, valid until the next change; "" for an empty buffer or no memory. */
const char *buf_text(Buf *buf);

/* Removes the first `bytes` bytes. */
void buf_drop(Buf *buf, size_t bytes);
void buf_done(Buf *buf);

#endif
