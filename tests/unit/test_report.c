/* fault/report: what a report says, where it lies, how many there are, and that one can be written
 * where malloc's lock is lost. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/sanitizer.h"
#include "fault/places.h"
#include "fault/report.h"
#include "fault/report_time.h"

extern char __executable_start[], etext[];

enum { MODULE = 7, TEXT_BYTES = 256 * 1024 };

#define BAD __attribute__((no_sanitize("address", "undefined", "thread")))

static char folder[256]; /* of the running test; $KEEL_REPORTS */
static char text[TEXT_BYTES];

static int make_folder(void **unused)
{
    (void)unused;
    strcpy(folder, "/tmp/keel-test-report-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    strcat(folder, "/a/b");
    return setenv("KEEL_REPORTS", folder, 1);
}

static int remove_folder(void **unused)
{
    (void)unused;
    char command[400];
    folder[strlen(folder) - 4] = 0;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Counts the names that begin so; ret_first, if not NULL, gets the first in order. */
static int count_files(const char *begin, char *ret_first)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort), count = 0;
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        if (!strncmp(entries[i]->d_name, begin, strlen(begin)) && entries[i]->d_name[1] != '.' &&
            strcmp(entries[i]->d_name, ".") != 0 && count++ == 0 && ret_first)
            strcpy(ret_first, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

static const char *read_text(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got < 0)
        fail_msg("cannot read %s", path);
    close(fd);
    text[got] = 0;
    return text;
}

static void has(const char *line)
{
    if (!strstr(text, line))
        fail_msg("\"%s\" is not in\n%s", line, text);
}

static void begin(void)
{
    Error err = {0};
    if (report_begin(&err))
        fail_msg("%s", err.text);
}

static Fault some_fault(uintptr_t pc)
{
    Fault fault = {.kind = FAULT_MEMORY,
                   .signal = SIGSEGV,
                   .code = 1,
                   .thread = gettid(),
                   .address = 0x1234,
                   .pc = pc,
                   .wall_ns = INT64_C(1795325893123000000),
                   .text = "read from 0x1234"};
    return fault;
}

static void a_report_says_it_all(void **unused)
{
    (void)unused;
    begin();
    struct stat st;
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);

    int fd = open("/proc/self/exe", O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    void *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(file, MAP_FAILED);
    close(fd);

    uintptr_t inside = (uintptr_t)a_report_says_it_all + 4;
    Fault fault = some_fault(inside);
    fault.frames[0] = (uintptr_t)make_folder + 9;
    fault.frames[1] = (uintptr_t)strlen + 1;
    fault.frames[2] = 16;
    fault.frame_count = 3;
    uintptr_t first = (uintptr_t)__executable_start;
    ReportModule module = {.generation = 41,
                           .name = "ball",
                           .version = "1.0",
                           .build_id = "abcdef0123",
                           .path = "/some\nwhere/ball.so",
                           .first = first,
                           .last = (uintptr_t)etext,
                           .bias = first,
                           .data = file,
                           .bytes = (size_t)st.st_size};
    Report report = {.fault = &fault,
                     .slot = "left",
                     .outcome = "the frame is undone",
                     .generation = 41,
                     .modules = &module,
                     .module_count = 1};
    log_write(LOG_WARN, "test", "the line before\nand a forged one");
    char path[REPORT_PATH_BYTES];
    Error err = {0};
    if (report_write(&report, path, &err))
        fail_msg("%s", err.text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(count_files(".keel", NULL), 0);

    char line[256];
    read_text(path);
    has("keel fault report 1\n");
    has("\ntime: 2026-11-22 05:38:13.123 UTC\n");
    has("\nslot: left\ngeneration: 41\nfault: read from 0x1234\n");
    has("\nkind: memory, SIGSEGV, code 1, address 0x1234\noutcome: the frame is undone\n");
    has("\nmodule ball 1.0, generation 41\n  build id: abcdef0123\n");
    has("  file: /some where/ball.so\n");
    snprintf(line, sizeof line, "  #0 0x%lx ball+0x%lx in a_report_says_it_all+0x4\n", inside,
             inside - first);
    has(line);
    snprintf(line, sizeof line, "ball+0x%lx in make_folder+0x9\n", fault.frames[0] - first);
    has(line);
    has("  #3 0x10 (nothing is mapped there)\n");
    snprintf(line, sizeof line, "\n  %d test_report: runs", gettid());
    has(line);
    has(" warn test: the line before and a forged one\n");
    assert_string_equal(text + strlen(text) - 14, "end of report\n");
    munmap(file, (size_t)st.st_size);
}

static void libraries_are_named(void **unused)
{
    (void)unused;
    char name[64];
    uintptr_t offset = 0;
    assert_int_equal(places_of_mapping((uintptr_t)a_report_says_it_all, name, sizeof name, &offset),
                     1);
    assert_string_equal(name, "test_report");
    assert_int_equal(offset, (uintptr_t)a_report_says_it_all - (uintptr_t)__executable_start);
    assert_int_equal(places_of_mapping(16, name, sizeof name, &offset), 0);
    assert_int_equal(places_of_mapping((uintptr_t)a_report_says_it_all, name, 5, &offset), 1);
    assert_string_equal(name, "test");
}

static void one_cause_is_told_once(void **unused)
{
    (void)unused;
    begin();
    char path[REPORT_PATH_BYTES];
    Error err = {0};
    Fault fault = some_fault(0x5000);
    Report report = {.fault = &fault, .slot = "once"};
    assert_int_equal(report_write(&report, path, &err), 0);
    assert_string_not_equal(path, "");
    for (int i = 0; i < 10; i++) {
        fault.address += 8; /* the same place, another address */
        assert_int_equal(report_write(&report, path, &err), 0);
        assert_string_equal(path, "");
    }
    assert_int_equal(count_files("keel-", NULL), 1);
    Fault elsewhere = some_fault(0x6000), deadline = some_fault(0x5000);
    deadline.kind = FAULT_DEADLINE;
    report.fault = &elsewhere;
    assert_int_equal(report_write(&report, path, &err), 0);
    assert_string_not_equal(path, "");
    report.fault = &deadline;
    assert_int_equal(report_write(&report, path, &err), 0);
    assert_string_not_equal(path, "");
    report.slot = "other";
    assert_int_equal(report_write(&report, path, &err), 0);
    assert_string_not_equal(path, "");
    assert_int_equal(count_files("keel-", NULL), 4);
}

static void touch(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void only_the_newest_are_kept(void **unused)
{
    (void)unused;
    begin();
    char path[REPORT_PATH_BYTES], name[300];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "keel-20200101-0000%02d.000-1-1.txt", i);
        touch(name);
    }
    touch("keel-notes"); /* somebody's own */
    touch(".keel-20200101-000000.000-1-1.part");
    char part[512];
    snprintf(part, sizeof part, "%s/.keel-20200101-000000.000-1-1.part", folder);
    struct timespec old[2] = {{.tv_sec = 1577836800}, {.tv_sec = 1577836800}};
    touch(".keel-20200101-000001.000-1-1.part"); /* being written now */
    assert_int_equal(utimensat(AT_FDCWD, part, old, 0), 0);

    Error err = {0};
    Fault fault = some_fault(0x7000);
    Report report = {.fault = &fault, .slot = "kept"};
    assert_int_equal(report_write(&report, path, &err), 0);
    assert_int_equal(count_files("keel-2", name), REPORTS_KEPT);
    assert_string_equal(name, "keel-20200101-000019.000-1-1.txt");
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(count_files("keel-notes", NULL), 1);
    assert_int_equal(count_files(".keel-", name), 1);
    assert_string_equal(name, ".keel-20200101-000001.000-1-1.part");
}

static void a_removed_folder_is_made_again(void **unused)
{
    (void)unused;
    begin();
    assert_int_equal(rmdir(folder), 0);
    char path[REPORT_PATH_BYTES];
    Error err = {0};
    Fault fault = some_fault(0x8000);
    Report report = {.fault = &fault, .slot = "again"};
    if (report_write(&report, path, &err))
        fail_msg("%s", err.text);
    assert_int_equal(count_files("keel-", NULL), 1);
}

static void places_that_cannot_be_are_refused(void **unused)
{
    (void)unused;
    Error err = {0};
    setenv("KEEL_REPORTS", "reports", 1);
    assert_int_equal(report_begin(&err), KEEL_EIO);
    assert_non_null(strstr(err.text, "absolute"));
    setenv("KEEL_REPORTS", "/dev/null/reports", 1);
    assert_int_equal(report_begin(&err), KEEL_EIO);
    assert_non_null(strstr(err.text, "/dev/null/reports"));
    char long_path[2000];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = 0;
    setenv("KEEL_REPORTS", long_path, 1);
    assert_int_equal(report_begin(&err), KEEL_EIO);

    /* By default below the state folder; others can't enter. */
    unsetenv("KEEL_REPORTS");
    setenv("XDG_STATE_HOME", folder, 1);
    assert_int_equal(report_begin(&err), 0);
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/keel/reports", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    unsetenv("XDG_STATE_HOME");
}

static void times_are_right(void **unused)
{
    (void)unused;
    static const struct {
        int64_t seconds;
        const char *text;
    } known[] = {{0, "1970-01-01 00:00:00.007"},          {951782399, "2000-02-28 23:59:59.007"},
                 {951782400, "2000-02-29 00:00:00.007"},  {951868800, "2000-03-01 00:00:00.007"},
                 {1735689599, "2024-12-31 23:59:59.007"}, {4107542400, "2100-03-01 00:00:00.007"}};
    char got[REPORT_TIME_BYTES];
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        report_time(known[i].seconds * 1000000000 + 7654321, "-", " ", ":", got);
        assert_string_equal(got, known[i].text);
    }
}

