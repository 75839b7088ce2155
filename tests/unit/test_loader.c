/* module/loader: what is loaded is what was proven, what is refused says why, what is retired is
 * gone. */
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/sanitizer.h"
#include "fault/guard.h"
#include "module/loader.h"

typedef struct Waiter {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int done;
    Generation *generation;
    Error err;
} Waiter;

static void loaded(Generation *generation, const Error *err, void *user)
{
    Waiter *waiter = user;
    pthread_mutex_lock(&waiter->mutex);
    waiter->generation = generation;
    waiter->err = *err;
    waiter->done = 1;
    pthread_cond_signal(&waiter->wake);
    pthread_mutex_unlock(&waiter->mutex);
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

static Generation *load_image(Loader *loader, Image *image, Error *ret_err)
{
    Waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    assert_int_equal(loader_load(loader, NULL, image, loaded, &waiter), KEEL_OK);
    pthread_mutex_lock(&waiter.mutex);
    while (!waiter.done)
        pthread_cond_wait(&waiter.wake, &waiter.mutex);
    pthread_mutex_unlock(&waiter.mutex);
    *ret_err = waiter.err;
    return waiter.generation;
}

static Generation *load(Loader *loader, const char *name, Error *ret_err)
{
    Image *image = open_fixture(name);
    Generation *g = load_image(loader, image, ret_err);
    image_unref(image);
    return g;
}

static Generation *load_well(Loader *loader, const char *name)
{
    Error err;
    Generation *g = load(loader, name, &err);
    if (!g)
        fail_msg("%s: %s", name, err.text);
    return g;
}

static Loader *make_loader(void)
{
    Loader *loader = NULL;
    Error err = {0};
    if (loader_new(&loader, &err))
        fail_msg("%s", err.text);
    return loader;
}

/* Until `closed` generations are closed or `stuck` are stuck. */
static LoaderStatus wait_closed(Loader *loader, uint64_t closed, uint64_t stuck)
{
    LoaderStatus status;
    for (;;) {
        loader_status(loader, &status);
        if (status.closed >= closed && status.stuck >= stuck)
            return status;
        usleep(1000);
    }
}

/* A word of `value` in its statics; where a sanitizer's red zones lie among them. */
__attribute__((no_sanitize("address"))) static int holds(const Generation *g, uint64_t value)
{
    int found = 0;
    for (int i = 0; i < g->static_count; i++)
        for (uint64_t at = 0; at + 8 <= g->statics[i].bytes; at += 8)
            found |= *(volatile uint64_t *)(void *)((char *)g->statics[i].address + at) == value;
    return found;
}

static void a_module_is_loaded_and_runs(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Generation *g = load_well(loader, "fx_plain");
    assert_string_equal(g->table->name, "plain");
    assert_true(g->number > 0);
    assert_true((uintptr_t)g->table >= g->load_first && (uintptr_t)g->table < g->load_last);
    assert_true(g->static_count > 0);
    const char *name = NULL;
    assert_int_equal(guard_range_find((uintptr_t)g->table->frame, &name, NULL), g->number);
    assert_non_null(strstr(name, "plain"));
    g->table->frame(NULL, NULL);
    assert_true(holds(g, 1)); /* the module's counter is in what would be undone */
    loader_retire(loader, g);
    wait_closed(loader, 1, 0);
    loader_free(loader);
}

static void a_retired_range_is_kept_by_name(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Generation *g = load_well(loader, "fx_plain");
    uint64_t number = g->number;
    uintptr_t frame = (uintptr_t)g->table->frame;
    loader_retire(loader, g);
    LoaderStatus status = wait_closed(loader, 1, 0);
    assert_int_equal(status.reserved_ranges, 1);
    const char *name = NULL;
    assert_int_equal(guard_range_find(frame, &name, NULL), number);
    assert_non_null(strstr(name, "retired generation"));
    loader_free(loader);
    assert_int_equal(guard_range_find(frame, NULL, NULL), 0);
}

static void call_it(void *user)
{
    void (*frame)(keel *, const struct keel_frame *) =
        (void (*)(keel *, const struct keel_frame *))(uintptr_t)user;
    frame(NULL, NULL);
}

static void a_stale_call_faults_by_name(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    assert_int_equal(guard_thread_begin(NULL), 0);
    Generation *g = load_well(loader, "fx_plain");
    void *frame = (void *)(uintptr_t)g->table->frame;
    loader_retire(loader, g);
    wait_closed(loader, 1, 0);
    Fault fault;
    assert_int_equal(guard_run(1, 0, call_it, frame, &fault), FAULT_MEMORY);
    assert_int_equal(fault.pc, (uintptr_t)frame);
    assert_non_null(strstr(fault.text, "retired generation"));
    guard_thread_end();
    loader_free(loader);
}

static void two_loads_of_one_image_share_nothing(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Error err;
    Image *image = open_fixture("fx_plain");
    Generation *a = load_image(loader, image, &err);
    Generation *b = load_image(loader, image, &err);
    Generation *c = load_image(loader, image, &err);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_true(a->handle != b->handle && b->handle != c->handle && a->handle != c->handle);
    assert_true(a->table != b->table && a->table != c->table);
    assert_true(a->number < b->number && b->number < c->number);
    assert_true(hash_equal(a->image->hash, b->image->hash));
    loader_retire(loader, b);
    wait_closed(loader, 1, 0);
    a->table->frame(NULL, NULL);
    c->table->frame(NULL, NULL);
    loader_retire(loader, a);
    loader_retire(loader, c);
    wait_closed(loader, 3, 0);
    image_unref(image);
    loader_free(loader);
}

static void refused(const char *fixture, int code, const char *sentence)
{
    Loader *loader = make_loader();
    Error err;
    assert_null(load(loader, fixture, &err));
    if (err.code != code || !strstr(err.text, sentence))
        fail_msg("%s: %s: %s", fixture, err_name(err.code), err.text);
    /* and it was only that one */
    Generation *g = load_well(loader, "fx_plain");
    loader_retire(loader, g);
    wait_closed(loader, 1, 0);
    loader_free(loader);
}

static void bad_tables_are_refused(void **unused)
{
    (void)unused;
    refused("fx_no_entry", KEEL_EIMAGE, "neither frame nor event");
    refused("fx_null_entries", KEEL_EIMAGE, "neither frame nor event");
    refused("fx_foreign_entry", KEEL_EIMAGE, "`frame` points to");
}

static void the_loaders_errors_are_translated(void **unused)
{
    (void)unused;
    refused("fx_undefined", KEEL_ELOAD, "keel_fixture_nowhere, which no library it names provides");
    refused("fx_missing_library", KEEL_ELOAD,
            "needs the library libfx_gone.so, which is not on this machine");
}

static void what_cannot_be_unmapped_is_named(const char *fixture, const char *why)
{
    Loader *loader = make_loader();
    Generation *g = load_well(loader, fixture);
    loader_retire(loader, g);
    LoaderStatus status = wait_closed(loader, 0, 1);
    assert_int_equal(status.closed, 0);
    if (!strstr(g->stays, why))
        fail_msg("%s: %s", fixture, g->stays);
    /* the rest goes on */
    loader_retire(loader, load_well(loader, "fx_plain"));
    wait_closed(loader, 1, 1);
    loader_free(loader);
}

static int count_object(struct dl_phdr_info *info, size_t bytes, void *user)
{
    (void)info, (void)bytes;
    ++*(int *)user;
    return 0;
}

/* Refused after its constructors ran: it goes again. */
static void what_has_no_range_is_not_kept(void **unused)
{
    (void)unused;
    enum { OWNER = 5, OBJECTS = 3 };
    Loader *loader = make_loader();
    int before = 0, after = 0;
    dl_iterate_phdr(count_object, &before);
    while (!guard_range_add(0x1000, 0x2000, OWNER, "many", NULL))
        ;
    for (int i = 0; i < OBJECTS; i++) {
        Error err = {0};
        assert_null(load(loader, "fx_plain", &err));
        assert_int_equal(err.code, KEEL_ELIMIT);
    }
    dl_iterate_phdr(count_object, &after);
    guard_range_remove(OWNER);
    assert_int_equal(after, before);
    load_well(loader, "fx_plain");
    loader_free(loader);
}

static void unique_symbols_stay(void **unused)
{
    (void)unused;
    what_cannot_be_unmapped_is_named("fx_unique", "-fno-gnu-unique");
}

static void bad_destructors_stay_and_nothing_else_stops(void **unused)
{
    (void)unused;
    what_cannot_be_unmapped_is_named("fx_dtor_crash", "its destructors crashed");
#if !UNDER_TSAN /* it holds the deadline's signal back until a libc call */
    what_cannot_be_unmapped_is_named("fx_dtor_spin", "did not end within a second");
#endif
}

static void destructors_run_once(void **unused)
{
    (void)unused;
    unsetenv("KEEL_FIXTURE_ENDED");
    Loader *loader = make_loader();
    loader_retire(loader, load_well(loader, "fx_dtor_once"));
    wait_closed(loader, 1, 0);
    assert_string_equal(getenv("KEEL_FIXTURE_ENDED"), "1");
    loader_free(loader);
}

static void a_host_thread_inside_keeps_it(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Generation *g = load_well(loader, "fx_plain");
    atomic_fetch_add(&g->inside, 1);
    loader_retire(loader, g);
    usleep(50000);
    LoaderStatus status;
    loader_status(loader, &status);
    assert_int_equal(status.closed, 0);
    atomic_fetch_sub(&g->inside, 1);
    wait_closed(loader, 1, 0);
    loader_free(loader);
}

static void a_thread_of_the_module_keeps_it(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Generation *g = load_well(loader, "fx_thread");
    g->table->frame(NULL, NULL);
    loader_retire(loader, g);
    usleep(100000);
    LoaderStatus status;
    loader_status(loader, &status);
    assert_int_equal(status.closed, 0);
    g->table->stop(NULL);
    wait_closed(loader, 1, 0);
    loader_free(loader);
}

static void a_constructor_that_hangs_stops_loads_only(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Waiter hung = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    Waiter behind = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    Image *spin = open_fixture("fx_ctor_spin");
    Image *plain = open_fixture("fx_plain");
    assert_int_equal(loader_load(loader, NULL, spin, loaded, &hung), KEEL_OK);
    assert_int_equal(loader_load(loader, NULL, plain, loaded, &behind), KEEL_OK);
    LoaderStatus status;
    do {
        usleep(10000);
        loader_status(loader, &status);
    } while (!status.busy_with);
    assert_non_null(strstr(status.busy, "a constructor of ctor_spin has been running"));
    assert_int_equal(behind.done, 1);
    assert_int_equal(behind.err.code, KEEL_EBUSY);
    assert_int_equal(loader_load(loader, NULL, plain, loaded, &behind), KEEL_EBUSY);
    assert_int_equal(hung.done, 0);
    /* The process can load nothing more: the rest of its life is the last test's. */
    image_unref(plain);
    image_unref(spin);
}

static void a_constructor_that_crashes_is_reported(void **unused)
{
    (void)unused;
    Loader *loader = make_loader();
    Error err;
    assert_null(load(loader, "fx_ctor_crash", &err));
    assert_int_equal(err.code, KEEL_EFAULT);
    assert_non_null(strstr(err.text, "crashed and left the loader locked"));
    Image *plain = open_fixture("fx_plain");
    Waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    assert_int_equal(loader_load(loader, NULL, plain, loaded, &waiter), KEEL_EBUSY);
    image_unref(plain);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_is_loaded_and_runs),
        cmocka_unit_test(a_retired_range_is_kept_by_name),
        cmocka_unit_test(a_stale_call_faults_by_name),
        cmocka_unit_test(two_loads_of_one_image_share_nothing),
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(the_loaders_errors_are_translated),
        cmocka_unit_test(what_has_no_range_is_not_kept),
        cmocka_unit_test(unique_symbols_stay),
        cmocka_unit_test(destructors_run_once),
        cmocka_unit_test(a_host_thread_inside_keeps_it),
        cmocka_unit_test(a_thread_of_the_module_keeps_it),
        cmocka_unit_test(bad_destructors_stay_and_nothing_else_stops),
    };
    loader_thread_known();
    /* These leave the process's loader locked: each in a process of its own. */
    const struct CMUnitTest hang[] = {cmocka_unit_test(a_constructor_that_hangs_stops_loads_only)};
    const struct CMUnitTest crash[] = {cmocka_unit_test(a_constructor_that_crashes_is_reported)};
    if (argc > 1 && strcmp(argv[1], "hang") == 0) {
        int failed = cmocka_run_group_tests_name("hang", hang, NULL, NULL);
        fflush(NULL);
        _exit(failed);
    }
    if (argc > 1 && strcmp(argv[1], "crash") == 0) {
        int failed = cmocka_run_group_tests_name("crash", crash, NULL, NULL);
        fflush(NULL);
        _exit(failed);
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[600];
    snprintf(command, sizeof command, "'%s' hang && '%s' crash", argv[0], argv[0]);
    fflush(NULL);
    return failed || system(command) != 0;
}
