/* image/reading: the container that the helper fills, what is refused of it on arrival, and the
 * whole way through keel-trial. */
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "image/reading.h"
#include "image_files.h"
#include "module/load.h"
#include "module/trial.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

enum { ROOM = 8 << 20, TAG_STRANGE = 77 };

static int strange(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                   size_t *ret_bytes, Error *err)
{
    (void)shared;
    (void)data;
    (void)bytes;
    (void)err;
    assert_int_equal((uintptr_t)ret % 16, 0);
    assert_true(room > 5);
    memcpy(ret, "hello", 5);
    *ret_bytes = 5;
    return KEEL_OK;
}

static int unwilling(void *shared, const void *data, size_t bytes, void *ret, size_t room,
                     size_t *ret_bytes, Error *err)
{
    (void)shared;
    (void)data;
    (void)bytes;
    (void)ret;
    (void)room;
    (void)ret_bytes;
    return err_set(err, KEEL_EIMAGE, "it has none");
}

static void *make_ball(size_t *ret_bytes)
{
    Error err = {0};
    Blob ball = blob_read(BALL);
    void *room = aligned_alloc(16, ROOM);
    if (reading_make(ball.data, ball.bytes, room, ROOM, ret_bytes, &err))
        fail_msg("%s", err.text);
    free(ball.data);
    return room;
}

static void a_reading_has_its_parts(void **unused)
{
    (void)unused;
    size_t bytes;
    Reading reading;
    Error err = {0};
    void *room = make_ball(&bytes);
    assert_int_equal(reading_check(room, bytes, &reading, &err), 0);
    const Anatomy *a = reading_anatomy(&reading, NULL);
    assert_non_null(a);
    assert_true(a->function_count > 3);
    const char *why = NULL;
    assert_null(reading_part(&reading, TAG_STRANGE, &why));
    assert_non_null(strstr(why, "nothing of that kind"));
    assert_null(reading_anatomy(NULL, &why));
    assert_string_equal(why, "it was not read");
    free(room);
}

static void a_part_that_fails_spoils_no_other(void **unused)
{
    (void)unused;
    _Alignas(16) static char room[8192];
    size_t bytes;
    Reading reading;
    Error err = {0};
    const ReadingRow rows[] = {{READING_ANATOMY, unwilling}, {TAG_STRANGE, strange}};
    assert_int_equal(reading_make_by(rows, 2, NULL, "", 0, room, sizeof room, &bytes, &err), 0);
    /* Nobody checks the strange tag: the host believes no part that it doesn't know. */
    assert_int_equal(reading_check(room, bytes, &reading, &err), KEEL_EFAULT);
    const ReadingRow swapped[] = {{TAG_STRANGE, strange}, {READING_ANATOMY, unwilling}};
    assert_int_equal(reading_make_by(swapped, 2, NULL, "", 0, room, sizeof room, &bytes, &err), 0);
    assert_int_equal(reading_check(room, bytes, &reading, &err), KEEL_EFAULT);
    err = (Error){0};
    assert_int_equal(reading_make_by(rows, 1, NULL, "", 0, room, sizeof room, &bytes, &err),
                     KEEL_EIMAGE);
    assert_string_equal(err.text, "it has none");
    assert_int_equal(reading_make_by(rows, 1, NULL, "", 0, room, 40, &bytes, &err), KEEL_ELIMIT);
}

/* Every number of the head with every kind of lie: refused, or what it says lies inside. */
static void lies_are_refused(void **unused)
{
    (void)unused;
    size_t bytes;
    Error err = {0};
    Reading reading;
    char *room = make_ball(&bytes);
    int refused = 0;
    for (size_t at = 0; at + 8 <= 64; at += 4)
        for (int bit = 0; bit < 64; bit++) {
            uint64_t good, bad;
            memcpy(&good, room + at, sizeof good);
            bad = good ^ UINT64_C(1) << bit;
            memcpy(room + at, &bad, sizeof bad);
            if (reading_check(room, bytes, &reading, &err))
                refused++;
            else
                for (uint32_t i = 0; i < reading.count; i++) {
                    const char *data = reading.parts[i].data;
                    assert_true(data >= room && reading.parts[i].bytes <= bytes &&
                                data + reading.parts[i].bytes <= room + bytes);
                }
            memcpy(room + at, &good, sizeof good);
        }
    assert_true(refused > 300);
    for (size_t cut = 0; cut < bytes; cut += cut < 300 ? 1 : bytes / 50)
        assert_int_equal(reading_check(room, cut, &reading, &err), KEEL_EFAULT);
    free(room);
}

