/* `keel inspect`: the answers people and scripts get, and the child in which the deep look is
 * taken. */
#include "base/sanitizer.h"
#include "image_files.h"

#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

/* The child is the program's, not the library's. */
#include "app/apart.c"

#define BALL KEEL_TEST_MODULES "/ball.so"
#define FIXTURE(name) KEEL_TEST_FIXTURES "/" name ".so"

static char output[65536];
static char folder[] = "/tmp/keel-test-inspect-XXXXXX";

/* Runs `keel inspect <arguments>`; returns its exit status, `output` holds what it said on both
 * streams. */
static int inspect(const char *arguments)
{
    char command[2048];
    snprintf(command, sizeof command, "%s inspect %s 2>&1", KEEL_TEST_PROGRAM, arguments);
    FILE *f = popen(command, "re");
    assert_non_null(f);
    size_t n = fread(output, 1, sizeof output - 1, f);
    output[n] = 0;
    int status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void says(const char *part)
{
    if (!strstr(output, part))
        fail_msg("wanted \"%s\" in: %s", part, output);
}

static void refuses(const char *path, const char *part)
{
    assert_int_equal(inspect(path), 1);
    assert_int_equal(strncmp(output, "refused: ", 9), 0);
    says(part);
}

static void a_module_is_accepted(void **unused)
{
    (void)unused;
    assert_int_equal(inspect(BALL), 0);
    assert_int_equal(strncmp(output, "accepted: ", 10), 0);
    says("ball 1.0");
    says("keel_module");
}

static void json_says_the_same(void **unused)
{
    (void)unused;
    assert_int_equal(inspect("--json " BALL), 0);
    json_t *o = json_loads(output, 0, NULL);
    assert_true(json_is_true(json_object_get(o, "accepted")));
    json_t *module = json_object_get(o, "module");
    assert_string_equal(json_string_value(json_object_get(module, "name")), "ball");
    assert_int_equal(strlen(json_string_value(json_object_get(o, "hash"))), 32);
    json_t *exports = json_object_get(json_object_get(o, "inspection"), "exports");
    assert_true(json_integer_value(json_object_get(exports, "count")) >= 1);
    json_decref(o);

    assert_int_equal(inspect("--json " FIXTURE("fx_nodelete")), 1);
    o = json_loads(output, 0, NULL);
    assert_true(json_is_false(json_object_get(o, "accepted")));
    assert_string_equal(json_string_value(json_object_get(o, "code")), "EIMAGE");
    assert_non_null(strstr(json_string_value(json_object_get(o, "reason")), "-z nodelete"));
    json_decref(o);
}

/* What it needs, keeps and lacks, in both forms. */
static void all_is_told(void **unused)
{
    (void)unused;
    assert_int_equal(inspect(BALL), 0);
    says("state         struct ball, 24 bytes: float x, float y, float vx, float vy, uint64_t "
         "bounces");
    says("libc.so.6 → /");
    says(".text ");
    says("carries       symbols, debug information, link relocations, malloc shim");
    assert_null(strstr(output, "lacks"));
    assert_int_equal(inspect("--json " BALL), 0);
    json_t *o = json_loads(output, 0, NULL), *path;
    json_t *type = json_array_get(json_object_get(o, "state_types"), 0);
    assert_string_equal(json_string_value(json_object_get(type, "name")), "struct ball");
    assert_int_equal(json_array_size(json_object_get(type, "fields")), 5);
    path = json_object_get(json_array_get(json_object_get(o, "libraries"), 0), "path");
    assert_int_equal(access(json_string_value(path), R_OK), 0);
    assert_true(json_array_size(json_object_get(o, "sections")) > 5);
    assert_int_equal(json_array_size(json_object_get(o, "lacks")), 0);
    json_decref(o);
    inspect(FIXTURE("fx_missing_library"));
    says("not found: it can't be loaded here");
    inspect(FIXTURE("bare_exit_lazy"));
    says("malloc shim: its memory is libc's: undo doesn't cover it, and exit() ends the host");
    says("link relocations: rebuilds of the same code are swapped");
    says("symbols bound late: a missing one ends a frame (link with -z now)");
    inspect(FIXTURE("fx_nodelete"));
    says("nodelete: it could never be unloaded");
}

static void real_builds_are_refused(void **unused)
{
    (void)unused;
    refuses(FIXTURE("fx_nodelete"), "-z nodelete");
#if !defined(__clang__)
    refuses(FIXTURE("fx_unique"), "compile it with -fno-gnu-unique");
#endif
#if !UNDER_ASAN && !UNDER_TSAN
    refuses(FIXTURE("fx_sanitized"), "the runtime of AddressSanitizer");
#endif
    refuses("/proc/self/exe", "it is a program");
    refuses("/tmp", "it is a folder");
    char path[128], command[256];
    snprintf(path, sizeof path, "%s/cut.so", folder);
    Blob ball = blob_read(BALL);
    write_file(path, ball.data, ball.bytes / 2);
    refuses(path, "it is cut short");
    free(ball.data);
    unlink(path);
    /* A name that would clear the screen, and that isn't UTF-8. */
    snprintf(path, sizeof path, "%s/\033[2J\xff.so", folder);
    write_file(path, "int x;\n", 7);
    snprintf(command, sizeof command, "'%s'", path);
    refuses(command, "source text");
    assert_null(strchr(output, '\033'));
    snprintf(command, sizeof command, "--json '%s'", path);
    assert_int_equal(inspect(command), 1);
    json_t *o = json_loads(output, 0, NULL);
    assert_non_null(o);
    json_decref(o);
    unlink(path);
}

static void wrong_commands_are_answered(void **unused)
{
    (void)unused;
    assert_int_equal(inspect(""), 2);
    says("it needs a file");
    assert_int_equal(inspect("/nonexistent/x.so"), 2);
    says("No such file");
    assert_int_equal(inspect("--jsn " BALL), 2);
    says("there is no option --jsn");
    assert_int_equal(inspect(BALL " " BALL), 2);
    says("one file");
    assert_int_equal(inspect("--help"), 0);
    says("example: ");
}

static void the_child_takes_the_harm(void **unused)
{
    (void)unused;
    static Inspection seen;
    Error err = {0};
    /* Bytes that fault when they are read stand for a hole in the reader. */
    void *trap = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(trap != MAP_FAILED);
    assert_int_equal(inspect_apart(trap, 1 << 20, &seen, &err), KEEL_EFAULT);
    assert_non_null(strstr(err.text, "damaged or malicious"));
    munmap(trap, 1 << 20);
    Blob ball = blob_read(BALL);
    assert_int_equal(inspect_apart(ball.data, ball.bytes, &seen, &err), 0);
    assert_int_equal(seen.exports_module, 1);
    assert_int_equal(inspect_apart(ball.data, 100, &seen, &err), KEEL_EIMAGE);
    free(ball.data);
}

static int spin(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                Error *err)
{
    (void)data, (void)bytes, (void)ret, (void)room, (void)ret_bytes, (void)err;
    for (volatile unsigned i = 0;; i++)
        ;
    return 0;
}

static int sleep_for_ever(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                          Error *err)
{
    static int nobody;
    (void)data, (void)bytes, (void)ret, (void)room, (void)ret_bytes, (void)err;
    syscall(SYS_futex, &nobody, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
    return 0;
}

static int hoard(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    (void)data, (void)bytes, (void)ret, (void)room, (void)ret_bytes;
    for (int i = 0; i < 4096; i++) {
        char *p = malloc(1 << 20);
        if (!p)
            return err_set(err, KEEL_ENOMEM, "that is all");
        memset(p, 1, 1 << 20);
    }
    return 0;
}

static int lie(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
               Error *err)
{
    (void)data, (void)bytes, (void)ret, (void)err;
    *ret_bytes = room + 1;
    return 0;
}

static void the_child_has_limits(void **unused)
{
    (void)unused;
    const ApartLimits limits = {.cpu_seconds = 1, .memory_bytes = 64 << 20};
    Apart found;
    Error err = {0};
    if (apart_run(spin, "", 0, 4096, &limits, &found, &err) != KEEL_ETIMEOUT)
        fail_msg("%s", err.text);
    assert_int_equal(apart_run(sleep_for_ever, "", 0, 4096, &limits, &found, &err), KEEL_ETIMEOUT);
#if !UNDER_ASAN && !UNDER_TSAN
    assert_int_equal(apart_run(hoard, "", 0, 4096, &limits, &found, &err), KEEL_ENOMEM);
    assert_non_null(strstr(err.text, "that is all"));
#else
    (void)hoard;
#endif
    assert_int_equal(apart_run(lie, "", 0, 4096, &limits, &found, &err), KEEL_EFAULT);
    assert_non_null(strstr(err.text, "nonsense"));
}

static void the_child_can_open_and_send_nothing(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (!child) {
            if (set_limits(&APART_AT_LEISURE) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
                set_filter())
                _exit(9);
            if (i == 0)
                open("/etc/passwd", O_RDONLY);
            if (i == 1 && write(STDOUT_FILENO, "x", 1))
                _exit(1);
            if (i == 2)
                fork();
            _exit(1);
        }
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
}

static int set_up(void **unused)
{
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

static int clean_up(void **unused)
{
    (void)unused;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_is_accepted),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(all_is_told),
        cmocka_unit_test(real_builds_are_refused),
        cmocka_unit_test(wrong_commands_are_answered),
        cmocka_unit_test(the_child_takes_the_harm),
        cmocka_unit_test(the_child_has_limits),
        cmocka_unit_test(the_child_can_open_and_send_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
