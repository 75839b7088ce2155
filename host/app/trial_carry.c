/* The trial's migration: the old image is mapped from its file without a relocation done, since
 * only its constants, addresses and the pinned statics count. */
#include "app/trial_carry.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/replay.h"
#include "module/trial_wire.h"

enum { PAGE = 4096 };

static int map_image(const Image *image, const MigratePlace *place, Error *err)
{
    uint64_t bytes = place->last - place->first;
    void *at = (void *)(uintptr_t)place->first;
    if (place->last <= place->first || bytes > UINT64_C(1) << 36 || place->first % PAGE ||
        place->last % PAGE)
        return err_set(err, KEEL_EPROTOCOL, "the place of the image before isn't possible");
    if (mmap(at, bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != at)
        return err_errno(err, KEEL_EBUSY, errno, "the image before can't be mapped at its place");
    for (int i = 0; i < image->load_count; i++) {
        const ImageLoad *load = &image->loads[i];
        uint64_t to = load->address + place->bias;
        if (to < place->first || load->file_bytes > place->last - to ||
            load->file_offset > image->bytes || load->file_bytes > image->bytes - load->file_offset)
            return err_set(err, KEEL_EPROTOCOL, "the image before doesn't fit its place");
        if (load->file_bytes)
            memcpy((void *)(uintptr_t)to, image->data + load->file_offset, load->file_bytes);
    }
    return KEEL_OK;
}

static int check_spans(const TrialWireRequest *r, Error *err)
{
    for (uint32_t i = 0; i < r->from_static_count; i++) {
        uint64_t at = (uintptr_t)r->from_statics[i].address, bytes = r->from_statics[i].bytes;
        if (at < r->from_place.first || at > r->from_place.last || bytes > r->from_place.last - at)
            return err_set(err, KEEL_EPROTOCOL,
                           "the statics of the image before lie outside of it");
    }
    return KEEL_OK;
}

int trial_carry_open(const TrialChild *child, const StateView *view, const uint8_t *schemas,
                     TrialCarry *ret, Error *err)
{
    const TrialWireRequest *r = child->request;
    Image *image = NULL;
    *ret = (TrialCarry){0};
    if (!r->from_bytes)
        return KEEL_OK;
    if (r->from_static_count > STATE_SPANS)
        return err_set(err, KEEL_EPROTOCOL, "the request's sizes are not possible");
    uint32_t at = 2 + r->view_fds + (r->what == TRIAL_WIRE_SHADOW); /* behind the feed */
    int fd = fcntl(child->fds[at], F_DUPFD_CLOEXEC, 3);
    int rc = image_open(fd, r->from_bytes, (Hash){0}, r->path, &image, err);
    rc = rc ? rc : map_image(image, &r->from_place, err);
    rc = rc ? rc : check_spans(r, err);
    rc = rc ? rc : state_view_statics(view, r->from_statics, (int)r->from_static_count, err);
    image_unref(image);
    rc = rc ? rc : schema_check(schemas, r->from_schema_bytes, &ret->from, err);
    const uint8_t *second = schemas + trial_wire_round(r->from_schema_bytes);
    rc = rc ? rc : schema_check(second, r->to_schema_bytes, &ret->to, err);
    return rc ? rc : migration_new(&ret->from, &ret->to, &ret->migration, err);
}

typedef struct Calling {
    ReplayRequest request;
} Calling;

static int call(void *user, int32_t (*body)(void *user, keel *k), void *body_user, Error *err)
{
    Calling *calling = user;
    static Fault fault;
    if (replay_convert(&calling->request, body, body_user, &fault) == FAULT_NONE)
        return KEEL_OK;
    return err_set(err, KEEL_EREFUSED, "%s", fault.text);
}

int trial_carry_run(const TrialChild *child, TrialCarry *carry, State *state,
                    const Generation *fresh, Error *err)
{
    MigrateResult result;
    MigrateRun run = {.from = child->request->from_place,
                      .to = {fresh->load_first, fresh->load_last, fresh->load_bias}};
    const TrialWireRequest *r = child->request;
    Calling calling = {.request = {.state = state,
                                   .table = fresh->table,
                                   .owner = fresh->number,
                                   .mode = KEEL_MODE_TRIAL,
                                   .screen = {r->screen[0], r->screen[1], r->screen[2]},
                                   .user = (void *)(uintptr_t)r->user}};
    run.converters.count = generation_converters(fresh, &run.converters.list);
    run.call = call;
    run.call_user = &calling;
    return migration_run(carry->migration, state, &run, &result, err);
}
