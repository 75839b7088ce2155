/* settle_read: only whole files that nobody writes, whoever wrote them and however. */
#include "image_files.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "watch/settle.h"
#include "watch/whole.h"

static Blob ball;
static char folder[] = "/tmp/keel-test-settle-XXXXXX";
static char path[sizeof folder + 16];
static const SettleOptions NO_LEASES = {0};

static int settle(const SettleOptions *options, Settled *ret, Error *err)
{
    memset(err, 0, sizeof *err);
    return settle_read(path, options, ret, err);
}

static void nap_ms(int ms)
{
    const struct timespec t = {.tv_nsec = ms * 1000000L};
    nanosleep(&t, NULL);
}

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void is_ball(Settled *s)
{
    assert_int_equal(s->bytes, ball.bytes);
    assert_true(hash_equal(s->hash, hash_bytes(ball.data, ball.bytes)));
    uint8_t *copy = malloc(s->bytes);
    assert_int_equal(pread(s->memfd, copy, s->bytes, 0), s->bytes);
    assert_memory_equal(copy, ball.data, ball.bytes);
    free(copy);
}

static void partial(const SettleOptions *options, const char *part)
{
    Settled s;
    Error err;
    int rc = settle(options, &s, &err);
    /* Who holds it open is waited for without limit, who left it cut short is not. */
    int wanted = strstr(part, "another process has it") ? KEEL_EBUSY : KEEL_EPARTIAL;
    if (rc != wanted || !strstr(err.text, part))
        fail_msg("wanted %s and \"%s\", got %s: %s", err_name(wanted), part, err_name(rc),
                 err.text);
}

static void a_whole_file_is_read_and_sealed(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    Settled s;
    Error err;
    int before = descriptors();
    assert_int_equal(settle(NULL, &s, &err), 0);
    is_ball(&s);
    assert_int_equal(s.proof, SETTLE_BY_LEASE);
    assert_int_equal(s.stat.st_size, ball.bytes);
    assert_int_equal(fcntl(s.memfd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(s.memfd, F_GET_SEALS) & 0xf, 0xf);
    assert_int_equal(pwrite(s.memfd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(s.memfd, 1), -1);
    void *code = mmap(NULL, s.bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, s.memfd, 0);
    assert_true(code != MAP_FAILED);
    munmap(code, s.bytes);
    settled_done(&s);
    settled_done(&s);
    settled_done(NULL);
    assert_int_equal(descriptors(), before);
}

static void without_leases_the_content_must_rest(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    Settled s;
    Error err;
    assert_int_equal(settle(&NO_LEASES, &s, &err), 0);
    assert_int_equal(s.proof, SETTLE_BY_CONTENT);
    is_ball(&s);
    settled_done(&s);
}

/* Rewrites one byte far from the tables again and again, opening and closing the file each time. */
static void *scribble(void *stop)
{
    while (!atomic_load((atomic_int *)stop)) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        static uint8_t x;
        x++;
        if (fd >= 0 && pwrite(fd, &x, 1, 0x1100) != 1)
            abort();
        close(fd);
        nap_ms(10);
    }
    return NULL;
}

static void without_leases_a_restless_file_is_partial(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    atomic_int stop = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, scribble, &stop);
    nap_ms(30);
    partial(&NO_LEASES, "while it was");
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
}

static void an_open_writer_makes_it_partial(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    partial(NULL, "another process has it open for writing");
    close(fd);
    Settled s;
    Error err;
    assert_int_equal(settle(NULL, &s, &err), 0);
    settled_done(&s);
}

static void a_mapped_writer_makes_it_partial(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, ball.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    close(fd);
    partial(NULL, "another process has it open for writing");
    munmap(map, ball.bytes);
    Settled s;
    Error err;
    assert_int_equal(settle(NULL, &s, &err), 0);
    settled_done(&s);
}

