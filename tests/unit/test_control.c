/* control/: the server against clients that are slow, rude, many, or gone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "control/client.h"
#include "control/server.h"

enum { HELD_MAX = 256 };
static const int64_t LONG_NS = 20000000000;

static char folder[] = "/tmp/keel-test-control-XXXXXX";
static char path[64];
static Loop *loop;
static Server *server;

/* ---- the commands; all of this on the loop thread ---- */

static Request *held[HELD_MAX];
static int held_count, told_gone;

static void run_echo(Request *request, void *user)
{
    assert_ptr_equal(user, &held_count);
    request_reply(request, json_deep_copy(json_object_get(request_args(request), "what")));
}

static void run_hold(Request *request, void *user)
{
    (void)user;
    held[held_count++] = request;
}

static void run_big(Request *request, void *user)
{
    (void)user;
    json_int_t bytes = json_integer_value(json_object_get(request_args(request), "bytes"));
    char *text = malloc((size_t)bytes);
    memset(text, 'x', (size_t)bytes);
    request_reply(request, json_pack("{s:s#}", "text", text, (int)bytes));
    free(text);
}

static void run_broken(Request *request, void *user)
{
    (void)user;
    request_fail(request, KEEL_EBUSY, "no UTF-8: \xff\xc3%s", "\xe2\x82");
}

static const Command commands[] = {
    {"echo", "Gives back what it got.", run_echo},
    {"hold", "Answers later.", run_hold},
    {"big", "Answers at length.", run_big},
    {"broken", "Fails.", run_broken},
    {NULL, NULL, NULL},
};

static void release(void *user)
{
    size_t bytes = user ? *(size_t *)user : 0;
    told_gone = 0;
    /* An answer makes room: more requests may be held while this goes on. */
    Request *now[HELD_MAX];
    int count = held_count;
    memcpy(now, held, sizeof now);
    held_count = 0;
    for (int i = 0; i < count; i++) {
        Request *request = now[i];
        told_gone += request_gone(request);
        if (bytes) {
            char *text = malloc(bytes);
            memset(text, 'y', bytes);
            request_reply(request, json_pack("{s:s#}", "text", text, (int)bytes));
            free(text);
        } else {
            request_reply(request, NULL);
        }
    }
}

static void read_held(void *user)
{
    *(int *)user = held_count;
}

static void wait_held(int wanted)
{
    int n = -1;
    for (int64_t end = clock_now_ns() + LONG_NS; n != wanted && clock_now_ns() < end; usleep(1000))
        loop_call(loop, read_held, &n);
    assert_int_equal(n, wanted);
}

static int setup(void **state)
{
    (void)state;
    if (loop_new(&loop, NULL))
        return -1;
    return server_new(loop, path, commands, &held_count, &server, NULL);
}

static int teardown(void **state)
{
    (void)state;
    server_free(server);
    loop_call(loop, release, NULL);
    loop_free(loop);
    return 0;
}

/* ---- a client without manners ---- */

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, const char *text)
{
    size_t bytes = strlen(text);
    assert_int_equal(send(fd, text, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
}

/* One line without its newline; NULL at the end. Valid until the next call. */
static const char *hear(int fd)
{
    static char line[1 << 16];
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t got = recv(fd, &c, 1, 0);
        if (got < 0 && errno == EAGAIN)
            fail_msg("no answer in 20 seconds");
        if (got <= 0)
            return NULL;
        if (c == '\n')
            break;
        assert_true(n < sizeof line - 1);
        line[n++] = c;
    }
    line[n] = 0;
    return line;
}

static void expect(int fd, const char *question, const char *wanted)
{
    say(fd, question);
    const char *line = hear(fd);
    assert_non_null(line);
    assert_string_equal(line, wanted);
}

/* The answer holds every one of the texts up to NULL. */
static void expect_error(const char *line, const char *code, const char *text)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"ok\":false,\"error\":{\"code\":\"%s\"", code);
    assert_non_null(line);
    if (!strstr(line, wanted) || !strstr(line, text))
        fail_msg("wanted %s with '%s', got %s", code, text, line);
}

/* ---- tests ---- */

