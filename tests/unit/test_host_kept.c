/* swap/brought and the notes beside a kept state: what a slot is given when it goes on in another
 * host, and what a host leaves that is killed between two frames. */
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "host_rig.h"

#include "base/sanitizer.h"
#include "host/host.h"
#include "host/snapshots.h"
#include "swap/brought.h"
#include "swap/swap.h"

static char folder[] = "/tmp/keel-host-kept-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int add_kept(Rig *rig, const char *fixture, const char *name)
{
    struct keel_slot_options options = {.size = sizeof options,
                                        .no_watch = 1,
                                        .user = &rig->parts[0],
                                        .name = name,
                                        .state_folder = folder};
    return keel_host_add(rig->host, rig_file(fixture), &options, &rig->slots[0]);
}

/* A name of the process's own: what is kept in memory is found by it. */
static const char *own_name(const char *text, char room[64])
{
    snprintf(room, 64, "%s%d", text, (int)getpid());
    return room;
}

static void what_timers_and_tasks_give_comes_once(void **unused)
{
    (void)unused;
    Rig rig;
    char name[64];
    own_name("tasks", name);
    rig_open(&rig, NULL);
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    rig.parts[0].orders[1] = PART_TASK_WAIT;
    rig_frame(&rig);
    while (!__atomic_load_n(&rig.parts[0].working, __ATOMIC_ACQUIRE))
        sched_yield();
    rig_frame(&rig);
    rig_close(&rig);

    rig_open(&rig, NULL);
    rig.parts[0].orders[1] = PART_CRASH;
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    assert_int_equal(rig.parts[0].starts, 0);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].tasks, 1);
    assert_int_equal(rig.parts[0].task_result, KEEL_ECANCELED);
    assert_int_equal(rig_status(&rig, 0).generation, 0);
    rig_frame(&rig);
    rig.parts[0].tasks = 0;
    assert_int_equal(rig_swap(&rig, "fx_part2", 0, NULL), KEEL_OK);
    rig_frames(&rig, 3);
    assert_int_equal(rig.parts[0].version, 2);
    assert_int_equal(rig.parts[0].tasks, 1);
    assert_int_equal(rig.parts[0].task_result, KEEL_ECANCELED);
    rig_close(&rig);
}

/* Rolls back and is killed before another frame. */
static void killed_after_a_rollback(const char *name)
{
    Rig rig;
    struct keel_host_options options = rig_options();
    options.probation_frames = 1000000;
    rig_open(&rig, &options);
    if (add_kept(&rig, "fx_part1", name))
        _exit(2);
    rig_frames(&rig, 3);
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part2");
    rig_ask(&ask);
    if (rig_answer(&ask))
        _exit(3);
    rig_frames(&rig, 3);
    Slot *slot = rig.slots[0];
    if (!slot->probation.group || !slot->probation.old)
        _exit(4);
    group_roll_back(slot->probation.group, 0, "told to");
    kill(getpid(), SIGKILL);
}

static void a_rollback_is_in_what_is_kept(void **unused)
{
    (void)unused;
    Rig rig;
    char name[64];
    int status;
    own_name("back", name);
    pid_t child = fork();
    if (!child) {
        killed_after_a_rollback(name);
        _exit(5);
    }
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("it ended with status %d", WEXITSTATUS(status));
    rig_open(&rig, NULL);
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    const Slot *slot = rig.slots[0];
    if (!slot->brought)
        fail_msg("nothing was kept in memory");
    assert_string_equal(slot->brought->keepsake.head.module_version, "1");
    assert_true(brought_same_image(slot->brought, slot->running->image));
    assert_int_equal(rig.parts[0].starts, 0);
    rig_frame(&rig);
    assert_true(rig.parts[0].count >= 107);
    rig_close(&rig);
}

static void file_names(const char *name, char modules[128], char snapshot[128])
{
    snprintf(modules, 128, "%s/%s", folder, name);
    snprintf(snapshot, 128, "%s/%s.state", folder, name);
}

