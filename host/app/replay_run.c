/* A recorded session run in a child process. Owns the child; the child owns the slot and its state
 * and never comes back. */
#include "app/replay_run.h"
#include "app/replay_carry.h"
#include "app/replay_statics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/alone.h"
#include "base/clock.h"
#include "host/services.h"
#include "swap/brought.h"
#include "swap/playback.h"

#define CALL_LIMIT_NS (INT64_C(10) * 1000 * 1000 * 1000)
#define NO_COPY_LIMIT (UINT64_C(1) << 40)

/* ---- the session ---- */

static int add_generation(ReplaySession *s, const JournalRecord *record)
{
    if (s->generations == REPLAY_GENERATIONS ||
        journal_generation_read(record, &s->generation[s->generations]))
        return KEEL_EDATA;
    s->generations++;
    return KEEL_OK;
}

static void add_image(ReplaySession *s, const JournalRecord *record)
{
    Hash hash;
    if (record->bytes <= sizeof hash)
        return;
    memcpy(&hash, record->data, sizeof hash);
    for (int i = 0; i < s->generations; i++) {
        const JournalGeneration *g = &s->generation[i];
        if (s->image[i] || g->image_low != hash.low || g->image_high != hash.high)
            continue;
        Image *image = NULL;
        if (alone_image(record->data + 16, record->bytes - 16, g->path, &image, NULL) == KEEL_OK &&
            hash_equal(image->hash, hash))
            s->image[i] = image;
        else if (image)
            image_unref(image);
    }
}

/* Looks at every record once; what follows a break or a malformed one is not replayed. */
static int survey(ReplaySession *s, Error *err)
{
    JournalRecord record;
    JournalFrame frame;
    char why[160];
    if (!journal_next(s->reader, &record) || journal_begin_read(&record, &s->begin))
        return err_set(err, KEEL_EDATA, "the journal has no beginning: nothing was recorded");
    int good = 1;
    while (good && journal_next(s->reader, &record)) {
        if (record.kind == JOURNAL_FRAME && journal_frame_read(&record, &frame) == KEEL_OK) {
            if (!s->frames++)
                s->first_ns = frame.time_ns;
            s->last_ns = frame.time_ns;
        } else if (record.kind == JOURNAL_GENERATION) {
            good = add_generation(s, &record) == KEEL_OK;
        } else if (record.kind == JOURNAL_IMAGE) {
            add_image(s, &record);
        } else if (record.kind == JOURNAL_BREAK) {
            snprintf(s->ends, sizeof s->ends, "frames after record %llu can't be replayed: %.*s",
                     (unsigned long long)record.lsn, (int)(record.bytes < 200 ? record.bytes : 200),
                     (const char *)record.data);
            good = 0;
        } else {
            good = 0;
        }
    }
    if (!good && !*s->ends)
        snprintf(s->ends, sizeof s->ends, "record %llu is malformed: what follows isn't used",
                 (unsigned long long)record.lsn);
    JournalEnding ending = journal_ending(s->reader, why);
    if (good && ending == JOURNAL_TORN)
        snprintf(s->ends, sizeof s->ends, "the journal is damaged: %s", why);
    else if (good && ending == JOURNAL_OPEN)
        snprintf(s->ends, sizeof s->ends,
                 "the journal was not closed: its host was killed or runs");
    if (!s->generations)
        return err_set(err, KEEL_EDATA, "no module ran in this journal%s%s", *s->ends ? ": " : "",
                       s->ends);
    return KEEL_OK;
}

int replay_session_open(const char *path, ReplaySession *ret, Error *err)
{
    *ret = (ReplaySession){0};
    int rc = journal_read_open(path, &ret->reader, err);
    if (rc == KEEL_OK && (rc = survey(ret, err)) != KEEL_OK)
        err_wrap(err, "%s", path);
    if (rc)
        replay_session_close(ret);
    return rc;
}

void replay_session_types(ReplaySession *s)
{
    for (int i = 0; i < s->generations; i++)
        if (s->image[i] && !s->types[i].there)
            state_types_read(s->image[i], &s->types[i], NULL);
}

void replay_session_close(ReplaySession *s)
{
    for (int i = 0; i < s->generations; i++) {
        if (s->image[i])
            image_unref(s->image[i]);
        state_types_done(&s->types[i]);
    }
    journal_read_close(s->reader);
    *s = (ReplaySession){0};
}

