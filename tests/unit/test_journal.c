/* state/journal: what was appended comes back; what is damaged never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/journal_format.h"

static char folder[64], path[100];

static int make_folder(void **unused)
{
    (void)unused;
    strcpy(folder, "/tmp/keel-journal-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/j", folder);
    return 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    unlink(path);
    return rmdir(folder);
}

static int put_frame(Journal *journal, uint64_t index, const char *text)
{
    uint64_t bytes = text ? strlen(text) : 0;
    const JournalFrame frame = {
        .index = index, .time_ns = (int64_t)index * 10, .events = text != NULL};
    const JournalEvent event = {.seq = index, .kind = 3, .data_bytes = bytes};
    static const char zeros[8];
    const JournalPart parts[] = {{&frame, sizeof frame},
                                 {&event, text ? sizeof event : 0},
                                 {text, bytes},
                                 {zeros, (8 - bytes % 8) % 8}};
    return journal_append(journal, JOURNAL_FRAME, parts, 4);
}

static Journal *begin(const JournalOptions *options)
{
    Journal *journal = NULL;
    Error err = {0};
    if (journal_create(path, options, &journal, &err))
        fail_msg("%s", err.text);
    const JournalBegin first = {.arena_base = 5, .slot = "ball", .host = "0"};
    const JournalPart part = {&first, sizeof first};
    assert_int_equal(journal_append(journal, JOURNAL_BEGIN, &part, 1), 0);
    return journal;
}

static JournalReader *read_it(void)
{
    JournalReader *reader = NULL;
    Error err = {0};
    if (journal_read_open(path, &reader, &err))
        fail_msg("%s", err.text);
    return reader;
}

static uint64_t count_frames(JournalReader *reader)
{
    JournalRecord record;
    JournalFrame frame;
    uint64_t n = 0;
    while (journal_next(reader, &record))
        if (record.kind == JOURNAL_FRAME) {
            assert_int_equal(journal_frame_read(&record, &frame), 0);
            assert_int_equal(frame.index, n);
            n++;
        }
    return n;
}

static void frames_come_back_with_their_events(void **unused)
{
    (void)unused;
    Journal *journal = begin(NULL);
    put_frame(journal, 0, NULL);
    put_frame(journal, 1, "hello");
    put_frame(journal, 2, "12345678");
    journal_close(journal);
    JournalReader *reader = read_it();
    JournalRecord record;
    JournalBegin first;
    assert_int_equal(journal_next(reader, &record), 1);
    assert_int_equal(journal_begin_read(&record, &first), 0);
    assert_string_equal(first.slot, "ball");
    JournalFrame frame;
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(journal_next(reader, &record), 1);
        assert_int_equal(record.lsn, i + 2);
        assert_int_equal(journal_frame_read(&record, &frame), 0);
        assert_int_equal(frame.index, i);
        JournalEvent event;
        const uint8_t *data;
        size_t at = 0;
        assert_int_equal(journal_event_next(&record, &at, &event, &data), i > 0);
        if (i == 1)
            assert_memory_equal(data, "hello", 5);
        if (i > 0)
            assert_int_equal(journal_event_next(&record, &at, &event, &data), 0);
    }
    assert_int_equal(journal_next(reader, &record), 0);
    char why[160];
    assert_int_equal(journal_ending(reader, why), JOURNAL_CLOSED);
    journal_read_close(reader);
}

static void a_killed_writer_loses_nothing(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        Journal *journal;
        Error err;
        if (journal_create(path, NULL, &journal, &err))
            _exit(1);
        for (uint64_t i = 0; i < 5000; i++)
            put_frame(journal, i, i % 7 ? NULL : "some input");
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    JournalReader *reader = read_it();
    assert_int_equal(count_frames(reader), 5000);
    char why[160];
    assert_int_equal(journal_ending(reader, why), JOURNAL_OPEN);
    journal_read_close(reader);
}

static void images_are_kept_once_and_whole(void **unused)
{
    (void)unused;
    Image *image;
    Error err;
    assert_int_equal(image_load_file(KEEL_TEST_MODULES "/ball.so", 0, &image, &err), 0);
    Journal *journal = begin(NULL);
    journal_keep_image(journal, image);
    put_frame(journal, 0, NULL);
    journal_keep_image(journal, image);
    put_frame(journal, 1, NULL);
    journal_tend(journal);
    put_frame(journal, 2, NULL);
    journal_close(journal);
    JournalReader *reader = read_it();
    JournalRecord record;
    int images = 0;
    while (journal_next(reader, &record))
        if (record.kind == JOURNAL_IMAGE) {
            images++;
            assert_int_equal(record.bytes, 16 + image->bytes);
            assert_memory_equal(record.data, &image->hash, 16);
            assert_memory_equal(record.data + 16, image->data, image->bytes);
        }
    assert_int_equal(images, 1);
    journal_rewind(reader);
    assert_int_equal(count_frames(reader), 3);
    journal_read_close(reader);
    image_unref(image);
}

static uint8_t *whole(size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *data = malloc((size_t)st.st_size);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    *ret_bytes = (size_t)st.st_size;
    return data;
}

/* Every record that comes back is one that was written, and no more come back than were whole. */
static uint64_t good_frames(const uint8_t *data, size_t bytes, const uint8_t *original)
{
    JournalReader *reader;
    Error err = {0};
    if (journal_read_bytes(data, bytes, &reader, &err)) {
        assert_true(*err.text);
        return 0;
    }
    JournalRecord record;
    uint64_t n = 0;
    while (journal_next(reader, &record)) {
        assert_memory_equal(record.data, original + (record.data - data), record.bytes);
        n += record.kind == JOURNAL_FRAME;
    }
    journal_read_close(reader);
    return n;
}

