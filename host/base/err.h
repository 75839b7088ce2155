/* Errors: a code of the ABI and one sentence, which gains context on its way up.
 *
 * Library code returns the code and fills an Error that its caller owns; it never logs. NULL is allowed
 * wherever an Error * is taken. Safe on any thread, each Error on one at a time. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <keel/base.h>

typedef struct Error {
    int code; /* KEEL_OK or KEEL_E… */
    char text[1000];
} Error;

/* Each returns `code`, so that `return err_set(err, KEEL_EIO, …)` reads well. */
int err_set(Error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": " and the system's sentence for errno `number` at the end. */
int err_errno(Error *err, int code, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<context>: " before the sentence that is there; returns its code. */
int err_wrap(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The text that KEEL_ERRORS gives for a code; "unknown error" for others. Never NULL. */
const char *err_text(int code);

/* "EINVAL" for KEEL_EINVAL; "OK" for 0. Never NULL. */
const char *err_name(int code);

#endif
