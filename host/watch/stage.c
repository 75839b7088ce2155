/* Names for images that exist only in memory. Owns one folder and holds a lock on it for as long as
 * it lives, by which others know that it is in use (process numbers mean nothing between containers
 * that share /tmp). Any one thread. */
#include "watch/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 16, NEIGHBOURS_MAX = 1024, SWEEP_MAX = 4096 };
static const char PREFIX[] = "keel-";

struct Stage {
    int fd; /* of the folder; flock'ed */
    int alone;
    char folder[PATH_MAX / 2];
};

/* Could another user rename our folder there and put an own one in its place, between the check of
 * an image and its dlopen? */
static int is_shared(const struct stat *st)
{
    return st->st_mode & 022 && !(st->st_mode & S_ISVTX);
}

static const char *base_folder(Error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    if (runtime && *runtime == '/' && strlen(runtime) < PATH_MAX / 4 && !stat(runtime, &st) &&
        S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !is_shared(&st) &&
        !access(runtime, W_OK | X_OK))
        return runtime;
    if (!stat("/tmp", &st) && !is_shared(&st))
        return "/tmp";
    err_set(
        err, KEEL_EDENIED,
        "other users can exchange folders in /tmp: chmod 1777 it, or point XDG_RUNTIME_DIR at a "
        "folder that only you can write");
    return NULL;
}

/* Removes `name` in `parent`: a folder with entries of which `depth` levels may be folders. Never
 * follows a link. */
static void remove_tree(int parent, const char *name, int depth)
{
    if (depth > 0) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir && fd >= 0)
            close(fd);
        for (struct dirent *e; dir && (e = readdir(dir));)
            if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
                remove_tree(dirfd(dir), e->d_name, depth - 1);
        if (dir)
            closedir(dir);
    }
    if (unlinkat(parent, name, 0) && (errno == EISDIR || errno == EPERM))
        unlinkat(parent, name, AT_REMOVEDIR);
}

/* Our folder, in use by nobody? Then it goes. */
static void sweep_one(int base, const char *name)
{
    struct stat st;
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (!fstat(fd, &st) && st.st_uid == geteuid() && !flock(fd, LOCK_EX | LOCK_NB))
        remove_tree(base, name, 2);
    close(fd);
}

static int is_stage_name(const char *name)
{
    unsigned pid;
    unsigned long long random;
    int used = 0;
    return sscanf(name, "keel-%u-%16llx%n", &pid, &random, &used) == 2 && !name[used];
}

static void sweep(const char *base)
{
    DIR *dir = opendir(base);
    int seen = 0;
    for (struct dirent *e; dir && (e = readdir(dir)) && seen < SWEEP_MAX;) {
        if (!is_stage_name(e->d_name))
            continue;
        seen++;
        sweep_one(dirfd(dir), e->d_name);
    }
    if (dir)
        closedir(dir);
}