static int memfd_with(const void *data, size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void what_could_change_is_refused(void **unused)
{
    (void)unused;
    const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    size_t bytes;
    Error err = {0};
    Reading *reading = NULL;
    char *room = make_ball(&bytes);
    assert_int_equal(reading_open(memfd_with(room, bytes, all), &reading, &err), 0);
    assert_non_null(reading_anatomy(reading, NULL));
    reading_free(reading);
    assert_int_equal(reading_open(memfd_with(room, bytes, F_SEAL_SHRINK), &reading, &err),
                     KEEL_EFAULT);
    assert_int_equal(reading_open(memfd_with(room, 0, all), &reading, &err), KEEL_EFAULT);
    assert_int_equal(reading_open(memfd_with(room, bytes / 2, all), &reading, &err), KEEL_EFAULT);
    assert_int_equal(reading_open(open("/dev/null", O_RDONLY), &reading, &err), KEEL_EFAULT);
    reading_free(NULL);
    free(room);
}

/* ---- through the helper ---- */

typedef struct Ask {
    Trial *trial;
    Image *image;
    Reading *before, *reading;
    Error err;
    int rc;
    sem_t done;
} Ask;

static void answered(Reading *reading, const Error *err, void *user)
{
    Ask *ask = user;
    ask->reading = reading;
    ask->err = *err;
    sem_post(&ask->done);
}

static void put(void *user)
{
    Ask *ask = user;
    ask->rc = trial_read(ask->trial, ask->image, ask->before, answered, ask, &ask->err);
    if (ask->rc)
        sem_post(&ask->done);
}

static void ask_for(Loop *loop, Ask *ask)
{
    sem_init(&ask->done, 0, 0);
    assert_int_equal(loop_post(loop, put, ask), 0);
    while (sem_wait(&ask->done))
        ;
    assert_int_equal(ask->rc, 0);
}

static void the_helper_reads(void **unused)
{
    (void)unused;
    Loop *loop = NULL;
    Ask ask = {0};
    assert_int_equal(loop_new(&loop, &ask.err), 0);
    assert_int_equal(trial_new_reader(loop, KEEL_TEST_TRIAL, &ask.trial, &ask.err), 0);
    assert_int_equal(image_load_file(BALL, INT64_C(2000000000), &ask.image, &ask.err), 0);
    for (int i = 0; i < 3; i++) {
        ask_for(loop, &ask);
        if (!ask.reading)
            fail_msg("%s", ask.err.text);
        assert_true(reading_anatomy(ask.reading, NULL)->function_count > 3);
        /* From nothing, then each from the one before, of the same bytes: all of it holds. */
        const Sources *s = reading_sources(ask.reading);
        assert_non_null(s);
        assert_int_equal(s->reused, i && (s->rest.low || s->rest.high)
                                        ? SOURCES_DEBUG | SOURCES_SCHEMA
                                    : i ? SOURCES_DEBUG
                                        : 0);
        reading_free(ask.before);
        ask.before = i < 2 ? ask.reading : NULL;
    }
    /* It belongs to the image, and to a second copy of the same bytes as well. */
    Image *copy = NULL;
    assert_null(image_reading(ask.image));
    assert_int_equal(load_copy_image(ask.image, &copy, &ask.err), 0);
    image_set_reading(ask.image, ask.reading);
    assert_ptr_equal(image_reading(ask.image), ask.reading);
    assert_ptr_equal(image_reading(copy), ask.reading);
    image_unref(ask.image);
    assert_non_null(reading_anatomy(image_reading(copy), NULL));
    image_unref(copy);
    trial_free(ask.trial);
    /* A helper that can't be one: an answer all the same. */
    ask = (Ask){0};
    assert_int_equal(trial_new_reader(loop, "/bin/true", &ask.trial, &ask.err), 0);
    assert_int_equal(image_load_file(BALL, INT64_C(2000000000), &ask.image, &ask.err), 0);
    ask_for(loop, &ask);
    assert_null(ask.reading);
    assert_true(ask.err.code < 0 && *ask.err.text);
    image_unref(ask.image);
    trial_free(ask.trial);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_has_its_parts),
        cmocka_unit_test(a_part_that_fails_spoils_no_other),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(what_could_change_is_refused),
        cmocka_unit_test(the_helper_reads),
    };
    return cmocka_run_group_tests_name("reading", tests, NULL, NULL);
}
