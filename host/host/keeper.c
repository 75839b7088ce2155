/* A slot's journal tended, its state written and brought back. Owns the journal, the recorder and
 * the names of the files. */
#include "host/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "base/log.h"
#include "host/snapshots.h"
#include "swap/brought.h"

enum { TEND_MS = 20, MODULE_WAIT_NS = 1000000000 };

struct Keeper {
    Host *host;
    Slot *slot;
    Journal *journal; /* NULL: none */
    Recorder recorder;
    char snapshot[KEEPER_PATH]; /* "": none is kept */
    char modules[KEEPER_PATH];  /* the same without its ending: files of builds that ran */
    int64_t every_ns;

    /* [engine] */
    uv_timer_t *timer;
    uv_work_t work;
    int busy, told;
    int writing; /* a snapshot */
    int64_t written_ns;
    int failed; /* the last snapshot could not be written, and that was said */
};

/* ---- while it runs ---- */

static void tend(uv_work_t *work)
{
    Keeper *keeper = work->data;
    known_thread_begin();
    journal_tend(keeper->journal);
    known_thread_end();
}

static void tended(uv_work_t *work, int status)
{
    (void)status;
    Keeper *keeper = work->data;
    keeper->busy = 0;
    const char *why = journal_ended(keeper->journal);
    if (*why && !keeper->told) {
        keeper->told = 1;
        log_warn("journal", "%s: %s ends here: %s; the module runs on", keeper->slot->name,
                 journal_path(keeper->journal), why);
    }
}

static void wrote(const Error *err, const SnapshotInfo *info, void *user)
{
    Keeper *keeper = user;
    keeper->writing = 0;
    keeper->written_ns = clock_now_ns();
    if (err->code == KEEL_EBUSY)
        return; /* a swap, or nothing runs: the next time */
    if (err->code && !keeper->failed)
        log_warn("state", "%s: %s; what is in %s is as before", keeper->slot->name, err->text,
                 keeper->snapshot);
    if (!err->code)
        log_debug("state", "%s: frame %llu is in %s", keeper->slot->name,
                  (unsigned long long)info->frames, keeper->snapshot);
    keeper->failed = err->code != 0;
}

static void on_timer(uv_timer_t *timer)
{
    Keeper *keeper = timer->data;
    int64_t now = clock_now_ns();
    if (keeper->journal && !keeper->busy) {
        keeper->work.data = keeper;
        keeper->busy = uv_queue_work(timer->loop, &keeper->work, tend, tended) == 0;
    }
    if (*keeper->snapshot && !keeper->writing && now - keeper->written_ns >= keeper->every_ns) {
        keeper->writing = 1;
        host_snapshot(keeper->host, keeper->slot, keeper->snapshot, keeper->modules, wrote, keeper);
    }
}

static void begin(void *user)
{
    Keeper *keeper = user;
    keeper->written_ns = clock_now_ns();
    keeper->timer = malloc(sizeof *keeper->timer);
    if (!keeper->timer)
        return; /* the frame thread makes room itself then, and nothing is synced before the end */
    uv_timer_init(loop_uv(keeper->host->loop), keeper->timer);
    keeper->timer->data = keeper;
    uv_timer_start(keeper->timer, on_timer, TEND_MS, TEND_MS);
}

/* ---- the end ---- */

static void closed(uv_handle_t *handle)
{
    free(handle);
}

typedef struct Ending {
    Keeper *keeper;
    int busy;
} Ending;

static void end(void *user)
{
    Ending *ending = user;
    Keeper *keeper = ending->keeper;
    if (keeper->timer)
        uv_close((uv_handle_t *)keeper->timer, closed);
    keeper->timer = NULL;
    ending->busy = keeper->busy || keeper->writing;
}

/* Nothing runs any more, so the snapshot is the whole of it: the memory isn't needed. */
static void keep_for_good(Keeper *keeper)
{
    Error err = {0};
    Slot *slot = keeper->slot;
    if (!*keeper->snapshot)
        return;
    if (!slot->running) {
        /* Nothing came of it: the file has what there is, unless the memory alone had it. */
        if (slot->brought ? slot->brought->from[0] == '/' && !slot->rolled_back
                          : !state_resumed(slot->state))
            state_forget(slot->state);
        return;
    }
    if (host_snapshot_now(slot, keeper->snapshot, keeper->modules, &err)) {
        log_error("state", "%s: %s; %s", slot->name, err.text,
                  slot->kept ? "it stays in memory until this machine is restarted"
                             : "what happened since the last snapshot is lost");
        return;
    }
    log_info("state", "%s: frame %llu is in %s", slot->name, (unsigned long long)slot->frames,
             keeper->snapshot);
    state_forget(slot->state);
}

