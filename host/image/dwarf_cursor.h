/* Inside image/: a place in bytes of unknown origin that is never read beyond their end. Pure. */
#ifndef IMAGE_DWARF_CURSOR_H
#define IMAGE_DWARF_CURSOR_H

#include <stdint.h>
#include <string.h>

typedef struct Cursor {
    const uint8_t *at, *end;
    int is_bad; /* something was cut; all that is read then is 0 */
} Cursor;

static inline uint64_t cursor_left(const Cursor *c)
{
    return (uint64_t)(c->end - c->at);
}

static inline void cursor_skip(Cursor *c, uint64_t bytes)
{
    if (bytes > cursor_left(c)) {
        c->is_bad = 1;
        bytes = cursor_left(c);
    }
    c->at += bytes;
}

/* A little-endian number of 1 to 8 bytes. */
static inline uint64_t cursor_number(Cursor *c, unsigned bytes)
{
    uint64_t value = 0;
    if (bytes > cursor_left(c)) {
        c->is_bad = 1;
        c->at = c->end;
        return 0;
    }
    memcpy(&value, c->at, bytes);
    c->at += bytes;
    return value;
}

static inline uint64_t cursor_uleb(Cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    c->is_bad = 1;
    return 0;
}

static inline int64_t cursor_sleb(Cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; c->at < c->end;) {
        uint8_t byte = *c->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (byte & 0x80)
            continue;
        if (shift < 64 && byte & 0x40)
            value |= ~(uint64_t)0 << shift;
        return (int64_t)value;
    }
    c->is_bad = 1;
    return 0;
}

/* A text up to its zero; NULL when there is none. */
static inline const char *cursor_text(Cursor *c)
{
    const uint8_t *start = c->at, *zero = memchr(start, 0, cursor_left(c));
    if (!zero) {
        c->is_bad = 1;
        c->at = c->end;
        return NULL;
    }
    c->at = zero + 1;
    return (const char *)start;
}

#endif
