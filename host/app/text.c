/* Numbers, columns and safe text for a terminal. Owns nothing. Main thread. */
#include "app/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/utf8.h"

const char *text_count(char *out, int64_t value)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    size_t o = 0;
    for (int i = 0; i < n; i++) {
        out[o++] = digits[i];
        int left = n - 1 - i;
        if (left && left % 3 == 0 && digits[i] != '-')
            out[o++] = ',';
    }
    out[o] = 0;
    return out;
}

const char *text_bytes(char *out, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < sizeof units / sizeof *units - 1) {
        value /= 1024;
        unit++;
    }
    int whole = value >= 100 || value == (double)(int64_t)value;
    snprintf(out, TEXT_CELL_BYTES, "%.*f %s", whole ? 0 : 1, value, units[unit]);
    return out;
}

const char *text_duration(char *out, double seconds)
{
    int64_t s = seconds > 0 && seconds < 1e15 ? (int64_t)seconds : 0;
    if (s < 60)
        snprintf(out, TEXT_CELL_BYTES, "%.1f s", seconds > 0 ? seconds : 0.0);
    else if (s < 3600)
        snprintf(out, TEXT_CELL_BYTES, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, TEXT_CELL_BYTES, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
    else
        snprintf(out, TEXT_CELL_BYTES, "%" PRId64 " d %" PRId64 " h", s / 86400, s / 3600 % 24);
    return out;
}

/* The bytes of the character at `c`; `*ret_good` 0: it is none, or one that terminals act on. */
static size_t character(const char *c, int *ret_good)
{
    size_t bytes;
    uint32_t is = utf8_next(c, strnlen(c, 4), &bytes);
    int none = is == UTF8_REPLACEMENT && (bytes != 3 || (unsigned char)c[0] != 0xef);
    *ret_good = !none && is >= 0x20 && (is < 0x7f || is >= 0xa0);
    return none ? 1 : bytes; /* a mark for each byte that is none */
}

/* Copies what is safe of `text`, at most `room` - 1 bytes; returns the columns that it takes. */
static size_t clean(char *out, size_t room, const char *text, const char **ret_rest)
{
    const char *c = text;
    size_t o = 0, columns = 0;
    while (*c) {
        int good;
        size_t n = character(c, &good);
        size_t bytes = good ? n : 1;
        if (o + bytes >= room)
            break;
        if (good)
            memcpy(out + o, c, n);
        else
            out[o] = '?';
        o += bytes;
        c += n;
        columns++;
    }
    out[o] = 0;
    if (ret_rest)
        *ret_rest = c;
    return columns;
}

void text_print(FILE *file, const char *text)
{
    char piece[512];
    while (*text) {
        clean(piece, sizeof piece, text, &text);
        fputs(piece, file);
    }
}

void text_line(FILE *file, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text_print(file, line);
    putc('\n', file);
}

size_t text_clean(char *out, size_t room, const char *text)
{
    clean(out, room, text, NULL);
    return strlen(out);
}

void table_add(Table *table, const char *text)
{
    int row = table->filled / table->columns, column = table->filled % table->columns;
    if (row >= TEXT_ROWS)
        return;
    clean(table->cell[row][column], TEXT_CELL_BYTES, text, NULL);
    table->filled++;
}

static int width(const char *cell)
{
    int columns = 0;
    for (; *cell; cell++)
        columns += ((unsigned char)*cell & 0xc0) != 0x80;
    return columns;
}

void table_print(FILE *file, const Table *table)
{
    int widest[TEXT_COLUMNS] = {0};
    for (int i = 0; i < table->filled; i++) {
        int w = width(table->cell[i / table->columns][i % table->columns]);
        if (w > widest[i % table->columns])
            widest[i % table->columns] = w;
    }
    for (int i = 0; i < table->filled; i++) {
        int column = i % table->columns, last = column == table->columns - 1;
        const char *cell = table->cell[i / table->columns][column];
        int blank = widest[column] - width(cell);
        if (table->right >> column & 1)
            fprintf(file, "%*s%s", blank, "", cell);
        else
            fprintf(file, "%s%*s", cell, last ? 0 : blank, "");
        fputs(last ? "\n" : "  ", file);
    }
}
