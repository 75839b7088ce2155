/* `keel log`: the last records of a host that was killed, or of one that runs. Main thread. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "app/log_files.h"
#include "app/say.h"
#include "app/text.h"
#include "base/log.h"

static const char help[] =
    "usage: keel log [FILE | PID] [--json] [-v]\n"
    "\n"
    "Prints the last 1,024 records of a host's log from its file, which is there while it runs\n"
    "and stays when it is killed. Without an argument: of the host that wrote last. The files\n"
    "log-PID.ring lie beside the reports of faults ($KEEL_REPORTS).\n"
    "\n"
    "  --json      one JSON object a line\n"
    "  -v          also what is only of interest when something is being looked for\n"
    "\n"
    "example: keel log 4711\n"
    "\n"
    "exit status: 0 printed, 1 there is no such log, 2 wrong use or it can't be read\n";

int app_log(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static LogRecord records[LOG_RECORDS];
    Say say = {0};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "vh", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        say.json |= option == 'j';
        say.verbose |= option == 'v';
        if (option == '?') {
            text_line(stderr, "keel log: there is no option %s; see keel log --help",
                      argv[optind - 1]);
            return 2;
        }
    }
    if (argc - optind > 1) {
        fputs("keel log: one file or process, please; see keel log --help\n", stderr);
        return 2;
    }
    char found[PATH_MAX], *end = NULL;
    const char *path = argv[optind];
    long pid = path ? strtol(path, &end, 10) : 0;
    if (!path || (*path && !*end)) {
        path = log_files_find(pid, found, sizeof found);
        if (!path) {
            text_line(stderr, "keel log: no host %sleft a log here", pid ? "of that number " : "");
            return 1;
        }
    }
    Error err = {0};
    int count = log_read_file(path, records, &err);
    if (count < 0) {
        text_line(stderr, "keel log: %s", err.text);
        return 2;
    }
    for (int i = 0; i < count; i++)
        say_record(&say, &records[i]);
    return 0;
}