/* Symbol tables that lie: nothing outside the bytes is touched (the bytes end at a page without
 * access), nothing hangs. */
static void hostile_symbols_are_harmless(void **unused)
{
    (void)unused;
    int fd = open(KEEL_TEST_FIXTURES "/fx_plain.so", O_RDONLY);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    size_t bytes = (size_t)st.st_size, room = (bytes + 4095) & ~(size_t)4095;
    char *memory =
        mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory + room, 4096, PROT_NONE), 0);
    char *whole = malloc(bytes), name[64];
    assert_int_equal(read(fd, whole, bytes), (ssize_t)bytes);
    close(fd);
    uint64_t offset, found = 0;
    for (size_t cut = 0; cut <= bytes; cut += 64) {
        char *at = memory + room - cut;
        memcpy(at, whole, cut);
        for (uint64_t address = 0x1000; address < 0x1400; address += 64)
            places_of_symbol(at, cut, address, name, sizeof name, &offset);
    }
    char *at = memory + room - bytes;
    srand(1);
    for (int round = 0; round < 3000; round++) {
        memcpy(at, whole, bytes);
        size_t headers = 64 + (size_t)rand() % (bytes - 64);
        for (int i = 0; i < 8; i++)
            at[i % 2 ? headers + (size_t)rand() % (bytes - headers) : 16 + (size_t)rand() % 48] =
                (char)rand();
        for (uint64_t address = 0x1000; address < 0x1400; address += 256)
            places_of_symbol(at, bytes, address, name, sizeof name, &offset);
    }
    memcpy(at, whole, bytes);
    for (uint64_t address = 0x1000; address < 0x3000; address += 16)
        found += (uint64_t)places_of_symbol(at, bytes, address, name, sizeof name, &offset);
    assert_true(found > 0);
    assert_int_equal(places_of_symbol(NULL, 0, 0x1000, name, sizeof name, &offset), 0);
    free(whole);
    munmap(memory, room + 4096);
}

