/* Snapshots of running slots. Owns each one from its asking to its answer: engine thread → boundary
 * (pin) → pool (write) → engine thread, and the pin back to the boundary. */
#include "host/snapshots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "swap/keepsake.h"
#include "swap/recorder.h"

typedef struct Writing {
    Host *host;
    Slot *slot;
    char path[4200];
    SnapshotDone *done;
    void *user;
    Pin *pin;
    SnapshotInfo info;
    Buf note;
    uv_work_t work;
    Error err;
} Writing;

static void fill_info(const Slot *slot, SnapshotInfo *info)
{
    const Generation *g = slot->running;
    *info = (SnapshotInfo){.lsn = slot->recorder ? journal_lsn(slot->recorder->journal) : 0,
                           .frames = slot->frames,
                           .wall_ns = slot->wall_ns,
                           .image_low = g->image->hash.low,
                           .image_high = g->image->hash.high,
                           .load_first = g->load_first,
                           .load_last = g->load_last};
    snprintf(info->slot, sizeof info->slot, "%s", slot->name);
    snprintf(info->module, sizeof info->module, "%s", g->image->name);
    snprintf(info->version, sizeof info->version, "%s", g->image->version);
    snprintf(info->build_id, sizeof info->build_id, "%s", g->image->build_id);
    snprintf(info->host, sizeof info->host, "%s", KEEL_VERSION);
    snprintf(info->path, sizeof info->path, "%s", g->image->path);
}

/* Of the last committed frame. */
static int take(Slot *slot, Pin **ret_pin, SnapshotInfo *info, Buf *note, Error *err)
{
    if (!slot->running || slot->probation.first)
        return err_set(err, KEEL_EBUSY, "%s: %s", slot->name,
                       slot->running ? "a swap is under way"
                                     : "nothing runs, so nothing is written");
    fill_info(slot, info);
    int rc = keepsake_encode(slot, note);
    if (rc)
        return err_set(err, rc, "no memory for a snapshot");
    return state_pin(slot->state, ret_pin, err);
}

static void unpin_at_boundary(void *pin)
{
    state_unpin(pin);
}

static void finish(Writing *writing)
{
    if (writing->pin)
        boundary_post(&writing->host->boundary, unpin_at_boundary, writing->pin);
    writing->done(&writing->err, &writing->info, writing->user);
    buf_done(&writing->note);
    free(writing);
}

static void finish_now(void *writing)
{
    finish(writing);
}

static void write_it(uv_work_t *work)
{
    Writing *writing = work->data;
    const SnapshotParts parts = {.note = writing->note.data, .note_bytes = writing->note.bytes};
    writing->err.code =
        snapshot_write_file(writing->pin, &writing->info, &parts, writing->path, &writing->err);
}

static void written(uv_work_t *work, int status)
{
    Writing *writing = work->data;
    if (status == UV_ECANCELED)
        err_set(&writing->err, KEEL_ECANCELED, "the host is closing");
    finish(writing);
}

static void queue(void *user)
{
    Writing *writing = user;
    writing->work.data = writing;
    if (!writing->err.code &&
        uv_queue_work(loop_uv(writing->host->loop), &writing->work, write_it, written) == 0)
        return;
    if (!writing->err.code)
        err_set(&writing->err, KEEL_ENOMEM, "the snapshot can't be queued");
    finish(writing);
}

static void pin_at_boundary(void *user)
{
    Writing *writing = user;
    writing->err.code =
        take(writing->slot, &writing->pin, &writing->info, &writing->note, &writing->err);
    loop_post(writing->host->loop, queue, writing);
}

void host_snapshot(Host *host, Slot *slot, const char *path, SnapshotDone *done, void *user)
{
    Error err = {0};
    Writing *writing = calloc(1, sizeof *writing);
    if (!writing) {
        err_set(&err, KEEL_ENOMEM, "no memory for a snapshot");
        done(&err, NULL, user);
        return;
    }
    *writing = (Writing){.host = host, .slot = slot, .done = done, .user = user};
    if ((size_t)snprintf(writing->path, sizeof writing->path, "%s", path) >= sizeof writing->path) {
        err_set(&writing->err, KEEL_EINVAL, "the snapshot's name is too long");
        finish_now(writing);
        return;
    }
    boundary_post(&host->boundary, pin_at_boundary, writing);
}

int host_snapshot_now(Slot *slot, const char *path, Error *err)
{
    Pin *pin = NULL;
    SnapshotInfo info;
    Buf note = {0};
    int rc = take(slot, &pin, &info, &note, err);
    if (rc == KEEL_OK) {
        const SnapshotParts parts = {.note = note.data, .note_bytes = note.bytes};
        rc = snapshot_write_file(pin, &info, &parts, path, err);
    }
    state_unpin(pin);
    buf_done(&note);
    return rc;
}
