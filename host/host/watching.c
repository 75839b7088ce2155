/* From files to swaps: which slot's file changed, one swap a slot at a time, and swaps that were
 * asked for. Engine thread. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "host/canary.h"
#include "host/host.h"

enum { LOADER_LOOK_MS = 250 };

static Watched *watched_of(Host *host, const Slot *slot)
{
    for (int i = 0; i < host->watched_count; i++)
        if (host->watched[i].slot == slot)
            return &host->watched[i];
    return NULL;
}

static void begin_parked(Host *host);

/* Every slot of the group is free again; who waited for them begins, and files that changed
 * meanwhile are looked at now. */
static void group_over(Host *host, const Group *group)
{
    for (int i = 0; i < host->watched_count; i++)
        if (host->watched[i].active == group)
            host->watched[i].active = NULL;
    begin_parked(host);
    for (int i = 0; i < host->watched_count; i++)
        if (!host->watched[i].active && host->watched[i].again)
            host_begin_by_file(host, &host->watched[i]);
}

static void look_at_loader(uv_timer_t *timer)
{
    Host *host = timer->data;
    LoaderStatus status;
    loader_status(host->loader, &status);
    if (status.busy_with)
        return;
    uv_timer_stop(timer);
    for (int i = 0; i < host->watched_count; i++) {
        Watched *watched = &host->watched[i];
        if (!watched->shut_out)
            continue;
        watched->shut_out = 0;
        watched->again = 1; /* for whoever ends, if a swap is under way */
        if (!watched->active)
            host_begin_by_file(host, watched);
    }
}

/* Another module's constructor keeps the loader: nobody saves the file again when that ends. One
 * that left it locked for good is no reason to wait. */
static void wait_for_loader(Host *host, const Group *group)
{
    LoaderStatus status;
    loader_status(host->loader, &status);
    if (host->closing || (*status.busy && !status.busy_with))
        return;
    for (uint32_t i = 0; i < group->count; i++) {
        Watched *watched = watched_of(host, group->attempts[i].slot);
        if (watched)
            watched->shut_out = 1;
    }
    uv_timer_start(&host->loader_look, look_at_loader, LOADER_LOOK_MS, LOADER_LOOK_MS);
}

static void file_swap_over(Group *group, const Error *err, void *user)
{
    Host *host = user;
    if (err->code == KEEL_EBUSY)
        wait_for_loader(host, group);
    if (err->code ==
        KEEL_ECHANGED) /* a rollback came between: what the file holds is still wanted */
        for (uint32_t i = 0; i < group->count; i++) {
            Watched *watched = watched_of(host, group->attempts[i].slot);
            if (watched)
                watched->again = 1;
        }
    group_over(host, group);
}

void host_begin_by_file(Host *host, Watched *watched)
{
    watched->again = 0;
    if (host->closing)
        return;
    Group *group = group_new(&host->swapper, SWAP_EVENT, file_swap_over, host);
    if (!group || group_add(group, watched->slot, watched->path, NULL)) {
        log_error("swap", "%s: no memory for a swap", watched->slot->name);
        return;
    }
    watched->active = group;
    group_begin(group);
}

static void file_changed(int id, void *user)
{
    Host *host = user;
    for (int i = 0; i < host->watched_count; i++) {
        Watched *watched = &host->watched[i];
        if ((watched->watch_id != id && watched->signed_id != id) || canary_waits(host, watched))
            continue;
        if (watched->active) {
            watched->again = 1;
            group_look_now(watched->active);
        } else {
            host_begin_by_file(host, watched);
        }
    }
}

static void events(uv_poll_t *poll, int status, int what)
{
    (void)what;
    Host *host = poll->data;
    Error err = {0};
    if (status < 0 || watcher_drain(host->watcher, file_changed, host, &err))
        log_warn("watch", "%s", status < 0 ? uv_strerror(status) : err.text);
}

static void mounts(uv_poll_t *poll, int status, int what)
{
    Host *host = poll->data;
    if (status < 0) { /* this system doesn't tell of them so */
        uv_poll_stop(poll);
        return;
    }
    watcher_mounts_changed(host->watcher);
    events(&host->watcher_poll, 0, what);
}

typedef struct WatchBegin {
    Host *host;
    Error err;
} WatchBegin;

