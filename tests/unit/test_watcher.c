/* The watcher: whoever makes new content at a path, and however, it is told; once a drain;
 * settle_read then sees the whole of it and never a part. */
#include "image_files.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <time.h>

#include "watch/settle.h"
#include "watch/watcher.h"

static Blob ball;
static char root[] = "/tmp/keel-test-watch-XXXXXX";

/* One watched path and what its host would have swapped to. */
typedef struct Seen {
    Watcher *watcher;
    char path[256];
    int id, reports, swaps;
    Hash last;
} Seen;

static const char *in_root(const char *name)
{
    static char text[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(text[turn], sizeof text[turn], "%s/%s", root, name);
    return text[turn];
}

static void nap_ms(int ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static void count_report(int id, void *user)
{
    Seen *s = user;
    assert_int_equal(id, s->id);
    s->reports++;
}

/* What a host does at a report: read, and swap when it is whole and new. */
static void try_swap(Seen *s)
{
    Settled settled;
    Error err;
    if (settle_read(s->path, NULL, &settled, &err))
        return;
    if (!hash_equal(settled.hash, s->last)) {
        s->last = settled.hash;
        s->swaps++;
    }
    settled_done(&settled);
}

/* Drains once; returns how many reports it gave, which is never more than one a path. */
static int drain(Seen *s)
{
    int before = s->reports;
    Error err = {0};
    int rc = watcher_drain(s->watcher, count_report, s, &err);
    if (rc)
        fail_msg("drain: %s", err.text);
    assert_in_range(s->reports - before, 0, 1);
    if (s->reports > before)
        try_swap(s);
    return s->reports - before;
}

/* Lives as a host's loop does until nothing has happened for `quiet_ms`. */
static void live(Seen *s, int quiet_ms)
{
    struct pollfd p = {.fd = watcher_fd(s->watcher), .events = POLLIN};
    while (poll(&p, 1, quiet_ms) > 0)
        drain(s);
}

static void watch(Seen *s, const char *path)
{
    Error err = {0};
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", path);
    assert_int_equal(watcher_new(&s->watcher, &err), 0);
    if (watcher_add(s->watcher, path, &s->id, &err))
        fail_msg("%s", err.text);
    try_swap(s);
    s->swaps = 0;
}

/* Another build: the same module with another byte in a place that no table names. */
static Blob build(uint8_t number)
{
    static Blob b;
    if (!b.data)
        b = blob_copy(ball);
    b.data[0x1100] = number;
    return b;
}

static void make(const char *name, uint8_t number)
{
    Blob b = build(number);
    write_file(in_root(name), b.data, b.bytes);
}

static void written_in_place(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    assert_int_equal(drain(&s), 0);
    make("a.so", 2);
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    make("b.so", 3);
    int before = s.reports;
    live(&s, 0);
    assert_int_equal(s.reports, before); /* a neighbour is nobody's business */
    unlink(in_root("b.so"));
    watcher_free(s.watcher);
}

typedef struct Writer {
    const char *path;
    Blob blob;
    int append; /* open, append, close each chunk */
    atomic_int last, finished;
} Writer;

static void *write_slowly(void *user)
{
    Writer *w = user;
    size_t chunk = w->blob.bytes / 10 + 1;
    int fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (size_t at = 0; at < w->blob.bytes; at += chunk) {
        size_t n = w->blob.bytes - at < chunk ? w->blob.bytes - at : chunk;
        if (at + n == w->blob.bytes)
            atomic_store(&w->last, 1);
        if (write(fd, w->blob.data + at, n) != (ssize_t)n)
            abort();
        nap_ms(50);
        if (w->append) {
            close(fd);
            fd = open(w->path, O_WRONLY | O_APPEND | O_CLOEXEC);
        }
    }
    close(fd);
    atomic_store(&w->finished, 1);
    return NULL;
}

static void slow_writer(int append)
{
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    char path[256];
    strcpy(path, s.path);
    Writer w = {.path = path, .blob = build(2), .append = append};
    pthread_t thread;
    pthread_create(&thread, NULL, write_slowly, &w);
    int looks = 0;
    while (!atomic_load(&w.finished)) {
        live(&s, 20);
        try_swap(&s); /* also when nobody asked: never a part */
        looks++;
        if (s.swaps)
            assert_true(atomic_load(&w.last));
    }
    assert_true(looks > 0);
    pthread_join(thread, NULL);
    live(&s, 50);
    assert_int_equal(s.swaps, 1);
    assert_true(hash_equal(s.last, hash_bytes(w.blob.data, w.blob.bytes)));
    watcher_free(s.watcher);
}

static void written_slowly(void **unused)
{
    (void)unused;
    slow_writer(0);
}

static void appended_in_chunks(void **unused)
{
    (void)unused;
    slow_writer(1);
}

static void removed_and_made_again(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    unlink(in_root("a.so"));
    assert_int_equal(drain(&s), 0);
    make("a.so", 2);
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    unlink(in_root("a.so"));
    make("a.so", 3);
    live(&s, 0);
    assert_int_equal(s.swaps, 2);
    watcher_free(s.watcher);
}

static void renamed_over_and_linked(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    make("a.tmp", 2);
    assert_int_equal(rename(in_root("a.tmp"), in_root("a.so")), 0);
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    make("a.tmp", 3);
    unlink(in_root("a.so"));
    assert_int_equal(link(in_root("a.tmp"), in_root("a.so")), 0);
    unlink(in_root("a.tmp"));
    live(&s, 0);
    assert_int_equal(s.swaps, 2);
    watcher_free(s.watcher);
}

static void flip(const char *target, const char *name)
{
    unlink(in_root("flip"));
    assert_int_equal(symlink(target, in_root("flip")), 0);
    assert_int_equal(rename(in_root("flip"), in_root(name)), 0);
}

static void symlinks_are_followed(void **unused)
{
    (void)unused;
    mkdir(in_root("v1"), 0755);
    mkdir(in_root("v2"), 0755);
    make("v1/a.so", 1);
    make("v2/a.so", 2);
    make("v2/b.so", 3);
    flip("v1", "now");
    flip("now/a.so", "link.so");
    Seen s;
    watch(&s, in_root("link.so"));
    flip("v2", "now"); /* a folder in the middle of the link's own way */
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    flip("./v1/../now//b.so", "link.so"); /* the link itself, by a crooked relative way */
    live(&s, 0);
    assert_int_equal(s.swaps, 2);
    make("v2/b.so", 4); /* the target, in place */
    live(&s, 0);
    assert_int_equal(s.swaps, 3);
    int before = s.reports;
    make("v1/a.so", 5); /* no longer on the way */
    make("v2/a.so", 5);
    live(&s, 0);
    assert_int_equal(s.reports, before);
    flip(in_root("v1/a.so"), "link.so"); /* absolute */
    live(&s, 0);
    assert_int_equal(s.swaps, 4);
    flip("link.so", "link.so"); /* a loop leads nowhere, and out of it again */
    live(&s, 0);
    assert_int_equal(s.swaps, 4);
    flip("v2/b.so", "link.so");
    live(&s, 0);
    assert_int_equal(s.swaps, 5);
    watcher_free(s.watcher);
}

static void folders_come_and_go(void **unused)
{
    (void)unused;
    Seen s;
    watch(&s, in_root("d/e/a.so")); /* nothing of it exists */
    mkdir(in_root("d"), 0755);
    drain(&s);
    mkdir(in_root("d/e"), 0755);
    make("d/e/a.so", 1); /* before the folder could be watched */
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    for (uint8_t i = 2; i < 6; i++) {
        unlink(in_root("d/e/a.so"));
        rmdir(in_root("d/e"));
        rmdir(in_root("d"));
        if (i % 2)
            live(&s, 0);
        mkdir(in_root("d"), 0755);
        mkdir(in_root("d/e"), 0755);
        make("d/e/a.so", i);
        live(&s, 0);
        assert_int_equal(s.swaps, i);
    }
    /* A parent moves away, another takes its name. */
    rename(in_root("d"), in_root("old"));
    live(&s, 0);
    mkdir(in_root("new"), 0755);
    mkdir(in_root("new/e"), 0755);
    make("new/e/a.so", 7);
    rename(in_root("new"), in_root("d"));
    live(&s, 0);
    assert_int_equal(s.swaps, 6);
    int before = s.reports;
    make("old/e/a.so", 8); /* what has moved away is no longer the path's */
    live(&s, 0);
    assert_int_equal(s.reports, before);
    make("d/e/a.so", 9);
    live(&s, 0);
    assert_int_equal(s.swaps, 7);
    watcher_free(s.watcher);
}

static void two_builds_at_once(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    make("a.so", 2);
    make("a.so", 3);
    live(&s, 0);
    Blob b = build(3);
    assert_true(hash_equal(s.last, hash_bytes(b.data, b.bytes)));
    make("a.so", 4);
    live(&s, 0);
    make("a.so", 5);
    live(&s, 0);
    assert_int_equal(s.swaps, 3);
    watcher_free(s.watcher);
}

static void touched_and_stripped(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    assert_int_equal(utimensat(AT_FDCWD, s.path, NULL, 0), 0);
    int fd = open(s.path, O_WRONLY | O_CLOEXEC);
    close(fd);
    live(&s, 0);
    assert_true(s.reports > 0);
    assert_int_equal(s.swaps, 0);
    char command[600];
    snprintf(command, sizeof command, "strip -g %s", s.path);
    if (system(command))
        skip();
    live(&s, 20);
    assert_int_equal(s.swaps, 1);
    watcher_free(s.watcher);
}

static void a_mapped_writer_is_told_at_its_end(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    int fd = open(s.path, O_RDWR | O_CLOEXEC);
    uint8_t *map = mmap(NULL, ball.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    close(fd);
    map[0x1100] = 77;
    live(&s, 10);
    assert_int_equal(s.swaps, 0);
    munmap(map, ball.bytes);
    live(&s, 10);
    assert_int_equal(s.swaps, 1);
    watcher_free(s.watcher);
}

static void an_overflow_counts_as_a_change(void **unused)
{
    (void)unused;
    unsigned limit = 16384;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (f && fscanf(f, "%u", &limit) != 1)
        limit = 16384;
    if (f)
        fclose(f);
    if (limit > 200000)
        skip();
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    for (unsigned i = 0; i < limit / 2 + 10; i++) { /* alternating names, so that none is merged */
        assert_int_equal(rename(in_root("d"), in_root("dd")), 0);
        assert_int_equal(rename(in_root("dd"), in_root("d")), 0);
    }
    make("a.so", 2); /* its own events are lost */
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    make("a.so", 3); /* and it sees again */
    live(&s, 0);
    assert_int_equal(s.swaps, 2);
    watcher_free(s.watcher);
}

static int watches_of(int fd)
{
    char name[64], line[256];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    FILE *f = fopen(name, "re");
    int n = 0;
    while (f && fgets(line, sizeof line, f))
        n += !strncmp(line, "inotify ", 8);
    if (f)
        fclose(f);
    return n;
}

static void paths_of_one_folder_share_its_watch(void **unused)
{
    (void)unused;
    make("a.so", 1);
    Seen s;
    watch(&s, in_root("a.so"));
    int one = watches_of(watcher_fd(s.watcher)), second;
    assert_int_equal(one, 3); /* "/", "/tmp", ours */
    assert_int_equal(watcher_add(s.watcher, in_root("c.so"), &second, NULL), 0);
    assert_int_equal(watches_of(watcher_fd(s.watcher)), one);
    watcher_remove(s.watcher, second);
    watcher_remove(s.watcher, second);
    assert_int_equal(watches_of(watcher_fd(s.watcher)), one);
    make("a.so", 2);
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    watcher_remove(s.watcher, s.id);
    assert_int_equal(watches_of(watcher_fd(s.watcher)), 0);
    make("a.so", 3);
    assert_int_equal(drain(&s), 0);
    watcher_free(s.watcher);
    watcher_free(NULL);
}

typedef struct Pair {
    Watcher *watcher;
    int ids[2], counts[2], other;
} Pair;

static void remove_the_other(int id, void *user)
{
    Pair *p = user;
    p->counts[id == p->ids[1]]++;
    watcher_remove(p->watcher, id == p->ids[0] ? p->ids[1] : p->ids[0]);
    assert_int_equal(watcher_add(p->watcher, in_root("later.so"), &p->other, NULL), 0);
}

static void the_callback_may_add_and_remove(void **unused)
{
    (void)unused;
    Pair p = {0};
    assert_int_equal(watcher_new(&p.watcher, NULL), 0);
    assert_int_equal(watcher_add(p.watcher, in_root("a.so"), &p.ids[0], NULL), 0);
    assert_int_equal(watcher_add(p.watcher, in_root("b.so"), &p.ids[1], NULL), 0);
    make("a.so", 9);
    make("b.so", 9);
    assert_int_equal(watcher_drain(p.watcher, remove_the_other, &p, NULL), 0);
    assert_int_equal(p.counts[0] + p.counts[1], 1);
    watcher_free(p.watcher);
}

static void relative_paths_and_bad_ones(void **unused)
{
    (void)unused;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(chdir(root), 0);
    make("a.so", 1);
    Seen s;
    watch(&s, "./d/../a.so");
    make("a.so", 2);
    live(&s, 0);
    assert_int_equal(s.swaps, 1);
    Error err = {0};
    int id = -7;
    assert_int_equal(watcher_add(s.watcher, "", &id, &err), KEEL_EINVAL);
    char *endless = calloc(1, 9000);
    memset(endless, 'x', 8999);
    assert_int_equal(watcher_add(s.watcher, endless, &id, &err), KEEL_EINVAL);
    assert_int_equal(id, -7);
    free(endless);
    watcher_free(s.watcher);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

/* In a child, whose table of descriptors is full. */
static void a_used_up_limit_is_said(void **unused)
{
    (void)unused;
    pid_t child = fork();
    if (!child) {
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
        while (dup(0) >= 0)
            ;
        Watcher *w;
        Error err = {0};
        _exit(watcher_new(&w, &err) == KEEL_ELIMIT && strstr(err.text, "ulimit -n") ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static int set_up(void **unused)
{
    (void)unused;
    ball = blob_read(KEEL_TEST_MODULES "/ball.so");
    return mkdtemp(root) ? 0 : -1;
}

static int clean_up(void **unused)
{
    (void)unused;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_in_place),
        cmocka_unit_test(written_slowly),
        cmocka_unit_test(appended_in_chunks),
        cmocka_unit_test(removed_and_made_again),
        cmocka_unit_test(renamed_over_and_linked),
        cmocka_unit_test(symlinks_are_followed),
        cmocka_unit_test(folders_come_and_go),
        cmocka_unit_test(two_builds_at_once),
        cmocka_unit_test(touched_and_stripped),
        cmocka_unit_test(a_mapped_writer_is_told_at_its_end),
        cmocka_unit_test(an_overflow_counts_as_a_change),
        cmocka_unit_test(paths_of_one_folder_share_its_watch),
        cmocka_unit_test(the_callback_may_add_and_remove),
        cmocka_unit_test(relative_paths_and_bad_ones),
        cmocka_unit_test(a_used_up_limit_is_said),
    };
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
