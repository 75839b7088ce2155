/* state/kept: a state in a folder outlives its process, whatever ends it: the last boundary comes
 * back with its note, whole. The process is killed at every point of a commit, and at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "amount.h"
#include "state/internal.h"

enum { OBJECTS = 300, FRAMES = 60 };

struct thing {
    uint64_t frame, self, filler[30];
};
struct root {
    uint64_t frame;
    struct thing *thing[OBJECTS];
};

static uint8_t images[2][9000], *statics = images[0];
static char folder[100];

static State *open_kept(Error *err)
{
    State *state = NULL;
    const StateOptions options = {.folder = folder};
    if (state_open(&options, &state, err))
        return NULL;
    return state;
}

/* What frame `n` leaves: objects come, go and change; some pages every frame, some rarely. */
static void run_frame(State *state, uint64_t n)
{
    struct root *root;
    if (state_root(state, "struct root", "t.c", sizeof *root, 8, (void **)&root, NULL))
        _exit(3);
    root->frame = n;
    for (uint64_t i = n % 7; i < OBJECTS; i += 7 + n % 5) {
        if (root->thing[i] && n % 3 == 0) {
            state_free(state, root->thing[i]);
            root->thing[i] = NULL;
        } else if (!root->thing[i]) {
            root->thing[i] =
                state_alloc(state, "struct thing", "t.c", sizeof *root->thing[i], 8, 1);
            root->thing[i]->self = i;
        }
        if (root->thing[i])
            root->thing[i]->frame = n;
    }
    statics[n % sizeof *images] = (uint8_t)n;
    memcpy(statics + 4096, &n, sizeof n);
}

static uint64_t die_in; /* a frame that doesn't get to its commit */

static void child(int64_t kill_at)
{
    Error err;
    State *state = open_kept(&err);
    if (!state)
        _exit(2);
    Pin *pin = NULL;
    state_kill_at = kill_at;
    for (uint64_t n = 1; n <= FRAMES; n++) {
        if (n % 6 == 1) { /* as at a swap: from here to the frame's end they aren't the note's */
            statics = images[n / 6 % 2];
            const StateSpan span = {statics, sizeof *images};
            if (state_set_statics(state, &span, 1, &err))
                _exit(2);
        }
        run_frame(state, n);
        if (n == die_in)
            break;
        if (state_note(state, &n, sizeof n) || state_commit(state, &err))
            _exit(2);
        if (n % 9 == 4)
            state_pin(state, &pin, &err);
        if (n % 9 == 8) {
            state_unpin(pin);
            pin = NULL;
        }
    }
    kill(getpid(), SIGKILL);
}

/* The same frames in one go, for comparison. */
static StateHashes expected(uint64_t frames, uint64_t base)
{
    static StateHashes of[FRAMES + 1];
    static int known[FRAMES + 1];
    if (known[frames])
        return of[frames];
    State *state;
    Error err;
    const StateOptions options = {.base = base};
    assert_int_equal(state_open(&options, &state, &err), 0);
    for (uint64_t n = 1; n <= frames; n++) {
        run_frame(state, n);
        assert_int_equal(state_commit(state, &err), 0);
    }
    assert_int_equal(state_hash_frames(state, 1, &err), 0);
    state_hashes(state, &of[frames]);
    known[frames] = 1;
    state_close(state);
    return of[frames];
}

