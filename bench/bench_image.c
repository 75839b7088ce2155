/* What does it cost to read a finished 1 MiB module whole, prove that nobody writes it, hash it and
 * describe it? Beside the bare copy into fresh memory. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "image/image.h"
#include "image/inspect.h"
#include "watch/settle.h"

enum { BYTES = 1 << 20, ROUNDS = 300, WARM = 20 };

static void die(const char *what)
{
    fprintf(stderr, "bench_image: %s\n", what);
    exit(2);
}

/* A real module, made 1 MiB long by bytes that no table names. */
static void make_module(const char *from, const char *to)
{
    static char data[BYTES];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n = in < 0 ? -1 : read(in, data, sizeof data);
    if (n <= 0)
        die("cannot read the module ball.so");
    close(in);
    for (size_t i = (size_t)n; i < BYTES; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0 || write(out, data, sizeof data) != sizeof data)
        die("cannot write the module");
    close(out);
}

static double us_since(int64_t start)
{
    return (double)(bench_now_ns() - start) / 1000;
}

static void bare_copy(const char *path, Samples *samples)
{
    static char buffer[BYTES];
    int64_t start = bench_now_ns();
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = memfd_create("bench", MFD_CLOEXEC);
    if (in < 0 || out < 0 || read(in, buffer, BYTES) != BYTES || write(out, buffer, BYTES) != BYTES)
        die("the bare copy failed");
    double us = us_since(start);
    close(in);
    close(out);
    samples_add(samples, us);
}

static void settle_and_open(const char *path, Samples *settle, Samples *open_, Samples *both,
                            Samples *deep)
{
    Error err;
    Settled settled;
    Image *image;
    static Inspection inspection;
    int64_t start = bench_now_ns();
    if (settle_read(path, NULL, &settled, &err))
        die(err.text);
    if (settled.proof != SETTLE_BY_LEASE)
        die("this file system grants no leases: set TMPDIR to one that does");
    double us = us_since(start);
    int64_t middle = bench_now_ns();
    if (image_open(settled.memfd, settled.bytes, settled.hash, path, &image, &err))
        die(err.text);
    samples_add(settle, us);
    samples_add(open_, us_since(middle));
    samples_add(both, us_since(start));
    start = bench_now_ns();
    if (inspect_bytes(image->data, image->bytes, &inspection, &err))
        die(err.text);
    samples_add(deep, us_since(start));
    image_unref(image);
}

int main(int argc, char **argv)
{
    const char *module = argc > 1 ? argv[1] : KEEL_BENCH_MODULES "/ball.so";
    const char *tmp = getenv("TMPDIR");
    char path[512];
    Samples bare = {0}, settle = {0}, opened = {0}, both = {0}, deep = {0};
    snprintf(path, sizeof path, "%s/keel-bench-%d.so", tmp ? tmp : "/tmp", (int)getpid());
    make_module(module, path);
    for (int i = 0; i < ROUNDS + WARM; i++) {
        if (i == WARM)
            bare.count = settle.count = opened.count = both.count = deep.count = 0;
        bare_copy(path, &bare);
        settle_and_open(path, &settle, &opened, &both, &deep);
    }
    unlink(path);
    double floor = samples_median(&bare);
    bench_report("image", "bare read and copy into a fresh memfd, 1 MiB", "us", &bare, 0);
    bench_report("image", "settle_read, 1 MiB", "us", &settle, floor);
    bench_report("image", "image_open, 1 MiB", "us", &opened, 0);
    bench_report("image", "settle_read + image_open, 1 MiB", "us", &both, floor);
    bench_report("image", "inspect_bytes, 1 MiB", "us", &deep, 0);
    return 0;
}
