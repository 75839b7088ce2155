/* `keel ctl`: asks and steers a running host over its control socket. Owns the connection; knows
 * the words of the protocol and how people read the answers. Main thread. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/ctl.h"
#include "app/status_view.h"
#include "app/text.h"
#include "control/client.h"
#include "control/message.h"

static const char help[] =
    "usage: keel ctl [OPTIONS] COMMAND [ARGUMENTS]\n"
    "\n"
    "Asks and steers a running host.\n"
    "\n"
    "  status                    what runs: slots, generations, state\n"
    "  swap [SLOT…]              look at the modules' files now and swap them together, all or "
    "none\n"
    "       --file PATH          another file, for one slot\n"
    "       --retry              also bytes that faulted before\n"
    "       --same               also bytes that run already, and rebuilds of the same code\n"
    "       --force              both\n"
    "  rollback [SLOT]           back to the generation before\n"
    "       --state now|before   with the state as it is (now), or as it was at the swap (before)\n"
    "  send SLOT TEXT            a message to the module, as an event\n"
    "  input STEP…               what somebody would do by hand, to all slots or --slot NAME:\n"
    "                            'move 10 20' down up 'click 10 20' 'wheel 0 -1' 'key ctrl+c'\n"
    "                            'text hello' 'resize 800 600' frame 'frame 10' …\n"
    "  pause [on|off]            stand still, or go on\n"
    "  frame-step [N]            run N frames (1) and stand still\n"
    "  rewind SECONDS            back in time, as far as it is kept (keel dev, keel run --rewind)\n"
    "       --frames             a number of frames instead\n"
    "       --replay             from there give the modules again what they were given\n"
    "  tweak [NAME[=VALUE]…]     what can be set while it runs, and set it; VALUE may be default\n"
    "        --slot SLOT         of this slot only\n"
    "        --write-back        store the values in the sources, as the new defaults\n"
    "  screenshot FILE           what the window shows, as PNG\n"
    "  snapshot FILE [SLOT]      the slot's whole state, for keel state and keel replay --from\n"
    "        --foreign           also where pointers lead out of it\n"
    "  log [-n N] [--follow]     the newest N lines (20), and those to come\n"
    "  quit                      end the host\n"
    "\n"
    "  --name NAME               the host's name (default)\n"
    "  --socket PATH             its socket, when it has no name\n"
    "  --timeout SECONDS         longest wait for an answer (60)\n"
    "  --json                    the answer as one JSON object a line\n"
    "\n"
    "example: keel ctl swap ball && keel ctl status\n"
    "\n"
    "exit status: 0 done, 1 the host said no, 2 no host there or wrong use\n";

enum { LOG_LINES = 20, FOLLOW_NS = 200000000 };

int ctl_wrong(const char *format, const char *what)
{
    fputs("keel ctl: ", stderr);
    fprintf(stderr, format, what);
    fputs("; see keel ctl --help\n", stderr);
    return TROUBLE;
}

/* ---- asking ---- */

static int say_error(const Ctl *ctl, const Error *err)
{
    int answered = ctl->client && client_answered(ctl->client);
    if (ctl->json) {
        json_t *error = json_pack("{s:b, s:{s:s, s:o}}", "ok", 0, "error", "code",
                                  err_name(err->code), "text", message_text(err->text));
        json_dumpf(error, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(error);
    } else {
        fputs("keel ctl: ", stderr);
        text_print(stderr, err->text);
        fputc('\n', stderr);
    }
    return answered ? REFUSED : TROUBLE;
}

int ctl_ask(Ctl *ctl, const char *cmd, json_t *args, json_t **ret_result)
{
    Error err = {0};
    int code = 0;
    int64_t timeout_ns = (int64_t)(ctl->timeout * 1e9);
    if (!ctl->client)
        code = client_open(ctl->target, timeout_ns, &ctl->client, &err);
    if (!code)
        code = client_call(ctl->client, cmd, args, timeout_ns, ret_result, &err);
    json_decref(args);
    return code ? say_error(ctl, &err) : DONE;
}

void ctl_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT);
    putchar('\n');
}