/* 0, or 1 when another process swept it away before it was locked: try another name. */
static int make_folder(Stage *stage, const char *base, Error *err)
{
    unsigned long long random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return err_errno(err, KEEL_EIO, errno, "cannot make the staging folder in %s", base);
    snprintf(stage->folder, sizeof stage->folder, "%s/%s%u-%016llx", base, PREFIX,
             (unsigned)getpid(), random);
    if (mkdir(stage->folder, 0700)) {
        if (errno == EEXIST)
            return 1;
        int code = errno == ENOSPC || errno == EDQUOT  ? KEEL_ENOSPACE
                   : errno == EACCES || errno == EROFS ? KEEL_EDENIED
                                                       : KEEL_EIO;
        return err_errno(
            err, code, errno,
            "cannot make the staging folder in %s: point XDG_RUNTIME_DIR at a folder of "
            "yours",
            base);
    }
    struct stat ours, there;
    stage->fd = open(stage->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (stage->fd >= 0 && !flock(stage->fd, LOCK_EX | LOCK_NB) && !fstat(stage->fd, &ours) &&
        !lstat(stage->folder, &there) && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        return KEEL_OK;
    if (stage->fd >= 0)
        close(stage->fd);
    stage->fd = -1;
    rmdir(stage->folder);
    return 1;
}

int stage_new(Stage **ret, Error *err)
{
    Stage *stage = calloc(1, sizeof *stage);
    if (!stage)
        return err_set(err, KEEL_ENOMEM, "no memory for staging");
    stage->fd = -1;
    const char *base = base_folder(err);
    if (!base) {
        free(stage);
        return KEEL_EDENIED;
    }
    sweep(base);
    int rc = 1;
    for (int i = 0; rc > 0 && i < TRIES; i++)
        rc = make_folder(stage, base, err);
    if (rc) {
        free(stage);
        return rc < 0 ? rc : err_set(err, KEEL_EBUSY, "cannot make a staging folder in %s", base);
    }
    *ret = stage;
    return KEEL_OK;
}

void stage_remove_all(const Stage *stage)
{
    remove_tree(AT_FDCWD, stage->folder, 2);
}

void stage_free(Stage *stage)
{
    if (!stage)
        return;
    stage_remove_all(stage);
    if (stage->fd >= 0)
        close(stage->fd);
    free(stage);
}

void stage_alone(Stage *stage)
{
    stage->alone = 1;
}

/* A shared library by its name: x.so, x.so.1.2 */
static int is_library(const char *name)
{
    const char *so = strstr(name, ".so");
    return so && so != name && (!so[3] || so[3] == '.');
}

/* $ORIGIN then finds beside the staged name what it finds beside the original. */
static void link_neighbours(int folder, const char *original, const char *own)
{
    char beside[PATH_MAX], target[PATH_MAX + NAME_MAX + 2];
    const char *slash = strrchr(original, '/');
    int length = slash ? (int)(slash - original) : 1;
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s/", length, slash ? original : ".");
    if (!realpath(parent, beside))
        return;
    DIR *dir = opendir(beside);
    int made = 0;
    for (struct dirent *e; dir && (e = readdir(dir)) && made < NEIGHBOURS_MAX;) {
        if (!is_library(e->d_name) || !strcmp(e->d_name, own))
            continue;
        snprintf(target, sizeof target, "%s/%s", beside, e->d_name);
        made += !symlinkat(target, folder, e->d_name);
    }
    if (dir)
        closedir(dir);
}

/* g7; g7.1 … when that is taken (one generation number in two slots). */
static int make_generation(const Stage *stage, unsigned long number, char name[64], int *ret_fd)
{
    for (int i = 0; i < 1000; i++) {
        snprintf(name, 64, i ? "g%lu.%d" : "g%lu", number, i);
        if (!mkdirat(stage->fd, name, 0700)) {
            *ret_fd = openat(stage->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            return *ret_fd < 0 ? errno : 0;
        }
        if (errno != EEXIST)
            return errno;
    }
    return EEXIST;
}

int stage_add(Stage *stage, unsigned long number, const char *original, int memfd, char **ret_path,
              Error *err)
{
    const char *slash = strrchr(original, '/');
    const char *file = slash ? slash + 1 : original;
    char name[64], target[64], path[PATH_MAX];
    int fd = -1, failed = make_generation(stage, number, name, &fd);
    if (!failed) {
        snprintf(target, sizeof target, "/proc/%u/fd/%d", (unsigned)getpid(), memfd);
        if (symlinkat(target, fd, file))
            failed = errno;
    }
    if (!failed && !stage->alone)
        link_neighbours(fd, original, file);
    if (fd >= 0)
        close(fd);
    snprintf(path, sizeof path, "%s/%s/%s", stage->folder, name, file);
    char *copy = failed ? NULL : strdup(path);
    if (copy) {
        *ret_path = copy;
        return KEEL_OK;
    }
    if (fd >= 0)
        remove_tree(stage->fd, name, 1);
    if (!failed)
        return err_set(err, KEEL_ENOMEM, "no memory to stage %s", file);
    int code = failed == ENOSPC || failed == EDQUOT ? KEEL_ENOSPACE : KEEL_EIO;
    return err_errno(err, code, failed, "cannot stage %s in %s", file, stage->folder);
}

void stage_remove(Stage *stage, const char *path)
{
    size_t length = strlen(stage->folder);
    if (strncmp(path, stage->folder, length) || path[length] != '/')
        return;
    const char *at = path + length + 1;
    size_t part = strcspn(at, "/");
    char name[64];
    if (*at != 'g' || part >= sizeof name)
        return;
    memcpy(name, at, part);
    name[part] = 0;
    remove_tree(stage->fd, name, 1);
}
