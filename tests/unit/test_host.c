/* host/include/keel/host.h from end to end: what an embedding program does with a host and gets
 * from it. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

#include "base/sanitizer.h"
#include "host_rig.h"

#include "host/host.h"

static void missing_and_bad_files_leave_a_slot_that_waits(void **unused)
{
    (void)unused;
    Rig rig;
    rig_open(&rig, NULL);
    assert_true(rig_add(&rig, 0, "/nowhere/at/all.so") < 0);
    assert_true(strlen(keel_host_error()) > 10);
    assert_true(rig_add(&rig, 1, rig_file("fx_no_entry")) < 0);
    assert_int_equal(rig_status(&rig, 0).phase, KEEL_SLOT_WAITING);
    assert_int_equal(rig_status(&rig, 0).refused, 1);
    assert_int_equal(rig_frame(&rig), 0);
    assert_int_equal(rig_swap(&rig, "fx_part1", 0, NULL), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].starts, 1);
    rig_close(&rig);
    assert_int_equal(rig.parts[0].stops, 1);
}

static void a_start_that_refuses_leaves_nothing(void **unused)
{
    (void)unused;
    for (uint32_t tier = KEEL_TIER_COPY; tier <= KEEL_TIER_OFF; tier++) {
        Rig rig;
        struct keel_host_options options = rig_options();
        options.tier = tier;
        rig_open(&rig, &options);
        rig.parts[0].orders[1] = PART_START_FAIL | PART_START_TIMER;
        assert_int_equal(rig_add(&rig, 0, rig_file("fx_part1")), KEEL_EREFUSED);
        assert_non_null(strstr(keel_host_error(), "it was told to"));
        assert_int_equal(rig_swap(&rig, "fx_part4", 0, NULL), KEEL_OK); /* another type */
        rig_frames(&rig, 5);
        assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
        assert_int_equal(rig.parts[0].timers, 0);
        rig_close(&rig);
    }
}

static void the_state_goes_over_a_swap(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    rig_frames(&rig, 9);
    assert_int_equal(rig_swap(&rig, "fx_part1", 0, error), KEEL_ESAME);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    assert_int_equal(rig_swap(&rig, "fx_part2", KEEL_SWAP_SAME, NULL), KEEL_OK);
    assert_true(rig_swap(&rig, "fx_no_entry", 0, error) < 0);
    struct keel_slot_status status = rig_status(&rig, 0);
    assert_int_equal(rig.parts[0].version, 2);
    assert_int_equal(rig.parts[0].count, 100 + status.frames);
    assert_int_equal(rig.parts[0].starts, 1);
    assert_int_equal(status.swaps, 3);
    assert_int_equal(status.refused, 1);
    assert_string_equal(status.version, "2");
    rig_close(&rig);
}

static void with(uint32_t trial)
{
    Rig rig;
    char error[1024];
    struct keel_host_options options = rig_options();
    options.trial = trial;
    rig_start(&rig, &options, 1);
    assert_true(rig_swap(&rig, "fx_part4", 0, error) < 0); /* no restore */
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, error), KEEL_OK);
    struct keel_slot_status status = rig_status(&rig, 0);
    assert_int_equal(rig.parts[0].version, 3);
    assert_int_equal(rig.parts[0].count, 100 + status.frames);
    assert_int_equal(rig.parts[0].restores, 1);
#if !UNDER_TSAN /* without random addresses the helper may not have the image's \
                 */
    assert_null(strstr(status.last, "not proven"));
#endif
    assert_int_equal(rig_rollback(&rig, 0, error), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
    rig_close(&rig);
}

static void changed_types_go_through_the_hooks(void **unused)
{
    (void)unused;
    with(KEEL_TRIAL_OFF);
    with(KEEL_TRIAL_ON);
}

