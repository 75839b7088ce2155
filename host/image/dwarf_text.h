/* Inside image/: names put together from parts. For what is done for each name there is: reading
 * printf's formats took a fifth of a reading. Pure. */
#ifndef IMAGE_DWARF_TEXT_H
#define IMAGE_DWARF_TEXT_H

#include <stddef.h>

/* At most `most` bytes of the part behind the first `at` of `to`, as far as there is room, and an
 * end. Where the next one goes. */
size_t text_put(char *to, size_t room, size_t at, const char *part, size_t most);

/* Two parts, of each at most `most` bytes. */
size_t text_join(char *to, size_t room, const char *one, const char *other, size_t most);

#endif
