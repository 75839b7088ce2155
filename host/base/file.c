/* Files replaced as a whole. Owns its temporary file until it is renamed; any thread. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_error(Error *err, int number, const char *what, const char *path)
{
    int code = number == ENOSPC || number == EDQUOT                     ? KEEL_ENOSPACE
               : number == EACCES || number == EPERM || number == EROFS ? KEEL_EDENIED
               : number == ENOENT || number == ENOTDIR                  ? KEEL_ENOTFOUND
                                                                        : KEEL_EIO;
    return err_errno(err, code, number, "cannot %s %s", what, path);
}

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? errno : ENOSPC;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The new name is on the disk once its folder is. */
static int sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int number = fsync(fd) && errno != EINVAL ? errno : 0; /* some file systems can't */
    close(fd);
    return number;
}

int file_replace(const char *path, mode_t mode, const void *data, size_t bytes, Error *err)
{
    char beside[PATH_MAX];
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return err_errno(err, KEEL_EIO, errno, "cannot write %s", path);
    if ((size_t)snprintf(beside, sizeof beside, "%s.%016llx", path, (unsigned long long)random) >=
        sizeof beside)
        return err_set(err, KEEL_EINVAL, "the name %.100s... is too long", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return system_error(err, errno, "make", beside);
    int number = fchmod(fd, mode) ? errno : write_all(fd, data, bytes);
    if (!number && fsync(fd))
        number = errno;
    close(fd);
    if (!number && rename(beside, path))
        number = errno;
    if (number) {
        unlink(beside);
        return system_error(err, number, "write", path);
    }
    number = sync_folder(path);
    return number ? system_error(err, number, "bring to the disk", path) : KEEL_OK;
}
