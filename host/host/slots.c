/* Slots: adding one to a host and starting its first generation, finding one, giving it messages.
 * Frame thread, but where host.h says otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/assets.h"
#include "host/host.h"
#include "host/keeper.h"
#include "host/services.h"
#include "swap/last_picture.h"
#include "swap/past.h"

enum {
    ADD_LOOK_NS = 2 * 1000 * 1000,
    ADD_HANG_NS = 1000 * 1000 * 1000 /* from then on: does a constructor hang? */
};
#define SLOW_STATE_BYTES \
    (UINT64_C(32) << 20) /* what takes longer to bring back than to open a window */
#define STATE_EVERY_NS (INT64_C(10) * 1000 * 1000 * 1000)

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
static void pick_name(Host *host, const char *wanted, const char *path, char ret_name[64])
{
    char name[64];
    if (wanted && *wanted)
        snprintf(name, sizeof name, "%s", wanted);
    else
        name_of(path, name);
    snprintf(ret_name, 64, "%s", name);
    for (int n = 2; host_find_slot(host, ret_name); n++)
        snprintf(ret_name, 64, "%.50s-%d", name, n);
}

/* Where the slot's state lies, and what is kept of it: files and memory that outlive the host. */
typedef struct Place {
    StateOptions state;
    int64_t every_ns;
    char folder[KEEPER_PATH], snapshot[KEEPER_PATH];
} Place;

static int open_place(const Host *host, const struct keel_slot_options *options, const char *name,
                      Place *place, State **ret, Error *err)
{
    place->snapshot[0] = 0;
    place->every_ns = options->state_every_ns > 0 ? options->state_every_ns : STATE_EVERY_NS;
    place->state =
        (StateOptions){.max_bytes = options->state_bytes, .tier = (StateTier)host->options.tier};
    if (!options->state_folder)
        return state_open(&place->state, ret, err);
    if (strchr(name, '/') || name[0] == '.')
        return err_set(err, KEEL_EINVAL, "a slot whose state is kept can't be called \"%s\"", name);
    int rc = keeper_look(options->state_folder, name, &place->state, place->folder, place->snapshot,
                         err);
    if (rc == KEEL_OK)
        rc = state_open(&place->state, ret, err);
    if (rc == KEEL_OK || rc == KEEL_EBUSY || !place->state.folder)
        return rc;
    uint64_t base, bytes;
    if (state_kept_place(place->state.folder, &base, &bytes) == KEEL_OK) /* newer than the file */
        return err_wrap(err,
                        "%s: what a killed host left in %s can't be used now: try again, or "
                        "remove it to go on from what the disk has",
                        name, place->state.folder);
    log_warn("state", "%s: %s: if this host is killed, what came after the last snapshot is lost",
             name, err->text);
    place->state.folder = NULL;
    return state_open(&place->state, ret, err);
}

static int keep(Host *host, Slot *slot, const struct keel_slot_options *options, const Place *place,
                Error *err)
{
    if (!options->journal && !options->state_folder)
        return KEEL_OK;
    slot->kept = place->state.folder != NULL;
    const char *why = state_kept_why(slot->state);
    if (*why)
        log_warn("state", "%s: what was left in memory can't be used: %s", slot->name, why);
    return keeper_new(host, slot, options->journal, *place->snapshot ? place->snapshot : NULL,
                      place->every_ns, &host->keepers[slot->number], err);
}

static void call_meanwhile(Host *host)
{
    void (*meanwhile)(void *user) = host->meanwhile;
    host->meanwhile = NULL;
    if (meanwhile)
        meanwhile(host->meanwhile_user);
}

/* What the slot showed is there for the screen before all else. The screen is opened beside the
 * trial, but first of all where the state is large, or where nothing comes before the module's own
 * code. */
static void show_last_picture(Host *host, const State *state, const Place *place, const char *name)
{
    struct stat st;
    StateStatus status;
    int file = *place->snapshot && stat(place->snapshot, &st) == 0;
    if (!file && !state_resumed(state))
        return;
    host->arriving = keeper_picture(place->snapshot, name);
    state_status(state, &status);
    uint64_t bytes = state_resumed(state) ? status.used_bytes : (uint64_t)st.st_size;
    if (host->arriving && (bytes > SLOW_STATE_BYTES || host->options.trial == KEEL_TRIAL_OFF))
        call_meanwhile(host);
}