/* ---- where this process can't go on ---- */

static int *volatile null_pointer;

BAD static void write_null(void *user)
{
    (void)user;
    *null_pointer = 1;
}

#if !UNDER_ASAN && !UNDER_TSAN
static void free_twice(void *user)
{
    char *volatile a = malloc(4000), *volatile b = malloc(4000);
    (void)user;
    free(a);
    free(b);
    char *volatile again = a;
    free(again);
}
#else
#define free_twice write_null
#endif

/* A child in which every thread has malloc's main lock against it. */
static void a_report_needs_no_malloc(void **unused)
{
    (void)unused;
    begin();
    pid_t child = fork();
    if (!child) {
        alarm(50);
        Fault fault;
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        if (guard_install(NULL) || guard_thread_begin(NULL) ||
            guard_range_add((uintptr_t)__executable_start, (uintptr_t)etext, MODULE, "test",
                            NULL))
            _exit(100);
        guard_run(MODULE, 0, free_twice, NULL, &fault);
        char path[REPORT_PATH_BYTES];
        Report report = {.fault = &fault, .slot = "lost"};
        _exit(report_raw_file(&report, path) ? 101 : 70);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 70);
    char name[300], path[600];
    assert_int_equal(count_files("keel-", name), 1);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path);
    has("\nslot: lost\n");
    has("\nend of report\n");
}

