/* Tells when a source below a folder has new content. Owns one inotify instance, its watches (one a
 * folder, bounded) and the hashes of files that it has seen change: a build that writes a source of
 * its own with the content that it had must not begin itself again. The builder's thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/dev.h"
#include "base/hash.h"

enum { FOLDERS = 512, DEEPEST = 12, FILES = 4096, READS = 64, FILE_MOST = 16 << 20 };

static const uint32_t WHAT = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                             IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK;

typedef struct Folder {
    int wd, depth;
    char *path;
} Folder;

typedef struct Seen {
    char *path;
    Hash hash;
} Seen;

struct DevWatch {
    int fd;
    int count, seen_count;
    Folder folders[FOLDERS];
    Seen seen[FILES];
    char root[PATH_MAX];
    char limit[300]; /* why not all is watched */
    int limit_said;
};

static int ends_with(const char *name, const char *const *endings)
{
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && endings[i]; i++)
        if (!strcmp(dot, endings[i]))
            return 1;
    return 0;
}

/* Editors' own files (.x.swp, x.c~, #x.c#, 4913) have none of these endings, or begin with a dot.
 */
static int is_source(const char *name)
{
    static const char *const endings[] = {".c",   ".h",   ".cc",  ".hh",  ".cpp",   ".hpp",
                                          ".cxx", ".hxx", ".inl", ".inc", ".def",   ".ipp",
                                          ".S",   ".s",   ".mk",  ".ld",  ".cmake", NULL};
    if (name[0] == '.' || name[0] == '#')
        return 0;
    return ends_with(name, endings) || !strcmp(name, "CMakeLists.txt") ||
           !strcmp(name, "Makefile") || !strcmp(name, "makefile") || !strcmp(name, "GNUmakefile");
}

static int has(const char *folder, const char *name)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int is_build(const char *path, const char *name)
{
    return !strcmp(name, "build") || !strncmp(name, "build-", 6) ||
           !strncmp(name, "cmake-build-", 12) || !strcmp(name, "CMakeFiles") ||
           !strcmp(name, "node_modules") || has(path, "CMakeCache.txt") ||
           has(path, "build.ninja") || has(path, "CACHEDIR.TAG");
}

static void add(DevWatch *watch, const char *path, int depth)
{
    if (watch->count == FOLDERS || depth > DEEPEST) {
        snprintf(watch->limit, sizeof watch->limit,
                 "more than %d folders or %d levels: changes in %.120s and others are not seen",
                 FOLDERS, DEEPEST, path);
        return;
    }
    int wd = inotify_add_watch(watch->fd, path, WHAT);
    if (wd < 0) {
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            snprintf(watch->limit, sizeof watch->limit, "cannot watch %.160s: %s%s", path,
                     strerror(errno),
                     errno == ENOSPC ? ": raise fs.inotify.max_user_watches with sysctl" : "");
        return;
    }
    for (int i = 0; i < watch->count; i++)
        if (watch->folders[i].wd == wd)
            return;
    char *copy = strdup(path);
    if (!copy)
        return;
    watch->folders[watch->count++] = (Folder){.wd = wd, .depth = depth, .path = copy};
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char below[PATH_MAX];
        struct stat st;
        if (entry->d_name[0] == '.' ||
            snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below)
            continue;
        if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode) && !is_build(below, entry->d_name))
            add(watch, below, depth + 1);
    }
    if (dir)
        closedir(dir);
}

int dev_watch_new(const char *folder, DevWatch **ret, Error *err)
{
    DevWatch *watch = calloc(1, sizeof *watch);
    if (!watch || strlen(folder) >= sizeof watch->root) {
        free(watch);
        return err_set(err, KEEL_ENOMEM, "no memory to watch %s", folder);
    }
    strcpy(watch->root, folder);
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd >= 0)
        add(watch, folder, 0);
    if (!watch->count) {
        int rc = watch->limit[0] ? err_set(err, KEEL_ELIMIT, "%s", watch->limit)
                                 : err_errno(err, KEEL_EIO, errno, "cannot watch %s", folder);
        dev_watch_free(watch);
        return rc;
    }
    *ret = watch;
    return KEEL_OK;
}

