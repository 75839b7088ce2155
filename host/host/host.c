/* Opening and closing a host, and adding slots to it. Owns all rooms' objects; the order of taking
 * them down is the reverse of putting them up. Frame thread. */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/services.h"

enum { WORKERS_MOST = 8, ADD_LOOK_NS = 2 * 1000 * 1000 };
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

static void to_program(const LogRecord *record, void *user)
{
    const Host *host = user;
    host->options.log(record->level, record->room, record->text, host->options.log_user);
}

static void at_boundary(void *host, LoopFunction *function, void *user)
{
    boundary_post(&((Host *)host)->boundary, function, user);
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

/* Copies what the caller knows of the options; what lies past its `size` stays zero. */
static void take_options(Host *host, const struct keel_host_options *options)
{
    if (!options)
        return;
    size_t size = options->size < sizeof host->options ? options->size : sizeof host->options;
    memcpy(&host->options, options, size);
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
    if (host->options.log)
        log_set_sink(to_program, host);
    int rc = state_space_init(&err);
    if (!rc && !host->options.no_signals && (rc = guard_install(&err)) == KEEL_OK)
        host->guarded = 1;
    if (!rc)
        rc = loop_new(&host->loop, &err);
    if (!rc)
        rc = stage_new(&host->stage, &err);
    if (!rc)
        rc = loader_new(&host->loader, &err);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = host->options.workers ? (int)host->options.workers
                                        : (int)(cpus > WORKERS_MOST ? WORKERS_MOST : cpus);
    if (!rc)
        rc = workers_new(threads, worker_begin, guard_thread_end, &host->workers, &err);
    if (!rc && host->options.trial != KEEL_TRIAL_OFF &&
        trial_new(host->loop, host->options.trial_program, &host->trial, &err)) {
        if (host->options.trial == KEEL_TRIAL_STRICT)
            rc = err.code;
        else
            log_warn("trial", "%s; candidates are not tried before they run", err.text);
    }
    if (!rc)
        rc = host_watch_begin(host, &err);
    if (rc) {
        keel_host_close(host);
        return host_failed(&err);
    }
    host->swapper = (Swapper){.loop = host->loop,
                              .loader = host->loader,
                              .trial = host->trial,
                              .stage = host->stage,
                              .trial_mode = (SwapTrialMode)host->options.trial,
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
        trial_free(host->trial);
        boundary_run(&host->boundary); /* the last pins are given back */
    }
    boundary_close(&host->boundary);
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++)
        close_slot(host, host->slots[i]);
    for (int i = 0; i < slots; i++) /* running work ends before the module it runs is closed */
        effects_done(&host->slots[i]->effects);
    workers_free(host->workers);
    loader_free(host->loader);
    loop_free(host->loop);
    for (int i = 0; i < slots; i++) {
        State *state = host->slots[i]->state;
        slot_done(host->slots[i]);
        state_close(state);
        free(host->slots[i]);
    }
    stage_free(host->stage);
    if (host->begun)
        guard_thread_end();
    if (host->guarded)
        guard_uninstall();
    if (host->options.log)
        log_set_sink(NULL, NULL);
    boundary_done(&host->boundary);
    free(host);
}

/* "ball" of "/some/where/ball.so". */
static void name_of(const char *path, char ret_name[64])
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const char *dot = strrchr(base, '.');
    int n = dot && dot != base ? (int)(dot - base) : (int)strlen(base);
    snprintf(ret_name, 64, "%.*s", n > 63 ? 63 : n, base);
}

/* The same file in two slots: ball, ball-2, ball-3 … */
static void name_slot(Host *host, Slot *slot, const char *wanted, const char *path)
{
    char name[64];
    if (wanted && *wanted)
        snprintf(name, sizeof name, "%s", wanted);
    else
        name_of(path, name);
    snprintf(slot->name, sizeof slot->name, "%s", name);
    for (int n = 2; host_find_slot(host, slot->name); n++)
        snprintf(slot->name, sizeof slot->name, "%.50s-%d", name, n);
}

