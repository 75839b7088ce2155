/* base/: errors keep their chain, buffers keep their bytes, the log keeps its newest records. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

static void errors_gain_context(void **unused)
{
    (void)unused;
    Error err = {0};
    assert_int_equal(err_errno(&err, KEEL_EIO, ENOENT, "cannot open %s", "a.so"), KEEL_EIO);
    assert_int_equal(err_wrap(&err, "swap of %s", "a"), KEEL_EIO);
    assert_string_equal(err.text, "swap of a: cannot open a.so: No such file or directory");
    assert_string_equal(err_name(KEEL_ETYPE), "ETYPE");
    assert_string_equal(err_name(-12345), "EUNKNOWN");
    assert_int_equal(err_set(NULL, KEEL_EBUSY, "nobody listens"), KEEL_EBUSY);
}

static void an_overlong_sentence_is_cut(void **unused)
{
    (void)unused;
    char big[4000];
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = 0;
    Error err = {0};
    err_set(&err, KEEL_EIO, "%s", big);
    err_wrap(&err, "%s", big);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void buffers_grow_and_drop(void **unused)
{
    (void)unused;
    Buf buf = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_printf(&buf, "%d,", i), 0);
    buf_drop(&buf, 4);
    assert_memory_equal(buf_text(&buf), "2,3,", 4);
    buf_drop(&buf, SIZE_MAX);
    assert_string_equal(buf_text(&buf), "");
    buf_done(&buf);
    buf_done(&buf);
}

static void hash_is_xxh3_128(void **unused)
{
    (void)unused;
    char text[HASH_TEXT_BYTES];
    /* The published XXH3-128 value of the empty input. */
    assert_string_equal(hash_text(hash_bytes("", 0), text), "99aa06d3014798d86001c324468d497f");
    char data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31);
    Hash a = hash_bytes(data, sizeof data);
    data[4999] ^= 1;
    assert_false(hash_equal(a, hash_bytes(data, sizeof data)));
}

static void log_keeps_the_newest(void **unused)
{
    (void)unused;
    for (int i = 0; i < LOG_RECORDS + 10; i++)
        log_info("test", "line %d", i);
    log_write_raw(LOG_WARN, "raw", "from a handler");
    static LogRecord records[LOG_RECORDS];
    int n = log_read(0, records, LOG_RECORDS);
    assert_int_equal(n, LOG_RECORDS);
    assert_string_equal(records[n - 1].text, "from a handler");
    assert_string_equal(records[0].text, "line 11");
    assert_int_equal(log_read(log_newest() - 1, records, 10), 1);
    assert_int_equal(log_read(log_newest(), records, 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_gain_context),     cmocka_unit_test(an_overlong_sentence_is_cut),
        cmocka_unit_test(buffers_grow_and_drop),   cmocka_unit_test(hash_is_xxh3_128),
        cmocka_unit_test(log_keeps_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