void dev_watch_free(DevWatch *watch)
{
    if (!watch)
        return;
    for (int i = 0; i < watch->count; i++)
        free(watch->folders[i].path);
    for (int i = 0; i < watch->seen_count; i++)
        free(watch->seen[i].path);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}

int dev_watch_fd(const DevWatch *watch)
{
    return watch->fd;
}

static int hash_file(const char *path, Hash *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return -1;
    int rc = -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MOST) {
        char *bytes = malloc((size_t)st.st_size + 1);
        ssize_t n = bytes ? pread(fd, bytes, (size_t)st.st_size, 0) : -1;
        if (n >= 0) {
            *ret = hash_bytes(bytes, (size_t)n);
            rc = 0;
        }
        free(bytes);
    }
    close(fd);
    return rc;
}

/* 1 when the file has other content than when it was last seen, or is seen first. */
static int is_new(DevWatch *watch, const char *path)
{
    Hash hash;
    if (hash_file(path, &hash))
        return 1;
    for (int i = 0; i < watch->seen_count; i++) {
        Seen *seen = &watch->seen[i];
        if (strcmp(seen->path, path) != 0)
            continue;
        int same = hash_equal(seen->hash, hash);
        seen->hash = hash;
        return !same;
    }
    char *copy = watch->seen_count < FILES ? strdup(path) : NULL;
    if (copy)
        watch->seen[watch->seen_count++] = (Seen){.path = copy, .hash = hash};
    return 1;
}

static int find(const DevWatch *watch, int wd)
{
    for (int i = 0; i < watch->count; i++)
        if (watch->folders[i].wd == wd)
            return i;
    return -1;
}

static void forget(DevWatch *watch, int i)
{
    free(watch->folders[i].path);
    watch->folders[i] = watch->folders[--watch->count];
}

/* A folder that moved away is watched no longer, nor what was below it. */
static void forget_below(DevWatch *watch, const char *path)
{
    size_t n = strlen(path);
    for (int i = watch->count - 1; i >= 0; i--) {
        const char *at = watch->folders[i].path;
        if (strncmp(at, path, n) == 0 && (!at[n] || at[n] == '/')) {
            inotify_rm_watch(watch->fd, watch->folders[i].wd);
            forget(watch, i);
        }
    }
}

static int look(DevWatch *watch, const struct inotify_event *event, int again)
{
    if (event->mask & IN_Q_OVERFLOW) {
        add(watch, watch->root, 0);
        return DEV_WRITTEN;
    }
    int i = find(watch, event->wd);
    if (i < 0)
        return 0;
    if (event->mask & IN_IGNORED) {
        forget(watch, i);
        return 0;
    }
    if (!event->len || event->name[0] == '.')
        return 0;
    char path[PATH_MAX];
    int depth = watch->folders[i].depth;
    if (snprintf(path, sizeof path, "%s/%s", watch->folders[i].path, event->name) >=
        (int)sizeof path)
        return 0;
    if (event->mask & IN_ISDIR) {
        if (event->mask & (IN_MOVED_FROM | IN_DELETE))
            forget_below(watch, path);
        if (!(event->mask & (IN_CREATE | IN_MOVED_TO)) || is_build(path, event->name))
            return 0;
        add(watch, path, depth + 1);
        return DEV_GONE; /* what is in it came before it was watched: look soon */
    }
    if (!is_source(event->name))
        return 0;
    if (event->mask & (IN_DELETE | IN_MOVED_FROM))
        return DEV_GONE;
    /* A created file is written next; a link is whole when it is made. */
    struct stat st;
    if ((event->mask & IN_CREATE) && (lstat(path, &st) || !S_ISLNK(st.st_mode)) &&
        !(event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)))
        return 0;
    return is_new(watch, path) || again ? DEV_WRITTEN : 0;
}

int dev_watch_drain(DevWatch *watch, int again, const char **ret_limited)
{
    _Alignas(struct inotify_event) char events[16384];
    int what = 0;
    for (int reads = 0; reads < READS; reads++) {
        ssize_t n = read(watch->fd, events, sizeof events);
        if (n <= 0)
            break;
        for (char *at = events; at < events + n;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            what |= look(watch, event, again);
            at += sizeof *event + event->len;
        }
    }
    *ret_limited = NULL;
    if (watch->limit[0] && !watch->limit_said) {
        watch->limit_said = 1;
        *ret_limited = watch->limit;
    }
    return what;
}
