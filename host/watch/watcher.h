/* Tells when a watched path may hold new content, whoever wrote it and however: in place, slowly,
 * by unlink and create, rename, a flipped symlink, a folder made anew.
 *
 * Raw inotify on the file's folder, its parents, and each hop of symlinks on the way; after an
 * overflow everything counts as changed. It has no thread and no loop: its owner polls watcher_fd
 * and calls watcher_drain. All calls on one thread. */
#ifndef WATCH_WATCHER_H
#define WATCH_WATCHER_H

#include "base/err.h"

typedef struct Watcher Watcher;

int watcher_new(Watcher **ret, Error *err);
void watcher_free(Watcher *watcher);

/* Readable when watcher_drain has something to do. */
int watcher_fd(const Watcher *watcher);

/* Has an exceptional condition (POLLPRI) when something was mounted or unmounted, of which inotify
 * tells nothing: then watcher_mounts_changed, and watcher_drain looks again where the paths lead.
 * -1 without /proc. */
int watcher_mounts_fd(const Watcher *watcher);
void watcher_mounts_changed(Watcher *watcher);

/* Starts watching; `*ret_id` is what drain reports. The path need not exist yet. */
int watcher_add(Watcher *watcher, const char *path, int *ret_id, Error *err);
void watcher_remove(Watcher *watcher, int id);

/* Reads all events, follows moved folders and symlinks, then calls `changed` once for each path
 * that may hold new content now (closed after writing, created, moved here, link flipped …). */
typedef void WatcherChanged(int id, void *user);
int watcher_drain(Watcher *watcher, WatcherChanged *changed, void *user, Error *err);

#endif