static void watch_begin(void *user)
{
    WatchBegin *begin = user;
    Host *host = begin->host;
    if (watcher_new(&host->watcher, &begin->err))
        return;
    host->watcher_poll.data = host;
    uv_poll_init(loop_uv(host->loop), &host->watcher_poll, watcher_fd(host->watcher));
    uv_poll_start(&host->watcher_poll, UV_READABLE, events);
    int mounts_fd = watcher_mounts_fd(host->watcher);
    host->mounts_poll.data = host;
    host->mounts_polling =
        mounts_fd >= 0 && !uv_poll_init(loop_uv(host->loop), &host->mounts_poll, mounts_fd);
    if (host->mounts_polling)
        uv_poll_start(&host->mounts_poll, UV_PRIORITIZED, mounts);
    uv_timer_init(loop_uv(host->loop), &host->loader_look);
    host->loader_look.data = host;
    canary_begin(host);
    host->polling = 1;
}

int host_watch_begin(Host *host, Error *err)
{
    WatchBegin begin = {.host = host};
    loop_call(host->loop, watch_begin, &begin);
    *err = begin.err;
    return begin.err.code;
}

void host_look_for_swaps(void *user)
{
    HostSwaps *swaps = user;
    swaps->host->closing = 1;
    swaps->host->swapper.leaving = 1;
    swaps->active = 0;
    begin_parked(swaps->host); /* they are told */
    for (int i = 0; i < swaps->host->watched_count; i++)
        swaps->active += swaps->host->watched[i].active != NULL;
}

void host_watch_end(void *user)
{
    Host *host = user;
    if (host->polling) {
        host->polling = 0;
        uv_close((uv_handle_t *)&host->watcher_poll, NULL);
        if (host->mounts_polling)
            uv_close((uv_handle_t *)&host->mounts_poll, NULL);
        uv_close((uv_handle_t *)&host->loader_look, NULL);
        canary_end(host);
    }
    swap_close(&host->swapper);
    watcher_free(host->watcher);
    host->watcher = NULL;
    for (int i = 0; i < host->watched_count; i++) {
        free(host->watched[i].path);
        host->watched[i].path = NULL;
    }
}

/* ---- the first generation of a slot ---- */

void host_add_unref(HostAdd *add)
{
    if (atomic_fetch_sub(&add->refs, 1) > 1)
        return;
    if (add->group)
        group_unref(add->group);
    free(add);
}

static void added(Group *group, const Error *err, void *user)
{
    HostAdd *add = user;
    Host *host = add->host;
    if (err->code) { /* else the frame thread has seen it run */
        add->err = *err;
        atomic_store(&add->decided, 1);
        boundary_wake(&host->boundary);
    }
    host_add_unref(add);
    if (err->code == KEEL_EBUSY)
        wait_for_loader(host, group);
    group_over(host, group);
}

/* The name from the root, with its symlinks: the program may change its folder. For free(). */
static char *from_root(const char *path)
{
    char folder[PATH_MAX], *whole;
    if (*path == '/' || !getcwd(folder, sizeof folder))
        return strdup(path);
    return asprintf(&whole, "%s/%s", folder, path) < 0 ? NULL : whole;
}

void host_watch_slot(void *user)
{
    HostAdd *add = user;
    Host *host = add->host;
    Watched *watched = &host->watched[host->watched_count];
    char *path = from_root(add->path);
    *watched = (Watched){.slot = add->slot, .watch_id = -1, .signed_id = -1, .path = path};
    Group *group = group_new(&host->swapper, 0, added, add);
    if (!path || !group || group_add(group, add->slot, path, NULL)) {
        err_set(&add->err, KEEL_ENOMEM, "no memory for a slot");
        atomic_store(&add->decided, 1);
        host_add_unref(add);
        return;
    }
    host->watched_count++;
    /* Watching begins before the first reading, so that no change falls between them. */
    Error err = {0};
    if (add->watch && watcher_add(host->watcher, path, &watched->watch_id, &err))
        log_warn("watch", "%s is not watched: %s", add->slot->name, err.text);
    char manifest[PATH_MAX];
    if (add->watch && host->trust && !trust_manifest_path(path, manifest, sizeof manifest) &&
        watcher_add(host->watcher, manifest, &watched->signed_id, &err))
        log_warn("watch", "%s is not watched: %s", manifest, err.text);
    watched->active = group;
    group_ref(group);
    add->group = group;
    group_begin(group);
}

/* ---- asked for ---- */

typedef struct Asked {
    Host *host;
    GroupDone *done;
    void *user;
    Group *group;
    struct Asked *next; /* while it is parked */
} Asked;

