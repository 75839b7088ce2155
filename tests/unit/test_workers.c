/* loop/workers: priorities, order, the bound, taking back, the end. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loop/workers.h"

typedef struct Numbered {
    Job job; /* first */
    int number;
} Numbered;

static sem_t gate, started;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int order[4096], ran, begun, ended;

static void wait_for_gate(Job *job)
{
    (void)job;
    sem_post(&started);
    sem_wait(&gate);
}

static void note(Job *job)
{
    pthread_mutex_lock(&lock);
    order[ran++] = ((Numbered *)job)->number;
    pthread_mutex_unlock(&lock);
}

static void signal_end(Job *job)
{
    (void)job;
    sem_post(&started);
}

static int count_begin(void)
{
    return __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED) < 0;
}

static void count_end(void)
{
    __atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
}

static int fresh(void **unused)
{
    (void)unused;
    sem_init(&gate, 0, 0);
    sem_init(&started, 0, 0);
    ran = begun = ended = 0;
    return 0;
}

/* One worker that is busy until the gate opens. */
static Workers *busy_worker(Job *blocker)
{
    Workers *workers = NULL;
    assert_int_equal(workers_new(1, count_begin, count_end, &workers, NULL), 0);
    *blocker = (Job){.run = wait_for_gate};
    assert_int_equal(workers_put(workers, blocker), 0);
    sem_wait(&started);
    return workers;
}

static void lower_numbers_go_first(void **unused)
{
    (void)unused;
    Job blocker, last = {.priority = 2, .run = signal_end};
    Workers *workers = busy_worker(&blocker);
    Numbered jobs[6];
    for (int i = 0; i < 6; i++) {
        jobs[i] = (Numbered){.job = {.priority = (uint32_t)(2 - i % 3), .run = note}, .number = i};
        assert_int_equal(workers_put(workers, &jobs[i].job), 0);
    }
    assert_int_equal(workers_put(workers, &last), 0);
    sem_post(&gate);
    sem_wait(&started);
    static const int expected[] = {2, 5, 1, 4, 0, 3};
    assert_int_equal(ran, 6);
    assert_memory_equal(order, expected, sizeof expected);
    workers_free(workers);
    assert_int_equal(begun, 1);
    assert_int_equal(ended, 1);
}

static void the_bound_is_kept(void **unused)
{
    (void)unused;
    Job blocker;
    static Numbered jobs[1025];
    Workers *workers = busy_worker(&blocker);
    for (int i = 0; i < 1025; i++) {
        jobs[i] = (Numbered){.job = {.priority = 1, .run = note}, .number = i};
        assert_int_equal(workers_put(workers, &jobs[i].job), i < 1024 ? 0 : KEEL_ELIMIT);
    }
    Job wrong = {.priority = 3, .run = note};
    assert_int_equal(workers_put(workers, &wrong), KEEL_EINVAL);
    /* One taken back makes room for one. */
    assert_int_equal(workers_take_back(workers, &jobs[1023].job), 1);
    assert_int_equal(workers_take_back(workers, &jobs[1023].job), 0);
    assert_int_equal(workers_put(workers, &jobs[1024].job), 0);
    assert_int_equal(workers_take_back(workers, &blocker), 0);
    sem_post(&gate);
    /* Waiting ones are dropped: the worker may have taken some of them, in order. */
    workers_free(workers);
    for (int i = 0; i < ran; i++)
        assert_int_equal(order[i], i < 1023 ? i : 1024);
}

static int refuse(void)
{
    return KEEL_ELIMIT;
}

static void a_worker_that_cannot_begin_is_an_error(void **unused)
{
    (void)unused;
    Error err = {0};
    Workers *workers = NULL;
    assert_int_equal(workers_new(2, refuse, count_end, &workers, &err), KEEL_ELIMIT);
    assert_null(workers);
    assert_int_equal(ended, 0);
    assert_int_equal(workers_new(0, NULL, NULL, &workers, &err), KEEL_EINVAL);
    assert_string_equal(err.text, "0 worker threads asked for: 1 to 256 are possible");
    workers_free(NULL);
}

static void every_job_runs_once(void **unused)
{
    (void)unused;
    enum { JOBS = 4000 };
    static Numbered jobs[JOBS];
    static int times[JOBS];
    Workers *workers = NULL;
    assert_int_equal(workers_new(4, count_begin, count_end, &workers, NULL), 0);
    assert_int_equal(begun, 4);
    int taken = 0;
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (Numbered){.job = {.priority = (uint32_t)i % 3, .run = note}, .number = i};
        while (workers_put(workers, &jobs[i].job) == KEEL_ELIMIT)
            ;
        if (i % 7 == 0 && workers_take_back(workers, &jobs[i].job)) {
            taken++;
            times[i]++;
        }
    }
    Job last[4];
    for (int i = 0; i < 4; i++) {
        last[i] = (Job){.priority = 2, .run = wait_for_gate};
        while (workers_put(workers, &last[i]) == KEEL_ELIMIT)
            ;
    }
    /* All four workers stand at the gate: everything before has ended. */
    for (int i = 0; i < 4; i++)
        sem_wait(&started);
    assert_int_equal(ran + taken, JOBS);
    for (int i = 0; i < ran; i++)
        times[order[i]]++;
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(times[i], 1);
    for (int i = 0; i < 4; i++)
        sem_post(&gate);
    workers_free(workers);
    assert_int_equal(ended, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lower_numbers_go_first, fresh),
        cmocka_unit_test_setup(the_bound_is_kept, fresh),
        cmocka_unit_test_setup(a_worker_that_cannot_begin_is_an_error, fresh),
        cmocka_unit_test_setup(every_job_runs_once, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
