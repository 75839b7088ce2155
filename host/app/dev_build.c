/* One build: the compiler and the linker directly for a single file, else the tool that the folder
 * uses. Each step is a process group of its own, without a shell unless the command was given as
 * text. Owns the child, its output and the outputs' temporary names. The builder's thread.
 *
 * For a single file the driver compiles and the linker is called as the driver would call it: the
 * command is asked for once (-###). What the driver says is used only if it is understood whole;
 * else the driver links, too. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/dev.h"
#include "base/clock.h"
#include "base/spawn.h"

enum { OUTPUT_MOST = 256 * 1024, PATIENCE_MS = 1500 };

extern char **environ;

void dev_build_init(DevBuild *build, const DevPlan *plan, int colour)
{
    *build = (DevBuild){.plan = plan, .colour = colour, .pid_fd = -1, .output_fd = -1};
}

static void drop_steps(DevBuild *build)
{
    for (int i = 0; i < build->steps; i++)
        dev_args_done(&build->step[i]);
    build->steps = 0;
    build->at = 0;
}

void dev_build_done(DevBuild *build)
{
    dev_build_cancel(build);
    dev_precompile_done(&build->pre);
    drop_steps(build);
    dev_args_done(&build->link);
    buf_done(&build->output);
}

/* ---- commands ---- */

static const char *compiler(const DevPlan *plan)
{
    const char *named = getenv(plan->cxx ? "CXX" : "CC");
    return named && *named ? named : plan->cxx ? "c++" : "cc";
}

static int compile_options(const DevBuild *build, DevArgs *args)
{
    const DevPlan *plan = build->plan;
    int rc = dev_args_split(args, compiler(plan));
    rc = rc ? rc : dev_args_split(args, "-O1 -Wall -fPIC -fvisibility=hidden " KEEL_MODULE_CFLAGS);
    if (!rc && plan->cxx)
        rc = dev_args_split(args, "-std=c++17 -fvisibility-inlines-hidden");
    if (!rc && plan->cxx && !build->clang)
        rc = dev_args_split(args, "-fno-gnu-unique");
    /* gcc's record of where variables are costs an eighth of the whole and serves only debuggers.
     */
    if (!rc && !build->clang)
        rc = dev_args_add(args, "-fno-var-tracking");
    rc = rc ? rc : dev_args_add(args, "-ffile-prefix-map=%s/=", plan->folder);
    rc = rc ? rc : dev_args_add(args, "-fdiagnostics-color=%s", build->colour ? "always" : "never");
    rc = rc ? rc : dev_args_split(args, getenv("CPPFLAGS"));
    return rc ? rc : dev_args_split(args, getenv(plan->cxx ? "CXXFLAGS" : "CFLAGS"));
}

/* The precompiled header's folder is looked into before Keel's own. */
static int compile_words(DevBuild *build, DevArgs *args)
{
    const DevPlan *plan = build->plan;
    int rc = compile_options(build, args);
    rc = rc ? rc : dev_args_add(args, "-c");
    if (!rc && dev_precompile_ready(&build->pre))
        rc = dev_args_add(args, "-I%s", build->pre.folder);
    rc = rc ? rc : dev_args_add(args, "-I%s", plan->tree.include);
    rc = rc ? rc : dev_args_add(args, "%s", plan->source);
    rc = rc ? rc : dev_args_add(args, "-o");
    return rc ? rc : dev_args_add(args, "%s/%s.o", plan->own, plan->name);
}

static int link_words(const DevBuild *build, DevArgs *args)
{
    const DevPlan *plan = build->plan;
    int rc = dev_args_split(args, compiler(plan));
    rc = rc ? rc : dev_args_split(args, "-shared " KEEL_MODULE_LDFLAGS " -Wl,-z,defs");
    rc = rc ? rc : dev_args_add(args, "-Wl,--version-script=%s", plan->tree.map);
    if (!rc && plan->cxx)
        rc = dev_args_split(args, KEEL_MODULE_LDFLAGS_CXX);
    rc = rc ? rc : dev_args_split(args, "-Wl,-u,malloc");
    rc = rc ? rc : dev_args_add(args, "%s/%s.o", plan->own, plan->name);
    rc = rc ? rc : dev_args_add(args, "%s", plan->tree.shim);
    rc = rc ? rc : dev_args_split(args, getenv("LDFLAGS"));
    rc = rc ? rc : dev_args_split(args, getenv("LDLIBS"));
    rc = rc ? rc : dev_args_split(args, "-lm -pthread -ldl -o");
    return rc ? rc : dev_args_add(args, "%s/%s.part", plan->own, plan->name);
}

