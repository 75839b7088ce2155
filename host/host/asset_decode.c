/* Starts keel-decode and waits for it. Owns the process, which ends before this returns. libuv's
 * pool. */
#include "host/asset_decode.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/spawn.h"
#include "host/asset_read.h"

#ifndef KEEL_LIBEXEC_DIR
#define KEEL_LIBEXEC_DIR "/usr/local/libexec/keel"
#endif

enum { LOOK_MS = 50 };

static char *usable(const char *folder, const char *below)
{
    char path[4200];
    int n = snprintf(path, sizeof path, "%s%s", folder, below);
    return n > 0 && (size_t)n < sizeof path && !access(path, X_OK) ? strdup(path) : NULL;
}

static char *beside(const char *program, const char *below)
{
    char folder[4000];
    const char *slash = strrchr(program, '/');
    if (!slash)
        return NULL;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - program), program);
    return usable(folder, below);
}

char *asset_decoder_find(const char *near)
{
    const char *named = getenv("KEEL_DECODE");
    if (named && *named)
        return usable(named, "");
    char here[4000];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    here[n > 0 ? n : 0] = 0;
    char *found = near ? beside(near, "/keel-decode") : NULL;
    found = found ? found : beside(here, "/keel-decode");
    found = found ? found : beside(here, "/../libexec/keel/keel-decode");
    return found ? found : usable(KEEL_LIBEXEC_DIR, "/keel-decode");
}

static int spawn(const char *decoder, uint32_t as, int in, int out, pid_t *ret_pid)
{
    static const char *const kinds[] = {"bytes", "text", "image", "sound"};
    Spawn child;
    char *const args[] = {(char *)"keel-decode", (char *)(uintptr_t)kinds[as & 3], NULL};
    char *const no_environment[] = {NULL};
    spawn_begin(&child);
    /* Neither is a standard descriptor: memory files of this process keep clear of those. */
    spawn_give(&child, in, STDIN_FILENO);
    spawn_give(&child, out, STDOUT_FILENO);
    spawn_close_from(&child, STDERR_FILENO + 1);
    return spawn_end(&child, decoder, args, no_environment, ret_pid);
}

/* Waits for its end, and ends it when it takes too long or nobody wants it any more. */
static int wait_for(pid_t child, const _Atomic int *stop, int *ret_status, Error *err)
{
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0), rc = KEEL_OK, ended = 0, status = 0;
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    for (int ms = 0; !ended && !rc; ms += LOOK_MS) {
        ended = poll(&end, pidfd >= 0, LOOK_MS) > 0;
        if (!ended && stop && atomic_load(stop))
            rc = err_set(err, KEEL_ECANCELED, "the host is closing");
        else if (!ended && ms > ASSET_DECODE_MS)
            rc = err_set(err, KEEL_ETIMEOUT, "decoding it took longer than %d s",
                         ASSET_DECODE_MS / 1000);
        else if (pidfd < 0)
            ended = waitpid(child, &status, WNOHANG | __WALL) != 0;
    }
    if (rc)
        kill(child, SIGKILL);
    if (pidfd >= 0)
        close(pidfd);
    if (pidfd >= 0 || rc)
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
    *ret_status = status;
    return rc;
}

static int memory_file(int *ret_fd, Error *err)
{
    int low = memfd_create("keel-decoded", MFD_CLOEXEC);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int number = errno;
    if (low >= 0)
        close(low);
    if (fd < 0)
        return err_errno(err, KEEL_ELIMIT, number, "no room to decode it");
    *ret_fd = fd;
    return KEEL_OK;
}

int asset_decode(const char *decoder, uint32_t as, int file, const _Atomic int *stop, int *ret_fd,
                 Error *err)
{
    if (!decoder)
        return err_set(err, KEEL_ENOTFOUND,
                       "pictures and sounds are decoded by keel-decode, which is neither beside "
                       "this program nor in %s: install it there or name it in $KEEL_DECODE",
                       KEEL_LIBEXEC_DIR);
    int out = -1, status = 0;
    pid_t child;
    int rc = memory_file(&out, err);
    if (rc)
        return rc;
    int number = spawn(decoder, as, file, out, &child);
    if (number)
        rc = err_errno(err, KEEL_EIO, number, "%s can't be started", decoder);
    else
        rc = wait_for(child, stop, &status, err);
    if (!rc && WIFSIGNALED(status))
        rc = WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL
                 ? err_set(err, KEEL_ETIMEOUT, "decoding it took too long or too much memory")
                 : err_set(err, KEEL_EFAULT, "decoding it crashed (%s): it is damaged or malicious",
                           strsignal(WTERMSIG(status)));
    if (rc)
        close(out);
    else
        *ret_fd = out;
    return rc;
}
