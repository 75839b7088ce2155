/* The control socket's place in the file system. Owns what it made there and removes only that;
 * never follows a link that somebody else could have put there. Any thread. */
#include "control/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { FOLDERS = 2, NAME_BYTES = 64, BACKLOG = 256, LOCK_TRIES = 16 };
#define LOCK_SUFFIX ".lock"

typedef char LockPath[ENDPOINT_PATH_BYTES + sizeof LOCK_SUFFIX];

/* ---- paths ---- */

static int check_name(const char *name, Error *err)
{
    size_t bytes = strlen(name);
    int good = bytes > 0 && bytes <= NAME_BYTES && name[0] != '.' && name[0] != '-';
    for (const char *c = name; good && *c; c++)
        good = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
               strchr("._-", *c);
    if (!good)
        return err_set(err, KEEL_EINVAL,
                       "'%.80s' can't be a host's name: use 1 to %d letters, digits, '.', '_', '-' "
                       "(or a path with a '/')",
                       name, NAME_BYTES);
    return 0;
}

static int own_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

/* The folders in which a name is looked for, the preferred one first. Returns how many. */
static int folders(char ret_folders[FOLDERS][ENDPOINT_PATH_BYTES])
{
    int count = 0;
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0] == '/' && own_folder(runtime)) {
        int n = snprintf(ret_folders[count], ENDPOINT_PATH_BYTES, "%s/keel", runtime);
        count += n > 0 && n + NAME_BYTES / 2 < ENDPOINT_PATH_BYTES;
    }
    snprintf(ret_folders[count++], ENDPOINT_PATH_BYTES, "/tmp/keel-%u", (unsigned)geteuid());
    return count;
}

/* Makes the folder if it isn't there; refuses one that others own or may enter. */
static int private_folder(const char *path, Error *err)
{
    if (mkdir(path, 0700) && errno != EEXIST)
        return err_errno(err, KEEL_EIO, errno, "cannot make the folder %s for the control socket",
                         path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, KEEL_EDENIED, errno,
                         "%s is no folder of this user's: remove it, or give a path for the socket",
                         path);
    struct stat st;
    int failed = fstat(fd, &st);
    close(fd);
    if (failed || st.st_uid != geteuid())
        return err_set(err, KEEL_EDENIED,
                       "%s belongs to another user: remove it, or give a path for the socket",
                       path);
    if (st.st_mode & 077)
        return err_set(err, KEEL_EDENIED, "%s is open to other users (mode %04o): chmod 700 it",
                       path, (unsigned)st.st_mode & 07777);
    return 0;
}

static int join(char ret_path[ENDPOINT_PATH_BYTES], const char *folder, const char *name,
                Error *err)
{
    int n = folder ? snprintf(ret_path, ENDPOINT_PATH_BYTES, "%s/%s.sock", folder, name)
                   : snprintf(ret_path, ENDPOINT_PATH_BYTES, "%s", name);
    if (n < 0 || n >= ENDPOINT_PATH_BYTES)
        return err_set(err, KEEL_ELIMIT,
                       "the socket's path has %d bytes, the system allows %d: choose a shorter one",
                       n, ENDPOINT_PATH_BYTES - 1);
    return 0;
}

/* ---- the lock ---- */

static int lock_is_busy(int fd, const char *socket_path, Error *err)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return err_set(err, KEEL_EBUSY,
                       "the host with pid %ld already listens at %s: stop it, or choose another "
                       "name",
                       pid, socket_path);
    return err_set(err, KEEL_EBUSY, "another host is just starting at %s: choose another name",
                   socket_path);
}

/* One attempt. KEEL_ECHANGED: the file was removed between opening and locking, try again. */
static int lock_once(const char *path, const char *socket_path, int *ret_fd, Error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno == EACCES || errno == ELOOP ? KEEL_EDENIED : KEEL_EIO, errno,
                         "cannot open the lock %s", path);
    int code;
    struct stat open_file, named;
    if (fstat(fd, &open_file) || !S_ISREG(open_file.st_mode) || open_file.st_uid != geteuid())
        code = err_set(err, KEEL_EDENIED,
                       "%s is not this user's lock file: remove it, or choose another path", path);
    else if (flock(fd, LOCK_EX | LOCK_NB))
        code = errno == EWOULDBLOCK ? lock_is_busy(fd, socket_path, err)
                                    : err_errno(err, KEEL_EIO, errno, "cannot lock %s", path);
    else if (lstat(path, &named) || named.st_ino != open_file.st_ino ||
             named.st_dev != open_file.st_dev)
        code = err_set(err, KEEL_ECHANGED, "the lock %s changes all the time: try again", path);
    else
        code = 0;
    if (code)
        close(fd);
    else
        *ret_fd = fd;
    return code;
}