static int in_path(const char *program)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        char room[4300];
        int n = (int)strcspn(path, ":");
        snprintf(room, sizeof room, "%.*s/%s", n, path, program);
        if (access(room, X_OK) == 0)
            return 1;
        path += n + (path[n] == ':');
    }
    return 0;
}

/* One word of the driver's line, which quotes as a shell does; NULL at its end. */
static char *take_word(const char **line)
{
    const char *c = *line + strspn(*line, " ");
    char *word = *c && *c != '\n' ? malloc(strlen(c) + 1) : NULL;
    size_t n = 0;
    int quoted = 0;
    for (; word && *c && *c != '\n' && (quoted || *c != ' '); c++) {
        if (*c == '"')
            quoted = !quoted;
        else if (*c == '\\' && c[1] && c[1] != '\n')
            word[n++] = *++c;
        else
            word[n++] = *c;
    }
    if (word)
        word[n] = 0;
    *line = c;
    return word;
}

static int is_ours(const DevPlan *plan, const char *word)
{
    size_t own = strlen(plan->own), name = strlen(plan->name);
    if (!strcmp(word, plan->tree.shim))
        return 1;
    return !strncmp(word, plan->own, own) && word[own] == '/' &&
           !strncmp(word + own + 1, plan->name, name) &&
           (!strcmp(word + own + 1 + name, ".o") || !strcmp(word + own + 1 + name, ".part"));
}

/* The linker's own command from what `cc -###` printed, or nothing: then the driver links. */
static void understand(DevBuild *build, const char *text)
{
    const char *line = NULL;
    for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        size_t n = strcspn(at, "\n");
        if (*at == ' ' && memmem(at, n, "-shared", 7) && memmem(at, n, ".part", 5)) {
            if (line)
                return; /* two of them: not what is known here */
            line = at;
        }
    }
    if (!line)
        return;
    char *first = take_word(&line);
    const char *base = first && strrchr(first, '/') ? strrchr(first, '/') + 1 : first;
    int collect = base && !strcmp(base, "collect2");
    int rc = base && (collect || !strncmp(base, "ld", 2)) ? 0 : KEEL_EUNSUPPORTED;
    /* collect2 and a linker by name do the same for a module; mold, where it is, is the quickest.
     */
    rc = rc ? rc
            : dev_args_add(&build->link, "%s",
                           in_path("mold") ? "mold"
                           : collect       ? "ld"
                                           : first);
    free(first);
    int ours = 0; /* the object, the shim and the output: all three or it wasn't understood */
    for (char *word; !rc && (word = take_word(&line)) != NULL; free(word)) {
        if (!strcmp(word, "-plugin")) { /* for link-time optimisation; with it the driver links */
            free(take_word(&line));
            continue;
        }
        if (strncmp(word, "-plugin-opt", 11) != 0)
            rc = dev_args_add(&build->link, "%s", word);
        ours += is_ours(build->plan, word);
    }
    if (rc || ours != 3)
        dev_args_done(&build->link);
}

static int plain_flags(void)
{
    static const char *const names[] = {"CFLAGS", "CXXFLAGS", "LDFLAGS", "CC", "CXX"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *flags = getenv(names[i]);
        if (flags &&
            (strstr(flags, "-flto") || strstr(flags, "-fuse-ld") || strstr(flags, "-fsanitize")))
            return 0;
    }
    return 1;
}

static int plan_direct(DevBuild *build)
{
    int rc = compile_words(build, &build->step[0]);
    build->what[0] = "compile";
    build->what[1] = "link";
    build->steps = 2;
    for (int i = 0; i < build->link.count && !rc; i++)
        rc = dev_args_add(&build->step[1], "%s", build->link.word[i]);
    return rc || build->link.count ? rc : link_words(build, &build->step[1]);
}

