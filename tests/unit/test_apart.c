/* app/apart: what one child found can't be changed by the next, which may have been taken over by
 * the bytes it reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "app/apart.h"

enum { ROOM = 1 << 20 };

static const char FOUND[] = "what the first one found";
static Apart first;

static int find(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                Error *err)
{
    (void)data;
    (void)bytes;
    (void)room;
    (void)err;
    memcpy(ret, FOUND, sizeof FOUND);
    *ret_bytes = sizeof FOUND;
    return KEEL_OK;
}

/* Tells what it managed, a letter each. */
static int attack(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                  Error *err)
{
    char *said = ret;
    (void)data;
    (void)bytes;
    (void)room;
    (void)err;
    said[0] = memcmp(first.data, FOUND, sizeof FOUND) ? '-' : 'r';
    said[1] = mprotect(first.mapping, first.mapped, PROT_READ | PROT_WRITE) ? '-' : 'p';
    char *own = mmap(NULL, first.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, first.memfd, 0);
    said[2] = own == MAP_FAILED ? '-' : 'm';
    if (said[1] == 'p')
        *(char *)first.mapping = 'X';
    if (own != MAP_FAILED)
        *own = 'Y';
    *ret_bytes = 4;
    return KEEL_OK;
}

static int find_nothing(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                        Error *err)
{
    (void)data;
    (void)bytes;
    (void)ret;
    (void)room;
    (void)err;
    *ret_bytes = 0;
    return KEEL_OK;
}

static void what_was_found_stays_as_it_is(void **unused)
{
    (void)unused;
    Apart second = {0};
    Error err = {0};
    assert_int_equal(apart_run(find, "", 1, ROOM, &APART_AT_LEISURE, &first, &err), KEEL_OK);
    assert_int_equal(first.bytes, sizeof FOUND);
    assert_string_equal(first.data, FOUND);
    assert_int_equal(apart_run(attack, "", 1, ROOM, &APART_AT_LEISURE, &second, &err), KEEL_OK);
    assert_string_equal(second.data, "r--");
    assert_string_equal(first.data, FOUND);
    apart_done(&second);
    apart_done(&first);
}

static void nothing_is_nonsense(void **unused)
{
    (void)unused;
    Apart none = {0};
    Error err = {0};
    assert_int_equal(apart_run(find_nothing, "", 1, ROOM, &APART_AT_LEISURE, &none, &err),
                     KEEL_EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_found_stays_as_it_is),
        cmocka_unit_test(nothing_is_nonsense),
    };
    return cmocka_run_group_tests_name("apart", tests, NULL, NULL);
}
