/* What compilers and build tools write, made fit for a terminal. The bytes are of unknown origin: a
 * source line in a message may hold anything. Pure. */
#include <string.h>

#include "app/dev.h"

/* Bytes of the colour sequence at `c` (ESC [ digits ; … m, or ESC [ K), 0 when it is none. */
static size_t colour_bytes(const char *c, const char *end)
{
    if (end - c < 3 || c[0] != 0x1b || c[1] != '[')
        return 0;
    const char *at = c + 2;
    while (at < end && at - c < 24 && ((*at >= '0' && *at <= '9') || *at == ';'))
        at++;
    return at < end && (*at == 'm' || *at == 'K') ? (size_t)(at - c) + 1 : 0;
}

/* Bytes of the UTF-8 character at `c` that is no control character, 0 when it is none. */
static size_t character(const char *c, const char *end)
{
    const unsigned char *u = (const unsigned char *)c;
    if (u[0] < 0x80)
        return u[0] == '\t' || (u[0] >= 0x20 && u[0] != 0x7f);
    size_t n = u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;
    if (!n || (size_t)(end - c) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if (u[0] == 0xc2 && u[1] < 0xa0)
        return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] >= 0xa0) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] >= 0x90))
        return 0;
    return n;
}

static int add_line(const char *line, const char *end, int colour, Buf *ret)
{
    int rc = 0;
    while (line < end && !rc) {
        size_t n = colour_bytes(line, end);
        if (n) {
            rc = colour ? buf_add(ret, line, n) : 0;
        } else if ((n = character(line, end)) != 0) {
            rc = buf_add(ret, line, n);
        } else {
            n = 1;
            rc = *line == '\r' ? 0 : buf_add(ret, "?", 1);
        }
        line += n;
    }
    return rc ? rc : buf_add(ret, "\n", 1);
}

static int begins(const char *line, const char *end, const char *with)
{
    size_t n = strlen(with);
    return (size_t)(end - line) >= n && !memcmp(line, with, n);
}

static int tells(const char *line, const char *end, const char *what)
{
    return memmem(line, (size_t)(end - line), what, strlen(what)) != NULL;
}

int dev_text_clean(const Buf *output, int colour, Buf *ret)
{
    const char *at = output->data, *end = at + output->bytes;
    int compiler = output->bytes && (tells(at, end, "error:") || tells(at, end, "warning:"));
    int rc = 0, skip = 0;
    while (output->bytes && at < end && !rc) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end)
            line_end = end;
        /* ninja: "[1/2] Building …", "FAILED: x.o " and the command below it. */
        const char *plain = at;
        for (size_t n; (n = colour_bytes(plain, line_end)) != 0;)
            plain += n;
        int own =
            compiler && ((*plain == '[' && plain + 1 < end && plain[1] >= '0' && plain[1] <= '9') ||
                         begins(plain, line_end, "ninja: ") || begins(plain, line_end, "make: ") ||
                         begins(plain, line_end, "make["));
        int failed = compiler && begins(plain, line_end, "FAILED: ");
        if (!own && !failed && !skip)
            rc = add_line(at, line_end, colour, ret);
        skip = failed;
        at = line_end + 1;
    }
    return rc;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    while ((text = strstr(text, what)) != NULL) {
        n++;
        text += strlen(what);
    }
    return n;
}

void dev_text_count(const char *text, int *ret_errors, int *ret_warnings)
{
    *ret_errors = count(text, "error:");
    *ret_warnings = count(text, "warning:");
}
