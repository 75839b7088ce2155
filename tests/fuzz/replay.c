/* Runs a fuzz target over files and folders without libFuzzer, so that every compiler can replay a
 * corpus. Each file is given whole and cut at many places. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { CUTS = 64 };
static unsigned long runs;

static void run(const uint8_t *data, size_t bytes)
{
    /* Exactly as long, so that a sanitizer sees every step too far. */
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy)
        exit(2);
    memcpy(copy, data, bytes);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
    runs++;
}

static void run_file(const char *path, size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    FILE *f = fopen(path, "rbe");
    if (!data || !f || fread(data, 1, bytes, f) != bytes) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    fclose(f);
    run(data, bytes);
    for (size_t i = 0; i < CUTS && i < bytes; i++)
        run(data, bytes * i / CUTS);
    free(data);
}

static void run_path(const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st)) {
        fprintf(stderr, "no such file or folder: %s\n", path);
        exit(2);
    }
    if (S_ISREG(st.st_mode))
        run_file(path, (size_t)st.st_size);
    DIR *dir = S_ISDIR(st.st_mode) && depth ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char name[4096];
        if (*e->d_name == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        run_path(name, depth - 1);
    }
    if (dir)
        closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i], 2);
    printf("%lu inputs\n", runs);
    return runs ? 0 : 2;
}