static int lock_take(const char *socket_path, int *ret_fd, Error *err)
{
    LockPath path;
    snprintf(path, sizeof path, "%s" LOCK_SUFFIX, socket_path);
    int fd = -1, code = KEEL_ECHANGED;
    for (int i = 0; i < LOCK_TRIES && code == KEEL_ECHANGED; i++)
        code = lock_once(path, socket_path, &fd, err);
    if (code)
        return code;
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n) {
        code = err_errno(err, errno == ENOSPC ? KEEL_ENOSPACE : KEEL_EIO, errno,
                         "cannot write the lock %s", path);
        unlink(path);
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return 0;
}

/* Removed while it is held: whoever waits for it sees that its file has no name any more. */
static void lock_drop(const char *socket_path, int fd)
{
    LockPath path;
    snprintf(path, sizeof path, "%s" LOCK_SUFFIX, socket_path);
    struct stat held, named;
    if (!fstat(fd, &held) && !lstat(path, &named) && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev)
        unlink(path);
    close(fd);
}

/* ---- listening ---- */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

/* With the lock held: whatever lies at `path` is a dead host's socket, or it is not to be touched.
 */
static int clear_path(const char *path, Error *err)
{
    struct stat st;
    if (lstat(path, &st))
        return errno == ENOENT
                   ? 0
                   : err_errno(err, KEEL_EIO, errno, "cannot look at the socket path %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, KEEL_EBUSY,
                       "%s is there and is not a socket: remove it, or choose another path", path);
    if (st.st_uid != geteuid())
        return err_set(err, KEEL_EDENIED,
                       "%s is another user's socket: choose another name or path", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make a socket");
    struct sockaddr_un address = address_of(path);
    int code = 0;
    if (!connect(fd, (struct sockaddr *)&address, sizeof address)) {
        pid_t pid = 0;
        uid_t uid;
        endpoint_peer(fd, &pid, &uid);
        code = err_set(err, KEEL_EBUSY,
                       "the process with pid %ld already listens at %s: stop it, or choose "
                       "another name",
                       (long)pid, path);
    } else if (errno == EAGAIN) {
        code =
            err_set(err, KEEL_EBUSY,
                    "a busy process already listens at %s: stop it, or choose another name", path);
    } else if (errno != ECONNREFUSED) {
        code = err_errno(err, KEEL_EIO, errno, "cannot tell who listens at %s", path);
    }
    close(fd);
    if (!code && unlink(path) && errno != ENOENT)
        code = err_errno(err, KEEL_EIO, errno, "cannot remove the dead host's socket %s", path);
    return code;
}

static int bind_socket(Endpoint *endpoint, Error *err)
{
    struct stat st;
    struct sockaddr_un address = address_of(endpoint->path);
    endpoint->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (endpoint->fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make the control socket");
    /* Linux takes the file's mode from the socket's own; the umask is the whole program's. */
    if (fchmod(endpoint->fd, 0600) ||
        bind(endpoint->fd, (struct sockaddr *)&address, sizeof address))
        return err_errno(err, errno == EACCES ? KEEL_EDENIED : KEEL_EIO, errno,
                         "cannot bind the control socket %s", endpoint->path);
    if (lstat(endpoint->path, &st) || !S_ISSOCK(st.st_mode))
        return err_set(err, KEEL_ECHANGED, "%s was taken away while the socket was made",
                       endpoint->path);
    endpoint->device = st.st_dev;
    endpoint->inode = st.st_ino;
    if ((st.st_mode & 0777) != 0600 && chmod(endpoint->path, 0600))
        return err_errno(err, KEEL_EDENIED, errno, "cannot keep others out of %s", endpoint->path);
    if (listen(endpoint->fd, BACKLOG))
        return err_errno(err, KEEL_EIO, errno, "cannot listen at %s", endpoint->path);
    return 0;
}

int endpoint_listen(const char *name_or_path, Endpoint *ret, Error *err)
{
    const char *name = name_or_path ? name_or_path : "default";
    Endpoint endpoint = {.fd = -1, .lock_fd = -1};
    int code;
    if (strchr(name, '/')) {
        code = join(endpoint.path, NULL, name, err);
    } else {
        char found[FOLDERS][ENDPOINT_PATH_BYTES];
        folders(found);
        code = check_name(name, err);
        if (!code)
            code = join(endpoint.path, found[0], name, err);
        if (!code)
            code = private_folder(found[0], err);
    }
    if (!code)
        code = lock_take(endpoint.path, &endpoint.lock_fd, err);
    if (!code)
        code = clear_path(endpoint.path, err);
    if (!code)
        code = bind_socket(&endpoint, err);
    if (code) {
        if (endpoint.lock_fd >= 0 || endpoint.fd >= 0)
            endpoint_close(&endpoint);
        return code;
    }
    *ret = endpoint;
    return 0;
}

void endpoint_close(Endpoint *endpoint)
{
    struct stat st;
    if (!endpoint->path[0])
        return;
    if (endpoint->inode && !lstat(endpoint->path, &st) && st.st_ino == endpoint->inode &&
        st.st_dev == endpoint->device)
        unlink(endpoint->path);
    if (endpoint->fd >= 0)
        close(endpoint->fd);
    if (endpoint->lock_fd >= 0)
        lock_drop(endpoint->path, endpoint->lock_fd);
    *endpoint = (Endpoint){.fd = -1, .lock_fd = -1};
}

/* ---- connecting ---- */

int endpoint_peer(int fd, pid_t *ret_pid, uid_t *ret_uid)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) || bytes != sizeof peer)
        return KEEL_EIO;
    *ret_pid = peer.pid;
    *ret_uid = peer.uid;
    return 0;
}