/* Kills a child at that point and looks at what it left. Returns the frame that came back. */
static uint64_t kill_and_look(int64_t kill_at)
{
    Error err = {0};
    pid_t pid = fork();
    if (pid == 0) {
        child(kill_at);
        _exit(9);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    State *state = open_kept(&err);
    if (!state)
        fail_msg("%s", err.text);
    uint64_t frame = 0, bytes = 0;
    StateStatus now;
    state_status(state, &now);
    if (state_resumed(state) && kill_at % 2) { /* and killed again before anything ran */
        state_close(state);
        state = open_kept(&err);
        if (!state)
            fail_msg("%s", err.text);
    }
    if (state_resumed(state)) {
        const void *note = state_noted(state, &bytes);
        assert_non_null(note);
        assert_int_equal(bytes, sizeof frame);
        memcpy(&frame, note, sizeof frame);
        if (state_check(state, &err))
            fail_msg("killed at %lld: %s", (long long)kill_at, err.text);
        const uint8_t *kept = state_kept_statics(state, &bytes);
        assert_non_null(kept);
        assert_int_equal(bytes, 3 * PAGE_BYTES);
        assert_memory_equal(kept + 4096, &frame, sizeof frame);
        StateHashes is;
        assert_int_equal(state_hash_frames(state, 1, &err), 0);
        state_hashes(state, &is);
        state_forget(state);
        state_close(state);
        StateHashes was = expected(frame, now.base);
        if (is.exact != was.exact)
            fail_msg("killed at %lld: frame %llu came back torn", (long long)kill_at,
                     (unsigned long long)frame);
        return frame;
    }
    assert_string_equal(state_kept_why(state), "");
    state_forget(state);
    state_close(state);
    return 0;
}

static int make_folder(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/dev/shm/keel-test-%d", (int)getpid());
    return 0;
}

static void every_point_of_a_commit_leaves_a_boundary(void **unused)
{
    (void)unused;
    uint64_t last = 0, newest = 0;
    int64_t step = amount(17, 1);
    for (int64_t at = 1; at < 1000000; at += step) {
        uint64_t frame = kill_and_look(at);
        assert_true(frame + 1 >= last);
        last = frame > last ? frame : last;
        newest = frame;
        if (frame == FRAMES)
            break;
        if (at > 400 && step < 40)
            step = amount(40, 7);
    }
    assert_int_equal(newest, FRAMES);
}

/* Here the statics are of one image, the note and the state of the one before. */
static void a_first_frame_without_an_end_leaves_the_statics_of_before(void **unused)
{
    (void)unused;
    for (die_in = 7; die_in < 32; die_in += 6)
        for (int64_t twice = 0; twice < 2; twice++)
            assert_int_equal(kill_and_look(1000000 + twice), die_in - 1);
    die_in = 0;
}

static void run_child(void (*body)(State *state), const StateOptions *options)
{
    pid_t pid = fork();
    if (pid == 0) {
        Error err;
        State *state = NULL;
        if (state_open(options, &state, &err))
            _exit(2);
        body(state);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void note_and_commit(State *state)
{
    Error err;
    if (state_note(state, "note", 4) || state_commit(state, &err))
        _exit(2);
}

/* As a conversion ahead of a swap that never came leaves it. */
static void leave_garbage(State *state)
{
    run_frame(state, 1);
    note_and_commit(state);
    const ArenaHead *head = arena_head(state);
    uint64_t at[] = {meta_pages(head->top), state->data_first + (uint64_t)head->high + 3};
    for (int i = 0; i < 2; i++) {
        memset(state->base + at[i] * PAGE_BYTES, 0xaa, PAGE_BYTES);
        memset(state->store.base + at[i] * PAGE_BYTES, 0xaa, PAGE_BYTES);
    }
}

static void pages_that_nothing_uses_are_zero_again(void **unused)
{
    (void)unused;
    static const uint8_t zeros[PAGE_BYTES];
    const StateOptions options = {.folder = folder};
    run_child(leave_garbage, &options);
    Error err;
    State *state = open_kept(&err);
    assert_true(state && state_resumed(state));
    const ArenaHead *head = arena_head(state);
    uint64_t at[] = {meta_pages(head->top), state->data_first + (uint64_t)head->high + 3};
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(state->base + at[i] * PAGE_BYTES, zeros, PAGE_BYTES);
        assert_memory_equal(state->store.base + at[i] * PAGE_BYTES, zeros, PAGE_BYTES);
    }
    state_forget(state);
    state_close(state);
}

enum { WIDE = 64 << 20 };

static void leave_wide(State *state)
{
    uint8_t *wide = state_alloc(state, "char", "t.c", 1, 1, WIDE);
    wide[WIDE / 2] = 1;
    note_and_commit(state);
}

static uint64_t memory_of(const char *name)
{
    char path[140];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void what_was_never_touched_takes_no_memory(void **unused)
{
    (void)unused;
    const StateOptions options = {.folder = folder};
    run_child(leave_wide, &options);
    Error err;
    State *state = open_kept(&err);
    assert_true(state && state_resumed(state));
    assert_true(memory_of("arena") < WIDE / 8);
    assert_true(memory_of("checkpoint") < WIDE / 8);
    state_forget(state);
    state_close(state);
}

static void leave_large(State *state)
{
    uint8_t *wide = state_alloc(state, "char", "t.c", 1, 1, WIDE / 4);
    memset(wide, 1, WIDE / 4);
    note_and_commit(state);
}

/* Here the state is larger than what is copied each frame: there is no checkpoint of its own. */
static void a_host_without_a_checkpoint_leaves_what_was_kept(void **unused)
{
    (void)unused;
    const StateOptions options = {.folder = folder},
                       copying = {.folder = folder, .tier = STATE_TIER_COPY};
    Error err = {0};
    StateStatus status;
    State *state = open_kept(&err);
    state_status(state, &status);
    int tracks = status.tier == STATE_TIER_TRACK;
    state_forget(state);
    state_close(state);
    if (!tracks)
        skip();
    run_child(leave_large, &options);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(state_open(&copying, &state, &err), 0);
        state_status(state, &status);
        assert_int_equal(status.tier == STATE_TIER_OFF, i < 2);
        assert_int_equal(state_resumed(state), i < 2);
        if (i == 1)
            assert_int_equal(state_commit(state, &err), 0); /* a frame: from here on it is old */
        if (i == 2)
            state_forget(state);
        state_close(state);
    }
}

static void random_instants_leave_a_boundary(void **unused)
{
    (void)unused;
    for (int i = 0; i < amount(15, 100); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            child(0);
            _exit(9);
        }
        usleep((unsigned)(rand() % 3000));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        Error err = {0};
        State *state = open_kept(&err);
        if (!state)
            fail_msg("%s", err.text);
        if (state_resumed(state))
            assert_int_equal(state_check(state, &err), 0);
        else
            assert_string_equal(state_kept_why(state), "");
        state_forget(state);
        state_close(state);
    }
}

static void two_processes_never_share_one(void **unused)
{
    (void)unused;
    Error err;
    State *state = open_kept(&err), *second = open_kept(&err);
    assert_non_null(state);
    assert_null(second);
    assert_int_equal(err.code, KEEL_EBUSY);
    state_forget(state);
    state_close(state);
}

static void what_others_could_read_is_refused(void **unused)
{
    (void)unused;
    Error err;
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_null(open_kept(&err));
    assert_int_equal(err.code, KEEL_EDENIED);
    assert_int_equal(rmdir(folder), 0);
    snprintf(folder, sizeof folder, "/tmp/keel-test-%d", (int)getpid());
    struct stat st;
    State *state = open_kept(&err);
    if (state) /* /tmp may be a memory file system */
        state_forget(state);
    else
        assert_int_equal(err.code, KEEL_EUNSUPPORTED);
    state_close(state);
    if (stat(folder, &st) == 0)
        rmdir(folder);
    make_folder(NULL);
}

static void aside_name(char ret[140])
{
    snprintf(ret, 140, "/dev/shm/damaged-%s", folder + strlen("/dev/shm/"));
}

/* It may be the only copy: what can't be used now is there for whoever can. */
static void one_of_another_size_is_put_aside(void **unused)
{
    (void)unused;
    Error err = {0};
    char aside[140];
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        child(0);
        _exit(9);
    }
    waitpid(pid, &status, 0);
    const StateOptions options = {.folder = folder, .max_bytes = 2 * STATE_GRAIN_BYTES};
    State *state;
    if (state_open(&options, &state, &err))
        fail_msg("%s", err.text);
    aside_name(aside);
    assert_false(state_resumed(state));
    assert_non_null(strstr(state_kept_why(state), aside));
    state_forget(state);
    state_close(state);
    assert_int_equal(rename(aside, folder), 0);
    state = open_kept(&err);
    if (!state)
        fail_msg("%s", err.text);
    assert_true(state_resumed(state));
    assert_int_equal(state_check(state, &err), 0);
    state_forget(state);
    state_close(state);
}

