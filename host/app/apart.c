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

/* Written by the child. */
typedef struct Answer {
    int done, code;
    Error err;
    Inspection inspection;
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
    static const int ALLOWED[] = {SCMP_SYS(brk),        SCMP_SYS(mmap),    SCMP_SYS(munmap),
                                  SCMP_SYS(mremap),     SCMP_SYS(madvise), SCMP_SYS(mprotect),
                                  SCMP_SYS(exit_group), SCMP_SYS(futex),   SCMP_SYS(rt_sigreturn),
                                  SCMP_SYS(sigaltstack) /* sanitizers ask before every exit */};
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

static _Noreturn void look(const void *data, size_t bytes, Answer *answer)
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
    answer->code = inspect_bytes(data, bytes, &answer->inspection, &answer->err);
    answer->done = 1;
    _exit(0);
}

static int judge(int status, const Answer *answer, Inspection *ret, Error *err)
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
    if (!code) {
        *ret = answer->inspection;
        return KEEL_OK;
    }
    char text[sizeof answer->err.text];
    memcpy(text, answer->err.text, sizeof text);
    text[sizeof text - 1] = 0;
    return err_set(err, code < 0 ? code : KEEL_EIMAGE, "%s", text);
}

int inspect_apart(const void *data, size_t bytes, Inspection *ret, Error *err)
{
    Answer *answer =
        mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answer == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot inspect");
    int rc, status = 0;
    pid_t child = fork();
    if (child < 0) {
        rc = err_errno(err, KEEL_ELIMIT, errno, "cannot start a process to inspect in");
    } else {
        if (!child)
            look(data, bytes, answer);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        rc = judge(status, answer, ret, err);
    }
    munmap(answer, sizeof *answer);
    return rc;
}
