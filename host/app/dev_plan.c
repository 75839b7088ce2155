/* Finds by looking what builds a folder, and the modules that a build made. Reads folders, writes
 * none but the one for its own outputs. Main thread; the search for modules: the builder's. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/dev.h"
#include "app/new_text.h"
#include "image/image.h"

enum { DEEPEST = 8, FILES_MOST = 20000 };

/* ---- words of a command ---- */

int dev_args_add(DevArgs *args, const char *format, ...)
{
    if (args->count == DEV_ARGS)
        return KEEL_ELIMIT;
    va_list list;
    va_start(list, format);
    char *word;
    int n = vasprintf(&word, format, list);
    va_end(list);
    if (n < 0)
        return KEEL_ENOMEM;
    args->word[args->count++] = word;
    args->word[args->count] = NULL;
    return KEEL_OK;
}

int dev_args_split(DevArgs *args, const char *text)
{
    int rc = KEEL_OK;
    while (text && *text && !rc) {
        text += strspn(text, " \t\n");
        int n = (int)strcspn(text, " \t\n");
        if (n)
            rc = dev_args_add(args, "%.*s", n, text);
        text += n;
    }
    return rc;
}

void dev_args_done(DevArgs *args)
{
    for (int i = 0; i < args->count; i++)
        free(args->word[i]);
    *args = (DevArgs){0};
}

/* ---- the plan ---- */

/* 1: C, 2: C++, 0: none. */
static int language(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || name[0] == '.')
        return 0;
    if (!strcmp(dot, ".c"))
        return 1;
    return !strcmp(dot, ".cpp") || !strcmp(dot, ".cc") || !strcmp(dot, ".cxx") ? 2 : 0;
}

static int has(const char *folder, const char *name)
{
    char path[PATH_MAX + NAME_MAX + 2];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int has_makefile(const char *folder)
{
    return has(folder, "GNUmakefile") || has(folder, "makefile") || has(folder, "Makefile");
}

/* The folder's only source file, malloc'ed; *ret_count tells how many there are. */
static char *only_source(const char *folder, int *ret_count)
{
    char *found = NULL;
    *ret_count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!language(entry->d_name) || (*ret_count)++)
            continue;
        if (asprintf(&found, "%s/%s", folder, entry->d_name) < 0)
            found = NULL;
    }
    if (dir)
        closedir(dir);
    if (*ret_count != 1) {
        free(found);
        return NULL;
    }
    return found;
}

static char *stem(const char *source)
{
    const char *base = strrchr(source, '/') + 1;
    return strndup(base, (size_t)(strrchr(base, '.') - base));
}

/* CMakeLists.txt says no more than `keel new` wrote: then the source alone says all. */
static int untouched(const char *folder, const char *source)
{
    char path[PATH_MAX + 32], text[2048];
    snprintf(path, sizeof path, "%s/CMakeLists.txt", folder);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    char *name = stem(source);
    Buf wanted = {0};
    int same = name && !new_text_cmake(language(source) == 2 ? NEW_CXX : NEW_C, name, &wanted) &&
               n == wanted.bytes && !memcmp(text, wanted.data, n);
    buf_done(&wanted);
    free(name);
    return same;
}

static int make_own(DevPlan *plan, Error *err)
{
    char *dot;
    if (asprintf(&dot, "%s/.keel", plan->folder) < 0)
        return err_set(err, KEEL_ENOMEM, "no memory for a path");
    plan->own = dot;
    if (mkdir(dot, 0777) && errno != EEXIST)
        return err_errno(err, KEEL_EIO, errno, "cannot make %s for what is built", dot);
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/.gitignore", dot);
    FILE *file = fopen(path, "wxe");
    if (file) {
        fputs("*\n", file);
        fclose(file);
    }
    return KEEL_OK;
}

static int choose(DevPlan *plan, int is_file, Error *err)
{
    int sources = 0;
    char *only = is_file ? NULL : only_source(plan->folder, &sources);
    if (plan->command) {
        plan->kind = DEV_COMMAND;
    } else if (is_file) {
        plan->kind = DEV_DIRECT;
    } else if (has(plan->folder, "CMakeLists.txt") && !(only && untouched(plan->folder, only))) {
        plan->kind = DEV_CMAKE;
    } else if (!has(plan->folder, "CMakeLists.txt") && has_makefile(plan->folder)) {
        plan->kind = DEV_MAKE;
    } else if (only) {
        plan->kind = DEV_DIRECT;
        plan->source = only;
        only = NULL;
    } else if (sources > 1) {
        return err_set(err, KEEL_ENOTFOUND,
                       "%s has %d sources and neither CMakeLists.txt nor Makefile: name one file, "
                       "or say what builds it with --build 'COMMAND'",
                       plan->folder, sources);
    } else {
        return err_set(err, KEEL_ENOTFOUND,
                       "%s has no CMakeLists.txt, no Makefile and no source file: begin one with "
                       "keel new, or say what builds it with --build 'COMMAND'",
                       plan->folder);
    }
    free(only);
    return KEEL_OK;
}

