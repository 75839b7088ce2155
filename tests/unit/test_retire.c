/* module/loader over many generations: what each took is given back, whatever number of them was.
 */
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "amount.h"
#include "base/known_threads.h"
#include "base/sanitizer.h"
#include "loop/loop.h"
#include "module/loader.h"
#include "module/maps.h"
#include "module/quiet.h"
#include "module/retired.h"

typedef struct Held {
    long descriptors, mappings, threads;
    uint64_t heap_bytes;
} Held;

static long entries(const char *path)
{
    long count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static int count_it(const MapEntry *entry, void *user)
{
    (void)entry;
    ++*(long *)user;
    return 0;
}

static Held look(void)
{
    Held held = {.descriptors = entries("/proc/self/fd"), .threads = entries("/proc/self/task")};
    assert_int_equal(maps_each(count_it, &held.mappings, NULL), 0);
    held.heap_bytes = mallinfo2().uordblks;
    return held;
}

typedef struct Round {
    sem_t done;
    Generation *generation;
} Round;

static void loaded(Generation *generation, const Error *err, void *user)
{
    Round *round = user;
    if (!generation)
        print_error("%s\n", err->text);
    round->generation = generation;
    sem_post(&round->done);
}

static void run_rounds(Loader *loader, Image *image, int rounds)
{
    Round round;
    sem_init(&round.done, 0, 0);
    for (int i = 0; i < rounds; i++) {
        LoaderStatus status;
        assert_int_equal(loader_load(loader, NULL, image, loaded, &round), 0);
        while (sem_wait(&round.done))
            ;
        assert_non_null(round.generation);
        round.generation->table->frame(NULL, NULL);
        loader_retire(loader, round.generation);
        do { /* so that the next one needs no copy: what a host that swaps slowly sees */
            usleep(200);
            loader_status(loader, &status);
        } while (status.closed != status.loaded);
        assert_true(status.reserved_ranges <= RETIRED_RANGES);
    }
    sem_destroy(&round.done);
}

static void hundreds_of_generations_leave_nothing(void **unused)
{
    (void)unused;
    int rounds = amount(300, 5000);
    Loader *loader = NULL;
    Image *image = NULL;
    Error err = {0};
    assert_int_equal(loader_new(&loader, &err), 0);
    assert_int_equal(
        image_load_file(KEEL_TEST_FIXTURES "/fx_plain.so", INT64_C(2000000000), &image, &err), 0);
    run_rounds(loader, image, RETIRED_RANGES + 36); /* the ring is full: from here on it is flat */
    Held before = look();
    run_rounds(loader, image, rounds);
    Held after = look();
    assert_int_equal(after.descriptors, before.descriptors);
    assert_int_equal(after.threads, before.threads);
    assert_true(after.mappings <= before.mappings + 4); /* the ring's may lie together or apart */
    assert_true(after.heap_bytes <= before.heap_bytes + 65536);
    loader_free(loader);
    image_unref(image);
}

static void the_ring_is_bounded_and_gives_back(void **unused)
{
    (void)unused;
    static Retired ring;
    /* Two large places that are free, whatever a sanitizer has taken. */
    uint64_t room = 2 * RETIRED_BYTES;
    char *place =
        mmap(NULL, 2 * room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(place != MAP_FAILED);
    munmap(place, 2 * room);
    uintptr_t at = (uintptr_t)place, other = at + room;
    for (uint64_t i = 0; i < RETIRED_RANGES + 5; i++)
        assert_int_equal(
            retired_keep(&ring, 1000000 + i, at + i * 65536, at + i * 65536 + 8192, "x"), 1);
    assert_int_equal(ring.count, RETIRED_RANGES);
    assert_false(retired_overlaps(&ring, at, at + 8192)); /* the oldest went */
    assert_true(retired_overlaps(&ring, at + 6 * 65536, at + 6 * 65536 + 1));
    /* Taken by somebody else: not kept, and not taken from them. */
    assert_int_equal(retired_keep(&ring, 2000000, at + 10 * 65536, at + 10 * 65536 + 8192, "y"), 0);
    /* A large one pushes out what is beyond the limit of addresses. */
    assert_int_equal(retired_keep(&ring, 2000001, other, other + RETIRED_BYTES - 8192, "large"), 1);
    assert_int_equal(ring.count, 2);
    assert_int_equal(retired_keep(&ring, 2000002, at, at + RETIRED_BYTES + 4096, "too large"), 0);
    retired_done(&ring);
    assert_int_equal(ring.count, 0);
    assert_int_equal(ring.bytes, 0);
}

typedef struct Sleeper {
    sem_t go;
    pthread_barrier_t there;
    int known;
} Sleeper;

/* Stands for a module's code: an address of the test's own. */
static void waits_here(Sleeper *sleeper)
{
    pthread_barrier_wait(&sleeper->there);
    while (sem_wait(&sleeper->go))
        ;
}

static void *sleep_in_it(void *user)
{
    Sleeper *sleeper = user;
    if (sleeper->known)
        known_thread_begin();
    waits_here(sleeper);
    if (sleeper->known)
        known_thread_end();
    return NULL;
}

static void threads_that_come_back_are_seen(void **unused)
{
    (void)unused;
    uintptr_t first = (uintptr_t)&sleep_in_it & ~(uintptr_t)15, last = first + 256;
    for (int known = 0; known < 2; known++) {
        Sleeper sleeper = {.known = known};
        pthread_t thread;
        Error err = {0};
        sem_init(&sleeper.go, 0, 0);
        pthread_barrier_init(&sleeper.there, NULL, 2);
        assert_int_equal(pthread_create(&thread, NULL, sleep_in_it, &sleeper), 0);
        pthread_setname_np(thread, "sleeper");
        pthread_barrier_wait(&sleeper.there);
        usleep(20000); /* until it blocks; that it may run is refused too */
        int rc = quiet_check(first, last, &err);
        assert_int_equal(rc, known ? KEEL_OK : KEEL_EBUSY);
        if (!known)
            assert_non_null(strstr(err.text, "sleeper"));
        sem_post(&sleeper.go);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&sleeper.there);
        sem_destroy(&sleeper.go);
    }
    Error err = {0};
    assert_int_equal(quiet_check(first, last, &err), KEEL_OK);
}

static void *spin(void *user)
{
    while (!__atomic_load_n((int *)user, __ATOMIC_RELAXED))
        ;
    return NULL;
}

static void a_thread_that_never_blocks_is_suspected(void **unused)
{
    (void)unused;
    int end = 0, refused = 0;
    pthread_t thread;
    Error err = {0};
    assert_int_equal(pthread_create(&thread, NULL, spin, &end), 0);
    for (int i = 0; i < 50 && !refused; i++)
        refused = quiet_check(UINT64_C(0x340000000000), UINT64_C(0x340000001000), &err);
    assert_int_equal(refused, KEEL_EBUSY);
    __atomic_store_n(&end, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

#if !UNDER_TSAN /* it has a thread of its own */
/* A range that every stack has words of: only who isn't looked at isn't found. */
static void the_hosts_own_threads_are_not_looked_at(void **unused)
{
    (void)unused;
    Loader *loader;
    Loop *loop;
    Error err = {0};
    assert_int_equal(loader_new(&loader, &err), KEEL_OK); /* with a watchdog and a probe */
    assert_int_equal(loop_new(&loop, &err), 0);
    int rc = KEEL_EBUSY;
    for (int i = 0; i < 1000 && rc; i++) { /* until each has begun */
        usleep(10000);
        rc = quiet_check(1, UINTPTR_MAX, &err);
    }
    if (rc)
        print_error("%s\n", err.text);
    assert_int_equal(rc, KEEL_OK);

    Sleeper sleeper = {0};
    pthread_t thread;
    sem_init(&sleeper.go, 0, 0);
    pthread_barrier_init(&sleeper.there, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, sleep_in_it, &sleeper), 0);
    pthread_barrier_wait(&sleeper.there);
    assert_int_equal(quiet_check(1, UINTPTR_MAX, &err), KEEL_EBUSY);
    sem_post(&sleeper.go);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&sleeper.there);
    sem_destroy(&sleeper.go);
    loop_free(loop);
    loader_free(loader);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_of_generations_leave_nothing),
        cmocka_unit_test(the_ring_is_bounded_and_gives_back),
        cmocka_unit_test(threads_that_come_back_are_seen),
        cmocka_unit_test(a_thread_that_never_blocks_is_suspected),
#if !UNDER_TSAN
        cmocka_unit_test(the_hosts_own_threads_are_not_looked_at),
#endif
    };
    loader_thread_known();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
