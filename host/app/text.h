/* Text for a terminal: numbers as people read them, columns, and nothing that could command the
 * terminal. Pure but for printing. Main thread. */
#ifndef APP_TEXT_H
#define APP_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_CELL_BYTES = 96, TEXT_COLUMNS = 12, TEXT_ROWS = 256 };

/* Each writes into `out` (TEXT_CELL_BYTES) and returns it. */
const char *text_count(char *out, int64_t value);     /* 1,234,567 */
const char *text_bytes(char *out, int64_t bytes);     /* 4 KiB, 1.5 GiB */
const char *text_duration(char *out, double seconds); /* 3.2 s, 4 min 5 s, 2 h 3 min, 3 d 4 h */

/* Prints `text` with every control character as '?', bytes that are no UTF-8 too. */
void text_print(FILE *file, const char *text);
/* The same of a line, which it ends. */
void text_line(FILE *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same into `out`, as whole characters; returns how many bytes. */
size_t text_clean(char *out, size_t room, const char *text);

/* Rows of cells; the first row is the heading. Columns whose bit is in `right` end at their right
 * edge. */
typedef struct Table {
    int columns;
    unsigned right;
    int filled; /* cells so far */
    char cell[TEXT_ROWS][TEXT_COLUMNS][TEXT_CELL_BYTES];
} Table;

/* The next cell of the current row, or of a new one after `columns` cells; what is too long is cut.
 * Rows beyond the last are left out. */
void table_add(Table *table, const char *text);
void table_print(FILE *file, const Table *table);

#endif
