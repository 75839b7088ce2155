/* What does a trial of a small module cost beyond the frames that it runs?
 *
 * The floor is a fork and wait of a process as small as the helper. Each trial goes the whole way:
 * request, child, sandbox, inspection, dlopen, proofs, frames, answer. The engine's loop does it.
 */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "module/trial.h"
#include "watch/stage.h"

enum { ROUNDS = 300, WARM = 10 };

typedef struct Ask {
    Trial *trial;
    TrialRequest request;
    TrialResult result;
    Error err;
    int rc;
    sem_t done;
} Ask;

static void answered(const TrialResult *result, void *user)
{
    Ask *ask = user;
    ask->result = *result;
    sem_post(&ask->done);
}

static void put(void *user)
{
    Ask *ask = user;
    ask->rc = trial_run(ask->trial, &ask->request, answered, ask, &ask->err);
    if (ask->rc)
        sem_post(&ask->done);
}

static void need(int rc, const Error *err)
{
    if (!rc)
        return;
    fprintf(stderr, "bench_trial: %s\n", err->text);
    exit(2);
}

static double floor_us(void)
{
    Samples samples = {0};
    for (int i = 0; i < 100; i++) {
        int64_t began = bench_now_ns();
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
        samples_add(&samples, (double)(bench_now_ns() - began) / 1000);
    }
    double median = samples_median(&samples);
    samples_done(&samples);
    return median;
}

static void measure(Loop *loop, Ask *ask, const char *metric, uint32_t frames, double floor)
{
    Samples whole = {0}, child = {0};
    char name[64];
    ask->request.frames = frames;
    for (int i = 0; i < ROUNDS + WARM; i++) {
        int64_t began = bench_now_ns();
        need(loop_post(loop, put, ask), &ask->err);
        while (sem_wait(&ask->done))
            ;
        int64_t took = bench_now_ns() - began;
        need(ask->rc, &ask->err);
        if (ask->result.verdict != TRIAL_PASS) {
            fprintf(stderr, "bench_trial: %s: %s\n", ask->result.phase, ask->result.text);
            exit(2);
        }
        if (i < WARM)
            continue;
        samples_add(&whole, (double)took / 1000);
        samples_add(&child, (double)ask->result.run_ns / 1000);
    }
    bench_report("trial", metric, "us", &whole, floor);
    snprintf(name, sizeof name, "%s, of which in the helper", metric);
    bench_report("trial", name, "us", &child, floor);
    samples_done(&whole);
    samples_done(&child);
}

int main(int argc, char **argv)
{
    static Ask ask;
    const char *module = argc > 1 ? argv[1] : BENCH_MODULES "/../modules/ball.so";
    Loop *loop = NULL;
    Stage *stage = NULL;
    Image *image = NULL;
    State *state = NULL;
    Pin *pin = NULL;
    char *staged = NULL;
    Error err = {0};
    double floor = floor_us();
    need(loop_new(&loop, &err), &err);
    need(stage_new(&stage, &err), &err);
    need(image_load_file(module, INT64_C(2000000000), &image, &err), &err);
    need(stage_add(stage, 1, image->path, image->memfd, &staged, &err), &err);
    need(trial_new(loop, BENCH_TRIAL, &ask.trial, &err), &err);
    need(state_open(NULL, &state, &err), &err);
    need(state_commit(state, &err), &err);
    need(state_pin(state, &pin, &err), &err);
    sem_init(&ask.done, 0, 0);
    ask.request = (TrialRequest){.image = image, .staged = staged, .how = TRIAL_START};
    measure(loop, &ask, "start, 1 frame", 1, floor);
    measure(loop, &ask, "start, 60 frames", 60, floor);
    need(state_pin_view(pin, &ask.request.view, &err), &err);
    ask.request.how = TRIAL_KEEP;
    measure(loop, &ask, "pinned state, 60 frames", 60, floor);
    trial_free(ask.trial);
    state_unpin(pin);
    state_close(state);
    stage_remove(stage, staged);
    free(staged);
    stage_free(stage);
    loop_free(loop);
    image_unref(image);
    return 0;
}