static int plan_cmake(DevBuild *build)
{
    const DevPlan *plan = build->plan;
    char cache[4300];
    snprintf(cache, sizeof cache, "%s/cmake/CMakeCache.txt", plan->own);
    int rc = 0;
    if (access(cache, F_OK)) {
        DevArgs *configure = &build->step[build->steps];
        build->what[build->steps++] = "configure";
        rc = dev_args_split(configure, "cmake -DCMAKE_BUILD_TYPE=RelWithDebInfo");
        rc = rc ? rc : dev_args_add(configure, "-DKeel_DIR=%s", plan->tree.package);
        rc = rc ? rc : dev_args_add(configure, "-S%s", plan->folder);
        rc = rc ? rc : dev_args_add(configure, "-B%s/cmake", plan->own);
        if (!rc && in_path("ninja"))
            rc = dev_args_split(configure, "-G Ninja");
    }
    build->what[build->steps] = "build";
    DevArgs *args = &build->step[build->steps++];
    rc = rc ? rc : dev_args_split(args, "cmake --build");
    return rc ? rc : dev_args_add(args, "%s/cmake", plan->own);
}

static int plan_steps(DevBuild *build)
{
    const DevPlan *plan = build->plan;
    switch (plan->kind) {
    case DEV_DIRECT:
        return plan_direct(build);
    case DEV_CMAKE:
        return plan_cmake(build);
    case DEV_MAKE:
        build->what[0] = "make";
        build->steps = 1;
        return dev_args_split(&build->step[0], "make -s --no-print-directory");
    case DEV_COMMAND:
        build->what[0] = "build";
        build->steps = 1;
        int rc = dev_args_split(&build->step[0], "/bin/sh -c");
        return rc ? rc : dev_args_add(&build->step[0], "%s", plan->command);
    }
    return KEEL_EINVAL;
}

/* ---- processes ---- */

static int spawn(DevBuild *build, char *const *words, Error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return err_errno(err, KEEL_EIO, errno, "no pipe for the build");
    Spawn child;
    spawn_begin(&child);
    spawn_give(&child, ends[1], 1);
    spawn_give(&child, ends[1], 2);
    spawn_null(&child, 0);
    spawn_close_from(&child, 3);
    spawn_folder(&child, build->plan->folder);
    int number = spawn_end(&child, words[0], words, environ, &build->pid);
    close(ends[1]);
    if (number) {
        close(ends[0]);
        return err_errno(err, KEEL_ENOTFOUND, number, "cannot start %s: is it installed?",
                         words[0]);
    }
    build->output_fd = ends[0];
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    build->pid_fd = pidfd_open(build->pid, 0);
    build->step_ns = clock_now_ns();
    build->running = 1;
    if (build->pid_fd >= 0)
        return KEEL_OK;
    number = errno;
    dev_build_cancel(build);
    return err_errno(err, KEEL_EUNSUPPORTED, number, "cannot wait for the build");
}

static void read_output(DevBuild *build)
{
    char bytes[4096];
    ssize_t n;
    while ((n = read(build->output_fd, bytes, sizeof bytes)) > 0)
        if (build->output.bytes + (size_t)n <= OUTPUT_MOST)
            buf_add(&build->output, bytes, (size_t)n);
}

static void close_step(DevBuild *build)
{
    if (build->pid_fd >= 0)
        close(build->pid_fd);
    close(build->output_fd);
    build->pid_fd = build->output_fd = -1;
    build->running = 0;
}

