/* A slot's state into a file while it runs: pinned between two frames, written by libuv's pool. */
#ifndef HOST_SNAPSHOTS_H
#define HOST_SNAPSHOTS_H

#include "host/host.h"
#include "state/snapshot.h"

/* On the engine thread, once. `info` is what was written; err->code is 0 or why it was not. */
typedef void SnapshotDone(const Error *err, const SnapshotInfo *info, void *user);

/* Begins one; a slot that runs nothing yet is refused. `modules`: NULL, or the beginning of the
 * names of files for the builds that ran, of which the one of this moment is kept
 * (PREFIX-HASH.module), and of that for what the slot shows (PREFIX.picture). [engine] */
void host_snapshot(Host *host, Slot *slot, const char *path, const char *modules,
                   SnapshotDone *done, void *user);

/* The same at once, between two frames; takes as long as the disk. [frame] */
int host_snapshot_now(Slot *slot, const char *path, const char *modules, Error *err);

/* Writes the file of a build that is about to run in the slot, not synced: Slot.keep_image. [any]
 */
void host_keep_image(const Slot *slot, const Image *image);

/* The name of the file for a build. */
void host_module_file(const char *modules, uint64_t low, uint64_t high, char *ret, size_t room);

#endif
