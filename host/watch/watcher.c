/* Tells when a watched path may hold new content. Owns the inotify instance and its watches (one a
 * folder, counted by the paths that need it), and a descriptor that tells of mounts; never reads a
 * file's content; one thread. */
#include "watch/watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "watch/resolve.h"

/* A folder on the way: what may change the way. The file's folder: what may change the file, too.
 */
static const uint32_t WAY = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
                            IN_MOVE_SELF | IN_ONLYDIR;
static const uint32_t FILES = IN_CLOSE_WRITE | IN_ATTRIB;

/* Reads a drain at most, so that a noisy /tmp can't hold its owner; the descriptor stays readable.
 */
enum { READS_MAX = 64, EVENT_BYTES = 64 * 1024 };

typedef struct Folder {
    int wd;
    int uses;
} Folder;

typedef struct Watched {
    int id;
    char *path; /* absolute */
    Route route;
    int lost;    /* the way may have changed: look again */
    int touched; /* the file itself may have changed */
} Watched;

struct Watcher {
    int fd;
    int mounts_fd; /* /proc/self/mountinfo, -1: not to be had */
    int next_id;
    int count, room;
    Watched *paths;
    int folder_count, folder_room;
    Folder *folders;
    char *events;
};

static int add_error(int number, const char *folder, Error *err)
{
    switch (number) {
    case ENOSPC:
        return err_set(err, KEEL_ELIMIT,
                       "cannot watch %s: this user's limit of watched folders is used up: raise it "
                       "with `sysctl fs.inotify.max_user_watches=524288`",
                       folder);
    case ENOMEM:
        return err_set(err, KEEL_ENOMEM, "cannot watch %s: no memory", folder);
    default:
        return err_errno(err, KEEL_EIO, number, "cannot watch %s", folder);
    }
}

static Folder *find_folder(Watcher *w, int wd)
{
    for (int i = 0; i < w->folder_count; i++)
        if (w->folders[i].wd == wd)
            return &w->folders[i];
    return NULL;
}

static int reserve_folder(Watcher *w)
{
    if (w->folder_count < w->folder_room)
        return KEEL_OK;
    int room = w->folder_room ? 2 * w->folder_room : 16;
    Folder *folders = realloc(w->folders, (size_t)room * sizeof *folders);
    if (!folders)
        return KEEL_ENOMEM;
    w->folders = folders;
    w->folder_room = room;
    return KEEL_OK;
}

static int watch_folder(const char *path, int last, void *user, Error *err)
{
    Watcher *w = user;
    if (reserve_folder(w))
        return err_set(err, KEEL_ENOMEM, "cannot watch %s: no memory", path);
    int wd = inotify_add_watch(w->fd, path, WAY | IN_MASK_ADD | (last ? FILES : 0));
    if (wd < 0) {
        /* It went away or isn't a folder now: its parent is watched and tells when that changes.
         * A folder on the way that we may pass but not read can only be passed. */
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
            return RESOLVE_UNWATCHED;
        if (errno == EACCES && !last)
            return RESOLVE_UNWATCHED;
        if (errno == EACCES)
            return err_set(err, KEEL_EDENIED,
                           "cannot watch %s: this user may not read that folder: chmod a+r it",
                           path);
        return add_error(errno, path, err);
    }
    Folder *folder = find_folder(w, wd);
    if (!folder) {
        folder = &w->folders[w->folder_count++];
        *folder = (Folder){.wd = wd};
    }
    folder->uses++;
    return wd;
}

static void unwatch_folder(Watcher *w, int wd)
{
    Folder *folder = find_folder(w, wd);
    if (!folder || --folder->uses > 0)
        return;
    inotify_rm_watch(w->fd, wd);
    *folder = w->folders[--w->folder_count];
}

/* The kernel has already given it up. */
static void forget_folder(Watcher *w, int wd)
{
    Folder *folder = find_folder(w, wd);
    if (folder)
        *folder = w->folders[--w->folder_count];
}

static void drop_route(Watcher *w, Route *route)
{
    for (int i = 0; i < route->count; i++)
        if (route->hops[i].watch >= 0)
            unwatch_folder(w, route->hops[i].watch);
    route_done(route);
}

static int same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Does the way now lead to another file, or to one that changed? */
static int route_differs(const Route *was, const Route *now)
{
    if (!now->exists)
        return 0;
    if (!was->exists)
        return 1;
    const struct stat *a = &was->stat, *b = &now->stat;
    return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
           !same_time(&a->st_mtim, &b->st_mtim) || !same_time(&a->st_ctim, &b->st_ctim);
}

static int find_route(Watcher *w, Watched *p, Error *err)
{
    Route now;
    int rc = resolve_route(p->path, watch_folder, w, &now, err);
    if (rc) {
        drop_route(w, &now);
        return rc;
    }
    if (route_differs(&p->route, &now))
        p->touched = 1;
    /* The new one is held before the old one is let go, so shared folders stay watched. */
    drop_route(w, &p->route);
    p->route = now;
    p->lost = 0;
    return KEEL_OK;
}

int watcher_new(Watcher **ret, Error *err)
{
    Watcher *w = calloc(1, sizeof *w);
    char *events = malloc(EVENT_BYTES);
    if (!w || !events) {
        free(w);
        free(events);
        return err_set(err, KEEL_ENOMEM, "no memory for a file watcher");
    }
    w->events = events;
    w->next_id = 1;
    w->mounts_fd = -1;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        int number = errno;
        watcher_free(w);
        if (number == EMFILE)
            return err_set(err, KEEL_ELIMIT,
                           "cannot watch files: this user's limit of watchers or of open files is "
                           "used up: raise it with `sysctl fs.inotify.max_user_instances=512` or "
                           "`ulimit -n`");
        return err_errno(err, KEEL_EIO, number, "cannot watch files");
    }
    w->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    *ret = w;
    return KEEL_OK;
}

