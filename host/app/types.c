/* `keel types --embed FILE`: puts what a swap needs to know of a module's types into the file
 * itself, so that its debug information can be stripped off. The file is read in a child of its
 * own, written aside and renamed. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/apart.h"
#include "app/commands.h"
#include "app/text.h"
#include "image/types_section.h"
#include "watch/settle.h"

enum { DONE = 0, NOTHING = 1, IMPOSSIBLE = 2 };
static const size_t ROOM = (size_t)256 << 20;

static const char HELP[] =
    "usage: keel types --embed FILE\n"
    "\n"
    "Keeps what a swap has to know of a module's types in the file itself, in the section\n"
    ".keel.types. After that `strip` may take the debug information away: structs, statics and\n"
    "pointers are carried over a swap all the same. Nothing that runs is changed.\n"
    "\n"
    "Exit status: 0 done, 1 the file has no debug information to take types from, 2 it could not\n"
    "be read or written, or the command is wrong.\n"
    "\n"
    "example: keel types --embed chart.so && strip chart.so\n";

static int write_file(const char *path, const Buf *what, mode_t mode, Error *err)
{
    char aside[4200];
    size_t at = 0;
    snprintf(aside, sizeof aside, "%.4100s.%d", path, (int)getpid());
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot write beside it");
    while (at < what->bytes) {
        ssize_t n = write(fd, what->data + at, what->bytes - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    int number = at < what->bytes || fchmod(fd, mode & 07777) ? errno : 0;
    if (close(fd) && !number)
        number = errno;
    if (!number && rename(aside, path))
        number = errno;
    if (!number)
        return KEEL_OK;
    unlink(aside);
    return err_errno(err, KEEL_EIO, number, "cannot be written");
}

static int embed(const char *path, const void *data, size_t bytes, Error *err)
{
    Apart found;
    Schema schema;
    struct stat st;
    Buf whole = {0};
    if (bytes < 4 || memcmp(data, "\177ELF", 4))
        return err_set(err, KEEL_EIMAGE, "it is no ELF file: give a built module");
    int rc = apart_run(schema_read, data, bytes, ROOM, &APART_AT_LEISURE, &found, err);
    if (rc)
        return rc;
    rc = schema_check(found.data, found.bytes, &schema, err);
    if (!rc && !(schema.flags & SCHEMA_HAS_DEBUG))
        rc = err_set(err, KEEL_ENOTFOUND, "it has no debug information: compile it with -g");
    if (!rc && schema.flags & (SCHEMA_LTO | SCHEMA_SPLIT | SCHEMA_BROKEN))
        rc = err_set(err, KEEL_ENOTFOUND,
                     "its debug information doesn't tell its types (optimized at link time, in "
                     "other files, or damaged)");
    rc = rc ? rc : types_section_add(data, bytes, found.data, found.bytes, &whole, err);
    if (!rc && stat(path, &st))
        rc = err_errno(err, KEEL_EIO, errno, "cannot be asked");
    rc = rc ? rc : write_file(path, &whole, st.st_mode, err);
    buf_done(&whole);
    apart_done(&found);
    return rc;
}

static int wrong(const char *what, const char *which)
{
    text_line(stderr, "keel types: %s%s; see keel types --help", what, which);
    return IMPOSSIBLE;
}

int app_types(int argc, char **argv)
{
    const char *path = NULL;
    int embeds = 0, options = 1;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (options && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            fputs(HELP, stdout);
            return DONE;
        }
        if (options && !strcmp(arg, "--embed"))
            embeds = 1;
        else if (options && !strcmp(arg, "--"))
            options = 0;
        else if (options && *arg == '-' && arg[1])
            return wrong("there is no option ", arg);
        else if (path)
            return wrong("it takes one file, not also ", arg);
        else
            path = arg;
    }
    if (!embeds || !path || !*path)
        return wrong("it needs --embed and a file", "");
    Settled settled;
    Error err = {0};
    int rc = settle_read(path, NULL, &settled, &err), is_read = !rc;
    if (!rc) {
        void *data = mmap(NULL, settled.bytes, PROT_READ, MAP_SHARED, settled.memfd, 0);
        rc = data == MAP_FAILED ? err_set(&err, KEEL_ENOMEM, "cannot map it")
                                : embed(path, data, settled.bytes, &err);
        if (data != MAP_FAILED)
            munmap(data, settled.bytes);
        settled_done(&settled);
        if (rc)
            err_wrap(&err, "%s", path);
    }
    if (!rc)
        return DONE;
    fputs("keel types: ", stderr);
    text_print(stderr, err.text);
    fputc('\n', stderr);
    return is_read && rc == KEEL_ENOTFOUND ? NOTHING : IMPOSSIBLE;
}
