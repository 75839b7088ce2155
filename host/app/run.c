/* `keel run`: a host in a terminal that runs modules as others build them. Owns nothing beyond its
 * session. Main thread. */
#include <keel/log.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/session.h"
#include "app/trust_options.h"
#include "base/trace.h"

static const char help[] =
    "usage: keel run MODULE.so… [OPTIONS]\n"
    "\n"
    "Runs modules and swaps each between two frames when its file is rebuilt.\n"
    "\n"
    "  --no-watch         swap only when asked to (keel ctl swap)\n"
    "  --assets DIR       folder of the modules' pictures, sounds and texts (NAME.assets or\n"
    "                     assets beside each)\n"
    "  --journal FILE     write down what the module is given, for keel replay (several\n"
    "                     modules: FILE.NAME each)\n"
    "  --state DIR        keep the modules' states in this folder and go on from there\n"
    "  --state-every S    seconds between two snapshots of it (10)\n" TRUST_HELP SESSION_HELP "\n"
    "example: keel run build/release/modules/ball.so --fps 60\n"
    "         then rebuild it, or, from another terminal: keel ctl status\n"
    "\n"
    "exit status: 0 ended as asked, 1 a module did not run, 2 wrong use, 70 a fault that\n"
    "this process could not get over\n";

static const char record_help[] =
    "usage: keel record MODULE.so -o FILE [OPTIONS]\n"
    "\n"
    "Runs a module as keel run does and writes down what it is given, frame by frame, with\n"
    "hashes of its state and the module itself: keel replay gives it to another build.\n"
    "\n"
    "  -o, --output FILE  the journal; one that is there is replaced\n"
    "  --assets DIR       folder of the module's pictures, sounds and texts\n"
    "  --no-watch         swap only when asked to (keel ctl swap)\n" TRUST_HELP SESSION_HELP "\n"
    "example: keel record build/release/modules/ball.so -o ball.journal --frames 600\n"
    "\n"
    "exit status: as keel run\n";

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Session *session, struct keel_slot_options *slots,
                 TrustOptions *trust)
{
    static const struct option options[] = {SESSION_OPTIONS,
                                            TRUST_OPTION,
                                            TRUST_STATE_OPTION,
                                            {"no-watch", no_argument, NULL, 'w'},
                                            {"assets", required_argument, NULL, 'A'},
                                            {"journal", required_argument, NULL, 'J'},
                                            {"state", required_argument, NULL, 'D'},
                                            {"state-every", required_argument, NULL, 'E'},
                                            {"output", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    int records = !strcmp(session->command, "record");
    opterr = 0;
    for (int option;
         (option = getopt_long(argc, argv, records ? ":vho:" : ":vh", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(records ? record_help : help, stdout);
            return 1;
        }
        if (option == 'w')
            slots->no_watch = 1;
        else if (option == 'A')
            slots->assets = optarg;
        else if (option == 'T' || option == 'S')
            trust_option(trust, option, optarg);
        else if (option == (records ? 'o' : 'J'))
            slots->journal = optarg;
        else if (option == 'D' && !records)
            slots->state_folder = optarg;
        else if (option == 'E' && !records) {
            char *end;
            double seconds = strtod(optarg, &end);
            if (end == optarg || *end || !(seconds >= 0.01 && seconds <= 1e6)) {
                fprintf(stderr,
                        "keel run: --state-every takes seconds from 0.01 to 1000000; not \"%s\"\n",
                        optarg);
                return 3;
            }
            slots->state_every_ns = (int64_t)(seconds * 1e9);
        } else if (!session_option(session, option, argv))
            return 3;
    }
    if (optind == argc) {
        fprintf(stderr,
                "keel %s: which module? For example: keel %s build/release/modules/ball.so%s\n",
                session->command, session->command, records ? " -o ball.journal" : "");
        return 3;
    }
    if (records && !slots->journal) {
        fputs("keel record: where to? Give the journal's name: -o ball.journal\n", stderr);
        return 3;
    }
    if (argc - optind > SESSION_MODULES) {
        fprintf(stderr, "keel %s: at most %d modules\n", session->command, SESSION_MODULES);
        return 3;
    }
    return trust_apply(trust, session->command, &session->options) ? 0 : 3;
}

/* Said once, since most who run modules from a shared folder don't think of it. */
static void say_who_is_trusted(Session *session, const char *path)
{
    char real[PATH_MAX], text[PATH_MAX + 200];
    char *slash = realpath(path, real) ? strrchr(real, '/') : NULL;
    if (session->options.trust_key_count)
        return;
    if (slash)
        *slash = 0;
    snprintf(text, sizeof text,
             "whoever can write %s runs code with your rights here; --trust KEY.pub takes signed "
             "builds only",
             !slash  ? "a module's folder"
             : *real ? real
                     : "/");
    session_say(session, KEEL_LOG_INFO, text);
}

static const char *title(const char *path);

static int go(Session *session, const struct keel_slot_options *options, char **paths, int count)
{
    keel_slot *slots[SESSION_MODULES] = {0};
    say_who_is_trusted(session, paths[0]);
    for (int i = 0; i < count; i++) {
        struct keel_slot_options own = *options;
        char journal[4200];
        if (own.journal && count > 1) {
            snprintf(journal, sizeof journal, "%s.%s", own.journal, title(paths[i]));
            own.journal = journal;
        }
        int rc = keel_host_add(session->host, paths[i], &own, &slots[i]);
        if (!rc)
            continue;
        if (!slots[i]) {
            session_say(session, KEEL_LOG_ERROR, keel_host_error());
            return 2;
        }
        if (rc == KEEL_EBUSY) /* not refused: nobody else says it */
            session_say(session, KEEL_LOG_WARN, keel_host_error());
        session_say(session, KEEL_LOG_WARN, "waiting for a build that can run; Ctrl-C ends");
    }
    trace_mark("the modules are there");
    for (long long frame = 0; !session_stopped(session); frame++) {
        if (session->frames && frame >= session->frames)
            break;
        int status = session_frame(session);
        if (status)
            return status;
    }
    return session_verdict(slots, count);
}

/* "ball" of "/some/where/ball.so". */
static const char *title(const char *path)
{
    static char name[64];
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t bytes = dot && dot != base ? (size_t)(dot - base) : strlen(base);
    snprintf(name, sizeof name, "%.*s", (int)(bytes < sizeof name ? bytes : sizeof name - 1), base);
    return name;
}

static int run(const char *command, int argc, char **argv)
{
    Session session;
    session_init(&session, command);
    struct keel_slot_options slots = {.size = sizeof slots};
    TrustOptions trust = {0};
    int status = parse(argc, argv, &session, &slots, &trust);
    if (status)
        return status - 1;
    session.late_view = 1;
    session_signals();
    status = session_open(&session, title(argv[optind]));
    if (!status)
        status = go(&session, &slots, argv + optind, argc - optind);
    session_close(&session);
    return status ? status : session.view.shot_failed;
}

int app_run(int argc, char **argv)
{
    return run("run", argc, argv);
}

int app_record(int argc, char **argv)
{
    return run("record", argc, argv);
}