void dev_build_cancel(DevBuild *build)
{
    if (!build->running)
        return;
    /* By SIGTERM first: ninja gives its compilers groups of their own and ends them itself. */
    kill(-build->pid, SIGTERM);
    struct pollfd over = {.fd = build->pid_fd, .events = POLLIN};
    if (build->pid_fd >= 0)
        poll(&over, 1, PATIENCE_MS);
    kill(-build->pid, SIGKILL); /* not waited for yet: the group's number is still ours */
    int status;
    while (waitpid(build->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close_step(build);
}

/* Waits for a short command and takes what it printed; for asking the driver. */
static int ask(DevBuild *build, char *const *words, Buf *ret)
{
    Buf kept = build->output;
    build->output = (Buf){0};
    int rc = spawn(build, words, NULL);
    if (!rc) {
        struct pollfd over = {.fd = build->pid_fd, .events = POLLIN};
        if (poll(&over, 1, PATIENCE_MS) > 0) {
            int status;
            read_output(build);
            waitpid(build->pid, &status, 0);
            rc = WIFEXITED(status) && !WEXITSTATUS(status) ? KEEL_OK : KEEL_EREFUSED;
            close_step(build);
        } else {
            dev_build_cancel(build);
            rc = KEEL_ETIMEOUT;
        }
    }
    *ret = build->output;
    build->output = kept;
    return rc;
}

/* Whether the compiler is clang, by whatever name; it refuses some of gcc's options. */
static void learn_compiler(DevBuild *build)
{
    DevArgs args = {0};
    Buf said = {0};
    if (!dev_args_split(&args, compiler(build->plan)) && !dev_args_add(&args, "--version") &&
        !ask(build, args.word, &said))
        build->clang = strstr(buf_text(&said), "clang") != NULL;
    buf_done(&said);
    dev_args_done(&args);
}

/* Once, before the first build. */
static void learn(DevBuild *build)
{
    build->known = 1;
    learn_compiler(build);
    DevArgs options = {0};
    if (!build->clang && !compile_options(build, &options))
        dev_precompile_find(&build->pre, build->plan, &options);
    dev_args_done(&options);
    if (build->plan->cxx || !plain_flags())
        return;
    /* clang leaves out what isn't there, also when it is only asked. */
    char object[4300];
    snprintf(object, sizeof object, "%s/%s.o", build->plan->own, build->plan->name);
    int fd = open(object, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0)
        close(fd);
    DevArgs args = {0};
    Buf said = {0};
    if (!link_words(build, &args) && !dev_args_add(&args, "-###") && !ask(build, args.word, &said))
        understand(build, buf_text(&said));
    buf_done(&said);
    dev_args_done(&args);
}

int dev_build_start(DevBuild *build, Error *err)
{
    dev_build_cancel(build);
    drop_steps(build);
    build->output.bytes = 0;
    build->status = 0;
    build->fell_back = 0;
    memset(build->spent_ns, 0, sizeof build->spent_ns);
    if (build->plan->kind == DEV_DIRECT && !build->known)
        learn(build);
    if (plan_steps(build)) {
        drop_steps(build);
        return err_set(err, KEEL_ELIMIT, "the build's command has more than %d words", DEV_ARGS);
    }
    return spawn(build, build->step[0].word, err);
}

void dev_build_prepare(DevBuild *build)
{
    DevArgs options = {0};
    if (build->plan->kind == DEV_DIRECT && !build->clang && !compile_options(build, &options))
        dev_precompile_begin(&build->pre, build->plan, &options);
    dev_args_done(&options);
}

/* The linker's own command failed: the driver links. If it can, it does so from now on. */
static int fall_back(DevBuild *build, Error *err)
{
    build->fell_back = 1;
    dev_args_done(&build->step[1]);
    build->output.bytes = 0;
    if (link_words(build, &build->step[1]))
        return err_set(err, KEEL_ELIMIT, "the build's command has more than %d words", DEV_ARGS);
    return spawn(build, build->step[1].word, err);
}

int dev_build_step(DevBuild *build, Error *err)
{
    if (!build->running)
        return 0;
    read_output(build);
    int status;
    if (waitpid(build->pid, &status, WNOHANG) != build->pid)
        return 0;
    read_output(build);
    build->spent_ns[build->at] += clock_now_ns() - build->step_ns;
    build->status = status;
    close_step(build);
    int direct = build->plan->kind == DEV_DIRECT;
    if (status) {
        if (direct && build->at == 1 && build->link.count && !build->fell_back)
            return fall_back(build, err);
        return 1;
    }
    if (++build->at < build->steps)
        return spawn(build, build->step[build->at].word, err);
    if (direct) {
        if (build->fell_back)
            dev_args_done(&build->link);
        char part[4300];
        snprintf(part, sizeof part, "%s/%s.part", build->plan->own, build->plan->name);
        if (rename(part, build->plan->output))
            return err_errno(err, KEEL_EIO, errno, "cannot put %s in place", build->plan->output);
    }
    return 1;
}
