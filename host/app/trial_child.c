/* The child: one candidate, from its bytes to its last tried frame, in a process that can touch
 * nothing. It leaves facts in the shared memory as it goes; the helper makes sentences of them,
 * since this process's heap may be damaged. Single-threaded but for what the module starts. */
#include "app/trial_child.h"
#include "app/trial_carry.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "host/shadow.h"
#include "module/dltext.h"
#include "module/verify.h"

enum { OWNER = 1 };

static _Noreturn void end(TrialShared *shared)
{
    shared->finished = 1;
    syscall(SYS_exit_group, 0);
    __builtin_unreachable();
}

static void enter_phase(TrialShared *shared, const char *phase)
{
    snprintf(shared->phase, sizeof shared->phase, "%s", phase);
}

static _Noreturn void refuse(TrialShared *shared, int code, const Error *err)
{
    shared->load_code = code;
    snprintf(shared->load_text, sizeof shared->load_text, "%.511s", err->text);
    end(shared);
}

static void set_up_process(const TrialChild *child)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->helper)
        end(child->shared);
    setsid();
    prctl(PR_SET_NAME, "keel-trying");
    close(TRIAL_WIRE_FD);
    dup2(child->output, STDOUT_FILENO);
    dup2(child->output, STDERR_FILENO);
    close(child->output);
    trial_sandbox_limits(child->request->time_limit_ns);
}

typedef struct Payload {
    const uint8_t *data;
    const TrialRange *ranges;
    const uint8_t *inputs, *saved, *schemas;
} Payload;

static int map_payload(const TrialChild *child, Payload *ret, Error *err)
{
    const TrialWireRequest *r = child->request;
    const uint64_t most = UINT64_C(1) << 40;
    if (r->range_count > most / sizeof(TrialRange) || r->inputs_bytes > most ||
        r->saved_bytes > most || r->from_schema_bytes > most || r->to_schema_bytes > most)
        return err_set(err, KEEL_EPROTOCOL, "the request's sizes are not possible");
    uint64_t range_bytes = r->range_count * sizeof(TrialRange);
    uint64_t bytes = range_bytes + trial_wire_round(r->inputs_bytes) +
                     trial_wire_round(r->saved_bytes) + trial_wire_round(r->from_schema_bytes) +
                     trial_wire_round(r->to_schema_bytes);
    off_t there = lseek(child->fds[1], 0, SEEK_END);
    if (there < 0 || (uint64_t)there < bytes)
        return err_set(err, KEEL_EPROTOCOL, "the request's payload is too short");
    *ret = (Payload){0};
    if (!bytes)
        return KEEL_OK;
    uint8_t *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, child->fds[1], 0);
    if (data == MAP_FAILED)
        return err_set(err, KEEL_ENOMEM, "the request's payload can't be mapped");
    ret->data = data;
    ret->ranges = (const TrialRange *)(const void *)data;
    ret->inputs = data + range_bytes;
    ret->saved = ret->inputs + trial_wire_round(r->inputs_bytes);
    ret->schemas = ret->saved + trial_wire_round(r->saved_bytes);
    return KEEL_OK;
}

static StateView view_of(const TrialChild *child)
{
    const TrialWireRequest *r = child->request;
    StateView view = {.fd_count = (int)r->view_fds, .bytes = r->view_bytes};
    memcpy(view.fds, child->fds + 2, r->view_fds * sizeof(int));
    memcpy(view.plain, r->view_plain, sizeof view.plain);
    return view;
}

static int open_state(const TrialChild *child, State **ret, Error *err)
{
    const TrialWireRequest *r = child->request;
    if (r->how != TRIAL_KEEP) {
        StateOptions options = {.tier = STATE_TIER_OFF};
        return state_open(&options, ret, err);
    }
    StateView view = view_of(child);
    return state_adopt(&view, ret, err);
}

typedef struct OpenCall {
    const char *name;
    void *handle;
    char said[600];
} OpenCall;

static void open_image(void *user)
{
    OpenCall *call = user;
    call->handle = dlopen(call->name, RTLD_NOW | RTLD_LOCAL);
    const char *said = call->handle ? NULL : dlerror();
    if (said)
        snprintf(call->said, sizeof call->said, "%s", said);
}

/* By the staged name, so that libraries beside the original are found; where /proc doesn't show the
 * host's descriptors to us, by our own. */
static void load(TrialShared *shared, Generation *g, State *state, const char *staged,
                 char *by_number)
{
    Error err;
    OpenCall call = {.name = staged[0] && !access(staged, R_OK) ? staged : by_number};
    enter_phase(shared, "load");
    shared->began_ns = clock_now_ns();
    g->staged = (char *)(uintptr_t)call.name;
    state_bind_for_load(state);
    shared->kind = guard_run(OWNER, 0, open_image, &call, &shared->fault);
    state_bind_for_load(NULL);
    if (shared->kind != FAULT_NONE)
        end(shared);
    if (!call.handle)
        refuse(shared, dltext_explain(g->image->path, call.name, call.said, &err), &err);
    g->handle = call.handle;
    enter_phase(shared, "check");
    int rc = verify_place(g, &err);
    if (!rc)
        rc = verify_mapped(g, &err);
    if (!rc)
        rc = verify_table(g, &err);
    if (!rc)
        rc = guard_range_add(g->load_first, g->load_last, OWNER, g->image->name, &err);
    if (rc)
        refuse(shared, rc, &err);
}