static void wait_closed(Rig *rig, uint64_t closed)
{
    LoaderStatus status = {0};
    while (status.closed < closed) {
        rig_frame(rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        loader_status(((Host *)rig->host)->loader, &status);
    }
    rig_frames(rig, 2);
}

/* What the destructors of the old one free was in the arena before it was emptied. */
static void old_destructors_free_nothing_of_the_new_state(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_HOLD;
    rig_frame(&rig);
    uint64_t objects = rig_status(&rig, 0).state_objects;
    rig.parts[0].orders[3] = PART_HOLD;
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_OK);
    assert_int_equal(rig.parts[0].restores, 1);
    assert_int_equal(rig_status(&rig, 0).state_objects, objects);
    while (rig_status(&rig, 0).phase == KEEL_SLOT_PROBATION)
        rig_frame(&rig);
    wait_closed(&rig, 1);
    assert_int_equal(rig_status(&rig, 0).state_objects, objects);
    rig_close(&rig);
}

/* Nor those of one that was rolled back to the state before it. */
static void nor_do_those_of_what_was_rolled_back(void **unused)
{
    (void)unused;
    Rig rig;
    struct keel_host_options options = rig_options();
    options.probation_frames = 1000000;
    rig_start(&rig, &options, 1);
    rig.parts[0].orders[2] = PART_HOLD;
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frame(&rig);
    rig.parts[0].orders[1] = PART_HOLD;
    assert_int_equal(rig_rollback(&rig, 1, NULL), KEEL_OK);
    rig_frame(&rig);
    uint64_t objects = rig_status(&rig, 0).state_objects;
    wait_closed(&rig, 1);
    assert_int_equal(rig_status(&rig, 0).state_objects, objects);
    rig_close(&rig);
}

static void rollback_keeps_or_takes_back_what_happened(void **unused)
{
    (void)unused;
    for (int before = 0; before < 2; before++) {
        Rig rig;
        char error[1024];
        struct keel_host_options options = rig_options();
        options.probation_frames = 100000;
        rig_start(&rig, &options, 1);
        assert_int_equal(rig_rollback(&rig, 0, error), KEEL_ENOTFOUND);
        assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
        rig_frames(&rig, 1000);
        uint64_t frames = rig_status(&rig, 0).frames;
        assert_int_equal(rig_rollback(&rig, before, error), KEEL_OK);
        rig_frame(&rig);
        assert_int_equal(rig.parts[0].version, 1);
        if (before)
            assert_true(rig.parts[0].count < 100 + frames - 900);
        else
            assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
        rig_close(&rig);
    }
}

static void after_probation_the_image_comes_back(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 1);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frames(&rig, 25);
    assert_int_equal(rig_rollback(&rig, 1, error), KEEL_EREFUSED);
    assert_int_equal(rig_rollback(&rig, 0, error), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].count, 100 + rig_status(&rig, 0).frames);
    rig_close(&rig);
}

static void a_group_is_all_or_none(void **unused)
{
    (void)unused;
    Rig rig;
    char error[1024];
    rig_start(&rig, NULL, 2);
    assert_true(rig_swap_two(&rig, "fx_part2", "fx_no_entry", 0, error) < 0);
    assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part4", 0, error), KEEL_ETYPE);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[1].version, 1);
    assert_int_equal(rig_swap_two(&rig, "fx_part2", "fx_part3", 0, error), KEEL_OK);
    assert_int_equal(rig.parts[0].version, 2);
    assert_int_equal(rig.parts[1].version, 3);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig.parts[i].count, 100 + rig_status(&rig, i).frames);
    rig_close(&rig);
}

static void pause_stops_frames_and_not_boundaries(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    keel_host_pause(rig.host, 1);
    keel_slot_send(rig.slots[0], 77, "abc", 3);
    assert_int_equal(rig_frame(&rig), 0);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_EBUSY);
    assert_int_equal(rig.parts[0].messages, 0);
    keel_host_pause(rig.host, 0);
    assert_int_equal(rig_frame(&rig), 1);
    assert_int_equal(rig.parts[0].messages, 1);
    assert_int_equal(rig.parts[0].last_message, 77);
    rig_close(&rig);
}

