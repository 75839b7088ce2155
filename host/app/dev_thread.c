/* The builder's thread: waits for saves, builds, says what the compiler says, and asks the host to
 * swap what was built, all of it in one boundary. Owns the watch and the build. It holds no lock
 * while it waits; the frames go on meanwhile. */
#include <errno.h>
#include <keel/log.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/dev.h"
#include "app/dev_crash.h"
#include "app/dev_errors.h"
#include "app/source_number.h"
#include "base/clock.h"
#include "base/known_threads.h"

/* Saves within this time are one. The first begins the build, a later one begins it anew; what
 * failed meanwhile isn't told, since an editor may have been in the middle of its save. */
enum { TOGETHER_NS = 30 * 1000 * 1000 };

typedef struct Builder {
    DevShared *shared;
    Session *session;
    DevWatch *watch;
    DevBuild build;
    int64_t saved_ns;                 /* the last save that no build has taken in full; 0: none */
    int64_t begin_ns;                 /* when to begin a build; 0: not */
    int failed;                       /* the last build that was told */
    int held;                         /* a failed build waits until the save is over */
    int first;                        /* no build has succeeded yet */
    int crashed;                      /* a crash's place is on screen */
    uint64_t generation[DEV_MODULES]; /* that each file became at last; 0: none */
    struct stat had[DEV_MODULES];
} Builder;

__attribute__((format(printf, 3, 4))) static void say(const Builder *b, uint32_t level,
                                                      const char *format, ...)
{
    char text[1000];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    session_say(b->session, level, text);
}

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

/* The compiler's own lines. */
static void tell(const Builder *b, uint32_t level, const char *text)
{
    if (!b->session->say.json) {
        fflush(stderr);
        fputs(text, stderr);
        return;
    }
    char line[2000];
    while (*text) {
        size_t n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), text);
        say_line(&b->session->say, level, "build", line);
        text += n + (text[n] == '\n');
    }
}

static void begin(Builder *b)
{
    Error err = {0};
    b->begin_ns = 0;
    b->held = 0;
    if (b->build.running)
        say(b, KEEL_LOG_INFO, "saved again: the build begins anew");
    else if (b->session->say.verbose || b->first)
        say(b, KEEL_LOG_INFO, "building");
    if (dev_build_start(&b->build, &err)) {
        say(b, KEEL_LOG_ERROR, "%s", err.text);
        b->failed = 1;
    }
}

static void steps(const Builder *b, char *room, size_t bytes)
{
    size_t n = 0;
    room[0] = 0;
    for (int i = 0; i < b->build.steps && n < bytes; i++)
        n += (size_t)snprintf(room + n, bytes - n, "%s%s %.1f", i ? ", " : "", b->build.what[i],
                              ms(b->build.spent_ns[i]));
}