void keeper_free(Keeper *keeper)
{
    if (!keeper)
        return;
    Ending ending = {.keeper = keeper};
    while (loop_call(keeper->host->loop, end, &ending) == KEEL_OK && ending.busy) {
        boundary_run(&keeper->host->boundary); /* a snapshot may wait for its pin */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    boundary_run_all(&keeper->host->boundary);
    keep_for_good(keeper);
    if (keeper->journal) {
        recorder_end(&keeper->recorder, keeper->slot);
        journal_close(keeper->journal);
    }
    free(keeper);
}

/* ---- the beginning ---- */

/* From memory that outlived its process. 0: brought; KEEL_ENOTFOUND: there is nothing to bring. */
static int from_memory(Slot *slot, Error *err)
{
    uint64_t note_bytes = 0, statics_bytes = 0;
    const void *note = state_noted(slot->state, &note_bytes);
    const void *statics = state_kept_statics(slot->state, &statics_bytes);
    if (!state_resumed(slot->state) || !note)
        return KEEL_ENOTFOUND;
    int rc = state_check(slot->state, err);
    if (!rc)
        rc = brought_new(note, note_bytes, statics, statics ? statics_bytes : 0, "memory",
                         &slot->brought, err);
    if (!rc && !brought_has_statics(slot->brought)) {
        brought_free(slot->brought);
        slot->brought = NULL;
        rc = err_set(err, KEEL_EDATA, "its statics weren't kept");
    }
    return rc;
}

static int from_file(Slot *slot, const char *path, SnapshotReader *reader, Error *err)
{
    uint64_t bytes = 0;
    const void *note = state_resumed(slot->state) ? state_noted(slot->state, &bytes) : NULL;
    uint32_t branch = keepsake_branch(note, (size_t)bytes);
    int rc = snapshot_load(reader, slot->state, err);
    if (slot->kept) /* killed before it runs, it begins with the file again */
        state_note(slot->state, "", 0);
    if (rc == KEEL_OK)
        rc = state_commit(slot->state, err);
    if (rc == KEEL_OK)
        rc = brought_of_snapshot(snapshot_parts(reader), path, &slot->brought, err);
    if (rc == KEEL_OK) /* memory of before, used or not, is older from here on */
        brought_branch(slot->brought, branch);
    return rc;
}

/* The build that ran, where the snapshot has it: the file beside it may be lost. */
static void take_image(Brought *brought, const Snapshot *s)
{
    const KeepsakeHead *head = &brought->keepsake.head;
    if (!s->image_bytes || s->info.image_low != head->image_low ||
        s->info.image_high != head->image_high ||
        image_of_bytes(s->image, s->image_bytes, head->path, &brought->image, NULL))
        return;
    if (!brought_same_image(brought, brought->image)) {
        image_unref(brought->image);
        brought->image = NULL;
    }
}

static void tell(const Slot *slot, const char *from)
{
    StateStatus status;
    state_status(slot->state, &status);
    log_info("state", "%s: goes on after frame %llu, from %s (%llu objects)", slot->name,
             (unsigned long long)slot->brought->keepsake.head.frames, from,
             (unsigned long long)status.live_objects);
}

/* A file that was changed meanwhile (keel state set) is told from one that a host wrote, whose
 * frames are counted: the clock on the wall may have been put back. Frames are counted within a
 * branch: going back in time begins another one. */
static int is_newer(const Snapshot *file, const KeepsakeHead *memory)
{
    uint32_t branch = keepsake_branch(file->note, (size_t)file->note_bytes);
    if (file->info.edited)
        return file->info.wall_ns > memory->wall_ns;
    return branch != memory->branch ? branch > memory->branch : file->info.frames > memory->frames;
}

/* The newer of memory and file; what is refused stays as it is. */
static int bring_back(Slot *slot, const char *path, Error *err)
{
    SnapshotReader *reader = NULL;
    Error file = {0};
    int there = snapshot_open(path, &reader, &file) == KEEL_OK;
    int rc = from_memory(slot, err);
    if (rc == KEEL_OK && there && is_newer(snapshot_parts(reader), &slot->brought->keepsake.head)) {
        brought_free(slot->brought);
        slot->brought = NULL;
        rc = KEEL_ENOTFOUND;
    }
    if (rc == KEEL_OK) {
        tell(slot, "memory that outlived its host");
    } else if (there) {
        if (rc != KEEL_ENOTFOUND)
            log_warn("state", "%s: what was left in memory isn't used: %s", slot->name, err->text);
        rc = from_file(slot, path, reader, err);
        if (rc == KEEL_OK)
            tell(slot, path);
        else
            err_wrap(err, "%s", path);
    } else if (file.code != KEEL_ENOTFOUND) {
        *err = file;
        rc = file.code;
    } else if (rc != KEEL_ENOTFOUND) {
        err_wrap(err, "what was left in memory can't be used, start anew with another folder");
    } else {
        rc = KEEL_OK; /* nothing was kept: a fresh start */
    }
    if (there && slot->brought)
        take_image(slot->brought, snapshot_parts(reader));
    snapshot_close(reader);
    return rc;
}

/* The build that ran then, for the rules by which another one takes over. */
static void find_module(Slot *slot, const char *modules)
{
    if (!slot->brought)
        return;
    const KeepsakeHead *head = &slot->brought->keepsake.head;
    char path[KEEPER_PATH + 100];
    Image *image = NULL;
    Error why = {0};
    host_module_file(modules, head->image_low, head->image_high, path, sizeof path);
    int rc = image_load_file(path, MODULE_WAIT_NS, &image, &why);
    if (rc == KEEL_OK &&
        (image->hash.low != head->image_low || image->hash.high != head->image_high)) {
        image_unref(image);
        rc = err_set(&why, KEEL_EDATA, "%s is damaged", path);
    }
    if (rc && slot->brought->image) {
        image = image_ref(slot->brought->image);
        rc = KEEL_OK;
    }
    if (rc == KEEL_OK) {
        rc = brought_use_image(slot->brought, image, slot, &why);
    }
    if (rc) {
        snprintf(slot->brought->why, sizeof slot->brought->why, "%.300s", why.text);
        log_warn("state", "%s: only the build that ran then can go on with this state: %s",
                 slot->name, why.text);
    }
}

static int begin_journal(Keeper *keeper, const char *path, Error *err)
{
    int rc = journal_create(path, NULL, &keeper->journal, err);
    if (rc == KEEL_OK)
        rc = recorder_begin(&keeper->recorder, keeper->slot, keeper->journal, err);
    return rc;
}

int keeper_new(Host *host, Slot *slot, const char *journal, const char *snapshot, int64_t every_ns,
               Keeper **ret, Error *err)
{
    int rc = KEEL_OK;
    Keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return err_set(err, KEEL_ENOMEM, "no memory to keep a slot");
    keeper->host = host;
    keeper->slot = slot;
    keeper->every_ns = every_ns;
    if (snapshot) {
        snprintf(keeper->snapshot, sizeof keeper->snapshot, "%s", snapshot);
        snprintf(keeper->modules, sizeof keeper->modules, "%.*s",
                 (int)(strlen(snapshot) - strlen(KEEPER_ENDING)), snapshot);
        rc = bring_back(slot, snapshot, err);
        if (rc == KEEL_OK)
            find_module(slot, keeper->modules);
    }
    if (rc == KEEL_OK && snapshot && (slot->kept_modules = strdup(keeper->modules)))
        slot->keep_image = host_keep_image;
    if (rc == KEEL_OK && journal)
        rc = begin_journal(keeper, journal, err);
    if (rc == KEEL_OK && loop_call(host->loop, begin, keeper))
        rc = err_set(err, KEEL_ECANCELED, "the host is closing");
    if (rc) {
        if (keeper->journal) {
            recorder_end(&keeper->recorder, slot);
            journal_close(keeper->journal);
        }
        free(keeper);
        return rc;
    }
    *ret = keeper;
    return KEEL_OK;
}