static int make_slot(Host *host, const char *path, const struct keel_slot_options *options,
                     Slot **ret_slot, Error *err)
{
    int number = atomic_load(&host->slot_count);
    if (number == HOST_SLOTS)
        return err_set(err, KEEL_ELIMIT, "a host has at most %d slots", HOST_SLOTS);
    StateOptions state_options = {.max_bytes = options->state_bytes,
                                  .tier = (StateTier)host->options.tier};
    State *state;
    int rc = state_open(&state_options, &state, err);
    if (rc)
        return rc;
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)clock_now_ns();
    Slot *slot = malloc(sizeof *slot);
    if (!slot) {
        state_close(state);
        return err_set(err, KEEL_ENOMEM, "no memory for a slot");
    }
    slot_init(slot, state, host->workers, KEEL_MODE_LIVE, seed);
    slot->number = (uint32_t)number;
    slot->host = host;
    slot->context.user = options->user;
    slot->deadline_option_ns = host->options.deadline_ns;
    if (host->options.probation_frames)
        slot->probation_frames = host->options.probation_frames;
    slot->path = realpath(path, NULL);
    if (!slot->path)
        slot->path = strdup(path);
    name_slot(host, slot, options->name, path);
    services_give(slot);
    host->slots[number] = slot;
    atomic_store(&host->slot_count, number + 1);
    *ret_slot = slot;
    return KEEL_OK;
}

static void bind_frame_thread(Host *host)
{
    if (host->begun)
        return;
    host->begun = 1;
    atomic_store(&host->frame_thread, gettid());
    loader_thread_known();
    guard_thread_begin(NULL);
}

int keel_host_add(keel_host *host, const char *path, const struct keel_slot_options *options,
                  keel_slot **ret_slot)
{
    struct keel_slot_options known = {0};
    if (options)
        memcpy(&known, options, options->size < sizeof known ? options->size : sizeof known);
    bind_frame_thread(host);
    Error err = {0};
    Slot *slot = NULL;
    if (make_slot(host, path, &known, &slot, &err))
        return host_failed(&err);
    HostAdd *add = calloc(1, sizeof *add);
    if (!add)
        return host_failed(&(Error){KEEL_ENOMEM, "no memory for a slot"});
    *add = (HostAdd){.refs = 2, .host = host, .slot = slot, .path = path, .watch = !known.no_watch};
    int64_t now = clock_now_ns();
    slot->effects.now_ns = now;
    slot->wall_ns = clock_wall_ns();
    if (loop_call(host->loop, host_watch_slot, add)) {
        free(add);
        return host_failed(&(Error){KEEL_ECANCELED, "the host is closing"});
    }
    /* Decided: refused by the engine thread, or started here by the mail that the boundary runs. */
    while (!atomic_load(&add->decided) && !slot->running) {
        boundary_wait(&host->boundary, ADD_LOOK_NS);
        boundary_run(&host->boundary);
    }
    if (ret_slot)
        *ret_slot = slot;
    err = add->err;
    host_add_unref(add);
    return slot->running ? KEEL_OK : host_failed(&err);
}

Slot *host_find_slot(Host *host, const char *name)
{
    int slots = atomic_load(&host->slot_count);
    if (!name || !*name)
        return slots == 1 ? host->slots[0] : NULL;
    for (int i = 0; i < slots; i++)
        if (!strcmp(host->slots[i]->name, name))
            return host->slots[i];
    return NULL;
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

/* ---- messages ---- */

typedef struct Message {
    Slot *slot;
    struct keel_event event;
} Message;

static void deliver(void *user)
{
    Message *message = user;
    message->event.time_ns = message->slot->effects.now_ns;
    inputs_put(&message->slot->inputs, &message->event);
    free(message);
}

int keel_slot_send(keel_slot *slot, uint64_t tag, const void *data, uint64_t bytes)
{
    Message *message = malloc(sizeof *message + (size_t)bytes);
    if (!message)
        return host_failed(&(Error){KEEL_ENOMEM, "no memory for a message"});
    if (bytes)
        memcpy(message + 1, data, (size_t)bytes);
    message->slot = slot;
    message->event = (struct keel_event){.kind = KEEL_EVENT_MESSAGE,
                                         .tag = tag,
                                         .data = bytes ? message + 1 : NULL,
                                         .data_bytes = bytes};
    boundary_post(&((Host *)slot->host)->boundary, deliver, message);
    return KEEL_OK;
}