static void cut_at_every_64th_byte_is_never_whole(void **unused)
{
    (void)unused;
    for (size_t n = 64; n < ball.bytes; n += 64) {
        Error err = {0};
        int rc = whole_check(ball.data, n, &err);
        if (rc != KEEL_EPARTIAL || !strstr(err.text, "cut short: "))
            fail_msg("cut at %zu: %s: %s", n, err_name(rc), err.text);
    }
    for (size_t n = 1; n < 64; n++)
        assert_int_equal(whole_check(ball.data, n, NULL), KEEL_EPARTIAL);
    assert_int_equal(whole_check(ball.data, ball.bytes - 1, NULL), KEEL_EPARTIAL);
    assert_int_equal(whole_check(ball.data, ball.bytes, NULL), 0);
    write_file(path, ball.data, ball.bytes / 2);
    partial(NULL, "it is cut short: ");
    partial(&NO_LEASES, "it is cut short: ");
}

static void a_file_whose_end_is_still_zeros_is_partial(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    memset(b.data + b.bytes / 2, 0, b.bytes - b.bytes / 2);
    write_file(path, b.data, b.bytes);
    partial(NULL, "section headers are not filled in");
    free(b.data);
}

static void whole_check_survives_nonsense(void **unused)
{
    (void)unused;
    uint64_t seed = 42;
    Blob b = blob_copy(ball);
    for (int round = 0; round < 20000; round++) {
        memcpy(b.data, ball.data, 1024);
        for (int i = 0; i < 4; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            b.data[(seed >> 33) % 1024] ^= (uint8_t)(seed >> 56);
        }
        whole_check(b.data, round % 3 ? b.bytes : (size_t)(seed >> 40) % 700, NULL);
    }
    free(b.data);
    /* A Mach-O whose one segment reaches past the end. */
    uint32_t macho[32] = {0xfeedfacf, 0x0100000c, 0, 6, 1, 72, 0, 0, 0x19, 72};
    macho[8 + 10] = 0;    /* fileoff */
    macho[8 + 12] = 4096; /* filesize */
    Error err = {0};
    assert_int_equal(whole_check(macho, sizeof macho, &err), KEEL_EPARTIAL);
    macho[8 + 12] = 64;
    assert_int_equal(whole_check(macho, sizeof macho, &err), 0);
    assert_int_equal(whole_check(macho, 40, &err), KEEL_EPARTIAL);
    assert_int_equal(whole_check(macho, 20, &err), KEEL_EPARTIAL);
}

static void what_can_never_be_read_says_so(void **unused)
{
    (void)unused;
    Settled s;
    Error err;
    unlink(path);
    assert_int_equal(settle(NULL, &s, &err), KEEL_ENOTFOUND);
    write_file(path, "", 0);
    assert_int_equal(settle(NULL, &s, &err), KEEL_EPARTIAL);
    assert_non_null(strstr(err.text, "it is empty"));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(settle(NULL, &s, &err), KEEL_EIMAGE);
    assert_non_null(strstr(err.text, "a pipe"));
    unlink(path);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(settle(NULL, &s, &err), KEEL_EIMAGE);
    assert_non_null(strstr(err.text, "a socket"));
    close(fd);
    unlink(path);
    assert_int_equal(symlink(path + sizeof folder, path), 0);
    assert_int_equal(settle(NULL, &s, &err), KEEL_ENOTFOUND);
    unlink(path);
    assert_int_equal(settle_read("/dev/zero", NULL, &s, &err), KEEL_EIMAGE);
    assert_non_null(strstr(err.text, "a device"));
    assert_int_equal(settle_read("/tmp", NULL, &s, &err), KEEL_EIMAGE);
    write_file(path, ball.data, ball.bytes);
    const SettleOptions small = {.leases = 1, .max_bytes = 1000};
    assert_int_equal(settle(&small, &s, &err), KEEL_ELIMIT);
}

