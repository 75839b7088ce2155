/* What does it cost to know an image: libraries and symbols, types, a fingerprint of each function;
 * and what a swap reads of it beside the trial, with the schema for migration?
 * Real builds of about 1 and 10 MiB with debug information, compiled here for the purpose, beside
 * one pass of a hash over the file; and the same of rebuilds with one thing edited, begun from what
 * was read before, and not. Without the child's start, which bench_image and trials show.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "image/anatomy_read.h"
#include "image/inspect.h"
#include "image/reading.h"

enum { ROOM = 256 << 20, ROUNDS = 30 };

static void die(const char *what)
{
    fprintf(stderr, "bench_diff: %s\n", what);
    exit(2);
}

/* A unit of plain C as people write it: structures, statics, literals, calls, branches. */
static void write_unit(const char *path, int unit, int functions)
{
    FILE *f = fopen(path, "we");
    if (!f)
        die("cannot write a source");
    fprintf(f, "#include <stdio.h>\n#include <string.h>\n#include <stdlib.h>\n");
    for (int i = 0; i < functions; i++) {
        fprintf(f,
                "struct u%d_item%d { int id, count; double price[4]; struct u%d_item%d *next; };\n"
                "static struct u%d_item%d table%d[8]; static int hits%d = %d;\n"
                "int u%d_f%d(int a, double b)\n{\n"
                "    int sum = 0;\n"
                "    for (int i = 0; i < 8; i++) {\n"
                "        struct u%d_item%d *at = &table%d[(i * a) & 7];\n"
                "        at->count += a ^ %d;\n        at->price[i & 3] += b * %d.25;\n"
                "        sum += at->count > 9 ? at->id : (int)at->price[1];\n    }\n"
                "    if (sum == %d)\n        printf(\"item %d of %%d: %%s\\n\", sum, \"u%d\");\n"
                "    hits%d++;\n    return sum + (a > 3 ? u%d_f%d(a - 1, b) : (int)strlen(getenv("
                "\"K%d\") ? \"x\" : \"yy\"));\n}\n",
                unit, i, unit, i, unit, i, i, i, i, unit, i, unit, i, i, i, i, i * 7, i, unit, i,
                unit, i ? i - 1 : i, i);
    }
    fclose(f);
}

static void build(const char *folder, int units, const char *edit, const char *out)
{
    char command[1024];
    for (int u = 0; u < units; u++) {
        snprintf(command, sizeof command, "%s/u%d.c", folder, u);
        write_unit(command, u, 100);
    }
    snprintf(command, sizeof command, "sed -i '%s' %s/u0.c", edit, folder);
    if (*edit && system(command))
        die("no source to edit");
    snprintf(command, sizeof command,
             "cd %s && cc -g -O2 -w -fPIC -ffunction-sections -fdata-sections -shared "
             "-Wl,--emit-relocs u*.c -o %s && rm -f u*.c",
             folder, out);
    if (system(command))
        die("the compiler cc failed");
}

