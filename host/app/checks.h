/* A list of checks with their outcomes, and the forms in which tools read them. One thread. */
#ifndef APP_CHECKS_H
#define APP_CHECKS_H

#include <stdio.h>

typedef struct Check {
    int good;
    double seconds; /* since the check before */
    char text[1200];
} Check;

typedef struct Checks {
    Check *list;
    int count, room;
    long long last_ns;
} Checks;

void checks_add(Checks *checks, int good, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int checks_failed(const Checks *checks);
void checks_text(const Checks *checks, FILE *to);
void checks_tap(const Checks *checks, FILE *to); /* version 13 */
void checks_json(const Checks *checks, FILE *to, const char *old_path, const char *new_path);
int checks_junit(const Checks *checks, const char *path); /* 0, or -1 with errno */
void checks_done(Checks *checks);

#endif
