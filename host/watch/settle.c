/* Is the file complete? Owns the descriptors it opens; never writes to the file; any thread but the
 * frame thread.
 *
 * The lease: F_SETLEASE is refused while anybody has the file open or mapped for writing, and a
 * writer that comes later waits in open() until the lease is dropped or broken; F_GETLEASE tells
 * afterwards whether one came. Its signal is switched off (no owner), so a program that Keel lives
 * in never sees it. */
#include "watch/settle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "watch/whole.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { CHUNK_BYTES = 96 * 1024, QUIET_ROUNDS = 3 };
static const size_t MAX_BYTES = (size_t)1 << 30;

/* The reason of the system as a code and a sentence. */
static int system_error(Error *err, int number, const char *verb)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
        return err_errno(err, KEEL_ENOTFOUND, number, "cannot %s it", verb);
    case EACCES:
    case EPERM:
        return err_errno(err, KEEL_EDENIED, number, "cannot %s it", verb);
    case ENOSPC:
    case ENOMEM:
    case EDQUOT:
    case EFBIG:
        return err_errno(err, KEEL_ENOSPACE, number,
                         "cannot %s it: memory for its copy is short: free some, or raise the "
                         "limit of this process or container",
                         verb);
    case EAGAIN: /* another program holds a write lease on it */
        return err_set(err, KEEL_EBUSY, "it is held for writing by another process");
    case EMFILE:
    case ENFILE:
        return err_errno(err, KEEL_ELIMIT, number, "cannot %s it: raise ulimit -n", verb);
    default:
        return err_errno(err, KEEL_EIO, number, "cannot %s it", verb);
    }
}

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a folder";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    default:
        return "not a regular file";
    }
}

static int open_file(const char *path, size_t max_bytes, int *ret_fd, struct stat *ret_stat,
                     Error *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        struct stat st;
        int number = errno;
        if (number == ENXIO && !stat(path, &st)) /* a socket, or a device without a driver */
            return err_set(err, KEEL_EIMAGE, "it is %s, not a built module", kind_name(st.st_mode));
        return system_error(err, number, "open");
    }
    int rc;
    struct stat st;
    if (fstat(fd, &st)) {
        rc = system_error(err, errno, "look at");
    } else if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, KEEL_EIMAGE, "it is %s, not a built module", kind_name(st.st_mode));
    } else if (!st.st_size) {
        rc = err_set(err, KEEL_EPARTIAL, "it is empty: its build has not written anything yet");
    } else if ((uint64_t)st.st_size > max_bytes) {
        rc = err_set(err, KEEL_ELIMIT,
                     "it has %lld bytes, at most %zu are read: strip its debug information",
                     (long long)st.st_size, max_bytes);
    } else {
        *ret_fd = fd;
        *ret_stat = st;
        return KEEL_OK;
    }
    close(fd);
    return rc;
}

/* File systems whose writers may sit on another machine: a lease taken here says nothing about
 * them. */
static int is_remote(int fd)
{
    static const uint32_t MAGIC[] = {
        0x6969 /* NFS */,        0x517b /* SMB */,
        0xfe534d42 /* SMB2 */,   0xff534d42 /* CIFS */,
        0x65735546 /* FUSE */,   0x01021997 /* 9p */,
        0x00c36400 /* Ceph */,   0x5346414f /* AFS */,
        0x0bd00bd0 /* Lustre */, 0x786f4256 /* VirtualBox shared folders */,
        0x7461636f /* OCFS2 */,  0x01161970 /* GFS2 */,
    };
    struct statfs fs;
    if (fstatfs(fd, &fs))
        return 0;
    for (size_t i = 0; i < sizeof MAGIC / sizeof *MAGIC; i++)
        if ((uint32_t)fs.f_type == MAGIC[i])
            return 1;
    return 0;
}

/* Takes away the signal of a lease that was broken before its owner was unset. What others sent
 * stays. */
static void swallow_signal(const sigset_t *set, int fd)
{
    const struct timespec at_once = {0};
    siginfo_t info;
    if (sigtimedwait(set, &info, &at_once) == SIGURG && (info.si_code <= 0 || info.si_fd != fd))
        kill(getpid(), SIGURG);
}

