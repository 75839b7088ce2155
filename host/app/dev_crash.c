/* Asks addr2line, a process of its own, and takes the line from the source. Owns nothing. */
#include "app/dev_crash.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spawn.h"

enum { PATIENCE_MS = 3000 };

extern char **environ;

/* What it prints, for as long as anybody wants to wait. */
static void hear(int fd, char *room, size_t bytes)
{
    size_t n = 0;
    int64_t until_ns = clock_now_ns() + (int64_t)PATIENCE_MS * 1000000;
    while (n < bytes - 1) {
        int64_t left_ms = (until_ns - clock_now_ns()) / 1000000;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got = left_ms > 0 && poll(&ready, 1, (int)left_ms) > 0
                          ? read(fd, room + n, bytes - 1 - n)
                          : 0;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    room[n] = 0;
}

/* "FUNCTION\nFILE:LINE\n" of addr2line, which the C compiler's own package needs, too. "": it has
 * nothing to say. */
static void ask(const char *module, unsigned long long address, char *room, size_t bytes)
{
    char at[32];
    char *const words[] = {"addr2line", "-f", "-e", (char *)(uintptr_t)module, at, NULL};
    int ends[2], status;
    pid_t pid;
    Spawn child;
    room[0] = 0;
    snprintf(at, sizeof at, "0x%llx", address);
    if (pipe2(ends, O_CLOEXEC))
        return;
    spawn_begin(&child);
    spawn_null(&child, 0);
    spawn_give(&child, ends[1], 1);
    spawn_null(&child, 2);
    spawn_close_from(&child, 3);
    int failed = spawn_end(&child, words[0], words, environ, &pid);
    close(ends[1]);
    if (!failed)
        hear(ends[0], room, bytes);
    close(ends[0]);
    if (failed)
        return;
    kill(pid, SIGKILL); /* it has told what it had to, or it takes too long */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
}

/* The line, without its indentation; "" where the file is elsewhere. */
static void take_source(const char *path, DevError *ret)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n = -1;
    for (int i = 0; file && i < ret->line; i++)
        if ((n = getline(&line, &room, file)) < 0)
            break;
    const char *from = n < 0 ? "" : line + strspn(line, " \t");
    snprintf(ret->source, sizeof ret->source, "%.*s", (int)strcspn(from, "\r\n"), from);
    for (const char *c = ret->source; *c; c++)
        ret->to += ((unsigned char)*c & 0xc0) != 0x80; /* characters */
    free(line);
    if (file)
        fclose(file);
}

/* "wrote to 0x0 (null pointer)", of the sentence around it. */
static void take_text(const char *text, DevError *ret)
{
    const char *what = strstr(text, "crashed: "), *end = strstr(text, "+0x");
    what = what ? what + strlen("crashed: ") : strstr(text, ": ") ? strstr(text, ": ") + 2 : text;
    for (const char *in = what; (in = strstr(in, " in ")) != NULL && in < end;) {
        snprintf(ret->text, sizeof ret->text, "crashed here: %.*s", (int)(in - what), what);
        in += 4;
    }
}

int dev_crash_find(const DevPlan *plan, const char *module, const char *text, DevError *ret)
{
    const char *at = strstr(text, "+0x");
    char said[2000], path[4700];
    if (!at)
        return 0;
    ask(module, strtoull(at + 1, NULL, 16), said, sizeof said);
    char *file = strchr(said, '\n'), *end = file ? strchr(++file, '\n') : NULL;
    if (!end)
        return 0;
    *end = 0;
    char *colon = strrchr(file, ':');
    *ret = (DevError){.warning = 2, .line = colon ? (int)strtol(colon + 1, NULL, 10) : 0};
    if (ret->line <= 0) /* "??:0" */
        return 0;
    *colon = 0;
    size_t own = strlen(plan->folder);
    snprintf(path, sizeof path, "%s%s%s", *file == '/' ? "" : plan->folder, *file == '/' ? "" : "/",
             file);
    int inside = !strncmp(path, plan->folder, own) && path[own] == '/';
    snprintf(ret->file, sizeof ret->file, "%.255s", inside ? path + own + 1 : path);
    take_text(text, ret);
    take_source(path, ret);
    return ret->text[0] != 0;
}
