/* Asks the kernel what it allows, by trying it on nothing. Owns nothing. */
#include "control/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define PAGEMAP_SCAN_PROBE \
    _IOWR('f', 16, char[96]) /* linux/fs.h since 6.7; struct pm_scan_arg is 96 bytes */
#define LANDLOCK_CREATE_RULESET_VERSION_FLAG 1u

static const char *yes_or(int ok)
{
    return ok ? "yes" : strerror(errno);
}

static const char *userfaultfd_state(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    const char *answer = yes_or(fd >= 0);
    if (fd >= 0)
        close(fd);
    return answer;
}

static const char *pagemap_scan_state(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return strerror(errno);
    char nothing[96] = {0};
    /* A wrong size is EINVAL where the call exists, ENOTTY where it doesn't. */
    int rc = ioctl(fd, PAGEMAP_SCAN_PROBE, nothing);
    const char *answer = yes_or(rc == 0 || errno == EINVAL);
    close(fd);
    return answer;
}

static const char *landlock_state(void)
{
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION_FLAG);
    return yes_or(version > 0);
}

static const char *lease_state(void)
{
    int fd = (int)syscall(SYS_memfd_create, "lease", 1u);
    if (fd < 0)
        return strerror(errno);
    int rc = fcntl(fd, F_SETLEASE, F_UNLCK);
    const char *answer = yes_or(rc == 0 || errno == EAGAIN);
    close(fd);
    return answer;
}

json_t *limits_json(void)
{
    struct utsname name;
    uname(&name);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "kernel", name.release, "userfaultfd",
                     userfaultfd_state(), "pagemap_scan", pagemap_scan_state(), "landlock",
                     landlock_state(), "leases", lease_state());
}
