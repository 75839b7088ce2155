/* `keel diff OLD.so NEW.so`: what a rebuild changed, without running either. Owns the two sealed
 * copies; all deep reading happens in a child. Main thread. */
#include "app/diff.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/apart.h"
#include "app/arch.h"
#include "app/commands.h"
#include "app/text.h"
#include "image/macho.h"
#include "state/migrate.h"
#include "watch/settle.h"

enum { SAME = 0, DIFFERS = 1, IMPOSSIBLE = 2 };

static const char HELP[] =
    "usage: keel diff OLD.so NEW.so [--json] [--arch x86-64|arm64]\n"
    "\n"
    "Says what a rebuild changed, without running either image: functions (by fingerprints that "
    "do\n"
    "not change when code merely moves), statics and their initializers, types field by field,\n"
    "services, libraries; then in one line what that means for a swap.\n"
    "\n"
    "  --json   one JSON object instead of text\n"
    "  --arch   which part of universal files for macOS (this machine's)\n"
    "\n"
    "Built by keel_add_module(), images carry all that is needed. Of others it compares what "
    "there\n"
    "is and names what is missing: symbols, --emit-relocs, -g. Colours only on a terminal, and "
    "not\n"
    "when NO_COLOR is set.\n"
    "\n"
    "Exit status: 0 they do the same, 1 they differ, 2 a file could not be read or the command is\n"
    "wrong.\n"
    "\n"
    "example: keel diff old/ball.so build/ball.so\n";

static void refuse(DiffSide *side, int code, const Error *err)
{
    if (!code || side->refused)
        return;
    side->refused = code;
    side->reason = *err;
}

/* Each alone: an image that takes its reader over must not answer for the other as well. */
static int read_apart(const void *data, size_t bytes, Reading **ret, Error *err)
{
    Apart found;
    int rc = apart_run(reading_make, data, bytes, READING_ROOM, &APART_AT_LEISURE, &found, err);
    return rc ? rc : reading_open(apart_give(&found), ret, err);
}

static int look(DiffSide *side, const Settled *settled, const void *data, Error *err)
{
    Error why;
    if ((settled->bytes < SELFMAG || memcmp(data, ELFMAG, SELFMAG)) &&
        !macho_is(data, settled->bytes))
        return err_set(err, KEEL_EIMAGE, "it is neither an ELF nor a Mach-O image");
    int copy = fcntl(settled->memfd, F_DUPFD_CLOEXEC, 3);
    refuse(side, image_look(copy, settled->bytes, settled->hash, side->path, &side->image, &why),
           &why);
    int rc = read_apart(data, settled->bytes, &side->reading, err);
    if (rc)
        return rc;
    const Reading *reading = side->reading;
    const char *missing = NULL;
    const Inspection *inspection = reading_inspection(reading, &missing);
    if (!inspection || !reading_anatomy(reading, &missing))
        return err_set(err, KEEL_EIMAGE, "%s", missing);
    side->inspection = *inspection;
    refuse(side, inspect_refuse(inspection, &why), &why);
    side->anatomy = reading->anatomy;
    side->schema = reading->schema; /* what can't be read only isn't foretold */
    return KEEL_OK;
}

/* What a swap would do with the state of the one for the other. */
static void foretell(Diff *d)
{
    Migration *migration = NULL;
    Error err;
    if (!d->before.schema.type_count || !d->after.schema.type_count)
        return;
    int rc = migration_new(&d->before.schema, &d->after.schema, &migration, &err);
    d->is_stuck = rc == KEEL_ETYPE;
    if (d->is_stuck)
        buf_printf(&d->state, "refused: %s\n", err.text);
    else if (!rc)
        migration_foretell(migration, &d->state);
    migration_free(migration);
}

static int learn(DiffSide *side, const char *arch, Error *err)
{
    Settled settled;
    int rc = settle_read(side->path, NULL, &settled, err);
    if (rc)
        return rc;
    if ((rc = arch_pick(&settled, arch, err))) {
        settled_done(&settled);
        return err_wrap(err, "%s", side->path);
    }
    void *data = mmap(NULL, settled.bytes, PROT_READ, MAP_SHARED, settled.memfd, 0);
    if (data == MAP_FAILED) {
        rc = err_set(err, KEEL_ENOMEM, "cannot map it");
    } else {
        rc = look(side, &settled, data, err);
        munmap(data, settled.bytes);
    }
    settled_done(&settled);
    return rc ? err_wrap(err, "%s", side->path) : KEEL_OK;
}

static void side_done(DiffSide *side)
{
    image_unref(side->image);
    reading_free(side->reading);
}

static int usage_error(const char *what, const char *which)
{
    text_line(stderr, "keel diff: %s%s; see keel diff --help", what, which);
    return IMPOSSIBLE;
}

static int is_foreign(const DiffSide *side)
{
    return side->image && *side->image->foreign;
}

static int compare(Diff *d, const char *arch, Error *err)
{
    int rc = learn(&d->before, arch, err);
    rc = rc ? rc : learn(&d->after, arch, err);
    if (!rc && is_foreign(&d->before) != is_foreign(&d->after))
        rc = err_set(err, KEEL_EUNSUPPORTED,
                     "one is built for macOS, the other for Linux: compare builds for one system");
    if (!rc)
        rc = compare_anatomies(&d->before.anatomy, &d->after.anatomy, &d->difference, err);
    if (!rc) {
        foretell(d);
        diff_judge(d);
    }
    return rc;
}

static int answer(Diff *d, const char *arch, int json)
{
    Error err;
    int rc = compare(d, arch, &err);
    if (rc) {
        fputs("keel diff: ", stderr);
        text_print(stderr, err.text);
        fputc('\n', stderr);
        return IMPOSSIBLE;
    }
    const char *no_colour = getenv("NO_COLOR");
    if (json)
        diff_print_json(d);
    else
        diff_print_text(d, isatty(STDOUT_FILENO) && !(no_colour && *no_colour));
    return d->same ? SAME : DIFFERS;
}

int app_diff(int argc, char **argv)
{
    const char *paths[2] = {NULL, NULL}, *arch = NULL;
    int json = 0, options = 1, count = 0;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (options && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            fputs(HELP, stdout);
            return SAME;
        }
        if (options && !strcmp(arg, "--json"))
            json = 1;
        else if (options && !strcmp(arg, "--arch") && i + 1 < argc && arch_known(argv[i + 1]))
            arch = argv[++i];
        else if (options && !strcmp(arg, "--arch"))
            return usage_error("--arch takes x86-64 or arm64", "");
        else if (options && !strcmp(arg, "--"))
            options = 0;
        else if (options && *arg == '-' && arg[1])
            return usage_error("there is no option ", arg);
        else if (count == 2)
            return usage_error("it takes two files, not also ", arg);
        else
            paths[count++] = arg;
    }
    if (count < 2 || !*paths[0] || !*paths[1])
        return usage_error("it needs two files", "");
    Diff *d = calloc(1, sizeof *d);
    if (!d)
        return usage_error("no memory", "");
    d->before.path = paths[0];
    d->after.path = paths[1];
    int status = answer(d, arch, json);
    difference_done(&d->difference);
    side_done(&d->before);
    side_done(&d->after);
    buf_done(&d->state);
    free(d);
    return status;
}
