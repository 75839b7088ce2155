/* What `keel run` and `keel dev` share: the options of a host in a terminal, its signals, its pace
 * and its end. Main thread, which is also the frame thread. */
#ifndef APP_SESSION_H
#define APP_SESSION_H

#include <getopt.h>
#include <keel/host.h>

#include "app/say.h"
#include "app/view.h"
#include "loop/pacer.h"

enum { SESSION_MODULES = 64 };
enum { SESSION_HANDOVER = 2000, SESSION_CANARY }; /* options without a letter */

typedef struct Session {
    const char *command; /* "run": for sentences */
    struct keel_host_options options;
    double fps; /* 0: as many as it goes */
    long long frames;
    const char *name;
    double rewind; /* seconds that slots can go back */
    Say say;
    keel_host *host;
    Pacer pacer;
    View view;
    const char *title; /* of the window */
    void (*heard)(void *user, const char *room,
                  const char *text); /* each line of the host; any thread; or NULL */
    void *heard_user;
    int late_view; /* it is opened while the first module is read and tried */
    int closed;    /* the user closed the window */
    int eager;     /* new code needn't wait for the next frame's time */
    int hurried;   /* the last frame came early, for that */
} Session;

/* The options' rows for getopt_long, and their lines for --help. */
#define SESSION_OPTIONS                                                                            \
    VIEW_OPTIONS, {"frames", required_argument, NULL, 'n'}, {"fps", required_argument, NULL, 'f'}, \
        {"trial", required_argument, NULL, 't'}, {"memory", required_argument, NULL, 'm'},         \
        {"deadline", required_argument, NULL, 'd'}, {"probation", required_argument, NULL, 'p'},   \
        {"handover", required_argument, NULL, SESSION_HANDOVER},                                   \
        {"canary", required_argument, NULL, SESSION_CANARY},                                       \
        {"name", required_argument, NULL, 'N'}, {"json", no_argument, NULL, 'j'},                  \
        {"verbose", no_argument, NULL, 'v'}, {"rewind", required_argument, NULL, 'R'},             \
        {"swap-identical", no_argument, NULL, 'I'},                                                \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
#define SESSION_HELP                                                                         \
    VIEW_HELP                                                                                \
    "  --frames N         end after N frames\n"                                              \
    "  --fps N|max        frames a second (60); max: as many as it goes\n"                   \
    "  --trial MODE       on (try each candidate in a helper process first), off, or\n"      \
    "                     strict (take only what the trial proved)\n"                        \
    "  --memory MODE      how changed memory is found: auto, track, copy or off\n"           \
    "  --deadline MS      longest time for one call of a module; 0: no limit\n"              \
    "  --swap-identical   swap also a rebuild whose code is the same\n"                      \
    "  --probation N      frames that the generation before stays ready (120)\n"             \
    "  --rewind SECONDS   how far it can be put back in time (keel dev: 10; else 0)\n"       \
    "  --handover shadow  let a candidate run beside the running generation, on the\n"       \
    "                     same frames, and take over when its state was the same\n"          \
    "                     five times in a row; shadow,frames=N,lag=MS,wait=MS\n"             \
    "  --canary 1/4       of the slots of one file a quarter takes a new build first, the\n" \
    "                     others when it has proven itself there\n"                          \
    "  --name NAME        name or path of the control socket (default)\n"                    \
    "  --json             one JSON object a line instead of text\n"                          \
    "  -v, --verbose      say more\n"

void session_init(Session *session, const char *command);

/* Takes one option as getopt_long (with ":" first) gave it. 0 after a sentence on stderr. Not for
 * 'h'. */
int session_option(Session *session, int option, char **argv);

/* From here on SIGINT and SIGTERM only make session_stopped true; threads made later inherit it. */
void session_signals(void);
int session_stopped(const Session *session);

/* Opens the host, its control socket and the window, which is called `title`. 0, or the exit
 * status after a line. */
int session_open(Session *session, const char *title);
/* The next frame at its time. 0, or the exit status after a line. */
int session_frame(Session *session);
/* 1 when a slot has nothing that runs. */
int session_verdict(keel_slot *const *slots, int count);
void session_close(Session *session);

void session_say(Session *session, uint32_t level, const char *text);

#endif