static void timers_and_tasks_go_over_a_swap(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_TIMER | PART_TASK_WAIT;
    rig_frame(&rig);
    while (!__atomic_load_n(&rig.parts[0].working, __ATOMIC_ACQUIRE))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frames(&rig, 25); /* past probation: the old one is to be retired */
    uint64_t timers = rig.parts[0].timers;
    rig_frames(&rig, 5);
    assert_int_equal(rig.parts[0].timers, timers + 5);
    __atomic_store_n(&rig.parts[0].go, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < RIG_PATIENCE && !rig.parts[0].tasks; i++) {
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    assert_int_equal(rig.parts[0].tasks, 1);
    assert_int_equal(rig.parts[0].task_result, 3);
    rig.parts[0].orders[2] = PART_TASK;
    while (rig.parts[0].tasks < 2) {
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    assert_int_equal(rig.parts[0].task_data, 144);
    rig_close(&rig);
}

static void closing_ends_what_is_under_way(void **unused)
{
    (void)unused;
    Rig rig;
    rig_start(&rig, NULL, 1);
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part2");
    keel_host_pause(rig.host, 0);
    rig_ask(&ask);
    while (rig_status(&rig, 0).swaps < 2) /* at the boundary, before its first frame */
        keel_host_idle(rig.host, 0), nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL),
            keel_host_pause(rig.host, 1), rig_frame(&rig), keel_host_pause(rig.host, 0);
    rig_close(&rig);
    pthread_join(ask.thread, NULL);
    assert_int_equal(ask.rc, KEEL_ECANCELED);
    assert_int_equal(rig.parts[0].version, 1);
    assert_int_equal(rig.parts[0].stops, 1);
}

static void work_without_end_is_ended(void **unused)
{
    (void)unused;
#if UNDER_TSAN /* it holds the deadline's signal back until a libc call */
    skip();
#endif
    Rig rig;
    rig_start(&rig, NULL, 1);
    rig.parts[0].orders[1] = PART_TASK_SPIN;
    while (!rig.parts[0].working)
        rig_frame(&rig);
    rig_close(&rig);
    assert_int_equal(rig.parts[0].stops, 1);
}

static void a_relative_path_stays_the_same_file(void **unused)
{
    (void)unused;
    Rig rig;
    char before[512];
    assert_non_null(getcwd(before, sizeof before));
    rig_open(&rig, NULL);
    assert_int_equal(chdir(KEEL_TEST_FIXTURES), 0);
    int rc = rig_add(&rig, 0, "fx_part1.so");
    assert_int_equal(chdir("/"), 0);
    rig_frame(&rig);
    RigAsk ask = {.rig = &rig, .flags = KEEL_SWAP_SAME};
    rig_ask_slot(&ask, 0, NULL);
    rig_ask(&ask);
    int answer = rig_answer(&ask);
    rig_close(&rig);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rc, KEEL_OK);
    assert_int_equal(answer, KEEL_OK);
}