/* The child's part; ends by SIGKILL. */
static void in_killed_host(void (*part)(const char *name), const char *name)
{
    int status;
    pid_t child = fork();
    if (!child) {
        part(name);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("it ended with status %d", WEXITSTATUS(status));
}

static void back_after_a_snapshot(const char *name)
{
    Rig rig;
    Error err = {0};
    char modules[128], snapshot[128];
    rig_open(&rig, NULL);
    ((Host *)rig.host)->past_span_ns = 10 * INT64_C(1000000000);
    if (add_kept(&rig, "fx_part1", name))
        _exit(2);
    rig_frames(&rig, 50);
    int64_t then_ns = ((Host *)rig.host)->module_ns;
    rig_frames(&rig, 50);
    file_names(name, modules, snapshot);
    if (host_snapshot_now(rig.slots[0], snapshot, modules, &err))
        _exit(3);
    if (host_go_back((Host *)rig.host, then_ns, 0, &err))
        _exit(4);
    rig_frames(&rig, 3);
    if (rig.slots[0]->frames >= 60)
        _exit(5);
}

static void who_went_back_in_time_stays_there(void **unused)
{
    (void)unused;
    if (UNDER_TSAN)
        skip(); /* lets nobody fork who has had threads */
    Rig rig;
    char name[64];
    in_killed_host(back_after_a_snapshot, own_name("rewound", name));
    rig_open(&rig, NULL);
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    if (!rig.slots[0]->brought)
        fail_msg("nothing was kept");
    assert_string_equal(rig.slots[0]->brought->from, "memory");
    assert_true(rig.slots[0]->brought->keepsake.head.frames < 60);
    rig_frames(&rig, 2);
    rig_close(&rig);
    rig_open(&rig, NULL); /* and so it is in the file of its end */
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    assert_true(rig.slots[0]->brought->keepsake.head.frames < 70);
    assert_true(rig.slots[0]->brought->keepsake.head.branch >= 2); /* more than memory of then */
    rig_close(&rig);
}

static void some_frames(const char *name)
{
    Rig rig;
    rig_open(&rig, NULL);
    if (add_kept(&rig, "fx_part1", name))
        _exit(2);
    rig_frames(&rig, 10);
}

static void memory_without_a_snapshot_keeps_its_place(void **unused)
{
    (void)unused;
    if (UNDER_TSAN)
        skip(); /* lets nobody fork who has had threads */
    Rig rig;
    char name[64], other[64];
    in_killed_host(some_frames, own_name("first", name));
    rig_open(&rig, NULL);
    assert_int_equal(add_kept(&rig, "fx_part1", own_name("other", other)), KEEL_OK);
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    if (!rig.slots[0]->brought)
        fail_msg("nothing was kept in memory");
    assert_int_equal(rig.slots[0]->brought->keepsake.head.frames, 10);
    rig_close(&rig);
}

/* 77: not to be had here. */
static void in_a_small_container(const char *name)
{
    char map[64];
    unsigned uid = geteuid();
    if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS))
        _exit(77);
    int fd = uid ? open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC) : -1;
    int n = snprintf(map, sizeof map, "%u %u 1", uid, uid);
    if (uid && (fd < 0 || write(fd, map, (size_t)n) != n))
        _exit(77);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=256m"))
        _exit(77);
    in_killed_host(some_frames, name);
    if (mount("tmpfs", "/dev/shm", "tmpfs", MS_REMOUNT, "size=63m"))
        _exit(77);
    Rig rig;
    rig_open(&rig, NULL);
    if (add_kept(&rig, "fx_part1", name))
        _exit(2);
    if (!rig.slots[0]->brought || strcmp(rig.slots[0]->brought->from, "memory") != 0)
        _exit(3);
    rig_close(&rig);
    _exit(0);
}

