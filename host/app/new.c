/* `keel new`: a folder with a module to begin with. Makes it under another name and renames it when
 * it is whole, so that what is there is never touched or left half-made. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/new_text.h"
#include "app/text.h"

enum { NAME_MOST = 40 };

static const char help[] =
    "usage: keel new NAME [--lang c|c++]\n"
    "\n"
    "Makes the folder NAME with a small module, what builds it, and settings for editors.\n"
    "\n"
    "  --lang c|c++   the language (c)\n"
    "\n"
    "example: keel new fish\n"
    "         keel dev fish\n"
    "\n"
    "exit status: 0 made, 1 the folder could not be made, 2 wrong use\n";

/* Names of targets that CMake keeps for itself. */
static int reserved(const char *name)
{
    static const char *const names[] = {"all",     "clean",   "help",       "install",
                                        "package", "test",    "edit_cache", "rebuild_cache",
                                        "depend",  "default", "ALL_BUILD",  "RUN_TESTS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return 1;
    return 0;
}

static int name_is_good(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t n = strlen(name);
    if (!n || n > NAME_MOST || !strchr(letters, name[0]) || strspn(name, others) != n) {
        fputs("keel new: ", stderr);
        text_print(stderr, name);
        fprintf(stderr,
                " is no name for a module: take a letter, then letters, digits, _ or -, at most %d "
                "in all\n",
                NAME_MOST);
        return 0;
    }
    if (reserved(name)) {
        fprintf(stderr, "keel new: CMake keeps the name %s for a target of its own: take another\n",
                name);
        return 0;
    }
    return 1;
}

static int write_file(int folder, const char *path, const Buf *text)
{
    int fd = openat(folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    size_t done = 0;
    while (done < text->bytes) {
        ssize_t n = write(fd, text->data + done, text->bytes - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    int number = errno;
    if (close(fd) == 0 && done == text->bytes)
        return 0;
    errno = number;
    return -1;
}

/* Writes the files, or with `remove` takes them away. 0, or -1 with errno. */
static int each_file(int folder, NewLanguage language, const char *name, int remove)
{
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        n = snprintf(program, sizeof program, "keel");
    program[n] = 0;
    int failed = 0;
    for (int i = 0; i < NEW_FILES && !failed; i++) {
        Buf path = {0}, text = {0};
        if (new_text(language, i, name, program, &path, &text)) {
            errno = ENOMEM;
            failed = 1;
        } else if (remove) {
            unlinkat(folder, buf_text(&path), 0);
        } else {
            failed = write_file(folder, buf_text(&path), &text);
        }
        buf_done(&path);
        buf_done(&text);
    }
    return failed ? -1 : 0;
}

/* 0, or -1 with errno and nothing left behind. */
static int make(NewLanguage language, const char *name)
{
    char part[NAME_MOST + 16];
    snprintf(part, sizeof part, ".%s.XXXXXX", name);
    if (!mkdtemp(part))
        return -1;
    mode_t mask = umask(0);
    umask(mask);
    int folder = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = folder < 0 || fchmod(folder, 0777 & ~mask) || mkdirat(folder, ".vscode", 0777) ||
                 each_file(folder, language, name, 0);
    if (!failed) {
        failed = renameat2(AT_FDCWD, part, AT_FDCWD, name, RENAME_NOREPLACE);
        if (failed && (errno == EINVAL || errno == ENOSYS)) /* a file system without it */
            failed = access(name, F_OK) == 0 ? (errno = EEXIST, -1) : rename(part, name);
    }
    int number = errno;
    if (failed && folder >= 0) {
        each_file(folder, language, name, 1);
        unlinkat(folder, ".vscode", AT_REMOVEDIR);
    }
    if (folder >= 0)
        close(folder);
    if (failed)
        rmdir(part);
    errno = number;
    return failed ? -1 : 0;
}

int app_new(int argc, char **argv)
{
    static const struct option options[] = {{"lang", required_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    NewLanguage language = NEW_C;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == 'l' && (!strcmp(optarg, "c") || !strcmp(optarg, "c++"))) {
            language = optarg[1] ? NEW_CXX : NEW_C;
        } else if (option == 'l' || option == ':') {
            fputs("keel new: --lang is one of c, c++; see keel new --help\n", stderr);
            return 2;
        } else {
            fputs("keel new: there is no option ", stderr);
            text_print(stderr, argv[optind - 1]);
            fputs("; see keel new --help\n", stderr);
            return 2;
        }
    }
    if (argc - optind != 1) {
        fputs(argc == optind ? "keel new: which name? For example: keel new fish\n"
                             : "keel new: one name, please; see keel new --help\n",
              stderr);
        return 2;
    }
    const char *name = argv[optind];
    if (!name_is_good(name))
        return 2;
    if (make(language, name)) {
        if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
            fprintf(stderr,
                    "keel new: %s is there already, and nothing in it was touched: take "
                    "another name\n",
                    name);
        else
            fprintf(stderr, "keel new: cannot make %s: %s\n", name, strerror(errno));
        return 1;
    }
    /* As it was called: what isn't in PATH is to be called so again. */
    printf("made %s/\n\n  %s dev %s\n\nthen open %s/%s%s, change %s, and save\n", name,
           program_invocation_name, name, name, name, language == NEW_C ? ".c" : ".cpp",
           language == NEW_C ? "SPEED" : "speed");
    return 0;
}
