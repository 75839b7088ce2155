/* The deep look, in a child of its own. Owns the child and the memory it answers in; believes
 * neither; one thread. `keel` and keel-trial both do it here. */
#include "app/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitizer.h"

enum { NO_SANDBOX = 3 };

const ApartLimits APART_AT_LEISURE = {.cpu_seconds = 10, .memory_bytes = UINT64_C(4) << 30};

/* Written by the child. */
typedef struct Answer {
    int done, code;
    size_t bytes;
    Error err;
} Answer;

static int limit(int what, rlim_t most)
{
    struct rlimit r;
    if (getrlimit(what, &r))
        return errno;
    r.rlim_max = r.rlim_max < most ? r.rlim_max : most;
    r.rlim_cur = r.rlim_max;
    return setrlimit(what, &r) ? errno : 0;
}

/* What the parent had: a state that is looked at takes gibibytes of addresses. */
static rlim_t data_bytes(void)
{
    char text[200] = "";
    unsigned long long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0 || sscanf(text, "%*u %*u %*u %*u %*u %llu", &pages) != 1)
        return 0;
    return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static int set_limits(const ApartLimits *limits)
{
    rlim_t had = data_bytes();
    int rc = limit(RLIMIT_CORE, 0);
    rc = rc ? rc : limit(RLIMIT_FSIZE, 0);
    rc = rc ? rc : limit(RLIMIT_NOFILE, 0);
    rc = rc ? rc : limit(RLIMIT_CPU, limits->cpu_seconds);
#if !UNDER_ASAN && !UNDER_TSAN
    /* Not the address space: keel-trial has hundreds of GiB of it reserved. */
    rc = rc ? rc : limit(RLIMIT_DATA, had + limits->memory_bytes);
#else
    (void)had;
#endif
    return rc;
}

static int set_filter(void)
{
    static const int ALLOWED[] = {SCMP_SYS(brk),         SCMP_SYS(mmap),    SCMP_SYS(munmap),
                                  SCMP_SYS(mremap),      SCMP_SYS(madvise), SCMP_SYS(mprotect),
                                  SCMP_SYS(exit_group),  SCMP_SYS(futex),   SCMP_SYS(rt_sigreturn),
                                  SCMP_SYS(sigaltstack), /* sanitizers ask before every exit */
                                  SCMP_SYS(sysinfo) /* qsort: how much memory is there? */};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return ENOMEM;
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof ALLOWED / sizeof *ALLOWED; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, ALLOWED[i], 0);
    rc = rc ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return -rc;
}

typedef struct Task {
    ApartWork work;
    const void *data;
    size_t bytes, room;
    void *found;
    const ApartLimits *limits;
    pid_t parent;
} Task;

static _Noreturn void look(const Task *task, Answer *answer)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != task->parent)
        _exit(1);
    int number = set_limits(task->limits);
    if (!number && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        number = errno;
    number = number ? number : set_filter();
    if (number) {
        err_errno(&answer->err, KEEL_EUNSUPPORTED, number,
                  "this system offers no sandbox to inspect files in");
        _exit(NO_SANDBOX);
    }
    answer->code =
        task->work(task->data, task->bytes, task->found, task->room, &answer->bytes, &answer->err);
    answer->done = 1;
    _exit(0);
}

/* The status of waitpid. One that sleeps for ever uses no time of the CPU: *ret_late. */
static int wait_for(pid_t child, const ApartLimits *limits, int *ret_late)
{
    int status = 0, pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    int left_ms = (int)limits->cpu_seconds * 1000 * APART_LAST_TIMES, n = 1;
    if (pidfd >= 0)
        while ((n = poll(&end, 1, left_ms)) < 0 && errno == EINTR)
            ;
    *ret_late = !n;
    if (!n)
        kill(child, SIGKILL);
    if (pidfd >= 0)
        close(pidfd);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int judge(pid_t child, const ApartLimits *limits, const Answer *answer, Error *err)
{
    int late, status = wait_for(child, limits, &late);
    if (late && WIFSIGNALED(status))
        return err_set(err, KEEL_ETIMEOUT, "inspecting it was not over after %u s",
                       limits->cpu_seconds * APART_LAST_TIMES);
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL))
        return err_set(err, KEEL_ETIMEOUT, "inspecting it took too long or too much memory");
    if (WIFSIGNALED(status))
        return err_set(err, KEEL_EFAULT, "inspecting it crashed (%s): it is damaged or malicious",
                       strsignal(WTERMSIG(status)));
    int exit_status = WEXITSTATUS(status);
    if (exit_status != NO_SANDBOX && (exit_status || !answer->done))
        return err_set(err, KEEL_EFAULT, "inspecting it ended early: it is damaged or malicious");
    int code = exit_status == NO_SANDBOX ? KEEL_EUNSUPPORTED : answer->code;
    if (!code)
        return KEEL_OK;
    char text[sizeof answer->err.text];
    memcpy(text, answer->err.text, sizeof text);
    text[sizeof text - 1] = 0;
    return err_set(err, code < 0 ? code : KEEL_EIMAGE, "%s", text);
}

