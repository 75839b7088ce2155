/* Reads /proc/self/maps. Owns nothing; takes memory for one reading. Any thread. */
#include "module/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

static int read_all(const char *path, Buf *buf, Error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot read %s", path);
    char part[16384];
    int rc = KEEL_OK;
    for (;;) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_errno(err, KEEL_EIO, errno, "cannot read %s", path);
        if (n <= 0)
            break;
        rc = buf_add(buf, part, (size_t)n);
        if (rc) {
            err_set(err, rc, "no memory to read %s", path);
            break;
        }
    }
    close(fd);
    return rc;
}

int maps_each(MapVisit *visit, void *user, Error *err)
{
    Buf buf = {0};
    int rc = read_all("/proc/self/maps", &buf, err);
    const char *line = rc ? NULL : buf_text(&buf);
    while (line && *line && !rc) {
        MapEntry entry = {0};
        unsigned long long first, last, offset, inode;
        if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu", &first, &last, entry.access, &offset,
                   &entry.major, &entry.minor, &inode) == 7) {
            entry.first = (uintptr_t)first;
            entry.last = (uintptr_t)last;
            entry.file_offset = offset;
            entry.inode = inode;
            rc = visit(&entry, user);
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    buf_done(&buf);
    return rc;
}
