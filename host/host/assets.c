/* Assets: orders of frames that counted become watched files, readings on libuv's pool, and events
 * for the slots. Owns the watcher and the list of files. Engine thread, but where assets.h says
 * otherwise. */
#include "host/assets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/known_threads.h"
#include "base/log.h"
#include "host/asset_read.h"

enum { LOOK_AGAIN_MS = 60, PATIENT_LOOKS = 8 };

typedef struct AssetFile AssetFile;
struct AssetFile {
    AssetFile *next;
    struct HostAssets *all;
    Slot *slot;
    keel_handle asset;
    uint64_t tag;
    char *folder, *path;
    int watch; /* -1: not watched */
    int closed, reading, again, force;
    int looks; /* since it was last found whole */
    AssetRead read;
    uv_work_t work;
};

typedef struct HostAssets {
    Host *host;
    Watcher *watcher;
    uv_poll_t poll;
    uv_timer_t timer; /* looks again at what is still being written */
    int open;         /* the handles are */
    _Atomic int stop;
    char *decoder;
    AssetFile *files;
} HostAssets;

/* ---- delivery, at the boundary ---- */

typedef struct Delivery {
    Slot *slot;
    Input *input;
} Delivery;

static void deliver(void *user)
{
    Delivery *delivery = user;
    Slot *slot = delivery->slot;
    Input *input = delivery->input;
    free(delivery);
    if (!assets_is_open(&slot->effects.assets, input->event.handle)) {
        free(input);
        return;
    }
    input->event.time_ns = slot->effects.now_ns;
    const struct keel_asset *asset = keel_event_asset(&input->event);
    const Host *host = slot->host;
    if (asset && asset->kind == KEEL_ASSET_FONT && host->font)
        host->font(assets_path(&slot->effects.assets, input->event.handle), keel_asset_data(asset),
                   (size_t)asset->bytes, host->font_user);
    inputs_link_asset(&slot->inputs, input);
}

static void give(AssetFile *file, Input *input)
{
    Delivery *delivery = malloc(sizeof *delivery);
    if (!delivery) {
        free(input);
        return;
    }
    input->event.handle = file->asset;
    input->event.tag = file->tag;
    *delivery = (Delivery){file->slot, input};
    boundary_post(&file->all->host->boundary, deliver, delivery);
}

/* ---- reading ---- */

static void begin(AssetFile *file);
static void look_again(uv_timer_t *timer);

static void file_free(AssetFile *file)
{
    if (file->watch >= 0)
        watcher_remove(file->all->watcher, file->watch);
    free(file->folder);
    free(file->path);
    free(file);
}

static void work(uv_work_t *request)
{
    AssetFile *file = request->data;
    Error err = {0};
    known_thread_begin();
    file->looks = asset_read(&file->read, &err) ? file->looks + 1 : 0;
    known_thread_end();
}

static void worked(uv_work_t *request, int status)
{
    AssetFile *file = request->data;
    (void)status;
    file->reading = 0;
    if (file->closed) {
        free(file->read.event);
        file_free(file);
        return;
    }
    if (!file->looks) {
        file->read.known = file->read.hash;
        file->read.force = 0;
    }
    if (file->read.event) {
        if (file->read.event->event.result < 0) /* the module may not look, who saved it will */
            log_warn("asset", "%s: %s", file->slot->name, (const char *)(file->read.event + 1));
        else
            log_debug("asset", "%s: %s was read", file->slot->name, file->path);
        give(file, file->read.event);
        file->read.event = NULL;
    }
    if (file->looks && file->all->open)
        uv_timer_start(&file->all->timer, look_again, LOOK_AGAIN_MS, 0);
    if (file->again || file->force)
        begin(file);
}

static void begin(AssetFile *file)
{
    if (file->all->stop || file->closed)
        return;
    if (file->reading) {
        file->again = 1;
        return;
    }
    file->again = 0;
    file->read.force |= file->force;
    file->force = 0;
    file->read.patient = file->looks < PATIENT_LOOKS;
    file->reading = 1;
    file->work.data = file;
    if (uv_queue_work(loop_uv(file->all->host->loop), &file->work, work, worked))
        file->reading = 0;
}

static void look_again(uv_timer_t *timer)
{
    HostAssets *all = timer->data;
    for (AssetFile *file = all->files; file; file = file->next)
        if (file->looks && !file->reading)
            begin(file);
}

static void changed(int id, void *user)
{
    HostAssets *all = user;
    for (AssetFile *file = all->files; file; file = file->next)
        if (file->watch == id) {
            file->looks = 0;
            begin(file);
        }
}

static void drain(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    HostAssets *all = poll->data;
    Error err = {0};
    if (watcher_drain(all->watcher, changed, all, &err))
        log_warn("watch", "assets: %s", err.text);
}

/* ---- orders ---- */

