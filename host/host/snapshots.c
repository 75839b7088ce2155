/* Snapshots of running slots. Owns each one from its asking to its answer: engine thread → boundary
 * (pin) → pool (write) → engine thread, and the pin back to the boundary. */
#include "host/snapshots.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/known_threads.h"
#include "base/log.h"
#include "host/keeper.h"
#include "image/reading.h"
#include "state/outward.h"
#include "swap/keepsake.h"
#include "swap/last_picture.h"
#include "swap/recorder.h"

typedef struct Writing {
    BoundaryErrand errand;
    Host *host;
    Slot *slot;
    char path[4200], modules[4200]; /* modules[0] 0: the build isn't kept */
    Image *image;
    int trying; /* at the pin it was in probation: the build before may come back */
    SnapshotDone *done;
    void *user;
    Pin *pin;
    SnapshotInfo info;
    Buf note;
    PictureTaken *picture; /* NULL: none is kept, or it is that of before */
    Outward outward;
    uv_work_t work;
    Error err;
} Writing;

static void fill_info(const Slot *slot, SnapshotInfo *info)
{
    const Generation *g = slot->running;
    StateStatus state;
    state_status(slot->state, &state);
    *info = (SnapshotInfo){.lsn = slot->recorder ? journal_lsn(slot->recorder->journal) : 0,
                           .frames = slot->frames,
                           .wall_ns = slot->wall_ns,
                           .used_bytes = state.used_bytes,
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

/* What the slot shows, where it isn't what was kept of it before. Failure costs no more than that.
 */
static PictureTaken *take_picture(Slot *slot)
{
    const Draw *draw = &slot->draw;
    PictureTaken *taken = NULL;
    const uint64_t made_of[] = {draw->serial + 1, slot->effects.pictures.shown,
                                (uint64_t)draw->good_width, (uint64_t)draw->good_height};
    uint64_t now = hash_bytes(made_of, sizeof made_of).low;
    if (now == slot->picture_kept ||
        picture_take(draw, &slot->effects.pictures, slot->wall_ns, &taken))
        return NULL;
    slot->picture_kept = now;
    return taken;
}

static void keep_picture(const char *modules, const PictureTaken *picture)
{
    char path[4300];
    Error err = {0};
    snprintf(path, sizeof path, "%s" KEEPER_PICTURE, modules);
    if (picture && picture_write_file(picture, path, &err))
        log_warn("state", "%s", err.text);
}

/* What the image's reading knows of types goes with the state, and the image itself: whoever has
 * the file needs nothing else. */
static void describe(const Image *image, SnapshotParts *parts)
{
    const ReadingPart *schema = reading_part(image_reading(image), READING_SCHEMA, NULL);
    if (schema && schema->bytes <= SNAPSHOT_PART_MOST) {
        parts->schema = schema->data;
        parts->schema_bytes = schema->bytes;
    }
    if (image->bytes <= SNAPSHOT_PART_MOST) {
        parts->image = image->data;
        parts->image_bytes = image->bytes;
    }
}

/* Which pointers of the pinned moment lead out of it, where the build's types are known. */
static void look_outward(const Pin *pin, const Image *image, const SnapshotInfo *info, Outward *ret)
{
    const Schema *schema = reading_schema(image_reading(image), NULL);
    Frozen *frozen;
    Error ignored;
    if (!schema || frozen_of_pin(pin, info, &frozen, &ignored))
        return; /* the snapshot is as good without */
    outward_find(frozen, schema, ret);
    frozen_free(frozen);
}

/* Says it of each field once in the slot's life. */
static void tell_outward(Slot *slot, const Outward *found)
{
    Outward news = {0};
    char text[700];
    for (int i = 0; i < found->count; i++) {
        const struct OutwardField *field = &found->fields[i];
        uint64_t name = hash_bytes(field->name, strlen(field->name)).low;
        int told = slot->outward_count == SLOT_OUTWARD;
        for (int n = 0; n < slot->outward_count && !told; n++)
            told = slot->outward_told[n] == name;
        if (told)
            continue;
        slot->outward_told[slot->outward_count++] = name;
        news.fields[news.count++] = *field;
        news.pointers += field->times;
    }
    if (!news.count)
        return;
    outward_text(&news, text, sizeof text);
    log_warn("state", "%s: %s: what they point at is only in this process, no snapshot has it",
             slot->name, text);
}

static void unpin_at_boundary(void *user)
{
    Writing *writing = user;
    state_unpin(writing->pin);
    free(writing);
}

static void finish(Writing *writing)
{
    writing->done(&writing->err, &writing->info, writing->user);
    image_unref(writing->image);
    picture_drop(writing->picture);
    buf_done(&writing->note);
    if (!writing->pin ||
        boundary_send(&writing->host->boundary, &writing->errand.there, unpin_at_boundary, writing))
        free(writing);
}

static void finish_now(void *writing)
{
    finish(writing);
}

void host_module_file(const char *modules, uint64_t low, uint64_t high, char *ret, size_t room)
{
    snprintf(ret, room, "%s-%016llx%016llx.module", modules, (unsigned long long)high,
             (unsigned long long)low);
}

/* The build that runs, so that what is kept can be read by another one's rules. Failure costs no
 * more than that. `synced`: it must survive the machine. */
static void keep_module(const char *modules, const Image *image, int synced)
{
    char path[4300], temporary[4320];
    host_module_file(modules, image->hash.low, image->hash.high, path, sizeof path);
    int there = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (there >= 0) {
        if (synced)
            fsync(there);      /* costs nothing where it is on the disk already */
        futimens(there, NULL); /* it came in again: no snapshot of before may drop it */
        close(there);
        return;
    }
    snprintf(temporary, sizeof temporary, "%s.new", path);
    unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t at = 0;
    for (ssize_t n = 1; fd >= 0 && at < image->bytes && n > 0; at += n > 0 ? (size_t)n : 0)
        n = write(fd, image->data + at, image->bytes - at);
    int good = fd >= 0 && at == image->bytes && (!synced || fsync(fd) == 0);
    if (fd >= 0)
        close(fd);
    if (!good || rename(temporary, path) != 0)
        unlink(temporary);
}

void host_keep_image(const Slot *slot, const Image *image)
{
    keep_module(slot->kept_modules, image, 0);
}

/* Of a build that came in since: it may be about to run. */
static int is_new(int folder, const char *name)
{
    enum { NEW_S = 60 };
    struct stat st;
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_mtim.tv_sec > time(NULL) - NEW_S;
}

/* Builds that no snapshot needs any more. `all`: no other can be about to run. */
static void drop_modules(const char *modules, const Image *image, int all)
{
    char folder[4200], keep[4300];
    snprintf(folder, sizeof folder, "%s", modules);
    char *slash = strrchr(folder, '/');
    if (!slash)
        return;
    *slash = 0;
    const char *prefix = slash + 1;
    host_module_file(prefix, image->hash.low, image->hash.high, keep, sizeof keep);
    size_t length = strlen(prefix);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (!strncmp(entry->d_name, prefix, length) && strlen(entry->d_name) == strlen(keep) &&
            entry->d_name[length] == '-' && strcmp(entry->d_name, keep) != 0 &&
            !strcmp(strrchr(entry->d_name, '.') ? strrchr(entry->d_name, '.') : "", ".module") &&
            (all || !is_new(dirfd(dir), entry->d_name)))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static void write_it(uv_work_t *work)
{
    Writing *writing = work->data;
    known_thread_begin();
    if (writing->modules[0])
        keep_module(writing->modules, writing->image, 1);
    SnapshotParts parts = {.note = writing->note.data, .note_bytes = writing->note.bytes};
    describe(writing->image, &parts);
    writing->err.code =
        snapshot_write_file(writing->pin, &writing->info, &parts, writing->path, &writing->err);
    if (writing->modules[0] && !writing->err.code) {
        if (!writing->trying)
            drop_modules(writing->modules, writing->image, 0);
        keep_picture(writing->modules, writing->picture);
    }
    if (!writing->err.code)
        look_outward(writing->pin, writing->image, &writing->info, &writing->outward);
    known_thread_end();
}

static void written(uv_work_t *work, int status)
{
    Writing *writing = work->data;
    if (status == UV_ECANCELED)
        err_set(&writing->err, KEEL_ECANCELED, "the host is closing");
    tell_outward(writing->slot, &writing->outward);
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
    writing->trying = writing->slot->probation.group != NULL;
    if (!writing->err.code)
        writing->image = image_ref(writing->slot->running->image);
    if (!writing->err.code && writing->modules[0])
        writing->picture = take_picture(writing->slot);
    if (loop_send(writing->host->loop, &writing->errand.back, queue, writing)) {
        state_unpin(writing->pin);
        picture_drop(writing->picture);
        free(writing);
    }
}

void host_snapshot(Host *host, Slot *slot, const char *path, const char *modules,
                   SnapshotDone *done, void *user)
{
    Error err = {0};
    Writing *writing = calloc(1, sizeof *writing);
    if (!writing) {
        err_set(&err, KEEL_ENOMEM, "no memory for a snapshot");
        done(&err, NULL, user);
        return;
    }
    *writing = (Writing){.host = host, .slot = slot, .done = done, .user = user};
    snprintf(writing->modules, sizeof writing->modules, "%s", modules ? modules : "");
    if ((size_t)snprintf(writing->path, sizeof writing->path, "%s", path) >= sizeof writing->path) {
        err_set(&writing->err, KEEL_EINVAL, "the snapshot's name is too long");
        finish_now(writing);
        return;
    }
    if (boundary_send(&host->boundary, &writing->errand.there, pin_at_boundary, writing)) {
        err_set(&writing->err, KEEL_ECANCELED, "the host is closing");
        finish_now(writing);
    }
}

int host_snapshot_now(Slot *slot, const char *path, const char *modules, Error *err)
{
    Pin *pin = NULL;
    SnapshotInfo info;
    Buf note = {0};
    int rc = take(slot, &pin, &info, &note, err);
    if (rc == KEEL_OK) {
        SnapshotParts parts = {.note = note.data, .note_bytes = note.bytes};
        describe(slot->running->image, &parts);
        if (modules)
            keep_module(modules, slot->running->image, 1);
        rc = snapshot_write_file(pin, &info, &parts, path, err);
        if (modules && rc == KEEL_OK) {
            PictureTaken *picture = take_picture(slot);
            drop_modules(modules, slot->running->image, 1);
            keep_picture(modules, picture);
            picture_drop(picture);
        }
        if (rc == KEEL_OK) {
            Outward outward = {0};
            look_outward(pin, slot->running->image, &info, &outward);
            tell_outward(slot, &outward);
        }
    }
    state_unpin(pin);
    buf_done(&note);
    return rc;
}
