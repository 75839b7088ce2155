/* Opening and closing a host. Owns all rooms' objects; the order of taking
 * them down is the reverse of putting them up. Frame thread. */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fault/report.h"
#include "host/keeper.h"
#include "host/assets.h"
#include "host/services.h"
#include "swap/past.h"

enum { WORKERS_MOST = 8, ADD_LOOK_NS = 2 * 1000 * 1000 };
/* What a group asks of a boundary, and what its answer asks of the next, and one more. */
enum { LAST_BOUNDARIES = 3 };

#define CLOSE_PATIENCE_NS (INT64_C(3) * 1000 * 1000 * 1000)

static _Thread_local Error last_error;

int host_failed(const Error *err)
{
    last_error = *err;
    return err->code;
}

const char *keel_host_error(void)
{
    return last_error.text;
}

/* The log is the process's: each host that wants it gets every line. */
static pthread_rwlock_t listeners_lock = PTHREAD_RWLOCK_INITIALIZER;
static Host *listeners;

static void to_programs(const LogRecord *record, void *user)
{
    (void)user;
    pthread_rwlock_rdlock(&listeners_lock);
    for (const Host *host = listeners; host; host = host->next_listener)
        host->options.log(record->level, record->room, record->text, host->options.log_user);
    pthread_rwlock_unlock(&listeners_lock);
}

static void hear(Host *host)
{
    pthread_rwlock_wrlock(&listeners_lock);
    host->next_listener = listeners;
    listeners = host;
    log_set_sink(to_programs, NULL);
    pthread_rwlock_unlock(&listeners_lock);
}

static void hear_no_more(Host *host)
{
    pthread_rwlock_wrlock(&listeners_lock);
    Host **at = &listeners;
    while (*at && *at != host)
        at = &(*at)->next_listener;
    if (*at)
        *at = host->next_listener;
    pthread_rwlock_unlock(&listeners_lock);
}

static void at_boundary(void *host, LoopFunction *function, void *user)
{
    boundary_post_calm(&((Host *)host)->boundary, function, user);
}

static int offers(const char *service)
{
    return services_find(service, 0) != NULL;
}

static int worker_begin(void)
{
    loader_thread_known();
    return guard_thread_begin(NULL);
}

static void worker_end(void)
{
    guard_thread_end();
    loader_thread_forget();
}

/* Copies what the caller knows of the options; what lies past its `size` stays zero. */
static void take_options(Host *host, const struct keel_host_options *options)
{
    if (!options)
        return;
    size_t size = options->size < sizeof host->options ? options->size : sizeof host->options;
    memcpy(&host->options, options, size);
}

/* Keys were given: nothing runs that they don't vouch for, and nothing is loaded from beside it. */
static int begin_trust(Host *host, Error *err)
{
    const struct keel_host_options *o = &host->options;
    int rc = trust_open(o->trust_keys, o->trust_key_count, o->trust_state, &host->trust, err);
    if (rc)
        return rc;
    stage_alone(host->stage);
    loader_alone(host->loader);
    const char *state = trust_state_path(host->trust);
    log_info("trust", "only builds signed by %s run here%s%s", trust_keys_text(host->trust),
             *state ? "; their counters are kept in " : "", state);
    return KEEL_OK;
}

/* The defaults are what the field has found to do: few frames, seconds of patience. */
static Handover handover(const struct keel_host_options *options)
{
    const int64_t ms = 1000000;
    uint32_t lag = options->handover_lag_ms, wait = options->handover_wait_ms;
    return (Handover){
        .shadow = options->handover == KEEL_HANDOVER_SHADOW,
        .old_frames = 3,
        .old_lag_ns = 50 * ms,
        .old_patience_ns = 3000 * ms,
        .new_frames = options->handover_frames ? options->handover_frames : 5,
        .new_lag_ns = (lag ? lag : 10) * ms,
        .new_patience_ns = (wait ? wait : 1500) * ms,
    };
}