/* F_SETLEASE without its signal: SIGIO would end a process that does not expect it. Between taking
 * the lease and unsetting its owner the signal goes to this thread, which has it blocked. 0 or an
 * errno. */
static int lease_quietly(int fd)
{
    const struct f_owner_ex self = {F_OWNER_TID, gettid()};
    sigset_t urgent, was;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    pthread_sigmask(SIG_BLOCK, &urgent, &was);
    int number = 0;
    if (fcntl(fd, F_SETSIG, SIGURG) || fcntl(fd, F_SETOWN_EX, &self))
        number = EINVAL;
    else if (fcntl(fd, F_SETLEASE, F_RDLCK))
        number = errno;
    fcntl(fd, F_SETOWN, 0);
    swallow_signal(&urgent, fd);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return number;
}

/* 1: have it; 0: leases are not to be had here; KEEL_EBUSY: a writer has the file. */
static int take_lease(int fd, Error *err)
{
    if (is_remote(fd))
        return 0;
    int number = lease_quietly(fd);
    if (number == EAGAIN || number == EBUSY)
        return err_set(err, KEEL_EBUSY,
                       "it is still being written: another process has it open for writing");
    return !number;
}

static int make_memfd(const char *path, int *ret_fd, Error *err)
{
    const char *slash = strrchr(path, '/');
    char name[200] = "keel:"; /* seen in /proc/<pid>/maps; 249 bytes at most */
    strncat(name, slash ? slash + 1 : path, sizeof name - 6);
    const unsigned base = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, base | MFD_EXEC);
    if (fd < 0 && errno == EINVAL) /* kernels before 6.3 */
        fd = memfd_create(name, base);
    else if (fd < 0 && errno == EACCES) /* vm.memfd_noexec=2: mapping it executable still works */
        fd = memfd_create(name, base | MFD_NOEXEC_SEAL);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
        return err_errno(err, KEEL_ELIMIT, errno, "cannot make its sealed copy: raise ulimit -n");
    if (fd < 0)
        return system_error(err, errno, "make the sealed copy of");
    if (fd <= STDERR_FILENO) { /* somebody closed stdin; what writes to it must not find this */
        int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        int number = errno;
        close(fd);
        if (higher < 0)
            return err_errno(err, KEEL_ELIMIT, number, "cannot make its sealed copy: raise ulimit -n");
        fd = higher;
    }
    *ret_fd = fd;
    return KEEL_OK;
}