static void what_is_left_in_a_small_memory_is_used(void **unused)
{
    (void)unused;
    if (UNDER_TSAN)
        skip(); /* lets nobody fork who has had threads */
    int status;
    char name[64];
    own_name("small", name);
    pid_t child = fork();
    if (!child)
        in_a_small_container(name);
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* no mounts for this user */
    assert_int_equal(status, 0);
}

/* An old file of a build that may still come back. */
static void probation_keeps_the_build_before(void **unused)
{
    (void)unused;
    Rig rig;
    char name[64], modules[128], snapshot[128], path[300];
    struct keel_host_options options = rig_options();
    struct keel_slot_options slot_options = {.size = sizeof slot_options,
                                             .no_watch = 1,
                                             .user = &rig.parts[0],
                                             .name = own_name("trying", name),
                                             .state_folder = folder,
                                             .state_every_ns = 1};
    options.probation_frames = 1000000;
    rig_open(&rig, &options);
    assert_int_equal(keel_host_add(rig.host, rig_file("fx_part1"), &slot_options, &rig.slots[0]),
                     KEEL_OK);
    file_names(name, modules, snapshot);
    rig_frames(&rig, 3);
    const Image *image = rig.slots[0]->running->image;
    host_module_file(modules, image->hash.low, image->hash.high, path, sizeof path);
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part2");
    rig_ask(&ask);
    assert_int_equal(rig_answer(&ask), KEEL_OK);
    assert_int_equal(access(path, F_OK), 0);
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    struct stat st = {0}, was = {0};
    for (int fresh = 0, i = 0; fresh < 3; i++) { /* one may have been under way */
        if (i > RIG_PATIENCE)
            fail_msg("no snapshot is written");
        rig_frame(&rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (stat(snapshot, &st) == 0 && st.st_ino != was.st_ino) {
            fresh++;
            was = st;
        }
    }
    assert_int_equal(access(path, F_OK), 0);
    rig_close(&rig);
}

static void a_group_that_goes_takes_no_kept_state_with_it(void **unused)
{
    (void)unused;
    Rig rig;
    char name[64];
    own_name("grouped", name);
    rig_open(&rig, NULL);
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    rig_frames(&rig, 10);
    rig_close(&rig);

    struct keel_host_options options = rig_options();
    options.probation_frames = 1000000;
    rig_open(&rig, &options);
    rig.parts[0].orders[1] = PART_CRASH;
    assert_int_equal(add_kept(&rig, "fx_part1", name), KEEL_OK);
    assert_int_equal(rig_add(&rig, 1, rig_file("fx_part1")), KEEL_OK);
    rig_frames(&rig, 2);
    assert_int_equal(rig_status(&rig, 0).generation, 0);
    RigAsk ask = {.rig = &rig};
    rig_ask_slot(&ask, 0, "fx_part2");
    rig_ask_slot(&ask, 1, "fx_part2");
    rig_ask(&ask);
    if (rig_answer(&ask))
        fail_msg("%s", ask.error);
    rig_frames(&rig, 5);
    assert_int_equal(rig.parts[0].version, 2);
    assert_true(rig.parts[0].count > 110);
    rig.parts[1].orders[2] = PART_CRASH;
    rig_frames(&rig, 2);
    assert_int_equal(rig_status(&rig, 0).generation, 0);
    assert_int_equal(rig_swap(&rig, "fx_part3", 0, NULL), KEEL_OK);
    rig_frame(&rig);
    assert_int_equal(rig.parts[0].starts, 0);
    rig_close(&rig);
}

static int make_folder(void **unused)
{
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **unused)
{
    (void)unused;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollback_is_in_what_is_kept), /* first: it forks */
        cmocka_unit_test(who_went_back_in_time_stays_there),
        cmocka_unit_test(memory_without_a_snapshot_keeps_its_place),
        cmocka_unit_test(what_is_left_in_a_small_memory_is_used),
        cmocka_unit_test(probation_keeps_the_build_before),
        cmocka_unit_test(a_group_that_goes_takes_no_kept_state_with_it),
        cmocka_unit_test(what_timers_and_tasks_give_comes_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