/* ---- the child ---- */

typedef struct Run {
    const ReplayPlan *plan;
    ReplayOutcome *outcome;
    Alone alone;
    State *state;
    Slot slot;
    Playback playback;
    Generation *instead, *recorded[REPLAY_GENERATIONS];
    Brought *brought;       /* from a snapshot; NULL: from a fresh start */
    JournalGeneration last; /* that came in before the snapshot's last frame */
    int last_number;
    int installed;
} Run;

static int load_snapshot(Run *run, Error *err)
{
    SnapshotReader *reader;
    const char *path = run->plan->session->snapshot;
    int rc = snapshot_open(path, &reader, err);
    if (rc)
        return rc;
    const Snapshot *s = snapshot_parts(reader);
    if (strcmp(s->info.slot, run->plan->session->begin.slot) != 0 ||
        s->info.frames < run->plan->session->begin.after_frames)
        rc = err_set(err, KEEL_EINVAL,
                     "%s is a state of %s after %llu frames; the journal is of %s and begins after "
                     "%llu",
                     path, s->info.slot, (unsigned long long)s->info.frames,
                     run->plan->session->begin.slot,
                     (unsigned long long)run->plan->session->begin.after_frames);
    if (rc == KEEL_OK)
        rc = snapshot_load(reader, run->state, err);
    if (rc == KEEL_OK)
        rc = state_commit(run->state, err);
    if (rc == KEEL_OK)
        rc = brought_of_snapshot(s, path, &run->brought, err);
    snapshot_close(reader);
    return rc;
}

static int open_state(Run *run, Error *err)
{
    const JournalBegin *begin = &run->plan->session->begin;
    const StateOptions options = {.max_bytes = begin->arena_bytes,
                                  .base = begin->arena_base,
                                  .tier = STATE_TIER_COPY, /* asks the kernel for nothing */
                                  .copy_limit_bytes = NO_COPY_LIMIT};
    int rc = state_open(&options, &run->state, err);
    if (rc == KEEL_OK && run->plan->session->snapshot)
        rc = load_snapshot(run, err);
    return rc ? rc : state_hash_frames(run->state, 1, err);
}

static int load_images(Run *run, Error *err)
{
    const ReplayPlan *plan = run->plan;
    if (plan->instead)
        return alone_load(&run->alone, plan->instead, run->state, &run->instead, err);
    for (int i = 0; i < plan->session->generations; i++) {
        Image *image = plan->session->image[i];
        const JournalGeneration *g = &plan->session->generation[i];
        if (!image)
            return err_set(err, KEEL_ENOTFOUND,
                           "the journal doesn't hold the bytes of %s %s (%s): give the build to "
                           "replay with",
                           g->name, g->version, g->path);
        for (int n = 0; n < i && !run->recorded[i]; n++) /* a rollback goes on with the old one */
            if (plan->session->generation[n].number == g->number)
                run->recorded[i] = run->recorded[n];
        if (run->recorded[i])
            continue;
        int rc = alone_load(&run->alone, image, run->state, &run->recorded[i], err);
        if (rc)
            return rc;
    }
    return KEEL_OK;
}

static int refused(Run *run, const Error *err)
{
    run->outcome->err = *err;
    run->outcome->end = REPLAY_REFUSED;
    return 0;
}

static int faulted(Run *run, const Fault *fault)
{
    run->outcome->fault = *fault;
    run->outcome->end = REPLAY_FAULTED;
    return 0;
}

/* What the host did between the generations when it was recorded: by the types of both. */
static int carry(Run *run, Generation *fresh, int number, Error *err)
{
    const ReplaySession *s = run->plan->session;
    const Generation *old = run->slot.running;
    for (int i = number; old && i-- > 0;)
        if (run->recorded[i] == old)
            return replay_carry(&run->slot, &s->types[i], old, &s->types[number], fresh, err);
    return KEEL_OK;
}

