/* How long from a save until the new code runs, where `keel dev` builds a single file itself?
 *
 * A module of 300 lines is saved (by rename) with another number in it; the clock stops when the
 * line that its new code logs in its first frame has arrived here. The floor is what the compiler
 * alone takes for the same file with the same options, measured in turn in the same minutes. Frames
 * are 60 a second; the trial is on. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { ROUNDS = 20, WARM = 2, FUNCTIONS = 36, PATIENCE_MS = 30000 };

extern char **environ;

static char folder[] = "/tmp/bench-dev-XXXXXX";

__attribute__((noreturn)) static void give_up(const char *why)
{
    fprintf(stderr, "bench_dev: %s (what there is: %s)\n", why, folder);
    exit(2);
}

/* 36 functions of 7 lines between an ordinary beginning and end. */
static void write_module(int number)
{
    char part[64], whole[64];
    snprintf(part, sizeof part, "%s/m.new", folder);
    snprintf(whole, sizeof whole, "%s/m.c", folder);
    FILE *file = fopen(part, "we");
    if (!file)
        give_up("cannot write the module");
    fprintf(file,
            "#include <keel/keel.h>\n#include <math.h>\n#include <stdio.h>\n#include <string.h>\n"
            "\n#define NUMBER %d\n\nstruct world {\n    double x;\n    uint64_t frames;\n};\n\n"
            "static int told;\n\n",
            number);
    for (int i = 0; i < FUNCTIONS; i++)
        fprintf(file,
                "static double step%d(double x)\n{\n    double y = x;\n"
                "    for (int i = 0; i < %d; i++)\n        y = y * 0.5 + (double)i;\n"
                "    return y + %d;\n}\n\n",
                i, i + 2, i);
    fputs("static void frame(keel *k, const struct keel_frame *f)\n{\n"
          "    struct world *w = keel_state(k, struct world);\n    w->frames++;\n",
          file);
    for (int i = 0; i < FUNCTIONS; i++)
        fprintf(file, "    w->x += f->dt * step%d(w->x);\n", i);
    fputs("    if (!told) {\n        told = 1;\n        keel_info(k, \"number %d runs\", NUMBER);\n"
          "    }\n}\n\nKEEL_MODULE(\"m\", \"1.0\", KEEL_ON(frame, frame))\n",
          file);
    if (fclose(file) || rename(part, whole))
        give_up("cannot write the module");
}

static pid_t run(char *const *words, int output)
{
    pid_t pid;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (output >= 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, words[0], &actions, NULL, words, environ))
        give_up("cannot start a program");
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void wait_line(int fd, int number)
{
    static char text[1 << 16];
    static size_t held;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "number %d runs", number);
    for (;;) {
        text[held] = 0;
        const char *found = strstr(text, wanted);
        if (found) {
            held = 0;
            return;
        }
        if (held > sizeof text / 2)
            held = 0;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t n =
            poll(&ready, 1, PATIENCE_MS) > 0 ? read(fd, text + held, sizeof text - 1 - held) : 0;
        if (n <= 0)
            give_up("the new code did not run");
        held += (size_t)n;
    }
}

static double compile_ms(const char *optimise)
{
    char source[64], object[64];
    snprintf(source, sizeof source, "%s/m.c", folder);
    snprintf(object, sizeof object, "%s/floor.o", folder);
    char *words[] = {"cc",
                     "-c",
                     (char *)optimise,
                     "-Wall",
                     "-fPIC",
                     "-fvisibility=hidden",
                     "-g",
                     "-ffunction-sections",
                     "-fdata-sections",
                     "-fno-semantic-interposition",
                     "-fno-var-tracking",
                     "-I" BENCH_ABI,
                     source,
                     "-o",
                     object,
                     NULL};
    int64_t began = bench_now_ns();
    int status;
    waitpid(run(words, -1), &status, 0);
    if (status)
        give_up("the compiler failed");
    return (double)(bench_now_ns() - began) / 1e6;
}

static void measure(const char *optimise)
{
    static int number;
    char file[64], name[64], metric[64];
    snprintf(file, sizeof file, "%s/m.c", folder);
    snprintf(name, sizeof name, "--name=%s/s", folder);
    char *words[] = {BENCH_KEEL, "dev", file, "--json", name, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        give_up("no pipe");
    setenv("CFLAGS", optimise, 1);
    write_module(++number);
    pid_t keel = run(words, ends[1]);
    close(ends[1]);
    wait_line(ends[0], number);
    Samples saved = {0}, compiled = {0};
    for (int i = 0; i < ROUNDS + WARM; i++) {
        double floor = compile_ms(optimise);
        write_module(++number);
        int64_t began = bench_now_ns();
        wait_line(ends[0], number);
        if (i < WARM)
            continue;
        samples_add(&saved, (double)(bench_now_ns() - began) / 1e6);
        samples_add(&compiled, floor);
    }
    kill(keel, SIGTERM);
    waitpid(keel, NULL, 0);
    close(ends[0]);
    snprintf(metric, sizeof metric, "compiler alone, %s", optimise);
    bench_report("dev", metric, "ms", &compiled, 0);
    snprintf(metric, sizeof metric, "save to running, %s", optimise);
    bench_report("dev", metric, "ms", &saved, samples_median(&compiled));
    samples_done(&saved);
    samples_done(&compiled);
}

static void clean(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command))
        bench_note("%s is left", folder);
}

int main(void)
{
    if (!mkdtemp(folder))
        give_up("no folder in /tmp");
    double load = 0;
    getloadavg(&load, 1);
    bench_note("load average %.1f: the compiler's share grows with it", load);
    measure("-O0");
    measure("-O1");
    clean();
    return 0;
}