static int differs(const struct stat *a, const struct stat *b)
{
    return a->st_ino != b->st_ino || a->st_dev != b->st_dev || a->st_size != b->st_size ||
           a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

/* The first build that is good: tells the main thread what to run. */
static void publish(Builder *b)
{
    DevShared *shared = b->shared;
    char *paths[DEV_MODULES];
    int count = dev_plan_modules(&shared->plan, paths, DEV_MODULES);
    char spent[200];
    steps(b, spent, sizeof spent);
    if (!count) {
        say(b, KEEL_LOG_WARN,
            "the build went well, but there is no Keel module (*.so) below %s: does it make one?",
            shared->plan.own ? shared->plan.own : shared->plan.folder);
        return;
    }
    say(b, KEEL_LOG_INFO, "built (%s ms): %s%s", spent, paths[0], count > 1 ? " and others" : "");
    b->first = 0;
    for (int i = 0; i < count; i++)
        stat(paths[i], &b->had[i]);
    pthread_mutex_lock(&shared->lock);
    memcpy(shared->paths, paths, sizeof paths);
    shared->path_count = count;
    pthread_mutex_unlock(&shared->lock);
}

/* Where the crash was, in the terminal and over the picture until the next build. */
static int tell_crash(Builder *b, const char *module, const char *text)
{
    DevError place;
    if (!dev_crash_find(&b->shared->plan, module, text, &place))
        return 0;
    say(b, KEEL_LOG_WARN, "%s:%d: %s: %s", place.file, place.line, place.text, place.source);
    view_errors(&b->session->view, &place, 1, 1, "the code before runs on");
    b->crashed = 1;
    return 1;
}

/* A fault of code that ran: only the newest build's file is still there to look at. */
static void look_at_crash(Builder *b)
{
    DevShared *shared = b->shared;
    char text[sizeof shared->crash];
    pthread_mutex_lock(&shared->lock);
    memcpy(text, shared->crash, sizeof text);
    shared->crash[0] = 0;
    int count = shared->slot_count;
    pthread_mutex_unlock(&shared->lock);
    const char *number = strstr(text, " (generation ");
    uint64_t generation = number ? strtoull(number + strlen(" (generation "), NULL, 10) : 0;
    for (int i = 0; i < count && generation; i++) {
        const char *slash = strrchr(shared->paths[i], '/'),
                   *name = slash ? slash + 1 : shared->paths[i];
        size_t n = strcspn(name, ".");
        struct stat now;
        if (b->generation[i] == generation && !strncmp(text, name, n) && text[n] == ':' &&
            !stat(shared->paths[i], &now) && !differs(&now, &b->had[i]))
            tell_crash(b, shared->paths[i], text);
    }
}

/* A swap of several takes only those whose code changed. Returns how many those are, now first. */
static uint32_t leave_out_same(keel_slot *const *slots, const char **names, uint32_t count)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct keel_slot_status status = {.size = sizeof status};
        if (keel_slot_query(slots[i], &status) || !status.equal[0])
            names[left++] = names[i];
    }
    return left ? left : count;
}

/* Waits for the first picture that the new code had a part in, a few frames at most. 0: there is no
 * window, or nothing was shown. */
static int64_t picture_ns(Builder *b, int index, int64_t since_ns)
{
    enum { TRIES = 200, PAUSE_NS = 500 * 1000 };
    DevShared *shared = b->shared;
    for (int i = 0; i < TRIES && b->session->view.screen; i++) {
        pthread_mutex_lock(&shared->lock);
        int64_t ns = shared->shown_ns[index];
        pthread_mutex_unlock(&shared->lock);
        if (ns >= since_ns)
            return ns;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return 0;
}

static void not_swapped(Builder *b, const char *module, const char *spent, const char *why)
{
    say(b, KEEL_LOG_WARN, "built (%s ms), but not swapped: %s; the code before runs on", spent,
        why);
    tell_crash(b, module, why);
}

static void swap(Builder *b)
{
    DevShared *shared = b->shared;
    keel_slot *slots[DEV_MODULES];
    const char *names[DEV_MODULES];
    int which[DEV_MODULES];
    uint32_t count = 0;
    int first = 0;
    pthread_mutex_lock(&shared->lock);
    for (int i = 0; i < shared->slot_count; i++) {
        struct stat now;
        if (!shared->slots[i] || stat(shared->paths[i], &now) || !differs(&now, &b->had[i]))
            continue;
        b->had[i] = now;
        const char *slash = strrchr(shared->paths[i], '/');
        first = count ? first : i;
        names[count] = slash ? slash + 1 : shared->paths[i];
        which[count] = i;
        slots[count++] = shared->slots[i];
    }
    pthread_mutex_unlock(&shared->lock);
    char spent[200], whole[40] = "", shown[60] = "";
    steps(b, spent, sizeof spent);
    int64_t before_ns = clock_now_ns();
    int rc = count ? keel_host_swap(b->session->host, slots, NULL, count, 0) : KEEL_ESAME;
    int64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; !rc && i < count; i++) {
        struct keel_slot_status status = {.size = sizeof status};
        if (!keel_slot_query(slots[i], &status))
            b->generation[which[i]] = status.generation;
    }
    if (!rc && count > 1)
        count = leave_out_same(slots, names, count);
    if (b->saved_ns)
        snprintf(whole, sizeof whole, "%.1f ms after the save: ", ms(now_ns - b->saved_ns));
    int64_t picture = rc ? 0 : picture_ns(b, first, before_ns);
    if (picture && b->saved_ns)
        snprintf(shown, sizeof shown, "; on screen after %.1f ms", ms(picture - b->saved_ns));
    if (!rc && count > 1)
        say(b, KEEL_LOG_INFO, "%u modules run anew %s%s, swap %.1f%s", count, whole, spent,
            ms(now_ns - before_ns), shown);
    else if (!rc)
        say(b, KEEL_LOG_INFO, "%s runs anew %s%s, swap %.1f%s", names[0], whole, spent,
            ms(now_ns - before_ns), shown);
    else if (rc == KEEL_ESAME)
        say(b, KEEL_LOG_INFO, "built (%s ms): the same code, so nothing is swapped", spent);
    else if (rc != KEEL_ECANCELED)
        not_swapped(b, shared->paths[first], spent, keel_host_error());
}

