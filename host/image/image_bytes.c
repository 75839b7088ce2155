/* An image from bytes in memory: sealed like one from a file. Owns nothing. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/image.h"

static int fill(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        bytes -= (size_t)n;
    }
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
}

int image_of_bytes(const void *data, size_t bytes, const char *path, Image **ret, Error *err)
{
    int fd = memfd_create("keel-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !fill(fd, data, bytes)) {
        int number = errno;
        if (fd >= 0)
            close(fd);
        return err_errno(err, KEEL_ENOMEM, number, "no memory for %s", path);
    }
    return image_open(fd, bytes, hash_bytes(data, bytes), path, ret, err);
}