static int make_slot(Host *host, const char *path, const struct keel_slot_options *options,
                     Slot **ret_slot, Error *err)
{
    int number = atomic_load(&host->slot_count);
    if (number == HOST_SLOTS)
        return err_set(err, KEEL_ELIMIT, "a host has at most %d slots", HOST_SLOTS);
    char name[64];
    Place place;
    State *state;
    pick_name(host, options->name, path, name);
    int rc = open_place(host, options, name, &place, &state, err);
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
    slot->draw.screen = host->screen;
    slot->deadline_option_ns = host->options.deadline_ns;
    if (host->options.probation_frames)
        slot->probation_frames = host->options.probation_frames;
    slot->path = realpath(path, NULL);
    if (!slot->path)
        slot->path = strdup(path);
    memcpy(slot->name, name, sizeof slot->name);
    services_give(slot);
    if (*place.snapshot)
        show_last_picture(host, state, &place, name);
    if ((rc = keep(host, slot, options, &place, err)) != KEEL_OK) {
        if (!state_resumed(state))
            state_forget(state);
        last_picture_free(host->arriving);
        host->arriving = NULL;
        slot_done(slot);
        state_close(state);
        free(slot);
        return rc;
    }
    if (options->assets && *options->assets && !(slot->asset_folder = strdup(options->assets)))
        log_warn("watch", "%s: no memory for the name of its folder of assets", slot->name);
    host_assets_join(host, slot);
    host_audio_join(slot);
    Past *past;
    if (host->past_span_ns && past_new(slot, host->past_span_ns, HOST_PAST_BYTES, &past, err))
        log_warn("state", "%s: %s", slot->name, err->text); /* it runs without */
    if (slot->brought)
        slot->last_picture = host->arriving;
    else
        last_picture_free(host->arriving);
    host->arriving = NULL;
    host->slots[number] = slot;
    atomic_store(&host->slot_count, number + 1);
    *ret_slot = slot;
    return KEEL_OK;
}

int host_on_frame_thread(const Host *host)
{
    uintptr_t frames = atomic_load_explicit(&host->frame_self, memory_order_relaxed);
    if (!frames || frames == (uintptr_t)pthread_self())
        return KEEL_OK;
    return host_failed(&(Error){KEEL_ETHREAD, "frames and what belongs between them are for the "
                                              "thread that added the first slot: call it there"});
}

static void bind_frame_thread(Host *host)
{
    if (host->begun)
        return;
    host->begun = 1;
    atomic_store(&host->frame_thread, gettid());
    atomic_store(&host->frame_self, (uintptr_t)pthread_self());
    loader_thread_known();
    guard_thread_begin(NULL);
}

int keel_host_add(keel_host *host, const char *path, const struct keel_slot_options *options,
                  keel_slot **ret_slot)
{
    struct keel_slot_options known = {0};
    if (options)
        memcpy(&known, options, options->size < sizeof known ? options->size : sizeof known);
    int rc = host_on_frame_thread(host);
    if (rc)
        return rc;
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
    call_meanwhile(host);
    const int64_t begun_ns = clock_now_ns();
    LoaderStatus loader = {0};
    /* Decided: refused by the engine thread, or started here by the mail that the boundary runs. */
    while (!atomic_load(&add->decided) && !slot->running &&
           !(add->group && atomic_load(&add->group->stalled)) && !loader.busy_with) {
        boundary_wait(&host->boundary, ADD_LOOK_NS);
        boundary_run(&host->boundary);
        if (clock_now_ns() - begun_ns > ADD_HANG_NS)
            loader_status(host->loader, &loader);
        if (host->waiting)
            host->waiting(host->meanwhile_user);
    }
    if (ret_slot)
        *ret_slot = slot;
    if (atomic_load(&add->decided))
        err = add->err;
    else if (!slot->running && loader.busy_with)
        err_set(&err, KEEL_EBUSY, "%s: %s", slot->name, loader.busy);
    else if (!slot->running)
        err_set(&err, KEEL_EBUSY,
                "%s: a program has had %s open for writing for seconds: it runs once that is whole",
                slot->name, slot->path);
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

/* ---- messages ---- */

typedef struct Message {
    BoundaryMail mail;
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
    if (bytes > SIZE_MAX - sizeof(Message))
        return host_failed(&(Error){KEEL_EINVAL, "a message can't have so many bytes"});
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
    if (boundary_send(&((Host *)slot->host)->boundary, &message->mail, deliver, message))
        free(message);
    return KEEL_OK;
}