/* A Unix socket connects at once or, when the host is behind with accepting, waits: EAGAIN. */
static int connect_path(const char *path, int64_t deadline_ns, int *ret_fd, Error *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot make a socket");
    struct sockaddr_un address = address_of(path);
    int code = 0, failed;
    while ((failed = connect(fd, (struct sockaddr *)&address, sizeof address)) &&
           (errno == EAGAIN || errno == EINTR) && clock_now_ns() < deadline_ns)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    pid_t pid;
    uid_t uid;
    if (failed && (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR))
        code = err_set(err, KEEL_ENOTFOUND,
                       "no host listens at %s: start one, or name its socket or its name", path);
    else if (failed && errno == EAGAIN)
        code = err_set(err, KEEL_ETIMEOUT,
                       "the host at %s doesn't take connections: is it stopped?", path);
    else if (failed)
        code = err_errno(err, errno == EACCES || errno == EPERM ? KEEL_EDENIED : KEEL_EIO, errno,
                         "cannot connect to %s", path);
    else if (endpoint_peer(fd, &pid, &uid) || (uid && uid != geteuid() && geteuid()))
        code =
            err_set(err, KEEL_EDENIED, "another user's process listens at %s: not trusted", path);
    else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK))
        code = err_errno(err, KEEL_EIO, errno, "cannot prepare the connection to %s", path);
    if (code)
        close(fd);
    else
        *ret_fd = fd;
    return code;
}

int endpoint_connect(const char *name_or_path, int64_t timeout_ns, int *ret_fd, Error *err)
{
    const char *name = name_or_path ? name_or_path : "default";
    int64_t deadline_ns = clock_now_ns() + timeout_ns;
    char path[ENDPOINT_PATH_BYTES];
    int code;
    if (strchr(name, '/')) {
        code = join(path, NULL, name, err);
        return code ? code : connect_path(path, deadline_ns, ret_fd, err);
    }
    code = check_name(name, err);
    if (code)
        return code;
    char found[FOLDERS][ENDPOINT_PATH_BYTES];
    int count = folders(found);
    /* When no place has a host, the sentence of the preferred one is the one that helps. */
    Error other;
    code = KEEL_ENOTFOUND;
    for (int i = 0; i < count && code == KEEL_ENOTFOUND; i++) {
        code = join(path, found[i], name, i ? &other : err);
        if (!code)
            code = connect_path(path, deadline_ns, ret_fd, i ? &other : err);
        if (code && code != KEEL_ENOTFOUND && i && err)
            *err = other;
    }
    return code;
}
