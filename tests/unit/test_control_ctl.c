/* app/ctl: what it sends, what it prints, how it ends. Against a server with prepared answers. */
#include "app/ctl.c"
#include "app/ctl_live.c"
#include "app/ctl_state.c"
#include "app/source_number.c"
#include "app/status_view.c"
#include "app/text.c"

/* What is in a snapshot is nothing of this test. */
int state_foreign_check(const char *file, Error *err)
{
    (void)file, (void)err;
    return KEEL_OK;
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "control/server.h"

static char folder[] = "/tmp/keel-test-ctl-XXXXXX";
static char socket_path[64];
static Loop *loop;
static Server *server;
static char *asked;       /* the newest request, without its id */
static const char *reply; /* JSON of the next answers; NULL: refuse */
static int log_calls;

static void run_any(Request *request, void *user)
{
    (void)user;
    json_t *args = json_copy((json_t *)(uintptr_t)request_args(request));
    json_object_del(args, "id");
    free(asked);
    asked = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(args);
    if (reply)
        request_reply(request, json_loads(reply, 0, NULL));
    else
        request_fail(request, KEEL_EREFUSED, "not \x1b[31mnow");
}

static void run_log(Request *request, void *user)
{
    if (++log_calls > 2)
        request_fail(request, KEEL_ECANCELED, "the end");
    else
        run_any(request, user);
}

static const Command test_commands[] = {
    {"status", "", run_any}, {"swap", "", run_any},  {"rollback", "", run_any},
    {"input", "", run_any},  {"pause", "", run_any}, {"log", "", run_log},
    {"quit", "", run_any},   {NULL, NULL, NULL},
};

static char out[1 << 16], complaint[1 << 14];

static void fetch(FILE *from, char *to, size_t room)
{
    rewind(from);
    to[fread(to, 1, room - 1, from)] = 0;
    fclose(from);
}

/* Runs `keel ctl --socket S words…` in this process; `out` and `complaint` hold what it said. */
static int ctl(const char *words)
{
    char line[512], *argv[32] = {(char *)"ctl", (char *)"--socket", socket_path};
    int argc = 3;
    snprintf(line, sizeof line, "%s", words);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    FILE *to = tmpfile(), *err_to = tmpfile();
    fflush(stdout);
    int out_fd = dup(1), err_fd = dup(2);
    dup2(fileno(to), 1);
    dup2(fileno(err_to), 2);
    int status = app_ctl(argc, argv);
    fflush(stdout);
    dup2(out_fd, 1);
    dup2(err_fd, 2);
    close(out_fd), close(err_fd);
    fetch(to, out, sizeof out);
    fetch(err_to, complaint, sizeof complaint);
    return status;
}

static void expect_has(const char *text, const char *wanted)
{
    if (!strstr(text, wanted))
        fail_msg("wanted '%s' in: %s", wanted, text);
}

static void requests_are_what_the_host_understands(void **unused)
{
    (void)unused;
    reply = "{\"slots\":[]}";
    assert_int_equal(ctl("swap"), 0);
    assert_string_equal(asked, "{\"cmd\":\"swap\"}");
    assert_int_equal(ctl("swap a b --retry"), 0);
    assert_string_equal(asked, "{\"cmd\":\"swap\",\"retry\":true,\"slots\":[\"a\",\"b\"]}");
    assert_int_equal(ctl("swap a --same --file /usr/../etc/passwd"), 0);
    assert_string_equal(
        asked, "{\"cmd\":\"swap\",\"file\":\"/etc/passwd\",\"same\":true,\"slots\":[\"a\"]}");
    assert_int_equal(ctl("rollback"), 0);
    assert_string_equal(asked, "{\"cmd\":\"rollback\"}");
    assert_int_equal(ctl("rollback a --state before"), 0);
    assert_string_equal(asked, "{\"cmd\":\"rollback\",\"slot\":\"a\",\"state\":\"before\"}");
    assert_int_equal(ctl("pause"), 0);
    assert_string_equal(asked, "{\"cmd\":\"pause\",\"on\":true}");
    assert_int_equal(ctl("pause off"), 0);
    assert_string_equal(asked, "{\"cmd\":\"pause\",\"on\":false}");
    assert_string_equal(out, "goes on\n");
    assert_int_equal(ctl("input down up --slot a"), 0);
    assert_string_equal(asked, "{\"cmd\":\"input\",\"slot\":\"a\",\"steps\":[\"down\",\"up\"]}");
    assert_int_equal(ctl("quit"), 0);
    assert_string_equal(asked, "{\"cmd\":\"quit\"}");
    assert_string_equal(out, "");
}

static void wrong_use_is_one_sentence_and_2(void **unused)
{
    (void)unused;
    static const char *const cases[][2] = {
        {"", "what shall I ask"},
        {"fly", "no command \"fly\""},
        {"status now", "takes no argument"},
        {"quit now", "takes no argument"},
        {"status --fly", "no option --fly"},
        {"swap --file", "--file needs a value"},
        {"swap a b --file x", "--file is for one slot"},
        {"swap --file /nowhere/x.so", "cannot use /nowhere/x.so: No such file"},
        {"status --file x", "belong to swap"},
        {"quit --retry", "belong to swap"},
        {"swap --state now", "belongs to rollback"},
        {"rollback --state then", "now or before, not \"then\""},
        {"rollback a b", "\"b\" is a second"},
        {"input", "which steps?"},
        {"status --slot a", "--slot belongs to tweak and input"},
        {"pause maybe", "on or off, not \"maybe\""},
        {"log -n 0", "not \"0\""},
        {"log -n 10x", "not \"10x\""},
        {"status --timeout nan", "not \"nan\""},
    };
    free(asked);
    asked = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ctl(cases[i][0]), 2);
        expect_has(complaint, cases[i][1]);
        assert_string_equal(out, "");
        assert_ptr_equal(strchr(complaint, '\n'), complaint + strlen(complaint) - 1);
    }
    assert_null(asked); /* and nobody was bothered */
    assert_int_equal(ctl("--help"), 0);
    expect_has(out, "example: keel ctl swap ball");
}

