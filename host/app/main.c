/* The program `keel`: finds the command and hands over. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/text.h"
#include "base/crypto.h"
#include "base/trace.h"
#include "module/loader.h"

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run modules and swap them when they are rebuilt", app_run},
    {"dev", "build a module, run it, and swap it whenever it is saved", app_dev},
    {"new", "make a folder with a module to begin with", app_new},
    {"inspect", "say what is known of an image, without running it", app_inspect},
    {"diff", "say what a rebuild changed", app_diff},
    {"types", "keep a module's types in the file, so that it can be stripped", app_types},
    {"key", "make and show the keys that modules are signed with", app_key},
    {"manifest", "write, sign and check what hosts with --trust ask for", app_manifest},
    {"ctl", "ask and steer a running host", app_ctl},
    {"log", "the last records of a host that was killed", app_log},
    {"record", "run a module and write down what it is given", app_record},
    {"replay", "give a recorded session to another build; where do they part?", app_replay},
    {"state", "look at a slot's state by names, compare two, set a value", app_state},
    {"smoke", "may NEW.so replace OLD.so in a running process?", app_smoke},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *to)
{
    fputs("usage: keel COMMAND [ARGUMENTS]\n\n", to);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\n`keel COMMAND --help` tells more, with an example; `keel --version` tells the "
          "versions.\n",
          to);
}

/* exit would run the destructors of modules that could not be unloaded. */
static int leave(int status)
{
    if (loader_left()) {
        fflush(NULL);
        _exit(status);
    }
    return status;
}

/* What was asked is told only when it could be written; a host has more to do than to speak. */
static int told(int status, int (*command)(int argc, char **argv))
{
    int host = command == app_run || command == app_dev || command == app_record;
    int before = ferror(stdout), failed = fflush(stdout);
    if (status || host || (!before && !failed))
        return status;
    fprintf(stderr, "keel: cannot write the answer%s%s\n", failed ? ": " : "",
            failed ? strerror(errno) : "");
    return 2;
}

int main(int argc, char **argv)
{
    trace_mark("main");
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, commands[i].name))
            return leave(told(commands[i].run(argc - 1, argv + 1), commands[i].run));
    if (!strcmp(name, "--version")) {
        const char *crypto = crypto_version();
        printf("keel %s, ABI %u.%u\ntrust: %s\n", KEEL_VERSION, KEEL_ABI >> 16, KEEL_ABI & 0xffff,
               crypto ? crypto : "off (built without OpenSSL)");
        return 0;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        usage(stdout);
        return 0;
    }
    if (*name) {
        text_line(stderr, "keel: there is no command \"%s\"", name);
        putc('\n', stderr);
    }
    usage(stderr);
    return 2;
}