static double cpu_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void measure_rebuild(const char *name, const char *path, const char *edited)
{
    size_t bytes[2] = {0}, made = 0, out = 0;
    void *data[2];
    for (int i = 0; i < 2; i++) {
        struct stat st;
        int file = open(i ? edited : path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || fstat(file, &st))
            die("no image");
        bytes[i] = (size_t)st.st_size;
        data[i] = mmap(NULL, bytes[i], PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
        close(file);
        if (data[i] == MAP_FAILED)
            die("no memory");
    }
    void *before = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Samples alone = {0}, after = {0};
    Reading reading = {0};
    Error err;
    if (before == MAP_FAILED || room == MAP_FAILED)
        die("no memory");
    if (reading_make(data[0], bytes[0], before, ROOM, &made, &err))
        die(err.text);
    for (int i = -2; i < ROUNDS; i++) {
        double start_ms = cpu_now_ms();
        if (reading_make(data[1], bytes[1], room, ROOM, &out, &err))
            die(err.text);
        double alone_ms = cpu_now_ms();
        if (reading_make_after(data[1], bytes[1], before, made, room, ROOM, &out, &err))
            die(err.text);
        double after_ms = cpu_now_ms();
        if (reading_check(room, out, &reading, &err))
            die(err.text);
        if (i < 0)
            continue;
        samples_add(&alone, alone_ms - start_ms);
        samples_add(&after, after_ms - alone_ms);
    }
    const Sources *s = reading_sources(&reading);
    bench_note("%s: of the reading before, it took over %s and %u of %u fingerprints", name,
               s->reused & SOURCES_SCHEMA  ? "types, lines, the schema"
               : s->reused & SOURCES_DEBUG ? "types, lines"
                                           : "no types",
               s->taken, s->parts);
    bench_report(name, "reading a rebuild from nothing, processor time", "ms", &alone, 0);
    bench_report(name, "begun from the reading before, processor time", "ms", &after,
                 samples_median(&alone));
    samples_done(&alone);
    samples_done(&after);
    munmap(before, ROOM);
    munmap(room, ROOM);
    for (int i = 0; i < 2; i++)
        munmap(data[i], bytes[i]);
}

static void measure(const char *path, const char *name)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (file < 0 || fstat(file, &st))
        die("no image");
    size_t bytes = (size_t)st.st_size, out = 0;
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Inspection *inspection = malloc(sizeof *inspection);
    Samples all = {0}, cpu = {0}, floor = {0}, whole = {0}, checked = {0};
    Anatomy a = {0};
    Error err;
    if (data == MAP_FAILED || room == MAP_FAILED || !inspection)
        die("no memory");
    for (int i = -2; i < ROUNDS; i++) {
        int64_t start = bench_now_ns();
        Hash hash = hash_bytes(data, bytes);
        int64_t hashed = bench_now_ns();
        double cpu_ms = cpu_now_ms();
        if (inspect_bytes(data, bytes, inspection, &err) ||
            anatomy_read(data, bytes, room, ROOM, &out, &err) || anatomy_check(room, out, &a, &err))
            die(err.text);
        int64_t end = bench_now_ns();
        double whole_ms = cpu_now_ms();
        Reading reading;
        if (reading_make(data, bytes, room, ROOM, &out, &err))
            die(err.text);
        double made_ms = cpu_now_ms();
        if (reading_check(room, out, &reading, &err))
            die(err.text);
        double checked_ms = cpu_now_ms();
        if (i < 0)
            continue;
        samples_add(&floor, (double)(hashed - start) / 1e6 + (hash.low == 1 ? 1 : 0));
        samples_add(&cpu, cpu_now_ms() - cpu_ms);
        samples_add(&all, (double)(end - hashed) / 1e6);
        samples_add(&whole, made_ms - whole_ms);
        samples_add(&checked, checked_ms - made_ms);
    }
    bench_note("%s: %.2f MiB, %u functions, %u statics, %u types, answer of %zu KiB", name,
               (double)bytes / (1 << 20), a.function_count, a.object_count, a.type_count,
               out >> 10);
    bench_report(name, "inspection, types and fingerprints", "ms", &all, samples_median(&floor));
    bench_report(name, "the same, processor time", "ms", &cpu, 0);
    bench_report(name, "all that a swap reads, with the schema, processor time", "ms", &whole, 0);
    bench_report(name, "checking that in the host", "ms", &checked, 0);
    samples_done(&all);
    samples_done(&whole);
    samples_done(&checked);
    samples_done(&cpu);
    samples_done(&floor);
    free(inspection);
    munmap(data, bytes);
    munmap(room, ROOM);
    close(file);
}

int main(void)
{
    char folder[] = "/tmp/keel-bench-diff-XXXXXX", path[128], edited[128], name[64];
    if (!mkdtemp(folder))
        die("no folder");
    static const struct {
        const char *name;
        int units;
    } SIZES[] = {{"diff.1MiB", 4}, {"diff.10MiB", 36}};
    static const struct {
        const char *name, *edit;
    } EDITS[] = {
        /* no address moves; nor here, but an initializer does not belong to code; only lines do;
         * all that lies behind it moves */
        {"number", "0,/count > 9/s//count > 8/"},
        {"initial", "0,/hits50 = 50/s//hits50 = 51/"},
        {"line", "1s/^/\\n/"},
        {"longer", "0,/hits50++;/s//hits50 += a * 77 \\/ (a + 3);/"},
    };
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        snprintf(path, sizeof path, "%s/%s.so", folder, SIZES[i].name);
        build(folder, SIZES[i].units, "", path);
        measure(path, SIZES[i].name);
        for (size_t k = 0; k < sizeof EDITS / sizeof *EDITS; k++) {
            snprintf(edited, sizeof edited, "%s/edited.so", folder);
            snprintf(name, sizeof name, "%s.%s", SIZES[i].name, EDITS[k].name);
            build(folder, SIZES[i].units, EDITS[k].edit, edited);
            measure_rebuild(name, path, edited);
            unlink(edited);
        }
        unlink(path);
    }
    rmdir(folder);
    return 0;
}