void watcher_free(Watcher *watcher)
{
    if (!watcher)
        return;
    for (int i = 0; i < watcher->count; i++) {
        route_done(&watcher->paths[i].route);
        free(watcher->paths[i].path);
    }
    if (watcher->fd >= 0)
        close(watcher->fd);
    if (watcher->mounts_fd >= 0)
        close(watcher->mounts_fd);
    free(watcher->paths);
    free(watcher->folders);
    free(watcher->events);
    free(watcher);
}

int watcher_fd(const Watcher *watcher)
{
    return watcher->fd;
}

int watcher_mounts_fd(const Watcher *watcher)
{
    return watcher->mounts_fd;
}

void watcher_mounts_changed(Watcher *watcher)
{
    for (int i = 0; i < watcher->count; i++)
        watcher->paths[i].lost = 1;
}

/* `path` from the root, not resolved. */
static char *absolute(const char *path)
{
    if (*path == '/')
        return strdup(path);
    char *here = getcwd(NULL, 0);
    if (!here)
        return NULL;
    size_t a = strlen(here), b = strlen(path);
    char *all = malloc(a + 1 + b + 1);
    if (all) {
        memcpy(all, here, a);
        all[a] = '/';
        memcpy(all + a + 1, path, b + 1);
    }
    free(here);
    return all;
}

int watcher_add(Watcher *watcher, const char *path, int *ret_id, Error *err)
{
    if (!*path)
        return err_set(err, KEEL_EINVAL, "cannot watch a file without a name");
    if (watcher->count == watcher->room) {
        int room = watcher->room ? 2 * watcher->room : 8;
        Watched *paths = realloc(watcher->paths, (size_t)room * sizeof *paths);
        if (!paths)
            return err_set(err, KEEL_ENOMEM, "cannot watch %s: no memory", path);
        watcher->paths = paths;
        watcher->room = room;
    }
    Watched p = {.path = absolute(path)};
    if (!p.path)
        return err_errno(err, KEEL_EIO, errno, "cannot watch %s", path);
    int rc = find_route(watcher, &p, err);
    if (rc) {
        free(p.path);
        return rc;
    }
    p.touched = 0; /* what is there now is the start, not a change */
    p.id = watcher->next_id++;
    watcher->paths[watcher->count++] = p;
    *ret_id = p.id;
    return KEEL_OK;
}

static Watched *find_path(Watcher *w, int id)
{
    for (int i = 0; i < w->count; i++)
        if (w->paths[i].id == id)
            return &w->paths[i];
    return NULL;
}

void watcher_remove(Watcher *watcher, int id)
{
    Watched *p = find_path(watcher, id);
    if (!p)
        return;
    drop_route(watcher, &p->route);
    free(p->path);
    *p = watcher->paths[--watcher->count];
}

static void mark_all(Watcher *w)
{
    for (int i = 0; i < w->count; i++)
        w->paths[i].lost = w->paths[i].touched = 1;
}

static void mark_hop(Watched *p, const Hop *hop, uint32_t mask)
{
    if (mask & (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM))
        p->lost = 1;
    /* A name that appears counts at once: a hard link or O_TMPFILE's linkat is never closed. */
    if (hop->last && mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB))
        p->touched = 1;
}

static void take_event(Watcher *w, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW) {
        mark_all(w);
        return;
    }
    int gone = (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0;
    if (e->mask & IN_IGNORED)
        forget_folder(w, e->wd);
    if (!gone && !e->len)
        return; /* the folder's own attributes */
    for (int i = 0; i < w->count; i++) {
        Watched *p = &w->paths[i];
        for (int h = 0; h < p->route.count; h++) {
            const Hop *hop = &p->route.hops[h];
            if (hop->watch != e->wd)
                continue;
            if (gone)
                p->lost = 1;
            else if (!strcmp(hop->name, e->name))
                mark_hop(p, hop, e->mask);
        }
    }
}

static int read_events(Watcher *w, Error *err)
{
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = read(w->fd, w->events, EVENT_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return KEEL_OK;
        if (n < 0)
            return err_errno(err, KEEL_EIO, errno, "cannot read what changed on disk");
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
            struct inotify_event *e = (struct inotify_event *)(w->events + at);
            take_event(w, e);
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
    return KEEL_OK;
}

int watcher_drain(Watcher *watcher, WatcherChanged *changed, void *user, Error *err)
{
    int rc = read_events(watcher, err), reports = 0;
    for (int i = 0; i < watcher->count; i++) {
        Watched *p = &watcher->paths[i];
        /* One that fails stays lost and is looked up again at the next drain. */
        int failed = p->lost ? find_route(watcher, p, rc ? NULL : err) : 0;
        rc = rc ? rc : failed;
        reports += p->touched && p->route.exists;
    }
    if (!reports)
        return rc;
    /* The callback may add and remove paths: the ids first, then the calls. */
    int *ids = malloc((size_t)reports * sizeof *ids);
    if (!ids)
        return err_set(err, KEEL_ENOMEM, "no memory to tell what changed");
    int count = 0;
    for (int i = 0; i < watcher->count; i++) {
        Watched *p = &watcher->paths[i];
        if (p->touched && p->route.exists)
            ids[count++] = p->id;
        p->touched = 0;
    }
    for (int i = 0; i < count; i++)
        if (find_path(watcher, ids[i]))
            changed(ids[i], user);
    free(ids);
    return rc;
}