/* 1: go on. With one build all along, only its first coming counts. */
static int enter(Run *run, const JournalGeneration *how, int number)
{
    Generation *g = run->instead ? run->instead : run->recorded[number];
    Fault fault;
    Error err;
    run->outcome->generation = number;
    if (run->brought && !run->installed) { /* it came before the snapshot's end */
        run->last = *how;
        run->last_number = number;
        return 1;
    }
    if (run->instead && number > 0)
        return 1;
    state_hash_image(run->state, g->load_first, g->load_last);
    if ((how->how == JOURNAL_KEEP && carry(run, g, number, &err)) ||
        state_set_statics(run->state, g->statics, g->static_count, &err))
        return refused(run, &err);
    FaultKind kind = playback_enter(&run->playback, g, how, &fault);
    return kind == FAULT_NONE ? 1 : faulted(run, &fault);
}

/* 1: the same, or nothing to compare with. */
static int compare_statics(Run *run, uint64_t n)
{
    const ReplayPlan *plan = run->plan;
    const Generation *g = run->slot.running;
    if (!plan->statics || !g || (!plan->statics_with && !plan->statics_record))
        return 1;
    uint64_t is = replay_statics_hash(&plan->statics->at[run->outcome->generation],
                                      (ReplaySide)plan->statics_side, g, run->state);
    if (plan->statics_record)
        plan->statics_record[n] = is;
    return !plan->statics_with || !plan->statics_with[n] || plan->statics_with[n] == is;
}

/* 1: the same as it was, or nothing to compare with. */
static int compare_state(Run *run, const JournalFrame *frame)
{
    const ReplayPlan *plan = run->plan;
    ReplayOutcome *outcome = run->outcome;
    uint64_t n = outcome->frames - 1;
    StateHashes is, was = {frame->hash_exact, frame->hash_loose};
    if (state_hashes(run->state, &is))
        return 1;
    outcome->hashes = is;
    if (plan->record)
        plan->record[n] = is;
    if (plan->with)
        was = plan->with[n];
    if (plan->compare == REPLAY_NOTHING || (!was.exact && !was.loose))
        return 1;
    return plan->compare == REPLAY_EXACT ? is.exact == was.exact : is.loose == was.loose;
}

static int compare(Run *run, const JournalFrame *frame)
{
    int statics = compare_statics(run, run->outcome->frames - 1);
    if (compare_state(run, frame) && statics)
        return 1;
    run->outcome->end = REPLAY_DIFFERS;
    return 0;
}

static int run_frame(Run *run, const JournalRecord *record)
{
    JournalFrame frame;
    Fault fault;
    ReplayOutcome *outcome = run->outcome;
    journal_frame_read(record, &frame);
    outcome->index = frame.index;
    outcome->time_ns = frame.time_ns;
    outcome->lsn = record->lsn;
    if (playback_frame(&run->playback, record, &fault) != FAULT_NONE)
        return faulted(run, &fault);
    outcome->frames++;
    outcome->unmatched = run->playback.unmatched;
    outcome->unrecorded = run->playback.unrecorded;
    return compare(run, &frame);
}

/* Another build takes the snapshot's state over as it would in a swap. */
static int take_over(Run *run, Generation *fresh, Error *err)
{
    const ReplaySession *s = run->plan->session;
    const KeepsakeHead *head = &run->brought->keepsake.head;
    const StateTypes *to = run->plan->instead ? run->plan->types : NULL;
    for (int i = 0; to && to->there && i < s->generations; i++) {
        if (!s->types[i].there || s->generation[i].image_low != head->image_low ||
            s->generation[i].image_high != head->image_high)
            continue;
        int rc = brought_use_image(run->brought, image_ref(s->image[i]), &run->slot, err);
        return rc ? rc
                  : replay_carry(&run->slot, &s->types[i], brought_ghost(run->brought), to, fresh,
                                 err);
    }
    return KEEL_OK;
}

/* The first frame after the snapshot: whatever ran then goes on. */
static int go_on(Run *run)
{
    Generation *g = run->instead ? run->instead : run->recorded[run->last_number];
    const KeepsakeHead *head = &run->brought->keepsake.head;
    Error err;
    run->installed = 1;
    state_hash_image(run->state, g->load_first, g->load_last);
    if (!brought_same_image(run->brought, g->image) && take_over(run, g, &err))
        return refused(run, &err);
    run->slot.running = g;
    brought_install(run->brought, &run->slot, head->last_time_ns);
    if (state_set_statics(run->state, g->statics, g->static_count, &err))
        return refused(run, &err);
    return 1;
}