static void a_forked_child_does_not_hold_it(void **unused)
{
    (void)unused;
    Error err = {0};
    State *state = open_kept(&err);
    assert_non_null(state);
    int ready[2], byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        byte = write(ready[1], "", 1) == 1;
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    state_close(state);
    state = open_kept(&err);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    if (!state)
        fail_msg("%s", err.text);
    state_forget(state);
    state_close(state);
}

/* Some end and remove it while others begin. */
static void coming_and_going(_Atomic int *inside)
{
    for (int done = 0; done < 400;) {
        KeptFiles files;
        Error err;
        if (kept_open(folder, STATE_GRAIN_BYTES, &files, &err))
            continue;
        if ((*inside)++ != 0)
            _exit(2);
        sched_yield();
        (*inside)--;
        kept_remove(folder);
        kept_close(&files);
        done++;
    }
    _exit(0);
}

static void nobody_shares_one_that_is_being_removed(void **unused)
{
    (void)unused;
    enum { PROCESSES = 3 };
    pid_t pids[PROCESSES];
    _Atomic int *inside =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(inside, MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++)
        if ((pids[i] = fork()) == 0)
            coming_and_going(inside);
    int shared = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status = 0;
        waitpid(pids[i], &status, 0);
        shared |= !WIFEXITED(status) || WEXITSTATUS(status);
    }
    munmap(inside, 4096);
    kept_remove(folder);
    assert_false(shared);
}

