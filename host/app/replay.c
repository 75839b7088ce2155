/* `keel replay`: a recorded session given to a build, headless, as fast as it goes; says where its
 * state parts from that of the recording. Owns the session and the files of states. Main thread. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/replay_run.h"
#include "app/replay_statics.h"
#include "app/text.h"
#include "watch/settle.h"

static const char help[] =
    "usage: keel replay FILE [NEW.so] [OPTIONS]\n"
    "\n"
    "Gives NEW what was recorded in FILE (keel record, keel run --journal): the same clock,\n"
    "random numbers, events and results of tasks, frame by frame, and compares the state after\n"
    "each frame, and the statics that both builds have, for which what was recorded runs once\n"
    "more. Without NEW: what ran when it was recorded; statics are then not compared.\n"
    "\n"
    "  --from SNAPSHOT    begin with this state of the session (keel ctl snapshot)\n"
    "  --against OLD.so   compare with this build instead of with the recording\n"
    "  --frames N         only the first N frames\n"
    "  --no-compare       only run: does it fault?\n"
    "  --no-sandbox       let the module call what it likes (it is told KEEL_MODE_REPLAY)\n"
    "  --json             one JSON object\n"
    "\n"
    "example: keel record released/ball.so -o ball.journal --frames 600\n"
    "         keel replay ball.journal build/ball.so\n"
    "\n"
    "exit status: 0 the same after every frame, 1 it differs or faults, 2 could not run\n";

enum { IMAGE_WAIT_NS = 1000000000, SHOWN = 12 };

typedef struct Replay {
    const char *path, *new_path, *against_path, *from;
    long long frames;
    int compare, sandbox, json;
    ReplaySession session;
    Image *new_image, *against_image;
    ReplayOutcome *outcome;   /* of what is tested */
    ReplayOutcome *reference; /* of what it is compared with; NULL: the recording alone */
    StateHashes *hashes;      /* of the reference's frames, shared */
    Frozen *now, *was;        /* the two states where they part */
    StateTypes was_types, now_types;
    StateDifferences differences, static_differences;
    ReplayStatics statics;
    uint64_t *static_hashes; /* of the reference's frames, shared; NULL: no statics are compared */
    int raw_only;            /* bytes differ, and no object does */
} Replay;

/* ---- arguments ---- */

static int positive(const char *given, long long *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(given, &end, 10);
    if (end != given && !*end && !errno && value > 0) {
        *ret = value;
        return 1;
    }
    text_line(stderr, "keel replay: --frames takes a number above 0; not \"%s\"", given);
    return 0;
}

