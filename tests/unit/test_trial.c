/* module/trial and keel-trial: each kind of bad candidate gets its verdict and its sentence, and
 * the helper survives them all. */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sanitizer.h"
#include "module/trial.h"
#include "watch/stage.h"

typedef struct Bench {
    Loop *loop;
    Trial *trial;
    Stage *stage;
    unsigned long staged;
} Bench;

typedef struct Ask {
    Trial *trial;
    TrialRequest request;
    TrialResult result;
    Error err;
    int rc;
    sem_t done;
} Ask;

static void answered(const TrialResult *result, void *user)
{
    Ask *ask = user;
    ask->result = *result;
    sem_post(&ask->done);
}

static void put(void *user)
{
    Ask *ask = user;
    ask->rc = trial_run(ask->trial, &ask->request, answered, ask, &ask->err);
    if (ask->rc)
        sem_post(&ask->done);
}

static int set_up(void **state)
{
    Bench *bench = calloc(1, sizeof *bench);
    Error err = {0};
    assert_int_equal(loop_new(&bench->loop, &err), 0);
    assert_int_equal(stage_new(&bench->stage, &err), 0);
    assert_int_equal(trial_new(bench->loop, KEEL_TEST_TRIAL, &bench->trial, &err), 0);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    Bench *bench = *state;
    trial_free(bench->trial);
    loop_free(bench->loop);
    stage_free(bench->stage);
    free(bench);
    return 0;
}

static Image *open_fixture(const char *name)
{
    char path[512];
    Error err = {0};
    Image *image = NULL;
    snprintf(path, sizeof path, "%s/%s.so", KEEL_TEST_FIXTURES, name);
    if (image_load_file(path, INT64_C(2000000000), &image, &err))
        fail_msg("%s: %s", name, err.text);
    return image;
}

/* Fills the rest of the request and waits for the answer; the result is in `ask`. */
static void ask_for(Bench *bench, const char *fixture, Ask *ask)
{
    char *staged = NULL;
    Error err = {0};
    Image *image = open_fixture(fixture);
    assert_int_equal(
        stage_add(bench->stage, ++bench->staged, image->path, image->memfd, &staged, &err), 0);
    ask->trial = bench->trial;
    ask->request.image = image;
    ask->request.staged = staged;
    if (!ask->request.frames)
        ask->request.frames = 5;
    sem_init(&ask->done, 0, 0);
    assert_int_equal(loop_post(bench->loop, put, ask), 0);
    while (sem_wait(&ask->done))
        ;
    if (ask->rc)
        fail_msg("%s: %s", fixture, ask->err.text);
    stage_remove(bench->stage, staged);
    free(staged);
    image_unref(image);
}

static void expect(Bench *bench, const char *fixture, TrialVerdict verdict, const char *phase,
                   const char *sentence)
{
    static Ask ask;
    memset(&ask, 0, sizeof ask);
    ask_for(bench, fixture, &ask);
    const TrialResult *r = &ask.result;
    if (r->verdict != verdict || strcmp(r->phase, phase) != 0 || !strstr(r->text, sentence))
        fail_msg("%s: verdict %d in %s: %s", fixture, r->verdict, r->phase, r->text);
}

static void a_good_one_passes(void **state)
{
    Ask *ask = calloc(1, sizeof *ask);
    ask->request.frames = 7;
    ask_for(*state, "fx_plain", ask);
    if (ask->result.verdict != TRIAL_PASS)
        fail_msg("%s: %s", ask->result.phase, ask->result.text);
    assert_string_equal(ask->result.phase, "done");
    assert_string_equal(ask->result.text, "");
    assert_int_equal(ask->result.frames_run, 7);
    assert_int_equal(ask->result.fault.kind, FAULT_NONE);
    assert_true(ask->result.run_ns > 0);
    assert_true(ask->result.inspection.exported.count > 0);
    free(ask);
}