static int in_host(const Payload *payload, uint64_t count, const Fault *fault)
{
    const uintptr_t null_page = 65536;
    if (fault->kind != FAULT_MEMORY || fault->address < null_page)
        return 0;
    if (fault->signal == SIGSEGV && fault->code == SEGV_ACCERR)
        return 0; /* it is mapped here */
    for (uint64_t i = 0; i < count; i++)
        if (fault->address >= payload->ranges[i].first && fault->address < payload->ranges[i].last)
            return 1;
    return 0;
}

static void replay(const TrialChild *child, const Generation *g, State *state,
                   const Payload *payload, FeedReader *feed)
{
    TrialShared *shared = child->shared;
    const TrialWireRequest *r = child->request;
    static const ReplayHow hows[] = {REPLAY_START, REPLAY_KEEP, REPLAY_HOOKS};
    ReplayRequest request = {.state = state,
                             .table = g->table,
                             .owner = OWNER,
                             .mode = KEEL_MODE_TRIAL,
                             .how = hows[r->how],
                             .inputs = payload->inputs,
                             .inputs_bytes = r->inputs_bytes,
                             .saved = payload->saved,
                             .saved_bytes = r->saved_bytes,
                             .saved_version = r->saved_version,
                             .frames = r->frames,
                             .screen = {r->screen[0], r->screen[1], r->screen[2]},
                             .user = (void *)(uintptr_t)r->user};
    shared->replaying = 1;
    if (feed) {
        const ShadowRequest beside = {
            .state = state,
            .table = g->table,
            .owner = OWNER,
            .feed = feed,
            .carried = payload->inputs,
            .carried_bytes = r->inputs_bytes,
            .images = {{(void *)g->load_first, g->load_last - g->load_first},
                       {(void *)(uintptr_t)r->live.first, r->live.last - r->live.first}},
            .user = request.user};
        shared->kind = shadow_run(&beside, &shared->replay);
    } else {
        shared->kind = replay_run(&request, &shared->replay);
    }
    if (shared->kind == FAULT_NONE) {
        uint64_t owner;
        shared->stray = (uint32_t)guard_take_stray(&owner, &shared->replay.fault);
        if (shared->stray)
            shared->kind = shared->replay.fault.kind;
    }
    shared->host_pointer = (uint32_t)(shared->kind != FAULT_NONE &&
                                      in_host(payload, r->range_count, &shared->replay.fault));
}

/* Refused with types_changed, the hooks are tried next. */
static void migrate(const TrialChild *child, TrialCarry *carry, const Generation *g, State *state)
{
    TrialShared *shared = child->shared;
    int has_hooks = child->request->from_saves && TABLE_ENTRY(g->table, restore);
    Error err;
    enter_phase(shared, "migrate");
    int rc = migration_learn_state(carry->migration, state);
    if (rc)
        err_set(&err, rc, "no memory for a plan");
    if (!rc && has_hooks && migration_changes(carry->migration))
        rc = err_set(&err, KEEL_ETYPE, "its types changed, and both builds have hooks for that");
    rc = rc ? rc : trial_carry_run(child, carry, state, g, &err);
    if (rc) {
        shared->replay.types_changed = has_hooks && rc == KEEL_ETYPE;
        refuse(shared, rc, &err);
    }
    shared->began_ns = clock_now_ns(); /* its own time begins here */
}

void trial_child_run(const TrialChild *child)
{
    static Generation g;
    static char by_number[64];
    TrialShared *shared = child->shared;
    const TrialWireRequest *r = child->request;
    Payload payload = {0};
    State *state = NULL;
    FeedReader *feed = NULL;
    TrialCarry carry;
    Error err;
    set_up_process(child);
    enter_phase(shared, "state");
    int rc = guard_install(&err);
    if (!rc)
        rc = guard_thread_begin(&err);
    if (!rc)
        rc = map_payload(child, &payload, &err);
    if (!rc)
        rc = open_state(child, &state, &err);
    if (!rc)
        rc = image_open(fcntl(child->fds[0], F_DUPFD_CLOEXEC, 3), r->image_bytes, r->hash, r->path,
                        &g.image, &err);
    if (!rc && r->what == TRIAL_WIRE_SHADOW)
        rc = feed_open(child->fds[2 + r->view_fds], &feed, &err);
    StateView view = view_of(child);
    if (!rc)
        rc = trial_carry_open(child, &view, payload.schemas, &carry, &err);
    if (rc)
        refuse(shared, rc, &err);
    for (uint32_t i = 0; i < r->fd_count; i++)
        close(child->fds[i]);
    snprintf(by_number, sizeof by_number, "/proc/self/fd/%d", g.image->memfd);
    rc = trial_sandbox_enter(shared, &err);
    if (rc)
        refuse(shared, rc, &err);
    enter_phase(shared, "inspect");
    rc = inspect_bytes(g.image->data, g.image->bytes, &shared->inspection, &err);
    if (!rc)
        rc = inspect_refuse(&shared->inspection, &err);
    if (rc)
        refuse(shared, rc, &err);
    g.number = OWNER;
    load(shared, &g, state, r->staged, by_number);
    if (carry.migration)
        migrate(child, &carry, &g, state);
    replay(child, &g, state, &payload, feed);
    end(shared);
}
