/* What a compiler says, as data: place, sentence, the source line and where in it. gcc's and
 * clang's text, the linkers' about what is undefined. Pure; bytes of unknown origin. */
#ifndef APP_DEV_ERRORS_H
#define APP_DEV_ERRORS_H

#include <stddef.h>

enum { DEV_ERRORS = 6 };

typedef struct DevError {
    int warning;      /* 0: an error; 2: a crash, of dev_crash.h */
    char file[256];   /* "" where none is known */
    int line, column; /* 0: not known */
    char text[400];   /* the sentence */
    char source[240]; /* the line, "" where none is shown; tabs as the compiler expanded them */
    int from, to;     /* characters of it that are meant; equal: none */
} DevError;

/* The first DEV_ERRORS errors of `text` (as dev_text_clean gives it, with or without colours), and
 * how many there are in all; warnings only where there is no error. */
int dev_errors_read(const char *text, DevError ret[DEV_ERRORS], int *ret_all);

#endif