static void a_fault_of_the_host_is_reported_too(void **unused)
{
    (void)unused;
    begin();
    pid_t child = fork();
    if (!child) {
        alarm(50);
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        if (guard_install(NULL) || guard_thread_begin(NULL))
            _exit(100);
        write_null(NULL);
        _exit(101);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    char name[300], path[600];
    assert_int_equal(count_files("keel-", name), 1);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path);
    has("\noutcome: the host's own fault: the process ends\n");
    has("\nkind: memory, SIGSEGV, code 1, address 0x0\n");
    has(" test_report+0x");
}

/* Runs the program on a fixture; its exit status. */
static int run_program(const char *fixture)
{
    pid_t child = fork();
    if (!child) {
        char path[600];
        int quiet = open("/dev/null", O_WRONLY);
        snprintf(path, sizeof path, "%s/%s.so", KEEL_TEST_FIXTURES, fixture);
        dup2(quiet, STDOUT_FILENO);
        dup2(quiet, STDERR_FILENO);
        execl(KEEL_TEST_PROGRAM, "keel", "run", path, "--headless", "--frames", "20", "--trial=off",
              NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void the_program_reports_a_module(void **unused)
{
    (void)unused;
    run_program("fx_frame_crash");
    char name[300], path[600];
    assert_int_equal(count_files("keel-", name), 1);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path);
    has("\nslot: fx_frame_crash\ngeneration: 1\nfault: wrote to 0x0 (null pointer) in ");
    has("\nmodule frame_crash 1.0, generation 1\n  build id: ");
    has(" in frame+0x");
    has("\nthreads:\n");
    has(" keel-watchdog: ");
    has(" fault: fx_frame_crash: wrote to 0x0");
}

static void a_stack_overflow_on_a_modules_thread_is_one_of_the_module(void **unused)
{
    (void)unused;
    int status = run_program("fx_thread_overflow");
    if (status > 1)
        fail_msg("the program ended with status %d", status);
    char name[300], path[600];
    assert_int_equal(count_files("keel-", name), 1);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path);
    has("\nfault: stack overflow in ");
    has("\nkind: stack, SIGSEGV");
    has(" in deeper+0x");
}

static void the_program_ends_with_70_and_a_report(void **unused)
{
    (void)unused;
    assert_int_equal(run_program("fx_lock_held"), 70);
    char name[300], path[600];
    assert_int_equal(count_files("keel-", name), 1);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path);
    has("this process can't go on: ");
    has("the lock of stdin, stdout or stderr");
    has("\nmodule lock_held 1.0, generation 1\n");
    has(" in frame+0x");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_report_says_it_all),
        TEST(libraries_are_named),
        TEST(one_cause_is_told_once),
        TEST(only_the_newest_are_kept),
        TEST(a_removed_folder_is_made_again),
        TEST(places_that_cannot_be_are_refused),
        TEST(times_are_right),
        TEST(hostile_symbols_are_harmless),
        TEST(a_report_needs_no_malloc),
        TEST(a_fault_of_the_host_is_reported_too),
        TEST(the_program_reports_a_module),
        TEST(a_stack_overflow_on_a_modules_thread_is_one_of_the_module),
        TEST(the_program_ends_with_70_and_a_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