static void constructors_that_misbehave_fail(void **state)
{
    expect(*state, "fx_ctor_crash", TRIAL_FAIL, "load", "its constructor crashed: ");
    expect(*state, "fx_ctor_spin", TRIAL_FAIL, "load",
           "did not finish in 250 ms: it was in its constructor");
    expect(*state, "fx_ctor_exit", TRIAL_FAIL, "load", "its constructor called exit(3)");
    expect(*state, "fx_ctor_abort", TRIAL_FAIL, "load", "its constructor crashed: ");
    expect(*state, "fx_ctor_abort", TRIAL_FAIL, "load", "it printed: fixture: I have no table");
    expect(*state, "fx_ctor_socket", TRIAL_FAIL, "load", "its constructor called socket()");
    expect(*state, "fx_plain", TRIAL_PASS, "done", "");
}

static void frames_that_misbehave_fail(void **state)
{
    expect(*state, "fx_frame_crash", TRIAL_FAIL, "frame", "its frame 3 crashed: ");
    expect(*state, "fx_frame_crash", TRIAL_FAIL, "frame", "it printed: about to fall");
    expect(*state, "fx_frame_exit", TRIAL_FAIL, "frame", "its frame 1 called exit(7)");
    expect(*state, "fx_thread_crash", TRIAL_FAIL, "done", "a thread that it started crashed");
    expect(*state, "fx_plain", TRIAL_PASS, "done", "");
}

static void too_slow_fails_and_says_where(void **state)
{
    Ask *ask = calloc(1, sizeof *ask);
    ask->request.frames = 1000;
    ask->request.time_limit_ns = INT64_C(200000000);
    ask_for(*state, "fx_slow", ask);
    assert_int_equal(ask->result.verdict, TRIAL_FAIL);
    assert_non_null(strstr(ask->result.text, "did not finish in 200 ms: it was in its frame "));
    assert_true(ask->result.frames_run >= 1 && ask->result.frames_run < 1000);
    free(ask);
}

static void too_much_memory_fails(void **state)
{
    Ask *ask = calloc(1, sizeof *ask);
    ask->request.time_limit_ns = INT64_C(30000000000);
    ask->request.memory_limit_bytes = UINT64_C(96) << 20;
    ask_for(*state, "fx_hog", ask);
    assert_int_equal(ask->result.verdict, TRIAL_FAIL);
    assert_non_null(strstr(ask->result.text, "its frame 1 took more than the 96 MiB of memory"));
    free(ask);
}

static void acting_on_the_world_is_inconclusive(void **state)
{
    unlink("/tmp/keel-fixture-was-here"); /* where the fixture was run live */
    expect(*state, "fx_frame_socket", TRIAL_INCONCLUSIVE, "frame", "its frame 1 called socket()");
    unlink("/tmp/keel-fixture-was-here");
    expect(*state, "fx_frame_file", TRIAL_INCONCLUSIVE, "frame", "its frame 1 called open");
    assert_int_not_equal(access("/tmp/keel-fixture-was-here", F_OK), 0);
    expect(*state, "fx_thread", TRIAL_PASS, "done", "");
}

static void what_cannot_be_loaded_fails(void **state)
{
    expect(*state, "fx_undefined", TRIAL_FAIL, "load", "keel_fixture_nowhere");
    expect(*state, "fx_missing_library", TRIAL_FAIL, "load", "needs the library libfx_gone.so");
    expect(*state, "fx_no_entry", TRIAL_FAIL, "check", "neither frame nor event");
    expect(*state, "fx_null_entries", TRIAL_FAIL, "check", "neither frame nor event");
    expect(*state, "fx_foreign_entry", TRIAL_FAIL, "check", "outside its code");
}

/* A root object as fx_host_pointer names it, so that the pinned state can be given to it. */
struct box {
    uint64_t address;
};

static void what_cannot_be_a_module_here_fails_unrun(void **state)
{
    expect(*state, "fx_unique", TRIAL_FAIL, "inspect", "-fno-gnu-unique");
#if !UNDER_ASAN
    expect(*state, "fx_sanitized", TRIAL_FAIL, "inspect", "without -fsanitize=address");
#endif
}

