/* The host's side of the trial: keeps one helper warm, gives it one candidate at a time, starts it
 * again when it dies. Owns the helper process, its socket and the queue. Everything runs on the
 * loop's thread; answers come there, each request gets exactly one. */
#include "module/trial.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "module/trial_job.h"
#include "module/trial_spawn.h"

#define GRACE_MS 5000 /* beyond a job's own limit, until the helper counts as hung */
#define BACKOFF_FIRST_NS (INT64_C(100) * 1000 * 1000)
#define BACKOFF_LAST_NS (INT64_C(10) * 1000 * 1000 * 1000)
#define PATIENCE_NS (INT64_C(1000) * 1000 * 1000) /* how long a request waits for a new helper */

struct Trial {
    Loop *loop;
    char *program; /* as the caller named it, or NULL */
    pid_t pid;     /* 0: no helper */
    int fd;
    uv_poll_t *poll; /* of `fd`; on its own, since closing takes a round of the loop */
    uv_timer_t kick, limit;
    int open_handles, closing;
    uint64_t next_id;
    TrialJob *first, **end; /* the first is the one that runs, if `running` */
    int running;
    int failures; /* in a row */
    int64_t not_before_ns;
    char why[512];
};

static void free_poll(uv_handle_t *handle)
{
    free(handle);
}

