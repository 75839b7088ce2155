/* Names put together from parts. Owns nothing; any thread. */
#include "image/dwarf_text.h"

#include <string.h>

size_t text_put(char *to, size_t room, size_t at, const char *part, size_t most)
{
    size_t left = room - 1 - at, n = strnlen(part, most < left ? most : left);
    memcpy(to + at, part, n);
    to[at + n] = 0;
    return at + n;
}

size_t text_join(char *to, size_t room, const char *one, const char *other, size_t most)
{
    return text_put(to, room, text_put(to, room, 0, one, most), other, most);
}
