/* image/types_section: added, found, replaced; no bytes harm what looks for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "image/types_section.h"
#include "image_files.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

static void it_is_added_found_and_replaced(void **unused)
{
    (void)unused;
    Blob ball = blob_read(BALL);
    Buf once = {0}, twice = {0};
    Error err = {0};
    size_t bytes = 0;
    assert_null(types_section_find(ball.data, ball.bytes, &bytes));
    assert_int_equal(types_section_add(ball.data, ball.bytes, "hello", 5, &once, &err), 0);
    const void *found = types_section_find(once.data, once.bytes, &bytes);
    assert_non_null(found);
    assert_int_equal(bytes, 5);
    assert_memory_equal(found, "hello", 5);
    assert_memory_equal(once.data + sizeof(Elf64_Ehdr), ball.data + sizeof(Elf64_Ehdr),
                        ball.bytes - sizeof(Elf64_Ehdr)); /* nothing is moved */
    assert_int_equal(types_section_add(once.data, once.bytes, "again", 5, &twice, &err), 0);
    found = types_section_find(twice.data, twice.bytes, &bytes);
    assert_memory_equal(found, "again", 5);
    Elf64_Ehdr first, second;
    memcpy(&first, once.data, sizeof first);
    memcpy(&second, twice.data, sizeof second);
    assert_int_equal(first.e_shnum, second.e_shnum);
    buf_done(&once);
    buf_done(&twice);
    free(ball.data);
}

static void damage_is_survived(void **unused)
{
    (void)unused;
    Blob ball = blob_read(BALL);
    Buf whole = {0}, more = {0};
    Error err = {0};
    size_t bytes;
    uint64_t seed = 7;
    int lost = 0;
    assert_int_equal(types_section_add(ball.data, ball.bytes, "hello", 5, &whole, &err), 0);
    uint8_t *copy = malloc(whole.bytes);
    for (int round = 0; round < 4000; round++) {
        memcpy(copy, whole.data, whole.bytes);
        size_t length = whole.bytes;
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 20) % (round % 2 ? 64 : whole.bytes - ball.bytes);
            copy[round % 2 ? at : ball.bytes + at] = (uint8_t)(seed >> 56);
        }
        if (round % 8 == 7)
            length = (seed >> 24) % length;
        const char *found = types_section_find(copy, length, &bytes);
        if (found)
            assert_true((const uint8_t *)found >= copy && bytes <= length &&
                        (const uint8_t *)found + bytes <= copy + length);
        else
            lost++;
        if (!types_section_add(copy, length, "x", 1, &more, &err))
            assert_true(more.bytes > length);
        more.bytes = 0;
    }
    assert_true(lost > 100 && lost < 4000);
    assert_int_equal(types_section_add("text", 4, "x", 1, &more, &err), KEEL_EIMAGE);
    free(copy);
    buf_done(&whole);
    buf_done(&more);
    free(ball.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_added_found_and_replaced),
        cmocka_unit_test(damage_is_survived),
    };
    return cmocka_run_group_tests_name("types section", tests, NULL, NULL);
}
