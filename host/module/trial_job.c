/* Packs a request, sends it, reads the answer. The helper runs code of unknown origin, so its
 * answer is checked like anything from outside. The loop's thread. */
#include "module/trial_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "module/maps.h"

#define TIME_LIMIT_MOST_NS (INT64_C(3600) * 1000 * 1000 * 1000)

static int add_range(const MapEntry *entry, void *user)
{
    Buf *ranges = user;
    if (entry->last > STATE_BASE && entry->first < STATE_BASE + STATE_SPACE_BYTES)
        return 0;
    if (entry->access[0] != 'r' && entry->access[1] != 'w')
        return 0;
    TrialRange *before =
        ranges->bytes ? (TrialRange *)(void *)(ranges->data + ranges->bytes) - 1 : NULL;
    if (before && before->last == entry->first) {
        before->last = entry->last;
        return 0;
    }
    TrialRange range = {entry->first, entry->last};
    return buf_add(ranges, &range, sizeof range);
}

static int add_part(Buf *payload, const void *data, uint64_t bytes)
{
    static const char zeros[16];
    int rc = buf_add(payload, data, bytes);
    return rc ? rc : buf_add(payload, zeros, trial_wire_round(bytes) - bytes);
}

static int make_payload(TrialJob *job, const TrialRequest *request, Error *err)
{
    Buf payload = {0};
    int rc = maps_each(add_range, &payload, err);
    if (rc == KEEL_ENOMEM)
        err_set(err, rc, "no memory for the inputs of a trial");
    if (rc)
        goto end; /* without /proc: the sentence says so */
    job->wire.range_count = payload.bytes / sizeof(TrialRange);
    rc = add_part(&payload, request->inputs, request->inputs_bytes);
    if (!rc)
        rc = add_part(&payload, request->saved, job->wire.saved_bytes);
    if (!rc && job->from)
        rc = add_part(&payload, request->from_schema->data, request->from_schema->bytes);
    if (!rc && job->from)
        rc = add_part(&payload, request->to_schema->data, request->to_schema->bytes);
    job->payload = rc ? -1 : memfd_create("keel-trial", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (job->payload < 0) {
        rc = err_set(err, KEEL_ENOMEM, "no memory for the inputs of a trial");
        goto end;
    }
    for (size_t at = 0; at < payload.bytes;) {
        ssize_t n = write(job->payload, payload.data + at, payload.bytes - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = err_errno(err, KEEL_ENOMEM, errno, "no memory for the inputs of a trial");
            goto end;
        }
        at += (size_t)n;
    }
    fcntl(job->payload, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
end:
    buf_done(&payload);
    return rc;
}

/* What it takes to migrate the state first. */
static void add_before(TrialJob *job, const TrialRequest *request)
{
    TrialWireRequest *wire = &job->wire;
    job->from = image_ref(request->from);
    wire->fd_count++;
    wire->from_bytes = request->from->bytes;
    wire->from_schema_bytes = request->from_schema->bytes;
    wire->to_schema_bytes = request->to_schema->bytes;
    wire->from_place = request->from_place;
    wire->from_saves = (uint32_t)request->from_saves;
    wire->from_static_count = (uint32_t)request->from_static_count;
    memcpy(wire->from_statics, request->from_statics, sizeof wire->from_statics);
}

int trial_job_new(const TrialRequest *request, uint64_t id, TrialJob **ret, Error *err)
{
    const char *staged = request->staged ? request->staged : "";
    if (strlen(staged) >= TRIAL_WIRE_PATH_BYTES ||
        strlen(request->image->path) >= TRIAL_WIRE_PATH_BYTES)
        return err_set(err, KEEL_ELIMIT, "the path of %.60s… is too long", request->image->path);
    if (request->how == TRIAL_KEEP &&
        (request->view.fd_count < 1 || request->view.fd_count > STATE_VIEW_FDS))
        return err_set(err, KEEL_EINVAL, "a trial on the kept state needs a pinned view of it");
    TrialJob *job = calloc(1, sizeof *job);
    if (!job)
        return err_set(err, KEEL_ENOMEM, "no memory for a trial");
    job->payload = job->feed = -1;
    TrialWireRequest *wire = &job->wire;
    wire->magic = TRIAL_WIRE_MAGIC;
    wire->version = TRIAL_WIRE_VERSION;
    wire->id = id;
    wire->image_bytes = request->image->bytes;
    wire->hash = request->image->hash;
    wire->inputs_bytes = request->inputs_bytes;
    wire->saved_bytes = request->how == TRIAL_HOOKS ? request->saved_bytes : 0;
    wire->how = (uint32_t)request->how;
    wire->frames = request->frames;
    wire->user = (uintptr_t)request->user;
    memcpy(wire->screen, request->screen, sizeof request->screen);
    wire->saved_version = request->saved_version;
    wire->time_limit_ns = request->time_limit_ns > 0 ? request->time_limit_ns : TRIAL_TIME_LIMIT_NS;
    if (wire->time_limit_ns > TIME_LIMIT_MOST_NS)
        wire->time_limit_ns = TIME_LIMIT_MOST_NS;
    wire->memory_limit_bytes =
        request->memory_limit_bytes ? request->memory_limit_bytes : TRIAL_MEMORY_LIMIT_BYTES;
    if (request->how == TRIAL_KEEP) {
        wire->view_fds = (uint32_t)request->view.fd_count;
        wire->view_bytes = request->view.bytes;
        memcpy(wire->view_plain, request->view.plain, sizeof wire->view_plain);
        memcpy(job->view_fds, request->view.fds, sizeof job->view_fds);
    }
    wire->fd_count = 2 + wire->view_fds;
    if (request->feed) {
        wire->what = TRIAL_WIRE_SHADOW;
        wire->live = (TrialRange){request->live_first, request->live_last};
        wire->fd_count++;
        job->feed = fcntl(request->feed, F_DUPFD_CLOEXEC, 3);
    }
    if (request->from_schema && request->to_schema && request->how == TRIAL_KEEP)
        add_before(job, request);
    snprintf(wire->path, sizeof wire->path, "%s", request->image->path);
    snprintf(wire->staged, sizeof wire->staged, "%s", staged);
    job->image = image_ref(request->image);
    int rc = request->feed && job->feed < 0
                 ? err_errno(err, KEEL_ELIMIT, errno, "no descriptor for a feed of frames")
                 : make_payload(job, request, err);
    if (rc) {
        trial_job_free(job);
        return rc;
    }
    *ret = job;
    return KEEL_OK;
}

int trial_job_new_read(Image *image, Reading *before, uint64_t id, TrialJob **ret, Error *err)
{
    TrialJob *job = calloc(1, sizeof *job);
    if (!job)
        return err_set(err, KEEL_ENOMEM, "no memory for a reading");
    job->payload = job->feed = -1;
    job->image = image_ref(image);
    job->wire = (TrialWireRequest){.magic = TRIAL_WIRE_MAGIC,
                                   .version = TRIAL_WIRE_VERSION,
                                   .id = id,
                                   .what = TRIAL_WIRE_READ,
                                   .image_bytes = image->bytes,
                                   .hash = image->hash,
                                   .fd_count = 1,
                                   .time_limit_ns = TRIAL_TIME_LIMIT_NS};
    if (before && before->memfd >= 0) {
        job->before = reading_ref(before);
        job->wire.before_bytes = before->mapped;
        job->wire.fd_count++;
    }
    *ret = job;
    return KEEL_OK;
}

void trial_job_free(TrialJob *job)
{
    if (!job)
        return;
    if (job->image)
        image_unref(job->image);
    image_unref(job->from);
    reading_free(job->before);
    if (job->payload >= 0)
        close(job->payload);
    if (job->feed >= 0)
        close(job->feed);
    free(job);
}

int trial_job_send(const TrialJob *job, int fd, Error *err)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(TRIAL_WIRE_FDS * sizeof(int))];
    } control = {0};
    int fds[TRIAL_WIRE_FDS] = {job->image->memfd, job->payload}; /* a reading has no payload */
    memcpy(fds + 2, job->view_fds, job->wire.view_fds * sizeof(int));
    uint32_t last = 2 + job->wire.view_fds;
    if (job->feed >= 0)
        fds[last++] = job->feed;
    if (job->from)
        fds[last] = job->from->memfd;
    if (job->before)
        fds[1] = job->before->memfd;
    size_t fd_bytes = job->wire.fd_count * sizeof(int);
    struct iovec part = {.iov_base = (void *)(uintptr_t)&job->wire, .iov_len = sizeof job->wire};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(fd_bytes)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fd_bytes);
    memcpy(CMSG_DATA(head), fds, fd_bytes);
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof job->wire)
        return err_errno(err, KEEL_EIO, errno, "the trial helper takes no request");
    return KEEL_OK;
}

