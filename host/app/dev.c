/* `keel dev`: a host in a terminal that builds what it runs. The main thread runs the frames; the
 * builder's thread watches, builds and asks for swaps. Owns the session and what both share. */
#include <keel/log.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/dev.h"
#include "app/text.h"
#include "base/clock.h"
#include "host/host.h"

static const char help[] =
    "usage: keel dev FOLDER|FILE.c [--build 'COMMAND'] [OPTIONS]\n"
    "\n"
    "Builds a module, runs it, and builds and swaps it again whenever a source below the folder\n"
    "is saved. What builds it is found by looking: CMakeLists.txt, Makefile, or one source file.\n"
    "\n"
    "  --build 'COMMAND'  what builds the folder instead (run by /bin/sh there)\n"
    "  --hint TEXT        a line on screen until the first swap\n"
    "  --write-back       a slider that is let go is stored in the source\n" SESSION_HELP "\n"
    "example: keel new fish\n"
    "         keel dev fish\n"
    "         then change fish/fish.c and save\n"
    "\n"
    "exit status: 0 ended as asked, 1 nothing ran at the end, 2 wrong use, 70 a fault that this\n"
    "process could not get over\n";

enum { REWIND_S = 10 };

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Session *session, const char **ret_command)
{
    static const struct option options[] = {{"build", required_argument, NULL, 'b'},
                                            {"hint", required_argument, NULL, 'i'},
                                            {"write-back", no_argument, NULL, 'w'},
                                            SESSION_OPTIONS,
                                            {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":vh", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return 1;
        }
        if (option == 'i' || option == 'w') {
            if (option == 'i')
                session->view.hint = optarg;
            else
                session->view.store_always = 1;
            continue;
        }
        if (option == 'b') {
            *ret_command = optarg;
            if (optarg[strspn(optarg, " \t\n")])
                continue;
            fputs("keel dev: --build takes a command, as in --build 'make -j4'\n", stderr);
            return 3;
        }
        if (!session_option(session, option, argv))
            return 3;
    }
    if (argc - optind == 1)
        return 0;
    fputs(argc == optind ? "keel dev: which folder or file? For example: keel dev fish\n"
                         : "keel dev: one folder or file, please; see keel dev --help\n",
          stderr);
    return 3;
}

/* "Store in the source" on screen. The builder's thread writes: a frame waits for no disk. */
static void store(void *user, const char *slot, const struct Tweak *tweak)
{
    DevShared *shared = user;
    (void)slot;
    pthread_mutex_lock(&shared->lock);
    int room = shared->store_count < DEV_STORES;
    if (room) {
        DevStore *one = &shared->stores[shared->store_count++];
        *one = (DevStore){.kind = tweak->kind,
                          .initial = tweak->initial,
                          .value = tweak->value,
                          .precision = (tweak->most - tweak->least) * 1e-9};
        snprintf(one->name, sizeof one->name, "%s", tweak->name);
        snprintf(one->file, sizeof one->file, "%s%s%s",
                 tweak->file[0] == '/' ? "" : shared->plan.folder, tweak->file[0] == '/' ? "" : "/",
                 tweak->file);
    }
    pthread_mutex_unlock(&shared->lock);
    uint64_t one = 1;
    if (room && write(shared->store_fd, &one, sizeof one) != sizeof one)
        session_say(shared->session, KEEL_LOG_WARN, "the value can't be stored: try again");
}

/* A fault's line names the place; whose line of the source that is, the builder's thread finds out.
 */
static void heard(void *user, const char *room, const char *text)
{
    DevShared *shared = user;
    if (strcmp(room, "fault") || !strstr(text, "+0x"))
        return;
    pthread_mutex_lock(&shared->lock);
    snprintf(shared->crash, sizeof shared->crash, "%s", text);
    pthread_mutex_unlock(&shared->lock);
    uint64_t one = 1;
    if (write(shared->store_fd, &one, sizeof one) != sizeof one)
        return; /* so often that the counter is full: it was told */
}

/* The sentence may name a file whose name holds anything. */
static int refuse(const Error *err)
{
    fputs("keel dev: ", stderr);
    text_print(stderr, err->text);
    fputc('\n', stderr);
    return 2;
}

