/* What does it cost to show something: recording, batching, the driver, a start, standing still?
 *
 * Recording goes through keel.draw/1 as a module calls it, batching is all of the host's own work
 * up to OpenGL. What the driver takes is told apart from it, and with its name: on a machine
 * without a graphics card it is the processor that draws. Starts and the static screen are measured
 * on `keel run` by SDL's offscreen driver; the floor of a start and of memory is a program that
 * only opens such a window and clears it. */
#include "bench.h"

#include <keel/keel.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef KEEL_HAVE_SCREEN
#define KEEL_HAVE_SCREEN 0
#endif
#if KEEL_HAVE_SCREEN
#include <epoxy/gl.h>

#include "host/services.h"
#include "screen/player.h"
#include "screen/window.h"

enum {
    RECTS = 100000,
    MIXED = 10000,
    LINES = 400,
    ROUNDS = 60,
    STARTS = 12,
    WIDTH = 1280,
    HEIGHT = 720
};

typedef struct Desk {
    State *state;
    Slot slot;
    Glyphs *glyphs;
    Batch batch;
} Desk;

static void desk_open(Desk *desk)
{
    Error err = {0};
    const StateOptions options = {.tier = STATE_TIER_OFF};
    if (state_space_init(&err) || state_open(&options, &desk->state, &err) ||
        glyphs_new(&desk->glyphs, &err)) {
        fprintf(stderr, "bench_draw: %s\n", err.text);
        exit(2);
    }
    slot_init(&desk->slot, desk->state, NULL, KEEL_MODE_LIVE, 1);
    services_give(&desk->slot);
    slot_current = &desk->slot;
    batch_init(&desk->batch, desk->glyphs);
}

static void desk_batch(Desk *desk, int split)
{
    desk->batch.split = split;
    batch_begin(&desk->batch, WIDTH, HEIGHT, 1, 0x000000ff);
    batch_add(&desk->batch, desk->slot.draw.good, &desk->slot.effects.pictures);
}

static void draw_rects(keel *k, int seed)
{
    for (int i = 0; i < RECTS; i++)
        keel_rect(k, (float)((i * 7 + seed) % WIDTH), (float)(i * 3 % HEIGHT), 9, 7,
                  0x4080ffffu + (uint32_t)i);
}

static void draw_lines(keel *k, int seed)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog, 0123456789 times";
    for (int i = 0; i < LINES; i++)
        keel_text(k, 10 + (float)((i + seed) % 16) * 0.25f, (float)i * 1.7f, 13, 0xffffffffu, text);
}

/* What a busy picture is made of: 10,000 things. */
static void draw_mixed(keel *k, int seed)
{
    for (int i = 0; i < MIXED / 10; i++) {
        float x = (float)((i * 37 + seed) % WIDTH), y = (float)(i * 17 % HEIGHT);
        keel_rect(k, x, y, 12, 9, 0x336699ffu);
        keel_rect(k, x + 3, y, 4, 30, 0x996633ffu);
        keel_rect_line(k, x, y, 20, 20, 1, 0xffffffffu);
        keel_round(k, x, y + 4, 24, 10, 4, 0x22aa66ffu);
        keel_round(k, x + 9, y, 14, 10, 3, 0x22aa66ffu);
        keel_circle(k, x, y, 5, 0xff8800ffu);
        keel_circle_line(k, x, y, 8, 1.5f, 0xff8800ffu);
        keel_line(k, x, y, x + 30, y + 11, 1.5f, 0xccccccffu);
        keel_line(k, x, y + 5, x + 9, y + 40, 1, 0xccccccffu);
        keel_text(k, x, y, 12, 0xffffffffu, "x");
    }
}