static int write_all(int fd, const char *data, size_t bytes, off_t at, Error *err)
{
    while (bytes) {
        ssize_t n = pwrite(fd, data, bytes, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return system_error(err, n ? errno : ENOSPC, "copy");
        data += n;
        at += n;
        bytes -= (size_t)n;
    }
    return KEEL_OK;
}

/* Through one small buffer, which stays in the CPU's cache. */
static int copy_bytes(int from, int to, size_t bytes, Error *err)
{
    char *chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return err_set(err, KEEL_ENOMEM, "no memory to read it");
    int rc = KEEL_OK;
    for (size_t at = 0; !rc;) {
        ssize_t n = pread(from, chunk, CHUNK_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = system_error(err, errno, "read");
        else if (at + (size_t)n > bytes || (!n && at < bytes))
            rc = err_set(err, KEEL_EPARTIAL, "its size changed while it was read");
        else if (!n)
            break;
        else
            rc = write_all(to, chunk, (size_t)n, (off_t)at, err);
        at += n > 0 ? (size_t)n : 0;
    }
    free(chunk);
    return rc;
}

static int same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(&a->st_mtim, &b->st_mtim);
}

/* Still the file that the path means, and untouched since `was`? */
static int check_unchanged(const char *path, const struct stat *was, Error *err)
{
    struct stat now;
    if (stat(path, &now))
        return system_error(err, errno, "find");
    if (!same_file(was, &now))
        return err_set(err, KEEL_EPARTIAL, "it was replaced or changed while it was read");
    return KEEL_OK;
}

static int check_lease(int fd, Error *err)
{
    if (fcntl(fd, F_GETLEASE) == F_RDLCK)
        return KEEL_OK;
    return err_set(err, KEEL_EBUSY, "another process began to write it while it was read");
}

/* The file must stay as it is for a while and then read the same again. */
static int check_content(int fd, const char *path, const Settled *s, Error *err)
{
    const struct timespec pause = {.tv_nsec = SETTLE_QUIET_NS};
    for (int i = 0; i < QUIET_ROUNDS; i++) {
        nanosleep(&pause, NULL);
        int rc = check_unchanged(path, &s->stat, err);
        if (rc)
            return rc;
    }
    char *chunk = malloc(2 * CHUNK_BYTES);
    if (!chunk)
        return err_set(err, KEEL_ENOMEM, "no memory to read it again");
    int rc = KEEL_OK;
    for (size_t at = 0; !rc && at < s->bytes;) {
        size_t want = s->bytes - at < CHUNK_BYTES ? s->bytes - at : CHUNK_BYTES;
        ssize_t n = pread(fd, chunk, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || pread(s->memfd, chunk + CHUNK_BYTES, (size_t)n, (off_t)at) != n ||
            memcmp(chunk, chunk + CHUNK_BYTES, (size_t)n))
            rc = err_set(err, KEEL_EPARTIAL,
                         "it is still being written: it did not read the same twice");
        else
            at += (size_t)n;
    }
    free(chunk);
    return rc ? rc : check_unchanged(path, &s->stat, err);
}

static int seal_and_hash(Settled *s, Error *err)
{
    if (fcntl(s->memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        return err_errno(err, KEEL_EIO, errno, "cannot seal its copy");
    void *data = mmap(NULL, s->bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, s->memfd, 0);
    if (data == MAP_FAILED)
        return system_error(err, errno, "map");
    int rc = whole_check(data, s->bytes, err);
    if (!rc)
        s->hash = hash_bytes(data, s->bytes);
    munmap(data, s->bytes);
    return rc;
}

static int read_settled(const char *path, const SettleOptions *options, int fd, Settled *s,
                        Error *err)
{
    int lease = options->leases ? take_lease(fd, err) : 0;
    if (lease < 0)
        return lease;
    /* A writer may have come and gone between fstat and the lease. */
    struct stat st;
    if (fstat(fd, &st))
        return system_error(err, errno, "look at");
    if (!same_file(&s->stat, &st))
        return err_set(err, KEEL_EPARTIAL, "it changed while it was opened");
    s->bytes = (size_t)st.st_size;
    s->proof = lease ? SETTLE_BY_LEASE : SETTLE_BY_CONTENT;
    int rc = make_memfd(path, &s->memfd, err);
    if (!rc)
        rc = copy_bytes(fd, s->memfd, s->bytes, err);
    if (lease) {
        if (!rc)
            rc = check_lease(fd, err);
        fcntl(fd, F_SETLEASE, F_UNLCK); /* lets a waiting writer go on */
        if (!rc)
            rc = check_unchanged(path, &s->stat, err);
    }
    if (!rc)
        rc = seal_and_hash(s, err);
    if (!rc && !lease)
        rc = check_content(fd, path, s, err);
    return rc;
}

int settle_read(const char *path, const SettleOptions *options, Settled *ret, Error *err)
{
    static const SettleOptions ordinary = {.leases = 1};
    options = options ? options : &ordinary;
    Settled s = {.memfd = -1};
    int fd = -1;
    int rc =
        open_file(path, options->max_bytes ? options->max_bytes : MAX_BYTES, &fd, &s.stat, err);
    if (!rc)
        rc = read_settled(path, options, fd, &s, err);
    if (fd >= 0)
        close(fd);
    if (rc) {
        settled_done(&s);
        err_wrap(err, "%s", path);
        return rc;
    }
    *ret = s;
    return KEEL_OK;
}

void settled_done(Settled *settled)
{
    if (settled && settled->memfd > STDERR_FILENO) /* zeroed is fine */
        close(settled->memfd);
    if (settled)
        settled->memfd = -1;
}
