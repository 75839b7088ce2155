/* `keel run`: a host in a terminal. Owns the host, its pace and its lines; no window. */
#include <errno.h>
#include <getopt.h>
#include <keel/host.h>
#include <keel/log.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/say.h"
#include "base/clock.h"
#include "loop/pacer.h"

enum { MODULES_MOST = 64 };

static const char help[] =
    "usage: keel run MODULE.so… [OPTIONS]\n"
    "\n"
    "Runs modules and swaps each between two frames when its file is rebuilt.\n"
    "\n"
    "  --headless         no window (there is none yet: always so)\n"
    "  --frames N         end after N frames\n"
    "  --fps N|max        frames a second (60); max: as many as it goes\n"
    "  --trial MODE       on (try each candidate in a helper process first), off, or\n"
    "                     strict (take only what the trial proved)\n"
    "  --memory MODE      how changed memory is found: auto, track, copy or off\n"
    "  --deadline MS      longest time for one call of a module; 0: no limit\n"
    "  --probation N      frames that the generation before stays ready (120)\n"
    "  --name NAME        name or path of the control socket (default)\n"
    "  --json             one JSON object a line instead of text\n"
    "  -v, --verbose      say more\n"
    "\n"
    "example: keel run build/release/modules/ball.so --fps 60\n"
    "         then rebuild it, or, from another terminal: keel ctl status\n"
    "\n"
    "exit status: 0 ended as asked, 1 a module did not run, 2 wrong use, 70 a fault that\n"
    "this process could not get over\n";

typedef struct Run {
    struct keel_host_options options;
    double fps;
    long long frames;
    const char *name;
    Say say;
} Run;

static int choice(const char *what, const char *given, const char *const *names, uint32_t *ret)
{
    for (uint32_t i = 0; names[i]; i++)
        if (!strcmp(given, names[i])) {
            *ret = i;
            return 1;
        }
    fprintf(stderr, "keel run: --%s is one of", what);
    for (int i = 0; names[i]; i++)
        fprintf(stderr, "%s %s", i ? "," : "", names[i]);
    fprintf(stderr, "; not \"%s\"\n", given);
    return 0;
}

