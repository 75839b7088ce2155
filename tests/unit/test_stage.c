/* stage: names that dlopen takes, with the neighbours beside them, and nothing left behind. */
#include "image_files.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/err.h"
#include "watch/stage.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

static char runtime[] = "/tmp/keel-test-stage-XXXXXX";
static Blob ball;

static int entries_of(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = -2;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void a_staged_image_loads_under_its_own_name(void **unused)
{
    (void)unused;
    Stage *stage = NULL;
    Error err = {0};
    assert_int_equal(stage_new(&stage, &err), 0);
    assert_int_equal(entries_of(runtime), 1);
    int first_fd = sealed_memfd(ball.data, ball.bytes),
        second_fd = sealed_memfd(ball.data, ball.bytes);
    char *first = NULL, *second = NULL, *same = NULL;
    assert_int_equal(stage_add(stage, 1, BALL, first_fd, &first, &err), 0);
    assert_int_equal(stage_add(stage, 2, BALL, second_fd, &second, &err), 0);
    assert_int_equal(stage_add(stage, 2, BALL, second_fd, &same, &err), 0);
    assert_string_not_equal(second, same);
    assert_non_null(strstr(first, "/g1/ball.so"));
    assert_int_equal(strncmp(first, runtime, strlen(runtime)), 0);
    void *a = dlopen(first, RTLD_NOW | RTLD_LOCAL), *b = dlopen(second, RTLD_NOW | RTLD_LOCAL);
    if (!a || !b)
        fail_msg("%s", dlerror());
    assert_ptr_not_equal(a, b);
    assert_ptr_not_equal(dlsym(a, "keel_module"), dlsym(b, "keel_module"));
    dlclose(a);
    dlclose(b);
    stage_remove(stage, first);
    assert_int_equal(access(first, F_OK), -1);
    assert_int_equal(access(second, F_OK), 0);
    stage_free(stage);
    assert_int_equal(entries_of(runtime), 0);
    stage_free(NULL);
    close(first_fd);
    close(second_fd);
    free(first);
    free(second);
    free(same);
}

static void libraries_beside_the_original_are_linked(void **unused)
{
    (void)unused;
    char beside[64], name[PATH_MAX], text[16];
    snprintf(beside, sizeof beside, "%s/src", runtime);
    mkdir(beside, 0755);
    static const char *const FILES[] = {"x.so", "libdep.so", "libdep.so.1", "note.txt", ".so"};
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%s/%s", beside, FILES[i]);
        write_file(name, FILES[i], strlen(FILES[i]));
    }
    Stage *stage = NULL;
    char *path = NULL;
    assert_int_equal(stage_new(&stage, NULL), 0);
    snprintf(name, sizeof name, "%s/x.so", beside);
    int fd = sealed_memfd("mem", 3);
    assert_int_equal(stage_add(stage, 7, name, fd, &path, NULL), 0);
    int staged = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(staged, text, sizeof text), 3); /* the memory's bytes, not the file's */
    assert_memory_equal(text, "mem", 3);
    close(staged);
    snprintf(name, sizeof name, "%s/../libdep.so.1", path);
    path[strlen(path) - 5] = 0; /* the folder */
    assert_int_equal(entries_of(path), 3);
    snprintf(name, sizeof name, "%s/libdep.so.1", path);
    staged = open(name, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(staged, text, sizeof text), 11);
    close(staged);
    stage_free(stage);
    snprintf(name, sizeof name, "%s/libdep.so", beside);
    assert_int_equal(access(name, F_OK), 0); /* links are removed, never what they name */
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%s/%s", beside, FILES[i]);
        unlink(name);
    }
    rmdir(beside);
    close(fd);
    free(path);
}

static void folders_of_the_dead_are_swept_and_of_the_living_kept(void **unused)
{
    (void)unused;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        Stage *stage;
        char *path;
        int fd = sealed_memfd("mem", 3);
        int bad = stage_new(&stage, NULL) || stage_add(stage, 1, BALL, fd, &path, NULL);
        if (write(ready[1], bad ? "n" : "y", 1) == 1)
            pause();
        _exit(1);
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    char foreign[PATH_MAX], file[PATH_MAX];
    snprintf(foreign, sizeof foreign, "%s/keel-1-notours", runtime);
    mkdir(foreign, 0700);
    snprintf(file, sizeof file, "%s/keel-7-0123456789abcdef", runtime);
    assert_int_equal(symlink(foreign, file), 0); /* somebody's trap */

    Stage *stage;
    assert_int_equal(stage_new(&stage, NULL), 0);
    assert_int_equal(entries_of(runtime), 4); /* the child's lives */
    stage_free(stage);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(stage_new(&stage, NULL), 0);
    assert_int_equal(entries_of(runtime), 3); /* the child's is gone, the others are not ours */
    stage_free(stage);
    unlink(file);
    rmdir(foreign);
    close(ready[0]);
    close(ready[1]);
}

static void a_useless_runtime_folder_falls_back_to_tmp(void **unused)
{
    (void)unused;
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    Stage *stage = NULL;
    char *path = NULL;
    int fd = sealed_memfd("mem", 3);
    assert_int_equal(stage_new(&stage, NULL), 0);
    assert_int_equal(stage_add(stage, 1, "x.so", fd, &path, NULL), 0);
    assert_int_equal(strncmp(path, "/tmp/keel-", 10), 0);
    stage_remove(stage, "/etc/passwd");
    stage_remove(stage, path);
    stage_free(stage);
    free(path);
    close(fd);
    setenv("XDG_RUNTIME_DIR", runtime, 1);
}

/* Whoever can rename in it could exchange the folder between the check and dlopen. */
static void a_runtime_folder_that_others_can_write_is_not_used(void **unused)
{
    (void)unused;
    Stage *stage = NULL;
    int in_use;
    static const struct {
        mode_t mode;
        int used;
    } CASES[] = {{0700, 1}, {0777, 0}, {0770, 0}, {0755, 1}, {01777, 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(chmod(runtime, CASES[i].mode), 0);
        assert_int_equal(stage_new(&stage, NULL), 0);
        in_use = entries_of(runtime) == 1;
        assert_int_equal(in_use, CASES[i].used);
        stage_free(stage);
    }
    chmod(runtime, 0700);
}

static int set_up(void **unused)
{
    (void)unused;
    ball = blob_read(BALL);
    return mkdtemp(runtime) && !setenv("XDG_RUNTIME_DIR", runtime, 1) ? 0 : -1;
}

static int clean_up(void **unused)
{
    (void)unused;
    free(ball.data);
    return rmdir(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_staged_image_loads_under_its_own_name),
        cmocka_unit_test(libraries_beside_the_original_are_linked),
        cmocka_unit_test(folders_of_the_dead_are_swept_and_of_the_living_kept),
        cmocka_unit_test(a_useless_runtime_folder_falls_back_to_tmp),
        cmocka_unit_test(a_runtime_folder_that_others_can_write_is_not_used),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
