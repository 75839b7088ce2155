/* How long from a save until the new code runs, where `keel dev` builds a single file itself?
 *
 * A module of 300 lines is saved (by rename) with another number in it; the clock stops when the
 * line that its new code logs in its first frame has arrived here; `keel dev` itself tells when the
 * first picture that the new code drew was shown (in a window that no display shows; with a
 * software driver the picture takes what it takes). The floor is what the compiler
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
          "    struct world *w = keel_state(k, struct world);\n    w->frames++;\n"
          "    keel_clear(k, (uint32_t)NUMBER * 0x4b3d2900u | 255u);\n",
          file);
    for (int i = 0; i < FUNCTIONS; i++)
        fprintf(file, "    w->x += f->dt * step%d(w->x);\n", i);
    fputs("    if (told != NUMBER) {\n        told = NUMBER;\n        keel_info(k, \"number %d runs\", NUMBER);\n"
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

/* The rest of the line behind `wanted`, once it has come. What comes later is kept. */
static const char *wait_line(int fd, const char *wanted)
{
    static char text[1 << 16], line[512];
    static size_t held;
    for (;;) {
        text[held] = 0;
        char *found = strstr(text, wanted), *end = found ? strchr(found, '\n') : NULL;
        if (end) {
            snprintf(line, sizeof line, "%.*s", (int)(end - found), found);
            held -= (size_t)(end - text);
            memmove(text, end, held);
            return line + strlen(wanted);
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

static void wait_number(int fd, int number)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "number %d runs", number);
    wait_line(fd, wanted);
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
    wait_number(ends[0], number);
    Samples saved = {0}, compiled = {0}, shown = {0};
    for (int i = 0; i < ROUNDS + WARM; i++) {
        double floor = compile_ms(optimise);
        write_module(++number);
        int64_t began = bench_now_ns();
        wait_number(ends[0], number);
        double running = (double)(bench_now_ns() - began) / 1e6;
        const char *picture = strstr(wait_line(ends[0], "runs anew"), "on screen after ");
        if (i < WARM)
            continue;
        samples_add(&saved, running);
        if (picture)
            samples_add(&shown, strtod(picture + strlen("on screen after "), NULL));
        samples_add(&compiled, floor);
    }
    kill(keel, SIGTERM);
    waitpid(keel, NULL, 0);
    close(ends[0]);
    snprintf(metric, sizeof metric, "compiler alone, %s", optimise);
    bench_report("dev", metric, "ms", &compiled, 0);
    snprintf(metric, sizeof metric, "save to running, %s", optimise);
    bench_report("dev", metric, "ms", &saved, samples_median(&compiled));
    snprintf(metric, sizeof metric, "save to picture, %s", optimise);
    if (shown.count)
        bench_report("dev", metric, "ms", &shown, samples_median(&compiled));
    else
        bench_note("no picture: there is no OpenGL here");
    samples_done(&saved);
    samples_done(&compiled);
    samples_done(&shown);
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
    setenv("SDL_VIDEODRIVER", "offscreen", 1);
    double load = 0;
    getloadavg(&load, 1);
    bench_note("load average %.1f: the compiler's share grows with it", load);
    measure("-O0");
    measure("-O1");
    clean();
    return 0;
}
