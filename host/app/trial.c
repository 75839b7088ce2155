/* keel-trial: tries one candidate after the other, or reads one image after the other, each in a
 * child of its own, for the host at the other end of descriptor 3. Started by the host; stays warm;
 * ends when the host does.
 *
 * Owns the children and their time and memory. Runs nothing of a module itself. One thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/apart.h"
#include "app/trial_child.h"
#include "base/clock.h"
#include "image/reading.h"

enum { OUTPUT_BYTES = 65536, LOOK_EVERY_MS = 2 };

#define OWN_PART_NS (INT64_C(2000) * 1000 * 1000) /* for what is not the module's, at the most */

static TrialShared *shared;

/* ---- sentences ---- */

static void say(TrialResult *result, TrialVerdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(TrialResult *result, TrialVerdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(result->text, sizeof result->text, format, args);
    va_end(args);
    result->verdict = verdict;
}

/* What the module was doing, as the subject of a sentence. */
static const char *actor(const TrialResult *result, char *room, size_t bytes)
{
    if (strcmp(result->phase, "load") == 0)
        snprintf(room, bytes, "its constructor");
    else if (strcmp(result->phase, "frame") == 0)
        snprintf(room, bytes, "its frame %u", result->frames_run + 1);
    else
        snprintf(room, bytes, "%s%s", *result->phase ? "its " : "it", result->phase);
    return room;
}

static const char *exit_name(int signal_number)
{
    const char *name = sigabbrev_np(signal_number);
    return name ? name : "?";
}

/* The last line that the module printed, to go with a failure. */
static void add_last_line(TrialResult *result, int output)
{
    char text[200];
    off_t at = lseek(output, 0, SEEK_CUR);
    size_t used = strlen(result->text);
    if (at <= 0 || used + 20 >= sizeof result->text)
        return;
    off_t from = at > (off_t)sizeof text - 1 ? at - (off_t)sizeof text + 1 : 0;
    ssize_t n = pread(output, text, (size_t)(at - from), from);
    while (n > 0 && (text[n - 1] == '\n' || !text[n - 1]))
        n--;
    if (n <= 0)
        return;
    text[n] = 0;
    char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    snprintf(result->text + used, sizeof result->text - used, "; it printed: %.180s", line);
}

typedef struct Ending {
    int status; /* of waitid */
    int by_signal;
    int out_of_time, out_of_memory;
} Ending;

static void judge_fault(TrialResult *result, const Fault *fault)
{
    char who[40];
    result->fault = *fault;
    if (shared->host_pointer) {
        say(result, TRIAL_INCONCLUSIVE,
            "%s followed a pointer to the host's memory (%#lx), which the trial doesn't have: keep "
            "such data in the state",
            actor(result, who, sizeof who), (unsigned long)fault->address);
        return;
    }
    if (shared->kind == FAULT_TYPES)
        result->types_changed = 1;
    if (shared->kind == FAULT_TYPES || shared->kind == FAULT_ERROR)
        say(result, TRIAL_FAIL, "%.240s", fault->text);
    else if (shared->kind == FAULT_EXIT)
        say(result, TRIAL_FAIL, "%s %.240s: a module must not end its host",
            actor(result, who, sizeof who), fault->text);
    else if (shared->stray)
        say(result, TRIAL_FAIL, "a thread that it started crashed: %.240s", fault->text);
    else
        say(result, TRIAL_FAIL, "%s crashed: %.240s", actor(result, who, sizeof who), fault->text);
}

static void judge(const TrialWireRequest *r, const Ending *ending, TrialResult *result)
{
    char who[40], name[40];
    result->inspection = shared->inspection;
    result->frames_run = shared->replay.frames_run;
    result->types_changed = shared->replay.types_changed != 0;
    const char *phase = shared->replaying ? shared->replay.phase : shared->phase;
    snprintf(result->phase, sizeof result->phase, "%.15s", phase);
    const char *limit_cure = strcmp(phase, "load") == 0 ? ": constructors must end at once" : "";
    actor(result, who, sizeof who);
    if (shared->trapped && strcmp(result->phase, "load") == 0) {
        say(result, TRIAL_FAIL,
            "its constructor called %s(): constructors may not act on the world",
            trial_sandbox_name(shared->trap_number, name, sizeof name));
    } else if (shared->trapped) {
        say(result, TRIAL_INCONCLUSIVE,
            "%s called %s(), which acts on the world: the trial can't allow it", who,
            trial_sandbox_name(shared->trap_number, name, sizeof name));
    } else if (ending->out_of_memory) {
        say(result, TRIAL_FAIL, "%s took more than the %llu MiB of memory that a trial may", who,
            (unsigned long long)(r->memory_limit_bytes >> 20));
    } else if (ending->out_of_time && !shared->began_ns) {
        say(result, TRIAL_UNAVAILABLE, "this machine is too busy to try anything");
    } else if (ending->out_of_time) {
        say(result, TRIAL_FAIL, "it did not finish in %lld ms: it was in %s%s",
            (long long)(r->time_limit_ns / 1000000), who, limit_cure);
    } else if (shared->finished && shared->load_code) {
        shared->load_text[sizeof shared->load_text - 1] = 0;
        TrialVerdict verdict = strcmp(phase, "state") == 0 ? TRIAL_UNAVAILABLE : TRIAL_FAIL;
        say(result, verdict, "%.500s", shared->load_text);
    } else if (shared->finished && shared->kind == FAULT_NONE) {
        say(result, TRIAL_PASS, "%s", "");
    } else if (shared->finished) {
        judge_fault(result, shared->replaying ? &shared->replay.fault : &shared->fault);
    } else if (ending->by_signal) {
        say(result, TRIAL_FAIL, "%s ended the process by SIG%s", who, exit_name(ending->status));
    } else {
        say(result, TRIAL_FAIL, "%s called exit(%d): a module must not end its host", who,
            ending->status);
    }
}

/* ---- one candidate ---- */

static uint64_t resident_bytes(int statm)
{
    char text[128];
    unsigned long long all, resident;
    ssize_t n = statm < 0 ? -1 : pread(statm, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = 0;
    if (sscanf(text, "%llu %llu", &all, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What the child's threads did with their time: a busy machine is not the module's fault. A thread
 * that waits for another one doesn't starve itself, so the waits of all count; what those that have
 * ended took with them was seen by an earlier look. */
typedef struct Spent {
    int64_t waited_ns, waited_seen_ns; /* ready to run, without a CPU; of those there are now */
    int64_t ran_ns, ran_before_ns;     /* of the thread that ran longest; when the module began */
    int runs;                          /* a thread is ready, or waits for a disk */
    int began;
} Spent;

static size_t read_small(int folder, const char *thread, const char *name, char *ret, size_t room)
{
    char path[300];
    snprintf(path, sizeof path, "%.255s/%s", thread, name);
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, room - 1);
    if (fd >= 0)
        close(fd);
    ret[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static void look_at_thread(int tasks, const char *thread, Spent *spent, int64_t *waited_ns)
{
    char text[512];
    unsigned long long ran, waited;
    if (read_small(tasks, thread, "schedstat", text, sizeof text) &&
        sscanf(text, "%llu %llu", &ran, &waited) == 2) {
        *waited_ns += (int64_t)waited;
        spent->ran_ns = (int64_t)ran > spent->ran_ns ? (int64_t)ran : spent->ran_ns;
    }
    read_small(tasks, thread, "stat", text, sizeof text);
    const char *name_end = strrchr(text, ')'); /* a name may hold anything */
    spent->runs |= name_end && (name_end[1] == ' ') && (name_end[2] == 'R' || name_end[2] == 'D');
}

static void look_at_threads(DIR *tasks, Spent *spent)
{
    int64_t waited_ns = 0;
    spent->ran_ns = spent->runs = 0;
    if (!tasks)
        return;
    rewinddir(tasks);
    for (const struct dirent *entry; (entry = readdir(tasks));)
        if (entry->d_name[0] != '.')
            look_at_thread(dirfd(tasks), entry->d_name, spent, &waited_ns);
    if (waited_ns > spent->waited_seen_ns)
        spent->waited_ns += waited_ns - spent->waited_seen_ns;
    spent->waited_seen_ns = waited_ns;
}

/* Time counts from where the module's own code comes in; before that only the helper's patience
 * does. How long a thread that is ready has been waiting for a CPU nobody can tell yet: then what
 * it ran counts. Else it sleeps, and all time counts but for what it waited before. */
static int is_out_of_time(const TrialWireRequest *r, int64_t forked_ns, Spent *spent)
{
    int64_t now = clock_now_ns();
    int64_t began = shared->began_ns;
    if (now - forked_ns > OWN_PART_NS + r->time_limit_ns * TRIAL_STARVED_TIMES)
        return 1;
    if (began <= 0 || began > now)
        return 0;
    if (!spent->began)
        spent->ran_before_ns = spent->ran_ns;
    spent->began = 1;
    int64_t all_ns = now - began - spent->waited_ns;
    return (spent->runs && spent->ran_ns ? spent->ran_ns - spent->ran_before_ns : all_ns) >
           r->time_limit_ns;
}

static int open_proc(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void watch(const TrialWireRequest *r, pid_t pid, int pidfd, Ending *ret)
{
    int statm = open_proc(pid, "statm");
    int task = open_proc(pid, "task");
    DIR *tasks = task < 0 ? NULL : fdopendir(task);
    Spent spent = {0};
    uint64_t limit = r->memory_limit_bytes + r->view_bytes + resident_bytes(statm);
    int64_t forked_ns = clock_now_ns();
    for (;;) {
        struct pollfd wait = {.fd = pidfd, .events = POLLIN};
        siginfo_t ended = {0};
        if (poll(&wait, 1, LOOK_EVERY_MS) == 1)
            break;
        if (pidfd < 0 && !waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) &&
            ended.si_pid == pid)
            break; /* Linux before 5.3 */
        look_at_threads(tasks, &spent);
        ret->out_of_time = is_out_of_time(r, forked_ns, &spent);
        ret->out_of_memory = resident_bytes(statm) > limit;
        if (ret->out_of_time || ret->out_of_memory) {
            kill(pid, SIGKILL);
            break;
        }
    }
    if (statm >= 0)
        close(statm);
    if (tasks)
        closedir(tasks);
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) && errno == EINTR)
        ;
    ret->by_signal = info.si_code != CLD_EXITED;
    ret->status = info.si_status;
    /* It may have ended by itself in the moment between. */
    if (shared->finished)
        ret->out_of_time = ret->out_of_memory = 0;
}

static int open_output(void)
{
    int fd = memfd_create("keel-trial-output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (ftruncate(fd, OUTPUT_BYTES) || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW))) {
        close(fd);
        return -1;
    }
    return fd;
}

static void try_candidate(const TrialWireRequest *r, const int *fds, TrialResult *result)
{
    TrialChild child = {
        .request = r, .output = open_output(), .helper = getpid(), .shared = shared};
    int64_t began = clock_now_ns();
    memcpy(child.fds, fds, sizeof child.fds);
    memset(shared, 0, sizeof *shared);
    snprintf(result->phase, sizeof result->phase, "helper");
    pid_t pid = child.output < 0 ? -1 : fork();
    if (pid == 0)
        trial_child_run(&child);
    if (pid < 0) {
        say(result, TRIAL_UNAVAILABLE, "the trial helper can't start a child: %s", strerror(errno));
    } else {
        Ending ending = {0};
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        watch(r, pid, pidfd, &ending);
        if (pidfd >= 0)
            close(pidfd);
        judge(r, &ending, result);
        if (result->verdict == TRIAL_FAIL)
            add_last_line(result, child.output);
    }
    if (child.output >= 0)
        close(child.output);
    result->run_ns = clock_now_ns() - began;
}

/* ---- one reading ---- */

static const ApartLimits READ_LIMITS = {.cpu_seconds = TRIAL_READ_CPU_SECONDS,
                                        .memory_bytes = UINT64_C(2) << 30};
_Static_assert(TRIAL_READ_CPU_SECONDS * 1000 * APART_LAST_TIMES <= TRIAL_READ_LAST_MS,
               "the helper ends a reading before the host ends the helper");

/* The reading to begin from, mapped for the child. */
static const void *before;
static size_t before_bytes;

static int read_after(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                      Error *err)
{
    return reading_make_after(data, bytes, before, before_bytes, ret, room, ret_bytes, err);
}

static void *map_whole(int fd, uint64_t bytes)
{
    struct stat st;
    if (fstat(fd, &st) || (uint64_t)st.st_size != bytes)
        return MAP_FAILED;
    return mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
}

/* `*ret_fd` gets the reading, or -1: then the answer says why. */
static void read_image(const TrialWireRequest *r, const int *fds, TrialWireResult *answer,
                       int *ret_fd)
{
    Error err = {0};
    Apart found = {0};
    void *data = map_whole(fds[0], r->image_bytes);
    void *was = r->before_bytes ? map_whole(fds[1], r->before_bytes) : MAP_FAILED;
    before = was == MAP_FAILED ? NULL : was;
    before_bytes = (size_t)r->before_bytes;
    *ret_fd = -1;
    int rc = data == MAP_FAILED ? err_set(&err, KEEL_ENOMEM, "its bytes can't be mapped")
                                : apart_run(read_after, data, r->image_bytes, READING_ROOM,
                                            &READ_LIMITS, &found, &err);
    if (!rc)
        *ret_fd = apart_give(&found);
    if (data != MAP_FAILED)
        munmap(data, r->image_bytes);
    if (was != MAP_FAILED)
        munmap(was, before_bytes);
    answer->read_code = rc;
    if (rc)
        snprintf(answer->result.text, sizeof answer->result.text, "%.500s", err.text);
}

/* ---- the conversation ---- */

static int send_answer(const TrialWireResult *answer, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)answer, .iov_len = sizeof *answer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    ssize_t n;
    do
        n = sendmsg(TRIAL_WIRE_FD, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

static int is_good(const TrialWireRequest *r, int fd_count)
{
    if (r->magic != TRIAL_WIRE_MAGIC || r->version != TRIAL_WIRE_VERSION ||
        r->fd_count != (uint32_t)fd_count)
        return 0;
    if (r->what == TRIAL_WIRE_READ)
        return r->fd_count == 1 + (uint32_t)(r->before_bytes != 0);
    int shadow = r->what == TRIAL_WIRE_SHADOW;
    return (shadow ? r->how == TRIAL_KEEP : r->what == TRIAL_WIRE_TRY) &&
           r->view_fds <= STATE_VIEW_FDS &&
           r->fd_count == 2 + r->view_fds + (uint32_t)shadow + (r->from_bytes != 0) &&
           r->how <= TRIAL_HOOKS && r->time_limit_ns > 0 && memchr(r->path, 0, sizeof r->path) &&
           memchr(r->staged, 0, sizeof r->staged);
}

/* 1: one request, 0: the host is gone. */
static int read_request(TrialWireRequest *r, int *fds, int *ret_fd_count)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(TRIAL_WIRE_FDS * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = r, .iov_len = sizeof *r};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    ssize_t n;
    do
        n = recvmsg(TRIAL_WIRE_FD, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *ret_fd_count = 0;
    if (n <= 0)
        return 0;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        size_t bytes = head->cmsg_len - CMSG_LEN(0);
        *ret_fd_count = (int)(bytes / sizeof(int));
        memcpy(fds, CMSG_DATA(head), (size_t)*ret_fd_count * sizeof(int));
    }
    if (n != (ssize_t)sizeof *r || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        r->magic = 0;
    return 1;
}

int main(void)
{
    static TrialWireRequest request;
    static TrialWireResult answer;
    int type = 0;
    socklen_t bytes = sizeof type;
    if (getsockopt(TRIAL_WIRE_FD, SOL_SOCKET, SO_TYPE, &type, &bytes) || type != SOCK_SEQPACKET) {
        fprintf(stderr, "keel-trial is started by a Keel host, not by hand: it tries modules in a "
                        "process of their own\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        fprintf(stderr, "keel-trial: no memory\n");
        return 2;
    }
    state_space_init(NULL); /* children inherit the reservation; without it each makes its own */
    for (;;) {
        int fds[TRIAL_WIRE_FDS], fd_count, found = -1;
        if (!read_request(&request, fds, &fd_count))
            return 0;
        memset(&answer, 0, sizeof answer);
        answer.magic = TRIAL_WIRE_MAGIC;
        answer.version = TRIAL_WIRE_VERSION;
        answer.id = request.id;
        if (is_good(&request, fd_count) && request.what == TRIAL_WIRE_READ) {
            read_image(&request, fds, &answer, &found);
        } else if (is_good(&request, fd_count)) {
            try_candidate(&request, fds, &answer.result);
        } else {
            snprintf(answer.result.phase, sizeof answer.result.phase, "helper");
            say(&answer.result, TRIAL_UNAVAILABLE,
                "the trial helper is of another build than the host: install both from one");
        }
        for (int i = 0; i < fd_count; i++)
            close(fds[i]);
        int sent = send_answer(&answer, found);
        if (found >= 0)
            close(found);
        if (!sent)
            return 0;
    }
}