static void any_flipped_bit_ends_it_there(void **unused)
{
    (void)unused;
    Journal *journal = begin(NULL);
    for (uint64_t i = 0; i < 20; i++)
        put_frame(journal, i, i % 2 ? "input" : NULL);
    journal_close(journal);
    size_t bytes;
    uint8_t *data = whole(&bytes), *copy = malloc(bytes);
    memcpy(copy, data, bytes);
    assert_int_equal(good_frames(copy, bytes, data), 20);
    const size_t tail = 8 * 8 + RECORD_OVERHEAD; /* a flip in JOURNAL_END costs no frame */
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        uint64_t good = good_frames(copy, bytes, data);
        if (bit / 8 < bytes - tail)
            assert_true(good < 20);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < bytes; cut++)
        assert_true(good_frames(copy, cut, data) <= 20);
    free(copy);
    free(data);
}

static void a_record_of_another_journal_is_none_of_this(void **unused)
{
    (void)unused;
    size_t bytes, more;
    Journal *journal = begin(NULL);
    put_frame(journal, 0, NULL);
    journal_close(journal);
    uint8_t *one = whole(&bytes);
    journal = begin(NULL);
    put_frame(journal, 0, NULL);
    journal_close(journal);
    uint8_t *two = whole(&more);
    assert_int_equal(bytes, more);
    memcpy(one + sizeof(JournalHead), two + sizeof(JournalHead), bytes - sizeof(JournalHead));
    JournalReader *reader;
    assert_int_equal(journal_read_bytes(one, bytes, &reader, NULL), 0);
    JournalRecord record;
    char why[160];
    assert_int_equal(journal_next(reader, &record), 0);
    assert_int_equal(journal_ending(reader, why), JOURNAL_TORN);
    assert_non_null(strstr(why, "damaged"));
    journal_read_close(reader);
    free(one);
    free(two);
}

static void a_full_journal_says_so_and_keeps_what_it_has(void **unused)
{
    (void)unused;
    const JournalOptions options = {.max_bytes = 4 << 20};
    Journal *journal = begin(&options);
    uint64_t written = 0;
    while (put_frame(journal, written, "0123456789012345678901234567890123456789") == 0)
        written++;
    assert_true(written > 10000);
    assert_non_null(strstr(journal_ended(journal), "limit"));
    assert_int_equal(put_frame(journal, written, NULL), KEEL_ENOSPACE);
    journal_close(journal);
    JournalReader *reader = read_it();
    assert_int_equal(count_frames(reader), written);
    journal_read_close(reader);
}

static void a_full_disk_ends_it_without_a_signal(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit = {10 << 20, 10 << 20};
        setrlimit(RLIMIT_FSIZE, &limit); /* as ENOSPC, for whoever can't mount a small disk */
        Journal *journal;
        Error err;
        if (journal_create(path, NULL, &journal, &err))
            _exit(1);
        uint64_t written = 0;
        while (written < 1000000 && put_frame(journal, written, "0123456789") == 0)
            written++;
        if (written < 10000 || !strstr(journal_ended(journal), "no room"))
            _exit(2);
        journal_close(journal);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    JournalReader *reader = read_it();
    assert_true(count_frames(reader) > 10000);
    journal_read_close(reader);
}

static void other_files_are_left_alone(void **unused)
{
    (void)unused;
    FILE *file = fopen(path, "w");
    fputs("int main(void) { return 0; }\n", file);
    fclose(file);
    Journal *journal = NULL;
    Error err;
    assert_int_equal(journal_create(path, NULL, &journal, &err), KEEL_EBUSY);
    assert_non_null(strstr(err.text, "no journal"));
    unlink(path);
    journal = begin(NULL);
    Journal *second = NULL;
    assert_int_equal(journal_create(path, NULL, &second, &err), KEEL_EBUSY);
    assert_non_null(strstr(err.text, "another host writes"));
    journal_close(journal);
    journal_close(begin(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back_with_their_events),
        cmocka_unit_test(a_killed_writer_loses_nothing),
        cmocka_unit_test(images_are_kept_once_and_whole),
        cmocka_unit_test(any_flipped_bit_ends_it_there),
        cmocka_unit_test(a_record_of_another_journal_is_none_of_this),
        cmocka_unit_test(a_full_journal_says_so_and_keeps_what_it_has),
        cmocka_unit_test(a_full_disk_ends_it_without_a_signal),
        cmocka_unit_test(other_files_are_left_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
