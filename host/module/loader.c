/* The loader thread, its queue and the calls from other threads. Owns the thread and each job that
 * waits. What is loaded is in loader_live.c. */
#include "module/loader_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "base/log.h"
#include "base/sanitizer.h"
#include "fault/guard.h"

#define HANG_NS INT64_C(1000000000)
/* So long after a load nothing is closed: the swap that it was made for comes now, and unmapping
 * what ran before would fall into it. */
#define CALM_NS INT64_C(30000000)

void loader_thread_known(void)
{
    known_thread_begin();
}

void loader_thread_forget(void)
{
    known_thread_end();
}

/* ---- refusals; the mutex is held ---- */

static int why_refused(const Loader *loader, Error *err)
{
    if (loader->stopping)
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    if (loader->locked)
        return err_set(err, KEEL_EBUSY,
                       "a constructor or destructor crashed and left the dynamic loader locked: "
                       "nothing more can be loaded until the host is restarted");
    int64_t since = loader->busy_since_ns;
    if (since && clock_now_ns() - since > HANG_NS)
        return err_set(err, KEEL_EBUSY,
                       "a constructor of %s has been running for %lld s and keeps the dynamic "
                       "loader: nothing more can be loaded until it ends or the host is restarted",
                       loader->busy_name, (long long)((clock_now_ns() - since) / 1000000000));
    return KEEL_OK;
}

static LoadJob *take_all(Loader *loader)
{
    LoadJob *jobs = loader->first;
    loader->first = NULL;
    loader->end = &loader->first;
    return jobs;
}

/* Not under the mutex. */
static void refuse_jobs(LoadJob *jobs, const Error *err)
{
    while (jobs) {
        LoadJob *job = jobs;
        jobs = job->next;
        job->done(NULL, err, job->user);
        image_unref(job->image);
        free(job);
    }
}

/* ---- loading ---- */

static void run_load(Loader *loader, LoadJob *job)
{
    Error err = {0};
    Generation *g = NULL;
    int locked = 0;
    int rc = live_load(loader, job, &g, &locked, &err);
    pthread_mutex_lock(&loader->mutex);
    loader->busy_since_ns = 0;
    loader->status.busy_with = 0;
    loader->locked |= locked;
    if (!rc) {
        g->next = loader->all;
        loader->all = g;
        loader->status.loaded++;
        loader->calm_until_ns = clock_now_ns() + CALM_NS;
    }
    pthread_mutex_unlock(&loader->mutex);
    job->done(g, &err, job->user);
    image_unref(job->image);
    free(job);
}

/* ---- the thread ---- */

static void wait_until(Loader *loader, int64_t due_ns)
{
    if (due_ns == INT64_MAX) {
        pthread_cond_wait(&loader->wake, &loader->mutex);
        return;
    }
    struct timespec until = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    pthread_cond_timedwait(&loader->wake, &loader->mutex, &until);
}

static void *thread_main(void *user)
{
    Loader *loader = user;
    pthread_setname_np(pthread_self(), "keel-loader");
    Error err;
    if (guard_thread_begin(&err))
        log_error("module", "the loader's thread has no guard: %s", err.text);
    known_thread_begin();
    pthread_mutex_lock(&loader->mutex);
    for (;;) {
        int64_t due;
        Generation *g = live_next(loader, &due);
        LoadJob *job = loader->first;
        if (loader->stopping)
            break;
        if (job && loader->locked) {
            why_refused(loader, &err);
            LoadJob *jobs = take_all(loader);
            pthread_mutex_unlock(&loader->mutex);
            refuse_jobs(jobs, &err);
        } else if (job) {
            loader->first = job->next;
            if (!loader->first)
                loader->end = &loader->first;
            loader->busy_since_ns = clock_now_ns();
            snprintf(loader->busy_name, sizeof loader->busy_name, "%s", job->image->name);
            pthread_mutex_unlock(&loader->mutex);
            run_load(loader, job);
        } else if (g && due <= clock_now_ns()) {
            pthread_mutex_unlock(&loader->mutex);
            live_close(loader, g);
        } else {
            wait_until(loader, due);
            continue;
        }
        pthread_mutex_lock(&loader->mutex);
    }
    pthread_mutex_unlock(&loader->mutex);
    known_thread_end();
    guard_thread_end();
    return NULL;
}

