/* Text into a caller's buffer, cut where it is full, always NUL-terminated. Async-signal-safe: no
 * locale, no allocation, nothing of stdio. */
#ifndef FAULT_TEXT_H
#define FAULT_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct Text {
    char *data;
    size_t room; /* of data, the NUL included */
    size_t used; /* without the NUL */
} Text;

static inline Text text_on(char *data, size_t room)
{
    data[0] = 0;
    return (Text){.data = data, .room = room};
}

static inline void text_put(Text *text, const char *string)
{
    while (*string && text->used + 1 < text->room)
        text->data[text->used++] = *string++;
    text->data[text->used] = 0;
}

/* In `base` 10 or 16, padded with zeros to `width`. */
static inline void text_number(Text *text, uint64_t value, unsigned base, int width)
{
    char digits[24];
    int at = (int)sizeof digits;
    digits[--at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value && at > 0);
    while ((int)sizeof digits - 1 - at < width && at > 0)
        digits[--at] = '0';
    text_put(text, digits + at);
}

static inline void text_integer(Text *text, int64_t value)
{
    if (value < 0)
        text_put(text, "-");
    text_number(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, 1);
}

static inline void text_hex(Text *text, uint64_t value)
{
    text_put(text, "0x");
    text_number(text, value, 16, 1);
}

#endif
