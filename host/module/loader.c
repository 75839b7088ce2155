/* The loader thread, its queue and the list of everything that is loaded. Owns the thread, the
 * staged names, the reserved ranges and each generation that was handed back. */
#include "module/loader.h"

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
#include "module/load.h"
#include "module/retire.h"
#include "module/retired.h"

#define HANG_NS INT64_C(1000000000)
#define RETRY_FIRST_NS INT64_C(1000000)
#define RETRY_LAST_NS INT64_C(100000000)
#define RETRY_STUCK_NS INT64_C(5000000000)
/* So long after a load nothing is closed: the swap that it was made for comes now, and unmapping
 * what ran before would fall into it. Where swaps come without a pause, so many may wait. */
#define CALM_NS INT64_C(30000000)
enum { CALM_WAITING = 8 };
enum { ATTEMPTS = 20 }; /* about 1.5 s until a generation is called stuck */

typedef struct LoadJob LoadJob;
struct LoadJob {
    LoadJob *next;
    State *state;
    Image *image;
    LoaderDone *done;
    void *user;
};

struct Loader {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int thread_runs, stopping;
    int plain; /* without signal handlers */

    /* Under the mutex. */
    LoadJob *first, **end;
    Generation *all;       /* loaded and not closed */
    int64_t busy_since_ns; /* 0: no load runs */
    char busy_name[IMAGE_NAME_BYTES];
    int locked; /* the dynamic loader's lock is lost */
    int64_t calm_until_ns;
    LoaderStatus status;

    /* The loader thread's. */
    Stage *stage;
    Retired retired;
};

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

static void finish_closed(Loader *loader, Generation *g);

static int in_use(Loader *loader, const Image *image)
{
    int found = 0;
    pthread_mutex_lock(&loader->mutex);
    for (Generation *g = loader->all; g; g = g->next)
        found |= g->image == image || g->image->memfd == image->memfd;
    pthread_mutex_unlock(&loader->mutex);
    return found;
}

static int overlaps(Loader *loader, const Generation *g, Error *err)
{
    uint64_t other = 0;
    pthread_mutex_lock(&loader->mutex);
    for (Generation *o = loader->all; o; o = o->next)
        if (o != g && g->load_first < o->load_last && g->load_last > o->load_first)
            other = o->number;
    pthread_mutex_unlock(&loader->mutex);
    if (other)
        return err_set(err, KEEL_ELOAD, "%s was mapped over generation %llu", g->image->path,
                       (unsigned long long)other);
    if (retired_overlaps(&loader->retired, g->load_first, g->load_last))
        return err_set(err, KEEL_ELOAD, "%s was mapped over a reserved range", g->image->path);
    return KEEL_OK;
}

/* Closed, and where it was, is another now: it is gone, though nobody could look so far. */
static void finish_overlapped(Loader *loader, const Generation *g)
{
    for (;;) {
        pthread_mutex_lock(&loader->mutex);
        Generation *o = loader->all;
        while (o && (o->handle || o == g || g->load_first >= o->load_last ||
                     g->load_last <= o->load_first))
            o = o->next;
        pthread_mutex_unlock(&loader->mutex);
        if (!o)
            return;
        finish_closed(loader, o);
    }
}

static int make(Loader *loader, const LoadJob *job, Generation **ret, int *ret_locked, Error *err)
{
    Generation *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, KEEL_ENOMEM, "no memory to load %s", job->image->path);
    LoadTry try = {.generation = g, .state = job->state, .stage = loader->stage};
    char name[64];
    g->number = generation_next_number();
    int rc = KEEL_OK;
    if (in_use(loader, job->image))
        rc = load_copy_image(job->image, &g->image, err);
    else
        g->image = image_ref(job->image);
    if (!rc)
        rc = load_run(&try, err);
    int is_loaded = !rc;
    if (!rc)
        finish_overlapped(loader, g);
    if (!rc)
        rc = overlaps(loader, g, err);
    if (!rc) {
        snprintf(name, sizeof name, "%.40s (generation %llu)", g->image->name,
                 (unsigned long long)g->number);
        rc = guard_range_add(g->load_first, g->load_last, g->number, name, err);
    }
    if (rc && is_loaded)
        load_undo(&try);
    *ret_locked = try.locked;
    if (try.locked)
        return rc; /* the loader may still use image and name: they are left to it */
    if (rc) {
        generation_free(g);
        return rc;
    }
    g->loaded_ns = clock_now_ns();
    *ret = g;
    return KEEL_OK;
}