static void asked_over(Group *group, const Error *err, void *user)
{
    Asked *asked = user;
    Host *host = asked->host;
    asked->done(group, err, asked->user);
    free(asked);
    group_over(host, group);
}

/* 1 when none of its slots is in a swap; then they all are in this one. */
static int take_slots(Host *host, Group *group)
{
    for (uint32_t i = 0; i < group->count; i++)
        if (watched_of(host, group->attempts[i].slot)->active)
            return 0;
    for (uint32_t i = 0; i < group->count; i++)
        watched_of(host, group->attempts[i].slot)->active = group;
    return 1;
}

/* A build and the wish to have it come at the same time: the wish waits for what the file began. */
static void park(Asked *asked)
{
    Asked **at = &asked->host->parked;
    while (*at)
        at = &(*at)->next;
    asked->next = NULL;
    *at = asked;
}

static void begin_parked(Host *host)
{
    for (Asked **at = &host->parked; *at;) {
        Asked *asked = *at;
        if (host->closing) {
            *at = asked->next;
            const Error err = {KEEL_ECANCELED, "the host is closing"};
            asked->done(asked->group, &err, asked->user);
            group_unref(asked->group);
            free(asked);
        } else if (take_slots(host, asked->group)) {
            *at = asked->next;
            group_begin(asked->group);
        } else {
            at = &asked->next;
        }
    }
}

int host_swap_begin(Host *host, Slot *const *slots, const char *const *paths, Image *const *images,
                    uint32_t count, uint32_t flags, GroupDone *done, void *user, Error *err)
{
    if (!count || count > GROUP_SLOTS)
        return err_set(err, KEEL_EINVAL, "a swap takes 1 to %d slots", GROUP_SLOTS);
    if (host->closing)
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    if (atomic_load(&host->paused))
        return err_set(err, KEEL_EBUSY, "the host is paused: resume it first (keel ctl pause off)");
    Asked *asked = malloc(sizeof *asked);
    Group *group = group_new(&host->swapper, flags, asked_over, asked);
    int rc = asked && group ? KEEL_OK : err_set(err, KEEL_ENOMEM, "no memory for a swap");
    for (uint32_t i = 0; i < count && !rc; i++) {
        const Watched *watched = watched_of(host, slots[i]);
        if (!watched || (images && watched->active)) {
            rc = err_set(err, KEEL_EBUSY, "%s: a swap is under way", slots[i]->name);
            break;
        }
        Image *image = images ? images[i] : NULL;
        const char *path = image ? NULL : paths && paths[i] ? paths[i] : watched->path;
        if (group_add(group, slots[i], path, image))
            rc = err_set(err, KEEL_EINVAL, "%s is named twice", slots[i]->name);
    }
    if (rc) {
        if (group)
            group_unref(group);
        free(asked);
        return rc;
    }
    *asked = (Asked){.host = host, .done = done, .user = user, .group = group};
    if (take_slots(host, group))
        group_begin(group);
    else
        park(asked);
    return KEEL_OK;
}

/* ---- rollback ---- */

typedef struct Back {
    BoundaryErrand errand;
    Host *host;
    Slot *slot;
    int before;
    GroupDone *done;
    void *user;
    Error err;
    Image *image; /* of the generation before, when probation is over */
} Back;

static void went_back(void *user)
{
    Back *back = user;
    if (back->image && !back->err.code) {
        Slot *slots[] = {back->slot};
        Image *images[] = {back->image};
        host_swap_begin(back->host, slots, NULL, images, 1, SWAP_SAME | SWAP_RETRY, back->done,
                        back->user, &back->err);
        image_unref(back->image);
    }
    if (!back->image || back->err.code)
        back->done(NULL, &back->err, back->user);
    free(back);
}

static void back_on_frame(void *user)
{
    Back *back = user;
    Slot *slot = back->slot;
    if (slot->probation.group && !slot->probation.first && slot->probation.old) {
        group_roll_back(slot->probation.group, back->before, "asked for");
    } else if (slot->probation.first) {
        err_set(&back->err, KEEL_EBUSY, "%s: a swap is under way", slot->name);
    } else if (back->before) {
        err_set(&back->err, KEEL_EREFUSED,
                "%s: the state at the swap is kept only during probation", slot->name);
    } else if (slot->history) {
        back->image = image_ref(slot->history);
    } else {
        err_set(&back->err, KEEL_ENOTFOUND, "%s: there is no generation before this one",
                slot->name);
    }
    if (loop_send(back->host->loop, &back->errand.back, went_back, back)) {
        image_unref(back->image);
        free(back);
    }
}

