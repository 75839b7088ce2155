/* control/endpoint: where the socket lies, who may have it, what is refused and never removed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/endpoint.h"

static char folder[] = "/tmp/keel-test-endpoint-XXXXXX";
static char path[64], lock[80];
static Error err;

static void expect_refused(const char *name, int code, const char *text)
{
    Endpoint endpoint = {0};
    err.text[0] = 0;
    assert_int_equal(endpoint_listen(name, &endpoint, &err), code);
    if (!strstr(err.text, text))
        fail_msg("wanted '%s', got '%s'", text, err.text);
    assert_int_equal(endpoint.path[0], 0);
}

static mode_t mode_of(const char *file)
{
    struct stat st;
    assert_int_equal(lstat(file, &st), 0);
    return st.st_mode & 07777;
}

static void expect_nothing_left(void)
{
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(lock, F_OK), -1);
}

static void the_socket_is_private_whatever_the_umask(void **unused)
{
    (void)unused;
    static const mode_t masks[] = {0, 022, 077};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        mode_t before = umask(masks[i]);
        Endpoint endpoint;
        assert_int_equal(endpoint_listen(path, &endpoint, &err), 0);
        umask(before);
        assert_int_equal(mode_of(path), 0600);
        assert_int_equal(mode_of(lock), 0600);
        endpoint_close(&endpoint);
        expect_nothing_left();
        endpoint_close(&endpoint);
    }
}

static void a_live_host_keeps_its_socket_and_is_named(void **unused)
{
    (void)unused;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t host = fork();
    if (!host) {
        Endpoint endpoint;
        if (endpoint_listen(path, &endpoint, NULL) || write(ready[1], "", 1) != 1)
            _exit(1);
        pause();
        _exit(1);
    }
    char c, wanted[160];
    assert_int_equal(read(ready[0], &c, 1), 1);
    snprintf(wanted, sizeof wanted, "the host with pid %d already listens at %s", (int)host, path);
    expect_refused(path, KEEL_EBUSY, wanted);
    /* Also when somebody has swept its lock away: the socket itself answers. */
    assert_int_equal(unlink(lock), 0);
    snprintf(wanted, sizeof wanted, "pid %d already listens", (int)host);
    expect_refused(path, KEEL_EBUSY, wanted);
    int fd;
    assert_int_equal(endpoint_connect(path, 1000000000, &fd, &err), 0);
    close(fd);

    kill(host, SIGKILL);
    waitpid(host, NULL, 0);
    close(ready[0]), close(ready[1]);
    assert_int_equal(access(path, F_OK), 0); /* it is dead and its socket is left */
    assert_int_equal(endpoint_connect(path, 1000000000, &fd, &err), KEEL_ENOTFOUND);
    Endpoint endpoint;
    assert_int_equal(endpoint_listen(path, &endpoint, &err), 0);
    assert_int_equal(endpoint_connect(path, 1000000000, &fd, &err), 0);
    pid_t pid;
    uid_t uid;
    assert_int_equal(endpoint_peer(fd, &pid, &uid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(uid, geteuid());
    close(fd);
    /* One process can't listen twice either. */
    snprintf(wanted, sizeof wanted, "pid %d", (int)getpid());
    expect_refused(path, KEEL_EBUSY, wanted);
    endpoint_close(&endpoint);
    expect_nothing_left();
}

static void what_is_not_a_dead_socket_stays(void **unused)
{
    (void)unused;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "letter", 6), 6);
    close(fd);
    expect_refused(path, KEEL_EBUSY, "is not a socket");
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access(lock, F_OK), -1);
    unlink(path);

    assert_int_equal(symlink("/etc/hostname", path), 0);
    expect_refused(path, KEEL_EBUSY, "is not a socket");
    unlink(path);

    assert_int_equal(symlink("/tmp/keel-test-victim", lock), 0);
    expect_refused(path, KEEL_EDENIED, ".lock");
    assert_int_equal(access("/tmp/keel-test-victim", F_OK), -1);
    unlink(lock);
    assert_int_equal(mkfifo(lock, 0600), 0);
    expect_refused(path, KEEL_EDENIED, "lock file");
    unlink(lock);
}

static void only_its_own_socket_is_removed(void **unused)
{
    (void)unused;
    Endpoint old, new;
    assert_int_equal(endpoint_listen(path, &old, &err), 0);
    unlink(path);
    unlink(lock);
    assert_int_equal(endpoint_listen(path, &new, &err), 0);
    endpoint_close(&old);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access(lock, F_OK), 0);
    expect_refused(path, KEEL_EBUSY, "already listens");
    endpoint_close(&new);
    expect_nothing_left();
}

