/* Where Keel's headers, shim and CMake package are: what the build wrote beside the program, or
 * where `cmake --install` puts them. Reads one small file. Main thread. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/dev.h"

#ifndef KEEL_LIBDIR
#define KEEL_LIBDIR "lib"
#endif

/* KEEL_TREE of the build: four lines, in the order of DevTree. */
static int read_line(FILE *file, char *room, size_t bytes)
{
    if (!fgets(room, (int)bytes, file))
        return -1;
    size_t n = strcspn(room, "\n");
    int whole = room[n] == '\n';
    room[n] = 0;
    return whole && room[0] == '/' ? 0 : -1;
}

static int from_build(const char *folder, DevTree *ret)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/keel-tree", folder);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    int rc = read_line(file, ret->include, sizeof ret->include) ||
                     read_line(file, ret->shim, sizeof ret->shim) ||
                     read_line(file, ret->map, sizeof ret->map) ||
                     read_line(file, ret->package, sizeof ret->package)
                 ? -1
                 : 0;
    fclose(file);
    return rc;
}

static void installed(const char *prefix, DevTree *ret)
{
    snprintf(ret->include, sizeof ret->include, "%s/include", prefix);
    snprintf(ret->shim, sizeof ret->shim, "%s/%s/libkeel_shim.a", prefix, KEEL_LIBDIR);
    snprintf(ret->map, sizeof ret->map, "%s/%s/cmake/Keel/keel-module.map", prefix, KEEL_LIBDIR);
    snprintf(ret->package, sizeof ret->package, "%s/%s/cmake/Keel", prefix, KEEL_LIBDIR);
}

int dev_tree_find(DevTree *ret, Error *err)
{
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0)
        return err_set(err, KEEL_EIO, "cannot tell where keel itself is: is /proc there?");
    here[n] = 0;
    *strrchr(here, '/') = 0;
    if (from_build(here, ret)) {
        char *slash = strrchr(here, '/');
        if (slash)
            *slash = 0;
        installed(here, ret);
    }
    char header[sizeof ret->include + 16];
    snprintf(header, sizeof header, "%s/keel/keel.h", ret->include);
    const char *missing = access(header, R_OK)      ? header
                          : access(ret->shim, R_OK) ? ret->shim
                          : access(ret->map, R_OK)  ? ret->map
                                                    : NULL;
    if (missing)
        return err_set(err, KEEL_ENOTFOUND,
                       "%s is not there, which modules are built with: install Keel whole (cmake "
                       "--install) or run keel from its build folder",
                       missing);
    return KEEL_OK;
}
