/* The options, signals, pace and end of a host in a terminal. Owns the host while it is open. Main
 * thread, and one that waits for signals. */
#include "app/session.h"

#include <errno.h>
#include <keel/log.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/log_files.h"
#include "app/notes.h"
#include "base/clock.h"
#include "base/known_threads.h"
#include "fault/guard.h"
#include "base/trace.h"
#include "host/host.h"

void session_init(Session *session, const char *command)
{
    *session = (Session){
        .command = command, .fps = 60, .view.quiet = 1, .options.size = sizeof session->options};
}

static int choice(const char *command, const char *what, const char *given,
                  const char *const *names, uint32_t *ret)
{
    for (uint32_t i = 0; names[i]; i++)
        if (!strcmp(given, names[i])) {
            *ret = i;
            return 1;
        }
    fprintf(stderr, "keel %s: --%s is one of", command, what);
    for (int i = 0; names[i]; i++)
        fprintf(stderr, "%s %s", i ? "," : "", names[i]);
    fprintf(stderr, "; not \"%s\"\n", given);
    return 0;
}

static int number(const char *command, const char *what, const char *given, double least,
                  double most, double *ret)
{
    char *end;
    errno = 0;
    double value = strtod(given, &end);
    if (end != given && !*end && !errno && value >= least && value <= most) {
        *ret = value;
        return 1;
    }
    fprintf(stderr, "keel %s: --%s takes a number from %g to %g; not \"%s\"\n", command, what,
            least, most, given);
    return 0;
}

/* "shadow", or "shadow,frames=9,lag=50". */
static int handover(Session *session, char *given)
{
    struct keel_host_options *o = &session->options;
    char *const keys[] = {"shadow", "frames", "lag", "wait", NULL};
    uint32_t *const fields[] = {NULL, &o->handover_frames, &o->handover_lag_ms,
                                &o->handover_wait_ms};
    double number_given;
    for (char *rest = given, *value; *rest;) {
        int key = getsubopt(&rest, keys, &value);
        if (key == 0 && !value) {
            o->handover = KEEL_HANDOVER_SHADOW;
        } else if (key > 0 && value) {
            if (!number(session->command, keys[key], value, 1, 1e6, &number_given))
                return 0;
            *fields[key] = (uint32_t)number_given;
        } else {
            fprintf(stderr,
                    "keel %s: --handover takes shadow, then perhaps frames=N, lag=MS and wait=MS, "
                    "with commas; not \"%s\"\n",
                    session->command, value ? value : "");
            return 0;
        }
    }
    if (!o->handover)
        fprintf(stderr, "keel %s: --handover takes shadow first\n", session->command);
    return o->handover != 0;
}

/* "1/4", or "25%". */
static int canary(Session *session, const char *given)
{
    unsigned part = 0, whole = 100;
    int end = 0;
    int good = (sscanf(given, "%u/%u%n", &part, &whole, &end) == 2 && !given[end]) ||
               (sscanf(given, "%u%%%n", &part, &end) == 1 && end && !given[end] && (whole = 100));
    if (good && part && part < whole && whole <= 1000000) {
        session->options.canary_permille = part * 1000 / whole ? part * 1000 / whole : 1;
        return 1;
    }
    fprintf(stderr, "keel %s: --canary takes a share below all, such as 1/4 or 25%%; not \"%s\"\n",
            session->command, given);
    return 0;
}

int session_option(Session *session, int option, char **argv)
{
    static const char *const trials[] = {"on", "off", "strict", NULL};
    static const char *const tiers[] = {"auto", "track", "copy", "off", NULL};
    const char *command = session->command;
    double value;
    int good = view_option(&session->view, command, option, argv);
    if (good >= 0)
        return good;
    good = 1;
    switch (option) {
    case 'n':
        if ((good = number(command, "frames", optarg, 1, 1e15, &value)))
            session->frames = (long long)value;
        break;
    case 'f':
        if (!strcmp(optarg, "max"))
            session->fps = 0;
        else
            good = number(command, "fps", optarg, 0.1, 10000, &session->fps);
        break;
    case 't':
        good = choice(command, "trial", optarg, trials, &session->options.trial);
        break;
    case 'm':
        good = choice(command, "memory", optarg, tiers, &session->options.tier);
        break;
    case 'd':
        if ((good = number(command, "deadline", optarg, 0, 1e9, &value)))
            session->options.deadline_ns = value > 0 ? (int64_t)(value * 1e6) : -1;
        break;
    case 'p':
        if ((good = number(command, "probation", optarg, 1, 1e9, &value)))
            session->options.probation_frames = (uint32_t)value;
        break;
    case 'R':
        good = number(command, "rewind", optarg, 0, 600, &session->rewind);
        break;
    case 'I':
        session->options.swap_identical = 1;
        break;
    case SESSION_CANARY:
        good = canary(session, optarg);
        break;
    case SESSION_HANDOVER:
        good = handover(session, optarg);
        break;
    case 'N':
        session->name = optarg;
        break;
    case 'j':
        session->say.json = 1;
        break;
    case 'v':
        session->say.verbose = 1;
        break;

    case ':':
        fprintf(stderr, "keel %s: %s needs a value; see keel %s --help\n", command,
                argv[optind - 1], command);
        return 0;
    default:
        fprintf(stderr, "keel %s: there is no option %s; see keel %s --help\n", command,
                argv[optind - 1], command);
        return 0;
    }
    return good;
}