static int start_thread(Loader *loader, Error *err)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->wake, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals meant for the program go to its own threads; the guard's must come here. */
    static const int others[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,  SIGCHLD,
                                 SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGPIPE};
    sigset_t blocked, before;
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        sigaddset(&blocked, others[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int number = pthread_create(&loader->thread, NULL, thread_main, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number)
        return err_errno(err, KEEL_ENOMEM, number, "the loader's thread can't be started");
    return KEEL_OK;
}

static void uninstall(const Loader *loader)
{
    if (loader->plain)
        guard_uninstall_plain();
    else
        guard_uninstall();
}

static int make_loader(int plain, Loader **ret, Error *err)
{
    Loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return err_set(err, KEEL_ENOMEM, "no memory for the loader");
    loader->end = &loader->first;
    loader->plain = plain;
    int rc = plain ? guard_install_plain(err) : guard_install(err);
    if (rc)
        goto no_guard;
    rc = stage_new(&loader->stage, err);
    if (rc)
        goto no_stage;
    rc = start_thread(loader, err);
    if (rc)
        goto no_thread;
    *ret = loader;
    return KEEL_OK;
no_thread:
    stage_free(loader->stage);
no_stage:
    uninstall(loader);
no_guard:
    free(loader);
    return rc;
}

void loader_alone(Loader *loader)
{
    stage_alone(loader->stage);
}

int loader_new(Loader **ret, Error *err)
{
    return make_loader(0, ret, err);
}

int loader_new_plain(Loader **ret, Error *err)
{
    return make_loader(1, ret, err);
}

/* Waits for the thread as long as a load may fairly take. */
#if UNDER_TSAN || UNDER_ASAN /* slower: not hanging yet */
#define JOIN_SECONDS 30
#else
#define JOIN_SECONDS 3
#endif

static int join_thread(Loader *loader)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_SECONDS;
    return pthread_timedjoin_np(loader->thread, NULL, &until);
}

void loader_free(Loader *loader)
{
    if (!loader)
        return;
    Error err = {0};
    pthread_mutex_lock(&loader->mutex);
    loader->stopping = 1;
    why_refused(loader, &err);
    LoadJob *jobs = take_all(loader);
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
    refuse_jobs(jobs, &err);
    if (join_thread(loader)) {
        log_warn("module", "%s still keeps the loader's thread; it is left behind",
                 loader->busy_name);
        live_left_behind();
        stage_remove_all(loader->stage);
        return; /* the thread uses all the rest */
    }
    guard_thread_begin(NULL);
    int left = live_end(loader);
    guard_thread_end();
    if (left)
        log_warn("module", "%d generation%s in memory at the end", left,
                 left == 1 ? " stays" : "s stay");
    retired_done(&loader->retired);
    stage_free(loader->stage);
    uninstall(loader);
    pthread_cond_destroy(&loader->wake);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}

/* ---- calls from other threads ---- */

int loader_load(Loader *loader, State *state, Image *image, LoaderDone *done, void *user)
{
    LoadJob *job = calloc(1, sizeof *job);
    if (!job)
        return KEEL_ENOMEM;
    *job = (LoadJob){.state = state, .image = image_ref(image), .done = done, .user = user};
    LoaderStatus status;
    Error err = {0};
    loader_status(loader, &status); /* refuses what waits behind a constructor that hangs */
    pthread_mutex_lock(&loader->mutex);
    int rc = why_refused(loader, &err);
    if (!rc) {
        *loader->end = job;
        loader->end = &job->next;
        pthread_cond_signal(&loader->wake);
    }
    pthread_mutex_unlock(&loader->mutex);
    if (rc) {
        image_unref(image);
        free(job);
    }
    return rc;
}

void loader_retire(Loader *loader, Generation *generation)
{
    pthread_mutex_lock(&loader->mutex);
    generation->retired_ns = clock_now_ns();
    generation->retiring = 1;
    generation->retry_ns = 0;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
}

void loader_status(Loader *loader, LoaderStatus *ret)
{
    Error err = {0};
    LoadJob *jobs = NULL;
    pthread_mutex_lock(&loader->mutex);
    *ret = loader->status;
    ret->waiting_to_close = 0;
    for (Generation *g = loader->all; g; g = g->next)
        ret->waiting_to_close += (uint64_t)(g->retiring && !g->stuck);
    int rc = why_refused(loader, &err);
    if (rc) {
        jobs = take_all(loader);
        ret->busy_with = rc == KEEL_EBUSY && !loader->locked;
        snprintf(ret->busy, sizeof ret->busy, "%.511s", err.text);
    }
    pthread_mutex_unlock(&loader->mutex);
    refuse_jobs(jobs, &err);
}

int loader_take_stray(Loader *loader, Fault *ret_fault)
{
    int taken = 0;
    pthread_mutex_lock(&loader->mutex);
    for (const Generation *g = loader->all; g && !taken; g = g->next)
        taken = g->retiring && guard_take_stray_of(g->number, ret_fault);
    pthread_mutex_unlock(&loader->mutex);
    return taken;
}