static void a_writer_does_not_hold_the_program(void **unused)
{
    (void)unused;
    Rig rig;
    char path[] = "/tmp/keel-test-XXXXXX", data[4096];
    int to = mkstemp(path), from = open(rig_file("fx_part1"), O_RDONLY | O_CLOEXEC);
    assert_true(to >= 0 && from >= 0);
    for (ssize_t n; (n = read(from, data, sizeof data)) > 0;)
        assert_int_equal(write(to, data, (size_t)n), n);
    close(from);
    rig_open(&rig, NULL);
    assert_int_equal(rig_add(&rig, 0, path), KEEL_EBUSY);
    assert_non_null(strstr(keel_host_error(), "open for writing"));
    close(to);
    for (int i = 0; !rig.parts[0].began && i < RIG_PATIENCE; i++) {
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_true(rig.parts[0].began > 0);
    rig_close(&rig);
    unlink(path);
}

static void what_cannot_be_is_said(void **unused)
{
    (void)unused;
    Rig rig, other;
    rig_start(&rig, NULL, 1);
    rig_start(&other, NULL, 1);
    assert_int_equal(keel_host_swap(rig.host, rig.slots, NULL, 1, 0), KEEL_ETHREAD);
    assert_int_equal(keel_host_rollback(rig.host, rig.slots[0], 0), KEEL_ETHREAD);
    RigAsk ask = {.rig = &rig, .slots = {other.slots[0]}, .count = 1};
    rig_ask(&ask);
    assert_int_equal(rig_answer(&ask), KEEL_EINVAL);
    RigAsk twice = {.rig = &rig, .slots = {rig.slots[0], rig.slots[0]}, .count = 2};
    rig_ask(&twice);
    assert_int_equal(rig_answer(&twice), KEEL_EINVAL);
    assert_int_equal(keel_slot_send(rig.slots[0], 1, "x", UINT64_MAX - 8), KEEL_EINVAL);
    rig_close(&rig);
    rig_close(&other);
}

/* ---- several hosts ---- */

static void count_line(uint32_t level, const char *room, const char *text, void *user)
{
    (void)level, (void)room, (void)text;
    atomic_fetch_add((_Atomic int *)user, 1);
}

static void *on_another_thread(void *user)
{
    Rig *rig = user;
    assert_int_equal(keel_host_frame(rig->host), KEEL_ETHREAD);
    assert_non_null(strstr(keel_host_error(), "thread that added the first slot"));
    assert_int_equal(rig_add(rig, 1, rig_file("fx_part1")), KEEL_ETHREAD);
    keel_host_idle(rig->host, INT64_MAX);
    return NULL;
}

/* A frame there would share the slots with those of the frame thread, and whoever asks for a swap
 * between two of them would wait for itself. */
static void frames_are_for_one_thread(void **unused)
{
    (void)unused;
    Rig rig;
    pthread_t thread;
    rig_start(&rig, NULL, 1);
    assert_int_equal(pthread_create(&thread, NULL, on_another_thread, &rig), 0);
    pthread_join(thread, NULL);
    assert_int_equal(rig.parts[0].began, 1);
    assert_int_equal(rig_frame(&rig), 1);
    rig_close(&rig);
}

typedef struct LateAsk {
    Rig *rig;
    int rc;
    Error err;
} LateAsk;

static void ask_late(void *user)
{
    LateAsk *late = user;
    HostSwaps swaps = {.host = (Host *)late->rig->host};
    host_look_for_swaps(&swaps); /* closing begins so */
    late->rc = host_rollback_begin(swaps.host, late->rig->slots[0], 0, NULL, NULL, &late->err);
}

/* Its boundary would never come. */
static void a_rollback_of_a_closing_host_is_refused(void **unused)
{
    (void)unused;
    Rig rig;
    LateAsk late = {.rig = &rig};
    rig_start(&rig, NULL, 1);
    assert_int_equal(loop_call(((Host *)rig.host)->loop, ask_late, &late), KEEL_OK);
    assert_int_equal(late.rc, KEEL_ECANCELED);
    assert_non_null(strstr(late.err.text, "closing"));
    rig_close(&rig);
}

static void two_hosts_share_nothing_but_the_log(void **unused)
{
    (void)unused;
    for (int first = 0; first < 2; first++) {
        Rig rigs[2];
        _Atomic int lines[2] = {0, 0};
        for (int i = 0; i < 2; i++) {
            struct keel_host_options options = rig_options();
            options.log = count_line;
            options.log_user = &lines[i];
            rig_start(&rigs[i], &options, 1);
        }
        assert_int_equal(rig_swap(&rigs[0], "fx_part2", 0, NULL), KEEL_OK);
        assert_true(lines[0] > 0 && lines[1] > 0);
        assert_int_equal(rigs[1].parts[0].version, 1);
        /* A thread's fault is heard by the host whose module made it, whoever asks first. */
        rigs[0].parts[0].orders[2] = PART_THREAD_CRASH;
        rig_frame(&rigs[0]);
        for (int i = 0; i < RIG_PATIENCE && !rig_status(&rigs[0], 0).faults; i++) {
            rig_frame(&rigs[1]);
            rig_frame(&rigs[0]);
        }
        assert_int_equal(rig_status(&rigs[0], 0).faults, 1);
        assert_int_equal(rig_status(&rigs[1], 0).faults, 0);
        rig_close(&rigs[first]);
        int before = lines[!first];
        assert_int_equal(
            rig_swap(&rigs[!first], "fx_part2", KEEL_SWAP_SAME | KEEL_SWAP_RETRY, NULL), KEEL_OK);
        assert_true(lines[!first] > before);
        rig_close(&rigs[!first]);
    }
}

static void no_signals_means_none(void **unused)
{
    (void)unused;
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    struct sigaction before[7], now;
    for (int i = 0; i < 7; i++)
        sigaction(numbers[i], NULL, &before[i]);
    Rig rig;
    struct keel_host_options options = rig_options();
    options.no_signals = 1;
    rig_start(&rig, &options, 1);
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    for (int i = 0; i < 7; i++) {
        sigaction(numbers[i], NULL, &now);
        assert_ptr_equal(now.sa_sigaction, before[i].sa_sigaction);
    }
    assert_int_equal(rig.parts[0].version, 2);
    rig_close(&rig);
}

static int count_in(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void two_hundred_hosts_leave_nothing(void **unused)
{
    (void)unused;
#if UNDER_TSAN /* its own thread can't be looked at: images stay, which takes a \
                                    second each */
    skip();
#endif
    int descriptors = 0, threads = 0;
    for (int i = 0; i < 200; i++) {
        Rig rig;
        rig_start(&rig, NULL, 1);
        if (i % 20 == 3)
            assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
        rig_close(&rig);
        if (i == 10) {
            descriptors = count_in("/proc/self/fd");
            threads = count_in("/proc/self/task");
        }
    }
    /* A generation that a busy machine didn't let go in time may stay with its descriptor: none a
     * host, though. */
    assert_in_range(count_in("/proc/self/fd"), 0, descriptors + 3);
    assert_in_range(count_in("/proc/self/task"), 0, threads + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_and_bad_files_leave_a_slot_that_waits),
        cmocka_unit_test(a_start_that_refuses_leaves_nothing),
        cmocka_unit_test(the_state_goes_over_a_swap),
        cmocka_unit_test(changed_types_go_through_the_hooks),
        cmocka_unit_test(old_destructors_free_nothing_of_the_new_state),
        cmocka_unit_test(nor_do_those_of_what_was_rolled_back),
        cmocka_unit_test(rollback_keeps_or_takes_back_what_happened),
        cmocka_unit_test(after_probation_the_image_comes_back),
        cmocka_unit_test(a_group_is_all_or_none),
        cmocka_unit_test(pause_stops_frames_and_not_boundaries),
        cmocka_unit_test(timers_and_tasks_go_over_a_swap),
        cmocka_unit_test(closing_ends_what_is_under_way),
        cmocka_unit_test(work_without_end_is_ended),
        cmocka_unit_test(a_relative_path_stays_the_same_file),
        cmocka_unit_test(a_writer_does_not_hold_the_program),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(frames_are_for_one_thread),
        cmocka_unit_test(a_rollback_of_a_closing_host_is_refused),
        cmocka_unit_test(two_hosts_share_nothing_but_the_log),
        cmocka_unit_test(no_signals_means_none),
        cmocka_unit_test(two_hundred_hosts_leave_nothing),
    };
    cmocka_set_test_filter(getenv("KEEL_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