int keel_host_open(const struct keel_host_options *options, keel_host **ret_host)
{
    Error err = {0};
    Host *host = calloc(1, sizeof *host);
    if (!host)
        return host_failed(&(Error){KEEL_ENOMEM, "no memory for a host"});
    take_options(host, options);
    host->opened_ns = clock_now_ns();
    boundary_init(&host->boundary);
    host->screen = draw_no_screen;
    if (host->options.log)
        hear(host);
    int rc = state_space_init(&err);
    if (!rc && !host->options.no_signals && (rc = guard_install(&err)) == KEEL_OK)
        host->guarded = 1;
    if (!rc && host->guarded && report_begin(&err)) {
        log_warn("fault", "%s: faults are told in the log only", err.text);
        err = (Error){0};
    }
    if (!rc)
        rc = loop_new(&host->loop, &err);
    if (!rc)
        rc = stage_new(&host->stage, &err);
    if (!rc)
        rc = host->options.no_signals ? loader_new_plain(&host->loader, &err)
                                      : loader_new(&host->loader, &err);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = host->options.workers ? (int)host->options.workers
                                        : (int)(cpus > WORKERS_MOST ? WORKERS_MOST : cpus);
    if (!rc)
        rc = workers_new(threads, worker_begin, worker_end, &host->workers, &err);
    if (!rc && host->options.trial != KEEL_TRIAL_OFF &&
        trial_new(host->loop, host->options.trial_program, &host->trial, &err)) {
        if (host->options.trial == KEEL_TRIAL_STRICT)
            rc = err.code;
        else
            log_warn("trial", "%s; candidates are not tried before they run", err.text);
    }
    if (!rc && trial_new_reader(host->loop, host->options.trial_program, &host->reader, &err))
        log_warn("swap", "%s; what a build changes stays unknown", err.text);
    if (!rc && host->options.trust_key_count)
        rc = begin_trust(host, &err);
    if (!rc && host->options.handover &&
        (rc = trial_new_reader(host->loop, host->options.trial_program, &host->shadow, &err)))
        err_wrap(&err, "no handover is possible");
    if (!rc)
        rc = host_watch_begin(host, &err);
    if (rc) {
        keel_host_close(host);
        return host_failed(&err);
    }
    host->swapper = (Swapper){.loop = host->loop,
                              .loader = host->loader,
                              .trial = host->trial,
                              .reader = host->reader,
                              .shadow = host->shadow,
                              .handover = handover(&host->options),
                              .stage = host->stage,
                              .trust = host->trust,
                              .trial_mode = (SwapTrialMode)host->options.trial,
                              .identical = host->options.swap_identical != 0,
                              .at_boundary = at_boundary,
                              .offers = offers,
                              .host = host};
    *ret_host = host;
    return KEEL_OK;
}

static void close_slot(Host *host, Slot *slot)
{
    Fault fault = {0};
    if (slot->probation.group)
        probation_end(slot);
    if (slot->running) {
        if (slot_stop(slot, slot->running, &fault) != FAULT_NONE) {
            swap_recover(slot, &fault);
            swap_report(host->loop, slot, &fault, "in stop: the slot is closed without it");
            log_warn("swap", "%s: stop failed: %s", slot->name, fault.text);
        }
        effects_undo(&slot->effects);
        loader_retire(host->loader, slot->running);
        slot->running = NULL;
    }
}

/* Swaps that are under way come to an end: what is prepared is committed or refused, what waits for
 * its first frame is taken out again. */
static void end_swaps(Host *host)
{
    int64_t until = clock_now_ns() + CLOSE_PATIENCE_NS;
    HostSwaps swaps = {.host = host};
    while (loop_call(host->loop, host_look_for_swaps, &swaps) == KEEL_OK && swaps.active &&
           clock_now_ns() < until) {
        boundary_wait(&host->boundary, ADD_LOOK_NS);
        boundary_run(&host->boundary);
        for (int i = 0; i < atomic_load(&host->slot_count); i++)
            if (host->slots[i]->probation.first)
                group_cancel(host->slots[i]->probation.group);
    }
}

void keel_host_close(keel_host *host)
{
    if (!host)
        return;
    if (host->control_close)
        host->control_close(host->control);
    if (host->loop) {
        end_swaps(host);
        loop_call(host->loop, host_watch_end, host);
        loop_call(host->loop, host_assets_end, host);
        trial_free(host->trial);
        trial_free(host->reader);
        trial_free(host->shadow);
        for (int i = 0; i < LAST_BOUNDARIES; i++) { /* the last pins are given back */
            boundary_run_all(&host->boundary);
            loop_call(host->loop, swap_finish, &host->swapper);
        }
    }
    boundary_close(&host->boundary);
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++) {
        keeper_free(host->keepers[i]);
        close_slot(host, host->slots[i]);
    }
    for (int i = 0; i < slots; i++) /* running work ends before the module it runs is closed */
        effects_done(&host->slots[i]->effects);
    workers_free(host->workers);
    loader_free(host->loader);
    loop_free(host->loop);
    host_assets_free(host);
    for (int i = 0; i < slots; i++) {
        State *state = host->slots[i]->state;
        past_free(host->slots[i]->past);
        slot_done(host->slots[i]);
        state_close(state);
        free(host->slots[i]);
    }
    host_audio_done(host);
    host_input_done(host);
    stage_free(host->stage);
    trust_close(host->trust);
    if (host->begun) {
        guard_thread_end();
        loader_thread_forget();
    }
    if (host->guarded)
        guard_uninstall();
    if (host->options.log)
        hear_no_more(host);
    boundary_done(&host->boundary);
    free(host);
}

void keel_host_pause(keel_host *host, uint32_t paused)
{
    atomic_store(&host->paused, paused ? 1u : 0u);
}

int keel_host_quit_asked(const keel_host *host)
{
    return atomic_load(&host->quit);
}

int keel_host_frame(keel_host *host)
{
    return keel_host_frame_at(host, clock_now_ns());
}
