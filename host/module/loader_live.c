/* The generations that are mapped: from dlopen until the range that one had is reserved. Owns the
 * list of them, the staged names and the reserved ranges. Never holds the mutex while it runs code
 * of a module, which may never return. Loader thread, and whoever frees the loader after it. */
#include "module/loader_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "module/load.h"
#include "module/retire.h"

#define RETRY_FIRST_NS INT64_C(1000000)
#define RETRY_LAST_NS INT64_C(100000000)
#define RETRY_STUCK_NS INT64_C(5000000000)
/* Where swaps come without a pause, so many wait for the calm after a load (loader.c). */
enum { CALM_WAITING = 8 };
enum { ATTEMPTS = 20 }; /* about 1.5 s until a generation is called stuck */

/* ---- closed ---- */

static void unlink_generation(Loader *loader, Generation *g)
{
    Generation **at = &loader->all;
    while (*at && *at != g)
        at = &(*at)->next;
    if (*at)
        *at = g->next;
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

/* ---- loading ---- */

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

int live_load(Loader *loader, const LoadJob *job, Generation **ret, int *ret_locked, Error *err)
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

/* ---- retiring ---- */

static void call_stuck(Loader *loader, Generation *g, const char *why)
{
    if (g->stuck)
        return;
    g->stuck = 1;
    loader->status.stuck++;
    log_warn("module", "generation %llu of %s stays in memory: %s", (unsigned long long)g->number,
             g->image->name, why);
}

void live_close(Loader *loader, Generation *g)
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

Generation *live_next(const Loader *loader, int64_t *ret_due)
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

/* ---- the end ---- */

static _Atomic int code_left; /* generations that no loader has any more, or a thread in one */

int loader_left(void)
{
    return atomic_load(&code_left);
}

void live_left_behind(void)
{
    atomic_fetch_add(&code_left, 1);
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
    live_left_behind();
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

int live_end(Loader *loader)
{
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
    if (loader->locked)
        live_left_behind();
    return left;
}