/* 0: go on; else the exit status plus one. */
static int parse(int argc, char **argv, Replay *replay)
{
    static const struct option options[] = {
        {"against", required_argument, NULL, 'a'}, {"from", required_argument, NULL, 'f'},
        {"frames", required_argument, NULL, 'n'},  {"no-compare", no_argument, NULL, 'c'},
        {"no-sandbox", no_argument, NULL, 's'},    {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (option) {
        case 'a':
            replay->against_path = optarg;
            break;
        case 'f':
            replay->from = optarg;
            break;
        case 'n':
            if (!positive(optarg, &replay->frames))
                return 3;
            break;
        case 'c':
            replay->compare = 0;
            break;
        case 's':
            replay->sandbox = 0;
            break;
        case 'j':
            replay->json = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return 1;
        default:
            text_line(stderr, "keel replay: %s%s; see keel replay --help",
                      option == ':' ? "a value is missing for " : "there is no option ",
                      argv[optind - 1]);
            return 3;
        }
    }
    if (argc - optind < 1 || argc - optind > 2) {
        fputs("keel replay: give a journal, and the build that is to run it; see keel replay "
              "--help\n",
              stderr);
        return 3;
    }
    replay->path = argv[optind];
    replay->new_path = argv[optind + 1];
    return 0;
}

/* ---- running ---- */

/* For the fields' names; without debug information it goes without. */
static void name_types(Replay *replay)
{
    const ReplaySession *s = &replay->session;
    const Image *was = replay->against_image ? replay->against_image : s->image[0];
    const Image *now = replay->new_image ? replay->new_image : s->image[0];
    if (!replay->was_types.there && was)
        state_types_read(was, &replay->was_types, NULL);
    if (!replay->now_types.there && now)
        state_types_read(now, &replay->now_types, NULL);
}

static int new_file(const char *name)
{
    return memfd_create(name, MFD_CLOEXEC);
}

/* The build that was recorded, all along, is compared word for word. */
static ReplayCompare how_to_compare(const Replay *replay, const Image *tested)
{
    const ReplaySession *s = &replay->session;
    if (!replay->compare)
        return REPLAY_NOTHING;
    if (replay->against_image)
        return tested && hash_equal(tested->hash, replay->against_image->hash) ? REPLAY_EXACT
                                                                               : REPLAY_LOOSE;
    if (!tested)
        return REPLAY_EXACT;
    for (int i = 0; i < s->generations; i++)
        if (s->generation[i].image_low != tested->hash.low ||
            s->generation[i].image_high != tested->hash.high)
            return REPLAY_LOOSE;
    return REPLAY_EXACT;
}

static int run_reference(Replay *replay, uint64_t frames, int fd, StateHashes *record,
                         uint64_t *statics, Error *err)
{
    const ReplayPlan plan = {.session = &replay->session,
                             .instead = replay->against_image,
                             .types = &replay->was_types,
                             .frames = frames,
                             .record = record,
                             .statics = &replay->statics,
                             .statics_side = REPLAY_WAS,
                             .statics_record = statics,
                             .dump_fd = fd,
                             .sandbox = replay->sandbox};
    if (replay->reference)
        munmap(replay->reference, sizeof *replay->reference);
    replay->reference = NULL;
    return replay_run_apart(&plan, &replay->reference, err);
}

/* A number or two for each frame, which the child writes; NULL: no memory. */
static void *for_frames(const Replay *replay, size_t each)
{
    void *got = mmap(NULL, (replay->session.frames + 1) * each, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return got == MAP_FAILED ? NULL : got;
}

/* Which statics can be compared, when there are two builds. */
static int choose_statics(Replay *replay, Error *err)
{
    ReplaySession *s = &replay->session;
    const StateTypes *was[REPLAY_GENERATIONS], *now[REPLAY_GENERATIONS];
    if (!replay->compare || (!replay->new_image && !replay->against_image))
        return KEEL_OK;
    for (int i = 0; i < s->generations; i++)
        if (!s->image[i] && (!replay->new_image || !replay->against_image)) {
            snprintf(replay->statics.why, sizeof replay->statics.why,
                     "the journal doesn't hold the bytes of what was recorded: give that build by "
                     "--against");
            return KEEL_OK;
        }
    replay_session_types(s);
    name_types(replay);
    for (int i = 0; i < s->generations; i++) {
        was[i] = replay->against_image ? &replay->was_types : &s->types[i];
        now[i] = replay->new_image ? &replay->now_types : &s->types[i];
    }
    return replay_statics_init(&replay->statics, s->generations, was, now, err);
}

/* What the tested build is compared with besides the journal's hashes. */
static int run_against(Replay *replay, Error *err)
{
    if (replay->against_image && !(replay->hashes = for_frames(replay, sizeof *replay->hashes)))
        return err_set(err, KEEL_ENOMEM, "no memory for the frames' hashes");
    if (replay->statics.most &&
        !(replay->static_hashes = for_frames(replay, sizeof *replay->static_hashes)))
        return err_set(err, KEEL_ENOMEM, "no memory for the frames' hashes");
    if (!replay->hashes && !replay->static_hashes)
        return KEEL_OK;
    int rc = run_reference(replay, (uint64_t)replay->frames, -1, replay->hashes,
                           replay->static_hashes, err);
    const ReplayOutcome *o = replay->reference;
    if (rc == KEEL_OK && replay->static_hashes && o->end != REPLAY_DONE)
        snprintf(replay->statics.why, sizeof replay->statics.why,
                 "after frame %llu of the old build: %.300s", (unsigned long long)o->index,
                 o->end == REPLAY_FAULTED ? o->fault.text : o->err.text);
    return rc;
}

static int run_tested(Replay *replay, uint64_t frames, ReplayCompare compare, int fd, Error *err)
{
    const ReplayPlan plan = {.session = &replay->session,
                             .instead = replay->new_image,
                             .types = &replay->now_types,
                             .frames = frames,
                             .compare = compare,
                             .with = replay->hashes,
                             .statics = &replay->statics,
                             .statics_side = REPLAY_NOW,
                             .statics_with =
                                 compare == REPLAY_NOTHING ? NULL : replay->static_hashes,
                             .dump_fd = fd,
                             .sandbox = replay->sandbox};
    if (replay->outcome)
        munmap(replay->outcome, sizeof *replay->outcome);
    replay->outcome = NULL;
    return replay_run_apart(&plan, &replay->outcome, err);
}

/* Both states after the frame where they part, object by object. */
static void look_closer(Replay *replay, int fd)
{
    Error err;
    int other = new_file("keel-state");
    if (!replay->outcome->dumped || other < 0 ||
        frozen_open_fd(fd, &replay->now, &err) != KEEL_OK ||
        run_reference(replay, replay->outcome->frames, other, NULL, NULL, &err) != KEEL_OK ||
        !replay->reference->dumped || frozen_open_fd(other, &replay->was, &err) != KEEL_OK) {
        close(other);
        return;
    }
    close(other);
    name_types(replay);
    const StateLook was = {replay->was, &replay->was_types},
                    now = {replay->now, &replay->now_types};
    const ReplayStaticsLook old = {was, replay->reference->load_bias},
                            new = {now, replay->outcome->load_bias};
    const ReplayStaticList *list = &replay->statics.at[replay->outcome->generation];
    state_differences(&was, &now, &replay->differences);
    if (list->count)
        replay_statics_differences(list, &old, &new, &replay->static_differences);
}

static int found_some(const Replay *replay)
{
    return replay->differences.objects || replay->static_differences.objects;
}

static void forget_states(Replay *replay)
{
    frozen_free(replay->now);
    frozen_free(replay->was);
    replay->now = replay->was = NULL;
    state_differences_done(&replay->differences);
    state_differences_done(&replay->static_differences);
}

/* Runs both up to so many frames and compares their objects and statics. 1: they differ; 0: they
 * don't, or it can't be told. */
static int differ_at(Replay *replay, uint64_t frames, Error *err)
{
    forget_states(replay);
    int fd = new_file("keel-state");
    if (run_tested(replay, frames, REPLAY_NOTHING, fd, err) == KEEL_OK)
        look_closer(replay, fd);
    close(fd);
    return found_some(replay);
}

/* Where builds differ in what belongs to no object (a source's path in the table of types, freed
 * memory), frames can't be compared by their hashes. The end is, by objects; from there the frame
 * where they part is found by halving. */
static int compare_objects(Replay *replay, Error *err)
{
    uint64_t same = replay->outcome->frames;
    replay->raw_only = 1;
    if (!differ_at(replay, (uint64_t)replay->frames, err))
        return replay->outcome ? KEEL_OK : err->code;
    uint64_t other = replay->outcome->frames;
    while (other - same > 1) {
        uint64_t middle = same + (other - same) / 2;
        if (differ_at(replay, middle, err))
            other = middle;
        else
            same = middle;
    }
    if (differ_at(replay, other, err))
        replay->outcome->end = REPLAY_DIFFERS;
    return replay->outcome ? KEEL_OK : err->code;
}

/* Another module would only be told that its state differs, after the first frame. */
static int is_of_the_journal(const Replay *replay, const Image *image, const char *path, Error *err)
{
    const JournalGeneration *recorded = &replay->session.generation[0];
    if (!image || !strcmp(image->name, recorded->name))
        return KEEL_OK;
    return err_set(err, KEEL_EINVAL,
                   "%s is the module \"%s\", and %s was recorded with another module, \"%s\": give "
                   "a build of that",
                   path, image->name, replay->path, recorded->name);
}

static int run(Replay *replay, Error *err)
{
    int rc = replay_session_open(replay->path, &replay->session, err);
    replay->session.snapshot = replay->from;
    if (rc == KEEL_OK && replay->session.begin.brought && !replay->from)
        rc =
            err_set(err, KEEL_EINVAL,
                    "%s begins with a state that had had %llu frames, not with a fresh start: give "
                    "it by --from",
                    replay->path, (unsigned long long)replay->session.begin.after_frames);
    if (rc == KEEL_OK && replay->new_path)
        rc = image_load_file(replay->new_path, IMAGE_WAIT_NS, &replay->new_image, err);
    if (rc == KEEL_OK && replay->against_path)
        rc = image_load_file(replay->against_path, IMAGE_WAIT_NS, &replay->against_image, err);
    if (rc == KEEL_OK)
        rc = is_of_the_journal(replay, replay->new_image, replay->new_path, err);
    if (rc == KEEL_OK)
        rc = is_of_the_journal(replay, replay->against_image, replay->against_path, err);
    if (rc == KEEL_OK && (replay->from || replay->session.generations > 1)) {
        replay_session_types(&replay->session);
        name_types(replay);
    }
    if (rc == KEEL_OK)
        rc = choose_statics(replay, err);
    if (rc == KEEL_OK)
        rc = run_against(replay, err);
    if (rc)
        return rc;
    int fd = new_file("keel-state");
    rc = run_tested(replay, (uint64_t)replay->frames, how_to_compare(replay, replay->new_image), fd,
                    err);
    if (rc == KEEL_OK && replay->outcome->end == REPLAY_DIFFERS)
        look_closer(replay, fd);
    close(fd);
    if (rc == KEEL_OK && replay->was && !found_some(replay))
        rc = compare_objects(replay, err);
    return rc;
}

/* ---- telling ---- */

static double at_seconds(const Replay *replay)
{
    return (double)(replay->outcome->time_ns - replay->session.first_ns) / 1e9;
}

static const char *what_runs(const Replay *replay)
{
    return replay->new_path ? replay->new_path : "what was recorded";
}

/* One sentence. */
static void sentence(const Replay *replay, char *to, size_t bytes)
{
    const ReplayOutcome *o = replay->outcome;
    char frames[TEXT_CELL_BYTES], at[TEXT_CELL_BYTES];
    text_count(frames, (int64_t)o->frames);
    text_count(at, (int64_t)o->index);
    switch (o->end) {
    case REPLAY_DONE:
        snprintf(to, bytes, "%s: %s frames%s%s",
                 !replay->compare ? "it ran"
                 : !o->hashes.exact && !o->hashes.loose
                     ? "it ran, and no state was recorded to compare with"
                 : replay->raw_only ? "the same objects at the end"
                                    : "the same state after every frame",
                 frames, o->unmatched ? "; some recorded results were never asked for" : "",
                 o->unrecorded ? "; timers fired that were not recorded" : "");
        break;
    case REPLAY_DIFFERS:
        snprintf(to, bytes, "differs after frame %s (%.3f s into it, record %llu)", at,
                 at_seconds(replay), (unsigned long long)o->lsn);
        break;
    case REPLAY_FAULTED:
        snprintf(to, bytes, "faults in frame %s (%.3f s into it, record %llu): %s", at,
                 at_seconds(replay), (unsigned long long)o->lsn, o->fault.text);
        break;
    default:
        snprintf(to, bytes, "can't be replayed: %s", o->err.text);
    }
}

static void tell(const Replay *replay)
{
    char text[1500];
    sentence(replay, text, sizeof text);
    printf("%s: ", what_runs(replay));
    text_print(stdout, text);
    putchar('\n');
    const ReplayOutcome *o = replay->outcome;
    state_differences_print(stdout, &replay->differences, SHOWN);
    state_differences_print(stdout, &replay->static_differences, SHOWN);
    if (o->end == REPLAY_DIFFERS && !replay->was)
        text_line(stdout, "  what differs can't be told: %s",
                  replay->reference && replay->reference->err.code
                      ? replay->reference->err.text
                      : "the recorded build can't be run");
    if (*replay->statics.why)
        text_line(stdout, "  statics were not compared: %s", replay->statics.why);
    if (*replay->session.ends) {
        fputs("  ", stdout);
        text_print(stdout, replay->session.ends);
        putchar('\n');
    }
    double recorded = (double)(replay->session.last_ns - replay->session.first_ns) / 1e9;
    if (o->end == REPLAY_DONE && o->seconds > 0)
        printf("  %.1f s of a session in %.3f s\n", recorded, o->seconds);
}

static json_t *words(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("?");
}

static json_t *statics_json(const Replay *replay)
{
    json_t *object = state_differences_json(&replay->static_differences);
    if (object) {
        json_object_del(object, "only_pointers");
        json_object_del(object, "objects");
        json_object_set_new(object, "differ",
                            json_integer((json_int_t)replay->static_differences.objects));
        json_object_set_new(object, "compared",
                            json_integer(replay->static_hashes ? replay->statics.most : 0));
        json_object_set_new(object, "why", words(replay->statics.why));
    }
    return object;
}

static void tell_json(const Replay *replay)
{
    static const char *const ends[] = {"refused", "same", "differs", "faulted", "refused"};
    char text[1500];
    const ReplayOutcome *o = replay->outcome;
    sentence(replay, text, sizeof text);
    json_t *object =
        json_pack("{s:s, s:o, s:I, s:I, s:I, s:f, s:o, s:o, s:I, s:I, s:o, s:f}", "verdict",
                  o->end == REPLAY_DONE && !replay->compare ? "ran" : ends[o->end], "text",
                  words(text), "frames", (json_int_t)o->frames, "frame", (json_int_t)o->index,
                  "record", (json_int_t)o->lsn, "seconds_in", at_seconds(replay), "differences",
                  state_differences_json(&replay->differences), "statics", statics_json(replay),
                  "unmatched", (json_int_t)o->unmatched, "unrecorded", (json_int_t)o->unrecorded,
                  "journal", words(replay->session.ends), "took_s", o->seconds);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static void replay_done(Replay *replay)
{
    forget_states(replay);
    replay_statics_done(&replay->statics);
    state_types_done(&replay->was_types);
    state_types_done(&replay->now_types);
    if (replay->hashes)
        munmap(replay->hashes, (replay->session.frames + 1) * sizeof *replay->hashes);
    if (replay->static_hashes)
        munmap(replay->static_hashes, (replay->session.frames + 1) * sizeof *replay->static_hashes);
    if (replay->outcome)
        munmap(replay->outcome, sizeof *replay->outcome);
    if (replay->reference)
        munmap(replay->reference, sizeof *replay->reference);
    if (replay->new_image)
        image_unref(replay->new_image);
    if (replay->against_image)
        image_unref(replay->against_image);
    replay_session_close(&replay->session);
}

int replay_verdict(const char *journal, const char *from, const char *old_path,
                   const char *new_path, char *ret_text, size_t room)
{
    Replay replay = {.path = journal,
                     .from = from,
                     .against_path = old_path,
                     .new_path = new_path,
                     .compare = 1,
                     .sandbox = 1};
    Error err = {0};
    int verdict = 2;
    if (run(&replay, &err)) {
        snprintf(ret_text, room, "%s", err.text);
    } else {
        sentence(&replay, ret_text, room);
        size_t used = strlen(ret_text);
        const StateDifferences *first =
            replay.differences.count ? &replay.differences : &replay.static_differences;
        if (first->count)
            snprintf(ret_text + used, room - used, ": %s", first->text[0]);
        else if (*replay.statics.why)
            snprintf(ret_text + used, room - used, "; statics were not compared: %s",
                     replay.statics.why);
        const ReplayEnd end = replay.outcome->end;
        verdict = end == REPLAY_DONE ? 0 : end == REPLAY_DIFFERS || end == REPLAY_FAULTED ? 1 : 2;
    }
    replay_done(&replay);
    return verdict;
}

int app_replay(int argc, char **argv)
{
    Replay replay = {.compare = 1, .sandbox = 1};
    int status = parse(argc, argv, &replay);
    if (status)
        return status - 1;
    Error err = {0};
    if (run(&replay, &err)) {
        text_line(stderr, "keel replay: %s", err.text);
        status = 2;
    } else {
        const ReplayEnd end = replay.outcome->end;
        (replay.json ? tell_json : tell)(&replay);
        status = end == REPLAY_DONE ? 0 : end == REPLAY_DIFFERS || end == REPLAY_FAULTED ? 1 : 2;
    }
    replay_done(&replay);
    return status;
}
