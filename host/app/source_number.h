/* A tweak's default in a source: finds the number in the one KEEL_TWEAK(…, name, number, …) of a
 * file and puts another in its place. Text only, no compiler: comments, literals and preprocessor
 * lines are skipped, and what isn't understood is refused. Any thread. */
#ifndef APP_SOURCE_NUMBER_H
#define APP_SOURCE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct SourceNumber {
    size_t at, bytes; /* of the number in the text */
    int line;         /* from 1 */
} SourceNumber;

/* KEEL_ENOTFOUND; KEEL_EREFUSED where there are two, or the default is no plain number; `file` is
 * for sentences. `text` ends with a NUL. */
int source_number_find(const char *text, const char *name, const char *file, SourceNumber *ret,
                       Error *err);

/* `value` as a C number in the place of `was` (its suffix and its form are kept): short, and of the
 * same type. 0: it doesn't fit into `bytes`. */
size_t source_number_text(const char *was, size_t was_bytes, uint32_t kind, double value,
                          double precision, char *ret, size_t bytes);

/* Stores `value` in `file`, where now `initial` must stand. The file is replaced in one step and
 * keeps its mode. KEEL_ESAME: it stands there already. *ret_line is where. */
int source_number_write(const char *file, const char *name, uint32_t kind, double initial,
                        double value, double precision, int *ret_line, Error *err);

#endif
