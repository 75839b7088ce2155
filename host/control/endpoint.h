/* Where the control socket lies and who may have it: its path, its folder, its lock.
 *
 * $XDG_RUNTIME_DIR/keel/<name>.sock, or /tmp/keel-<uid>/<name>.sock where there is no such folder
 * of this user. Both folders are 0700 and this user's or they are refused. <socket>.lock is held by
 * flock while the host lives and says its pid. Any thread. */
#ifndef CONTROL_ENDPOINT_H
#define CONTROL_ENDPOINT_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"

enum { ENDPOINT_PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) };

typedef struct Endpoint {
    int fd, lock_fd; /* -1: none */
    dev_t device;    /* of the socket that was bound */
    ino_t inode;
    char path[ENDPOINT_PATH_BYTES];
} Endpoint;

/* Binds and listens; non-blocking. A socket that a dead host left is replaced. KEEL_EBUSY when a
 * live one has it, KEEL_EDENIED for a file or folder of somebody else, KEEL_EINVAL and KEEL_ELIMIT
 * for a bad name. */
int endpoint_listen(const char *name_or_path, Endpoint *ret, Error *err);

/* Removes socket and lock if they are still what endpoint_listen made. Takes a zeroed one never
 * used. */
void endpoint_close(Endpoint *endpoint);

/* A connected socket, blocking, whose other end runs as this user or root. A name is looked for in
 * both folders. KEEL_ENOTFOUND: no host listens there. */
int endpoint_connect(const char *name_or_path, int64_t timeout_ns, int *ret_fd, Error *err);

/* Who is at the other end, as it was when it connected. 0 or KEEL_EIO. */
int endpoint_peer(int fd, pid_t *ret_pid, uid_t *ret_uid);

#endif
