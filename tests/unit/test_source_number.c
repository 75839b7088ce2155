/* app/source_number: the one number of a KEEL_TWEAK is found and replaced, and whatever could be
 * another one is refused. */
#include "app/source_number.c"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void finds(const char *text, const char *name, const char *number, int line)
{
    SourceNumber found;
    Error err = {0};
    assert_int_equal(source_number_find(text, name, "m.c", &found, &err), KEEL_OK);
    assert_int_equal(found.line, line);
    assert_int_equal(found.bytes, strlen(number));
    assert_memory_equal(text + found.at, number, found.bytes);
}

static void refuses(const char *text, const char *name, int code, const char *words)
{
    SourceNumber found;
    Error err = {0};
    assert_int_equal(source_number_find(text, name, "m.c", &found, &err), code);
    assert_non_null(strstr(err.text, words));
}

static void the_number_is_found(void **unused)
{
    (void)unused;
    finds("x = KEEL_TWEAK(k, g, 9.8, 0, 20);", "g", "9.8", 1);
    finds("\n\nKEEL_TWEAK ( keel_of(a, b),\n  g , -2.5f /* down */, -9, 9)", "g", "-2.5f", 4);
    finds("KEEL_TWEAK(k, gx, 1, 0, 2); KEEL_TWEAK(k, g, 2, 0, 3)", "g", "2", 1);
    finds("KEEL_TWEAK(k, g, 2, 0, 3) + KEEL_TWEAK(k, h, 5, 0, 9)", "h", "5", 1);
    finds("KEEL_TWEAK_COLOR(k, sky, 0x102030ff)", "sky", "0x102030ff", 1);
    finds("KEEL_TWEAK_SWITCH(k, on, 1)", "on", "1", 1);
    finds("f(KEEL_TWEAK(k, g, .5, 0, 1))", "g", ".5", 1);
    finds("KEEL_TWEAK(k, g, 1'000, 0, 20'000);", "g", "1'000", 1);
    finds("x = 1'000 + KEEL_TWEAK(k, g, 5, 0, 0x1'f) + 'a';", "g", "5", 1);
    finds("KEEL_TWEAK(k, g, 5, u8')', L'\\'')", "g", "5", 1);
    finds("#define X 1'000\nKEEL_TWEAK(k, g, 5, 0, 9) '", "g", "5", 2);
}

static void what_only_looks_like_one_is_passed_over(void **unused)
{
    (void)unused;
    static const char real[] = "KEEL_TWEAK(k, g, 7, 0, 9)";
    static const char *const dead[] = {
        "// KEEL_TWEAK(k, g, 1, 0, 9)\n",        "// \\\nKEEL_TWEAK(k, g, 1, 0, 9)\n",
        "/* KEEL_TWEAK(k, g, 1, 0, 9) */",       "\"KEEL_TWEAK(k, g, 1, 0, 9)\" ",
        "\"\\\"KEEL_TWEAK(k, g, 1, 0, 9)\" ",    "R\"x(\" KEEL_TWEAK(k, g, 1, 0, 9))x\" ",
        "#define G KEEL_TWEAK(k, g, 1, 0, 9)\n", "#define G \\\n KEEL_TWEAK(k, g, 1, 0, 9)\n",
        "MY_KEEL_TWEAK(k, g, 1, 0, 9) ",         "KEEL_TWEAKS(k, g, 1, 0, 9) ",
        "KEEL_TWEAK(k, \"g\", 1, 0, 9) ",        "'\"' "};
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s%s", dead[i], real);
        SourceNumber found;
        Error err = {0};
        assert_int_equal(source_number_find(text, "g", "m.c", &found, &err), KEEL_OK);
        assert_int_equal(found.at, strlen(dead[i]) + 17);
    }
}

static void what_isnt_clear_is_refused(void **unused)
{
    (void)unused;
    refuses("KEEL_TWEAK(k, g, 1, 0, 9)\nKEEL_TWEAK(k, g, 1, 0, 9)", "g", KEEL_EREFUSED,
            "lines 1 and 2");
    refuses("KEEL_TWEAK(k, h, 1, 0, 9)", "g", KEEL_ENOTFOUND, "any more");
    refuses("KEEL_TWEAK(k, g, G, 0, 9)", "g", KEEL_EREFUSED, "\"G\", not a plain number");
    refuses("KEEL_TWEAK(k, g, 1 + 2, 0, 9)", "g", KEEL_EREFUSED, "plain number");
    refuses("KEEL_TWEAK(k, g, 017, 0, 20)", "g", KEEL_EREFUSED, "plain number");
    refuses("KEEL_TWEAK(k, g, 1_km, 0, 20)", "g", KEEL_EREFUSED, "plain number");
    refuses("KEEL_TWEAK(k, g, 1'km, 0, 20)", "g", KEEL_EREFUSED, "plain number");
    refuses("KEEL_TWEAK(k, g, inf, 0, 20)", "g", KEEL_EREFUSED, "plain number");
    refuses("KEEL_TWEAK(k, g", "g", KEEL_ENOTFOUND, "any more");
    refuses("\"KEEL_TWEAK(k, g, 1, 0, 9)", "g", KEEL_ENOTFOUND, "any more");
    refuses("", "g", KEEL_ENOTFOUND, "any more");
}