static void add_modules(DevShared *shared)
{
    struct keel_slot_options options = {.size = sizeof options, .no_watch = 1};
    char assets[PATH_MAX];
    struct stat st;
    snprintf(assets, sizeof assets, "%s/assets", shared->plan.folder);
    if (!stat(assets, &st) && S_ISDIR(st.st_mode)) /* else beside the built module */
        options.assets = assets;
    keel_slot *slots[DEV_MODULES] = {0};
    for (int i = 0; i < shared->path_count; i++)
        if (keel_host_add(shared->session->host, shared->paths[i], &options, &slots[i]))
            session_say(shared->session, slots[i] ? KEEL_LOG_WARN : KEEL_LOG_ERROR,
                        keel_host_error());
    pthread_mutex_lock(&shared->lock);
    memcpy(shared->slots, slots, sizeof slots);
    shared->slot_count = shared->path_count;
    pthread_mutex_unlock(&shared->lock);
}

static int paths_are_there(DevShared *shared)
{
    pthread_mutex_lock(&shared->lock);
    int there = shared->path_count && !shared->slot_count;
    pthread_mutex_unlock(&shared->lock);
    return there;
}

static int has_ended(DevShared *shared)
{
    pthread_mutex_lock(&shared->lock);
    int ended = shared->ended;
    pthread_mutex_unlock(&shared->lock);
    return ended;
}

/* When new code had its first picture shown. */
static void note_pictures(DevShared *shared)
{
    if (!shared->session->view.screen)
        return;
    for (int i = 0; i < shared->slot_count; i++) {
        const keel_slot *slot = shared->slots[i];
        uint64_t number = slot && slot->running ? slot->running->number : 0;
        if (number == shared->shown_generation[i])
            continue;
        pthread_mutex_lock(&shared->lock);
        shared->shown_generation[i] = number;
        shared->shown_ns[i] = clock_now_ns();
        pthread_mutex_unlock(&shared->lock);
    }
}

static int frames(DevShared *shared)
{
    Session *session = shared->session;
    for (long long frame = 0; !session_stopped(session) && !has_ended(shared);) {
        if (session->frames && frame >= session->frames)
            break;
        if (!shared->slot_count && paths_are_there(shared))
            add_modules(shared);
        int status = session_frame(session);
        if (status)
            return status;
        note_pictures(shared);
        frame += shared->slot_count > 0;
    }
    return shared->slot_count ? session_verdict(shared->slots, shared->slot_count) : 1;
}

/* The builder may wait for a swap, which needs frames. */
static void end_thread(DevShared *shared, pthread_t thread, int status)
{
    uint64_t one = 1;
    if (write(shared->stop_fd, &one, sizeof one) != sizeof one)
        return;
    while (!has_ended(shared) && status != 70 && keel_host_frame(shared->session->host) >= 0)
        usleep(1000);
    pthread_join(thread, NULL);
}

static int go(DevShared *shared)
{
    Session *session = shared->session;
    char how[4400], text[4500];
    dev_plan_tell(&shared->plan, how, sizeof how);
    snprintf(text, sizeof text, "built by %s; Ctrl-C ends", how);
    session_say(session, KEEL_LOG_INFO, text);
    pthread_t thread;
    if (pthread_create(&thread, NULL, dev_thread, shared)) {
        session_say(session, KEEL_LOG_ERROR, "no thread for builds: too many threads");
        return 2;
    }
    int status = frames(shared);
    end_thread(shared, thread, status);
    return status;
}

int app_dev(int argc, char **argv)
{
    Session session;
    DevShared shared = {.session = &session, .lock = PTHREAD_MUTEX_INITIALIZER};
    const char *command = NULL;
    session_init(&session, "dev");
    session.rewind = REWIND_S;
    session.eager = 1;
    session.view.quiet = 0;
    int status = parse(argc, argv, &session, &command);
    if (status)
        return status - 1;
    Error err = {0};
    if (dev_plan(argv[optind], command, &shared.plan, &err))
        return refuse(&err);
    shared.colour = !session.say.json && isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    shared.stop_fd = eventfd(0, EFD_CLOEXEC);
    shared.store_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    session.view.store = store;
    session.view.store_user = &shared;
    session.heard = heard;
    session.heard_user = &shared;
    session_signals();
    status = session_open(&session, argv[optind]);
    if (!status) /* tweaks are found by it */
        snprintf(session.host->sources, sizeof session.host->sources, "%s", shared.plan.folder);
    if (!status && shared.stop_fd >= 0 && shared.store_fd >= 0)
        status = go(&shared);
    session_close(&session);
    if (shared.stop_fd >= 0)
        close(shared.stop_fd);
    if (shared.store_fd >= 0)
        close(shared.store_fd);
    for (int i = 0; i < shared.path_count; i++)
        free(shared.paths[i]);
    dev_plan_done(&shared.plan);
    return status;
}