/* ---- the commands; each is given what stands behind its name ---- */

/* `print` is for people; NULL: that it was done is all there is to say. */
static int ask_and_tell(Ctl *ctl, const char *cmd, json_t *args,
                        void (*print)(const json_t *result))
{
    json_t *result;
    int status = ctl_ask(ctl, cmd, args, &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    else if (print)
        print(result);
    json_decref(result);
    return DONE;
}

static void print_status(const json_t *result)
{
    status_view_print(stdout, result);
}

static int ask_status(Ctl *ctl, int count, char **args)
{
    if (count)
        return ctl_wrong("status takes no argument, not \"%s\"", args[0]);
    return ask_and_tell(ctl, "status", NULL, print_status);
}

/* What a swap or a rollback did, one line a slot. */
static void print_swapped(const json_t *result)
{
    size_t i;
    json_t *slot;
    json_array_foreach(json_object_get(result, "slots"), i, slot)
    {
        const char *name = json_string_value(json_object_get(slot, "name"));
        const char *text = json_string_value(json_object_get(slot, "text"));
        text_print(stdout, name ? name : "?");
        fputs(": ", stdout);
        if (text && *text)
            text_print(stdout, text);
        else
            printf("generation %lld",
                   (long long)json_integer_value(json_object_get(slot, "generation")));
        putchar('\n');
    }
}

static int ask_swap(Ctl *ctl, int count, char **args)
{
    if (ctl->file && count > 1)
        return ctl_wrong("--file is for one slot, and \"%s\" is a second", args[1]);
    json_t *request = json_object();
    if (count) {
        json_t *slots = json_array();
        for (int i = 0; i < count; i++) {
            json_t *name = json_string(args[i]);
            if (!name) {
                json_decref(slots);
                json_decref(request);
                return ctl_wrong("the name of a slot is UTF-8, not \"%s\"", "?");
            }
            json_array_append_new(slots, name);
        }
        json_object_set_new(request, "slots", slots);
    }
    if (ctl->file) {
        /* The host may run in another folder. */
        char whole[PATH_MAX];
        json_t *path = realpath(ctl->file, whole) ? json_string(whole) : NULL;
        if (!path) {
            json_decref(request);
            text_line(stderr, "keel ctl: cannot use %s: %s", ctl->file,
                      errno ? strerror(errno) : "its name is not UTF-8");
            return TROUBLE;
        }
        json_object_set_new(request, "file", path);
    }
    if (ctl->retry)
        json_object_set_new(request, "retry", json_true());
    if (ctl->same)
        json_object_set_new(request, "same", json_true());
    return ask_and_tell(ctl, "swap", request, print_swapped);
}

static int ask_rollback(Ctl *ctl, int count, char **args)
{
    if (count > 1)
        return ctl_wrong("rollback takes one slot, and \"%s\" is a second", args[1]);
    if (ctl->state && strcmp(ctl->state, "now") && strcmp(ctl->state, "before"))
        return ctl_wrong("--state is now or before, not \"%s\"", ctl->state);
    return ask_and_tell(
        ctl, "rollback",
        json_pack("{s:s*, s:s*}", "slot", count ? args[0] : NULL, "state", ctl->state),
        print_swapped);
}

static int ask_send(Ctl *ctl, int count, char **args)
{
    if (count != 2)
        return ctl_wrong("send takes a slot and one text, as in \"%s\"",
                         "keel ctl send life glider");
    json_t *request = json_pack("{s:s, s:s}", "slot", args[0], "text", args[1]);
    if (!request)
        return ctl_wrong("%s: a slot's name and the text are UTF-8", "send");
    return ask_and_tell(ctl, "send", request, NULL);
}

static int ask_input(Ctl *ctl, int count, char **args)
{
    if (!count)
        return ctl_wrong("%s: which steps? For example: keel ctl input 'move 10 20' down up",
                         "input");
    json_t *steps = json_array();
    for (int i = 0; i < count; i++)
        if (json_array_append_new(steps, json_string(args[i]))) {
            json_decref(steps);
            return ctl_wrong("%s: steps are UTF-8", "input");
        }
    return ask_and_tell(ctl, "input", json_pack("{s:o, s:s*}", "steps", steps, "slot", ctl->slot),
                        NULL);
}

static int ask_pause(Ctl *ctl, int count, char **args)
{
    int on = !count || !strcmp(args[0], "on");
    if (count > 1 || (!on && strcmp(args[0], "off")))
        return ctl_wrong("pause takes on or off, not \"%s\"", args[count - 1]);
    json_t *result;
    int status = ctl_ask(ctl, "pause", json_pack("{s:b}", "on", on), &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    else
        puts(on ? "paused" : "goes on");
    json_decref(result);
    return DONE;
}

static int ask_quit(Ctl *ctl, int count, char **args)
{
    if (count)
        return ctl_wrong("quit takes no argument, not \"%s\"", args[0]);
    return ask_and_tell(ctl, "quit", NULL, NULL);
}

static void print_record(const json_t *record)
{
    double seconds = json_number_value(json_object_get(record, "time"));
    time_t whole = (time_t)seconds;
    struct tm tm;
    char clock[16] = "--:--:--";
    if (localtime_r(&whole, &tm))
        strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    const char *level = json_string_value(json_object_get(record, "level"));
    const char *room = json_string_value(json_object_get(record, "room"));
    const char *text = json_string_value(json_object_get(record, "text"));
    printf("%s.%03d  ", clock, (int)((seconds - (double)whole) * 1000) % 1000);
    printf("%-5.5s  ", level ? level : "");
    printf("%-8.8s  ", room ? room : "");
    text_print(stdout, text ? text : "");
    putchar('\n');
}

/* One fetch of the log: what is newer than `*after`. */
static int fetch_log(Ctl *ctl, json_int_t *after, long lines)
{
    json_t *result;
    int status = ctl_ask(
        ctl, "log", json_pack("{s:I, s:I}", "after", *after, "count", (json_int_t)lines), &result);
    if (status)
        return status;
    size_t i;
    json_t *record;
    if (ctl->json && !ctl->follow)
        ctl_print_json(result);
    else
        json_array_foreach(json_object_get(result, "records"), i, record)
        {
            json_int_t seq = json_integer_value(json_object_get(record, "seq"));
            if (seq > *after)
                *after = seq;
            if (ctl->json)
                ctl_print_json(record);
            else
                print_record(record);
        }
    json_decref(result);
    return fflush(stdout) ? TROUBLE : DONE;
}

static int ask_log(Ctl *ctl, int count, char **args)
{
    if (count)
        return ctl_wrong("log takes no argument, not \"%s\"", args[0]);
    json_int_t after = 0;
    int status = fetch_log(ctl, &after, ctl->lines);
    while (!status && ctl->follow) {
        nanosleep(&(struct timespec){.tv_nsec = FOLLOW_NS}, NULL);
        status = fetch_log(ctl, &after, 1000);
    }
    return status;
}

/* ---- arguments ---- */

static const struct {
    const char *name;
    int (*run)(Ctl *ctl, int count, char **args);
} commands[] = {{"status", ask_status},
                {"swap", ask_swap},
                {"rollback", ask_rollback},
                {"send", ask_send},
                {"input", ask_input},
                {"pause", ask_pause},
                {"frame-step", ctl_frame_step},
                {"rewind", ctl_rewind},
                {"tweak", ctl_tweak},
                {"screenshot", ctl_screenshot},
                {"snapshot", ctl_snapshot},
                {"log", ask_log},
                {"quit", ask_quit}};

static int number(const char *text, double least, double most, double *ret)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= least && value <= most))
        return -1;
    *ret = value;
    return 0;
}