static void becomes(const char *was, uint32_t kind, double value, const char *text)
{
    char room[64];
    assert_int_equal(source_number_text(was, strlen(was), kind, value, 1e-8, room, sizeof room),
                     strlen(text));
    assert_string_equal(room, text);
}

static void numbers_are_short_and_keep_their_type(void **unused)
{
    (void)unused;
    becomes("9.8", KEEL_TWEAK_REAL, 3.5, "3.5");
    becomes("9.8", KEEL_TWEAK_REAL, 3, "3.0");
    becomes("2.5f", KEEL_TWEAK_REAL, 4, "4.0f");
    becomes("2.5f", KEEL_TWEAK_REAL, (double)0.1f, "0.1f");
    becomes("9.8", KEEL_TWEAK_REAL, -0.000125, "-0.000125");
    becomes("900.0", KEEL_TWEAK_REAL, 1200, "1200.0");
    becomes("12", KEEL_TWEAK_INT, 40, "40");
    becomes("12u", KEEL_TWEAK_INT, 40, "40u");
    becomes("1'000", KEEL_TWEAK_INT, 1500, "1500");
    becomes("10'000ul", KEEL_TWEAK_INT, 1500, "1500ul");
    becomes("0xff'ffu", KEEL_TWEAK_INT, 255, "0xffu");
    becomes("1'000.5f", KEEL_TWEAK_REAL, 2, "2.0f");
    becomes("0x10", KEEL_TWEAK_INT, 255, "0xff");
    becomes("0x102030ff", KEEL_TWEAK_COLOR, 0x00ff88ff, "0x00ff88ff");
    becomes("1", KEEL_TWEAK_SWITCH, 0, "0");
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void holds(const char *path, const char *text)
{
    char room[400] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(room, 1, sizeof room - 1, f);
    fclose(f);
    room[n] = 0;
    assert_string_equal(room, text);
}

static void the_file_is_replaced_and_nothing_else_changes(void **unused)
{
    (void)unused;
    char folder[] = "/tmp/keel-number-XXXXXX", path[64], link[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.c", folder);
    snprintf(link, sizeof link, "%s/l.c", folder);
    put(path, "// \xc3\xa4\n\tg = KEEL_TWEAK(k, g, 9.8, 0, 20); // keep\n");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink("m.c", link), 0);
    Error err = {0};
    int line = 0;
    assert_int_equal(source_number_write(link, "g", KEEL_TWEAK_REAL, 9.8, 3.5, 1e-8, &line, &err),
                     KEEL_OK);
    assert_int_equal(line, 2);
    holds(path, "// \xc3\xa4\n\tg = KEEL_TWEAK(k, g, 3.5, 0, 20); // keep\n");
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);

    /* The same again is no change; and the running code must know the number that stands there. */
    assert_int_equal(source_number_write(path, "g", KEEL_TWEAK_REAL, 9.8, 3.5, 1e-8, &line, &err),
                     KEEL_ESAME);
    assert_int_equal(source_number_write(path, "g", KEEL_TWEAK_REAL, 9.8, 4.5, 1e-8, &line, &err),
                     KEEL_ECHANGED);
    assert_non_null(strstr(err.text, "3.5 there, and 9.8 in the code that runs"));
    holds(path, "// \xc3\xa4\n\tg = KEEL_TWEAK(k, g, 3.5, 0, 20); // keep\n");

    put(path, "g = KEEL_TWEAK(k, g, G, 0, 20);\n");
    assert_int_equal(source_number_write(path, "g", KEEL_TWEAK_REAL, 9.8, 4.5, 1e-8, &line, &err),
                     KEEL_EREFUSED);
    holds(path, "g = KEEL_TWEAK(k, g, G, 0, 20);\n");
    assert_int_equal(source_number_write(folder, "g", KEEL_TWEAK_REAL, 9.8, 4.5, 1e-8, &line, &err),
                     KEEL_EIO);
    unlink(link);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing was left beside it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_is_found),
        cmocka_unit_test(what_only_looks_like_one_is_passed_over),
        cmocka_unit_test(what_isnt_clear_is_refused),
        cmocka_unit_test(numbers_are_short_and_keep_their_type),
        cmocka_unit_test(the_file_is_replaced_and_nothing_else_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