/* A page where the helper has none: it may be laid out as this program is, where addresses are not
 * randomised. */
static char *host_page(void)
{
    void *far = (void *)UINT64_C(0x7ea000000000);
    return mmap(far, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void the_pinned_state_is_seen_and_kept(void **state)
{
    Bench *bench = *state;
    State *slot = NULL;
    Pin *pin = NULL;
    Error err = {0};
    void *root = NULL;
    char *mine = host_page();
    assert_true(mine != MAP_FAILED); /* here, not in the helper's child */
    mine[0] = 41;
    assert_int_equal(state_open(NULL, &slot, &err), 0);
    assert_int_equal(state_root(slot, "struct box", "/tests/fixtures/fx_host_pointer.c",
                                sizeof(struct box), 8, &root, &err),
                     0);
    struct box *box = root;
    for (int with = 0; with < 2; with++) {
        box->address = with ? (uint64_t)(uintptr_t)mine : (uint64_t)(uintptr_t)box + 1;
        uint64_t before = box->address;
        assert_int_equal(state_commit(slot, &err), 0);
        if (state_pin(slot, &pin, &err))
            fail_msg("%s", err.text);
        Ask *ask = calloc(1, sizeof *ask);
        ask->request.how = TRIAL_KEEP;
        ask->request.frames = 1;
        if (state_pin_view(pin, &ask->request.view, &err))
            fail_msg("%s", err.text);
        ask_for(bench, "fx_host_pointer", ask);
        state_unpin(pin);
        assert_true(box->address == before); /* nothing comes back */
        if (ask->result.verdict != (with ? TRIAL_INCONCLUSIVE : TRIAL_PASS))
            fail_msg("%d: %s: %s", with, ask->result.phase, ask->result.text);
        if (with)
            assert_non_null(strstr(ask->result.text, "followed a pointer to the host's memory"));
        assert_int_equal(mine[0], 41);
        free(ask);
    }
    munmap(mine, 4096);
    state_close(slot);
}

/* What an embedding program passes is not a NULL pointer in the trial, and not its memory either.
 */
static void the_programs_memory_is_only_the_programs(void **state)
{
    Bench *bench = *state;
    char *mine = host_page();
    assert_true(mine != MAP_FAILED);
    mine[0] = 41;
    Ask *ask = calloc(1, sizeof *ask);
    ask->request.how = TRIAL_START;
    ask->request.frames = 1;
    ask->request.user = mine;
    ask_for(bench, "fx_user_pointer", ask);
    if (ask->result.verdict != TRIAL_INCONCLUSIVE)
        fail_msg("%s: %s", ask->result.phase, ask->result.text);
    assert_non_null(strstr(ask->result.text, "followed a pointer to the host's memory"));
    assert_int_equal(mine[0], 41);
    free(ask);
    munmap(mine, 4096);
}

static void another_type_asks_for_hooks(void **state)
{
    Bench *bench = *state;
    State *slot = NULL;
    Pin *pin = NULL;
    Error err = {0};
    void *root = NULL;
    assert_int_equal(state_open(NULL, &slot, &err), 0);
    assert_int_equal(state_root(slot, "struct other", "other.c", 400, 8, &root, &err), 0);
    assert_int_equal(state_commit(slot, &err), 0);
    assert_int_equal(state_pin(slot, &pin, &err), 0);
    Ask *ask = calloc(1, sizeof *ask);
    ask->request.how = TRIAL_KEEP;
    assert_int_equal(state_pin_view(pin, &ask->request.view, &err), 0);
    ask_for(bench, "fx_host_pointer", ask);
    assert_int_equal(ask->result.verdict, TRIAL_FAIL);
    assert_int_equal(ask->result.types_changed, 1);
    state_unpin(pin);
    state_close(slot);
    free(ask);
}

static void helpers_pid(int *ret)
{
    char command[96], text[64] = "";
    snprintf(command, sizeof command, "pgrep -x -P %d keel-trial", getpid());
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(text, sizeof text, out));
    pclose(out);
    *ret = atoi(text);
}

static void a_helper_that_dies_is_started_again(void **state)
{
    expect(*state, "fx_plain", TRIAL_PASS, "done", "");
    int before, after;
    helpers_pid(&before);
    kill(before, SIGKILL);
    expect(*state, "fx_plain", TRIAL_PASS, "done", "");
    helpers_pid(&after);
    assert_int_not_equal(before, after);
}

static void without_a_helper_it_says_so(void **state)
{
    Bench *bench = *state;
    Bench other = *bench;
    Error err = {0};
    assert_int_equal(trial_new(bench->loop, "/nonexistent/keel-trial", &other.trial, &err), 0);
    expect(&other, "fx_plain", TRIAL_UNAVAILABLE, "helper", "/nonexistent/keel-trial");
    trial_free(other.trial);
    /* One that starts and is none. */
    assert_int_equal(trial_new(bench->loop, "/bin/true", &other.trial, &err), 0);
    expect(&other, "fx_plain", TRIAL_UNAVAILABLE, "helper", "");
    trial_free(other.trial);
}

static void many_wait_their_turn(void **state)
{
    Bench *bench = *state;
    enum { MANY = 20 };
    Ask *asks = calloc(MANY, sizeof *asks);
    Image *image = open_fixture("fx_plain");
    for (int i = 0; i < MANY; i++) {
        asks[i].trial = bench->trial;
        asks[i].request = (TrialRequest){.image = image, .frames = 2};
        sem_init(&asks[i].done, 0, 0);
        assert_int_equal(loop_post(bench->loop, put, &asks[i]), 0);
    }
    for (int i = 0; i < MANY; i++) {
        while (sem_wait(&asks[i].done))
            ;
        if (asks[i].result.verdict != TRIAL_PASS)
            fail_msg("%d: %s", i, asks[i].result.text);
    }
    image_unref(image);
    free(asks);
}

static void freeing_answers_what_waits(void **state)
{
    Bench *bench = *state;
    Trial *trial = NULL;
    Error err = {0};
    Ask *asks = calloc(3, sizeof *asks);
    Image *image = open_fixture("fx_ctor_spin");
    assert_int_equal(trial_new(bench->loop, KEEL_TEST_TRIAL, &trial, &err), 0);
    for (int i = 0; i < 3; i++) {
        asks[i].trial = trial;
        asks[i].request = (TrialRequest){.image = image, .time_limit_ns = INT64_C(60000000000)};
        sem_init(&asks[i].done, 0, 0);
        assert_int_equal(loop_post(bench->loop, put, &asks[i]), 0);
    }
    trial_free(trial);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sem_trywait(&asks[i].done), 0);
        assert_int_equal(asks[i].result.verdict, TRIAL_UNAVAILABLE);
    }
    image_unref(image);
    free(asks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one_passes),
        cmocka_unit_test(constructors_that_misbehave_fail),
        cmocka_unit_test(frames_that_misbehave_fail),
        cmocka_unit_test(too_slow_fails_and_says_where),
        cmocka_unit_test(too_much_memory_fails),
        cmocka_unit_test(acting_on_the_world_is_inconclusive),
        cmocka_unit_test(what_cannot_be_loaded_fails),
        cmocka_unit_test(what_cannot_be_a_module_here_fails_unrun),
        cmocka_unit_test(the_pinned_state_is_seen_and_kept),
        cmocka_unit_test(the_programs_memory_is_only_the_programs),
        cmocka_unit_test(another_type_asks_for_hooks),
        cmocka_unit_test(a_helper_that_dies_is_started_again),
        cmocka_unit_test(without_a_helper_it_says_so),
        cmocka_unit_test(many_wait_their_turn),
        cmocka_unit_test(freeing_answers_what_waits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