static int is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* Where the slot's assets are; when there is no such folder yet, where they should be. */
static char *folder_of(const Slot *slot)
{
    if (slot->asset_folder)
        return strdup(slot->asset_folder);
    char path[4400];
    const char *slash = strrchr(slot->path, '/'), *name = slash ? slash + 1 : slot->path;
    const char *dot = strrchr(name, '.');
    int folder = (int)(name - slot->path), stem = dot && dot != name ? (int)(dot - name) : -1;
    snprintf(path, sizeof path, "%.*s%.*s.assets", folder, slot->path,
             stem >= 0 ? stem : (int)strlen(name), name);
    if (!is_folder(path))
        snprintf(path, sizeof path, "%.*sassets", folder, slot->path);
    return strdup(path);
}

static int ready(HostAssets *all)
{
    if (all->open)
        return 1;
    Error err = {0};
    uv_loop_t *uv = loop_uv(all->host->loop);
    if (!all->watcher && watcher_new(&all->watcher, &err)) {
        log_warn("watch", "assets are read and not watched: %s", err.text);
        return 0;
    }
    if (uv_poll_init(uv, &all->poll, watcher_fd(all->watcher)))
        return 0;
    all->poll.data = all;
    uv_poll_start(&all->poll, UV_READABLE, drain);
    uv_timer_init(uv, &all->timer);
    all->timer.data = all;
    all->open = 1;
    all->decoder = asset_decoder_find(all->host->options.trial_program);
    return 1;
}

typedef struct Order {
    HostAssets *all;
    Slot *slot;
    AssetOrderKind kind;
    uint32_t as;
    keel_handle asset;
    uint64_t tag;
    char path[];
} Order;

static void open_file(HostAssets *all, const Order *order)
{
    AssetFile *file = calloc(1, sizeof *file);
    if (!file)
        return;
    int watched = ready(all);
    file->all = all;
    file->slot = order->slot;
    file->asset = order->asset;
    file->tag = order->tag;
    file->watch = -1;
    file->path = strdup(order->path);
    file->folder = folder_of(order->slot);
    if (!file->path || !file->folder) {
        file_free(file);
        return;
    }
    file->read = (AssetRead){.folder = file->folder,
                             .path = file->path,
                             .decoder = all->decoder,
                             .as = order->as,
                             .stop = &all->stop};
    char whole[4800];
    Error err = {0};
    snprintf(whole, sizeof whole, "%s/%s", file->folder, file->path);
    if (watched && watcher_add(all->watcher, whole, &file->watch, &err))
        log_warn("watch", "%s: %s is read and not watched: %s", order->slot->name, file->path,
                 err.text);
    file->next = all->files;
    all->files = file;
    begin(file);
}

static void close_file(AssetFile **at)
{
    AssetFile *file = *at;
    *at = file->next;
    file->closed = 1;
    if (!file->reading)
        file_free(file);
}

static void obey(void *user)
{
    Order *order = user;
    HostAssets *all = order->all;
    if (order->kind == ASSET_OPEN && !all->stop)
        open_file(all, order);
    for (AssetFile **at = &all->files; *at; at = &(*at)->next) {
        AssetFile *file = *at;
        if (file->slot != order->slot || file->asset != order->asset)
            continue;
        if (order->kind == ASSET_CLOSE) {
            close_file(at);
            break;
        }
        if (order->kind == ASSET_AGAIN) {
            file->force = 1;
            begin(file);
        }
    }
    free(order);
}

/* [frame] */
static void take_order(const AssetOrder *asked, void *user)
{
    Slot *slot = user;
    Host *host = slot->host;
    size_t bytes = strlen(asked->path) + 1;
    Order *order = malloc(sizeof *order + bytes);
    if (!order)
        return;
    *order = (Order){.all = host->assets,
                     .slot = slot,
                     .kind = asked->kind,
                     .as = asked->as,
                     .asset = asked->asset,
                     .tag = asked->tag};
    memcpy(order->path, asked->path, bytes);
    if (loop_post(host->loop, obey, order))
        free(order);
}

void host_assets_join(Host *host, Slot *slot)
{
    if (!host->assets)
        host->assets = calloc(1, sizeof *host->assets);
    if (!host->assets)
        return;
    host->assets->host = host;
    slot->effects.assets.order = take_order;
    slot->effects.assets.user = slot;
}

void host_assets_end(void *user)
{
    HostAssets *all = ((Host *)user)->assets;
    if (!all)
        return;
    atomic_store(&all->stop, 1);
    while (all->files)
        close_file(&all->files);
    if (all->open) {
        uv_close((uv_handle_t *)&all->timer, NULL);
        uv_close((uv_handle_t *)&all->poll, NULL);
    }
    all->open = 0;
}

void host_assets_free(Host *host)
{
    HostAssets *all = host->assets;
    if (!all)
        return;
    watcher_free(all->watcher);
    free(all->decoder);
    free(all);
    host->assets = NULL;
}