/* 1: it is in the snapshot already. */
static int is_past(const Run *run, const JournalRecord *record)
{
    JournalFrame frame;
    return run->brought && journal_frame_read(record, &frame) == KEEL_OK &&
           frame.index < run->brought->keepsake.head.frames;
}

static void run_all(Run *run)
{
    const ReplayPlan *plan = run->plan;
    uint64_t most = plan->session->frames;
    if (plan->frames && plan->frames < most)
        most = plan->frames;
    JournalRecord record;
    JournalGeneration how;
    int number = 0, go = 1;
    int64_t began = clock_now_ns();
    journal_rewind(plan->session->reader);
    while (go && run->outcome->frames < most && journal_next(plan->session->reader, &record)) {
        if (record.kind == JOURNAL_FRAME && is_past(run, &record))
            continue;
        if (record.kind == JOURNAL_FRAME)
            go = (!run->brought || run->installed || go_on(run)) && run_frame(run, &record);
        else if (record.kind == JOURNAL_GENERATION && !journal_generation_read(&record, &how))
            go = enter(run, &how, number++);
    }
    run->outcome->seconds = (double)(clock_now_ns() - began) / 1e9;
    if (go)
        run->outcome->end = REPLAY_DONE;
}

static void dump(Run *run)
{
    Pin *pin;
    Error err;
    SnapshotInfo info = {
        .lsn = run->outcome->lsn, .frames = run->outcome->frames, .wall_ns = run->slot.wall_ns};
    const Generation *g = run->slot.running;
    if (run->plan->dump_fd < 0 || !g || state_pin(run->state, &pin, &err))
        return;
    info.load_first = g->load_first;
    info.load_last = g->load_last;
    info.image_low = g->image->hash.low;
    info.image_high = g->image->hash.high;
    snprintf(info.slot, sizeof info.slot, "%s", run->slot.name);
    snprintf(info.module, sizeof info.module, "%s", g->image->name);
    snprintf(info.version, sizeof info.version, "%s", g->image->version);
    const SnapshotParts none = {0};
    run->outcome->load_bias = g->load_bias;
    run->outcome->dumped = snapshot_write(pin, &info, &none, run->plan->dump_fd, &err) == KEEL_OK;
}

static void child(const ReplayPlan *plan, ReplayOutcome *outcome)
{
    static Run run;
    Error err = {0};
    run.plan = plan;
    run.outcome = outcome;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int rc = alone_begin(&run.alone, &err);
    if (rc == KEEL_OK)
        rc = open_state(&run, &err);
    if (rc == KEEL_OK)
        rc = load_images(&run, &err);
    if (rc == KEEL_OK) {
        slot_init(&run.slot, run.state, NULL, KEEL_MODE_REPLAY, 1);
        services_give(&run.slot);
        snprintf(run.slot.name, sizeof run.slot.name, "%s", plan->session->begin.slot);
        run.slot.deadline_option_ns = CALL_LIMIT_NS;
        playback_init(&run.playback, &run.slot);
    }
    alone_end(&run.alone);
    if (rc == KEEL_OK && plan->sandbox)
        rc = trial_sandbox_enter_for(&outcome->sandbox, plan->dump_fd, &err);
    if (rc) {
        refused(&run, &err);
        return;
    }
    run_all(&run);
    if (outcome->end != REPLAY_REFUSED)
        dump(&run);
}

int replay_run_apart(const ReplayPlan *plan, ReplayOutcome **ret, Error *err)
{
    ReplayOutcome *outcome =
        mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "no memory for a replay");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        child(plan, outcome);
        _exit(0);
    }
    if (pid < 0) {
        munmap(outcome, sizeof *outcome);
        return err_errno(err, KEEL_ENOMEM, errno, "cannot start a process for the replay");
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (outcome->end == REPLAY_UNFINISHED && outcome->sandbox.trapped) {
        char name[64];
        trial_sandbox_name(outcome->sandbox.trap_number, name, sizeof name);
        err_set(&outcome->err, KEEL_EDENIED, "it called %s, which a replay doesn't let through",
                name);
    } else if (outcome->end == REPLAY_UNFINISHED) {
        err_set(&outcome->err, KEEL_EFAULT, "its process ended by %s",
                WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "itself");
    }
    *ret = outcome;
    return KEEL_OK;
}
