/* swap/brought and the notes beside a kept state: what a slot is given when it goes on in another
 * host, and what a host leaves that is killed between two frames. */
#include <ftw.h>
#include <signal.h>
#include <sys/wait.h>

#include "host_rig.h"

#include "host/host.h"
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
        cmocka_unit_test(what_timers_and_tasks_give_comes_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