static void many_start_at_once_and_one_wins(void **unused)
{
    (void)unused;
    for (int round = 0; round < 20; round++) {
        int go[2];
        pid_t child[8];
        assert_int_equal(pipe(go), 0);
        if (round % 2) { /* with a dead one's leavings */
            child[0] = fork();
            if (!child[0]) {
                Endpoint dead;
                _exit(endpoint_listen(path, &dead, NULL) ? 1 : 0);
            }
            waitpid(child[0], NULL, 0);
        }
        int hold[2];
        assert_int_equal(pipe(hold), 0);
        for (int i = 0; i < 8; i++) {
            child[i] = fork();
            if (child[i])
                continue;
            char c;
            close(go[1]), close(hold[1]);
            Endpoint endpoint;
            if (read(go[0], &c, 1) != 0)
                _exit(9);
            int code = endpoint_listen(path, &endpoint, &err);
            if (!code) { /* stays until all have tried */
                if (read(hold[0], &c, 1) != 0)
                    _exit(9);
                endpoint_close(&endpoint);
            }
            _exit(code ? (code == KEEL_EBUSY ? 1 : 2) : 0);
        }
        close(go[0]), close(go[1]), close(hold[0]);
        int won = 0, lost = 0;
        for (int i = 0; i < 8; i++) {
            int status;
            if (i == 7)
                close(hold[1]);
            pid_t pid = wait(&status);
            assert_true(pid > 0);
            won += status == 0;
            lost += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        }
        assert_int_equal(won, 1);
        assert_int_equal(lost, 7);
        expect_nothing_left();
    }
}

static void names_and_paths_have_bounds(void **unused)
{
    (void)unused;
    expect_refused("", KEEL_EINVAL, "can't be a host's name");
    expect_refused(".hidden", KEEL_EINVAL, "can't be a host's name");
    expect_refused("-x", KEEL_EINVAL, "can't be a host's name");
    expect_refused("a b", KEEL_EINVAL, "can't be a host's name");
    expect_refused("caf\xc3\xa9", KEEL_EINVAL, "can't be a host's name");
    char name[300] = "/tmp/";
    memset(name + 5, 'n', 200);
    expect_refused(name, KEEL_ELIMIT, "the system allows 107");
    expect_refused("/nowhere/at/all.sock", KEEL_EIO, "No such file");
    memset(name, 'n', 65);
    name[65] = 0;
    expect_refused(name, KEEL_EINVAL, "can't be a host's name");
}

static void a_name_is_found_in_its_private_folder(void **unused)
{
    (void)unused;
    char name[32], wanted[128];
    snprintf(name, sizeof name, "test-%d", (int)getpid());
    Endpoint endpoint;
    int fd;

    setenv("XDG_RUNTIME_DIR", folder, 1);
    assert_int_equal(endpoint_listen(name, &endpoint, &err), 0);
    snprintf(wanted, sizeof wanted, "%s/keel/%s.sock", folder, name);
    assert_string_equal(endpoint.path, wanted);
    assert_int_equal(endpoint_connect(name, 1000000000, &fd, &err), 0);
    close(fd);
    endpoint_close(&endpoint);

    /* Others could put a socket of theirs into an open folder. */
    snprintf(wanted, sizeof wanted, "%s/keel", folder);
    assert_int_equal(mode_of(wanted), 0700);
    chmod(wanted, 0755);
    expect_refused(name, KEEL_EDENIED, "chmod 700");
    rmdir(wanted);
    assert_int_equal(symlink("/tmp", wanted), 0);
    expect_refused(name, KEEL_EDENIED, "no folder of this user");
    unlink(wanted);
    if (!geteuid()) {
        mkdir(wanted, 0700);
        assert_int_equal(chown(wanted, 65534, 65534), 0);
        expect_refused(name, KEEL_EDENIED, "another user");
        rmdir(wanted);
    }

    /* As in a container: no such variable, or it names what isn't there. A client that has the
     * variable finds the host that hadn't. */
    for (int set = 0; set <= 1; set++) {
        if (set)
            setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1);
        else
            unsetenv("XDG_RUNTIME_DIR");
        assert_int_equal(endpoint_listen(name, &endpoint, &err), 0);
        snprintf(wanted, sizeof wanted, "/tmp/keel-%u/%s.sock", (unsigned)geteuid(), name);
        assert_string_equal(endpoint.path, wanted);
        snprintf(wanted, sizeof wanted, "/tmp/keel-%u", (unsigned)geteuid());
        assert_int_equal(mode_of(wanted), 0700);
        setenv("XDG_RUNTIME_DIR", folder, 1);
        assert_int_equal(endpoint_connect(name, 1000000000, &fd, &err), 0);
        close(fd);
        endpoint_close(&endpoint);
    }
    assert_int_equal(endpoint_connect(name, 1000000000, &fd, &err), KEEL_ENOTFOUND);
    assert_non_null(strstr(err.text, folder));
    unsetenv("XDG_RUNTIME_DIR");
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/t.sock", folder);
    snprintf(lock, sizeof lock, "%s.lock", path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_is_private_whatever_the_umask),
        cmocka_unit_test(a_live_host_keeps_its_socket_and_is_named),
        cmocka_unit_test(what_is_not_a_dead_socket_stays),
        cmocka_unit_test(only_its_own_socket_is_removed),
        cmocka_unit_test(many_start_at_once_and_one_wins),
        cmocka_unit_test(names_and_paths_have_bounds),
        cmocka_unit_test(a_name_is_found_in_its_private_folder),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (rmdir(folder)) {
        fprintf(stderr, "something is left in %s\n", folder);
        failed++;
    }
    return failed;
}
