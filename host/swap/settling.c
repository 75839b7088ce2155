/* From a path to a whole image: reads the file on a thread of libuv's pool, since it waits for the
 * disk, and looks again while it isn't complete. Engine thread but for the reading itself. Owns the
 * group's timer; says nothing of what the image holds. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "image/inspect.h"
#include "swap/group.h"

enum {
    PARTIAL_LOOK_MS = 25, /* between two looks at a file that is not whole */
    BUSY_LOOK_MS = 250,   /* the same when a writer has had it for long */
    PARTIAL_PATIENCE_NS = 2000 * 1000 * 1000,
    /* So long a file stands still that was written over in its place without a change of its size:
     * whoever opens, writes a part and closes, and that again, leaves whole files of mixed content,
     * of which no table and no lease tells. Writers of the field are done with a part every 50 ms.
     */
    REWRITE_QUIET_MS = 100
};

static struct timespec time_of(const struct statx_timestamp *t)
{
    return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* All zero when there is no file. */
static FileMark mark_of(const char *path)
{
    struct statx st;
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &st))
        return (FileMark){0};
    FileMark mark = {.device = makedev(st.stx_dev_major, st.stx_dev_minor),
                     .inode = st.stx_ino,
                     .bytes = (int64_t)st.stx_size,
                     .modified = time_of(&st.stx_mtime),
                     .changed = time_of(&st.stx_ctime)};
    if (st.stx_mask & STATX_BTIME) /* a number is soon given to another file */
        mark.born = time_of(&st.stx_btime);
    return mark;
}

static int same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The file that was read last, written over. */
static int rewritten(const FileMark *before, const FileMark *now)
{
    return before->bytes == now->bytes && before->inode == now->inode &&
           before->device == now->device && same_time(&before->born, &now->born) &&
           !same_time(&before->modified, &now->modified);
}

static int untouched(const FileMark *before, const FileMark *now)
{
    return !memcmp(before, now, sizeof *now);
}

int settling_still_refused(Group *group)
{
    Attempt *attempt = &group->attempts[group->at];
    if (!(group->flags & SWAP_EVENT) || !attempt->file.inode ||
        !untouched(&attempt->slot->refused_file, &attempt->file))
        return 0;
    attempt->untouched = 1;
    err_set(&group->err, KEEL_ESAME, "%s: still the file that was refused", attempt->slot->name);
    return 1;
}

void settling_keep(Attempt *attempt)
{
    attempt->untouched = untouched(&attempt->slot->file, &attempt->file);
    attempt->slot->file = attempt->file;
}

/* 0 as long as the next part of it may come. */
static int stands_still(Attempt *attempt)
{
    int64_t now = clock_now_ns();
    if (!rewritten(&attempt->slot->file, &attempt->file))
        return 1;
    if (!attempt->still_since_ns || !same_time(&attempt->still, &attempt->file.modified)) {
        attempt->still = attempt->file.modified;
        attempt->still_since_ns = now;
    }
    return now - attempt->still_since_ns >= REWRITE_QUIET_MS * INT64_C(1000000);
}

static void read_file(uv_work_t *work)
{
    Group *group = work->data;
    Attempt *attempt = &group->attempts[group->at];
    known_thread_begin();
    memset(&group->err, 0, sizeof group->err);
    attempt->file = mark_of(attempt->path); /* before: a change in between shows the next time */
    image_unref(attempt->image);            /* of a look before */
    attempt->image = NULL;
    group->err.code = trusting_read(attempt, &group->err);
    if (!group->err.code && !attempt->trust.fault &&
        !swap_tries(group->swapper)) /* else the helper does it */
        group->err.code = inspect_image(attempt->image, &group->err);
    known_thread_end();
}

static void look_again(uv_timer_t *timer)
{
    Group *group = timer->data;
    settling_read(group, group->settled);
}

void group_look_now(Group *group)
{
    if (group->timer_open && uv_is_active((const uv_handle_t *)&group->timer))
        uv_timer_start(&group->timer, look_again, 0, 0);
}

/* May the file become whole by waiting? A writer has it, or it ends early, or has not begun, or the
 * old one was removed before the new one is there. */
static int unfinished(const Group *group)
{
    int code = group->err.code;
    return code == KEEL_EPARTIAL || code == KEEL_EBUSY ||
           (code == KEEL_ENOTFOUND && group->flags & SWAP_EVENT);
}

/* A file that isn't complete yet: look again until it has stood still for a while. */
static int wait_for_whole(Group *group, int look_ms)
{
    int64_t now = clock_now_ns();
    if (!group->partial_since_ns)
        group->partial_since_ns = now;
    if (group->err.code != KEEL_EBUSY && now - group->partial_since_ns > PARTIAL_PATIENCE_NS)
        return 0;
    if (!group->timer_open) {
        uv_timer_init(loop_uv(group->swapper->loop), &group->timer);
        group->timer.data = group;
        group->timer_open = 1;
    }
    int long_since = now - group->partial_since_ns > PARTIAL_PATIENCE_NS;
    atomic_store(&group->stalled, long_since);
    uv_timer_start(&group->timer, look_again, long_since ? BUSY_LOOK_MS : (uint64_t)look_ms, 0);
    return 1;
}

static void was_read(uv_work_t *work, int status)
{
    Group *group = work->data;
    Attempt *attempt = &group->attempts[group->at];
    int look_ms = PARTIAL_LOOK_MS;
    if (status == UV_ECANCELED)
        err_set(&group->err, KEEL_ECANCELED, "the host is closing");
    trusting_waits(attempt);
    if (!group->err.code && !stands_still(attempt)) {
        err_set(&group->err, KEEL_EPARTIAL, "%s: it is still being written over in its place",
                attempt->path);
        look_ms = REWRITE_QUIET_MS;
    }
    if (unfinished(group) && wait_for_whole(group, look_ms))
        return;
    group->settled(group);
}

void settling_read(Group *group, void (*then)(Group *group))
{
    group->settled = then;
    group->work.data = group;
    if (group->swapper->closing)
        err_set(&group->err, KEEL_ECANCELED, "the host is closing");
    else if (uv_queue_work(loop_uv(group->swapper->loop), &group->work, read_file, was_read))
        err_set(&group->err, KEEL_ENOMEM, "cannot queue the reading of %s",
                group->attempts[group->at].path);
    else
        return;
    then(group);
}