/* The same on screen, until it is fixed. */
static void show(Builder *b, const char *text, const char *after)
{
    static DevError errors[DEV_ERRORS];
    int all = 0, count = dev_errors_read(text, errors, &all);
    view_errors(&b->session->view, errors, count, all, after);
    if (!count)
        view_note(&b->session->view, 3, "The build failed; the terminal says why");
}

static void failed(Builder *b)
{
    Buf text = {0};
    int errors = 0, warnings = 0;
    dev_text_clean(&b->build.output, b->build.colour, &text);
    dev_text_count(buf_text(&text), &errors, &warnings);
    tell(b, KEEL_LOG_ERROR, buf_text(&text));
    const char *after =
        b->first ? "nothing runs yet: it begins when this is fixed" : "the code before runs on";
    show(b, buf_text(&text), after);
    if (errors)
        say(b, KEEL_LOG_WARN, "build failed, %d error%s: %s", errors, errors == 1 ? "" : "s",
            after);
    else
        say(b, KEEL_LOG_WARN, "build failed (%s): %s", b->build.what[b->build.at], after);
    buf_done(&text);
    b->failed = 1;
    b->saved_ns = 0;
}

static void succeeded(Builder *b)
{
    Buf text = {0};
    int errors = 0, warnings = 0;
    dev_text_clean(&b->build.output, b->build.colour, &text);
    dev_text_count(buf_text(&text), &errors, &warnings);
    if (warnings)
        tell(b, KEEL_LOG_WARN, buf_text(&text));
    buf_done(&text);
    if (b->crashed && !b->failed)
        view_errors(&b->session->view, NULL, 0, 0, NULL);
    b->crashed = 0;
    if (b->failed) {
        view_errors(&b->session->view, NULL, 0, 0, NULL);
        say(b, KEEL_LOG_INFO, "fixed: it compiles again");
    }
    b->failed = 0;
    if (b->first)
        publish(b);
    else
        swap(b);
    b->saved_ns = 0;
    dev_build_prepare(&b->build);
}