/* Damage to the files is told, or the state is what it was. */
static void damaged_files_are_not_believed(void **unused)
{
    (void)unused;
    for (int i = 0; i < amount(30, 300); i++) {
        char path[140];
        pid_t pid = fork();
        if (pid == 0) {
            child(0);
            _exit(9);
        }
        waitpid(pid, NULL, 0);
        snprintf(path, sizeof path, "%s/checkpoint", folder);
        FILE *file = fopen(path, "r+");
        uint8_t byte;
        long at = rand() % (int)sizeof(StoreHead);
        fseek(file, at, SEEK_SET);
        assert_int_equal(fread(&byte, 1, 1, file), 1);
        byte ^= (uint8_t)(1 << rand() % 8);
        fseek(file, at, SEEK_SET);
        fwrite(&byte, 1, 1, file);
        fclose(file);
        Error err = {0};
        State *state = open_kept(&err);
        uint64_t bytes;
        if (state && state_resumed(state) && state_noted(state, &bytes))
            assert_int_equal(state_check(state, &err), 0);
        if (state && !state_resumed(state) && *state_kept_why(state)) {
            aside_name(path);
            assert_int_equal(access(path, F_OK), 0);
            assert_non_null(strstr(state_kept_why(state), path));
            kept_remove(path);
        }
        if (state)
            state_forget(state);
        else
            kept_remove(folder);
        state_close(state);
    }
}

static void pointers_into_the_image_move_with_it(void **unused)
{
    (void)unused;
    Error err;
    State *state = open_kept(&err);
    uint64_t *words = state_alloc_block(state, 4096 * 3, 16);
    memset(words, 0, 4096 * 3);
    words[0] = 0x7f0000001000;
    words[1000] = 0x7f0000001fff;
    words[2] = 0x7f0000002000;
    assert_int_equal(state_rebase(state, 0x7f0000001000, 0x7f0000002000, 0x7e0000005000), 2);
    assert_int_equal(words[0], 0x7e0000005000);
    assert_int_equal(words[1000], 0x7e0000005fff);
    assert_int_equal(words[2], 0x7f0000002000);
    state_forget(state);
    state_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_of_a_commit_leaves_a_boundary),
        cmocka_unit_test(a_first_frame_without_an_end_leaves_the_statics_of_before),
        cmocka_unit_test(pages_that_nothing_uses_are_zero_again),
        cmocka_unit_test(what_was_never_touched_takes_no_memory),
        cmocka_unit_test(a_host_without_a_checkpoint_leaves_what_was_kept),
        cmocka_unit_test(random_instants_leave_a_boundary),
        cmocka_unit_test(two_processes_never_share_one),
        cmocka_unit_test(what_others_could_read_is_refused),
        cmocka_unit_test(one_of_another_size_is_put_aside),
        cmocka_unit_test(a_forked_child_does_not_hold_it),
        cmocka_unit_test(nobody_shares_one_that_is_being_removed),
        cmocka_unit_test(damaged_files_are_not_believed),
        cmocka_unit_test(pointers_into_the_image_move_with_it),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
