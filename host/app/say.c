/* Prints log lines: text on stderr, JSON on stdout. Owns nothing. */
#include "app/say.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/text.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/message.h"

static void put(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n <= 0)
            return; /* nobody reads: the ring still has it */
        text += n;
        bytes -= (size_t)n;
    }
}

static void json_line(int64_t wall_ns, uint32_t level, const char *room, const char *text)
{
    json_t *line = json_pack("{s:f, s:s, s:s, s:o}", "time", (double)wall_ns / 1e9, "level",
                             log_level_name(level), "room", room, "text", message_text(text));
    char *dumped = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (dumped) {
        size_t bytes = strlen(dumped);
        dumped[bytes] = '\n'; /* in place of the NUL: one write a line */
        put(STDOUT_FILENO, dumped, bytes + 1);
        free(dumped);
    }
    json_decref(line);
}

static void line(const Say *say, int64_t wall, uint32_t level, const char *room, const char *text,
                 int fd)
{
    static const char *const marks[] = {" ", " ", "!", "X"};
    if (level == LOG_DEBUG && !say->verbose)
        return;
    if (say->json) {
        json_line(wall, level, room, text);
        return;
    }
    char whole[1400], buffer[sizeof whole + 1];
    time_t seconds = (time_t)(wall / 1000000000);
    struct tm local;
    localtime_r(&seconds, &local);
    snprintf(whole, sizeof whole, "%02d:%02d:%02d.%03d %s %-8s %s", local.tm_hour, local.tm_min,
             local.tm_sec, (int)(wall / 1000000 % 1000), marks[level < 4 ? level : 3], room, text);
    for (char *c = whole; *c; c++)
        *c = *c == '\t' ? ' ' : *c;
    size_t n = text_clean(buffer, sizeof whole, whole);
    buffer[n] = '\n';
    put(fd, buffer, n + 1);
}

void say_line(const Say *say, uint32_t level, const char *room, const char *text)
{
    line(say, clock_wall_ns(), level, room, text, STDERR_FILENO);
}

void say_record(const Say *say, const LogRecord *record)
{
    line(say, record->wall_ns, record->level, record->room, record->text, STDOUT_FILENO);
}

void say_log(uint32_t level, const char *room, const char *text, void *user)
{
    say_line(user, level, room, text);
}
