/* The file of counters: a first line, then "<counter> <module>" a line. Owns the lock while it
 * changes it; any thread. */
#include "image/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

enum { FILE_BYTES_MAX = 1 << 20, LOCK_TRIES = 400, LOCK_PAUSE_NS = 5 * 1000 * 1000 };
static const char HEAD[] = "keel-trust 1\n";

int counters_default_path(char *ret, size_t room, Error *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = state && *state == '/' ? snprintf(ret, room, "%s/keel/trust", state)
            : home && *home == '/' ? snprintf(ret, room, "%s/.local/state/keel/trust", home)
                                   : -1;
    if (n < 0 || (size_t)n >= room)
        return err_set(err, KEEL_ENOTFOUND,
                       "neither XDG_STATE_HOME nor HOME names a folder: say with --trust-state "
                       "where the counters of trusted builds are kept");
    return KEEL_OK;
}

/* Every folder above the file. */
static void make_folders(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *at = folder; (at = strchr(at + 1, '/'));) {
        *at = 0;
        mkdir(folder, 0700);
        *at = '/';
    }
}

/* Who can rename in its folder can put an older file there, or none. */
static int check_folder(const char *path, Error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    if (stat(folder, &st))
        return err_errno(err, KEEL_EIO, errno, "cannot look at %s", folder);
    if ((st.st_uid == geteuid() || st.st_uid == 0) && (!(st.st_mode & 022) || st.st_mode & S_ISVTX))
        return KEEL_OK;
    return err_set(err, KEEL_EDATA,
                   "others than this user can exchange files in %s, where the counters of trusted "
                   "builds are kept: chmod 700 it, or choose another place with --trust-state",
                   folder);
}

static int lock(const char *path, int *ret_fd, Error *err)
{
    char name[PATH_MAX];
    struct stat st;
    snprintf(name, sizeof name, "%.4000s.lock", path);
    int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = open(name, flags, 0600);
    if (fd < 0 && errno == ENOENT) {
        make_folders(path);
        fd = open(name, flags, 0600);
    }
    if (fd < 0)
        return err_errno(err, KEEL_EDENIED, errno,
                         "cannot keep the counters of trusted builds: %s can't be opened: choose "
                         "another file with --trust-state",
                         name);
    int rc = check_folder(path, err);
    if (!rc &&
        (fstat(fd, &st) || !S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0)))
        rc = err_set(err, KEEL_EDATA, "%s is not this user's: remove it", name);
    if (rc) {
        close(fd);
        return rc;
    }
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (!flock(fd, LOCK_EX | LOCK_NB)) {
            *ret_fd = fd;
            return KEEL_OK;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
    }
    close(fd);
    return err_set(err, KEEL_EBUSY, "%s is held by another process", name);
}

static int damaged(const char *path, Error *err)
{
    return err_set(err, KEEL_EDATA,
                   "%s, which keeps the counters of trusted builds, is damaged: restore it, or "
                   "remove it, knowing that older builds are then accepted again",
                   path);
}

/* The whole file; an empty one when there is none yet. */
static int load(const char *path, Buf *ret, Error *err)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return KEEL_OK;
    if (fd < 0)
        return err_errno(err, KEEL_EDENIED, errno, "cannot open %s", path);
    struct stat st;
    char chunk[4096];
    ssize_t n = 0;
    int rc = KEEL_OK;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
        rc = damaged(path, err);
    else if ((st.st_uid != geteuid() && st.st_uid != 0) || st.st_mode & 022)
        rc = err_set(err, KEEL_EDATA,
                     "%s, which keeps the counters of trusted builds, can be written by others "
                     "than this user: chown it and chmod 600",
                     path);
    while (!rc && (n = read(fd, chunk, sizeof chunk)) > 0)
        if (ret->bytes + (size_t)n > FILE_BYTES_MAX || buf_add(ret, chunk, (size_t)n))
            rc = damaged(path, err);
    if (!rc && n < 0)
        rc = err_errno(err, KEEL_EIO, errno, "cannot read %s", path);
    close(fd);
    return rc;
}

/* One line "<counter> <module>"; 0 when it is something else. */
static int parse_line(const char *line, const char *end, uint64_t *ret_counter,
                      const char **ret_module)
{
    uint64_t counter = 0;
    const char *at = line;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (counter > (uint64_t)INT64_MAX / 10)
            return 0;
        counter = counter * 10 + (uint64_t)(*at - '0');
    }
    if (at == line || at + 1 >= end || *at != ' ')
        return 0;
    *ret_counter = counter;
    *ret_module = at + 1;
    return 1;
}

/* Finds the module's counter and copies all other lines to `ret_rest` (NULL: not wanted). */
static int scan(const char *path, Buf *file, const char *module, uint64_t *ret, Buf *ret_rest,
                Error *err)
{
    *ret = 0;
    if (!file->bytes)
        return KEEL_OK;
    const char *text = file->data, *end = text + file->bytes;
    if (file->bytes < sizeof HEAD - 1 || memcmp(text, HEAD, sizeof HEAD - 1) || end[-1] != '\n')
        return damaged(path, err);
    for (const char *line = text + sizeof HEAD - 1; line < end;) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line)), *name;
        uint64_t counter;
        if (!parse_line(line, line_end, &counter, &name))
            return damaged(path, err);
        size_t name_bytes = (size_t)(line_end - name);
        if (name_bytes == strlen(module) && !memcmp(name, module, name_bytes))
            *ret = counter > *ret ? counter : *ret;
        else if (ret_rest && buf_add(ret_rest, line, (size_t)(line_end + 1 - line)))
            return err_set(err, KEEL_ENOMEM, "no memory for counters");
        line = line_end + 1;
    }
    return KEEL_OK;
}

int counters_read(const char *path, const char *module, uint64_t *ret, Error *err)
{
    Buf file = {0};
    int fd = -1;
    /* The lock is not needed to read, but who can't take it can't keep a counter either. */
    int rc = lock(path, &fd, err);
    rc = rc ? rc : load(path, &file, err);
    rc = rc ? rc : scan(path, &file, module, ret, NULL, err);
    if (fd >= 0)
        close(fd);
    buf_done(&file);
    return rc;
}

int counters_raise(const char *path, const char *module, uint64_t counter, Error *err)
{
    Buf file = {0}, rest = {0}, fresh = {0};
    int fd = -1;
    uint64_t kept = 0;
    int rc = lock(path, &fd, err);
    rc = rc ? rc : load(path, &file, err);
    rc = rc ? rc : scan(path, &file, module, &kept, &rest, err);
    if (!rc && counter > kept) {
        if (buf_printf(&fresh, "%s%llu %s\n", HEAD, (unsigned long long)counter, module) ||
            (rest.bytes && buf_add(&fresh, rest.data, rest.bytes)))
            rc = err_set(err, KEEL_ENOMEM, "no memory for counters");
        rc = rc ? rc : file_replace(path, 0600, fresh.data, fresh.bytes, err);
    }
    if (fd >= 0)
        close(fd);
    buf_done(&file);
    buf_done(&rest);
    buf_done(&fresh);
    return rc;
}