static int open_room(size_t room, Apart *ret, Error *err)
{
    Apart apart = {.memfd = memfd_create("keel-reading", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    void *mapping = MAP_FAILED;
    if (apart.memfd >= 0 && !ftruncate(apart.memfd, (off_t)room))
        mapping = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, apart.memfd, 0);
    if (mapping == MAP_FAILED) {
        int rc = err_errno(err, KEEL_ENOMEM, errno, "cannot inspect");
        if (apart.memfd >= 0)
            close(apart.memfd);
        return rc;
    }
    apart.data = apart.mapping = mapping;
    apart.mapped = room;
    *ret = apart;
    return KEEL_OK;
}

/* The next child has this memory, too, and its descriptor: it must not be able to write there. */
static int seal(Apart *apart, Error *err)
{
    void *mapping = MAP_FAILED;
    munmap(apart->mapping, apart->mapped); /* what may be written can't be sealed */
    apart->mapping = NULL;
    if (!ftruncate(apart->memfd, (off_t)apart->bytes) &&
        !fcntl(apart->memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        mapping = mmap(NULL, apart->bytes, PROT_READ, MAP_SHARED, apart->memfd, 0);
    if (mapping == MAP_FAILED)
        return err_errno(err, KEEL_EIO, errno, "what was read of it can't be sealed");
    apart->data = apart->mapping = mapping;
    apart->mapped = apart->bytes;
    return KEEL_OK;
}

int apart_run(ApartWork work, const void *data, size_t bytes, size_t room,
              const ApartLimits *limits, Apart *ret, Error *err)
{
    Apart apart;
    int rc = open_room(room, &apart, err);
    if (rc)
        return rc;
    Answer *answer =
        mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answer == MAP_FAILED) {
        rc = err_errno(err, KEEL_ENOMEM, errno, "cannot inspect");
        apart_done(&apart);
        return rc;
    }
    const Task task = {work, data, bytes, room, apart.mapping, limits, getpid()};
    pid_t child = fork();
    if (!child)
        look(&task, answer);
    rc = child < 0 ? err_errno(err, KEEL_ELIMIT, errno, "cannot start a process to inspect in")
                   : judge(child, limits, answer, err);
    apart.bytes = answer->bytes;
    if (!rc && (!apart.bytes || apart.bytes > room))
        rc = err_set(err, KEEL_EFAULT, "inspecting it told nonsense: it is damaged or malicious");
    munmap(answer, sizeof *answer);
    rc = rc ? rc : seal(&apart, err);
    if (rc)
        apart_done(&apart);
    else
        *ret = apart;
    return rc;
}

int apart_give(Apart *apart)
{
    int memfd = apart->memfd;
    munmap(apart->mapping, apart->mapped);
    *apart = (Apart){.memfd = -1};
    return memfd;
}

void apart_done(Apart *apart)
{
    if (!apart)
        return;
    if (apart->mapped && apart->memfd >= 0)
        close(apart->memfd);
    if (apart->mapping)
        munmap(apart->mapping, apart->mapped);
    *apart = (Apart){.memfd = -1};
}

static int inspect_work(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                        Error *err)
{
    *ret_bytes = room;
    return inspect_bytes(data, bytes, ret, err);
}

int inspect_apart(const void *data, size_t bytes, Inspection *ret, Error *err)
{
    Apart found;
    int rc = apart_run(inspect_work, data, bytes, sizeof *ret, &APART_AT_LEISURE, &found, err);
    if (rc)
        return rc;
    memcpy(ret, found.data, sizeof *ret);
    apart_done(&found);
    return KEEL_OK;
}