static void end_list(InspectList *list)
{
    for (int i = 0; i < INSPECT_LIST; i++)
        list->item[i][INSPECT_TEXT - 1] = 0;
}

static void tame(TrialResult *result)
{
    if ((unsigned)result->verdict > TRIAL_UNAVAILABLE)
        result->verdict = TRIAL_FAIL;
    if ((unsigned)result->fault.kind > FAULT_ERROR)
        result->fault.kind = FAULT_MEMORY;
    if (result->fault.frame_count < 0 || result->fault.frame_count > FAULT_FRAMES)
        result->fault.frame_count = 0;
    result->phase[sizeof result->phase - 1] = 0;
    result->text[sizeof result->text - 1] = 0;
    result->fault.text[sizeof result->fault.text - 1] = 0;
    Inspection *in = &result->inspection;
    end_list(&in->needed);
    end_list(&in->undefined);
    end_list(&in->exported);
    end_list(&in->unique);
    in->runpath[sizeof in->runpath - 1] = 0;
    in->compiler[sizeof in->compiler - 1] = 0;
}

static int take_fd(struct msghdr *message)
{
    int fd = -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

int trial_answer_read(int fd, TrialWireResult *ret, int *ret_fd, Error *err)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = ret, .iov_len = sizeof *ret};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             /* Not CMSG_SPACE, whose padding is room for a second descriptor:
                              * what has no room is closed by the kernel. */
                             .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n;
    do
        n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *ret_fd = -1;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return KEEL_EPARTIAL;
    if (n < 0)
        return errno == ECONNRESET
                   ? err_set(err, KEEL_EIO, "the trial helper has ended")
                   : err_errno(err, KEEL_EIO, errno, "the trial helper can't be read");
    if (n == 0)
        return err_set(err, KEEL_EIO, "the trial helper has ended");
    int came = take_fd(&message);
    if (n != (ssize_t)sizeof *ret || ret->magic != TRIAL_WIRE_MAGIC ||
        ret->version != TRIAL_WIRE_VERSION) {
        if (came >= 0)
            close(came);
        return err_set(err, KEEL_EPROTOCOL,
                       "the trial helper is of another build than this host: install both "
                       "from one");
    }
    tame(&ret->result);
    *ret_fd = came;
    return KEEL_OK;
}