static void run_load(Loader *loader, LoadJob *job)
{
    Error err = {0};
    Generation *g = NULL;
    int locked = 0;
    int rc = make(loader, job, &g, &locked, &err);
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

/* ---- retiring ---- */

static void unlink_generation(Loader *loader, Generation *g)
{
    Generation **at = &loader->all;
    while (*at && *at != g)
        at = &(*at)->next;
    if (*at)
        *at = g->next;
}

static void call_stuck(Loader *loader, Generation *g, const char *why)
{
    if (g->stuck)
        return;
    g->stuck = 1;
    loader->status.stuck++;
    log_warn("module", "generation %llu of %s stays in memory: %s", (unsigned long long)g->number,
             g->image->name, why);
}

static void finish_closed(Loader *loader, Generation *g)
{
    char name[64];
    snprintf(name, sizeof name, "retired generation %llu of %.24s", (unsigned long long)g->number,
             g->image->name);
    guard_range_remove(g->number);
    retired_keep(&loader->retired, g->number, g->load_first, g->load_last, name);
    stage_remove(loader->stage, g->staged);
    pthread_mutex_lock(&loader->mutex);
    unlink_generation(loader, g);
    loader->status.closed++;
    loader->status.stuck -= (uint64_t)(g->stuck != 0);
    loader->status.reserved_ranges = (uint64_t)loader->retired.count;
    pthread_mutex_unlock(&loader->mutex);
    generation_free(g);
}

static void try_close(Loader *loader, Generation *g)
{
    Error err = {0};
    RetireOutcome outcome = retire_try(g, &err);
    if (outcome == RETIRE_CLOSED) {
        finish_closed(loader, g);
        return;
    }
    pthread_mutex_lock(&loader->mutex);
    int64_t wait = RETRY_STUCK_NS;
    if (outcome == RETIRE_BUSY && g->attempts < ATTEMPTS) {
        wait = RETRY_FIRST_NS << (g->attempts < 7 ? g->attempts : 7);
        if (wait > RETRY_LAST_NS)
            wait = RETRY_LAST_NS;
        g->attempts++;
    } else {
        call_stuck(loader, g, err.text);
    }
    g->retry_ns = outcome == RETIRE_BUSY ? clock_now_ns() + wait : INT64_MAX;
    loader->locked |= outcome == RETIRE_LOCKED;
    pthread_mutex_unlock(&loader->mutex);
}

/* The retiring generation that is due first, or NULL; *ret_due when. The mutex is held. */
static Generation *next_retiring(const Loader *loader, int64_t *ret_due)
{
    Generation *found = NULL;
    int waiting = 0;
    *ret_due = INT64_MAX;
    for (Generation *g = loader->all; g && !loader->locked; g = g->next) {
        waiting += g->retiring && !g->stuck;
        if (g->retiring && g->retry_ns < *ret_due) {
            found = g;
            *ret_due = g->retry_ns;
        }
    }
    if (found && waiting <= CALM_WAITING && *ret_due < loader->calm_until_ns)
        *ret_due = loader->calm_until_ns;
    return found;
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
        Generation *g = next_retiring(loader, &due);
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
            try_close(loader, g);
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
    loader->thread_runs = 1;
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

static _Atomic int code_left; /* generations that no loader has any more, or a thread in one */

int loader_left(void)
{
    return atomic_load(&code_left);
}

/* What can't be closed lives as long as the process; threads may be in it. */
static void leave_behind(Generation *g)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static Generation *left_behind;
    pthread_mutex_lock(&mutex);
    g->next = left_behind;
    left_behind = g;
    pthread_mutex_unlock(&mutex);
    atomic_fetch_add(&code_left, 1);
}

static int close_at_end(Generation *g)
{
    Error err;
    RetireOutcome outcome = RETIRE_BUSY;
    if (!g->retiring || g->retry_ns == INT64_MAX)
        return 0;
    for (int i = 0; i < ATTEMPTS && outcome == RETIRE_BUSY; i++) {
        if (i)
            nanosleep(&(struct timespec){.tv_nsec = RETRY_FIRST_NS}, NULL);
        outcome = retire_try(g, &err);
    }
    return outcome == RETIRE_CLOSED;
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
        atomic_fetch_add(&code_left, 1);
        stage_remove_all(loader->stage);
        return; /* the thread uses all the rest */
    }
    /* What can be closed is; the rest stays mapped, with its image, name and list entry: threads
     * may be in it. */
    guard_thread_begin(NULL);
    int left = 0;
    while (loader->all && !loader->locked) {
        Generation *g = loader->all;
        if (close_at_end(g)) {
            finish_closed(loader, g);
            continue;
        }
        loader->all = g->next;
        leave_behind(g);
        left++;
    }
    guard_thread_end();
    if (loader->locked)
        atomic_fetch_add(&code_left, 1);
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
