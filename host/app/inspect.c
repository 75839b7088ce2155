/* `keel inspect FILE`: all that is known of an image without running it, and whether it would be
 * accepted. Owns the sealed copy that it reads; runs nothing of the file. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <unistd.h>

#include <keel/base.h>

#include "app/arch.h"
#include "app/commands.h"
#include "app/inspect.h"
#include "app/text.h"
#include "image/macho.h"
#include "watch/settle.h"

enum { ACCEPTED = 0, REFUSED = 1, IMPOSSIBLE = 2 };

static const char HELP[] =
    "usage: keel inspect FILE [--json] [--arch x86-64|arm64]\n"
    "\n"
    "Says what is known of a built module without running any of it: `accepted`, or why it would "
    "be\n"
    "refused; name, version, ABI, services it needs, build id, hash, libraries and where they "
    "lie,\n"
    "symbols, sections, types for state, hazards, and what it lacks and what that costs.\n"
    "\n"
    "  --json   one JSON object instead of text\n"
    "  --arch   which part of a universal file for macOS (this machine's); such files can be\n"
    "           looked at here, not run\n"
    "\n"
    "Exit status: 0 accepted, 1 refused, 2 the file could not be read or the command is wrong.\n"
    "\n"
    "example: keel inspect build/ball.so\n";

static void refuse(Report *r, int code)
{
    if (!r->code)
        r->code = code;
}

/* Sections, types, statics: nice to have, so what can't be read is left out. */
static void read_details(Report *r, const void *data, size_t bytes)
{
    if (apart_run(reading_make, data, bytes, READING_ROOM, &APART_AT_LEISURE, &r->apart, NULL))
        return;
    if (reading_check(r->apart.data, r->apart.bytes, &r->details, NULL))
        apart_done(&r->apart);
    else
        r->detailed = 1;
}

static void look(Report *r, Settled *settled)
{
    Error err;
    void *data = mmap(NULL, settled->bytes, PROT_READ, MAP_SHARED, settled->memfd, 0);
    int copy = fcntl(settled->memfd, F_DUPFD_CLOEXEC, 3);
    r->settled = 1;
    r->bytes = settled->bytes;
    r->hash = settled->hash;
    refuse(r, image_look(copy, settled->bytes, settled->hash, r->path, &r->image, &r->err));
    if (r->image && *r->image->foreign)
        refuse(r, err_set(&r->err, KEEL_EUNSUPPORTED, "%s: %s", r->path, r->image->foreign));
    if (data == MAP_FAILED)
        return;
    int known = (settled->bytes >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG)) ||
                macho_is(data, settled->bytes);
    int rc = known ? inspect_apart(data, settled->bytes, &r->inspection, &err)
                   : err_set(&err, KEEL_EIMAGE, "it is no image");
    if (!rc)
        read_details(r, data, settled->bytes);
    munmap(data, settled->bytes);
    r->inspected = !rc;
    if (!rc && !r->code)
        rc = inspect_refuse(&r->inspection, &err);
    if (rc && !r->code) {
        r->err = err;
        err_wrap(&r->err, "%s", r->path);
        r->code = rc;
    }
}

/* 0 or IMPOSSIBLE. A file that is there but no module is an answer, not a failure. */
static int learn(Report *r)
{
    Settled settled;
    int rc = settle_read(r->path, NULL, &settled, &r->err);
    if (!rc && (rc = arch_pick(&settled, r->arch, &r->err))) {
        settled_done(&settled);
        err_wrap(&r->err, "%s", r->path);
        refuse(r, rc);
        return IMPOSSIBLE;
    }
    if (!rc) {
        look(r, &settled);
        settled_done(&settled);
        return r->code == KEEL_EUNSUPPORTED && !r->inspected && r->image ? IMPOSSIBLE : 0;
    }
    refuse(r, rc);
    return rc == KEEL_EIMAGE || rc == KEEL_EPARTIAL || rc == KEEL_ELIMIT ? 0 : IMPOSSIBLE;
}

/* A file's name may hold anything: nothing of it steers the terminal. */
static void print_tame(const char *before, const char *text, FILE *to)
{
    fputs(before, to);
    text_print(to, text);
    fputc('\n', to);
}

static void print(const Report *r, int json)
{
    json_t *facts = inspect_facts(r);
    if (json) {
        json_dumpf(facts, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_tame(r->code ? "refused: " : "accepted: ", r->code ? r->err.text : r->path, stdout);
        inspect_print(stdout, facts);
    }
    json_decref(facts);
}

static int usage_error(const char *what, const char *which)
{
    text_line(stderr, "keel inspect: %s%s; see keel inspect --help", what, which);
    return IMPOSSIBLE;
}

int app_inspect(int argc, char **argv)
{
    Report r = {0};
    int json = 0, options = 1;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (options && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            fputs(HELP, stdout);
            return ACCEPTED;
        }
        if (options && !strcmp(arg, "--json"))
            json = 1;
        else if (options && !strcmp(arg, "--arch") && i + 1 < argc && arch_known(argv[i + 1]))
            r.arch = argv[++i];
        else if (options && !strcmp(arg, "--arch"))
            return usage_error("--arch takes x86-64 or arm64", "");
        else if (options && !strcmp(arg, "--"))
            options = 0;
        else if (options && *arg == '-' && arg[1])
            return usage_error("there is no option ", arg);
        else if (r.path)
            return usage_error("it takes one file, not also ", arg);
        else
            r.path = arg;
    }
    if (!r.path || !*r.path)
        return usage_error("it needs a file", "");
    int rc = learn(&r);
    if (rc && !json)
        print_tame("keel inspect: ", r.err.text, stderr);
    else
        print(&r, json);
    if (r.detailed)
        apart_done(&r.apart);
    image_unref(r.image);
    return rc ? rc : r.code ? REFUSED : ACCEPTED;
}