int host_rollback_begin(Host *host, Slot *slot, int before, GroupDone *done, void *user, Error *err)
{
    if (host->closing) /* the last boundary may have been */
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    Back *back = malloc(sizeof *back);
    if (!back)
        return err_set(err, KEEL_ENOMEM, "no memory for a rollback");
    *back = (Back){.host = host, .slot = slot, .before = before, .done = done, .user = user};
    if (boundary_send(&host->boundary, &back->errand.there, back_on_frame, back)) {
        free(back);
        return err_set(err, KEEL_ECANCELED, "the host is closing");
    }
    return KEEL_OK;
}

/* ---- the public, waiting forms ---- */

typedef struct Waiter {
    Host *host;
    Slot *const *slots;
    const char *const *paths;
    uint32_t count, flags;
    int before; /* a rollback's; -1: a swap */
    pthread_mutex_t lock;
    pthread_cond_t over;
    int decided, ran; /* ran: it was not refused before it began */
    Error err;
} Waiter;

static void decided(Group *group, const Error *err, void *user)
{
    Waiter *waiter = user;
    pthread_mutex_lock(&waiter->lock);
    waiter->err = *err;
    waiter->ran = group != NULL;
    waiter->decided = 1;
    pthread_cond_signal(&waiter->over);
    pthread_mutex_unlock(&waiter->lock);
}

static void ask(void *user)
{
    Waiter *waiter = user;
    Error err = {0};
    int rc = waiter->before < 0
                 ? host_swap_begin(waiter->host, waiter->slots, waiter->paths, NULL, waiter->count,
                                   waiter->flags, decided, waiter, &err)
                 : host_rollback_begin(waiter->host, waiter->slots[0], waiter->before, decided,
                                       waiter, &err);
    if (rc)
        decided(NULL, &err, waiter);
}

static int wait_for(Waiter *waiter)
{
    enum { TRIES = 400, PAUSE_NS = 5 * 1000 * 1000 }; /* 2 s for a swap that is under way */
    pthread_mutex_init(&waiter->lock, NULL);
    pthread_cond_init(&waiter->over, NULL);
    for (int tries = 0; tries < TRIES; tries++) {
        waiter->decided = 0;
        int code = loop_post(waiter->host->loop, ask, waiter);
        if (code) {
            err_set(&waiter->err, code,
                    code == KEEL_ENOMEM ? "no memory to ask for it" : "the host is closing");
            break;
        }
        pthread_mutex_lock(&waiter->lock);
        while (!waiter->decided)
            pthread_cond_wait(&waiter->over, &waiter->lock);
        pthread_mutex_unlock(&waiter->lock);
        if (waiter->err.code != KEEL_EBUSY || waiter->ran || atomic_load(&waiter->host->paused))
            break;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    pthread_cond_destroy(&waiter->over);
    pthread_mutex_destroy(&waiter->lock);
    return waiter->err.code ? host_failed(&waiter->err) : KEEL_OK;
}

/* What can be told before anybody is asked. On the frame thread it would wait for its own frames.
 */
static int askable(const Host *host, keel_slot *const *slots, uint32_t count)
{
    Error err = {0};
    if (atomic_load(&host->frame_thread) == gettid())
        err_set(&err, KEEL_ETHREAD,
                "a swap is decided by frames: ask for it on another thread than theirs");
    else if (!slots || !count || count > GROUP_SLOTS)
        err_set(&err, KEEL_EINVAL, "a swap takes 1 to %d slots", GROUP_SLOTS);
    for (uint32_t i = 0; i < count && !err.code; i++)
        if (!slots[i] || slots[i]->host != host)
            err_set(&err, KEEL_EINVAL, "slot %u of the swap is not one of this host", i);
    return err.code ? host_failed(&err) : KEEL_OK;
}

int keel_host_swap(keel_host *host, keel_slot *const *slots, const char *const *paths,
                   uint32_t count, uint32_t flags)
{
    int rc = askable(host, slots, count);
    if (rc)
        return rc;
    Waiter waiter = {
        .host = host, .slots = slots, .paths = paths, .count = count, .flags = flags, .before = -1};
    return wait_for(&waiter);
}

int keel_host_rollback(keel_host *host, keel_slot *slot, uint32_t before)
{
    Slot *slots[] = {slot};
    int rc = askable(host, slots, 1);
    if (rc)
        return rc;
    Waiter waiter = {.host = host, .slots = slots, .count = 1, .before = before ? 1 : 0};
    return wait_for(&waiter);
}
