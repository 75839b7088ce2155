/* The loader's search, without the loader. Owns nothing; opens the cache for each question. */
#include "image/libraries.h"

#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, R_OK);
}

/* ---- what this program has ---- */

typedef struct Sought {
    const char *name;
    char *ret;
    int found;
} Sought;

static int is_it(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    Sought *s = user;
    const char *slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    if (!slash || strcmp(slash + 1, s->name))
        return 0;
    snprintf(s->ret, LIBRARY_PATH_BYTES, "%s", info->dlpi_name);
    return s->found = 1;
}

/* ---- lists of folders ---- */

/* One folder of a list with $ORIGIN replaced; 0 when it doesn't fit. */
static int expand(const char *folder, size_t bytes, const char *origin, char *to, size_t room)
{
    static const char *const NAMES[] = {"$ORIGIN", "${ORIGIN}"};
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        const char *put = folder + i;
        size_t step = 1, put_bytes = 1;
        for (int n = 0; n < 2; n++)
            if (bytes - i >= strlen(NAMES[n]) && !strncmp(folder + i, NAMES[n], strlen(NAMES[n]))) {
                put = origin;
                put_bytes = strlen(origin);
                step = strlen(NAMES[n]);
            }
        if (put_bytes >= room - used)
            return 0;
        memcpy(to + used, put, put_bytes);
        used += put_bytes;
        i += step;
    }
    to[used] = 0;
    return 1;
}

static int in_list(const char *list, const char *name, const char *origin, char *ret)
{
    char folder[LIBRARY_PATH_BYTES / 2];
    while (list && *list) {
        size_t bytes = strcspn(list, ":;");
        if (expand(list, bytes, origin, folder, sizeof folder)) {
            snprintf(ret, LIBRARY_PATH_BYTES, "%s/%.1000s", *folder ? folder : ".", name);
            if (is_file(ret))
                return 1;
        }
        list += bytes + (list[bytes] != 0);
    }
    return 0;
}

/* ---- the cache ---- */

typedef struct CacheHead {
    char magic[20];
    uint32_t count, string_bytes;
    uint32_t unused[5];
} CacheHead;

typedef struct CacheEntry {
    int32_t flags;
    uint32_t name, path, os_version;
    uint64_t hardware;
} CacheEntry;

static const char *cache_text(const char *cache, size_t bytes, uint32_t at)
{
    return at < bytes && memchr(cache + at, 0, bytes - at) ? cache + at : NULL;
}

static int search_cache(const char *cache, size_t bytes, const char *name, char *ret)
{
    static const char MAGIC[] = "glibc-ld.so.cache1.1";
    enum { ELF_LIBC6 = 3, X86_64_LIBC6 = 0x303, AARCH64_LIBC6 = 0xa03 };
#if defined(__aarch64__)
    const int wanted = AARCH64_LIBC6;
#else
    const int wanted = X86_64_LIBC6;
#endif
    CacheHead head;
    if (bytes < sizeof head || memcmp(cache, MAGIC, sizeof head.magic))
        return 0;
    memcpy(&head, cache, sizeof head);
    for (uint32_t i = 0; i < head.count && (i + 1) * sizeof(CacheEntry) <= bytes - sizeof head;
         i++) {
        CacheEntry e;
        memcpy(&e, cache + sizeof head + i * sizeof e, sizeof e);
        const char *its = cache_text(cache, bytes, e.name);
        const char *path = cache_text(cache, bytes, e.path);
        if (!its || !path || strcmp(its, name) || (e.flags != wanted && e.flags != ELF_LIBC6))
            continue;
        if (is_file(path)) {
            snprintf(ret, LIBRARY_PATH_BYTES, "%.4000s", path);
            return 1;
        }
    }
    return 0;
}

static int in_cache(const char *name, char *ret)
{
    struct stat st;
    int found = 0, fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (!fstat(fd, &st) && st.st_size > 0) {
        void *cache = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (cache != MAP_FAILED) {
            found = search_cache(cache, (size_t)st.st_size, name, ret);
            munmap(cache, (size_t)st.st_size);
        }
    }
    close(fd);
    return found;
}

LibraryHow library_find(const char *name, const char *runpath, const char *origin, char *ret)
{
    Sought sought = {name, ret, 0};
    *ret = 0;
    dl_iterate_phdr(is_it, &sought);
    if (sought.found)
        return LIBRARY_HERE;
    if (strchr(name, '/')) {
        snprintf(ret, LIBRARY_PATH_BYTES, "%.4000s", name);
        return is_file(ret) ? LIBRARY_PATH : LIBRARY_MISSING;
    }
    if (in_list(runpath, name, origin, ret))
        return LIBRARY_RUNPATH;
    if (in_list(getenv("LD_LIBRARY_PATH"), name, origin, ret))
        return LIBRARY_ENVIRONMENT;
    if (in_cache(name, ret))
        return LIBRARY_CACHE;
    if (in_list("/lib:/usr/lib:/lib64:/usr/lib64", name, origin, ret))
        return LIBRARY_FOLDER;
    *ret = 0;
    return LIBRARY_MISSING;
}
