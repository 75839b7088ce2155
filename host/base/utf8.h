/* Reading UTF-8 that may be anything: what is no UTF-8 becomes U+FFFD, one a byte run that can't go
 * on, as Unicode recommends. Pure; any thread. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xfffd };

/* The character at `text`, of which `left` > 0 bytes are there; `*ret_bytes` is 1 to 4. */
static inline uint32_t utf8_next(const char *text, size_t left, size_t *ret_bytes)
{
    const uint8_t *s = (const uint8_t *)text;
    uint32_t c = s[0];
    *ret_bytes = 1;
    if (c < 0x80)
        return c;
    size_t need = c >= 0xc2 && c <= 0xdf   ? 1
                  : (c & 0xf0) == 0xe0     ? 2
                  : c >= 0xf0 && c <= 0xf4 ? 3
                                           : 0;
    if (!need)
        return UTF8_REPLACEMENT;
    /* The second byte's range leaves out overlong forms, surrogates and what is beyond U+10FFFF. */
    uint8_t least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    uint32_t value = c & (0x3fu >> need);
    for (size_t i = 1; i <= need; i++) {
        if (i >= left || s[i] < least || s[i] > most)
            return UTF8_REPLACEMENT;
        value = value << 6 | (s[i] & 0x3f);
        least = 0x80;
        most = 0xbf;
        *ret_bytes = i + 1;
    }
    return value;
}

/* Writes 1 to 4 bytes; 0 for what is no character. */
static inline size_t utf8_put(uint32_t c, char ret[4])
{
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        ret[0] = (char)(0xc0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xd800 && c <= 0xdfff)
            return 0;
        ret[0] = (char)(0xe0 | c >> 12);
        ret[1] = (char)(0x80 | (c >> 6 & 0x3f));
        ret[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    if (c > 0x10ffff)
        return 0;
    ret[0] = (char)(0xf0 | c >> 18);
    ret[1] = (char)(0x80 | (c >> 12 & 0x3f));
    ret[2] = (char)(0x80 | (c >> 6 & 0x3f));
    ret[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

#endif
