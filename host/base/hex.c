/* Hexadecimal digits. Owns nothing. */
#include "base/hex.h"

const char *hex_text(const uint8_t *data, size_t bytes, char *ret)
{
    static const char DIGITS[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        ret[2 * i] = DIGITS[data[i] >> 4];
        ret[2 * i + 1] = DIGITS[data[i] & 15];
    }
    ret[2 * bytes] = 0;
    return ret;
}

static int value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_parse(const char *text, size_t bytes, uint8_t *ret)
{
    for (size_t i = 0; i < bytes; i++) {
        int high = value(text[2 * i]), low = high < 0 ? -1 : value(text[2 * i + 1]);
        if (low < 0)
            return -1;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