/* Another user: no read permission; then readable, where a lease is the owner's alone. */
static void other_peoples_files(void **unused)
{
    (void)unused;
    if (geteuid())
        skip();
    write_file(path, ball.data, ball.bytes);
    chmod(folder, 0755);
    pid_t child = fork();
    if (!child) {
        Settled s;
        Error err;
        if (setuid(65534))
            _exit(9);
        if (settle(NULL, &s, &err) || s.proof != SETTLE_BY_CONTENT)
            _exit(1);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    chmod(path, 0600);
    child = fork();
    if (!child) {
        Settled s;
        Error err;
        _exit(setuid(65534) ? 9 : settle(NULL, &s, &err) == KEEL_EDENIED ? 0 : 1);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    chmod(path, 0644);
}

static void no_room_for_the_copy_is_said(void **unused)
{
    (void)unused;
    write_file(path, ball.data, ball.bytes);
    pid_t child = fork();
    if (!child) {
        const struct rlimit limit = {4096, 4096};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        Settled s;
        Error err;
        _exit(settle(NULL, &s, &err) == KEEL_ENOSPACE && strstr(err.text, "memory for its copy")
                  ? 0
                  : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

/* A writer that comes in the middle: what was read is thrown away or was whole, the writer gets
 * through, and no signal is seen. */
static void *write_all_the_time(void *stop)
{
    uint8_t fill = 0;
    while (!atomic_load((atomic_int *)stop)) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        static uint8_t block[65536];
        memset(block, ++fill, sizeof block);
        for (int i = 0; i < 16; i++)
            if (write(fd, block, sizeof block) != sizeof block)
                abort();
        close(fd);
        nap_ms(10);
    }
    return NULL;
}

static void a_writer_in_the_middle_never_tears(void **unused)
{
    (void)unused;
    const int numbers[] = {SIGIO, SIGURG};
    for (int i = 0; i < 2; i++)
        signal(numbers[i], count_signal);
    size_t bytes = 16 * 65536;
    uint8_t *data = calloc(1, bytes);
    write_file(path, data, bytes);
    atomic_int stop = 0;
    int whole = 0, refused = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, write_all_the_time, &stop);
    /* Many of both, on a slow or busy machine too. */
    for (int i = 0; (whole < 20 || refused < 50) && i < 20000; i++) {
        Settled s;
        Error err;
        int rc = settle(NULL, &s, &err);
        if (rc) {
            assert_true(rc == KEEL_EPARTIAL || rc == KEEL_EBUSY);
            refused++;
            sched_yield();
            continue;
        }
        whole++;
        assert_int_equal(pread(s.memfd, data, bytes, 0), bytes);
        for (size_t at = 0; at < bytes; at += 4096)
            assert_int_equal(data[at], data[0]);
        settled_done(&s);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    assert_true(whole >= 20);
    assert_true(refused >= 50);
    assert_int_equal(signals, 0);
    for (int i = 0; i < 2; i++)
        signal(numbers[i], SIG_DFL);
    free(data);
}

static int set_up(void **unused)
{
    (void)unused;
    ball = blob_read(KEEL_TEST_MODULES "/ball.so");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/x.so", folder);
    return 0;
}

static int clean_up(void **unused)
{
    (void)unused;
    unlink(path);
    free(ball.data);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_is_read_and_sealed),
        cmocka_unit_test(without_leases_the_content_must_rest),
        cmocka_unit_test(without_leases_a_restless_file_is_partial),
        cmocka_unit_test(an_open_writer_makes_it_partial),
        cmocka_unit_test(a_mapped_writer_makes_it_partial),
        cmocka_unit_test(cut_at_every_64th_byte_is_never_whole),
        cmocka_unit_test(a_file_whose_end_is_still_zeros_is_partial),
        cmocka_unit_test(whole_check_survives_nonsense),
        cmocka_unit_test(what_can_never_be_read_says_so),
        cmocka_unit_test(other_peoples_files),
        cmocka_unit_test(no_room_for_the_copy_is_said),
        cmocka_unit_test(a_writer_in_the_middle_never_tears),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