static void rate(Desk *desk, const char *name, void (*draw)(keel *, int), int things)
{
    Samples recorded = {0}, batched = {0}, both = {0};
    Draw *list = &desk->slot.draw;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t begun = bench_now_ns();
        draw_begin(list);
        draw(&desk->slot.context, i);
        draw_commit(list);
        int64_t half = bench_now_ns();
        desk_batch(desk, 0);
        int64_t end = bench_now_ns();
        if (i < 3)
            continue;
        samples_add(&recorded, things / ((double)(half - begun) / 1e3));
        samples_add(&batched, things / ((double)(end - half) / 1e3));
        samples_add(&both, things / ((double)(end - begun) / 1e3));
    }
    char metric[64];
    snprintf(metric, sizeof metric, "%s_recorded", name);
    bench_report("draw", metric, "million/s", &recorded, 0);
    snprintf(metric, sizeof metric, "%s_batched", name);
    bench_report("draw", metric, "million/s", &batched, 0);
    snprintf(metric, sizeof metric, "%s_both", name);
    bench_report("draw", metric, "million/s", &both, 0);
    samples_done(&recorded);
    samples_done(&batched);
    samples_done(&both);
}

static void own_frame(Desk *desk, int split, const char *metric)
{
    Samples taken = {0};
    for (int i = 0; i < ROUNDS * 3; i++) {
        int64_t begun = bench_now_ns();
        draw_begin(&desk->slot.draw);
        draw_mixed(&desk->slot.context, i);
        draw_commit(&desk->slot.draw);
        desk_batch(desk, split);
        if (i >= 3)
            samples_add(&taken, (double)(bench_now_ns() - begun) / 1e6);
    }
    bench_report("draw", metric, "ms", &taken, 0);
    samples_done(&taken);
}

/* ---- with OpenGL ---- */

/* On processors, all threads: what doesn't grow when others use the machine, too. */
static double process_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int with_driver(Desk *desk)
{
    static Player player;
    Window window;
    Error err = {0};
    const WindowOptions options = {
        .title = "bench", .width = WIDTH, .height = HEIGHT, .offscreen = WINDOW_OFFSCREEN};
    if (window_open(&window, &options, &err) || player_init(&player, &err)) {
        bench_note("nothing of OpenGL measured: %s", err.text);
        return 0;
    }
    bench_note("OpenGL by %s", (const char *)glGetString(GL_RENDERER));
    Samples taken = {0}, shown = {0}, worked = {0};
    for (int i = 0; i < ROUNDS / 2; i++) {
        draw_begin(&desk->slot.draw);
        draw_mixed(&desk->slot.context, i);
        draw_commit(&desk->slot.draw);
        desk_batch(desk, player.on_processor);
        double work = process_ms();
        int64_t begun = bench_now_ns();
        int rc = player_play(&player, &desk->batch, desk->glyphs, &err);
        glFinish();
        int64_t end = bench_now_ns();
        work = process_ms() - work;
        if (!rc)
            rc = player_present(&player, WIDTH, HEIGHT, &err);
        glFinish();
        window_show(&window);
        if (rc) {
            bench_note("%s", err.text);
            return 1;
        }
        if (i < 3)
            continue;
        samples_add(&taken, (double)(end - begun) / 1e6);
        samples_add(&worked, work);
        samples_add(&shown, (double)(bench_now_ns() - end) / 1e6);
    }
    bench_report("draw", "driver_10k_things", "ms", &taken, 0);
    bench_report("draw", "driver_10k_things_cpu", "ms", &worked, 0);
    bench_report("draw", "driver_show_1280x720", "ms", &shown, 0);
    samples_done(&taken);
    samples_done(&shown);
    samples_done(&worked);
    player_done(&player);
    window_close(&window);
    return 0;
}

/* ---- whole programs ---- */

static long resident_kib(pid_t pid)
{
    char path[64], line[200];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* Nanoseconds on a processor, all threads. */
static double cpu_ns(pid_t pid)
{
    char path[300], command[300];
    double sum = 0, value;
    snprintf(command, sizeof command, "cat /proc/%d/task/*/schedstat 2>/dev/null", (int)pid);
    FILE *tasks = popen(command, "r");
    while (tasks && fgets(path, sizeof path, tasks))
        if (sscanf(path, "%lf", &value) == 1)
            sum += value;
    if (tasks)
        pclose(tasks);
    return sum;
}

static pid_t spawn(char *const argv[], int *ret_err)
{
    int pipes[2];
    if (pipe(pipes))
        exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SDL_VIDEODRIVER", "offscreen", 1);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(pipes[1]);
    *ret_err = pipes[0];
    return pid;
}

/* The least that a window costs: opened, cleared, shown. What the child of bench_draw --floor does.
 */
static int floor_program(void)
{
    Window window;
    Error err = {0};
    int64_t begun = bench_now_ns();
    const WindowOptions options = {
        .title = "floor", .width = WIDTH, .height = HEIGHT, .offscreen = WINDOW_OFFSCREEN};
    if (window_open(&window, &options, &err))
        return 1;
    glClear(GL_COLOR_BUFFER_BIT);
    window_show(&window);
    glFinish();
    fprintf(stderr, "%.3f ms floor\n", (double)(bench_now_ns() - begun) / 1e6);
    fprintf(stderr, "%ld KiB floor\n", resident_kib(getpid()));
    return 0;
}

static double last_number(int fd, const char *what)
{
    static char text[16384];
    size_t used = 0;
    ssize_t n;
    double found = 0, value;
    while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = 0;
    close(fd);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, what) && sscanf(line, "%lf", &value) == 1)
            found = value;
    return found;
}

