/* libc's functions that give memory to free: done again with the module's own malloc. Also under
 * the names that _FORTIFY_SOURCE and glibc's headers give them. Any thread. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "shim.h"

#undef strdup
#undef strndup
#undef asprintf
#undef vasprintf
#undef getline
#undef getdelim

HIDDEN char *keel_shim_strndup(const char *text, size_t max);
HIDDEN int keel_shim_vasprintf(char **ret, const char *format, va_list args);
HIDDEN ssize_t keel_shim_getdelim(char **line, size_t *room, int delimiter, FILE *file);

char *keel_shim_strndup(const char *text, size_t max)
{
    size_t bytes = max > PTRDIFF_MAX ? strlen(text) : strnlen(text, max);
    char *copy = malloc(bytes + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    return copy;
}

HIDDEN char *strdup(const char *text)
{
    return keel_shim_strndup(text, SIZE_MAX);
}

HIDDEN char *strndup(const char *text, size_t max)
{
    return keel_shim_strndup(text, max);
}

HIDDEN char *__strdup(const char *text);
char *__strdup(const char *text)
{
    return keel_shim_strndup(text, SIZE_MAX);
}

HIDDEN char *__strndup(const char *text, size_t max);
char *__strndup(const char *text, size_t max)
{
    return keel_shim_strndup(text, max);
}

int keel_shim_vasprintf(char **ret, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    char small[256];
    int bytes = vsnprintf(small, sizeof small, format, args);
    char *text = bytes < 0 ? NULL : malloc((size_t)bytes + 1);
    if (text && (size_t)bytes < sizeof small)
        memcpy(text, small, (size_t)bytes + 1);
    else if (text)
        vsnprintf(text, (size_t)bytes + 1, format, again);
    va_end(again);
    if (!text)
        return -1;
    *ret = text;
    return bytes;
}

HIDDEN int vasprintf(char **ret, const char *format, va_list args)
{
    return keel_shim_vasprintf(ret, format, args);
}

HIDDEN int asprintf(char **ret, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int bytes = keel_shim_vasprintf(ret, format, args);
    va_end(args);
    return bytes;
}

/* What asprintf becomes with _FORTIFY_SOURCE; `flag` asks for glibc's check of %n. */
HIDDEN int __vasprintf_chk(char **ret, int flag, const char *format, va_list args);
int __vasprintf_chk(char **ret, int flag, const char *format, va_list args)
{
    (void)flag;
    return keel_shim_vasprintf(ret, format, args);
}

HIDDEN int __asprintf_chk(char **ret, int flag, const char *format, ...);
int __asprintf_chk(char **ret, int flag, const char *format, ...)
{
    (void)flag;
    va_list args;
    va_start(args, format);
    int bytes = keel_shim_vasprintf(ret, format, args);
    va_end(args);
    return bytes;
}

/* Room for one more byte and the NUL after `used`. */
static int line_room(char **line, size_t *room, size_t used)
{
    if (*line && *room >= used + 2)
        return 0;
    size_t more = used < 60 ? 120 : used * 2;
    char *grown = used > SSIZE_MAX / 2 ? NULL : realloc(*line, more);
    if (!grown)
        return -1;
    *line = grown;
    *room = more;
    return 0;
}

ssize_t keel_shim_getdelim(char **line, size_t *room, int delimiter, FILE *file)
{
    if (!line || !room || !file) {
        errno = EINVAL;
        return -1;
    }
    size_t used = 0;
    int byte = 0, code = 0;
    flockfile(file);
    while (byte != delimiter || used == 0) {
        byte = getc_unlocked(file);
        if (byte == EOF)
            break;
        code = line_room(line, room, used);
        if (code != 0) {
            ungetc(byte, file);
            errno = ENOMEM;
            break;
        }
        (*line)[used++] = (char)byte;
    }
    if (code == 0)
        code = used == 0 ? line_room(line, room, 0) : 0;
    funlockfile(file);
    if (code == 0)
        (*line)[used] = 0;
    return code != 0 || used == 0 ? -1 : (ssize_t)used;
}

HIDDEN ssize_t getdelim(char **line, size_t *room, int delimiter, FILE *file)
{
    return keel_shim_getdelim(line, room, delimiter, file);
}

HIDDEN ssize_t __getdelim(char **line, size_t *room, int delimiter, FILE *file);
ssize_t __getdelim(char **line, size_t *room, int delimiter, FILE *file)
{
    return keel_shim_getdelim(line, room, delimiter, file);
}

HIDDEN ssize_t getline(char **line, size_t *room, FILE *file)
{
    return keel_shim_getdelim(line, room, '\n', file);
}