int dev_plan(const char *path, const char *command, DevPlan *ret, Error *err)
{
    DevPlan plan = {.command = command};
    struct stat st;
    char *real = realpath(path, NULL);
    int rc = KEEL_OK;
    if (!real || stat(real, &st)) {
        rc = err_errno(err, KEEL_ENOTFOUND, errno, "cannot work on %s", path);
    } else if (S_ISDIR(st.st_mode)) {
        plan.folder = strdup(real);
    } else if (S_ISREG(st.st_mode) && language(real)) {
        char *slash = strrchr(real, '/');
        plan.folder = strndup(real, slash == real ? 1 : (size_t)(slash - real));
        plan.source = strdup(real);
    } else {
        rc = err_set(err, KEEL_EINVAL,
                     "%s is neither a folder nor a source file (.c, .cpp, .cc, .cxx)", path);
    }
    if (!rc && !plan.folder)
        rc = err_set(err, KEEL_ENOMEM, "no memory for a path");
    if (!rc)
        rc = choose(&plan, plan.source != NULL, err);
    if (!rc)
        rc = dev_tree_find(&plan.tree, err);
    if (!rc && plan.kind != DEV_MAKE && plan.kind != DEV_COMMAND)
        rc = make_own(&plan, err);
    if (!rc && plan.kind == DEV_DIRECT) {
        plan.cxx = language(plan.source) == 2;
        plan.name = stem(plan.source);
        if (!plan.name || asprintf(&plan.output, "%s/%s.so", plan.own, plan.name) < 0)
            rc = err_set(err, KEEL_ENOMEM, "no memory for a path");
    }
    free(real);
    if (rc) {
        dev_plan_done(&plan);
        return rc;
    }
    *ret = plan;
    return KEEL_OK;
}

void dev_plan_done(DevPlan *plan)
{
    free(plan->folder);
    free(plan->source);
    free(plan->name);
    free(plan->own);
    free(plan->output);
    *plan = (DevPlan){0};
}

void dev_plan_tell(const DevPlan *plan, char *room, size_t bytes)
{
    switch (plan->kind) {
    case DEV_DIRECT:
        snprintf(room, bytes, "the %s compiler, on %s", plan->cxx ? "C++" : "C", plan->source);
        break;
    case DEV_CMAKE:
        snprintf(room, bytes, "CMake, in %s/cmake", plan->own);
        break;
    case DEV_MAKE:
        snprintf(room, bytes, "make, in %s", plan->folder);
        break;
    case DEV_COMMAND:
        snprintf(room, bytes, "%s, in %s", plan->command, plan->folder);
        break;
    }
}

/* ---- the modules that a build made ---- */

typedef struct Search {
    char **paths;
    int count, most, looked;
} Search;

static int is_module(const char *path)
{
    Image *image;
    if (image_load_file(path, 0, &image, NULL))
        return 0;
    image_unref(image);
    return 1;
}

static void search(Search *found, const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        size_t n = strlen(name);
        if (name[0] == '.' || ++found->looked > FILES_MOST)
            continue;
        char *path;
        struct stat st;
        if (asprintf(&path, "%s/%s", folder, name) < 0)
            continue;
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && depth < DEEPEST) {
            search(found, path, depth + 1);
        } else if (n > 3 && !strcmp(name + n - 3, ".so") && found->count < found->most &&
                   stat(path, &st) == 0 && S_ISREG(st.st_mode) && is_module(path)) {
            found->paths[found->count++] = path;
            path = NULL;
        }
        free(path);
    }
    if (dir)
        closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int dev_plan_modules(const DevPlan *plan, char **ret_paths, int most)
{
    Search found = {.paths = ret_paths, .most = most};
    if (plan->kind == DEV_DIRECT) {
        ret_paths[0] = strdup(plan->output);
        return ret_paths[0] ? 1 : 0;
    }
    search(&found, plan->own ? plan->own : plan->folder, 0);
    qsort(ret_paths, (size_t)found.count, sizeof *ret_paths, by_name);
    return found.count;
}
