/* Reads compilers' messages line by line. Pure. */
#include "app/dev_errors.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

/* The next line without colours; 0 at the end. What is longer than LINE_BYTES is cut. */
static int next_line(const char **text, char line[LINE_BYTES])
{
    const char *c = *text;
    size_t n = 0;
    if (!*c)
        return 0;
    for (; *c && *c != '\n'; c++) {
        if (c[0] == 0x1b && c[1] == '[') {
            const char *end = c + 2 + strspn(c + 2, "0123456789;");
            if (*end == 'm' || *end == 'K') {
                c = end;
                continue;
            }
        }
        if (n + 1 < LINE_BYTES)
            line[n++] = *c;
    }
    line[n] = 0;
    *text = *c ? c + 1 : c;
    return 1;
}

static void copy(char *to, size_t room, const char *from, size_t bytes)
{
    if (bytes >= room) {
        bytes = room - 1;
        while (bytes && ((unsigned char)from[bytes] & 0xc0) == 0x80) /* no half characters */
            bytes--;
    }
    memcpy(to, from, bytes);
    to[bytes] = 0;
}

/* "m.c:12:5: error: …", "m.c:12: error: …", "cc1: error: …" */
static int is_message(const char *line, DevError *ret)
{
    static const struct {
        const char *word;
        int warning;
    } kinds[] = {{": fatal error: ", 0}, {": error: ", 0}, {": warning: ", 1}};
    const char *at = NULL;
    size_t k = 0;
    for (; k < 3 && !at; k++)
        if ((at = strstr(line, kinds[k].word)) != NULL)
            break;
    if (!at || line[0] == ' ' || line[0] == '\t')
        return 0;
    *ret = (DevError){.warning = kinds[k].warning};
    const char *words = at + strlen(kinds[k].word);
    copy(ret->text, sizeof ret->text, words, strlen(words));
    const char *end = at;
    int numbers[2], count = 0;
    while (count < 2) { /* from the right: column, line */
        const char *digit = end;
        while (digit > line && isdigit((unsigned char)digit[-1]))
            digit--;
        if (digit == end || digit == line || digit[-1] != ':' || end - digit > 8)
            break;
        numbers[count++] = atoi(digit);
        end = digit - 1;
    }
    ret->line = count ? numbers[count - 1] : 0;
    ret->column = count == 2 ? numbers[0] : 0;
    if (count)
        copy(ret->file, sizeof ret->file, line, (size_t)(end - line));
    return 1;
}

/* A linker's: "…: undefined reference to `x'", "ld.lld: error: undefined symbol: x". */
static int is_undefined(const char *line, DevError *ret)
{
    const char *at = strstr(line, "undefined reference to ");
    if (!at)
        return 0;
    *ret = (DevError){0};
    copy(ret->text, sizeof ret->text, at, strlen(at));
    const char *colon = strstr(line, ".c:");
    if (!colon)
        colon = strstr(line, ".cc:");
    if (!colon)
        colon = strstr(line, ".cpp:");
    if (!colon)
        return 1;
    const char *first = colon;
    while (first > line && first[-1] != ' ')
        first--;
    colon = strchr(colon, ':');
    copy(ret->file, sizeof ret->file, first, (size_t)(colon - first));
    ret->line = isdigit((unsigned char)colon[1]) ? atoi(colon + 1) : 0;
    return 1;
}

/* "   12 |     s->count++ + ;": behind the bar and its blank; NULL: no such line. */
static const char *behind_bar(const char *line)
{
    const char *c = line + strspn(line, " ");
    c += strspn(c, "0123456789");
    c += strspn(c, " ");
    return *c == '|' && c > line ? c + 1 + (c[1] == ' ') : NULL;
}

static int is_numbered(const char *line)
{
    return isdigit((unsigned char)line[strspn(line, " ")]) && behind_bar(line) != NULL;
}

/* Only marks: "         ~~~~~~~~~^", also with what should be inserted behind. */
static int is_marks(const char *line)
{
    const char *c = line + strspn(line, " ");
    return *c == '^' || *c == '~';
}

static int characters(const char *text, size_t bytes)
{
    int n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void take_marks(const char *line, DevError *error)
{
    size_t first = strspn(line, " ");
    size_t bytes = strspn(line + first, "^~");
    error->from = (int)first;
    error->to = (int)(first + bytes);
    int most = characters(error->source, strlen(error->source)) + 1;
    if (error->from > most)
        error->from = error->to = 0;
    else if (error->to > most)
        error->to = most;
}

/* The source line and the marks below it, if they follow. */
static void take_source(const char **text, DevError *error)
{
    char line[LINE_BYTES];
    const char *at = *text;
    if (!next_line(&at, line))
        return;
    DevError other;
    const char *source = is_numbered(line) ? behind_bar(line)
                         : line[0] == ' ' && !is_message(line, &other) && error->line ? line
                                                                                      : NULL;
    if (!source)
        return;
    copy(error->source, sizeof error->source, source, strlen(source));
    *text = at;
    if (!next_line(&at, line))
        return;
    const char *marks = behind_bar(line) && !is_numbered(line) ? behind_bar(line) : line;
    if (!is_marks(marks))
        return;
    take_marks(marks, error);
    *text = at;
}

int dev_errors_read(const char *text, DevError ret[DEV_ERRORS], int *ret_all)
{
    int count = 0, all = 0, errors = 0;
    char line[LINE_BYTES];
    DevError error;
    while (next_line(&text, line)) {
        if (!is_message(line, &error) && !is_undefined(line, &error))
            continue;
        take_source(&text, &error);
        if (!error.warning && !errors)
            count = all = 0; /* an error: the warnings so far are of no interest */
        errors += !error.warning;
        if (error.warning && errors)
            continue;
        all++;
        if (count < DEV_ERRORS)
            ret[count++] = error;
    }
    *ret_all = all;
    return count;
}