/* What sliders were set to, into the sources; the save that this is begins the build. */
static void store(Builder *b)
{
    static DevStore stores[DEV_STORES];
    DevShared *shared = b->shared;
    uint64_t times;
    if (read(shared->store_fd, &times, sizeof times) != sizeof times)
        return;
    pthread_mutex_lock(&shared->lock);
    int count = shared->store_count;
    memcpy(stores, shared->stores, (size_t)count * sizeof *stores);
    shared->store_count = 0;
    pthread_mutex_unlock(&shared->lock);
    for (int i = 0; i < count; i++) {
        Error err = {0};
        int line = 0;
        int rc =
            source_number_write(stores[i].file, stores[i].name, stores[i].kind, stores[i].initial,
                                stores[i].value, stores[i].precision, &line, &err);
        char text[200];
        snprintf(text, sizeof text, "%s is stored in %.100s, line %d", stores[i].name,
                 strrchr(stores[i].file, '/') + 1, line);
        if (rc && rc != KEEL_ESAME)
            say(b, KEEL_LOG_WARN, "%s", err.text);
        else
            say(b, KEEL_LOG_INFO, "%s", text);
        view_note(&b->session->view, rc && rc != KEEL_ESAME ? 2 : 1,
                  rc && rc != KEEL_ESAME ? err.text : text);
    }
}

static void drain(Builder *b)
{
    const char *limited;
    int idle_after_failure = b->failed && !b->build.running;
    int what = dev_watch_drain(b->watch, idle_after_failure, &limited);
    if (limited)
        say(b, KEEL_LOG_WARN, "%s", limited);
    if (!what)
        return;
    int64_t now_ns = clock_now_ns();
    b->saved_ns = now_ns;
    /* What is gone may come back: an editor moves the old file away before it writes the new. */
    b->begin_ns = what & DEV_WRITTEN ? now_ns : now_ns + TOGETHER_NS;
}

/* Milliseconds until something is due, -1: nothing is. */
static int wait_ms(const Builder *b)
{
    int64_t due = b->begin_ns        ? b->begin_ns
                  : b->held          ? b->saved_ns + TOGETHER_NS
                  : b->build.running ? clock_now_ns() + 1000 * 1000 * 1000
                                     : 0;
    if (!due)
        return -1;
    int64_t left = due - clock_now_ns();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

static void work(Builder *b)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = b->shared->stop_fd, .events = POLLIN},
                               {.fd = dev_watch_fd(b->watch), .events = POLLIN},
                               {.fd = b->build.running ? b->build.pid_fd : -1, .events = POLLIN},
                               {.fd = b->build.running ? b->build.output_fd : -1, .events = POLLIN},
                               {.fd = b->shared->store_fd, .events = POLLIN}};
        /* A closed pipe is always ready: then only the process's end counts. */
        if (poll(fds, 5, wait_ms(b)) > 0 && (fds[3].revents & POLLHUP) && !fds[2].revents)
            poll(fds, 3, 20);
        if (fds[0].revents)
            return;
        if (fds[4].revents) {
            store(b);
            look_at_crash(b);
        }
        drain(b); /* before the build's end: what it wrote itself came before */
        if (b->begin_ns && clock_now_ns() >= b->begin_ns) {
            begin(b);
            continue;
        }
        Error err = {0};
        int ended = dev_build_step(&b->build, &err);
        if (ended < 0) {
            say(b, KEEL_LOG_ERROR, "%s", err.text);
            b->failed = 1;
        } else if (ended && !b->build.status) {
            succeeded(b);
        } else if (ended) {
            b->held = 1;
        }
        if (b->held && !b->begin_ns && clock_now_ns() >= b->saved_ns + TOGETHER_NS) {
            b->held = 0;
            failed(b);
        }
    }
}

void *dev_thread(void *user)
{
    DevShared *shared = user;
    Builder b = {.shared = shared, .session = shared->session, .first = 1, .begin_ns = 1};
    dev_build_init(&b.build, &shared->plan, shared->colour);
    Error err = {0};
    known_thread_begin();
    if (dev_watch_new(shared->plan.folder, &b.watch, &err))
        say(&b, KEEL_LOG_ERROR, "%s", err.text);
    else
        work(&b);
    dev_build_done(&b.build);
    dev_watch_free(b.watch);
    pthread_mutex_lock(&shared->lock);
    shared->ended = 1;
    pthread_mutex_unlock(&shared->lock);
    known_thread_end();
    return NULL;
}
