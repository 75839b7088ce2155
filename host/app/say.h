/* Lines of the log on the terminal, as text or as JSON. Any thread: one write a line. */
#ifndef APP_SAY_H
#define APP_SAY_H

#include <stdint.h>

#include "base/log.h"

typedef struct Say {
    int json;
    int verbose; /* also debug lines */
} Say;

void say_line(const Say *say, uint32_t level, const char *room, const char *text);

/* One of a log that was read: always on stdout. */
void say_record(const Say *say, const LogRecord *record);

/* As keel_host_options.log; `user` is a Say. */
void say_log(uint32_t level, const char *room, const char *text, void *user);

#endif
