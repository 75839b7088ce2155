/* The deep look, in a child of its own. Owns the child and the memory it answers in; believes
 * neither; one thread. */
#include "app/apart.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CPU_SECONDS = 10, NO_SANDBOX = 3 };
#define MEMORY_BYTES ((rlim_t)4 << 30)

/* Written by the child. What it found follows behind, on a page of its own. */
typedef struct Answer {
    int done, code;
    size_t bytes;
    Error err;
} Answer;

enum { FOUND_AT = 4096 };

static int limit(int what, rlim_t most)
{
    struct rlimit r;
    if (getrlimit(what, &r))
        return errno;
    r.rlim_max = r.rlim_max < most ? r.rlim_max : most;
    r.rlim_cur = r.rlim_max;
    return setrlimit(what, &r) ? errno : 0;
}

static int set_limits(void)
{
    int rc = limit(RLIMIT_CORE, 0);
    rc = rc ? rc : limit(RLIMIT_FSIZE, 0);
    rc = rc ? rc : limit(RLIMIT_NOFILE, 0);
    rc = rc ? rc : limit(RLIMIT_CPU, CPU_SECONDS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    rc = rc ? rc : limit(RLIMIT_AS, MEMORY_BYTES);
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
    /* libdw asks where the file lies, and can do without. */
    rc = rc ? rc : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(readlink), 0);
    rc = rc ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return -rc;
}

typedef struct Task {
    ApartWork work;
    const void *data;
    size_t bytes, room;
} Task;

static _Noreturn void look(const Task *task, Answer *answer)
{
    int number = set_limits();
    if (!number && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        number = errno;
    number = number ? number : set_filter();
    if (number) {
        err_errno(&answer->err, KEEL_EUNSUPPORTED, number,
                  "this system offers no sandbox to inspect files in");
        _exit(NO_SANDBOX);
    }
    answer->code = task->work(task->data, task->bytes, (char *)answer + FOUND_AT, task->room,
                              &answer->bytes, &answer->err);
    answer->done = 1;
    _exit(0);
}

static int judge(int status, const Answer *answer, Error *err)
{
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

int apart_run(ApartWork work, const void *data, size_t bytes, size_t room, Apart *ret, Error *err)
{
    const Task task = {work, data, bytes, room};
    size_t mapped = FOUND_AT + room;
    Answer *answer = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (answer == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot inspect");
    int rc, status = 0;
    pid_t child = fork();
    if (child < 0) {
        rc = err_errno(err, KEEL_ELIMIT, errno, "cannot start a process to inspect in");
    } else {
        if (!child)
            look(&task, answer);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        rc = judge(status, answer, err);
    }
    if (!rc && answer->bytes > room)
        rc = err_set(err, KEEL_EFAULT, "inspecting it told nonsense: it is damaged or malicious");
    if (rc) {
        munmap(answer, mapped);
        return rc;
    }
    *ret = (Apart){(char *)answer + FOUND_AT, answer->bytes, answer, mapped};
    return KEEL_OK;
}

void apart_done(Apart *apart)
{
    if (apart && apart->mapping)
        munmap(apart->mapping, apart->mapped);
    if (apart)
        *apart = (Apart){0};
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
    int rc = apart_run(inspect_work, data, bytes, sizeof *ret, &found, err);
    if (rc)
        return rc;
    memcpy(ret, found.data, sizeof *ret);
    apart_done(&found);
    return KEEL_OK;
}
