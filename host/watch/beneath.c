/* Opening below a folder: openat2 where the kernel has it (5.6), else part by part without
 * following any link. Owns the descriptors until it hands one over. */
#include "watch/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/utf8.h"

enum { OPEN_FLAGS = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY };

int beneath_check(const char *path, Error *err)
{
    size_t bytes = strnlen(path, BENEATH_PATH_BYTES + 1);
    if (!bytes || bytes > BENEATH_PATH_BYTES)
        return err_set(err, KEEL_EINVAL, "an asset's path has 1 to %d bytes", BENEATH_PATH_BYTES);
    if (*path == '/')
        return err_set(err, KEEL_EINVAL, "%s: an asset's path is relative to its folder", path);
    for (size_t at = 0, step; at < bytes; at += step)
        if (utf8_next(path + at, bytes - at, &step) == UTF8_REPLACEMENT)
            return err_set(err, KEEL_EINVAL, "an asset's path is UTF-8");
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (!length || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return err_set(err, KEEL_EINVAL, "%s: an asset's path has no empty part, . or ..",
                           path);
    }
    return KEEL_OK;
}

/* Without openat2: every part must be itself, not a link. */
static int open_parts(int folder, const char *path)
{
    int at = dup(folder);
    while (at >= 0) {
        char part[BENEATH_PATH_BYTES + 1];
        size_t length = strcspn(path, "/");
        memcpy(part, path, length);
        part[length] = 0;
        int last = !path[length];
        int next = openat(at, part, OPEN_FLAGS | O_NOFOLLOW | (last ? 0 : O_DIRECTORY));
        int number = errno;
        close(at);
        errno = number;
        if (last)
            return next;
        at = next;
        path += length + 1;
    }
    return -1;
}

static int open_below(int folder, const char *path)
{
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd, tries = 0;
    do /* EAGAIN: something was renamed meanwhile */
        fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN) && ++tries < 100);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return open_parts(folder, path);
    return fd;
}

static int refused(const char *path, int number, Error *err)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return err_errno(err, KEEL_ENOTFOUND, number, "%s", path);
    case EXDEV:
    case ELOOP:
        return err_set(err, KEEL_EDENIED, "%s: it leads out of the folder of assets", path);
    case EACCES:
    case EPERM:
        return err_errno(err, KEEL_EDENIED, number, "%s", path);
    default:
        return err_errno(err, KEEL_EIO, number, "%s", path);
    }
}

int beneath_open(const char *folder, const char *path, int *ret_fd, uint64_t *ret_bytes, Error *err)
{
    int rc = beneath_check(path, err);
    if (rc)
        return rc;
    int root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(err, KEEL_ENOTFOUND, errno, "%s: there is no folder of assets at %s", path,
                         folder);
    int fd = open_below(root, path);
    int number = errno;
    close(root);
    if (fd < 0)
        return refused(path, number, err);
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, KEEL_EDATA, "%s: it is no file", path);
    }
    *ret_fd = fd;
    *ret_bytes = (uint64_t)st.st_size;
    return KEEL_OK;
}