static void a_refusal_is_1_and_no_host_is_2(void **unused)
{
    (void)unused;
    reply = NULL;
    assert_int_equal(ctl("swap"), 1);
    assert_string_equal(complaint, "keel ctl: not ?[31mnow\n");
    assert_int_equal(ctl("swap --json"), 1);
    assert_string_equal(
        out, "{\"ok\":false,\"error\":{\"code\":\"EREFUSED\",\"text\":\"not \\u001B[31mnow\"}}\n");
    assert_int_equal(ctl("status --socket /nowhere/x.sock"), 2);
    expect_has(complaint, "no host listens at /nowhere/x.sock");
    assert_int_equal(ctl("status --json --name nobody-is-called-this"), 2);
    expect_has(out, "\"code\":\"ENOTFOUND\"");
}

static void status_is_a_table(void **unused)
{
    (void)unused;
    reply = "{\"host\":{\"pid\":42,\"version\":\"0.1.0\",\"uptime_s\":123.4,\"frames\":7380,"
            "\"fps\":60.0,"
            "\"paused\":true},\"slots\":["
            "{\"name\":\"ball\",\"version\":\"1.0\",\"generation\":3,\"build_id\":\"1a2b3c4d5e\","
            "\"load_address\":\"0x7f00\",\"phase\":\"probation\",\"probation_left\":37,"
            "\"frames\":1204,\"faults\":0,\"state\":{\"tier\":\"track\",\"used_bytes\":4096,"
            "\"live_objects\":2},\"last\":\"generation 3 runs\"},"
            "{\"name\":\"l\xc3\xad"
            "fe\",\"version\":\"2\",\"generation\":11,\"build_id\":\"\","
            "\"hash\":\"99aa06d3014798d8\",\"phase\":\"running\",\"frames\":1234567,"
            "\"faults\":2,\"state\":{\"tier\":\"off\",\"tier_reason\":\"too \\u001b large\","
            "\"used_bytes\":1610612736,\"live_objects\":12}}],"
            "\"limits\":{\"kernel\":\"6.1\",\"pagemap_scan\":\"not there\",\"leases\":\"yes\"}}";
    assert_int_equal(ctl("status"), 0);
    assert_string_equal(
        out,
        "keel 0.1.0, pid 42, up 2 min 3 s, 7,380 frames, 60.0 a second, PAUSED\n"
        "\n"
        "SLOT  VERSION  GEN  BUILD     AT      PHASE                   FRAMES  FAULTS    STATE  "
        "OBJECTS  UNDO\n"
        "ball  1.0        3  1a2b3c4d  0x7f00  probation, 37 to go      1,204       0    4 KiB  "
        "      2  tracked\n"
        "l\xc3\xad"
        "fe  2         11  99aa06d3          running              1,234,567       2  1.5 GiB  "
        "     12  off\n"
        "\n"
        "  ball: generation 3 runs\n"
        "  l\xc3\xad"
        "fe: too ? large\n"
        "  not available here, pagemap_scan: not there\n");
    assert_int_equal(ctl("status --json"), 0);
    json_t *same = json_loads(out, 0, NULL), *sent = json_loads(reply, 0, NULL);
    assert_true(json_equal(same, sent));
    json_decref(same);
    json_decref(sent);

    /* An older or odd host: what is missing is empty, nothing breaks. */
    static const char *const odd[] = {"{}", "{\"slots\":7}", "{\"slots\":[7,{}]}",
                                      "{\"host\":[],\"limits\":\"none\"}"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        reply = odd[i];
        assert_int_equal(ctl("status"), 0);
        expect_has(out, "keel ");
    }
}