static void end_helper(Trial *trial)
{
    if (trial->poll) {
        uv_poll_stop(trial->poll);
        uv_close((uv_handle_t *)trial->poll, free_poll);
        trial->poll = NULL;
    }
    if (trial->fd >= 0)
        close(trial->fd);
    trial->fd = -1;
    if (trial->pid > 0) {
        kill(trial->pid, SIGKILL); /* its child dies with it */
        while (waitpid(trial->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    trial->pid = 0;
}

/* The helper died: the next one at once, later ones after a while. */
static void back_off(Trial *trial, const Error *err)
{
    int64_t wait =
        trial->failures ? BACKOFF_FIRST_NS << (trial->failures < 8 ? trial->failures : 8) : 0;
    trial->failures++;
    trial->not_before_ns = clock_now_ns() + (wait < BACKOFF_LAST_NS ? wait : BACKOFF_LAST_NS);
    snprintf(trial->why, sizeof trial->why, "%.511s", err->text);
}

static void on_answer(uv_poll_t *poll, int status, int events);

static int have_helper(Trial *trial, Error *err)
{
    if (trial->pid)
        return KEEL_OK;
    if (clock_now_ns() < trial->not_before_ns)
        return err_set(err, KEEL_EBUSY, "%s, %d times in a row; it is started again later",
                       trial->why, trial->failures);
    char *path = NULL;
    int rc = trial_find(trial->program, &path, err);
    if (!rc)
        rc = trial_spawn(path, &trial->pid, &trial->fd, err);
    free(path);
    if (rc)
        goto failed;
    trial->poll = calloc(1, sizeof *trial->poll);
    if (!trial->poll || uv_poll_init(loop_uv(trial->loop), trial->poll, trial->fd)) {
        free(trial->poll);
        trial->poll = NULL;
        rc = err_set(err, KEEL_ENOMEM, "the trial helper's socket can't be watched");
        goto failed;
    }
    trial->poll->data = trial;
    if (uv_poll_start(trial->poll, UV_READABLE | UV_DISCONNECT, on_answer)) {
        rc = err_set(err, KEEL_EIO, "the trial helper's socket can't be watched");
        goto failed;
    }
    return KEEL_OK;
failed:
    end_helper(trial);
    return rc;
}

static void on_kick(uv_timer_t *timer);

/* The first job is answered; the caller tells its owner and frees it. */
static TrialJob *take_first(Trial *trial)
{
    TrialJob *job = trial->first;
    trial->first = job->next;
    if (!trial->first)
        trial->end = &trial->first;
    trial->running = 0;
    uv_timer_stop(&trial->limit);
    if (trial->first && !trial->closing)
        uv_timer_start(&trial->kick, on_kick, 0, 0);
    return job;
}

static void answer(Trial *trial, const TrialResult *result)
{
    TrialJob *job = take_first(trial);
    job->done(result, job->user);
    trial_job_free(job);
}

static void answer_reading(Trial *trial, Reading *reading, const Error *err)
{
    TrialJob *job = take_first(trial);
    job->read_done(reading, err, job->user);
    trial_job_free(job);
}

static void answer_unavailable(Trial *trial, const Error *err)
{
    if (trial->first->read_done) {
        answer_reading(trial, NULL, err);
        return;
    }
    TrialResult *result = calloc(1, sizeof *result);
    static const TrialResult no_memory = {.verdict = TRIAL_UNAVAILABLE,
                                          .phase = "helper",
                                          .text = "there is no memory for a trial's result"};
    if (!result) {
        answer(trial, &no_memory);
        return;
    }
    result->verdict = TRIAL_UNAVAILABLE;
    snprintf(result->phase, sizeof result->phase, "helper");
    snprintf(result->text, sizeof result->text, "%.511s", err->text);
    answer(trial, result);
    free(result);
}

static void on_limit(uv_timer_t *timer);

/* Gives the first request to the helper. One that the helper took with it into death is given to a
 * second helper before it counts as unavailable. */
static void pump(Trial *trial)
{
    Error err = {0};
    TrialJob *job = trial->first;
    if (!job || trial->running || trial->closing)
        return;
    int64_t wait_ns = trial->not_before_ns - clock_now_ns();
    if (!trial->pid && wait_ns > 0 && wait_ns <= PATIENCE_NS) {
        uv_timer_start(&trial->kick, on_kick, (uint64_t)wait_ns / 1000000 + 1, 0);
        return;
    }
    int rc = have_helper(trial, &err);
    if (!rc) {
        rc = trial_job_send(job, trial->fd, &err);
        if (rc) {
            end_helper(trial);
            if (job->tries++ == 0 && !(rc = have_helper(trial, &err)))
                rc = trial_job_send(job, trial->fd, &err);
        }
    }
    if (rc) {
        answer_unavailable(trial, &err);
        return;
    }
    job->tries++;
    trial->running = 1;
    /* The helper ends what takes too long itself, and says so: the host's limit is the longer. */
    uint64_t own_ms = job->wire.what == TRIAL_WIRE_READ
                          ? TRIAL_READ_LAST_MS
                          : (uint64_t)(job->wire.time_limit_ns / 1000000) * TRIAL_STARVED_TIMES;
    uv_timer_start(&trial->limit, on_limit, own_ms + GRACE_MS, 0);
}

static void on_kick(uv_timer_t *timer)
{
    pump(timer->data);
}

static void helper_lost(Trial *trial, const Error *err)
{
    end_helper(trial);
    log_warn("trial", "%s; it is started again", err->text);
    back_off(trial, err);
    if (!trial->running)
        return;
    trial->running = 0;
    uv_timer_stop(&trial->limit);
    if (trial->first->tries < 2) {
        pump(trial);
        return;
    }
    answer_unavailable(trial, err);
}

static void on_limit(uv_timer_t *timer)
{
    Error err;
    err_set(&err, KEEL_ETIMEOUT, "the trial helper did not answer in time: it hangs");
    ((Trial *)timer->data)->first->tries = 2;
    helper_lost(timer->data, &err);
}

static void answer_read(Trial *trial, const TrialWireResult *wire, int fd)
{
    Reading *reading = NULL;
    Error err = {0};
    if (wire->read_code || fd < 0)
        err_set(&err, wire->read_code < 0 ? wire->read_code : KEEL_EIMAGE, "%s", wire->result.text);
    else
        reading_open(fd, &reading, &err);
    if (wire->read_code && fd >= 0)
        close(fd);
    answer_reading(trial, reading, &err);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
    Trial *trial = poll->data;
    Error err = {0};
    (void)status; /* where the other end is gone libuv tells of a bad descriptor: the read knows */
    (void)events;
    TrialWireResult *wire = malloc(sizeof *wire);
    if (!wire)
        return; /* level-triggered: asked again */
    int fd = -1;
    int rc = trial_answer_read(trial->fd, wire, &fd, &err);
    if (rc == KEEL_EPARTIAL) {
        free(wire);
        return;
    }
    if (!rc && trial->running && wire->id == trial->first->wire.id) {
        trial->failures = 0;
        if (trial->first->read_done) {
            answer_read(trial, wire, fd);
            fd = -1;
        } else {
            answer(trial, &wire->result);
        }
    } else if (rc) {
        helper_lost(trial, &err);
    }
    if (fd >= 0)
        close(fd);
    free(wire);
}

/* ---- life ---- */

typedef struct NewCall {
    Loop *loop;
    const char *program;
    Trial *trial;
    int rc, later;
    Error *err;
} NewCall;

static void new_on_loop(void *user)
{
    NewCall *call = user;
    Trial *trial = calloc(1, sizeof *trial);
    call->rc = KEEL_OK;
    if (trial && call->program)
        trial->program = strdup(call->program);
    if (!trial || (call->program && !trial->program)) {
        free(trial);
        call->rc = err_set(call->err, KEEL_ENOMEM, "no memory for the trial");
        return;
    }
    trial->loop = call->loop;
    trial->fd = -1;
    trial->end = &trial->first;
    uv_timer_init(loop_uv(call->loop), &trial->kick);
    uv_timer_init(loop_uv(call->loop), &trial->limit);
    trial->kick.data = trial->limit.data = trial;
    trial->open_handles = 2;
    Error err = {0};
    if (!call->later && have_helper(trial, &err))
        log_warn("trial", "candidates can't be tried: %s", err.text);
    call->trial = trial;
}

static int new_trial(Loop *loop, const char *program, int later, Trial **ret, Error *err)
{
    NewCall call = {
        .loop = loop, .program = program, .rc = KEEL_ECANCELED, .later = later, .err = err};
    int rc = loop_call(loop, new_on_loop, &call);
    if (rc)
        return err_set(err, rc, "the engine's loop has ended");
    if (call.rc)
        return call.rc;
    *ret = call.trial;
    return KEEL_OK;
}

int trial_new(Loop *loop, const char *program, Trial **ret, Error *err)
{
    return new_trial(loop, program, 0, ret, err);
}

int trial_new_reader(Loop *loop, const char *program, Trial **ret, Error *err)
{
    return new_trial(loop, program, 1, ret, err);
}

static void closed(uv_handle_t *handle)
{
    Trial *trial = handle->data;
    if (--trial->open_handles)
        return;
    free(trial->program);
    free(trial);
}

static void free_on_loop(void *user)
{
    Trial *trial = user;
    Error err;
    err_set(&err, KEEL_ECANCELED, "the host is closing");
    trial->closing = 1;
    end_helper(trial);
    while (trial->first)
        answer_unavailable(trial, &err);
    uv_close((uv_handle_t *)&trial->kick, closed);
    uv_close((uv_handle_t *)&trial->limit, closed);
}

void trial_free(Trial *trial)
{
    if (trial)
        loop_call(trial->loop, free_on_loop, trial);
}

static void queue(Trial *trial, TrialJob *job, void *user)
{
    job->user = user;
    *trial->end = job;
    trial->end = &job->next;
    if (!trial->running)
        uv_timer_start(&trial->kick, on_kick, 0, 0);
}

int trial_run(Trial *trial, const TrialRequest *request, TrialDone *done, void *user, Error *err)
{
    TrialJob *job = NULL;
    if (trial->closing)
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    int rc = trial_job_new(request, ++trial->next_id, &job, err);
    if (rc)
        return rc;
    job->done = done;
    queue(trial, job, user);
    return KEEL_OK;
}

int trial_read(Trial *trial, Image *image, Reading *before, TrialReadDone *done, void *user,
               Error *err)
{
    TrialJob *job = NULL;
    if (trial->closing)
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    int rc = trial_job_new_read(image, before, ++trial->next_id, &job, err);
    if (rc)
        return rc;
    job->read_done = done;
    queue(trial, job, user);
    return KEEL_OK;
}
