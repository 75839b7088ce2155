/* Starts the helper program by posix_spawn: never a fork of the host, whose threads and mappings
 * are of no use to it. Owns nothing. The loop's thread. */
#include "module/trial_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "base/spawn.h"
#include "module/trial_wire.h"

#ifndef KEEL_LIBEXEC_DIR
#define KEEL_LIBEXEC_DIR "/usr/local/libexec/keel"
#endif

extern char **environ;

static int usable(const char *folder, const char *below, char *path, size_t room)
{
    int n = snprintf(path, room, "%s%s", folder, below);
    return n > 0 && (size_t)n < room && access(path, X_OK) == 0;
}

int trial_find(const char *program, char **ret, Error *err)
{
    char path[4200], here[4000];
    const char *named = program ? program : getenv("KEEL_TRIAL");
    int found = 0;
    if (named && *named) {
        found = usable(named, "", path, sizeof path);
        if (!found)
            return err_errno(err, KEEL_ENOTFOUND, errno,
                             "the trial helper %s can't be executed; name keel-trial in "
                             "$KEEL_TRIAL or unset it",
                             named);
    } else {
        ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
        here[n > 0 ? n : 0] = 0;
        char *slash = strrchr(here, '/');
        if (slash) {
            *slash = 0;
            found = usable(here, "/keel-trial", path, sizeof path) ||
                    usable(here, "/../libexec/keel/keel-trial", path, sizeof path);
        }
        if (!found)
            found = usable(KEEL_LIBEXEC_DIR, "/keel-trial", path, sizeof path);
        if (!found)
            return err_set(err, KEEL_ENOTFOUND,
                           "the trial helper keel-trial is neither beside this program nor in "
                           "%s: install it there or name it in $KEEL_TRIAL",
                           KEEL_LIBEXEC_DIR);
    }
    *ret = strdup(path);
    return *ret ? KEEL_OK : err_set(err, KEEL_ENOMEM, "no memory for a path");
}

/* What this thread starts gets random addresses, also where the host has none, as in a debugger:
 * else the helper's libraries would lie where the host has the image that the state comes from.
 * Returns what to go back to, or -1. */
static int random_again(void)
{
    int was = personality(0xffffffff);
#if UNDER_TSAN /* it wants them not random */
    return -1;
#endif
    if (was < 0 || !(was & ADDR_NO_RANDOMIZE))
        return -1;
    personality((unsigned long)was & ~(unsigned long)ADDR_NO_RANDOMIZE);
    return was;
}

static int spawn(const char *program, int theirs, pid_t *ret_pid)
{
    Spawn child;
    char *const args[] = {"keel-trial", NULL};
    spawn_begin(&child);
    spawn_give(&child, theirs, TRIAL_WIRE_FD); /* first, since the socket may have any number */
    spawn_null(&child, 0);
    spawn_null(&child, 1);
    spawn_close_from(&child, TRIAL_WIRE_FD + 1);
    int was = random_again();
    int number = spawn_end(&child, program, args, environ, ret_pid);
    if (was >= 0)
        personality((unsigned long)was);
    return number;
}

int trial_spawn(const char *program, pid_t *ret_pid, int *ret_fd, Error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return err_errno(err, KEEL_EIO, errno, "no socket pair for the trial helper");
    int number = 0;
    int bytes = 1 << 20;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (fcntl(pair[0], F_SETFL, O_NONBLOCK))
        number = errno;
    if (!number)
        number = spawn(program, pair[1], ret_pid);
    close(pair[1]);
    if (number) {
        close(pair[0]);
        return err_errno(err, KEEL_EIO, number, "the trial helper %s can't be started", program);
    }
    *ret_fd = pair[0];
    return KEEL_OK;
}