static void the_id_comes_back_as_it_was(void **unused)
{
    (void)unused;
    int fd = dial();
    expect(fd, "{\"id\":7,\"cmd\":\"echo\",\"what\":{\"a\":[1,null]}}\n",
           "{\"id\":7,\"ok\":true,\"result\":{\"a\":[1,null]}}");
    expect(fd, "{\"id\":\"seven\",\"cmd\":\"echo\",\"what\":{}}\r\n",
           "{\"id\":\"seven\",\"ok\":true,\"result\":{}}");
    expect(fd, "\n \n{\"cmd\":\"echo\",\"id\":{\"x\":[true,1.5]},\"what\":{}}\n",
           "{\"id\":{\"x\":[true,1.5]},\"ok\":true,\"result\":{}}");
    expect(fd, "{\"id\":null,\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    expect(fd, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    expect(fd, "{\"id\":1,\"cmd\":\"nothing \\n here\"}\n",
           "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"ENOTFOUND\",\"text\":\"there is no "
           "command 'nothing \\n here': \\\"help\\\" lists them\"}}");
    expect(fd, "{\"id\":2,\"cmd\":\"broken\"}\n",
           "{\"id\":2,\"ok\":false,\"error\":{\"code\":\"EBUSY\",\"text\":\"no UTF-8: "
           "????\"}}");
    say(fd, "{\"cmd\":\"help\"}\n");
    assert_non_null(strstr(hear(fd), "{\"name\":\"hold\",\"help\":\"Answers later.\"}"));
    close(fd);
}

static void what_is_no_request_is_refused_and_the_client_stays(void **unused)
{
    (void)unused;
    int fd = dial();
    static const char *const lines[] = {
        "{",
        "hello",
        "[]",
        "\"cmd\"",
        "{} {}",
        "{\"cmd\":\"echo\",\"cmd\":\"hold\"}",
        "{\"cmd\":\"\xff\"}",
        "{\"cmd\":\"\\u0000\"}",
        "{\"cmd\":1e999}",
        "{\"cmd\":99999999999999999999999}",
        "{\"id\":1}",
        "{\"cmd\":7}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        say(fd, lines[i]);
        say(fd, "\n");
        expect_error(hear(fd), "EPROTOCOL", "");
    }
    assert_int_equal(send(fd, "{\"cmd\":\0\"x\"}\n", 13, 0), 13);
    expect_error(hear(fd), "EPROTOCOL", "");

    char deep[60002];
    memset(deep, '[', 60000);
    strcpy(deep + 60000, "\n");
    say(fd, deep);
    expect_error(hear(fd), "EPROTOCOL", "nests deeper than 32");
    /* Brackets in a string are no nesting; an escaped quote doesn't end it. */
    expect(fd, "{\"cmd\":\"echo\",\"id\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}\n",
           "{\"id\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"ok\":true,"
           "\"result\":{}}");
    close(fd);
}

static void a_line_of_a_megabyte_is_answered_and_ended(void **unused)
{
    (void)unused;
    int good = dial(), bad = dial();
    char *big = malloc(1 << 20);
    memset(big, 'a', 1 << 20);
    size_t sent = 0;
    while (sent < 1 << 20) {
        ssize_t n = send(bad, big + sent, (1 << 20) - sent, MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent += (size_t)n;
    }
    expect_error(hear(bad), "ELIMIT", "65,536");
    assert_null(hear(bad));
    close(bad);

    /* The longest line that is allowed, in one piece and one byte longer. */
    for (int extra = 0; extra <= 1; extra++) {
        int fd = dial();
        int head = snprintf(big, 64, "{\"cmd\":\"echo\",\"id\":\"");
        memset(big + head, 'b', 65536);
        strcpy(big + 65536 + extra - 2, "\"}\n");
        say(fd, big);
        if (extra)
            expect_error(hear(fd), "ELIMIT", "65,536");
        else
            for (char c = 0; c != '\n';)
                assert_int_equal(recv(fd, &c, 1, 0), 1);
        close(fd);
    }
    free(big);
    expect(good, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    close(good);
}

static void requests_come_in_crumbs_and_in_heaps(void **unused)
{
    (void)unused;
    int fd = dial();
    const char *line = "{\"id\":1,\"cmd\":\"echo\"}\n";
    for (const char *c = line; *c; c++) {
        char one[2] = {*c};
        say(fd, one);
    }
    assert_string_equal(hear(fd), "{\"id\":1,\"ok\":true,\"result\":{}}");

    Buf heap = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&heap, "{\"id\":%d,\"cmd\":\"echo\"}\n", i);
    say(fd, buf_text(&heap));
    for (int i = 0; i < 1000; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "{\"id\":%d,\"ok\":true,\"result\":{}}", i);
        assert_string_equal(hear(fd), wanted);
    }
    buf_done(&heap);
    close(fd);
}

static void a_half_closed_client_gets_its_answers(void **unused)
{
    (void)unused;
    int fd = dial();
    say(fd, "{\"id\":1,\"cmd\":\"hold\"}\n{\"id\":2,\"cmd\":\"echo\"}"); /* no newline */
    shutdown(fd, SHUT_WR);
    assert_string_equal(hear(fd), "{\"id\":2,\"ok\":true,\"result\":{}}");
    wait_held(1);
    loop_call(loop, release, NULL);
    assert_int_equal(told_gone, 0);
    assert_string_equal(hear(fd), "{\"id\":1,\"ok\":true,\"result\":{}}");
    assert_null(hear(fd));
    close(fd);
}

static void only_so_many_requests_are_open_at_once(void **unused)
{
    (void)unused;
    int fd = dial();
    for (int i = 0; i < 100; i++)
        say(fd, "{\"cmd\":\"hold\"}\n");
    wait_held(64);
    loop_call(loop, release, NULL);
    wait_held(36);
    loop_call(loop, release, NULL);
    for (int i = 0; i < 100; i++)
        assert_non_null(hear(fd));
    close(fd);
}

static void a_client_that_left_costs_nothing(void **unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        int fd = dial();
        say(fd, "{\"cmd\":\"hold\"}\n");
        wait_held(1);
        close(fd);
        if (i % 2) { /* after the server has seen it go: the ends are handled in their order */
            int other = dial();
            expect(other, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
            close(other);
        }
        loop_call(loop, release, NULL);
    }
    int fd = dial();
    expect(fd, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    close(fd);
}

static void two_hundred_clients_are_served_or_told(void **unused)
{
    (void)unused;
    int fd[200], refused = 0;
    for (int i = 0; i < 200; i++)
        fd[i] = dial();
    for (int i = 0; i < 200; i++) {
        send(fd[i], "{\"cmd\":\"echo\"}\n", 15, MSG_NOSIGNAL);
        const char *line = hear(fd[i]);
        assert_non_null(line);
        if (strcmp(line, "{\"id\":null,\"ok\":true,\"result\":{}}")) {
            expect_error(line, "ELIMIT", "64 clients");
            assert_null(hear(fd[i]));
            refused++;
        }
    }
    assert_int_equal(refused, 200 - 64);
    for (int i = 0; i < 200; i++)
        close(fd[i]);
    /* The places are free again once the server has seen the ends. */
    for (int served = 0; !served; usleep(1000)) {
        int one = dial();
        send(one, "{\"cmd\":\"echo\"}\n", 15, MSG_NOSIGNAL);
        const char *line = hear(one);
        served = line && strstr(line, "\"ok\":true");
        close(one);
    }
}

static size_t drink(int fd)
{
    static char piece[1 << 16];
    size_t total = 0;
    ssize_t n;
    while ((n = recv(fd, piece, sizeof piece, 0)) > 0)
        total += (size_t)n;
    return total;
}

static void a_client_that_does_not_read_is_paused_then_dropped(void **unused)
{
    (void)unused;
    int fd = dial(), good = dial();
    /* Paused: a hundred answers of 60 KB are asked for and only then read, all of them. */
    for (int i = 0; i < 100; i++)
        say(fd, "{\"cmd\":\"big\",\"bytes\":60000}\n");
    expect(good, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    for (int i = 0; i < 100; i++)
        assert_true(strlen(hear(fd)) > 60000);
    /* Dropped: more than can be kept becomes due at once. */
    for (int i = 0; i < 64; i++)
        say(fd, "{\"cmd\":\"hold\"}\n");
    wait_held(64);
    size_t bytes = 1 << 20;
    loop_call(loop, release, &bytes);
    assert_true(drink(fd) < 32 << 20);
    close(fd);
    expect(good, "{\"cmd\":\"echo\"}\n", "{\"id\":null,\"ok\":true,\"result\":{}}");
    /* One answer beyond the limit is an error of its own. */
    say(good, "{\"id\":9,\"cmd\":\"big\",\"bytes\":5000000}\n");
    expect_error(hear(good), "ELIMIT", "too large");
    close(good);
}

static void answers_after_the_server_has_gone_do_nothing(void **unused)
{
    (void)unused;
    int fd = dial();
    say(fd, "{\"cmd\":\"hold\"}\n{\"cmd\":\"hold\"}\n");
    wait_held(2);
    server_free(server);
    server = NULL;
    assert_null(hear(fd));
    loop_call(loop, release, NULL);
    assert_int_equal(told_gone, 2);
    close(fd);
    assert_int_equal(access(path, F_OK), -1);
}

static void only_its_own_user_is_served(void **unused)
{
    (void)unused;
    if (geteuid())
        skip(); /* another user is needed, and only root can be one */
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(path, 0666), 0);
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (!child) {
        if (setgid(65534) || setuid(65534))
            _exit(2);
        int fd = dial();
        char line[512];
        ssize_t n = recv(fd, line, sizeof line, 0);
        _exit(n > 0 && write(out[1], line, (size_t)n) == n ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    char line[512] = "";
    close(out[1]);
    assert_true(read(out[0], line, sizeof line - 1) > 0);
    close(out[0]);
    assert_int_equal(status, 0);
    expect_error(line, "EDENIED", "only the user");
}

static void the_client_library_tells_errors_apart(void **unused)
{
    (void)unused;
    Error err = {0};
    Client *client;
    json_t *result = NULL;
    assert_int_equal(client_open(path, LONG_NS, &client, &err), 0);
    json_t *args = json_pack("{s:{s:i}}", "what", "a", 1);
    assert_int_equal(client_call(client, "echo", args, LONG_NS, &result, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "a")), 1);
    json_decref(result);
    json_decref(args);
    assert_int_equal(client_call(client, "broken", NULL, LONG_NS, &result, &err), KEEL_EBUSY);
    assert_true(client_answered(client));
    assert_non_null(strstr(err.text, "no UTF-8"));
    /* No answer in time; when it comes late it isn't taken for the next one's. */
    assert_int_equal(client_call(client, "hold", NULL, 1000000, &result, &err), KEEL_ETIMEOUT);
    assert_false(client_answered(client));
    wait_held(1);
    loop_call(loop, release, NULL);
    args = json_pack("{s:{s:i}}", "what", "b", 2);
    assert_int_equal(client_call(client, "echo", args, LONG_NS, &result, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "b")), 2);
    json_decref(result);
    json_decref(args);
    /* A refusal reaches a client that is still sending. */
    char *huge = malloc(3 << 20);
    memset(huge, 'h', 3 << 20);
    args = json_pack("{s:s#}", "what", huge, 3 << 20);
    free(huge);
    assert_int_equal(client_call(client, "echo", args, LONG_NS, &result, &err), KEEL_ELIMIT);
    assert_true(client_answered(client));
    json_decref(args);
    client_close(client);

    assert_int_equal(client_open("/nowhere/x.sock", LONG_NS, &client, &err), KEEL_ENOTFOUND);
    assert_non_null(strstr(err.text, "/nowhere/x.sock"));
    assert_int_equal(client_open("../x", LONG_NS, &client, &err), KEEL_ENOTFOUND);
    assert_int_equal(client_open("a b", LONG_NS, &client, &err), KEEL_EINVAL);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/t.sock", folder);
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_id_comes_back_as_it_was),
        CASE(what_is_no_request_is_refused_and_the_client_stays),
        CASE(a_line_of_a_megabyte_is_answered_and_ended),
        CASE(requests_come_in_crumbs_and_in_heaps),
        CASE(a_half_closed_client_gets_its_answers),
        CASE(only_so_many_requests_are_open_at_once),
        CASE(a_client_that_left_costs_nothing),
        CASE(two_hundred_clients_are_served_or_told),
        CASE(a_client_that_does_not_read_is_paused_then_dropped),
        CASE(answers_after_the_server_has_gone_do_nothing),
        CASE(only_its_own_user_is_served),
        CASE(the_client_library_tells_errors_apart),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (rmdir(folder)) {
        fprintf(stderr, "something is left in %s\n", folder);
        failed++;
    }
    return failed;
}
