/* app/dev_errors: what gcc, clang and linkers wrote, word for word, and what nobody wrote. */
#include "app/dev_errors.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static DevError errors[DEV_ERRORS];
static int all;

static void gcc(void **unused)
{
    (void)unused;
    static const char text[] =
        "m.c: In function \xe2\x80\x98"
        "frame\xe2\x80\x99:\n"
        "m.c:8:18: error: expected expression before \xe2\x80\x98;\xe2\x80\x99 token\n"
        "    8 |     s->count++ + ;\n"
        "      |                  ^\n"
        "m.c:11:5: error: \xe2\x80\x98qq\xe2\x80\x99 undeclared (first use in this function)\n"
        "   11 |     qq = 3;\n"
        "      |     ^~\n"
        "m.c:11:5: note: each undeclared identifier is reported only once\n"
        "m.c:13:9: warning: unused variable \xe2\x80\x98z\xe2\x80\x99 [-Wunused-variable]\n"
        "   13 |     int z;\n"
        "      |         ^\n";
    assert_int_equal(dev_errors_read(text, errors, &all), 2);
    assert_int_equal(all, 2);
    assert_string_equal(errors[0].file, "m.c");
    assert_int_equal(errors[0].line, 8);
    assert_int_equal(errors[0].column, 18);
    assert_string_equal(errors[0].source, "    s->count++ + ;");
    assert_int_equal(errors[0].from, 17);
    assert_int_equal(errors[0].to, 18);
    assert_string_equal(errors[1].source, "    qq = 3;");
    assert_int_equal(errors[1].from, 4);
    assert_int_equal(errors[1].to, 6);
}

static void gcc_in_colour(void **unused)
{
    (void)unused;
    static const char text[] =
        "\x1b[01m\x1b[Km.c:8:18:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kno good\n"
        "    8 |     s->count++ + \x1b[01;31m\x1b[K;\x1b[m\x1b[K\n"
        "      |                  \x1b[01;31m\x1b[K^\x1b[m\x1b[K\n";
    assert_int_equal(dev_errors_read(text, errors, &all), 1);
    assert_string_equal(errors[0].text, "no good");
    assert_string_equal(errors[0].source, "    s->count++ + ;");
    assert_int_equal(errors[0].from, 17);
}

static void clang(void **unused)
{
    (void)unused;
    static const char text[] = "/home/x/m.c:8:18: error: expected expression\n"
                               "    s->count++ + ;\n"
                               "                 ^\n"
                               "/home/x/m.c:11:5: error: use of undeclared identifier 'qq'\n"
                               "    qq = 3;\n"
                               "    ^\n"
                               "2 errors generated.\n";
    assert_int_equal(dev_errors_read(text, errors, &all), 2);
    assert_string_equal(errors[0].file, "/home/x/m.c");
    assert_string_equal(errors[0].source, "    s->count++ + ;");
    assert_int_equal(errors[0].from, 17);
    assert_string_equal(errors[1].text, "use of undeclared identifier 'qq'");
    assert_int_equal(errors[1].line, 11);
}

static void linkers(void **unused)
{
    (void)unused;
    static const char text[] = "ld: /x/.keel/m.o: in function `frame':\n"
                               "/m.c:12: undefined reference to `nowhere'\n"
                               "ld.lld: error: undefined symbol: nowhere\n"
                               ">>> referenced by m.c:12\n";
    assert_int_equal(dev_errors_read(text, errors, &all), 2);
    assert_string_equal(errors[0].text, "undefined reference to `nowhere'");
    assert_string_equal(errors[0].file, "/m.c");
    assert_int_equal(errors[0].line, 12);
    assert_string_equal(errors[1].text, "undefined symbol: nowhere");
    assert_string_equal(errors[1].file, "");
}

static void warnings_alone_and_many_errors(void **unused)
{
    (void)unused;
    assert_int_equal(dev_errors_read("m.c:1:2: warning: hm\n", errors, &all), 1);
    assert_int_equal(errors[0].warning, 1);
    char many[4000] = "m.c:1:2: warning: hm\n";
    for (int i = 0; i < 20; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "m.c:%d:1: error: no\n", i + 1);
    assert_int_equal(dev_errors_read(many, errors, &all), DEV_ERRORS);
    assert_int_equal(all, 20);
    assert_int_equal(errors[0].warning, 0);
    assert_int_equal(errors[0].line, 1);
}

static void nothing_of_the_kind(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "make: *** no rule\n",
                                        " error: \n",
                                        "        x: error: in a source line\n",
                                        "error\n:error:\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(dev_errors_read(texts[i], errors, &all), 0);
    /* Endless lines, marks behind the line's end, numbers without end. */
    static char wild[70000];
    memset(wild, '^', sizeof wild - 1);
    memcpy(wild, "m.c:99999999999999999999:1: error: x\n  x\n", 41);
    assert_int_equal(dev_errors_read(wild, errors, &all), 1);
    assert_int_equal(errors[0].from <= errors[0].to, 1);
    assert_in_range(errors[0].to, 0, 10);
    assert_int_equal(dev_errors_read(": error: x", errors, &all), 1);
    assert_string_equal(errors[0].file, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gcc),
                                       cmocka_unit_test(gcc_in_colour),
                                       cmocka_unit_test(clang),
                                       cmocka_unit_test(linkers),
                                       cmocka_unit_test(warnings_alone_and_many_errors),
                                       cmocka_unit_test(nothing_of_the_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