static void swaps_and_logs_are_lines(void **unused)
{
    (void)unused;
    reply = "{\"slots\":[{\"name\":\"a\",\"generation\":4,\"text\":\"\"},"
            "{\"name\":\"b\",\"generation\":9,\"text\":\"taken\"}]}";
    assert_int_equal(ctl("swap a b"), 0);
    assert_string_equal(out, "a: generation 4\nb: taken\n");

    setenv("TZ", "UTC", 1);
    tzset();
    reply = "{\"newest\":8,\"records\":[{\"seq\":8,\"time\":3723.25,\"level\":\"warn\","
            "\"room\":\"swap\",\"text\":\"two\\nlines\"}]}";
    log_calls = 0;
    assert_int_equal(ctl("log -n 5"), 0);
    assert_string_equal(out, "01:02:03.250  warn   swap      two?lines\n");
    assert_string_equal(asked, "{\"after\":0,\"cmd\":\"log\",\"count\":5}");
    log_calls = 0;
    assert_int_equal(ctl("log --follow --json"), 1); /* until the host ends it */
    assert_string_equal(asked, "{\"after\":8,\"cmd\":\"log\",\"count\":1000}");
}

static void numbers_read_well(void **unused)
{
    (void)unused;
    char cell[TEXT_CELL_BYTES];
    assert_string_equal(text_count(cell, 0), "0");
    assert_string_equal(text_count(cell, -1234), "-1,234");
    assert_string_equal(text_count(cell, INT64_MIN), "-9,223,372,036,854,775,808");
    assert_string_equal(text_bytes(cell, 1023), "1023 B");
    assert_string_equal(text_bytes(cell, 1536), "1.5 KiB");
    assert_string_equal(text_bytes(cell, INT64_MAX), "8388608 TiB");
    assert_string_equal(text_duration(cell, -1), "0.0 s");
    assert_string_equal(text_duration(cell, 3599), "59 min 59 s");
    assert_string_equal(text_duration(cell, 90000), "1 d 1 h");
    FILE *file = tmpfile();
    text_print(file, "a\x1b\x7f\xc2\x9b\xff\xe2\x82\xc3\xa9");
    char got[32];
    fetch(file, got, sizeof got);
    assert_string_equal(got, "a??"
                             "????\xc3\xa9");
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(socket_path, sizeof socket_path, "%s/t.sock", folder);
    if (loop_new(&loop, NULL) || server_new(loop, socket_path, test_commands, NULL, &server, NULL))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_what_the_host_understands),
        cmocka_unit_test(wrong_use_is_one_sentence_and_2),
        cmocka_unit_test(a_refusal_is_1_and_no_host_is_2),
        cmocka_unit_test(status_is_a_table),
        cmocka_unit_test(swaps_and_logs_are_lines),
        cmocka_unit_test(numbers_read_well),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_free(server);
    loop_free(loop);
    free(asked);
    rmdir(folder);
    return failed;
}