static int number(const char *what, const char *given, double least, double most, double *ret)
{
    char *end;
    errno = 0;
    double value = strtod(given, &end);
    if (end != given && !*end && !errno && value >= least && value <= most) {
        *ret = value;
        return 1;
    }
    fprintf(stderr, "keel run: --%s takes a number from %g to %g; not \"%s\"\n", what, least, most,
            given);
    return 0;
}

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Run *run)
{
    static const char *const trials[] = {"on", "off", "strict", NULL};
    static const char *const tiers[] = {"auto", "track", "copy", "off", NULL};
    static const struct option options[] = {{"headless", no_argument, NULL, 'H'},
                                            {"frames", required_argument, NULL, 'n'},
                                            {"fps", required_argument, NULL, 'f'},
                                            {"trial", required_argument, NULL, 't'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"deadline", required_argument, NULL, 'd'},
                                            {"probation", required_argument, NULL, 'p'},
                                            {"name", required_argument, NULL, 'N'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    double value;
    int good = 1;
    opterr = 0;
    for (int option; good && (option = getopt_long(argc, argv, ":vh", options, NULL)) != -1;) {
        switch (option) {
        case 'H':
            break;
        case 'n':
            if ((good = number("frames", optarg, 1, 1e15, &value)))
                run->frames = (long long)value;
            break;
        case 'f':
            if (!strcmp(optarg, "max"))
                run->fps = 0;
            else
                good = number("fps", optarg, 0.1, 10000, &run->fps);
            break;
        case 't':
            good = choice("trial", optarg, trials, &run->options.trial);
            break;
        case 'm':
            good = choice("memory", optarg, tiers, &run->options.tier);
            break;
        case 'd':
            if ((good = number("deadline", optarg, 0, 1e9, &value)))
                run->options.deadline_ns = value > 0 ? (int64_t)(value * 1e6) : -1;
            break;
        case 'p':
            if ((good = number("probation", optarg, 1, 1e9, &value)))
                run->options.probation_frames = (uint32_t)value;
            break;
        case 'N':
            run->name = optarg;
            break;
        case 'j':
            run->say.json = 1;
            break;
        case 'v':
            run->say.verbose = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return 1;
        case ':':
            fprintf(stderr, "keel run: %s needs a value; see keel run --help\n", argv[optind - 1]);
            good = 0;
            break;
        default:
            fprintf(stderr, "keel run: there is no option %s; see keel run --help\n",
                    argv[optind - 1]);
            good = 0;
        }
    }
    if (!good)
        return 3;
    if (optind == argc) {
        fputs("keel run: which module? For example: keel run build/release/modules/ball.so\n",
              stderr);
        return 3;
    }
    if (argc - optind > MODULES_MOST) {
        fprintf(stderr, "keel run: at most %d modules\n", MODULES_MOST);
        return 3;
    }
    return 0;
}

static volatile int stop;

/* A thread of its own takes SIGINT and SIGTERM, so that no module's call is interrupted. */
static void *take_signals(void *user)
{
    const sigset_t *set = user;
    int which;
    if (sigwait(set, &which) == 0)
        stop = 1;
    return NULL;
}

/* 1 when a slot has nothing that runs. */
static int verdict(keel_slot **slots, int count)
{
    for (int i = 0; i < count; i++) {
        struct keel_slot_status status = {.size = sizeof status};
        if (keel_slot_query(slots[i], &status) || status.phase == KEEL_SLOT_WAITING ||
            status.phase == KEEL_SLOT_STOPPED)
            return 1;
    }
    return 0;
}

/* What is left of the frame's time goes to the boundary, but for the pacer's own spin and a margin. */
static void idle(const Pacer *pacer, keel_host *host)
{
    enum { MARGIN_NS = 300 * 1000, SLICE_NS = 50 * 1000 * 1000 };
    if (pacer->period_ns <= 0 || !pacer->deadline_ns)
        return;
    int64_t until = pacer->deadline_ns - pacer->spin_ns - MARGIN_NS;
    while (!stop && !keel_host_quit_asked(host)) {
        int64_t now = clock_now_ns();
        if (now >= until)
            return;
        keel_host_idle(host, until - now > SLICE_NS ? now + SLICE_NS : until);
    }
}

static int go(Run *run, keel_host *host, char **paths, int count)
{
    keel_slot *slots[MODULES_MOST] = {0};
    if (keel_host_serve(host, run->name)) {
        say_line(&run->say, KEEL_LOG_WARN, "control", keel_host_error());
        if (run->name)
            return 2;
    }
    for (int i = 0; i < count; i++) {
        if (keel_host_add(host, paths[i], NULL, &slots[i]) == 0)
            continue;
        if (!slots[i]) {
            say_line(&run->say, KEEL_LOG_ERROR, "run", keel_host_error());
            return 2;
        }
        say_line(&run->say, KEEL_LOG_WARN, "run", "waiting for a build that can run; Ctrl-C ends");
    }
    Pacer pacer;
    pacer_init(&pacer, run->fps);
    for (long long frame = 0; !stop && !keel_host_quit_asked(host); frame++) {
        if (run->frames && frame >= run->frames)
            break;
        idle(&pacer, host);
        pacer_wait(&pacer, &stop);
        if (keel_host_frame(host) < 0) {
            say_line(&run->say, KEEL_LOG_ERROR, "run", keel_host_error());
            return 1;
        }
    }
    return verdict(slots, count);
}

int app_run(int argc, char **argv)
{
    Run run = {.fps = 60, .options.size = sizeof run.options};
    int rc = parse(argc, argv, &run);
    if (rc)
        return rc - 1;
    run.options.log = say_log;
    run.options.log_user = &run.say;

    static sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the call that meets it */
    pthread_t signals;
    if (pthread_create(&signals, NULL, take_signals, &set) == 0)
        pthread_detach(signals);

    keel_host *host;
    if (keel_host_open(&run.options, &host)) {
        say_line(&run.say, KEEL_LOG_ERROR, "run", keel_host_error());
        return 2;
    }
    int status = go(&run, host, argv + optind, argc - optind);
    keel_host_close(host);
    return status;
}