static volatile int stop; /* read and written only atomically */

static int stopping(void)
{
    return __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
}

/* A thread of its own takes SIGINT and SIGTERM, so that no module's call is interrupted. */
static void *take_signals(void *user)
{
    const sigset_t *set = user;
    int which;
    known_thread_begin();
    if (sigwait(set, &which) == 0)
        pacer_interrupt(&stop);
    known_thread_end();
    return NULL;
}

void session_signals(void)
{
    static sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the call that meets it */
    guard_prepare();          /* before the process has a second thread */
    pthread_t signals;
    if (pthread_create(&signals, NULL, take_signals, &set) == 0)
        pthread_detach(signals);
}

int session_stopped(const Session *session)
{
    return stopping() || session->closed || (session->host && keel_host_quit_asked(session->host));
}

void session_say(Session *session, uint32_t level, const char *text)
{
    char note[280];
    int tone;
    say_line(&session->say, level, session->command, text);
    if (note_of(level, session->command, text, note, sizeof note, &tone))
        view_note(&session->view, tone, note);
}

/* The host's log: in the terminal, and what is worth it on screen. */
static void hear(uint32_t level, const char *room, const char *text, void *user)
{
    Session *session = user;
    char note[280];
    int tone;
    say_log(level, room, text, &session->say);
    if (session->heard)
        session->heard(session->heard_user, room, text);
    if (note_of(level, room, text, note, sizeof note, &tone))
        view_note(&session->view, tone, note);
}

/* While modules are read and tried. */
static void wait_in_view(void *user)
{
    Session *session = user;
    Error err = {0};
    if (view_wait(&session->view, &err)) {
        session_say(session, KEEL_LOG_WARN, err.text); /* the first frame meets it again */
        session->host->waiting = NULL;
    }
}

static void open_view(void *user)
{
    Session *session = user;
    view_open(&session->view, session->host, session->title, &session->say);
    wait_in_view(session);
    session->host->waiting = wait_in_view;
    session->host->meanwhile_user = session;
    view_warm(&session->view);
}

int session_open(Session *session, const char *title)
{
    session->options.log = hear;
    session->options.log_user = session;
    if (keel_host_open(&session->options, &session->host)) {
        session_say(session, KEEL_LOG_ERROR, keel_host_error());
        return 2;
    }
    log_files_begin();
    session->host->past_span_ns = (int64_t)(session->rewind * 1e9);
    if (keel_host_serve(session->host, session->name)) {
        say_line(&session->say, KEEL_LOG_WARN, "control", keel_host_error());
        if (session->name)
            return 2;
    }
    trace_mark("the host and its socket are open");
    session->title = title;
    if (session->late_view) {
        session->host->meanwhile = open_view;
        session->host->meanwhile_user = session;
    } else {
        open_view(session);
    }
    pacer_init(&session->pacer, session->fps);
    return 0;
}

/* What is left of the frame's time goes to the boundary, but for the pacer's own spin and a margin.
 * Where somebody waits for new code its first frame comes at once; two in a row don't. */
static void idle(Session *session)
{
    enum { MARGIN_NS = 300 * 1000, SLICE_NS = 50 * 1000 * 1000 };
    const Pacer *pacer = &session->pacer;
    const View *view = &session->view;
    keel_host *host = session->host;
    host->eager = session->eager && !session->hurried;
    session->hurried = 0;
    if (pacer->period_ns <= 0 || !pacer->deadline_ns)
        return;
    int64_t until = pacer->deadline_ns - pacer->spin_ns - MARGIN_NS;
    while (!stopping() && !keel_host_quit_asked(host) && !view_closed(view)) {
        int64_t now = clock_now_ns();
        if (now >= until)
            return;
        keel_host_idle(host, until - now > SLICE_NS ? now + SLICE_NS : until);
        if (host->eager && host_has_news(host)) {
            session->hurried = 1;
            pacer_hurry(&session->pacer);
            return;
        }
    }
}

int session_frame(Session *session)
{
    session->pacer.lenient = view_is_still(&session->view);
    idle(session);
    pacer_wait(&session->pacer, &stop);
    if (view_before(&session->view)) {
        session->closed = 1;
        return 0;
    }
    if (keel_host_frame(session->host) < 0) {
        session_say(session, KEEL_LOG_ERROR, keel_host_error());
        return 1;
    }
    Error err = {0};
    if (view_after(&session->view, &err)) {
        session_say(session, KEEL_LOG_ERROR, err.text);
        return 1;
    }
    return 0;
}

int session_verdict(keel_slot *const *slots, int count)
{
    for (int i = 0; i < count; i++) {
        struct keel_slot_status status = {.size = sizeof status};
        if (keel_slot_query(slots[i], &status) || status.phase == KEEL_SLOT_WAITING ||
            status.phase == KEEL_SLOT_STOPPED)
            return 1;
    }
    return 0;
}

void session_close(Session *session)
{
    view_close(&session->view);
    keel_host_close(session->host);
    view_done(&session->view);
    session->host = NULL;
    log_files_end();
}