/* -1: go on, otherwise the exit status. */
static int parse(int argc, char **argv, Ctl *ctl)
{
    static const struct option options[] = {{"name", required_argument, NULL, 'N'},
                                            {"socket", required_argument, NULL, 'S'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"file", required_argument, NULL, 'f'},
                                            {"retry", no_argument, NULL, 'r'},
                                            {"same", no_argument, NULL, 's'},
                                            {"force", no_argument, NULL, '!'},
                                            {"state", required_argument, NULL, 'b'},
                                            {"slot", required_argument, NULL, 'l'},
                                            {"write-back", no_argument, NULL, 'w'},
                                            {"frames", no_argument, NULL, 'm'},
                                            {"replay", no_argument, NULL, 'p'},
                                            {"foreign", no_argument, NULL, 'O'},
                                            {"follow", no_argument, NULL, 'F'},
                                            {"lines", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static char path[PATH_MAX];
    double value;
    opterr = 0;
    optind = 0; /* start anew: also for a second call in one process */
    for (int option; (option = getopt_long(argc, argv, ":hn:", options, NULL)) != -1;) {
        switch (option) {
        case 'N':
            ctl->target = optarg;
            break;
        case 'S': /* a path even without a slash */
            snprintf(path, sizeof path, "%s%s", strchr(optarg, '/') ? "" : "./", optarg);
            ctl->target = path;
            break;
        case 't':
            if (number(optarg, 0.001, 86400, &ctl->timeout))
                return ctl_wrong("--timeout takes seconds, 0.001 to 86400, not \"%s\"", optarg);
            break;
        case 'n':
            if (number(optarg, 1, 1024, &value))
                return ctl_wrong("-n takes a number of lines, 1 to 1024, not \"%s\"", optarg);
            ctl->lines = (long)value;
            break;
        case 'f':
            ctl->file = optarg;
            break;
        case 'b':
            ctl->state = optarg;
            break;
        case 'j':
            ctl->json = 1;
            break;
        case 'l':
            ctl->slot = optarg;
            break;
        case 'w':
            ctl->write_back = 1;
            break;
        case 'm':
            ctl->frames = 1;
            break;
        case 'O':
            ctl->foreign = 1;
            break;
        case 'p':
            ctl->replay = 1;
            break;
        case 'r':
            ctl->retry = 1;
            break;
        case '!':
            ctl->same = ctl->retry = 1;
            break;
        case 's':
            ctl->same = 1;
            break;
        case 'F':
            ctl->follow = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return DONE;
        case ':':
            return ctl_wrong("%s needs a value", argv[optind - 1]);
        default:
            return ctl_wrong("there is no option %s", argv[optind - 1]);
        }
    }
    return -1;
}

static int ask_what(void)
{
    char names[200] = "";
    size_t count = sizeof commands / sizeof *commands;
    for (size_t i = 0; i < count; i++) {
        size_t at = strlen(names);
        snprintf(names + at, sizeof names - at, "%s%s",
                 !i               ? ""
                 : i + 1 == count ? " or "
                                  : ", ",
                 commands[i].name);
    }
    return ctl_wrong("what shall I ask: %s", names);
}

int app_ctl(int argc, char **argv)
{
    Ctl ctl = {.lines = LOG_LINES, .timeout = 60};
    int status = parse(argc, argv, &ctl);
    if (status >= 0)
        return status;
    if (optind == argc)
        return ask_what();
    const char *name = argv[optind++];
    size_t i = 0, count = sizeof commands / sizeof *commands;
    while (i < count && strcmp(name, commands[i].name))
        i++;
    if (i == count)
        return ctl_wrong("there is no command \"%s\"", name);
    if ((ctl.file || ctl.retry || ctl.same) && strcmp(name, "swap"))
        return ctl_wrong("--file, --retry, --same and --force belong to swap, not to %s", name);
    if (ctl.state && strcmp(name, "rollback"))
        return ctl_wrong("--state belongs to rollback, not to %s", name);
    if (ctl.write_back && strcmp(name, "tweak"))
        return ctl_wrong("--write-back belongs to tweak, not to %s", name);
    if (ctl.slot && strcmp(name, "tweak") && strcmp(name, "input"))
        return ctl_wrong("--slot belongs to tweak and input, not to %s", name);
    if ((ctl.frames || ctl.replay) && strcmp(name, "rewind"))
        return ctl_wrong("--frames and --replay belong to rewind, not to %s", name);
    status = commands[i].run(&ctl, argc - optind, argv + optind);
    client_close(ctl.client);
    return status;
}