/* Waits for its end: what it and its children had of processors. */
static double worked_ms(pid_t pid)
{
    struct rusage usage = {0};
    wait4(pid, NULL, 0, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void starts(const char *self)
{
    char *const ours_argv[] = {BENCH_KEEL, "run",        BENCH_MODULES "/still.so",
                               "--frames", "1",          "--trace-start",
                               "--name",   "bench-draw", NULL};
    char *const floor_argv[] = {(char *)(uintptr_t)self, "--floor", NULL};
    Samples ours = {0}, bare = {0}, ours_cpu = {0}, bare_cpu = {0};
    double floor_kib = 0;
    for (int i = 0; i < STARTS; i++) {
        int fd;
        pid_t pid = spawn(floor_argv, &fd);
        double ms = last_number(fd, "ms floor");
        double bare_worked = worked_ms(pid);
        pid = spawn(ours_argv, &fd);
        double all = last_number(fd, "first frame is seen");
        double worked = worked_ms(pid);
        if (i && ms > 0 && all > 0) {
            samples_add(&bare_cpu, bare_worked);
            samples_add(&ours_cpu, worked);
            samples_add(&bare, ms);
            samples_add(&ours, all);
        }
    }
    int fd;
    pid_t pid = spawn(floor_argv, &fd);
    floor_kib = last_number(fd, "KiB floor");
    waitpid(pid, NULL, 0);
    bench_report("draw", "start_to_first_picture", "ms", &ours, samples_median(&bare));
    bench_report("draw", "start_and_end_cpu", "ms", &ours_cpu, samples_median(&bare_cpu));
    bench_value("draw", "resident_window_only", "MiB", floor_kib / 1024);
    samples_done(&ours);
    samples_done(&bare);
}

static void standing_still(int headless)
{
    char *const argv[] = {BENCH_KEEL, "run",        BENCH_MODULES "/still.so",
                          "--name",   "bench-draw", headless ? "--headless" : NULL,
                          NULL};
    int fd;
    pid_t pid = spawn(argv, &fd);
    sleep(3);
    double before = cpu_ns(pid);
    int64_t begun = bench_now_ns();
    sleep(5);
    double part = (cpu_ns(pid) - before) / (double)(bench_now_ns() - begun) * 100;
    double mib = (double)resident_kib(pid) / 1024;
    kill(pid, SIGTERM);
    close(fd);
    waitpid(pid, NULL, 0);
    if (headless) {
        bench_value("draw", "resident_keel_headless", "MiB", mib);
        return;
    }
    bench_value("draw", "static_screen_60fps", "% of a core", part);
    bench_value("draw", "resident_keel_window", "MiB", mib);
}

int main(int argc, char **argv)
{
    static Desk desk;
    if (argc == 2 && !strcmp(argv[1], "--floor"))
        return floor_program();
    desk_open(&desk);
    rate(&desk, "rects", draw_rects, RECTS);
    rate(&desk, "glyphs", draw_lines, LINES * 50); /* blanks aren't drawn */
    own_frame(&desk, 0, "own_frame_10k_things");
    own_frame(&desk, 1, "own_frame_10k_things_split");
    int failed = with_driver(&desk);
    starts(argv[0]);
    standing_still(0);
    standing_still(1);
    return failed;
}

#else

int main(void)
{
    bench_note("built without a screen: nothing to measure");
    return 0;
}

#endif
